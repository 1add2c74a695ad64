/* io/uplink_vmnet.h - a network's way out through macOS's vmnet
 *
 * By the classic interface (macOS 11 and later), or on a network object that the broker holds (macOS 26):
 * which, the settings say. Where they name a broker's network and no broker is installed, it is the classic
 * one.
 *
 * How it works
 *   vmnet_uplink_open() only asks for a start; vmnet_uplink_poll() tells when it is up or has failed. Nothing
 *   that may block is called on the caller's thread: start, stop and the switching on of events run on a
 *   queue of their own, and the caller has a deadline for each. What those queues have to say crosses to the
 *   loop at one place, a flag under a lock and a pipe (vmnet_uplink_fd()). Frames are read and written by the
 *   loop itself, neither of which blocks.
 *
 * Packets
 *   An event is a hint that says nothing about how many there are: vmnet_uplink_receive() until it returns 0.
 *   Meanwhile events are held back, so that a loop that is busy is not told again and again. What is to be
 *   sent is copied into one batch, made once, as large as vmnet takes. Where offload was asked for, frames
 * are as the facts say: with a virtio-net header in front, or bare and unfinished (io/vnet.h knows both).
 *
 * What can go wrong
 *   A frame that vmnet refuses is counted and dropped, alone. One that it has no room for is offered again
 *   for a short while, then dropped. An interface that is gone (sleep, another user of vmnet) is VMNET_LOST
 *   once, for good: a reopen is a new uplink, in a new process where root is needed.
 */
#ifndef IO_UPLINK_VMNET_H
#define IO_UPLINK_VMNET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "io/broker_client.h"
#include "io/uplink.h"
#include "io/vmnet_rules.h"
#include "switch/port.h"

enum vmnet_mode { VMNET_MODE_SHARED, VMNET_MODE_HOST, VMNET_MODE_BRIDGED };

enum {
    VMNET_ID_SIZE = 16,
    VMNET_INTERFACES_MAX = 64,
    VMNET_RESERVATIONS_MAX = 64,
    VMNET_START_MS = 10 * 1000, /* a start that has said nothing by then has failed */
    VMNET_STOP_MS = 400,        /* shorter than what the monitor leaves an ending process */
    VMNET_FULL_MS = 1,          /* until a write that found no room is tried again ... */
    VMNET_FULL_TRIES = 3,       /* ... and how often, before its frames are dropped */
};

/* An address that DHCP keeps for a guest. */
struct vmnet_reservation {
    uint64_t mac;
    uint32_t address;
};

struct vmnet_settings {
    enum vmnet_mode mode;
    char broker_network[PORT_NAME_SIZE]; /* the broker has it by this name; "": the classic interface */
    uint32_t gateway, netmask, dhcp_end; /* host byte order; 0: the system chooses all three */
    uint32_t mtu;                        /* 0: the system's; ignored in mode bridged */
    uint8_t interface_id[VMNET_ID_SIZE]; /* the same one gets the same MAC address, usually */
    uint8_t network_id[VMNET_ID_SIZE];   /* of a host network without DHCP: who has the same one shares it */
    uint8_t host_ipv6[16];               /* of the Mac, on a host network without DHCP */
    bool has_host_ipv6;
    bool has_dhcp;                                      /* false: needs the addresses */
    bool is_isolated;                                   /* ignored in mode bridged */
    char interface[UPLINK_IFNAME_SIZE];                 /* mode bridged */
    char nat66_prefix[sizeof("fd00:0000:0000:0000::")]; /* "": the system's; mode shared */

    /* Offload: what vmnet is asked for. A header, where the system has it, does the checksums' part too. */
    bool wants_tso, wants_checksum_offload, wants_virtio_header;

    /* What only a network object can be (macOS 26). */
    bool has_no_nat44, has_no_nat66, has_no_dns_proxy, has_no_router_advertisement;
    char external_interface[UPLINK_IFNAME_SIZE]; /* "": the default route's; mode shared */
    uint32_t n_reservations;
    struct vmnet_reservation reservations[VMNET_RESERVATIONS_MAX];
};

/* What vmnet said when it started. */
struct vmnet_facts {
    uint64_t mac; /* 0: it named none */
    uint32_t mtu, frame_max;
    uint32_t header_len;          /* in front of each frame, both ways: 0, or that of a virtio-net header */
    bool has_tso;                 /* TCP up to frame_max, to be cut */
    bool has_checksum_offload;    /* checksums may be unfinished; with a header it says of which */
    uint32_t read_max, write_max; /* frames for each call */
    struct uplink_subnet subnet;  /* all 0: it named none */
};

