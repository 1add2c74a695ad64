/* io/socket_platform.h - the few socket calls that differ between systems
 *
 * MSG_DONTWAIT keeps every call of ours from blocking on Linux. XNU honours it for receiving alone: sosend()
 * asks for SS_NBIO, which O_NONBLOCK sets. There the descriptors of clients stay non-blocking, and a send
 * timeout bounds the wait for one whose client has cleared the flag on a description that it shares.
 */
#ifndef IO_SOCKET_PLATFORM_H
#define IO_SOCKET_PLATFORM_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/types.h>

/* A new unix socket of 'type', close-on-exec, or a negative errno. */
int socket_open_cloexec(int type);

/* accept(), close-on-exec, or a negative errno. O_NONBLOCK is set only where MSG_DONTWAIT is not enough. */
int socket_accept_cloexec(int fd);

/* Gives a descriptor that libuv has made non-blocking its 'flags' (F_GETFL) from before back, where
 * MSG_DONTWAIT is enough; elsewhere it stays non-blocking. */
void socket_restore_blocking(int fd, int flags);

/* recvmsg() without blocking; descriptors in it are close-on-exec. Returns the bytes or a negative errno. */
ssize_t socket_receive_message(int fd, struct msghdr *message);

/* When a file was last modified, in ns; of a socket's file: when it was bound. */
int64_t socket_file_time_ns(const struct stat *st);

/* True if nobody but its peer can send to a connected datagram socket: Linux answers EPERM (unix(7)); XNU
 * lets everybody in. */
bool socket_hears_peer_only(void);

/* What MSG_NOSIGNAL and MSG_DONTWAIT do on Linux, set on the socket where they are not enough. */
void socket_set_send_options(int fd);

#endif
