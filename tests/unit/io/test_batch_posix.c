/* Tests of io/batch_posix.c, which Linux does not use, on Linux. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "fixture.h"
#include "io/batch_posix.h"
#include "io/socket.h"

static void batches_keep_order_and_lengths(void **state)
{
    struct batch batch;
    struct frame frames[3];
    const struct frame *at[3];
    uint8_t bytes[3][100];
    int pair[2];

    (void)state;
    assert_int_equal(batch_init(&batch), 0);
    socketpair(AF_UNIX, SOCK_DGRAM, 0, pair);
    for (unsigned i = 0; i < 3; i++) {
        memset(bytes[i], (int)i + 1, sizeof bytes[i]);
        frames[i] = (struct frame){.head = bytes[i], .head_len = 20 + i};
        at[i] = &frames[i];
    }
    assert_int_equal(batch_posix_receive(&batch, pair[1], IO_DGRAM_SLOTS, true), -EAGAIN);
    assert_int_equal(batch_posix_send(pair[0], at, 3, NULL, 0), 3);
    assert_int_equal(batch_posix_receive(&batch, pair[1], IO_DGRAM_SLOTS, true), 3);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(batch.slots[i].len, 20 + i);
        assert_memory_equal(batch.slots[i].bytes, bytes[i], 20 + i);
    }
    close(pair[1]);
    assert_int_equal(batch_posix_send(pair[0], at, 3, NULL, 0), -ECONNREFUSED);
    close(pair[0]);
    batch_deinit(&batch);
}

static void d08_descriptors_are_received_and_closed(void **state)
{
    static const int types[] = {SOCK_STREAM, SOCK_DGRAM};
    struct batch batch;
    uint8_t bytes[64];

    (void)state;
    assert_int_equal(batch_init(&batch), 0);
    for (unsigned t = 0; t < 2; t++) {
        unsigned before;
        int pair[2];

        socketpair(AF_UNIX, types[t], 0, pair);
        before = fixture_count_fds();
        for (int i = 0; i < 100; i++) {
            assert_int_equal(socket_send_fd(pair[0], "0123456789abcdef", 16, pair[0]), 16);
            if (types[t] == SOCK_STREAM)
                assert_int_equal(batch_posix_read(pair[1], bytes, sizeof bytes), 16);
            else
                assert_int_equal(batch_posix_receive(&batch, pair[1], IO_DGRAM_SLOTS, true), 1);
        }
        assert_int_equal(fixture_count_fds(), before);
        close(pair[0]);
        close(pair[1]);
    }
    batch_deinit(&batch);
}

static void remove_long(const struct sockaddr_un *at)
{
    char path[sizeof at->sun_path + 1] = {0};

    memcpy(path, at->sun_path, sizeof at->sun_path);
    assert_int_equal(unlink(path), 0);
}

static void a_source_address_is_never_longer_than_its_room(void **state)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX}, to = at;
    char dir[] = "/tmp/vmswitch-batch-XXXXXX";
    struct batch batch;
    socklen_t len = sizeof to;
    int from_fd, to_fd;

    (void)state;
    assert_int_equal(batch_init(&batch), 0);
    assert_non_null(mkdtemp(dir));
    /* A path without a NUL, of which Linux tells 111 bytes. */
    memset(at.sun_path, 'x', sizeof at.sun_path);
    memcpy(at.sun_path, dir, strlen(dir));
    at.sun_path[strlen(dir)] = '/';
    from_fd = socket(AF_UNIX, SOCK_DGRAM, 0);
    to_fd = socket(AF_UNIX, SOCK_DGRAM, 0);
    assert_int_equal(bind(from_fd, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(bind(to_fd, (struct sockaddr *)&to, sizeof to.sun_family), 0); /* a name of its own */
    assert_int_equal(getsockname(to_fd, (struct sockaddr *)&to, &len), 0);
    assert_int_equal(sendto(from_fd, "frame", 5, 0, (struct sockaddr *)&to, len), 5);
    assert_int_equal(batch_posix_receive(&batch, to_fd, IO_DGRAM_SLOTS, true), 1);
    assert_true(batch.slots[0].from_len <= sizeof batch.slots[0].from);
    close(from_fd);
    close(to_fd);
    batch_deinit(&batch);
    remove_long(&at);
    assert_int_equal(rmdir(dir), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(batches_keep_order_and_lengths),
        cmocka_unit_test(d08_descriptors_are_received_and_closed),
        cmocka_unit_test(a_source_address_is_never_longer_than_its_room),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
