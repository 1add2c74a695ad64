/* tests/unit/io/darwin_double.h - recvmsg_x and sendmsg_x as XNU 14 and later has them, over Linux's sockets
 *
 * What differs from recvmmsg and sendmmsg is what it is for: no flag but MSG_DONTWAIT; lengths in
 * msg_datalen; a cut datagram that says nothing; descriptors told in the first messages of a batch, whichever
 * they came with; an error of a later datagram that is a smaller count if it is one of size or room, and the
 * whole call's if it is another; 0 from a socket whose receiving side is shut.
 */
#ifndef DARWIN_DOUBLE_H
#define DARWIN_DOUBLE_H

#include <stdbool.h>

#include "io/batch_darwin.h"

struct darwin_double {
    unsigned n_receives, n_sends; /* calls */
    unsigned n_biggest;           /* datagrams that one receive call has asked for */
    unsigned room;                /* datagrams that the peer still takes before full_error */
    size_t room_bytes;            /* likewise, of bytes */
    int full_error;               /* ENOBUFS, or what a send timeout makes of it: EAGAIN */
    bool is_sending;              /* in sendmsg_x(), which sends by sendmsg() here */
    bool has_detour; /* what is sent goes to 'detour', so that the socket itself stays as it is */
    int detour;
    size_t len_max;     /* of a datagram: SO_SNDBUF */
    unsigned fails_at;  /* the datagram of a send call that meets fails_with; from 0 */
    int fails_with;     /* 0: none */
    int refuses_with;   /* every call, before it does anything; 0: no */
    bool gives_nothing; /* a send call; no error either */
    bool is_shut;       /* the receiving side */
};

extern struct darwin_double darwin_double;

void darwin_double_reset(void);

ssize_t recvmsg_x(int fd, const struct msghdr_x *messages, unsigned n, int flags);
ssize_t sendmsg_x(int fd, const struct msghdr_x *messages, unsigned n, int flags);

#endif
