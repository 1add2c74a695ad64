/* io/queue.h - what one port's socket has not taken yet
 *
 * How it works
 *   A ring of bytes that holds records in wire form: a 4-byte big-endian length and the frame. A stream
 *   writes the ring's bytes as they are; a datagram link takes record by record. A record may wrap, so
 *   both get up to two pieces. When it becomes empty it starts over at offset 0: a port that queues little
 *   touches few pages.
 *
 * What is always true
 *   len <= size, n_frames <= frames_max. The bytes at 'start' begin a record, unless begun_left > 0: then a
 *   stream has sent part of the first one, and begun_left bytes of it are left.
 *   There is no pointer inside: the ring lies 'ring_at' bytes behind the struct, in the same piece of memory
 *   (io/resume.h), so that a successor can carry on.
 *
 * When it is full
 *   The new frame is refused whole: an old one may be half sent, and a slow reader must cost itself.
 */
#ifndef IO_QUEUE_H
#define IO_QUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "switch/frame.h"

struct queue {
    uint32_t ring_at;
    uint32_t size;
    uint32_t frames_max;
    uint32_t start;
    uint32_t len;
    uint32_t n_frames;
    uint32_t begun_left;
    uint32_t begun_len; /* length of the begun frame, without prefix */
    uint32_t touched;   /* the ring was written up to here since queue_trim() */
};

/* An empty queue whose ring of 'size' bytes lies 'ring_at' bytes behind 'queue'. 'size' is at least
 * FRAME_PREFIX + FRAME_LEN_MAX. */
void queue_init(struct queue *queue, uint32_t ring_at, uint32_t size, uint32_t frames_max);

/* Uses the first 'size' bytes of the ring, which is as long as queue_init() was told. The queue is empty. */
void queue_resize(struct queue *queue, uint32_t size);

static inline bool queue_is_empty(const struct queue *queue)
{
    return queue->n_frames == 0;
}

/* Copies 'frame' in. Returns false if it does not fit. */
bool queue_push(struct queue *queue, const struct frame *frame);

/* Copies in what is left of a frame of which a stream has taken the first 'sent' bytes, prefix included:
 * 0 < sent < FRAME_PREFIX + len. The queue is empty, so it always fits. */
void queue_push_rest(struct queue *queue, const struct frame *frame, size_t sent);

/* All bytes, for a stream; returns the number of pieces, 0 to 2. */
unsigned queue_peek(const struct queue *queue, struct iovec iov[2]);

/* A stream has taken 'bytes' of them: adds the frames that are thereby complete, and their bytes, to the two
 * totals. */
void queue_advance(struct queue *queue, size_t bytes, uint64_t *frames, uint64_t *frame_bytes);

/* Walks the records, for datagrams: *position starts at 0. Returns the number of pieces of the next frame
 * (without prefix), 0 behind the last. Only for queues without a begun frame. */
unsigned queue_next(const struct queue *queue, uint32_t *position, struct iovec iov[2], uint32_t *ret_len);

/* Takes the first whole record out and returns its frame's length. The queue is not empty. */
uint32_t queue_pop(struct queue *queue);

/* Empties it; returns how many frames were in it. */
uint32_t queue_clear(struct queue *queue);

/* The ring has become big enough for queue_trim(). */
bool queue_is_touched(const struct queue *queue);

/* Gives the memory of a big, now empty ring back to the system. Not for the frame path: a system call. */
void queue_trim(struct queue *queue);

#endif
