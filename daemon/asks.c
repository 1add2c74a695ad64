/* daemon/asks.c - questions to other roles that wait for an answer, each with a deadline
 *
 * Few are open at any time, so a list and one timer do. An answer that comes too late finds nobody and is
 * dropped with the descriptor it may carry.
 */
#include "daemon/control_internal.h"

#include <stdlib.h>

struct ask {
    struct ask *next;
    uint32_t id;
    const struct channel_uv *to;
    uint64_t deadline_ms;
    ask_fn *fn;
    void *ctx;
};

static void on_timer(uv_timer_t *timer);

static void set_timer(struct asks *asks)
{
    uint64_t first = UINT64_MAX;
    for (const struct ask *ask = asks->first; ask; ask = ask->next)
        if (ask->deadline_ms < first)
            first = ask->deadline_ms;
    if (first == UINT64_MAX) {
        uv_timer_stop(&asks->timer);
        return;
    }
    const uint64_t now = uv_now(asks->timer.loop);
    uv_timer_start(&asks->timer, on_timer, first > now ? first - now : 0, 0);
}

static bool is_due(const struct ask *ask, const struct channel_uv *to, uint64_t now_ms)
{
    return to ? ask->to == to : ask->deadline_ms <= now_ms;
}

/* Answers all of 'to', or all that are due by 'now_ms', with NULL. Each call may change the list. */
static void give_up(struct asks *asks, const struct channel_uv *to, uint64_t now_ms)
{
    for (struct ask **at = &asks->first; *at;) {
        struct ask *ask = *at;
        if (!is_due(ask, to, now_ms)) {
            at = &ask->next;
            continue;
        }
        *at = ask->next;
        ask->fn(ask->ctx, NULL);
        free(ask);
        at = &asks->first;
    }
    if (!uv_is_closing((uv_handle_t *)&asks->timer))
        set_timer(asks);
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
        fn(ctx, NULL);
        return 0;
    }
    *ask = (struct ask){.next = asks->first,
                        .id = id,
                        .to = to,
                        .deadline_ms = uv_now(asks->timer.loop) + timeout_ms,
                        .fn = fn,
                        .ctx = ctx};
    asks->first = ask;
    set_timer(asks);
    return id;
}

static bool is_page(uint16_t type)
{
    return type == MSG_SNAPSHOT || type == MSG_SNAPSHOT_PORTS || type == MSG_SNAPSHOT_FDB;
}

bool asks_answer(struct asks *asks, const struct channel_uv *from, struct message *message)
{
    for (struct ask **at = &asks->first; *at; at = &(*at)->next) {
        struct ask *ask = *at;
        if (ask->id != message->id || ask->to != from)
            continue;
        if (is_page(message->type)) {
            ask->fn(ask->ctx, message);
            return true;
        }
        *at = ask->next;
        set_timer(asks);
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
