/* tests/unit/switch/model.c - the switch and its naive double under the same operations
 *
 * The table is small (12 learned entries, 4 of a VM, 6 of the uplink) and so is the stock of addresses, so
 * that every limit is hit all the time.
 */
#include "tests/unit/switch/model.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "switch/mac.h"
#include "switch/row.h"
#include "tests/unit/switch/fake.h"
#include "tests/unit/switch/naive.h"

enum {
    MTU = 600,
    OWN_MACS = 4, /* addresses that a port uses more than others do */
    N_MACS = NAIVE_PORTS * OWN_MACS,
    QUEUE_LIMIT = 5,
    LEN_MAX = 1600,
};

static const struct lan_options options = {
    .fdb = {.seed = {5, 6},
            .capacity = 12,
            .port_limit = 4,
            .uplink_limit = 6,
            .age_ms = 300000,
            .hold_ms = 3000},
    .mtu = MTU,
};

static const char *const port_names[NAIVE_PORTS] = {"uplink", "vm1", "vm2", "vm3",
                                                    "vm4",    "vm5", "vm6", "vm7"};

/* The two worlds, and the bytes that drive them. */
static struct {
    const uint8_t *data;
    size_t size, at;
    uint64_t now_ms;
    struct lan *lan;
    struct fake fakes[NAIVE_PORTS];
    struct naive naive;
    struct frame batch[NAIVE_BATCH];
    const uint8_t *heads[NAIVE_BATCH]; /* of each frame of the batch */
    uint8_t pieces[NAIVE_BATCH][FRAME_PREFIX + FRAME_HEAD_MIN];
    struct frame_segment rests[NAIVE_BATCH];
    uint8_t stream[NAIVE_BATCH * (FRAME_PREFIX + LEN_MAX)];
} world;

static struct switch_ops_tally tally;
static char mismatch[256];

const char *switch_ops_mismatch(void)
{
    return mismatch;
}

const struct switch_ops_tally *switch_ops_tally(void)
{
    return &tally;
}

/* Keeps the first finding of a run. */
__attribute__((format(printf, 2, 3))) static void expect(bool is_equal, const char *format, ...)
{
    char text[160];
    va_list args;

    if (is_equal || mismatch[0])
        return;
    va_start(args, format);
    (void)vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    (void)snprintf(mismatch, sizeof(mismatch), "byte %zu, %" PRIu64 " ms: %s", world.at, world.now_ms, text);
}

static uint8_t next_byte(void)
{
    return world.at < world.size ? world.data[world.at++] : 0;
}

/* --- comparing --- */

static void compare_received(int i)
{
    struct fake *fake = &world.fakes[i];
    const struct naive_port *naive = &world.naive.ports[i];

    expect(fake->n_frames == naive->n_received, "%s got %zu frames, not %zu", port_names[i], fake->n_frames,
           naive->n_received);
    expect(fake->n_sends == (naive->n_received > 0), "%s was sent to %zu times", port_names[i],
           fake->n_sends);
    for (size_t k = 0; k < fake->n_frames && k < naive->n_received; k++)
        expect(fake->heads[k] == world.heads[naive->received[k]], "%s got another frame than %zu as its %zu.",
               port_names[i], naive->received[k], k);
}

static void compare_counters(int i)
{
    const struct counters *real = &world.fakes[i].port.counters;
    const struct counters *naive = &world.naive.ports[i].counters;

    expect(real->frames_in == naive->frames_in, "%s frames_in", port_names[i]);
    expect(real->bytes_in == naive->bytes_in, "%s bytes_in", port_names[i]);
    expect(real->flood_copies == naive->flood_copies, "%s flood_copies", port_names[i]);
    for (int k = 0; k < DROP_N_REASONS; k++)
        if (k != DROP_queue_full && k != DROP_link_closed)
            expect(real->drops[k] == naive->drops[k], "%s drops %s: %" PRIu64 ", not %" PRIu64, port_names[i],
                   drop_reason_name((enum drop_reason)k), real->drops[k], naive->drops[k]);
}

static void compare_entry(const struct fdb_view *view, void *ctx)
{
    const struct naive_entry *entry = naive_find(&world.naive, view->mac);

    (*(size_t *)ctx)++;
    expect(entry != NULL, "%012" PRIx64 " should be unknown", view->mac);
    if (!entry)
        return;
    expect(view->port == &world.fakes[entry->port].port, "%012" PRIx64 " is at %s, not %s", view->mac,
           view->port->name, port_names[entry->port]);
    expect(view->is_static == entry->is_static, "%012" PRIx64 " is_static", view->mac);
    expect(view->age_ms == (entry->is_static ? 0 : world.now_ms - entry->used_ms), "%012" PRIx64 " age_ms",
           view->mac);
}

