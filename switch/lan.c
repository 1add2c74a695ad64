/* switch/lan.c - the way of a frame through one broadcast domain
 *
 * How it works
 *   lan_receive() walks its batch three times.
 *   1 admit   refuses what may not come in and learns the sources of the rest. That all of a batch is
 *             learned before any of it is forwarded is chosen: the table then stands still while ports
 *             are chosen, so each look-up may be remembered for the next frame, and a reply that shares
 *             a batch with what makes its receiver known is not flooded.
 *   2 choose  gives each frame one port, all ports, or a reason to be dropped. If a chosen port pushes
 *             back and the source can wait, the batch ends here and nothing has been counted. What was
 *             learned stays: offered again, the batch teaches the same.
 *   3 settle  counts every frame and hands each port that is touched its frames, once.
 *
 *   A frame for one port is chained to that port by its index in the batch, so it costs the same among
 *   two ports and among a thousand. Frames for all ports are kept in one list for the batch and merged
 *   into each port's chain by index. So each port gets its frames in the order in which they came.
 *
 * What is always true
 *   frames_in + flood_copies == frames_out + sum of drops + queued. A flooded frame makes one copy for
 *   every other port that is up and not barred by isolation, even if the copy is then too big for it; a
 *   frame without any receiver is dropped once.
 *   Between two calls no port is touched. port_ops.send must not call lan_receive() of the same lan.
 *
 * Memory
 *   One struct lan (about 9 KiB) and its forwarding database, both from lan_create().
 */
#include "switch/lan.h"

#include <stdlib.h>

#include "switch/mac.h"

#define NO_DROP DROP_N_REASONS
#define NO_INDEX UINT32_MAX

/* What becomes of a frame. */
struct choice {
    struct port *port; /* receives it, or counts its drop; NULL: all other ports */
    enum drop_reason drop;
};

struct lan {
    struct fdb *fdb;
    struct port *first, *last;
    uint32_t mtu;
    bool isolated;
    struct counters departed; /* of the ports that have left */

    /* Of the batch at hand; kept here to spare the stack. */
    struct choice choices[LAN_BATCH_MAX];
    uint32_t next[LAN_BATCH_MAX];   /* in the chain of the same port */
    uint32_t floods[LAN_BATCH_MAX]; /* frames for all ports */
    size_t n_floods;
    struct port *touched; /* ports with a chain */
    const struct frame *out[LAN_BATCH_MAX];
};

struct lan *lan_create(const struct lan_options *options)
{
    struct lan *lan = calloc(1, sizeof(*lan));
    if (!lan)
        return NULL;

    lan->fdb = fdb_create(&options->fdb);
    if (!lan->fdb) {
        free(lan);
        return NULL;
    }
    lan->mtu = options->mtu;
    lan->isolated = options->isolated;
    return lan;
}

void lan_destroy(struct lan *lan)
{
    if (!lan)
        return;
    fdb_destroy(lan->fdb);
    free(lan);
}

void lan_join(struct lan *lan, struct port *port)
{
    port->lan = lan;
    port->batch.is_touched = false;
    port->prev = lan->last;
    port->next = NULL;
    if (port->prev)
        port->prev->next = port;
    else
        lan->first = port;
    lan->last = port;
    fdb_add_port(lan->fdb, port);
}

void lan_leave(struct lan *lan, struct port *port)
{
    fdb_forget_port(lan->fdb, port);
    counters_add(&lan->departed, &port->counters);
    if (port->prev)
        port->prev->next = port->next;
    else
        lan->first = port->next;
    if (port->next)
        port->next->prev = port->prev;
    else
        lan->last = port->prev;
    port->lan = NULL;
}

/* --- 1: admit --- */

static bool is_oversize(const struct lan *lan, const struct frame *frame)
{
    uint32_t limit = lan->mtu + FRAME_ETHER_HEADER;

    return frame->len > limit && (!frame_is_tagged(frame) || frame->len > limit + FRAME_VLAN_TAG);
}

