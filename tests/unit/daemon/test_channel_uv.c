/* tests/unit/daemon/test_channel_uv.c - a channel on a loop: messages, ends, and closing inside a callback */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "daemon/channel_uv.h"
#include "daemon/message.h"

struct side {
    struct channel_uv *channel;
    struct channel *peer; /* driven by hand */
    int peer_fd;
    unsigned n_messages, n_lost, n_fds;
    int error;
    uint32_t last_id;
    unsigned close_after; /* messages; 0: never */
    bool closes_when_lost;
    unsigned answers; /* sent from inside each on_message */
};

static uv_loop_t loop;

static void on_message(void *ctx, struct message *message)
{
    struct side *side = ctx;
    side->n_messages++;
    side->last_id = message->id;
    if (message->fd >= 0)
        side->n_fds++;
    for (unsigned i = 0; i < side->answers; i++)
        channel_uv_send(side->channel, MSG_SNAPSHOT_END, i, NULL, 0, -1);
    if (side->n_messages == side->close_after)
        channel_uv_close(side->channel);
}

static void on_lost(void *ctx, int error)
{
    struct side *side = ctx;
    side->n_lost++;
    side->error = error;
    if (side->closes_when_lost)
        channel_uv_close(side->channel);
}

static void open_side(struct side *side)
{
    int fds[2];
    *side = (struct side){0};
    assert_int_equal(uv_loop_init(&loop), 0);
    assert_int_equal(channel_pair(fds), 0);
    assert_int_equal(channel_uv_open(&side->channel, &loop, fds[0], on_message, on_lost, side), 0);
    side->peer = channel_create(fds[1]);
    side->peer_fd = fds[1];
}

static void turn(void)
{
    for (int i = 0; i < 10; i++)
        uv_run(&loop, UV_RUN_NOWAIT);
}

/* The handles are gone and the loop can be closed: nothing was left open. */
static void assert_all_is_closed(struct side *side)
{
    turn();
    assert_int_equal(uv_loop_close(&loop), 0);
    channel_destroy(side->peer);
}

static int count(void *ctx, struct message *message)
{
    unsigned *n = ctx;
    (void)message;
    ++*n;
    return 0;
}

static void messages_and_descriptors_arrive(void **state)
{
    (void)state;
    struct side side;
    open_side(&side);
    assert_int_equal(channel_send(side.peer, MSG_FLUSH_FDB, 7, NULL, 0, -1), 0);
    assert_int_equal(channel_send(side.peer, MSG_LEASE, 8, NULL, 0, dup(STDERR_FILENO)), 0);
    turn();
    assert_int_equal(side.n_messages, 2);
    assert_int_equal(side.n_fds, 1);
    assert_int_equal(side.last_id, 8);
    assert_int_equal(side.n_lost, 0);
    channel_uv_close(side.channel);
    assert_all_is_closed(&side);
}