static void compare_table(void)
{
    const struct fdb *fdb = lan_fdb(world.lan);
    const struct fdb_flap *flap = fdb_last_flap(fdb);
    const struct naive *naive = &world.naive;
    size_t n_seen = 0;
    size_t n_entries = 0;

    for (int i = 0; i < NAIVE_ENTRIES; i++) {
        const struct naive_entry *entry = &naive->entries[i];
        n_entries += entry->is_used;
        if (entry->is_used)
            expect(fdb_find(fdb, entry->mac) == &world.fakes[entry->port].port,
                   "%012" PRIx64 " should be at %s", entry->mac, port_names[entry->port]);
    }
    fdb_visit(fdb, world.now_ms, compare_entry, &n_seen);
    expect(n_seen == n_entries, "%zu entries, not %zu", n_seen, n_entries);
    expect(fdb_n_learned(fdb) == naive_n_learned(naive), "n_learned");
    expect(fdb_n_moves(fdb) == naive->n_moves, "n_moves");
    expect(fdb_n_evictions(fdb) == naive->n_evictions, "n_evictions");
    expect(flap->count == naive->n_flaps, "flap.count %" PRIu64 ", not %" PRIu64, flap->count,
           naive->n_flaps);
    if (flap->count > 0) {
        expect(flap->mac == naive->flap_mac && flap->at_ms == naive->flap_at_ms, "flap.mac, flap.at_ms");
        expect(strcmp(flap->port, port_names[naive->flap_port]) == 0, "flap.port %s", flap->port);
        expect(strcmp(flap->claimed, port_names[naive->flap_claimant]) == 0, "flap.claimed %s",
               flap->claimed);
    }
}

static void compare(void)
{
    for (int i = 0; i < NAIVE_PORTS; i++)
        if (world.naive.ports[i].is_joined)
            compare_counters(i);
    compare_table();
    expect(fake_sum_holds(world.lan), "sum rule");
}

/* --- operations --- */

static void join(int i)
{
    struct naive_port *naive = &world.naive.ports[i];
    struct fake *fake = &world.fakes[i];

    if (naive->is_joined)
        return;
    fake_init(fake, world.lan, port_names[i], i == 0 ? PORT_UPLINK : PORT_VM);
    fake->takes_rows = i & 1;
    fake_plug(fake);
    fake->port.frame_max = MTU + FRAME_ETHER_HEADER;
    naive_join(&world.naive, i);
    naive->is_plugged = true;
    naive->is_enabled = true;
    naive->frame_max = fake->port.frame_max;
}

static void leave(int i)
{
    if (!world.naive.ports[i].is_joined)
        return;
    fake_unplug(&world.fakes[i]);
    lan_leave(world.lan, &world.fakes[i].port);
    naive_leave(&world.naive, i);
}

static void plug(int i, bool is_plugged)
{
    if (is_plugged)
        fake_plug(&world.fakes[i]);
    else
        fake_unplug(&world.fakes[i]);
    world.naive.ports[i].is_plugged = is_plugged;
}

static void set_frame_max(int i, unsigned value)
{
    static const uint32_t sizes[] = {0, 60, 500, MTU + 14, MTU + 14, MTU + 14, MTU + 18, 65536};

    world.fakes[i].port.frame_max = sizes[value % 8];
    world.naive.ports[i].frame_max = sizes[value % 8];
}

static void set_queue(int i, unsigned value)
{
    struct fake *fake = &world.fakes[i];

    fake_drain(fake);
    fake->queue_limit = value & 1 ? QUEUE_LIMIT : 0;
    fake->port.pushes_back = (value & 6) == 6;
}

static void advance_clock(unsigned value)
{
    static const uint64_t steps_ms[] = {0,    1,    1,    2,    10,     10,     1000,   1000,
                                        2999, 3000, 3001, 1500, 100000, 299999, 300000, 300001};

    world.now_ms += steps_ms[value % 16];
}

static uint64_t stock_mac(unsigned n)
{
    return UINT64_C(0x525400000000) + n % N_MACS;
}

