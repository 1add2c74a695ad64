/* io/settings.h - what the links of a network can be tuned by: defaults and ranges
 *
 * Numbers alone, so that api/, which knows no loop, checks against the same.
 */
#ifndef IO_SETTINGS_H
#define IO_SETTINGS_H

#include <stdint.h>

/* Limits of a port's queue; both hold. */
struct io_limits {
    uint32_t queue_frames; /* IO_QUEUE_FRAMES */
    uint32_t queue_bytes;  /* IO_QUEUE_BYTES; at least one maximal frame and its prefix */
};

/* 0 is the default; what is out of range is taken as the nearest that is in it. */
struct io_settings {
    struct io_limits limits;
    uint32_t read_bytes;   /* most that one turn reads from a stream */
    uint32_t batch_frames; /* most datagrams of one turn; 1 to IO_DGRAM_SLOTS */
    uint32_t socket_bytes; /* SO_SNDBUF and SO_RCVBUF asked for on each port */
    uint32_t busy_poll_us; /* after the last frame the loop does not sleep for so long; 0: it sleeps */
};

enum {
    IO_QUEUE_FRAMES = 512,
    IO_QUEUE_BYTES = 1024 * 1024,
    /* What a link takes in one turn of the loop. A turn has a price of its own (three system calls, about 2.5
     * us on the machine of docs/performance.md), so a link that is alone takes much at once. Where several
     * have something, they share that, down to the smaller figure: each waits for the others' turns. */
    IO_STREAM_READ = 128 * 1024,
    IO_STREAM_READ_MIN = 72 * 1024,  /* holds a record of the largest length */
    IO_STREAM_READ_MAX = 256 * 1024, /* more overruns a queue of 512 frames between two waits */
    IO_DGRAM_SLOTS = 64,
    IO_DGRAM_SLOTS_MIN = 16, /* or all, where that is less */
    IO_SOCKET_BUFFER = 1024 * 1024,
    IO_SOCKET_BUFFER_MIN = 4096,
    IO_SOCKET_BUFFER_MAX = 64 * 1024 * 1024,
    IO_BUSY_POLL_MAX_US = 1000, /* longer, and a network that hears a frame each millisecond never sleeps */
};

#endif
