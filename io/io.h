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
    /* What a link takes in one turn of the loop. A turn has a price of its own (three system calls, about 2.5
     * us on the machine of docs/performance.md), so a link that is alone takes much at once. Where several
     * have something, they share that, down to the smaller figure: each waits for the others' turns. */
    IO_STREAM_READ = 128 * 1024,
    IO_STREAM_READ_MIN = 72 * 1024, /* holds a record of the largest length */
    IO_DGRAM_SLOTS = 64,
    IO_DGRAM_SLOTS_MIN = 16,
    IO_SOCKET_BUFFER = 1024 * 1024,
};

/* 'loop' and 'lan' stay the caller's and must outlive it. Returns 0 or UV_ENOMEM. */
int io_create(struct io **ret_io, uv_loop_t *loop, struct lan *lan, const struct io_limits *limits);

/* All links must be closed. Its handles finish on the loop: run it once more before uv_loop_close(). */
void io_destroy(struct io *io);

#endif
