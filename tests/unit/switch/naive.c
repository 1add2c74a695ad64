/* tests/unit/switch/naive.c - the switch again, as simple as it can be */
#include "tests/unit/switch/naive.h"

#include <string.h>

#include "switch/mac.h"

enum { UPLINK = 0, NO_PORT = -1 };

/* --- the table --- */

static uint32_t n_learned_at(const struct naive *naive, int port)
{
    uint32_t n = 0;

    for (int i = 0; i < NAIVE_ENTRIES; i++)
        n += naive->entries[i].is_used && !naive->entries[i].is_static && naive->entries[i].port == port;
    return n;
}

uint32_t naive_n_learned(const struct naive *naive)
{
    uint32_t n = 0;

    for (int port = 0; port < NAIVE_PORTS; port++)
        n += n_learned_at(naive, port);
    return n;
}

static struct naive_entry *find(struct naive *naive, uint64_t mac)
{
    for (int i = 0; i < NAIVE_ENTRIES; i++)
        if (naive->entries[i].is_used && naive->entries[i].mac == mac)
            return &naive->entries[i];
    return NULL;
}

const struct naive_entry *naive_find(const struct naive *naive, uint64_t mac)
{
    for (int i = 0; i < NAIVE_ENTRIES; i++)
        if (naive->entries[i].is_used && naive->entries[i].mac == mac)
            return &naive->entries[i];
    return NULL;
}

static void insert(struct naive *naive, struct naive_entry entry)
{
    for (int i = 0; i < NAIVE_ENTRIES; i++)
        if (!naive->entries[i].is_used) {
            entry.is_used = true;
            entry.order = ++naive->order;
            naive->entries[i] = entry;
            if (!entry.is_static)
                naive->ports[entry.port].order = ++naive->order;
            return;
        }
}

static void discard(struct naive *naive, struct naive_entry *entry)
{
    entry->is_used = false;
    if (!entry->is_static)
        naive->ports[entry->port].order = ++naive->order;
}

static struct naive_entry *oldest_of(struct naive *naive, int port)
{
    struct naive_entry *oldest = NULL;

    for (int i = 0; i < NAIVE_ENTRIES; i++) {
        struct naive_entry *entry = &naive->entries[i];
        if (entry->is_used && !entry->is_static && entry->port == port &&
            (!oldest || entry->order < oldest->order))
            oldest = entry;
    }
    return oldest;
}

/* Whether 'a' gives up an entry before 'b': it has more, or is the uplink, or has had as many for longer. */
static bool gives_before(const struct naive *naive, int a, int b)
{
    uint32_t n_a = n_learned_at(naive, a);
    uint32_t n_b = n_learned_at(naive, b);

    if (n_a != n_b)
        return n_a > n_b;
    if (a == UPLINK || b == UPLINK)
        return a == UPLINK;
    return naive->ports[a].order < naive->ports[b].order;
}

static void evict(struct naive *naive, int port)
{
    discard(naive, oldest_of(naive, port));
    naive->n_evictions++;
}

static void learn_new(struct naive *naive, uint64_t mac, int port, uint64_t now_ms)
{
    const struct fdb_options *options = &naive->options.fdb;
    int most = 0;

    if (n_learned_at(naive, port) == (port == UPLINK ? options->uplink_limit : options->port_limit)) {
        evict(naive, port);
    } else if (naive_n_learned(naive) == options->capacity) {
        for (int i = 1; i < NAIVE_PORTS; i++)
            if (gives_before(naive, i, most))
                most = i;
        evict(naive, most);
    }
    insert(naive, (struct naive_entry){.mac = mac, .port = port, .used_ms = now_ms});
}

static bool is_up(const struct naive_port *port)
{
    return port->is_plugged && port->is_enabled;
}

