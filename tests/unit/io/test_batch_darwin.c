/* Tests of io/batch_darwin.c, which Linux does not use, on Linux, with a double of the system's calls. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "darwin_double.h"
#include "fixture.h"
#include "io/batch.h"
#include "io/batch_posix.h"
#include "io/socket.h"
#include "switch/frame.h"

enum { PLENTY = 65536, N = 5 };

struct scene {
    struct batch batch;
    struct frame frames[N];
    const struct frame *at[N];
    uint8_t bytes[N][FRAME_LEN_MAX + 100];
    int pair[2];
};

static struct scene scene;

static void use(const char *release, uint64_t fds_max)
{
    struct batch_darwin found;

    batch_darwin_find(&found, release, fds_max);
    batch_darwin_use(&found);
}

static int set_up(void **state)
{
    (void)state;
    memset(&scene, 0, sizeof scene);
    darwin_double_reset();
    use("23.1.0", PLENTY);
    assert_int_equal(batch_init(&scene.batch), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_DGRAM, 0, scene.pair), 0);
    socket_set_buffers(scene.pair[0], IO_SOCKET_BUFFER);
    for (unsigned i = 0; i < N; i++) {
        memset(scene.bytes[i], (int)i + 1, sizeof scene.bytes[i]);
        scene.frames[i] = (struct frame){.head = scene.bytes[i], .head_len = 20 + i};
        scene.at[i] = &scene.frames[i];
    }
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 2; i++)
        if (scene.pair[i] >= 0)
            close(scene.pair[i]);
    batch_deinit(&scene.batch);
    return 0;
}

static int send_from(unsigned first, unsigned n)
{
    return batch_send(&scene.batch, scene.pair[0], scene.at + first, n, NULL, 0);
}

static int receive(void)
{
    return batch_receive(&scene.batch, scene.pair[1], IO_DGRAM_SLOTS, true);
}

/* What has come are the datagrams from 'first' on. */
static void assert_received(unsigned first, unsigned n)
{
    assert_int_equal(receive(), n);
    for (unsigned i = 0; i < n; i++) {
        assert_int_equal(scene.batch.slots[i].len, scene.frames[first + i].head_len);
        assert_memory_equal(scene.batch.slots[i].bytes, scene.bytes[first + i],
                            scene.frames[first + i].head_len);
    }
}

static void a_batch_is_one_call_each_way(void **state)
{
    (void)state;
    assert_int_equal(receive(), -EAGAIN);
    assert_int_equal(send_from(0, N), N);
    assert_received(0, N);
    assert_int_equal(darwin_double.n_sends, 1);
    assert_int_equal(darwin_double.n_receives, 2);
    assert_int_equal(darwin_double.n_biggest, IO_DGRAM_SLOTS);
}

static void what_a_full_peer_does_not_take_is_refused_when_it_comes_first(void **state)
{
    (void)state;
    darwin_double.room = 2;
    assert_int_equal(send_from(0, N), 2);
    assert_int_equal(send_from(2, N - 2), -ENOBUFS);
    darwin_double.room = 10;
    darwin_double.gives_nothing = true;
    assert_int_equal(send_from(2, N - 2), -ENOBUFS);
    darwin_double.gives_nothing = false;
    assert_int_equal(send_from(2, N - 2), N - 2);
    assert_received(0, N);
}

static void a_datagram_that_is_too_long_is_refused_alone(void **state)
{
    (void)state;
    darwin_double.len_max = 1000;
    scene.frames[2].head_len = 1001;
    assert_int_equal(send_from(0, N), 2);
    assert_int_equal(send_from(2, N - 2), -EMSGSIZE);
    assert_int_equal(send_from(3, N - 3), N - 3);
    assert_int_equal(receive(), N - 1);
    assert_int_equal(scene.batch.slots[1].len, scene.frames[1].head_len);
    assert_int_equal(scene.batch.slots[2].len, scene.frames[3].head_len);
}

static void a_peer_that_leaves_in_the_middle_is_told(void **state)
{
    (void)state;
    darwin_double.fails_at = 3;
    darwin_double.fails_with = ECONNREFUSED;
    assert_int_equal(send_from(0, N), -ECONNREFUSED);
    close(scene.pair[1]);
    scene.pair[1] = -1;
    darwin_double.fails_with = 0;
    assert_int_equal(send_from(0, N), -ECONNREFUSED);
}

static void a_datagram_that_was_cut_says_too_long(void **state)
{
    (void)state;
    scene.frames[0].head_len = FRAME_LEN_MAX;
    scene.frames[1].head_len = FRAME_LEN_MAX + 100;
    assert_int_equal(send_from(0, 2), 2);
    assert_int_equal(receive(), 2);
    assert_int_equal(scene.batch.slots[0].len, FRAME_LEN_MAX);
    assert_int_equal(scene.batch.slots[1].len, FRAME_LEN_MAX + 1);
}

