/* io/batch_darwin.h - XNU's calls for many datagrams, which no public header declares
 *
 * They are looked up at run time, and used from macOS 14 on alone. Before that, recvmsg_x() fails and forgets
 * descriptors that it has installed when an empty datagram with descriptors is all there is, and sendmsg_x()
 * says EMSGSIZE for a batch of which a part has gone out.
 */
#ifndef IO_BATCH_DARWIN_H
#define IO_BATCH_DARWIN_H

#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>

/* struct msghdr of XNU, and a length: bsd/sys/socket_private.h. */
struct msghdr_x { /* NOLINT(clang-analyzer-optin.performance.Padding): the kernel's order */
    void *msg_name;
    socklen_t msg_namelen;
    struct iovec *msg_iov;
    int msg_iovlen;
    void *msg_control;
    socklen_t msg_controllen;
    int msg_flags;
    size_t
        msg_datalen; /* out, of recvmsg_x(): the bytes received; its msg_flags do not tell a cut datagram */
};

typedef ssize_t batch_darwin_fn(int fd, const struct msghdr_x *messages, unsigned n, int flags);

struct batch_darwin {
    batch_darwin_fn *receive; /* NULL: one datagram at a time, by batch_posix.h */
    batch_darwin_fn *send;    /* likewise */
    unsigned slots;           /* of a receive call */
};

/* Finds what a kernel of this 'release' (uname) offers to a process that may have 'fds_max' descriptors. */
void batch_darwin_find(struct batch_darwin *ret_calls, const char *release, uint64_t fds_max);

/* The calls that batch.h uses from now on. Without it they are found at the first batch. */
void batch_darwin_use(const struct batch_darwin *calls);

#endif
