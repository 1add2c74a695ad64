/* tests/unit/daemon/test_channel.c - messages between roles, see daemon/channel.h */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "daemon/channel.h"
#include "daemon/message.h"
#include "io/socket.h"

static struct channel *a, *b;
static int raw; /* b's end, for bytes that no channel would send */

struct seen {
    unsigned n, n_fds;
    uint32_t last_id;
    uint16_t last_type;
    ino_t inodes[CHANNEL_FDS_MAX];
    bool keeps, refuses;
};

static int set_up(void **state)
{
    (void)state;
    int fds[2];
    assert_int_equal(channel_pair(fds), 0);
    a = channel_create(fds[0]);
    b = channel_create(fds[1]);
    raw = fds[1];
    return a && b ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    channel_destroy(a);
    channel_destroy(b);
    return 0;
}

static unsigned count_fds(void)
{
    unsigned n = 0;
    for (int fd = 0; fd < 1024; fd++)
        n += fcntl(fd, F_GETFD) >= 0;
    return n;
}

static ino_t inode_of(int fd)
{
    struct stat st;
    return fstat(fd, &st) == 0 ? st.st_ino : 0;
}

static int see(void *ctx, struct message *message)
{
    struct seen *seen = ctx;
    assert_true(message_size_is_valid(message->type, message->len));
    if (message->fd >= 0) {
        assert_int_equal(fcntl(message->fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
        seen->inodes[seen->n_fds++ % CHANNEL_FDS_MAX] = inode_of(message->fd);
    }
    if (seen->keeps)
        message->fd = -1;
    seen->n++;
    seen->last_type = message->type;
    seen->last_id = message->id;
    return seen->refuses ? -1 : 0;
}

static int receive(struct channel *channel, struct seen *seen)
{
    int r = 1;
    while (r > 0)
        r = channel_receive(channel, see, seen);
    return r;
}

static void messages_arrive_whole_and_in_order(void **state)
{
    (void)state;
    struct seen seen = {.n = 0};
    static struct fdb_page page = {.n = 7};
    const struct child_id id = {.role = ROLE_NETWORK, .name = "one"};
    for (uint32_t i = 1; i <= 300; i++) { /* more than the socket takes at once */
        assert_int_equal(channel_send(a, MSG_SNAPSHOT_FDB, i, &page, sizeof(page), -1), 0);
        assert_int_equal(channel_send(a, MSG_STOP, i, &id, sizeof(id), -1), 0);
        while (channel_wants_write(a)) {
            assert_int_equal(receive(b, &seen), 0);
            assert_int_equal(channel_flush(a), 0);
        }
    }
    assert_int_equal(receive(b, &seen), 0);
    assert_int_equal(seen.n, 600);
    assert_int_equal(seen.last_id, 300);
}

static void descriptors_come_with_their_messages(void **state)
{
    (void)state;
    struct seen seen = {.n = 0};
    unsigned n_before = count_fds();
    ino_t inodes[40];
    for (uint32_t i = 0; i < 40; i++) {
        int fds[2];
        assert_int_equal(pipe(fds), 0);
        inodes[i] = inode_of(fds[0]);
        close(fds[1]);
        assert_int_equal(channel_send(a, MSG_BEGIN, i, NULL, 0, -1), 0);
        assert_int_equal(channel_send(a, MSG_LEASE, i, NULL, 0, fds[0]), 0);
    }
    assert_int_equal(receive(b, &seen), 0);
    assert_int_equal(seen.n, 80);
    assert_int_equal(seen.n_fds, 40);
    for (int i = 0; i < 40; i++)
        assert_int_equal(seen.inodes[i], inodes[i]);
    assert_int_equal(count_fds(), n_before); /* nobody kept one */
}

static void the_end_of_the_stream_is_told(void **state)
{
    (void)state;
    struct seen seen = {.n = 0};
    assert_int_equal(channel_send(a, MSG_BEGIN, 1, NULL, 0, -1), 0);
    channel_destroy(a);
    a = NULL;
    assert_int_equal(receive(b, &seen), -ECONNRESET);
    assert_int_equal(seen.n, 1); /* what was said before counts */
    assert_true(channel_send(b, MSG_BEGIN, 1, NULL, 0, -1) < 0);
}

/* The header as channel.c has it. */
struct header {
    uint32_t len, id;
    uint16_t type, has_fd;
    uint32_t magic;
};
static const struct header good = {.len = 0, .id = 1, .type = MSG_BEGIN, .has_fd = 0, .magic = 0x766d7377};

static void a_malformed_header_ends_the_channel(void **state)
{
    (void)state;
    for (int kind = 0; kind < 7; kind++) {
        struct header header = good;
        struct seen seen = {.n = 0};
        if (kind == 1)
            header.magic ^= 1;
        else if (kind == 2)
            header.len = UINT32_MAX;
        else if (kind == 3)
            header.len = 1;
        else if (kind == 4)
            header.type = MSG_N;
        else if (kind == 5)
            header.has_fd = 1;
        else if (kind == 6)
            header.has_fd = 2;
        const uint8_t rest = 0;
        assert_int_equal(send(raw, &header, sizeof(header), 0), sizeof(header));
        assert_int_equal(send(raw, &rest, kind == 3, 0), kind == 3);
        assert_int_equal(receive(a, &seen), kind ? -EBADMSG : 0);
        assert_int_equal(seen.n, kind ? 0 : 1);
        assert_int_equal(channel_send(a, MSG_BEGIN, 0, NULL, 0, -1), kind ? -EBADMSG : 0);
        tear_down(state);
        set_up(state);
    }
}

static void an_unannounced_descriptor_ends_the_channel(void **state)
{
    (void)state;
    struct seen seen = {.n = 0};
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    unsigned n_before = count_fds();
    assert_int_equal(socket_send_fd(raw, &good, sizeof(good), fd), sizeof(good));
    assert_int_equal(receive(a, &seen), -EBADMSG);
    channel_destroy(a);
    a = NULL;
    assert_int_equal(count_fds(), n_before - 1); /* the channel's own; the stranger was closed */
    close(fd);
}

static void a_handler_that_refuses_ends_the_channel(void **state)
{
    (void)state;
    struct seen seen = {.refuses = true};
    for (int i = 0; i < 3; i++)
        assert_int_equal(channel_send(b, MSG_BEGIN, 0, NULL, 0, -1), 0);
    assert_int_equal(receive(a, &seen), -EBADMSG);
    assert_int_equal(seen.n, 1);
}

static void a_peer_that_never_reads_ends_the_channel_not_us(void **state)
{
    (void)state;
    static struct fdb_page page;
    unsigned n_before = count_fds();
    int r = 0;
    for (int i = 0; i < 1000 && r == 0; i++)
        r = channel_send(a, MSG_SNAPSHOT_FDB, 0, &page, sizeof(page), dup(STDERR_FILENO));
    assert_int_equal(r, -ENOBUFS);
    channel_destroy(a);
    channel_destroy(b); /* with descriptors in flight and waiting */
    a = b = NULL;
    assert_int_equal(count_fds(), n_before - 2);
}

static void random_bytes_never_do_harm(void **state)
{
    for (int round = 0; round < 2000; round++) {
        struct seen seen = {.n = 0};
        unsigned char bytes[256];
        for (size_t i = 0; i < sizeof(bytes); i++)
            bytes[i] = (unsigned char)random();
        memcpy(bytes, &good, sizeof(good));
        for (long i = random() % 3; i > 0; i--)
            bytes[(unsigned)random() % sizeof(good)] ^= (unsigned char)(1 << random() % 8);
        socket_send_fd(raw, bytes, 1 + (size_t)random() % sizeof(bytes), random() % 2 ? STDERR_FILENO : -1);
        receive(a, &seen);
        tear_down(state);
        set_up(state);
    }
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(messages_arrive_whole_and_in_order),
        TEST(descriptors_come_with_their_messages),
        TEST(the_end_of_the_stream_is_told),
        TEST(a_malformed_header_ends_the_channel),
        TEST(an_unannounced_descriptor_ends_the_channel),
        TEST(a_handler_that_refuses_ends_the_channel),
        TEST(a_peer_that_never_reads_ends_the_channel_not_us),
        TEST(random_bytes_never_do_harm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