enum vmnet_state {
    VMNET_STARTING, /* -> UP or FAILED by vmnet_uplink_poll() */
    VMNET_UP,       /* -> LOST by a call that reads or writes */
    VMNET_FAILED,   /* it did not start */
    VMNET_LOST,
    VMNET_STOPPING, /* -> STOPPED by vmnet_uplink_poll() */
    VMNET_STOPPED,
};

struct vmnet_counters {
    uint64_t events, reads, writes;
    uint64_t frames_in, frames_out; /* from and to vmnet */
    uint64_t drop_in_bad;           /* from vmnet: of a length that no frame has */
    uint64_t drop_length;           /* to vmnet: shorter than a header, or longer than it takes */
    uint64_t drop_full, drop_refused, drop_lost;
};

struct vmnet_uplink;

/* Derives an id from the network's name and this host: one that stays, and that no other host has. */
void vmnet_interface_id(const char *network, uint8_t ret_id[VMNET_ID_SIZE]);

/* The interfaces that mode bridged takes. Returns how many, or a negative errno. May block for a moment. */
int vmnet_list_interfaces(char ret_names[VMNET_INTERFACES_MAX][UPLINK_IFNAME_SIZE]);

/* Returns 0, or a negative errno and a sentence. */
int vmnet_uplink_open(struct vmnet_uplink **ret_uplink, const struct vmnet_settings *settings,
                      uint64_t now_ms, char why[UPLINK_REASON_SIZE]);
/* Asks vmnet to stop; poll until it is VMNET_STOPPED. */
void vmnet_uplink_stop(struct vmnet_uplink *uplink, uint64_t now_ms);
/* Also of one that was not stopped, or whose start or stop never came back: then what comes late is undone
 * when it comes, as long as the process lives. NULL is fine. */
void vmnet_uplink_destroy(struct vmnet_uplink *uplink);

/* Readable: call vmnet_uplink_poll(), then receive. */
int vmnet_uplink_fd(const struct vmnet_uplink *uplink);
/* Takes what the queues had to say, and looks at the deadlines. */
enum vmnet_state vmnet_uplink_poll(struct vmnet_uplink *uplink, uint64_t now_ms);
/* Milliseconds until vmnet_uplink_poll() or _flush() is due by the clock alone; -1: never. */
int vmnet_uplink_timeout(const struct vmnet_uplink *uplink, uint64_t now_ms);

/* VMNET_FAILED, VMNET_LOST: why, with a next step; may it pass if it is tried again? */
const char *vmnet_uplink_reason(const struct vmnet_uplink *uplink);
bool vmnet_uplink_may_pass(const struct vmnet_uplink *uplink);

/* True if the start was refused, maybe for what was asked of it: it may succeed with less. */
bool vmnet_uplink_may_ask_less(const struct vmnet_uplink *uplink);

/* True if the start was never answered: what it needs if it ever is (some memory, descriptors, queues) stays
 * even after vmnet_uplink_destroy(), so the next try is for a new process. */
bool vmnet_uplink_is_unanswered(const struct vmnet_uplink *uplink);

const struct vmnet_facts *vmnet_uplink_facts(const struct vmnet_uplink *uplink); /* VMNET_UP */
/* Who holds the network, as the broker says; NULL: it is not the broker's, or he has not said yet. */
const struct broker_holders *vmnet_uplink_holders(const struct vmnet_uplink *uplink);
const struct vmnet_counters *vmnet_uplink_counters(const struct vmnet_uplink *uplink);
uint32_t vmnet_uplink_waiting(const struct vmnet_uplink *uplink); /* frames that vmnet has not taken yet */

/* Port forwards, mode shared: what should be from now on, once the interface is up. Those that stay are left
 * alone. */
void vmnet_uplink_forward(struct vmnet_uplink *uplink, const struct vmnet_rule *rules, uint32_t n);
/* False if none has failed; else the first that has, and why. It is tried again. */
bool vmnet_uplink_forward_failure(const struct vmnet_uplink *uplink, char reason[UPLINK_REASON_SIZE]);

/* 'frame' is borrowed, and begins with its header if there is one. */
typedef void vmnet_frame(void *ctx, const uint8_t *frame, size_t len);

/* True if vmnet may have frames. */
bool vmnet_uplink_has_frames(const struct vmnet_uplink *uplink);
/* Reads one batch. Returns how many frames there were; after 0 the next event tells. */
unsigned vmnet_uplink_receive(struct vmnet_uplink *uplink, vmnet_frame *on_frame, void *ctx);

/* Copies the frame, with its header if there is one, into the batch, which is written when it is full. */
void vmnet_uplink_send(struct vmnet_uplink *uplink, const uint8_t *frame, size_t len, uint64_t now_ms);
/* Writes the batch. */
void vmnet_uplink_flush(struct vmnet_uplink *uplink, uint64_t now_ms);
/* True while vmnet has no room: send nothing more. */
bool vmnet_uplink_is_full(const struct vmnet_uplink *uplink);

#endif
