/* Tests of io/socket.c, peer.h and the portable half of io/batch.h. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "fixture.h"
#include "io/peer.h"
#include "io/socket.h"

static void only_connected_unix_sockets_pass_the_check(void **state)
{
    enum link_kind kind;
    int stream[2], datagram[2], packet[2], pipe_fds[2];
    int inet = socket(AF_INET, SOCK_STREAM, 0), lone = socket(AF_UNIX, SOCK_STREAM, 0);
    int listening = socket(AF_UNIX, SOCK_STREAM, 0), null = open("/dev/null", O_RDWR);
    struct sockaddr_un any = {.sun_family = AF_UNIX};

    (void)state;
    socketpair(AF_UNIX, SOCK_STREAM, 0, stream);
    socketpair(AF_UNIX, SOCK_DGRAM, 0, datagram);
    socketpair(AF_UNIX, SOCK_SEQPACKET, 0, packet);
    assert_int_equal(pipe(pipe_fds), 0);
    assert_int_equal(bind(listening, (struct sockaddr *)&any, sizeof(sa_family_t)), 0);
    assert_int_equal(listen(listening, 1), 0);

    assert_int_equal(socket_check(stream[0], &kind), 0);
    assert_int_equal(kind, LINK_STREAM);
    assert_int_equal(socket_check(datagram[0], &kind), 0);
    assert_int_equal(kind, LINK_DATAGRAM);
    assert_int_equal(socket_check(packet[0], &kind), UV_EPROTOTYPE);
    assert_int_equal(socket_check(inet, &kind), UV_EPROTONOSUPPORT);
    assert_int_equal(socket_check(lone, &kind), UV_ENOTCONN);
    assert_int_equal(socket_check(listening, &kind), UV_EINVAL);
    assert_int_equal(socket_check(pipe_fds[0], &kind), UV_ENOTSOCK);
    assert_int_equal(socket_check(null, &kind), UV_ENOTSOCK);
    assert_int_equal(socket_check(-1, &kind), UV_ENOTSOCK);
    close(stream[1]); /* D03 */
    assert_int_equal(socket_check(stream[0], &kind), UV_ENOTCONN);

    int fds[] = {stream[0], datagram[0], datagram[1], packet[0],   packet[1], inet,
                 lone,      listening,   pipe_fds[0], pipe_fds[1], null};
    for (size_t i = 0; i < sizeof fds / sizeof *fds; i++)
        close(fds[i]);
}

static void d06_at_most_one_descriptor_of_a_message_is_kept(void **state)
{
    static const int counts[] = {1, 2, 3, 17, 64, 253};
    unsigned before = fixture_count_fds();
    int pair[2];

    (void)state;
    socketpair(AF_UNIX, SOCK_STREAM, 0, pair);
    for (size_t k = 0; k < sizeof counts / sizeof *counts; k++) {
        union {
            struct cmsghdr align;
            char bytes[CMSG_SPACE(253 * sizeof(int))];
        } control = {.bytes = {0}};
        char byte = 'x', got[8];
        struct iovec iov = {&byte, 1};
        size_t len = (size_t)counts[k] * sizeof(int);
        struct msghdr message = {.msg_iov = &iov,
                                 .msg_iovlen = 1,
                                 .msg_control = control.bytes,
                                 .msg_controllen = (socklen_t)CMSG_SPACE(len)};
        struct cmsghdr *c = CMSG_FIRSTHDR(&message);
        unsigned extra;
        int fd;

        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = (socklen_t)CMSG_LEN(len);
        for (int i = 0; i < counts[k]; i++)
            memcpy(CMSG_DATA(c) + (size_t)i * sizeof(int), &pair[0], sizeof(int));
        assert_int_equal(sendmsg(pair[0], &message, 0), 1);
        assert_int_equal(socket_receive_fd(pair[1], got, sizeof got, &fd, &extra), 1);
        assert_true(fd >= 0);
        assert_int_equal(extra, (unsigned)counts[k] - 1);
        assert_int_equal(fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
        close(fd);
        assert_int_equal(fixture_count_fds(), before + 2);
    }
    close(pair[0]);
    close(pair[1]);
}

static void a_message_without_a_descriptor_and_the_end_are_told_apart(void **state)
{
    char got[8];
    unsigned extra;
    int pair[2], fd;

    (void)state;
    socketpair(AF_UNIX, SOCK_STREAM, 0, pair);
    assert_int_equal(socket_receive_fd(pair[1], got, sizeof got, &fd, &extra), -EAGAIN);
    assert_int_equal(fd, -1);
    assert_int_equal(socket_send_fd(pair[0], "abc", 3, -1), 3);
    assert_int_equal(socket_receive_fd(pair[1], got, sizeof got, &fd, &extra), 3);
    assert_int_equal(fd, -1);
    close(pair[0]);
    assert_int_equal(socket_receive_fd(pair[1], got, sizeof got, &fd, &extra), 0);
    assert_int_equal(socket_send_fd(pair[1], "abc", 3, -1), -EPIPE); /* and no SIGPIPE */
    close(pair[1]);
}

static void the_kernel_tells_who_the_peer_is(void **state)
{
    struct peer peer;
    int pair[2], null = open("/dev/null", O_RDWR);

    (void)state;
    socketpair(AF_UNIX, SOCK_STREAM, 0, pair);
    peer_of(pair[0], &peer);
    assert_true(peer.is_known);
    assert_int_equal(peer.uid, getuid());
    assert_int_equal(peer.gid, getgid());
    assert_int_equal(peer.pid, getpid());
    assert_true(peer_is_member(pair[0], getgid()));
    assert_false(peer_is_member(pair[0], 54321));
    peer_of(null, &peer);
    assert_false(peer.is_known);
    assert_false(peer_is_member(null, getgid()));
    close(pair[0]);
    close(pair[1]);
    close(null);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_connected_unix_sockets_pass_the_check),
        cmocka_unit_test(d06_at_most_one_descriptor_of_a_message_is_kept),
        cmocka_unit_test(a_message_without_a_descriptor_and_the_end_are_told_apart),
        cmocka_unit_test(the_kernel_tells_who_the_peer_is),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