static void d08_descriptors_are_closed_whichever_datagram_brings_them(void **state)
{
    unsigned before = fixture_count_fds();

    (void)state;
    for (unsigned round = 0; round < 50; round++) {
        assert_int_equal(send_from(0, 2), 2);
        assert_int_equal(socket_send_fd(scene.pair[0], "0123456789abcdef", 16, scene.pair[0]), 16);
        assert_int_equal(send_from(0, 2), 2);
        assert_int_equal(socket_send_fd(scene.pair[0], "", 0, scene.pair[0]), 0);
        assert_int_equal(receive(), 6);
        assert_int_equal(scene.batch.slots[2].len, 16);
        assert_int_equal(scene.batch.slots[5].len, 0);
        assert_int_equal(fixture_count_fds(), before);
    }
}

static void a_batch_carries_no_more_descriptors_than_half_the_table(void **state)
{
    struct batch_darwin found;

    (void)state;
    use("23.1.0", 8 * BATCH_FDS);
    assert_int_equal(send_from(0, N), N);
    assert_int_equal(receive(), 4);
    assert_int_equal(receive(), 1);
    assert_int_equal(darwin_double.n_biggest, 4);
    batch_darwin_find(&found, "23.1.0", 256); /* launchd's default: not even one */
    assert_null(found.receive);
    assert_non_null(found.send);
}

static void a_shut_socket_gives_nothing_and_no_batch(void **state)
{
    (void)state;
    darwin_double.is_shut = true;
    assert_int_equal(receive(), -EAGAIN);
}

static void sources_are_told_and_never_longer_than_their_room(void **state)
{
    struct sockaddr_un from = {.sun_family = AF_UNIX}, to = from;
    socklen_t len = sizeof to;
    int from_fd = socket(AF_UNIX, SOCK_DGRAM, 0), to_fd = socket(AF_UNIX, SOCK_DGRAM, 0);
    char path[sizeof from.sun_path + 1] = {0};

    (void)state;
    /* A path without a NUL, of which Linux tells 111 bytes: longer than the room, as a path may be on macOS.
     */
    memset(from.sun_path, 'x', sizeof from.sun_path);
    len = (socklen_t)snprintf(path, sizeof path, "/tmp/vmsw-batch-darwin-%d-", (int)getpid());
    memcpy(from.sun_path, path, len);
    memcpy(path, from.sun_path, sizeof from.sun_path);
    assert_int_equal(bind(from_fd, (struct sockaddr *)&from, sizeof from), 0);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(bind(to_fd, (struct sockaddr *)&to, sizeof to.sun_family), 0); /* a name of its own */
    len = sizeof to;
    assert_int_equal(getsockname(to_fd, (struct sockaddr *)&to, &len), 0);
    assert_int_equal(batch_send(&scene.batch, from_fd, scene.at, 2, &to, len), 2);
    assert_int_equal(batch_receive(&scene.batch, to_fd, IO_DGRAM_SLOTS, true), 2);
    assert_int_equal(scene.batch.slots[0].from_len, 0);
    assert_int_equal(batch_send(&scene.batch, to_fd, scene.at, 2, &to, len), 2); /* to itself: a short name */
    assert_int_equal(batch_receive(&scene.batch, to_fd, IO_DGRAM_SLOTS, true), 2);
    assert_int_equal(scene.batch.slots[1].from_len, len);
    assert_memory_equal(&scene.batch.slots[1].from, &to, len);
    close(from_fd);
    close(to_fd);
}

static void before_macos_14_datagrams_go_one_by_one(void **state)
{
    (void)state;
    use("22.6.0", PLENTY);
    assert_int_equal(send_from(0, N), N);
    assert_received(0, N);
    assert_int_equal(darwin_double.n_sends + darwin_double.n_receives, 0);
}

static void a_call_that_the_system_does_not_have_is_made_once(void **state)
{
    static const int errors[] = {ENOSYS, EOPNOTSUPP};

    (void)state;
    for (unsigned i = 0; i < 2; i++) {
        darwin_double_reset();
        darwin_double.refuses_with = errors[i];
        use("25.0.0", PLENTY);
        for (unsigned round = 0; round < 3; round++) {
            assert_int_equal(send_from(0, N), N);
            assert_received(0, N);
        }
        assert_int_equal(darwin_double.n_sends, 1);
        assert_int_equal(darwin_double.n_receives, 1);
    }
}

static void another_error_is_told_and_the_call_made_again(void **state)
{
    (void)state;
    darwin_double.refuses_with = ECONNRESET;
    assert_int_equal(send_from(0, N), -ECONNRESET);
    assert_int_equal(receive(), -ECONNRESET);
    darwin_double.refuses_with = 0;
    assert_int_equal(send_from(0, N), N);
    assert_received(0, N);
    assert_int_equal(darwin_double.n_sends, 2);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_batch_is_one_call_each_way),
        TEST(what_a_full_peer_does_not_take_is_refused_when_it_comes_first),
        TEST(a_datagram_that_is_too_long_is_refused_alone),
        TEST(a_peer_that_leaves_in_the_middle_is_told),
        TEST(a_datagram_that_was_cut_says_too_long),
        TEST(d08_descriptors_are_closed_whichever_datagram_brings_them),
        TEST(a_batch_carries_no_more_descriptors_than_half_the_table),
        TEST(a_shut_socket_gives_nothing_and_no_batch),
        TEST(sources_are_told_and_never_longer_than_their_room),
        TEST(before_macos_14_datagrams_go_one_by_one),
        TEST(a_call_that_the_system_does_not_have_is_made_once),
        TEST(another_error_is_told_and_the_call_made_again),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