static void what_the_socket_does_not_take_goes_out_later(void **state)
{
    (void)state;
    enum { N = 40 };
    static struct fdb_page page;
    struct side side;
    unsigned n = 0;
    open_side(&side);
    int small = 4096;
    setsockopt(side.peer_fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
    for (int i = 0; i < N; i++)
        assert_int_equal(channel_uv_send(side.channel, MSG_SNAPSHOT_FDB, 0, &page, sizeof(page), -1), 0);
    for (int i = 0; i < 1000 && n < N; i++) {
        turn();
        assert_true(channel_receive(side.peer, count, &n) >= 0);
    }
    assert_int_equal(n, N);
    channel_uv_close(side.channel);
    assert_all_is_closed(&side);
}

static void last_words_are_heard_before_the_end(void **state)
{
    (void)state;
    struct side side;
    open_side(&side);
    assert_int_equal(channel_uv_send(side.channel, MSG_FLUSH_FDB, 1, NULL, 0, -1),
                     0); /* unread: the end is a reset */
    assert_int_equal(channel_send(side.peer, MSG_FLUSH_FDB, 1, NULL, 0, -1), 0);
    channel_destroy(side.peer);
    side.peer = NULL;
    turn();
    assert_int_equal(side.n_messages, 1);
    assert_int_equal(side.n_lost, 1);
    assert_true(side.error < 0);
    turn();
    assert_int_equal(side.n_lost, 1);
    channel_uv_close(side.channel);
    assert_all_is_closed(&side);
}

static void it_may_be_closed_when_lost(void **state)
{
    (void)state;
    struct side side;
    open_side(&side);
    side.closes_when_lost = true;
    channel_destroy(side.peer);
    side.peer = NULL;
    turn();
    assert_int_equal(side.n_lost, 1);
    assert_int_equal(side.error, -ECONNRESET);
    assert_all_is_closed(&side);
}

static void closed_in_a_message_it_says_nothing_more(void **state)
{
    (void)state;
    struct side side;
    open_side(&side);
    side.close_after = 2;
    for (int i = 0; i < 5; i++)
        assert_int_equal(channel_send(side.peer, MSG_FLUSH_FDB, 0, NULL, 0, -1), 0);
    turn();
    assert_int_equal(side.n_messages, 2);
    assert_int_equal(side.n_lost, 0);
    assert_all_is_closed(&side);
}

static void failed_send_is_reported_on_a_later_turn(void **state)
{
    (void)state;
    struct side side;
    open_side(&side);
    channel_destroy(side.peer);
    side.peer = NULL;
    assert_true(channel_uv_send(side.channel, MSG_FLUSH_FDB, 0, NULL, 0, -1) < 0);
    assert_int_equal(side.n_lost, 0);
    turn();
    assert_int_equal(side.n_lost, 1);
    assert_true(channel_uv_send(side.channel, MSG_FLUSH_FDB, 0, NULL, 0, -1) < 0);
    turn();
    assert_int_equal(side.n_lost, 1);
    channel_uv_close(side.channel);
    assert_all_is_closed(&side);
}

static void closed_after_a_failed_send_it_says_nothing_more(void **state)
{
    (void)state;
    struct side side;
    open_side(&side);
    channel_destroy(side.peer);
    side.peer = NULL;
    assert_true(channel_uv_send(side.channel, MSG_FLUSH_FDB, 0, NULL, 0, -1) < 0);
    channel_uv_close(side.channel);
    assert_all_is_closed(&side);
    assert_int_equal(side.n_lost, 0);
}

static void peer_that_lets_the_queue_fill_is_lost(void **state)
{
    (void)state;
    static struct fdb_page page;
    struct side side;
    int r = 0;
    open_side(&side);
    for (int i = 0; i < 1000 && r == 0; i++)
        r = channel_uv_send(side.channel, MSG_SNAPSHOT_FDB, 0, &page, sizeof(page), -1);
    assert_int_equal(r, -ENOBUFS);
    turn();
    assert_int_equal(side.n_lost, 1);
    assert_int_equal(side.error, -ENOBUFS);
    channel_uv_close(side.channel);
    assert_all_is_closed(&side);
}

static void bytes_that_are_no_message_end_it(void **state)
{
    (void)state;
    struct side side;
    open_side(&side);
    assert_int_equal(send(side.peer_fd, "GET / HTTP/1.1\r\n\r\n", 18, 0), 18);
    turn();
    assert_int_equal(side.n_messages, 0);
    assert_int_equal(side.n_lost, 1);
    assert_int_equal(side.error, -EBADMSG);
    channel_uv_close(side.channel);
    assert_all_is_closed(&side);
}

static void answers_may_be_sent_from_inside(void **state)
{
    (void)state;
    struct side side;
    unsigned n = 0;
    open_side(&side);
    side.answers = 3;
    for (int i = 0; i < 10; i++)
        assert_int_equal(channel_send(side.peer, MSG_FLUSH_FDB, 0, NULL, 0, -1), 0);
    turn();
    assert_true(channel_receive(side.peer, count, &n) >= 0);
    assert_int_equal(n, 30);
    channel_uv_close(side.channel);
    assert_all_is_closed(&side);
}

static void descriptor_stays_the_callers_if_it_cannot_be_opened(void **state)
{
    (void)state;
    struct channel_uv *channel = NULL;
    assert_int_equal(uv_loop_init(&loop), 0);
    assert_true(channel_uv_open(&channel, &loop, -1, on_message, on_lost, NULL) < 0);
    turn();
    assert_int_equal(uv_loop_close(&loop), 0);
    channel_uv_close(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(messages_and_descriptors_arrive),
        cmocka_unit_test(what_the_socket_does_not_take_goes_out_later),
        cmocka_unit_test(last_words_are_heard_before_the_end),
        cmocka_unit_test(it_may_be_closed_when_lost),
        cmocka_unit_test(closed_in_a_message_it_says_nothing_more),
        cmocka_unit_test(failed_send_is_reported_on_a_later_turn),
        cmocka_unit_test(closed_after_a_failed_send_it_says_nothing_more),
        cmocka_unit_test(peer_that_lets_the_queue_fill_is_lost),
        cmocka_unit_test(bytes_that_are_no_message_end_it),
        cmocka_unit_test(answers_may_be_sent_from_inside),
        cmocka_unit_test(descriptor_stays_the_callers_if_it_cannot_be_opened),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
