/* switch/lan.c - the way of a frame through one broadcast domain
 *
 * How it works
 *   Frames come in runs: a transfer sends many in a row between the same two addresses. lan_receive() cuts
 *   its batch into such runs, and a run is looked up, decided and counted once. What came as a row
 *   (switch/row.h) stays one on its way to a port that takes rows; for the others the batch is spread, once.
 *
 *   1 cut     makes the runs. A frame that is longer than the network allows is a run of its own.
 *   2 admit   refuses what may not come in and learns the sources of the rest. That all of a batch is
 *             learned before any of it is forwarded is chosen: the table then stands still while ports
 *             are chosen, and a reply that shares a batch with what makes its receiver known is not
 *             flooded.
 *   3 choose  gives each run one port, all ports, or a reason to be dropped. If a chosen port pushes
 *             back and the source can wait, the batch ends here and nothing has been counted. What was
 *             learned stays: offered again, the batch teaches the same.
 *   4 settle  counts every frame and hands each port that is touched its frames, once; again only where
 *             more come of them than there is room for.
 *
 *   A run for one port is chained to that port by its index, so it costs the same among two ports and
 *   among a thousand. Runs for all ports are kept in one list for the batch and merged into each port's
 *   chain by index. So each port gets its frames in the order in which they came.
 *
 *   A frame with work left to do (switch/offload.h) goes on as it is where the port takes it so. Else its
 *   checksum is finished in place, which does for the ports that come after, or it is cut into pieces
 *   for this port alone.
 *
 * What is always true
 *   frames_in + flood_copies + segment_copies == frames_out + sum of drops + queued. A flooded frame
 *   makes one copy for every other port that is up and not barred by isolation, even if the copy is then
 *   too big for it; a frame without any receiver is dropped once.
 *   Between two calls no port is touched. port_ops.send must not call lan_receive() of the same lan.
 *
 * Memory
 *   One struct lan (about 45 KiB) and its forwarding database, both from lan_create().
 */
#include "switch/lan.h"

#include <stdlib.h>
#include <string.h>

#include "switch/mac.h"
#include "switch/offload.h"
#include "switch/row.h"

/* Made for one port before it is handed what there is: what a frame of 64 KiB makes at an MTU of 1500. */
enum { LAN_PIECES = 48 };

#define NO_DROP DROP_N_REASONS
#define NO_INDEX UINT32_MAX

/* Frames in a row with the same addresses and EtherType, and what becomes of them. */
struct run {
    uint32_t first, n;              /* rows of the batch */
    uint32_t first_frame, n_frames; /* of the batch, if it were spread */
    uint32_t tag;                   /* bytes of a VLAN tag, which limits allow on top */
    uint32_t longest;               /* frame, without GSO */
    bool has_work;                  /* one of them is not plain */
    uint32_t bytes;
    struct port *port; /* receives it, or counts its drop; NULL: all other ports */
    enum drop_reason drop;
    uint32_t next; /* run in the chain of the same port */
};

struct lan {
    struct fdb *fdb;
    struct port *first, *last;
    uint32_t mtu;
    bool isolated;
    struct counters departed; /* of the ports that have left */

