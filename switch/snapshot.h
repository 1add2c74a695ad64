/* switch/snapshot.h - a lan's ports and addresses as flat data: what leaves a network process
 *
 * Fixed layout, no pointers: these structs travel between the roles of one executable, and the API shows
 * them. Times are relative (ms ago), because each process has its own clock origin.
 */
#ifndef SWITCH_SNAPSHOT_H
#define SWITCH_SNAPSHOT_H

#include <stdbool.h>
#include <stdint.h>

#include "switch/counters.h"
#include "switch/mac.h"
#include "switch/port.h"

#define SNAPSHOT_KIND_SIZE 12
#define SNAPSHOT_REASON_SIZE 160

struct port_snapshot {
    char name[PORT_NAME_SIZE];
    char kind[SNAPSHOT_KIND_SIZE]; /* "stream", "datagram", "tap", "user"; "" while nothing is plugged in */
    char via[SNAPSHOT_KIND_SIZE];  /* "path", "shared", "fd", "uplink"; "" likewise */
    bool is_uplink;
    bool is_named; /* made over the API or by the configuration; stays when its client leaves */
    bool is_up;    /* has a client and is enabled */
    bool has_client;
    bool enabled;
    bool isolated;
    bool persist;           /* an attached fd whose lease may end without it */
    bool has_peer;          /* uid and gid hold */
    uint32_t uid, gid, pid; /* pid 0: unknown */
    uint64_t since_ms_ago;  /* in its state since */
    bool is_stalled;
    uint64_t stalled_ms; /* for so long, if it is */
    uint32_t queued;     /* frames */
    uint32_t queued_bytes;
    uint32_t frame_max;
    enum port_offload offload;
    uint32_t n_addresses;
    struct counters counters;
    char problem[SNAPSHOT_REASON_SIZE]; /* "" or a sentence: what its client did wrong, and the way out */
};

struct fdb_snapshot {
    uint64_t mac;
    char port[PORT_NAME_SIZE];
    bool is_static;
    uint32_t age_s;
};

/* A whole network, beside its ports and addresses. */
struct lan_snapshot {
    uint32_t n_ports;
    uint32_t n_fdb;
    uint32_t n_learned;
    struct counters totals; /* including ports that have left */
    uint64_t queued;
    uint64_t moves, evictions;
    uint64_t flaps;
    uint64_t flap_mac;
    char flap_port[PORT_NAME_SIZE], flap_claimed[PORT_NAME_SIZE];
    uint64_t flap_ms_ago;
    uint64_t datagrams_refused; /* on the shared datagram path, from senders no port can be charged with */
    uint64_t clients_refused;   /* connections beyond a limit */
    uint64_t log_lost;          /* lines that stderr did not take */
};

#endif
