/* io/io.c - what the links of a network share, see io.h
 *
 * The good path uses none of this file. Chores are what a callback must not do where it finds it: ending a
 * link in the middle of a batch, resuming a source inside another port's send. They run on the next turn, by
 * an idle handle that is active only while there are some, so it never spins.
 *
 * Busy polling: going to sleep and being woken costs more than a frame. While 'busy' is active the loop asks
 * for events and does not wait for them; it is started by a turn that had frames and stopped when
 * busy_poll_us have gone without one. Off, it costs one comparison a turn.
 */
#include "io/io.h"

#include <stdlib.h>

#include "io/link_internal.h"

static void on_handle_closed(uv_handle_t *handle)
{
    struct io *io = handle->data;

    if (--io->n_handles > 0)
        return;
    batch_deinit(&io->batch);
    free(io->stream_bytes);
    free(io);
}

/* Each source either goes on or puts itself back on the list. */
static void resume_waiting(struct io *io, bool may_wait)
{
    struct list waiting;
    uint64_t now_us = io_now_us();

    list_take_all(&io->waiting, &waiting);
    while (!list_is_empty(&waiting)) {
        struct link *link = LIST_OWNER(waiting.next, struct link, of_waiting);

        list_remove(&link->of_waiting);
        pressure_spend(&link->pressure, now_us, (uint32_t)(now_us - link->waits_since_us));
        link->class->resume(link, may_wait);
    }
}

static void on_chores(uv_idle_t *handle)
{
    struct io *io = handle->data;
    struct list ending;

    /* Stopped first: what comes up in here starts it again for the next turn. */
    uv_idle_stop(&io->chores);
    if (io->is_relieved) {
        io->is_relieved = false;
        resume_waiting(io, true);
    }
    list_take_all(&io->ending, &ending);
    while (!list_is_empty(&ending)) {
        struct link *link = LIST_OWNER(ending.next, struct link, of_ending);

        list_remove(&link->of_ending);
        if (link->class->end)
            link->class->end(link);
        else
            link_end(link);
    }
}

void io_chores_soon(struct io *io)
{
    uv_idle_start(&io->chores, on_chores);
}

/* The time is up: the frames are offered once more and dropped where there is no room. One timer serves all
 * sources, so a source that came late waits shorter than it might, never longer. */
static void on_waited(uv_timer_t *handle)
{
    struct io *io = handle->data;

    io_refresh_pushing(io);
    resume_waiting(io, false);
}

/* A stream is reported writable only when three quarters of its socket buffer are free,
 * but it takes bytes before that. A live reader of a big buffer would look stalled for milliseconds; so
 * before a source is made to wait, the socket itself is asked. */
void io_refresh_pushing(struct io *io)
{
    for (struct list *node = io->pushing.next, *next; node != &io->pushing; node = next) {
        struct link *link = LIST_OWNER(node, struct link, of_pushing);

        next = node->next;
        if (link->state == LINK_SERVING && !link->is_unwakeable)
            link->class->flush(link);
        if (link->state == LINK_SERVING)
            link_settle(link);
        else
            link_stop_pushing(link);
    }
}

/* Memory that a burst has touched goes back when the burst is long over. */
static void on_keeper(uv_timer_t *handle)
{
    struct io *io = handle->data;

    bool is_needed = false;

    for (struct list *node = io->links.next; node != &io->links; node = node->next) {
        struct resume *resume = LIST_OWNER(node, struct link, of_io)->resume;

        resume_trim(resume);
        is_needed = is_needed || resume_is_touched(resume);
    }
    if (!is_needed)
        uv_timer_stop(&io->keeper);
}

void io_keep(struct link *link)
{
    uv_timer_t *keeper = &link->io->keeper;

    if (resume_is_touched(link->resume) && !uv_is_active((const uv_handle_t *)keeper))
        uv_timer_start(keeper, on_keeper, IO_KEEPER_MS, IO_KEEPER_MS);
}

static void on_probe(uv_timer_t *handle)
{
    struct io *io = handle->data;

    for (struct list *node = io->probed.next; node != &io->probed; node = node->next) {
        struct link *link = LIST_OWNER(node, struct link, of_probed);

        link->class->probe(link);
    }
    if (list_is_empty(&io->probed))
        uv_timer_stop(&io->prober);
}

