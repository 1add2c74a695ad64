/* io/socket_platform.h - the few socket calls that are atomic on one system and two steps on another */
#ifndef IO_SOCKET_PLATFORM_H
#define IO_SOCKET_PLATFORM_H

#include <stdint.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/types.h>

/* A new unix socket of 'type', close-on-exec, or a negative errno. */
int socket_open_cloexec(int type);

/* accept(), close-on-exec, blocking, or a negative errno. */
int socket_accept_cloexec(int fd);

/* recvmsg() without blocking; descriptors in it are close-on-exec. Returns the bytes or a negative errno. */
ssize_t socket_receive_message(int fd, struct msghdr *message);

/* When a file was last modified, in ns; of a socket's file: when it was bound. */
int64_t socket_file_time_ns(const struct stat *st);

/* Where MSG_NOSIGNAL is not enough. */
void socket_set_no_sigpipe(int fd);

#endif
