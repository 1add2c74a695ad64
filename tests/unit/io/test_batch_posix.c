/* Tests of io/batch_posix.c, the half of batch.h that Linux does not use, on Linux. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "fixture.h"
#include "io/batch.h"
#include "io/socket.h"

static void batches_keep_order_and_lengths(void **state)
{
    struct batch batch;
    struct batch_message messages[3];
    struct iovec iov[3];
    uint8_t bytes[3][100];
    int pair[2];

    (void)state;
    assert_int_equal(batch_init(&batch), 0);
    socketpair(AF_UNIX, SOCK_DGRAM, 0, pair);
    for (unsigned i = 0; i < 3; i++) {
        memset(bytes[i], (int)i + 1, sizeof bytes[i]);
        iov[i] = (struct iovec){bytes[i], 20 + i};
        messages[i] = (struct batch_message){.iov = &iov[i], .n_iov = 1};
    }
    assert_int_equal(batch_receive(&batch, pair[1]), -EAGAIN);
    assert_int_equal(batch_send(pair[0], messages, 3), 3);
    assert_int_equal(batch_receive(&batch, pair[1]), 3);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(batch.slots[i].len, 20 + i);
        assert_memory_equal(batch.slots[i].bytes, bytes[i], 20 + i);
    }
    close(pair[1]);
    assert_int_equal(batch_send(pair[0], messages, 3), -ECONNREFUSED);
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
                assert_int_equal(batch_read(pair[1], bytes, sizeof bytes), 16);
            else
                assert_int_equal(batch_receive(&batch, pair[1]), 1);
        }
        assert_int_equal(fixture_count_fds(), before);
        close(pair[0]);
        close(pair[1]);
    }
    batch_deinit(&batch);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(batches_keep_order_and_lengths),
        cmocka_unit_test(d08_descriptors_are_received_and_closed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
