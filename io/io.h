/* io/io.h - what all links of one network share: the loop, the lan, the receive buffers
 *
 * Frames are borrowed from these buffers only during one callback, so one set serves every link; an idle
 * port costs no buffer. Also here: the list of sources that wait (switch/pressure.h) and the close list,
 * because a link may find its peer dead in the middle of a batch but must not leave the lan there.
 */
#ifndef IO_IO_H
#define IO_IO_H

#include <stdint.h>
#include <uv.h>

#include "switch/lan.h"

struct io;

/* Limits of a port's queue; both hold. */
struct io_limits {
    uint32_t queue_frames; /* IO_QUEUE_FRAMES */
    uint32_t queue_bytes;  /* IO_QUEUE_BYTES; at least one maximal frame and its prefix */
};

enum {
    IO_QUEUE_FRAMES = 512,
    IO_QUEUE_BYTES = 1024 * 1024,
    IO_STREAM_READ = 128 * 1024, /* one recv. At 1500 bytes 0.95 of the wire where 128 KiB had 0.77: the
                                   receiver starts earlier */
    IO_DGRAM_SLOTS = 32,         /* datagrams of one receive call: more gains nothing and adds latency */
    IO_SOCKET_BUFFER = 1024 * 1024,
};

/* 'loop' and 'lan' stay the caller's and must outlive it. Returns 0 or UV_ENOMEM. */
int io_create(struct io **ret_io, uv_loop_t *loop, struct lan *lan, const struct io_limits *limits);

/* All links must be closed. Its handles finish on the loop: run it once more before uv_loop_close(). */
void io_destroy(struct io *io);

#endif