static void learn(struct naive *naive, uint64_t mac, int port, uint64_t now_ms)
{
    struct naive_entry *entry = find(naive, mac);

    if (!entry) {
        learn_new(naive, mac, port, now_ms);
        return;
    }
    if (entry->is_static)
        return;
    if (entry->port == port) {
        if (entry->used_ms != now_ms)
            entry->order = ++naive->order;
        entry->used_ms = now_ms;
        return;
    }
    if (is_up(&naive->ports[entry->port]) &&
        (port == UPLINK || now_ms < entry->used_ms + naive->options.fdb.hold_ms)) {
        naive->n_flaps++;
        naive->flap_mac = mac;
        naive->flap_at_ms = now_ms;
        naive->flap_port = entry->port;
        naive->flap_claimant = port;
        return;
    }
    discard(naive, entry);
    learn_new(naive, mac, port, now_ms);
    naive->n_moves++;
}

bool naive_add_static(struct naive *naive, uint64_t mac, int port)
{
    struct naive_entry *entry = find(naive, mac);

    if (mac == 0 || mac_is_group(mac))
        return false;
    if (entry)
        discard(naive, entry);
    insert(naive, (struct naive_entry){.mac = mac, .port = port, .is_static = true});
    return true;
}

void naive_remove_static(struct naive *naive, uint64_t mac)
{
    struct naive_entry *entry = find(naive, mac);

    if (entry && entry->is_static)
        discard(naive, entry);
}

static void age_port(struct naive *naive, int port, uint64_t now_ms)
{
    for (int i = 0; i < NAIVE_ENTRIES; i++) {
        struct naive_entry *entry = &naive->entries[i];
        if (entry->is_used && !entry->is_static && entry->port == port &&
            now_ms >= entry->used_ms + naive->options.fdb.age_ms)
            discard(naive, entry);
    }
}

/* From the port with fewest to the port with most, as it decides who gives up first the next time; among
 * equals in the order in which they would give up. */
void naive_age(struct naive *naive, uint64_t now_ms)
{
    struct naive before = *naive;
    bool is_done[NAIVE_PORTS] = {false};

    for (int round = 0; round < NAIVE_PORTS; round++) {
        int next = NO_PORT;
        for (int i = 0; i < NAIVE_PORTS; i++) {
            if (is_done[i])
                continue;
            if (next == NO_PORT || n_learned_at(&before, i) < n_learned_at(&before, next) ||
                (n_learned_at(&before, i) == n_learned_at(&before, next) && gives_before(&before, i, next)))
                next = i;
        }
        is_done[next] = true;
        age_port(naive, next, now_ms);
    }
}

uint32_t naive_flush(struct naive *naive)
{
    uint32_t n = naive_n_learned(naive);

    for (int i = 0; i < NAIVE_ENTRIES; i++)
        if (naive->entries[i].is_used && !naive->entries[i].is_static)
            discard(naive, &naive->entries[i]);
    return n;
}

/* --- ports and frames --- */

void naive_join(struct naive *naive, int port)
{
    memset(&naive->ports[port], 0, sizeof(naive->ports[port]));
    naive->ports[port].is_joined = true;
}

void naive_leave(struct naive *naive, int port)
{
    for (int i = 0; i < NAIVE_ENTRIES; i++)
        if (naive->entries[i].is_used && naive->entries[i].port == port)
            discard(naive, &naive->entries[i]);
    naive->ports[port].is_joined = false;
}

static bool is_tagged(const struct naive_frame *frame)
{
    return frame->ethertype == 0x8100 || frame->ethertype == 0x88A8;
}

/* DROP_N_REASONS: it may come in. */
static enum drop_reason check_source(const struct naive *naive, int from, const struct naive_frame *frame)
{
    const struct naive_entry *entry = naive_find(naive, frame->source);
    uint32_t limit = naive->options.mtu + (is_tagged(frame) ? 18 : 14);

    if (!naive->ports[from].is_enabled)
        return DROP_port_disabled;
    if (frame->len > limit)
        return DROP_oversize;
    if (frame->source == 0 || mac_is_group(frame->source))
        return DROP_bad_source;
    if (from != UPLINK && entry && entry->is_static && entry->port == UPLINK)
        return DROP_uplink_source;
    return DROP_N_REASONS;
}

static bool is_barred(const struct naive *naive, int from, int to)
{
    if (from == UPLINK || to == UPLINK)
        return false;
    return naive->options.isolated || naive->ports[from].is_isolated || naive->ports[to].is_isolated;
}

