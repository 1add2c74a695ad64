/* tests/unit/daemon/test_keeper.c - what a front that was taken over can have of its keeper: nothing new */
#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "daemon/channel.h"
#include "daemon/message.h"
#include "daemon/roles.h"
#include "io/log.h"

extern char **environ;

enum { PATIENCE_MS = 3 * 1000 };

struct rig {
    char dir[64];
    struct channel *channel;
    pid_t pid;
    uint16_t heard; /* the last answer: MSG_BOUND, MSG_DONE */
    int error;      /* of MSG_BOUND, MSG_DONE */
    bool has_fd;
    bool is_over; /* the channel has ended */
};

static int set_up(void **state)
{
    struct rig *rig = calloc(1, sizeof(*rig));
    char program[] = SOCKET_VMNET, role[] = "--role=keeper", name[] = "--name=test";
    char *argv[] = {program, role, name, NULL};
    posix_spawn_file_actions_t actions;
    int fds[2];
    snprintf(rig->dir, sizeof(rig->dir), "/tmp/vmsw-keeper-XXXXXX");
    assert_non_null(mkdtemp(rig->dir));
    assert_int_equal(channel_pair(fds), 0);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, fds[1], ROLE_CHANNEL_FD);
    assert_int_equal(posix_spawn(&rig->pid, program, &actions, NULL, argv, environ), 0);
    posix_spawn_file_actions_destroy(&actions);
    close(fds[1]);
    rig->channel = channel_create(fds[0]);
    *state = rig;
    return 0;
}

static void path_of(const struct rig *rig, const char *name, char *path, size_t size)
{
    snprintf(path, size, "%s/%s", rig->dir, name);
}

static bool is_there(const struct rig *rig, const char *name)
{
    char path[MESSAGE_PATH_SIZE];
    struct stat st;
    path_of(rig, name, path, sizeof(path));
    return lstat(path, &st) == 0;
}

static int tear_down(void **state)
{
    struct rig *rig = *state;
    channel_destroy(rig->channel);
    if (rig->pid)
        kill(rig->pid, SIGKILL);
    if (rig->pid)
        waitpid(rig->pid, NULL, 0);
    assert_int_equal(rmdir(rig->dir), 0); /* it has removed what it made */
    free(rig);
    return 0;
}

static struct keep_order order_of(const struct rig *rig)
{
    struct keep_order order;
    memset(&order, 0, sizeof(order));
    snprintf(order.name, sizeof(order.name), "test");
    path_of(rig, "s", order.socket_path, sizeof(order.socket_path));
    path_of(rig, "p", order.pidfile, sizeof(order.pidfile));
    order.kind = SOCKET_STREAM;
    order.mode = 0600;
    order.uid = order.gid = UINT32_MAX;
    order.run_uid = order.run_gid = 65534;
    order.uplink = WANT_NONE;
    order.log_level = LOG_ERROR;
    return order;
}

static int on_answer(void *ctx, struct message *message)
{
    struct rig *rig = ctx;
    rig->heard = message->type;
    rig->has_fd = message->fd >= 0;
    if (message->type == MSG_BOUND)
        rig->error = ((const struct bound *)message->payload)->error;
    if (message->type == MSG_DONE)
        rig->error = (int)((const struct done *)message->payload)->status;
    return 0;
}

static void say(struct rig *rig, uint16_t type, const void *payload, uint32_t len)
{
    rig->heard = MSG_NONE;
    assert_int_equal(channel_send(rig->channel, type, 0, payload, len, -1), 0);
}

/* The type of the next answer; MSG_NONE: the keeper has gone, or says nothing. */
static uint16_t hear(struct rig *rig)
{
    struct pollfd fd = {.fd = channel_fd(rig->channel), .events = POLLIN};
    int r = 0;
    while (r >= 0 && rig->heard == MSG_NONE && poll(&fd, 1, PATIENCE_MS) == 1)
        r = channel_receive(rig->channel, on_answer, rig);
    rig->is_over = r < 0;
    return rig->heard;
}

/* It has ended in order, by itself. */
static void assert_gone(struct rig *rig)
{
    int status = -1;
    assert_int_equal(hear(rig), MSG_NONE);
    assert_true(rig->is_over);
    assert_int_equal(waitpid(rig->pid, &status, 0), rig->pid);
    rig->pid = 0;
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == EXIT_OK);
    assert_false(is_there(rig, "s") || is_there(rig, "s.lock") || is_there(rig, "p"));
}

