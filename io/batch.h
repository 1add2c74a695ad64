/* io/batch.h - the system calls of the data path: many datagrams in one call where the system can
 *
 * Descriptors that a client attaches to its data are never kept: on Linux a receive call without a control
 * buffer makes the kernel drop them; elsewhere they are installed before the kernel looks at the buffer, so
 * they are received and closed (XNU, soreceive_ctl). None of these block, whatever flags the client has set
 * on a description that it shares with us, and none raises SIGPIPE.
 */
#ifndef IO_BATCH_H
#define IO_BATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <sys/un.h>

#include "io/io.h"
#include "io/piece.h"
#include "switch/frame.h"

/* A received datagram. */
struct batch_slot {
    uint8_t *bytes;     /* FRAME_PREFIX bytes of room lie in front */
    uint32_t len;       /* at most FRAME_LEN_MAX + 1: so long means too long */
    socklen_t from_len; /* at most sizeof from; 0: unbound, or longer */
    struct sockaddr_un from;
};

/* BATCH_ALIGN: the kernel copies about a tenth faster to where a cache line begins. */
enum {
    BATCH_ALIGN = 64,
    BATCH_PIECES = 2 + FRAME_REST_MAX, /* a header of the link's, head and rest */
    BATCH_CALLS = 20 * 1024,
};

struct batch {
    struct batch_slot slots[IO_DGRAM_SLOTS];
    void *calls; /* BATCH_CALLS bytes, zero at first: what the system's call is to be told, told once */
    uint8_t *memory;
    size_t memory_size;
};

/* Makes room for one receive call. Returns 0 or UV_ENOMEM. */
int batch_init(struct batch *batch);
void batch_deinit(struct batch *batch);

/* Receives up to 'max' <= IO_DGRAM_SLOTS datagrams into the slots, with their sources if these are wanted:
 * the kernel's copying of one costs a connected socket, which has only one, 2 % of a frame. Returns how many
 * (>= 1), or a negative errno. */
int batch_receive(struct batch *batch, int fd, unsigned max, bool wants_sources);

/* Sends up to IO_DGRAM_SLOTS frames in order, a datagram each; of a frame only 'head' and 'rest' are looked
 * at. 'to' NULL: the socket is connected. Returns how many went out (>= 1), or the negative errno of the
 * first; the error of a later one shows when it is sent again. One of more than BATCH_PIECES pieces is
 * -EMSGSIZE. */
int batch_send(struct batch *batch, int fd, const struct frame *const *frames, unsigned n,
               const struct sockaddr_un *to, socklen_t to_len);

/* For the files of the systems: lays out one frame of at most BATCH_PIECES pieces. Returns how many it has.
 */
static inline unsigned batch_lay_out(const struct frame *frame, struct iovec *iov)
{
    iov[0] = piece_of(frame->head, frame->head_len);
    for (uint32_t k = 0; k < frame->n_rest; k++)
        iov[1 + k] = piece_of(frame->rest[k].base, frame->rest[k].len);
    return 1 + frame->n_rest;
}

/* True if a connected datagram socket that had no room (EAGAIN) shows as writable when its peer has read. On
 * macOS 12 it always does, on 13 and 14 nobody is woken: there it is asked again after a while. */
bool batch_wakes_when_room(void);

/* Reads from a stream. Returns the bytes, 0 at its end, or a negative errno. */
ssize_t batch_read(int fd, uint8_t *bytes, size_t len);

/* Writes to a stream. Returns the bytes taken or a negative errno. */
ssize_t batch_write(int fd, struct iovec *iov, unsigned n_iov);

#endif