static uint64_t pick_destination(void)
{
    static const uint64_t specials[] = {
        UINT64_C(0xFFFFFFFFFFFF), UINT64_C(0x3333000000FB), UINT64_C(0x0180C2000000),
        UINT64_C(0x0180C200000F), UINT64_C(0x0180C2000010), 0,
    };
    unsigned value = next_byte();

    return value < 6 * 4 ? specials[value % 6] : stock_mac(value);
}

static uint64_t pick_source(int from)
{
    unsigned value = next_byte();

    if (value < 3)
        return (const uint64_t[]){0, UINT64_C(0xFFFFFFFFFFFF), UINT64_C(0x01005E000001)}[value];
    return value & 0x80 ? stock_mac((unsigned)from * OWN_MACS + value % OWN_MACS) : stock_mac(value);
}

/* Makes up a frame; 'last' is the one before it, or NULL. */
static struct naive_frame pick_frame(int from, const struct naive_frame *last)
{
    static const uint32_t lengths[] = {14, 60, 60, 64, 65, 500, MTU + 14, MTU + 18, MTU + 19, LEN_MAX};
    unsigned shape = next_byte();

    if (last && shape >= 160) /* as those of a transfer */
        return (struct naive_frame){last->destination, last->source, lengths[shape % 10], last->ethertype};
    return (struct naive_frame){
        .destination = pick_destination(),
        .source = pick_source(from),
        .len = lengths[shape / 4 % 10],
        .ethertype = (const uint16_t[]){0x0800, 0x8100, 0x88A8, 0x86DD}[shape & 3],
    };
}

static void write_header(uint8_t *head, const struct naive_frame *naive)
{
    mac_store(head, naive->destination);
    mac_store(head + MAC_LEN, naive->source);
    head[12] = (uint8_t)(naive->ethertype >> 8);
    head[13] = (uint8_t)naive->ethertype;
}

/* Each frame by itself, in two pieces if it is longer than a head. Returns how many entries of the batch. */
static size_t build_pieces(const struct naive_frame *frames, size_t n)
{
    static const uint8_t tail[LEN_MAX];

    for (size_t i = 0; i < n; i++) {
        struct frame *frame = &world.batch[i];

        *frame = (struct frame){.head = world.pieces[i] + FRAME_PREFIX,
                                .len = frames[i].len,
                                .head_len = frames[i].len < FRAME_HEAD_MIN ? frames[i].len : FRAME_HEAD_MIN};
        write_header(frame->head, &frames[i]);
        if (frame->len > frame->head_len) {
            world.rests[i] = (struct frame_segment){tail, frame->len - frame->head_len};
            frame->rest = &world.rests[i];
            frame->n_rest = 1;
        }
        world.heads[i] = frame->head;
    }
    return n;
}

/* As a stream brings them: neighbours, those of one flow in rows. */
static size_t build_rows(const struct naive_frame *frames, size_t n)
{
    uint8_t *at = world.stream;
    size_t n_rows = 0;

    for (size_t i = 0; i < n; i++) {
        frame_put_len(at, frames[i].len);
        at += FRAME_PREFIX;
        write_header(at, &frames[i]);
        world.heads[i] = at;
        if (i > 0 && memcmp(at, world.heads[i - 1], FRAME_LEN_MIN) == 0) {
            struct frame *row = &world.batch[n_rows - 1];

            row->n_more++;
            row->more_bytes += frames[i].len;
            row->more_max = row->more_max > frames[i].len ? row->more_max : frames[i].len;
        } else {
            world.batch[n_rows++] =
                (struct frame){.head = at, .len = frames[i].len, .head_len = frames[i].len};
        }
        at += frames[i].len;
    }
    tally.n_rows += n - n_rows;
    return n_rows;
}
static void send_frames(int from, unsigned value)
{
    struct naive_frame frames[NAIVE_BATCH];
    size_t n = 1 + next_byte() % NAIVE_BATCH;
    bool may_wait = value & 1;

    for (size_t i = 0; i < n; i++)
        frames[i] = pick_frame(from, i > 0 ? &frames[i - 1] : NULL);
    size_t n_entries = value & 2 ? build_rows(frames, n) : build_pieces(frames, n);
    for (int i = 0; i < NAIVE_PORTS; i++) {
        fake_clear(&world.fakes[i]);
        world.naive.ports[i].pushes_back = world.fakes[i].port.pushes_back;
    }
    enum lan_verdict real =
        lan_receive(world.lan, &world.fakes[from].port, world.batch, n_entries, may_wait, world.now_ms);
    enum lan_verdict naive = naive_receive(&world.naive, from, frames, n, may_wait, world.now_ms);
    expect(real == naive, "verdict %d, not %d", real, naive);
    tally.n_waits += real == LAN_WAIT;
    for (int i = 0; i < NAIVE_PORTS; i++)
        if (world.naive.ports[i].is_joined)
            compare_received(i);
}