static void take_order(struct rig *rig)
{
    const struct keep_order order = order_of(rig);
    say(rig, MSG_KEEP, &order, sizeof(order));
    assert_int_equal(hear(rig), MSG_BOUND);
    assert_int_equal(rig->error, 0);
    assert_true(rig->has_fd && is_there(rig, "s") && is_there(rig, "s.lock") && !is_there(rig, "p"));
}

static void it_makes_and_removes(void **state)
{
    struct rig *rig = *state;
    take_order(rig);
    say(rig, MSG_PUBLISH, NULL, 0);
    assert_int_equal(hear(rig), MSG_DONE);
    assert_true(rig->error == 0 && is_there(rig, "p"));
    channel_destroy(rig->channel);
    rig->channel = NULL;
    int status;
    assert_int_equal(waitpid(rig->pid, &status, 0), rig->pid);
    rig->pid = 0;
}

static void nothing_is_heard_before_its_order(void **state)
{
    struct rig *rig = *state;
    say(rig, MSG_PUBLISH, NULL, 0);
    assert_gone(rig);
}

static void an_order_is_given_once(void **state)
{
    struct rig *rig = *state;
    struct keep_order other = order_of(rig);
    take_order(rig);
    path_of(rig, "other", other.socket_path, sizeof(other.socket_path));
    say(rig, MSG_KEEP, &other, sizeof(other));
    assert_gone(rig);
    assert_false(is_there(rig, "other"));
}

static void a_pidfile_is_published_once(void **state)
{
    struct rig *rig = *state;
    take_order(rig);
    say(rig, MSG_PUBLISH, NULL, 0);
    assert_int_equal(hear(rig), MSG_DONE);
    say(rig, MSG_PUBLISH, NULL, 0);
    assert_gone(rig);
}

static void another_uplink_than_the_orders_is_refused(void **state)
{
    static const struct tap_request tap;
    struct rig *rig = *state;
    take_order(rig);
    say(rig, MSG_OPEN_TAP, &tap, sizeof(tap));
    assert_gone(rig);
}

static void an_uplink_that_was_not_ordered_is_not_started(void **state)
{
    static const struct child_start start;
    struct rig *rig = *state;
    take_order(rig);
    say(rig, MSG_START, &start, sizeof(start));
    assert_gone(rig);
}

/* A bridge's TAP, or that of a host network without DHCP: there is nothing for a process to do. */
static void no_process_is_started_beside_a_tap_that_needs_none(void **state)
{
    static const struct child_start start;
    struct rig *rig = *state;
    struct keep_order order = order_of(rig);
    order.uplink = WANT_TAP;
    say(rig, MSG_KEEP, &order, sizeof(order));
    assert_int_equal(hear(rig), MSG_BOUND);
    say(rig, MSG_START, &start, sizeof(start));
    assert_gone(rig);
}

static void requests_that_are_the_monitors_are_refused(void **state)
{
    static const struct bind_request bind;
    struct rig *rig = *state;
    take_order(rig);
    say(rig, MSG_BIND, &bind, sizeof(bind));
    assert_gone(rig);
}

static void an_order_of_nonsense_is_refused(void **state)
{
    struct rig *rig = *state;
    struct keep_order order = order_of(rig);
    memset(order.socket_path, 'x', sizeof(order.socket_path)); /* without an end */
    say(rig, MSG_KEEP, &order, sizeof(order));
    assert_gone(rig);
}

static void what_cannot_be_made_is_said(void **state)
{
    struct rig *rig = *state;
    struct keep_order order = order_of(rig);
    path_of(rig, "none/s", order.socket_path, sizeof(order.socket_path));
    say(rig, MSG_KEEP, &order, sizeof(order));
    assert_int_equal(hear(rig), MSG_BOUND);
    assert_true(rig->error == ENOENT && !rig->has_fd);
}

#define KEEPER_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        KEEPER_TEST(it_makes_and_removes),
        KEEPER_TEST(nothing_is_heard_before_its_order),
        KEEPER_TEST(an_order_is_given_once),
        KEEPER_TEST(a_pidfile_is_published_once),
        KEEPER_TEST(another_uplink_than_the_orders_is_refused),
        KEEPER_TEST(an_uplink_that_was_not_ordered_is_not_started),
        KEEPER_TEST(no_process_is_started_beside_a_tap_that_needs_none),
        KEEPER_TEST(requests_that_are_the_monitors_are_refused),
        KEEPER_TEST(an_order_of_nonsense_is_refused),
        KEEPER_TEST(what_cannot_be_made_is_said),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