    /* Of the batch at hand; kept here to spare the stack. */
    struct run runs[LAN_BATCH_MAX];
    size_t n_runs;
    bool has_rows;  /* of more than one frame */
    bool is_spread; /* 'singles' is filled */
    struct frame singles[LAN_BATCH_MAX];
    uint32_t floods[LAN_BATCH_MAX]; /* runs for all ports */
    size_t n_floods, n_flood_frames;
    struct port *touched;                   /* ports with a chain */
    const struct frame *out[LAN_BATCH_MAX]; /* for the port at hand */
    size_t n_out;
    struct offload_piece pieces[LAN_PIECES];
    size_t n_pieces;
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

/* --- 1: cut --- */

/* Limits allow a VLAN tag on top. */
static uint32_t tag_len(const struct frame *frame)
{
    return frame_is_tagged(frame) ? FRAME_VLAN_TAG : 0;
}

/* The length that limits are about; GSO frames are cut to fit. */
static uint32_t whole_len(const struct frame *frame)
{
    return offload_is_gso(frame) ? 0 : frame->len > frame->more_max ? frame->len : frame->more_max;
}

/* Begins a run at the first of the 'n' rows and takes in those that follow it in the same flow and are not
 * too long. What is the same for all is looked at once. */
static void make_run(const struct lan *lan, struct run *run, const struct frame *rows, size_t n)
{
    const struct row_flow flow = row_flow_of(rows->head);
    const uint32_t tag = tag_len(rows), limit = lan->mtu + FRAME_ETHER_HEADER + tag;
    uint32_t longest = whole_len(rows), bytes = row_bytes(rows), n_frames = row_count(rows);
    bool has_work = !offload_is_plain(rows);
    size_t i;

    if (longest > limit)
        n = 1;
    for (i = 1; i < n; i++) {
        const struct frame *row = &rows[i];
        const uint32_t len = whole_len(row);

        if (len > limit || !row_is_of_flow(row->head, &flow))
            break;
        longest = len > longest ? len : longest;
        bytes += row_bytes(row);
        n_frames += row_count(row);
        has_work |= !offload_is_plain(row);
    }
    run->n = (uint32_t)i;
    run->n_frames = n_frames;
    run->tag = tag;
    run->longest = longest;
    run->bytes = bytes;
    run->has_work = has_work;
    run->drop = longest > limit ? DROP_oversize : NO_DROP;
}

/* Returns false if there is a row of which one frame is too long and another may not be. */
static bool cut_runs(struct lan *lan, struct port *from, const struct frame *rows, size_t n)
{
    uint32_t n_frames = 0;

    lan->n_runs = 0;
    lan->is_spread = false;
    for (size_t i = 0; i < n;) {
        struct run *run = &lan->runs[lan->n_runs++];

        make_run(lan, run, rows + i, n - i);
        if (run->drop != NO_DROP && run->n_frames > 1)
            return false;
        run->first = (uint32_t)i;
        run->first_frame = n_frames;
        run->port = from;
        i += run->n;
        n_frames += run->n_frames;
    }
    lan->has_rows = n_frames > n;
    return true;
}

/* The frames of a run by themselves. */
static struct frame *singles_of(struct lan *lan, struct frame *rows, const struct run *run)
{
    const struct run *last = &lan->runs[lan->n_runs - 1];

