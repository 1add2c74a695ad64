/* io/batch_posix.h - one call per datagram, and descriptors taken to be closed
 *
 * As batch.h says, for systems without calls for many, and for what such calls do not take on.
 */
#ifndef IO_BATCH_POSIX_H
#define IO_BATCH_POSIX_H

#include <sys/socket.h>

#include "io/batch.h"

enum { BATCH_FDS = 512 /* XNU passes at most 512 descriptors at once (uipc_usrreq.c), Linux 253 */ };

/* Room for all descriptors that one datagram can carry: what finds no room stays open, and nobody knows its
 * number. */
struct batch_control {
    _Alignas(struct cmsghdr) char bytes[CMSG_SPACE(BATCH_FDS * sizeof(int))];
};

/* Closes the descriptors that a received 'message' has brought. */
void batch_close_descriptors(struct msghdr *message);

/* A path may be longer than sun_path here, and cut short it would name another: then 0. */
socklen_t batch_from_len(socklen_t told);

int batch_posix_receive(struct batch *batch, int fd, unsigned max, bool wants_sources);
int batch_posix_send(int fd, const struct frame *const *frames, unsigned n, const struct sockaddr_un *to,
                     socklen_t to_len);
ssize_t batch_posix_read(int fd, uint8_t *bytes, size_t len);

#endif