void io_probe(struct link *link)
{
    struct io *io = link->io;

    list_remove(&link->of_probed);
    list_append(&io->probed, &link->of_probed);
    if (!uv_is_active((const uv_handle_t *)&io->prober))
        uv_timer_start(&io->prober, on_probe, IO_PROBE_MS, IO_PROBE_MS);
}

/* ---- shares ---- */

static void on_busy(uv_idle_t *handle)
{
    (void)handle; /* that it is active is what matters */
}

/* Between the turn that was and the loop's decision whether to sleep. */
static void stay_busy(struct io *io)
{
    const bool is_busy = uv_is_active((const uv_handle_t *)&io->busy);

    if (io->is_turn_ready) {
        io->busy_until_us = io_now_us() + io->settings.busy_poll_us;
        uv_idle_start(&io->busy, on_busy);
    } else if (is_busy && io_now_us() >= io->busy_until_us) {
        uv_idle_stop(&io->busy);
    }
}

static void on_turn(uv_prepare_t *handle)
{
    struct io *io = handle->data;

    if (io->settings.busy_poll_us > 0)
        stay_busy(io);
    io->turn_no += io->is_turn_ready;
    io->is_turn_ready = false;
}

bool io_goes_later(struct link *link)
{
    struct io *io = link->io;
    const bool was_ready = link->ready_turn + 1 == io->turn_no;

    link->ready_turn = io->turn_no;
    if (was_ready && list_is_empty(&link->of_later))
        list_append(&io->later, &link->of_later);
    return was_ready;
}

/* Behind everything that this turn had to read or to write at once. */
static void on_after(uv_check_t *handle)
{
    struct io *io = handle->data;

    while (!list_is_empty(&io->later)) {
        struct link *link = LIST_OWNER(io->later.next, struct link, of_later);

        list_remove(&link->of_later);
        /* Another's frames may have ended it, or its socket. */
        if ((link->events & UV_READABLE) && (link->state == LINK_SERVING || link->state == LINK_IDLE))
            link->class->on_readable(link);
    }
}

/* Counted by the millisecond and not by the turn: a link that has one frame now and then is seldom ready in
 * the same turn as one that floods, and it is the one that waits. */
void io_ready(struct io *io, uint64_t *link_ms)
{
    const uint64_t now_ms = uv_now(io->loop);

    io->is_turn_ready = true;
    if (now_ms != io->ready_ms) {
        io->n_ready_before = now_ms - io->ready_ms <= IO_SHARE_MS ? io->n_ready : 0;
        io->n_ready = 0;
        io->ready_ms = now_ms;
    }
    if (*link_ms != now_ms) {
        *link_ms = now_ms;
        io->n_ready++;
    }
}

static size_t share(const struct io *io, size_t all, size_t least)
{
    unsigned n = io->n_ready > io->n_ready_before ? io->n_ready : io->n_ready_before;

    if (least > all)
        least = all; /* set to less than it would be bounded by */
    return n <= 1 ? all : all / n > least ? all / n : least;
}

size_t io_read_size(const struct io *io)
{
    return share(io, io->settings.read_bytes, IO_STREAM_READ_MIN);
}

/* Many large datagrams at once would gain nothing, and touch megabytes of slots. */
unsigned io_batch_size(const struct io *io, bool has_big)
{
    const uint32_t all = io->settings.batch_frames;

    if (has_big)
        return all < IO_DGRAM_SLOTS_MIN ? all : IO_DGRAM_SLOTS_MIN;
    return (unsigned)share(io, all, IO_DGRAM_SLOTS_MIN);
}

/* ---- life ---- */

static void init_timer(struct io *io, uv_timer_t *timer)
{
    uv_timer_init(io->loop, timer);
    timer->data = io;
    io->n_handles++;
}

static uint32_t within(uint32_t value, uint32_t otherwise, uint32_t least, uint32_t most)
{
    if (value == 0)
        value = otherwise;
    return value < least ? least : value > most ? most : value;
}

