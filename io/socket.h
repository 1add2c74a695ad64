/* io/socket.h - checks and options of sockets that come from others */
#ifndef IO_SOCKET_H
#define IO_SOCKET_H

#include <stddef.h>

#include "io/link.h"

/* Checks a descriptor somebody passed: an AF_UNIX socket, connected, not listening, stream or datagram.
 * Returns 0 and the kind, or UV_ENOTSOCK (not a socket), UV_EPROTONOSUPPORT (not AF_UNIX), UV_EPROTOTYPE
 * (neither type), UV_ENOTCONN (no peer, or it is gone), UV_EINVAL (listening). */
int socket_check(int fd, enum link_kind *ret_kind);

/* A sentence for a code of socket_check(): "the descriptor is not a socket". */
const char *socket_check_message(int error);

/* Raises SO_SNDBUF and SO_RCVBUF to 'bytes', halving on refusal; a refusal is not an error. Sets
 * SO_NOSIGPIPE and a send timeout where the flags of a send are not enough (macOS). */
void socket_set_buffers(int fd, int bytes);

/* Sends 'len' bytes, with 'fd' as SCM_RIGHTS unless it is -1, without blocking. Returns the bytes sent or a
 * negative errno. */
long socket_send_fd(int socket, const void *bytes, size_t len, int fd);

/* Receives up to 'len' bytes without blocking and takes at most one descriptor: *ret_fd is -1 if none came;
 * any further ones are closed and *ret_extra counts them (a truncated control message counts too).
 * Received descriptors are close-on-exec. Returns the bytes, 0 at the end, or a negative errno. */
long socket_receive_fd(int socket, void *bytes, size_t len, int *ret_fd, unsigned *ret_extra);

#endif