/* Learns 'source', unless a frame from it may not come in at all. */
static enum drop_reason admit_source(struct lan *lan, struct port *from, uint64_t source, uint64_t now_ms)
{
    if (source == 0 || mac_is_group(source))
        return DROP_bad_source;
    /* The uplink's own address is pinned to it: a guest that took it would take the gateway's place. The
     * static address of another VM is not learned either, but what to do about the frame is policy. */
    if (from->role == PORT_VM && fdb_is_static_elsewhere(lan->fdb, source, from) &&
        fdb_find(lan->fdb, source)->role == PORT_UPLINK)
        return DROP_uplink_source;
    fdb_learn(lan->fdb, source, from, now_ms);
    return NO_DROP;
}

/* Sets 'drop' of every choice. A run of frames from one source is looked up once. */
static void admit(struct lan *lan, struct port *from, const struct frame *frames, size_t n, uint64_t now_ms)
{
    uint64_t last_source = 0;
    enum drop_reason last_drop = DROP_bad_source; /* which zero is */

    for (size_t i = 0; i < n; i++) {
        const struct frame *frame = &frames[i];
        struct choice *choice = &lan->choices[i];
        choice->port = from;
        if (!from->enabled) {
            choice->drop = DROP_port_disabled;
        } else if (is_oversize(lan, frame)) {
            choice->drop = DROP_oversize;
        } else {
            uint64_t source = mac_load(frame->head + MAC_LEN);
            if (source != last_source)
                last_drop = admit_source(lan, from, source, now_ms);
            last_source = source;
            choice->drop = last_drop;
            /* Its source is learned all the same: the neighbour that speaks LLDP is there. */
            if (choice->drop == NO_DROP && mac_is_reserved(mac_load(frame->head)))
                choice->drop = DROP_reserved;
        }
    }
}

/* --- 2: choose --- */

/* Isolation: two VM ports may not talk; to and from the uplink all may. */
static bool may_pass(const struct lan *lan, const struct port *from, const struct port *to)
{
    return from->role == PORT_UPLINK || to->role == PORT_UPLINK ||
           !(lan->isolated || from->isolated || to->isolated);
}

static bool is_too_big(const struct port *to, const struct frame *frame)
{
    return frame->len > to->frame_max &&
           (!frame_is_tagged(frame) || frame->len - FRAME_VLAN_TAG > to->frame_max);
}

static struct choice choose_known(const struct lan *lan, struct port *from, struct port *to,
                                  const struct frame *frame)
{
    if (to == from)
        return (struct choice){from, DROP_same_port};
    if (!may_pass(lan, from, to))
        return (struct choice){from, DROP_isolated};
    if (!port_is_up(to))
        return (struct choice){to, DROP_link_down};
    if (is_too_big(to, frame))
        return (struct choice){to, DROP_too_big};
    return (struct choice){to, NO_DROP};
}

/* Completes the choices that admit() has left open. Returns true if a port that is to receive pushes back.
 * A run of frames for one destination is looked up once. */
static bool choose(struct lan *lan, struct port *from, const struct frame *frames, size_t n)
{
    bool is_pushed_back = false;
    uint64_t last_destination = 0;
    struct port *last_port = NULL; /* nobody is zero */

    for (size_t i = 0; i < n; i++) {
        struct choice *choice = &lan->choices[i];
        if (choice->drop != NO_DROP)
            continue;
        uint64_t destination = mac_load(frames[i].head);
        if (destination != last_destination)
            last_port = mac_is_group(destination) ? NULL : fdb_find(lan->fdb, destination);
        last_destination = destination;
        if (!last_port) {
            choice->port = NULL;
            continue;
        }
        *choice = choose_known(lan, from, last_port, &frames[i]);
        if (choice->drop == NO_DROP && choice->port->pushes_back)
            is_pushed_back = true;
    }
    return is_pushed_back;
}

/* --- 3: settle --- */

static void chain_frame(struct lan *lan, struct port *port, uint32_t index)
{
    lan->next[index] = NO_INDEX;
    if (port->batch.is_touched) {
        lan->next[port->batch.last] = index;
    } else {
        port->batch.is_touched = true;
        port->batch.first = index;
        port->batch.next_touched = lan->touched;
        lan->touched = port;
    }
    port->batch.last = index;
}

