/* io/broker_client.h - who holds a network of the broker's, as its watchers hear it */
#ifndef IO_BROKER_CLIENT_H
#define IO_BROKER_CLIENT_H

#include <stdint.h>

enum { BROKER_HOLDERS_MAX = 32 };

struct broker_holder {
    int32_t pid;
    uint32_t uid;
};

struct broker_holders {
    uint32_t n; /* there may be more than are listed */
    struct broker_holder list[BROKER_HOLDERS_MAX];
};

#endif
