/* daemon/broker_switch.h - what the broker asks the running vmswitchd, over its sockets like any other
 * program
 *
 * Both block, for BROKER_SWITCH_S at most: not for a thread that has something else to do.
 */
#ifndef DAEMON_BROKER_SWITCH_H
#define DAEMON_BROKER_SWITCH_H

#include <jansson.h>
#include <stdbool.h>

#include "api/network_spec.h"
#include "daemon/message.h"

enum { BROKER_SWITCH_S = 5 };

enum switch_answer {
    SWITCH_KNOWS,       /* *ret_network is filled */
    SWITCH_KNOWS_NOT,   /* it runs, and has no network of that name */
    SWITCH_ABSENT,      /* it does not run: nobody listens */
    SWITCH_UNREACHABLE, /* it does not let us, or does not answer as it should */
};

struct switch_network {
    struct network_spec spec; /* 'uplink' as wanted */
    enum uplink_kind kind;    /* as it is */
    uint32_t owner;           /* uid */
    int uplink_pid;           /* 0: not known */
};

/* GET /v1/networks/NAME. 'why' is a sentence unless it is SWITCH_KNOWS. */
enum switch_answer switch_find(const char *runtime_dir, const char *name, struct switch_network *ret_network,
                               char why[MESSAGE_WHY_SIZE]);

/* The same from the answer's JSON. Returns false if it is not one. */
bool switch_network_from_json(const json_t *answer, const char *name, struct switch_network *ret_network);

struct switch_port {
    bool is_stream;      /* else datagram */
    bool is_isolated;    /* it reaches the uplink alone */
    const char *offload; /* one of the API's words; NULL: the network's */
};

/* Plugs one end of a new pair into the network, through attach.sock. The port lives until the lease is
 * closed. Returns 0, the other end and the lease,
 * close-on-exec, for the caller to close; or a negative errno and a sentence. */
int switch_attach(const char *runtime_dir, const char *network, const struct switch_port *port, int *ret_fd,
                  int *ret_lease, char why[MESSAGE_WHY_SIZE]);

#endif
