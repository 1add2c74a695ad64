/* daemon/asks.c - questions to other roles that wait for an answer, each with a deadline
 *
 * A small hash by id, because a start with many named ports asks thousands at once. The timer is set for the
 * first deadline it was told of and looks again when it goes off. An answer that comes too late finds nobody
 * and is dropped with the descriptor it may carry.
 */
#include "daemon/control_internal.h"

#include <stdlib.h>

#include "api/shortage.h"

struct ask {
    struct ask *next;
    uint32_t id;
    bool takes_pages; /* a query: SNAPSHOT, SNAPSHOT_PORTS and SNAPSHOT_FDB do not end it */
    const struct channel_uv *to;
    uint64_t deadline_ms;
    ask_fn *fn;
    void *ctx;
};

static struct ask **bucket_of(struct asks *asks, uint32_t id)
{
    return &asks->buckets[id % ASK_BUCKETS];
}

static void on_timer(uv_timer_t *timer);

/* Sees to it that the timer goes off at 'deadline_ms' or before. */
static void wake_by(struct asks *asks, uint64_t deadline_ms)
{
    const uint64_t now = uv_now(asks->timer.loop);
    if (asks->is_closing || (uv_is_active((uv_handle_t *)&asks->timer) && asks->due_ms <= deadline_ms))
        return;
    asks->due_ms = deadline_ms;
    uv_timer_start(&asks->timer, on_timer, deadline_ms > now ? deadline_ms - now : 0, 0);
}

static bool is_due(const struct ask *ask, const struct channel_uv *to, uint64_t now_ms)
{
    return to ? ask->to == to : ask->deadline_ms <= now_ms;
}

/* Takes one out of the table that is due, or NULL. */
static struct ask *take_due(struct asks *asks, const struct channel_uv *to, uint64_t now_ms)
{
    for (unsigned i = 0; i < ASK_BUCKETS; i++) {
        for (struct ask **at = &asks->buckets[i]; *at; at = &(*at)->next) {
            struct ask *ask = *at;
            if (!is_due(ask, to, now_ms))
                continue;
            *at = ask->next;
            return ask;
        }
    }
    return NULL;
}

/* Answers all of 'to', or all that are due by 'now_ms', with NULL. Each call may ask anew: that is for later,
 * because its deadline is. */
static void give_up(struct asks *asks, const struct channel_uv *to, uint64_t now_ms)
{
    struct ask *ask;
    while ((ask = take_due(asks, to, now_ms))) {
        ask->fn(ask->ctx, NULL);
        free(ask);
    }
    for (unsigned i = 0; i < ASK_BUCKETS; i++)
        for (ask = asks->buckets[i]; ask; ask = ask->next)
            wake_by(asks, ask->deadline_ms);
}

static void on_timer(uv_timer_t *timer)
{
    give_up(timer->data, NULL, uv_now(timer->loop));
}

void asks_open(struct asks *asks, uv_loop_t *loop)
{
    uv_timer_init(loop, &asks->timer);
    asks->timer.data = asks;
}

void asks_close(struct asks *asks)
{
    asks->is_closing = true;
    uv_close((uv_handle_t *)&asks->timer, NULL);
    give_up(asks, NULL, UINT64_MAX);
}

uint32_t asks_send(struct asks *asks, struct channel_uv *to, uint16_t type, const void *payload, uint32_t len,
                   int fd, uint64_t timeout_ms, ask_fn *fn, void *ctx)
{
    struct ask *ask = malloc(sizeof(*ask));
    if (++asks->next_id == 0)
        asks->next_id = 1;
    const uint32_t id = asks->next_id;
    /* The order goes out even if nobody can be told: what should be is said again and again. */
    channel_uv_send(to, type, id, payload, len, fd);
    if (!ask) {
        shortage_note();
        fn(ctx, NULL);
        return 0;
    }
    *ask = (struct ask){.next = *bucket_of(asks, id),
                        .id = id,
                        .takes_pages = type == MSG_QUERY,
                        .to = to,
                        .deadline_ms = uv_now(asks->timer.loop) + timeout_ms,
                        .fn = fn,
                        .ctx = ctx};
    *bucket_of(asks, id) = ask;
    wake_by(asks, ask->deadline_ms);
    return id;
}

static bool is_page(uint16_t type)
{
    return type == MSG_SNAPSHOT || type == MSG_SNAPSHOT_PORTS || type == MSG_SNAPSHOT_FDB;
}

bool asks_answer(struct asks *asks, const struct channel_uv *from, struct message *message)
{
    for (struct ask **at = bucket_of(asks, message->id); *at; at = &(*at)->next) {
        struct ask *ask = *at;
        if (ask->id != message->id || ask->to != from)
            continue;
        if (ask->takes_pages && is_page(message->type)) {
            ask->fn(ask->ctx, message);
            return true;
        }
        *at = ask->next;
        ask->fn(ask->ctx, message);
        free(ask);
        return true;
    }
    return false;
}

void asks_lost(struct asks *asks, const struct channel_uv *to)
{
    give_up(asks, to, 0);
}

const struct done *ask_done(const struct message *answer)
{
    const struct done *done = answer && answer->type == MSG_DONE ? answer->payload : NULL;
    return done && message_text_ok(done->port, sizeof(done->port)) &&
                   message_text_ok(done->why, sizeof(done->why))
               ? done
               : NULL;
}