static void tick(void)
{
    uint32_t n_before = fdb_n_learned(lan_fdb(world.lan));

    lan_tick(world.lan, world.now_ms);
    naive_age(&world.naive, world.now_ms);
    tally.n_aged += n_before - fdb_n_learned(lan_fdb(world.lan));
}

static void flush(void)
{
    uint32_t real = fdb_flush(lan_fdb(world.lan));
    uint32_t naive = naive_flush(&world.naive);

    expect(real == naive, "flushed %" PRIu32 ", not %" PRIu32, real, naive);
}

static void add_static(int i)
{
    uint64_t mac = pick_destination();
    bool real = fdb_add_static(lan_fdb(world.lan), mac, &world.fakes[i].port);
    bool naive = naive_add_static(&world.naive, mac, i);

    expect(real == naive, "static %012" PRIx64, mac);
}

static void remove_static(void)
{
    uint64_t mac = pick_destination();

    fdb_remove_static(lan_fdb(world.lan), mac);
    naive_remove_static(&world.naive, mac);
}

static void set_isolated(bool is_isolated)
{
    lan_set_isolated(world.lan, is_isolated);
    world.naive.options.isolated = is_isolated;
}

/* An operation on a port that has joined; 'value' is what it makes of it. */
static void operate_on_port(unsigned op, int i, unsigned value)
{
    switch (op) {
    case 0:
        if (value % 4 == 0)
            leave(i);
        break;
    case 1:
        plug(i, value % 4 != 0);
        break;
    case 2:
        world.fakes[i].port.enabled = world.naive.ports[i].is_enabled = value % 4 != 0;
        break;
    case 3:
        world.fakes[i].port.isolated = world.naive.ports[i].is_isolated = value % 8 == 0;
        break;
    case 4:
        set_frame_max(i, value);
        break;
    case 5:
        set_queue(i, value);
        break;
    case 6:
        add_static(i);
        break;
    default:
        send_frames(i, value);
        break;
    }
}

/* The first byte says what, the second where (low three bits) and how. */
static void operate(void)
{
    unsigned op = next_byte() % 24;
    unsigned arg = next_byte();
    int i = (int)(arg % NAIVE_PORTS);
    unsigned value = arg / NAIVE_PORTS;

    tally.n_ops++;
    if (op < 16) {
        if (world.naive.ports[i].is_joined)
            operate_on_port(op, i, value);
        else
            join(i);
    } else if (op == 16) {
        remove_static();
    } else if (op == 17) {
        set_isolated(value % 8 == 0);
    } else if (op == 18) {
        if (value == 0)
            flush();
    } else if (op < 21) {
        tick();
    } else {
        advance_clock(value);
    }
}

static void add_to_tally(void)
{
    struct counters totals;

    lan_totals(world.lan, &totals, NULL);
    counters_add(&tally.totals, &totals);
    tally.n_moves += world.naive.n_moves;
    tally.n_evictions += world.naive.n_evictions;
    tally.n_flaps += world.naive.n_flaps;
}

int switch_ops_run(const uint8_t *data, size_t size)
{
    memset(&world, 0, sizeof(world));
    mismatch[0] = '\0';
    world.data = data;
    world.size = size;
    world.naive.options = options;
    world.lan = lan_create(&options);
    expect(world.lan != NULL, "no memory");
    if (!world.lan)
        return -1;

    for (int i = 0; i < NAIVE_PORTS - 2; i++)
        join(i);
    while (world.at < world.size && !mismatch[0]) {
        operate();
        compare();
    }
    for (int i = 0; i < NAIVE_PORTS; i++)
        leave(i);
    expect(fake_sum_holds(world.lan), "sum rule after all have left");
    expect(fdb_n_learned(lan_fdb(world.lan)) == 0, "entries after all have left");
    add_to_tally();
    lan_destroy(world.lan);
    return mismatch[0] ? -1 : 0;
}