static bool is_too_big(const struct naive_port *to, const struct naive_frame *frame)
{
    return frame->len > to->frame_max + (is_tagged(frame) ? 4U : 0U);
}

/* DROP_N_REASONS: 'to' gets it. *ret_at is the port that counts the drop. */
static enum drop_reason check_known(const struct naive *naive, int from, int to,
                                    const struct naive_frame *frame, int *ret_at)
{
    *ret_at = from;
    if (to == from)
        return DROP_same_port;
    if (is_barred(naive, from, to))
        return DROP_isolated;
    *ret_at = to;
    if (!is_up(&naive->ports[to]))
        return DROP_link_down;
    if (is_too_big(&naive->ports[to], frame))
        return DROP_too_big;
    return DROP_N_REASONS;
}

static void receive(struct naive_port *port, size_t index)
{
    port->received[port->n_received++] = index;
}

static void flood(struct naive *naive, int from, const struct naive_frame *frame, size_t index)
{
    struct naive_port *source = &naive->ports[from];
    bool is_somebody_barred = false;
    uint64_t n_copies = 0;

    for (int to = 0; to < NAIVE_PORTS; to++) {
        struct naive_port *port = &naive->ports[to];
        if (to == from || !port->is_joined || !is_up(port))
            continue;
        if (is_barred(naive, from, to)) {
            is_somebody_barred = true;
            continue;
        }
        n_copies++;
        if (is_too_big(port, frame))
            port->counters.drops[DROP_too_big]++;
        else
            receive(port, index);
    }
    if (n_copies > 0)
        source->counters.flood_copies += n_copies - 1;
    else
        source->counters.drops[is_somebody_barred ? DROP_isolated : DROP_no_port]++;
}

static void forward(struct naive *naive, int from, const struct naive_frame *frame, size_t index)
{
    enum drop_reason drop = check_source(naive, from, frame);
    const struct naive_entry *entry = naive_find(naive, frame->destination);
    int at = from;

    naive->ports[from].counters.frames_in++;
    naive->ports[from].counters.bytes_in += frame->len;
    if (drop == DROP_N_REASONS && mac_is_reserved(frame->destination))
        drop = DROP_reserved;
    if (drop == DROP_N_REASONS && !entry) {
        flood(naive, from, frame, index);
        return;
    }
    if (drop == DROP_N_REASONS)
        drop = check_known(naive, from, entry->port, frame, &at);
    if (drop == DROP_N_REASONS)
        receive(&naive->ports[at], index);
    else
        naive->ports[at].counters.drops[drop]++;
}

/* Whether a frame is for a known port that would get it but for its full queue. */
static bool has_to_wait(const struct naive *naive, int from, const struct naive_frame *frame)
{
    const struct naive_entry *entry = naive_find(naive, frame->destination);
    int at = 0;

    return check_source(naive, from, frame) == DROP_N_REASONS && entry &&
           check_known(naive, from, entry->port, frame, &at) == DROP_N_REASONS &&
           naive->ports[entry->port].pushes_back;
}

enum lan_verdict naive_receive(struct naive *naive, int from, const struct naive_frame *frames, size_t n,
                               bool may_wait, uint64_t now_ms)
{
    uint64_t last_source = 0;

    for (int i = 0; i < NAIVE_PORTS; i++)
        naive->ports[i].n_received = 0;
    for (size_t i = 0; i < n; i++) {
        enum drop_reason drop = check_source(naive, from, &frames[i]);
        /* A run of frames from one source is one attempt to use its address. An oversize frame does not
         * end the run, as nobody looked at its source. */
        if (drop == DROP_N_REASONS && frames[i].source != last_source)
            learn(naive, frames[i].source, from, now_ms);
        if (drop != DROP_oversize)
            last_source = frames[i].source;
    }
    for (size_t i = 0; i < n; i++)
        if (may_wait && has_to_wait(naive, from, &frames[i]))
            return LAN_WAIT;
    for (size_t i = 0; i < n; i++)
        forward(naive, from, &frames[i], i);
    return LAN_TAKEN;
}
