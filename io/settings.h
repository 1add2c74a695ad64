/* io/settings.h - what the links of a network can be tuned by: defaults and ranges
 *
 * Numbers alone, so that api/, which knows no loop, checks against the same.
 */
#ifndef IO_SETTINGS_H
#define IO_SETTINGS_H

#include <stddef.h>
#include <stdint.h>

/* Limits of a port's queue; both hold. */
struct io_limits {
    uint32_t queue_frames; /* IO_QUEUE_FRAMES */
    uint32_t queue_bytes;  /* at least one maximal frame and its prefix; see io_queue_size() */
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
    /* Where a port takes frames of 64 KiB a batch of IO_DGRAM_SLOTS of them has room, as one of short frames
     * has: a datagram source is never made to wait, and TCP sends that much at once. */
    IO_QUEUE_LONG_BYTES = 64 * (4 + 12 + 65550),
    IO_QUEUE_LONG_FRAME = 9 * 1024, /* a longer frame than any network card's is a long one */
    /* What a link takes in one turn of the loop. A turn has a price of its own (three system calls, about 2.5
     * us on the machine of docs/performance.md), so a link that is alone takes much at once. Where several
     * have something within a millisecond, they share that, down to the smaller figure: each waits for the
     * others' turns. */
    IO_STREAM_READ = 96 * 1024, /* at 1500 bytes 1.0 of the wire, where 72 KiB had 0.97 and 128 KiB 0.86 */
    /* Four of the longest records, which a link that is alone takes at once: a client's buffer of 208 KiB
     * holds three of them, and it is woken only when most of that is free. */
    IO_STREAM_LONG = 4 * (4 + 12 + 65550),
    IO_STREAM_READ_MIN = 72 * 1024,  /* holds a record of the largest length */
    IO_STREAM_READ_MAX = 256 * 1024, /* more overruns a queue of 512 frames between two waits */
    IO_DGRAM_SLOTS = 64,
    IO_DGRAM_SLOTS_MIN = 16, /* or all, where that is less */
    IO_SOCKET_BUFFER = 1024 * 1024,
    IO_SOCKET_BUFFER_MIN = 4096,
    IO_SOCKET_BUFFER_MAX = 64 * 1024 * 1024,
    IO_BUSY_POLL_MAX_US = 1000, /* longer, and a network that hears a frame each millisecond never sleeps */
};

/* Bytes of the queue of a port that takes frames of up to 'frame_max'. */
static inline uint32_t io_queue_size(const struct io_settings *settings, uint32_t frame_max)
{
    if (settings->limits.queue_bytes > 0)
        return settings->limits.queue_bytes;
    return frame_max > IO_QUEUE_LONG_FRAME ? IO_QUEUE_LONG_BYTES : IO_QUEUE_BYTES;
}

/* The most bytes of one read, whatever the records. */
static inline size_t io_read_room(const struct io_settings *settings)
{
    return settings->read_bytes > IO_STREAM_LONG ? settings->read_bytes : IO_STREAM_LONG;
}

#endif
