/* io/uplink.h - the contract of a network's way out
 *
 * An uplink is an fd that carries frames plus the facts about it; the network plugs the fd into a port of
 * role PORT_UPLINK by the link kind that fits (stream towards an uplink process, tap for a TAP). Who opens it
 * differs: nobody (none), the monitor (tap), a process of its own (user; vmnet up to macOS 15).
 *
 * States: STARTING -> UP -> (lost) DEGRADED -> UP ...; FAILED when trying again is pointless until something
 * changes. Ports stay and keep talking to each other in every state. Reopening waits UPLINK_RETRY_MIN_MS,
 * doubled up to UPLINK_RETRY_MAX_MS, back to the minimum after it was up for a while.
 */
#ifndef IO_UPLINK_H
#define IO_UPLINK_H

#include <stdbool.h>
#include <stdint.h>

enum uplink_kind { UPLINK_NONE, UPLINK_USER, UPLINK_TAP, UPLINK_VMNET, UPLINK_N_KINDS };
enum uplink_state { UPLINK_STARTING, UPLINK_UP, UPLINK_DEGRADED, UPLINK_FAILED, UPLINK_N_STATES };

const char *uplink_kind_name(enum uplink_kind kind);    /* "none", "user", "tap", "vmnet" */
const char *uplink_state_name(enum uplink_state state); /* "starting", "up", "degraded", "failed" */

#define UPLINK_REASON_SIZE 160
#define UPLINK_IFNAME_SIZE 16

/* Host byte order; the host's end, and the last address that DHCP gives out. */
struct uplink_subnet {
    uint32_t gateway, netmask, dhcp_end;
};

struct uplink_facts {
    uint64_t mac;                    /* pinned in the forwarding database; 0: none of its own */
    uint32_t mtu;                    /* what it takes; 0: the network's */
    char ifname[UPLINK_IFNAME_SIZE]; /* the host interface, "" if there is none */
    struct uplink_subnet subnet;     /* what vmnet has, which may be its own choice; all 0: nothing to tell */
    bool has_vnet_header;            /* each frame has a virtio-net header in front */
    bool takes_udp_gso;              /* and may be UDP to be cut */
    bool has_raw_offload; /* without a header: checksums may be unfinished, TCP longer than the MTU */
    uint32_t whole_max;   /* as of struct port */
};

/* X(identifier, sentence): for which reasons an uplink's process drops frames. */
#define UPLINK_DROP_REASONS(X)                                                                               \
    X(runt, "to the host: shorter than an Ethernet header")                                                  \
    X(length, "to the host: longer than vmnet takes, or without the header it should have")                  \
    X(refused, "to the host: vmnet refused this frame")                                                      \
    X(host_full, "to the host: vmnet had no room, three times in a row")                                     \
    X(host_gone, "to the host: vmnet's interface was gone")                                                  \
    X(too_short, "to the host: shorter than its own header says")                                            \
    X(too_long, "to the host: longer than the MTU")                                                          \
    X(not_ip, "to the host: neither ARP nor IP, which is all that libslirp knows")                           \
    X(bad_header, "to the host: its lengths or versions contradict each other")                              \
    X(bad_address, "to the host: an address that must not be seen on a wire")                                \
    X(service_off, "to the host: for a service that is off")                                                 \
    X(no_lease, "to the host: asks for an address where none is left")                                       \
    X(bad_fragment, "to the host: a fragment that contradicts itself or others")                             \
    X(from_host_bad, "from the host: of a length that no frame has")                                         \
    X(lease_range, "from the host: offers an address outside the range")                                     \
    X(network_full, "from the host: the network's socket takes no more")                                     \
    X(network_gone, "from the host: no network is there to take it")

enum uplink_drop {
#define X(id, sentence) UPLINK_DROP_##id,
    UPLINK_DROP_REASONS(X)
#undef X
        UPLINK_N_DROPS
};

const char *uplink_drop_name(enum uplink_drop reason); /* a static string */

/* What an uplink's process has done with frames. At any time between two turns of its loop:
 *   from_network + from_host == to_host + to_network + joined + waiting + sum of drops */
struct uplink_counters {
    uint64_t from_network, to_host;
    uint64_t from_host, to_network;
    uint64_t joined;  /* fragments that were kept, to become part of one frame */
    uint64_t waiting; /* in queues, both ways */
    uint64_t drops[UPLINK_N_DROPS];
};

enum { UPLINK_RETRY_MIN_MS = 250, UPLINK_RETRY_MAX_MS = 30 * 1000, UPLINK_STABLE_MS = 10 * 1000 };

/* When to try again: a pure timer, used by whoever supervises. All zero is a fresh one. */
struct uplink_retry {
    uint32_t delay_ms;
};
/* Returns how long to wait before the next try, given how long it had been up (0: it never came up). */
uint32_t uplink_retry_next(struct uplink_retry *retry, uint64_t was_up_ms);

#endif