/* Counts every frame of the batch and sorts those not dropped into chains and the list of floods. */
static void sort_frames(struct lan *lan, struct port *from, const struct frame *frames, size_t n)
{
    lan->touched = NULL;
    lan->n_floods = 0;
    from->counters.frames_in += n;
    for (size_t i = 0; i < n; i++) {
        const struct choice *choice = &lan->choices[i];
        from->counters.bytes_in += frames[i].len;
        if (choice->drop != NO_DROP)
            choice->port->counters.drops[choice->drop]++;
        else if (choice->port)
            chain_frame(lan, choice->port, (uint32_t)i);
        else
            lan->floods[lan->n_floods++] = (uint32_t)i;
    }
}

/* Hands 'port' its chain, merged by index with the first 'n_floods' of the floods. */
static void hand_over(struct lan *lan, struct port *port, const struct frame *frames, size_t n_floods)
{
    size_t n = 0;
    size_t flood = 0;
    uint32_t index = port->batch.is_touched ? port->batch.first : NO_INDEX;

    port->batch.is_touched = false;
    while (flood < n_floods || index != NO_INDEX) {
        if (flood == n_floods || index < lan->floods[flood]) {
            lan->out[n++] = &frames[index];
            index = lan->next[index];
        } else {
            const struct frame *frame = &frames[lan->floods[flood++]];
            if (is_too_big(port, frame))
                port->counters.drops[DROP_too_big]++;
            else
                lan->out[n++] = frame;
        }
    }
    if (n > 0)
        port->ops->send(port, lan->out, n);
}

/* Counts the copies of the floods, which are as many for each; without any receiver, the drops. */
static void count_floods(const struct lan *lan, struct port *from)
{
    uint64_t n_copies = 0;
    enum drop_reason drop = DROP_no_port;

    for (const struct port *port = lan->first; port; port = port->next) {
        if (port == from || !port_is_up(port))
            continue;
        if (may_pass(lan, from, port))
            n_copies++;
        else
            drop = DROP_isolated;
    }
    if (n_copies > 0)
        from->counters.flood_copies += (n_copies - 1) * lan->n_floods;
    else
        from->counters.drops[drop] += lan->n_floods;
}

enum lan_verdict lan_receive(struct lan *lan, struct port *from, const struct frame *frames, size_t n,
                             bool may_wait, uint64_t now_ms)
{
    admit(lan, from, frames, n, now_ms);
    if (choose(lan, from, frames, n) && may_wait)
        return LAN_WAIT;

    sort_frames(lan, from, frames, n);
    if (lan->n_floods > 0) {
        count_floods(lan, from);
        for (struct port *port = lan->first; port; port = port->next)
            if (port != from && port_is_up(port) && may_pass(lan, from, port))
                hand_over(lan, port, frames, lan->n_floods);
    }
    /* With floods, none is left: whoever may be sent one frame may be sent all. */
    for (struct port *port = lan->touched; port; port = port->batch.next_touched)
        if (port->batch.is_touched)
            hand_over(lan, port, frames, 0);
    return LAN_TAKEN;
}

/* --- the rest --- */

void lan_tick(struct lan *lan, uint64_t now_ms)
{
    fdb_age(lan->fdb, now_ms);
}

void lan_set_isolated(struct lan *lan, bool isolated)
{
    lan->isolated = isolated;
}

void lan_totals(const struct lan *lan, struct counters *ret_totals, uint64_t *ret_queued)
{
    uint64_t queued = 0;

    *ret_totals = lan->departed;
    for (const struct port *port = lan->first; port; port = port->next) {
        counters_add(ret_totals, &port->counters);
        queued += port->queued;
    }
    if (ret_queued)
        *ret_queued = queued;
}

struct fdb *lan_fdb(struct lan *lan)
{
    return lan->fdb;
}

struct port *lan_next_port(const struct lan *lan, const struct port *port)
{
    return port ? port->next : lan->first;
}

uint32_t lan_mtu(const struct lan *lan)
{
    return lan->mtu;
}
