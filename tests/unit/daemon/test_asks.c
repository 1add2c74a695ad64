/* Questions of control: who may answer them, and how often. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <unistd.h>

#include "daemon/control_internal.h"

struct rig {
    uv_loop_t loop;
    struct asks asks;
    struct channel_uv *one, *other;
    int far_ends[2];
    unsigned n_answers, n_nothing;
    uint16_t last_type;
};

static void on_message(void *ctx, struct message *message)
{
    (void)ctx;
    (void)message;
}

static void on_lost(void *ctx, int error)
{
    (void)ctx;
    (void)error;
}

static struct channel_uv *open_channel(struct rig *rig, int *ret_far_end)
{
    struct channel_uv *channel = NULL;
    int fds[2];
    assert_int_equal(channel_pair(fds), 0);
    *ret_far_end = fds[1];
    assert_int_equal(channel_uv_open(&channel, &rig->loop, fds[0], on_message, on_lost, rig), 0);
    return channel;
}

static void open_rig(struct rig *rig)
{
    *rig = (struct rig){.n_answers = 0};
    assert_int_equal(uv_loop_init(&rig->loop), 0);
    asks_open(&rig->asks, &rig->loop);
    rig->one = open_channel(rig, &rig->far_ends[0]);
    rig->other = open_channel(rig, &rig->far_ends[1]);
}

static void close_rig(struct rig *rig)
{
    asks_close(&rig->asks);
    channel_uv_close(rig->one);
    channel_uv_close(rig->other);
    uv_run(&rig->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&rig->loop), 0);
    close(rig->far_ends[0]);
    close(rig->far_ends[1]);
}

static void on_answer(void *ctx, struct message *answer)
{
    struct rig *rig = ctx;
    if (!answer) {
        rig->n_nothing++;
        return;
    }
    rig->n_answers++;
    rig->last_type = answer->type;
}

static uint32_t ask(struct rig *rig, uint16_t type, const void *payload, uint32_t len, uint64_t timeout_ms)
{
    return asks_send(&rig->asks, rig->one, type, payload, len, -1, timeout_ms, on_answer, rig);
}

static bool answer(struct rig *rig, const struct channel_uv *from, uint16_t type, uint32_t id)
{
    struct message message = {.type = type, .id = id, .fd = -1};
    return asks_answer(&rig->asks, from, &message);
}

static void a_query_takes_pages_until_their_end(void **state)
{
    const struct query query = {.ports = true};
    struct rig rig;
    (void)state;
    open_rig(&rig);
    uint32_t id = ask(&rig, MSG_QUERY, &query, sizeof(query), 1000);
    assert_true(answer(&rig, rig.one, MSG_SNAPSHOT, id));
    assert_true(answer(&rig, rig.one, MSG_SNAPSHOT_PORTS, id));
    assert_true(answer(&rig, rig.one, MSG_SNAPSHOT_END, id));
    assert_false(answer(&rig, rig.one, MSG_SNAPSHOT_END, id));
    assert_int_equal(rig.n_answers, 3);
    close_rig(&rig);
    assert_int_equal(rig.n_nothing, 0);
}

/* A network process that was taken over answers an order with a page: the asker is freed by its first answer.
 */
static void anything_else_is_answered_once_by_whatever_comes(void **state)
{
    struct rig rig;
    (void)state;
    for (int type = MSG_NONE + 1; type < MSG_N; type++) {
        open_rig(&rig);
        uint32_t id = ask(&rig, MSG_FLUSH_FDB, NULL, 0, 1000);
        assert_true(answer(&rig, rig.one, (uint16_t)type, id));
        assert_false(answer(&rig, rig.one, MSG_DONE, id));
        assert_int_equal(rig.n_answers, 1);
        assert_int_equal(rig.last_type, type);
        close_rig(&rig);
        assert_int_equal(rig.n_nothing, 0);
    }
}

static void nobody_answers_for_another(void **state)
{
    struct rig rig;
    (void)state;
    open_rig(&rig);
    uint32_t id = ask(&rig, MSG_FLUSH_FDB, NULL, 0, 1000);
    assert_false(answer(&rig, rig.other, MSG_DONE, id));
    asks_lost(&rig.asks, rig.other);
    assert_int_equal(rig.n_nothing, 0);
    asks_lost(&rig.asks, rig.one);
    assert_int_equal(rig.n_nothing, 1);
    close_rig(&rig);
}

static void on_tick(uv_timer_t *tick)
{
    (void)tick;
}

static void each_gets_nothing_at_its_deadline(void **state)
{
    struct rig rig;
    uv_timer_t tick;
    (void)state;
    open_rig(&rig);
    ask(&rig, MSG_FLUSH_FDB, NULL, 0, 60000);
    for (int i = 0; i < 1000; i++)
        ask(&rig, MSG_FLUSH_FDB, NULL, 0, 20);
    /* A deadline that is due when uv_run() begins is served before it waits: without a tick, for the last
     * one. */
    uv_timer_init(&rig.loop, &tick);
    uv_timer_start(&tick, on_tick, 1, 1);
    const uint64_t end = uv_hrtime() + UINT64_C(5000000000);
    while (rig.n_nothing < 1000 && uv_hrtime() < end)
        uv_run(&rig.loop, UV_RUN_ONCE);
    assert_int_equal(rig.n_nothing, 1000);
    uv_close((uv_handle_t *)&tick, NULL);
    close_rig(&rig);
    assert_int_equal(rig.n_nothing, 1001);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_query_takes_pages_until_their_end),
        cmocka_unit_test(anything_else_is_answered_once_by_whatever_comes),
        cmocka_unit_test(nobody_answers_for_another),
        cmocka_unit_test(each_gets_nothing_at_its_deadline),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
