/* switch/port.h - a place where something plugs into the switch: a VM, or the uplink
 *
 * Glossary
 *   port    what the switch knows: a name, settings, counters. A named port outlives its client.
 *   link    the cable in it (io/link.h): a connected socket or a TAP. The switch sees only 'ops'.
 *   uplink  the port towards the host's network; differs in 'role' alone.
 *
 * The switch reaches the world only through struct port_ops: grep 'ops->' to see every place.
 */
#ifndef SWITCH_PORT_H
#define SWITCH_PORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "switch/counters.h"
#include "switch/frame.h"

#define PORT_NAME_SIZE 33 /* [a-z0-9][a-z0-9_-]{0,31} and its NUL */

struct port;
struct fdb_entry;
struct lan;

struct port_ops {
    /* Takes n >= 1 frames for 'port', in order; borrowed until it returns. Each frame is sent, copied into
     * the port's bounded queue, or dropped: the link counts frames_out, bytes_out, 'queued' and the drop.
     * Never blocks, never allocates, and never joins or leaves a port: a link that finds its peer gone
     * marks itself and closes on a later turn. */
    void (*send)(struct port *port, const struct frame *const *frames, size_t n);
    /* A frame it is handed may stand for a row (switch/row.h), unless the port is OFFLOAD_VIRTIO; the rows of
     * a call have at most LAN_BATCH_MAX frames. False: each stands for itself. */
    bool takes_rows;
};

enum port_role { PORT_VM, PORT_UPLINK };

/* What the client of a port does with checksums and segmentation, in both directions. */
enum port_offload {
    OFFLOAD_OFF, /* plain, finished frames up to the MTU */
    OFFLOAD_RAW, /* no header; in: checksums may be unfinished, TCP up to FRAME_OFFLOAD_MAX bytes; out: such
                    frames whole, checksums finished (libkrun, offloading=on) */
    OFFLOAD_VIRTIO, /* a virtio_net_hdr in front of each frame says what is left to do, both ways */
    OFFLOAD_N,
};

enum { PORT_WHOLE_NONE = 1 }; /* of whole_max: each is cut */

struct port {
    /* Set by the owner before lan_join(), then constant. */
    char name[PORT_NAME_SIZE];
    enum port_role role;
    void *owner; /* not read by the switch */

    /* Set by port_plug() and port_unplug(): the cable. NULL ops: nothing is plugged in. */
    const struct port_ops *ops;
    void *link; /* not read by the switch */

    /* Set by the owner before a cable comes, then constant while it is in. */
    enum port_offload offload;
    bool takes_udp_gso; /* OFFLOAD_VIRTIO: of UDP too, which older systems refuse */
    uint32_t
        whole_max; /* of frames that are to be cut it takes those up to this length; 0: as its kind does */

    /* Settings: the owner may change them at any time. */
    bool enabled;       /* false: the link is set down over the API; nothing passes in or out */
    bool isolated;      /* frames pass only between this port and the uplink */
    uint32_t frame_max; /* longest untagged frame it takes; a tagged one may have 4 bytes more */

    /* Maintained by the link in it. */
    bool pushes_back; /* its queue is past its mark and it is reading: sources that can wait should */
    uint32_t queued;  /* frames in the link's queue */

    struct counters counters;

    /* The switch's own: nobody else touches these. */
    struct lan *lan;
    struct port *next, *prev; /* in lan->ports */
    struct {
        struct fdb_entry *oldest, *newest; /* learned entries, by last use */
        uint32_t n_learned, limit;
        struct port *next_equal, *prev_equal; /* ports with as many entries */
        struct fdb_entry *statics;
        struct {
            uint64_t generation, mac;
            struct port *port;
        } found; /* the last destination */
    } fdb;
    struct {
        uint32_t first, last; /* unicast runs of the batch for this port: indices, chained */
        struct port *next_touched;
        bool is_touched;
    } batch;
};

/* Frames may pass out: it has a link and is enabled. */
static inline bool port_is_up(const struct port *port)
{
    return port->ops && port->enabled;
}

static inline void port_plug(struct port *port, const struct port_ops *ops, void *link)
{
    port->ops = ops;
    port->link = link;
}

/* The link must have accounted for its queue ('queued' is 0) before it calls this. */
static inline void port_unplug(struct port *port)
{
    port->ops = NULL;
    port->link = NULL;
    port->pushes_back = false;
}

/* Counts a frame that came in and is dropped before it reached lan_receive(). */
static inline void port_drop_in(struct port *port, enum drop_reason reason, uint64_t bytes)
{
    port->counters.frames_in++;
    port->counters.bytes_in += bytes;
    port->counters.drops[reason]++;
}

/* "off", "raw", "virtio"; a static string. */
const char *port_offload_name(enum port_offload offload);

/* [a-z0-9][a-z0-9_-]{0,31}: names of networks and of ports. */
bool port_name_is_valid(const char *name);

#endif
