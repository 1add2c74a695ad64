/* daemon/vmnet_helper_json.h - the line that vmnet-helper prints about a VM's network */
#ifndef DAEMON_VMNET_HELPER_JSON_H
#define DAEMON_VMNET_HELPER_JSON_H

#include <stdbool.h>
#include <stdint.h>

#include "api/network_spec.h"
#include "daemon/interface_id.h"

enum {
    HELPER_FRAME_MAX = 1514,
    HELPER_FRAME_MAX_OFFLOAD = 65550, /* what clients with offload size their buffers by */
};

struct helper_facts {
    enum network_mode mode;
    uint8_t interface_id[INTERFACE_ID_SIZE];
    uint64_t mac; /* for the guest */
    uint32_t mtu, frame_max;
    uint32_t start, end, mask; /* all 0: unknown, and not said */
    uint8_t prefix[16];        /* IPv6, with or without an uplink that announces it */
    bool is_joined;            /* of a vmswitchd's network: says net_* too */
};

/* The line without its newline, to be freed; NULL if memory is short. */
char *helper_json(const struct helper_facts *facts);

#endif