/* Buffers are as large as these say, so whoever said them is not trusted to have kept to the ranges. */
static void take_settings(struct io *io, const struct io_settings *given)
{
    io->settings = (struct io_settings){
        .limits = {.queue_frames = within(given->limits.queue_frames, 1, 1, UINT32_MAX),
                   .queue_bytes =
                       given->limits.queue_bytes == 0
                           ? 0
                           : within(given->limits.queue_bytes, 0, FRAME_PREFIX + FRAME_LEN_MAX, UINT32_MAX)},
        .read_bytes = within(given->read_bytes, IO_STREAM_READ, IO_STREAM_READ_MIN, IO_STREAM_READ_MAX),
        .batch_frames = within(given->batch_frames, IO_DGRAM_SLOTS, 1, IO_DGRAM_SLOTS),
        .socket_bytes =
            within(given->socket_bytes, IO_SOCKET_BUFFER, IO_SOCKET_BUFFER_MIN, IO_SOCKET_BUFFER_MAX),
        .busy_poll_us = within(given->busy_poll_us, 0, 0, IO_BUSY_POLL_MAX_US),
    };
}

/* What aligned_alloc() gives must be whole lines. */
static size_t in_lines(size_t len)
{
    return (len + BATCH_ALIGN - 1) / BATCH_ALIGN * BATCH_ALIGN;
}

/* None of those that are unreferenced must keep a loop running. */
static void open_handles(struct io *io)
{
    uv_idle_init(io->loop, &io->chores);
    io->chores.data = io;
    io->n_handles++;
    uv_prepare_init(io->loop, &io->turn);
    io->turn.data = io;
    io->n_handles++;
    uv_prepare_start(&io->turn, on_turn);
    uv_unref((uv_handle_t *)&io->turn);
    uv_check_init(io->loop, &io->after);
    io->after.data = io;
    io->n_handles++;
    uv_check_start(&io->after, on_after);
    uv_unref((uv_handle_t *)&io->after);
    uv_idle_init(io->loop, &io->busy);
    io->busy.data = io;
    io->n_handles++;
    uv_unref((uv_handle_t *)&io->busy);
    init_timer(io, &io->waits);
    init_timer(io, &io->keeper);
    uv_unref((uv_handle_t *)&io->keeper);
    init_timer(io, &io->prober);
}

int io_create(struct io **ret_io, uv_loop_t *loop, struct lan *lan, const struct io_settings *settings)
{
    struct io *io = calloc(1, sizeof *io);

    if (!io)
        return UV_ENOMEM;
    io->loop = loop;
    io->lan = lan;
    take_settings(io, settings);
    io->turn_no = 2; /* nobody was ready in the one before */
    io->stream_bytes = aligned_alloc(BATCH_ALIGN, in_lines(STREAM_COPY_MAX + io_read_room(&io->settings)));
    if (!io->stream_bytes || batch_init(&io->batch) < 0) {
        free(io->stream_bytes);
        free(io);
        return UV_ENOMEM;
    }
    list_init(&io->links);
    list_init(&io->ending);
    list_init(&io->waiting);
    list_init(&io->pushing);
    list_init(&io->probed);
    list_init(&io->later);
    open_handles(io);
    *ret_io = io;
    return 0;
}

void io_destroy(struct io *io)
{
    if (!io)
        return;
    log_limit_end(&io->length_log, "frames announced too long");
    uv_close((uv_handle_t *)&io->chores, on_handle_closed);
    uv_close((uv_handle_t *)&io->turn, on_handle_closed);
    uv_close((uv_handle_t *)&io->after, on_handle_closed);
    uv_close((uv_handle_t *)&io->busy, on_handle_closed);
    uv_close((uv_handle_t *)&io->waits, on_handle_closed);
    uv_close((uv_handle_t *)&io->keeper, on_handle_closed);
    uv_close((uv_handle_t *)&io->prober, on_handle_closed);
}

void link_wait(struct link *link)
{
    struct io *io = link->io;

    link->waits_since_us = io_now_us();
    list_remove(&link->of_waiting);
    list_append(&io->waiting, &link->of_waiting);
    if (!uv_is_active((const uv_handle_t *)&io->waits))
        uv_timer_start(&io->waits, on_waited, PRESSURE_PAUSE_MAX_US / 1000, 0);
}