    if (!lan->has_rows)
        return rows + run->first;
    if (!lan->is_spread)
        row_spread(rows, last->first + last->n, lan->singles);
    lan->is_spread = true;
    return lan->singles + run->first_frame;
}

/* --- 2: admit --- */

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

/* Sets 'drop' of every run. Runs from one source in a row are looked up once. */
static void admit(struct lan *lan, struct port *from, const struct frame *rows, uint64_t now_ms)
{
    uint64_t last_source = 0;
    enum drop_reason last_drop = DROP_bad_source; /* which zero is */

    for (struct run *run = lan->runs; run < lan->runs + lan->n_runs; run++) {
        const uint8_t *head = rows[run->first].head;

        if (!from->enabled) {
            run->drop = DROP_port_disabled;
        } else if (run->drop == NO_DROP) {
            uint64_t source = mac_load(head + MAC_LEN);
            if (source != last_source)
                last_drop = admit_source(lan, from, source, now_ms);
            last_source = source;
            run->drop = last_drop;
            /* Its source is learned all the same: the neighbour that speaks LLDP is there. */
            if (run->drop == NO_DROP && mac_is_reserved(mac_load(head)))
                run->drop = DROP_reserved;
        }
    }
}

/* --- 3: choose --- */

/* Isolation: two VM ports may not talk; to and from the uplink all may. */
static bool may_pass(const struct lan *lan, const struct port *from, const struct port *to)
{
    return from->role == PORT_UPLINK || to->role == PORT_UPLINK ||
           !(lan->isolated || from->isolated || to->isolated);
}

/* Sends the run to 'to', or says who counts its drop, and why. What is too big is found frame by frame. */
static void choose_known(const struct lan *lan, struct port *from, struct port *to, struct run *run)
{
    if (to == from) {
        run->drop = DROP_same_port;
    } else if (!may_pass(lan, from, to)) {
        run->drop = DROP_isolated;
    } else {
        run->port = to;
        if (!port_is_up(to))
            run->drop = DROP_link_down;
    }
}

/* True if the port takes at least one frame of the run, by length. */
static bool fits_any(struct lan *lan, const struct port *to, struct frame *rows, const struct run *run)
{
    const struct frame *frame = singles_of(lan, rows, run), *end = frame + run->n_frames;

    for (; frame < end; frame++) {
        if (offload_is_gso(frame) || frame->len <= to->frame_max + run->tag)
            return true;
    }
    return false;
}

/* Completes the runs that admit() has left open. Returns true if a port that is to receive pushes back. */
static bool choose(struct lan *lan, struct port *from, struct frame *rows)
{
    bool is_pushed_back = false;

    for (struct run *run = lan->runs; run < lan->runs + lan->n_runs; run++) {
        if (run->drop != NO_DROP)
            continue;
        uint64_t destination = mac_load(rows[run->first].head);
        struct port *to = mac_is_group(destination) ? NULL : fdb_find_for(lan->fdb, from, destination);
        if (!to) {
            run->port = NULL;
            continue;
        }
        choose_known(lan, from, to, run);
        if (run->drop == NO_DROP && to->pushes_back && fits_any(lan, to, rows, run))
            is_pushed_back = true;
    }
    return is_pushed_back;
}

/* --- 4: settle --- */

static void chain_run(struct lan *lan, struct port *port, uint32_t index)
{
    lan->runs[index].next = NO_INDEX;
    if (port->batch.is_touched) {
        lan->runs[port->batch.last].next = index;
    } else {
        port->batch.is_touched = true;
        port->batch.first = index;
        port->batch.next_touched = lan->touched;
        lan->touched = port;
    }
    port->batch.last = index;
}

/* Counts every frame of the batch and sorts those not dropped into chains and the list of floods. */
static void sort_runs(struct lan *lan, struct port *from)
{
    lan->touched = NULL;
    lan->n_floods = 0;
    lan->n_flood_frames = 0;
    for (uint32_t i = 0; i < lan->n_runs; i++) {
        const struct run *run = &lan->runs[i];

        from->counters.frames_in += run->n_frames;
        from->counters.bytes_in += run->bytes;
        if (run->drop != NO_DROP) {
            run->port->counters.drops[run->drop] += run->n_frames;
        } else if (run->port) {
            chain_run(lan, run->port, i);
        } else {
            lan->floods[lan->n_floods++] = i;
            lan->n_flood_frames += run->n_frames;
        }
    }
}

static void flush(struct lan *lan, struct port *port)
{
    if (lan->n_out > 0)
        port->ops->send(port, lan->out, lan->n_out);
    lan->n_out = lan->n_pieces = 0;
}

static void put_out(struct lan *lan, struct port *port, const struct frame *frame)
{
    if (lan->n_out == LAN_BATCH_MAX)
        flush(lan, port);
    lan->out[lan->n_out++] = frame;
}

static void put_segments(struct lan *lan, struct port *port, const struct frame *frame)
{
    struct offload_cut cut;
    size_t n;

    if (offload_cut_len(frame) > port->frame_max + tag_len(frame)) {
        port->counters.drops[DROP_too_big]++;
        return;
    }
    port->counters.segment_copies += offload_cut_count(frame) - 1;
    offload_cut_begin(&cut, frame);
    do {
        if (lan->n_pieces == LAN_PIECES || lan->n_out + LAN_PIECES > LAN_BATCH_MAX)
            flush(lan, port);
        struct offload_piece *pieces = lan->pieces + lan->n_pieces;
        n = offload_cut_next(&cut, pieces, LAN_PIECES - lan->n_pieces);
        lan->n_pieces += n;
        for (size_t i = 0; i < n; i++)
            put_out(lan, port, &pieces[i].frame);
    } while (n > 0);
}

/* Finished, in one piece. A long frame of UDP is no datagram, but many: it has to be cut. So has one that its
 * sender may make (IPv6, or a tag) and a client without a header has no room for. */
static void put_whole(struct lan *lan, struct port *port, const struct frame *frame)
{
    if (lan->n_pieces == LAN_PIECES || lan->n_out == LAN_BATCH_MAX)
        flush(lan, port);
    struct offload_piece *piece = &lan->pieces[lan->n_pieces];
    if (frame->len <= FRAME_OFFLOAD_MAX && offload_finish_whole(frame, piece)) {
        lan->n_pieces++;
        put_out(lan, port, &piece->frame);
    } else {
        put_segments(lan, port, frame);
    }
}

static bool takes_gso(const struct port *port, const struct frame *frame)
{
    return port->offload == OFFLOAD_VIRTIO &&
           (frame->offload.gso_type != OFFLOAD_GSO_UDP_L4 || port->takes_udp_gso);
}

/* Does what is left to do and 'port' does not take on itself. */
static void put_frame(struct lan *lan, struct port *port, struct frame *frame)
{
    if (offload_is_gso(frame)) {
        const bool is_short = !port->whole_max || frame->len <= port->whole_max;
        if (is_short && takes_gso(port, frame))
            put_out(lan, port, frame);
        else if (is_short && port->offload == OFFLOAD_RAW)
            put_whole(lan, port, frame);
        else
            put_segments(lan, port, frame);
    } else if (frame->len > port->frame_max + tag_len(frame)) {
        port->counters.drops[DROP_too_big]++;
    } else {
        if (port->offload != OFFLOAD_VIRTIO)
            offload_finish(frame);
        put_out(lan, port, frame);
    }
}

/* Its wire is that of a stream without headers: neighbours in the buffer are neighbours there. */
static bool takes_rows(const struct port *port)
{
    return port->ops->takes_rows && port->offload != OFFLOAD_VIRTIO;
}

static void put_run(struct lan *lan, struct port *port, struct frame *rows, const struct run *run)
{
    const bool is_as_it_is = !run->has_work && run->longest <= port->frame_max + run->tag &&
                             lan->n_out + run->n_frames <= LAN_BATCH_MAX;
    struct frame *frame = rows + run->first, *end = frame + run->n;

    if (lan->has_rows && !(is_as_it_is && takes_rows(port))) {
        frame = singles_of(lan, rows, run);
        end = frame + run->n_frames;
    }
    for (; is_as_it_is && frame < end; frame++)
        lan->out[lan->n_out++] = frame;
    for (; frame < end; frame++)
        put_frame(lan, port, frame);
}

/* Hands 'port' its chain, merged by index with the first 'n_floods' of the floods. */
static void hand_over(struct lan *lan, struct port *port, struct frame *rows, size_t n_floods)
{
    size_t flood = 0;
    uint32_t index = port->batch.is_touched ? port->batch.first : NO_INDEX;

    port->batch.is_touched = false;
    while (flood < n_floods || index != NO_INDEX) {
        if (flood == n_floods || index < lan->floods[flood]) {
            put_run(lan, port, rows, &lan->runs[index]);
            index = lan->runs[index].next;
        } else {
            put_run(lan, port, rows, &lan->runs[lan->floods[flood++]]);
        }
    }
    flush(lan, port);
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
        from->counters.flood_copies += (n_copies - 1) * lan->n_flood_frames;
    else
        from->counters.drops[drop] += lan->n_flood_frames;
}

enum lan_verdict lan_receive(struct lan *lan, struct port *from, struct frame *rows, size_t n, bool may_wait,
                             uint64_t now_ms)
{
    if (!cut_runs(lan, from, rows, n)) {
        n = row_spread(rows, n, lan->singles);
        rows = lan->singles;
        (void)cut_runs(lan, from, rows, n);
    }
    admit(lan, from, rows, now_ms);
    if (choose(lan, from, rows) && may_wait)
        return LAN_WAIT;

    sort_runs(lan, from);
    if (lan->n_floods > 0) {
        count_floods(lan, from);
        for (struct port *port = lan->first; port; port = port->next)
            if (port != from && port_is_up(port) && may_pass(lan, from, port))
                hand_over(lan, port, rows, lan->n_floods);
    }
    /* With floods, none is left: whoever may be sent one frame may be sent all. */
    for (struct port *port = lan->touched; port; port = port->batch.next_touched)
        if (port->batch.is_touched)
            hand_over(lan, port, rows, 0);
    return LAN_TAKEN;
}

/* --- the rest --- */

uint64_t lan_tick(struct lan *lan, uint64_t now_ms)
{
    return fdb_age(lan->fdb, now_ms);
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
