/* io/queue.c - see queue.h */
#include "io/queue.h"

#include <string.h>

#include "io/framing.h"
#include "io/piece.h"
#include "io/resume.h"

enum { QUEUE_TRIM_FROM = 64 * 1024 /* a ring that never got so far is not worth a system call */ };

void queue_init(struct queue *queue, uint32_t ring_at, uint32_t size, uint32_t frames_max)
{
    *queue = (struct queue){.ring_at = ring_at, .size = size, .frames_max = frames_max};
}

void queue_resize(struct queue *queue, uint32_t size)
{
    queue->size = size;
    queue->start = 0;
}

static uint8_t *ring_of(struct queue *queue)
{
    return (uint8_t *)queue + queue->ring_at;
}

static const uint8_t *const_ring_of(const struct queue *queue)
{
    return (const uint8_t *)queue + queue->ring_at;
}

static uint32_t offset_of(const struct queue *queue, uint32_t position)
{
    uint64_t offset = (uint64_t)queue->start + position;

    return (uint32_t)(offset >= queue->size ? offset - queue->size : offset);
}

static void put_bytes(struct queue *queue, const uint8_t *bytes, uint32_t len)
{
    uint32_t at = offset_of(queue, queue->len);
    uint32_t first = len <= queue->size - at ? len : queue->size - at;

    memcpy(ring_of(queue) + at, bytes, first);
    memcpy(ring_of(queue), bytes + first, len - first);
    if (at + first > queue->touched)
        queue->touched = at + first;
    queue->len += len;
}

/* Copies the wire form of 'frame' without its first 'skip' bytes. */
static void put_frame(struct queue *queue, const struct frame *frame, size_t skip)
{
    uint8_t prefix[FRAME_PREFIX];
    size_t passed = FRAME_PREFIX;

    frame_put_len(prefix, frame->len);
    if (skip < FRAME_PREFIX)
        put_bytes(queue, prefix + skip, (uint32_t)(FRAME_PREFIX - skip));
    for (uint32_t i = 0; i <= frame->n_rest; i++) {
        const uint8_t *base = i == 0 ? frame->head : frame->rest[i - 1].base;
        uint32_t len = i == 0 ? frame->head_len : frame->rest[i - 1].len;
        size_t cut = skip > passed ? skip - passed : 0;

        if (cut < len)
            put_bytes(queue, base + cut, (uint32_t)(len - cut));
        passed += len;
    }
    queue->n_frames++;
}

bool queue_push(struct queue *queue, const struct frame *frame)
{
    if (queue->n_frames >= queue->frames_max ||
        (uint64_t)queue->len + FRAME_PREFIX + frame->len > queue->size)
        return false;
    put_frame(queue, frame, 0);
    return true;
}

void queue_push_rest(struct queue *queue, const struct frame *frame, size_t sent)
{
    put_frame(queue, frame, sent);
    queue->begun_len = frame->len;
    queue->begun_left = (uint32_t)(FRAME_PREFIX + frame->len - sent);
}

/* Describes 'len' bytes from 'position' on, counted from the first byte in use. */
static unsigned pieces(const struct queue *queue, uint32_t position, uint32_t len, struct iovec iov[2])
{
    uint32_t at = offset_of(queue, position);
    uint32_t first = len <= queue->size - at ? len : queue->size - at;
    const uint8_t *ring = const_ring_of(queue);

    if (len == 0)
        return 0;
    iov[0] = piece_of(ring + at, first);
    if (first == len)
        return 1;
    iov[1] = piece_of(ring, len - first);
    return 2;
}

static uint32_t record_len(const struct queue *queue, uint32_t position)
{
    uint8_t prefix[FRAME_PREFIX];

    for (uint32_t i = 0; i < FRAME_PREFIX; i++)
        prefix[i] = const_ring_of(queue)[offset_of(queue, position + i)];
    return frame_get_len(prefix);
}

static void skip_bytes(struct queue *queue, uint32_t len)
{
    queue->start = offset_of(queue, len);
    queue->len -= len;
    if (queue->len == 0)
        queue->start = 0;
}

unsigned queue_peek(const struct queue *queue, struct iovec iov[2])
{
    return pieces(queue, 0, queue->len, iov);
}

void queue_advance(struct queue *queue, size_t bytes, uint64_t *frames, uint64_t *frame_bytes)
{
    while (bytes > 0) {
        uint32_t step;

        if (queue->begun_left == 0) {
            queue->begun_len = record_len(queue, 0);
            queue->begun_left = FRAME_PREFIX + queue->begun_len;
        }
        step = bytes < queue->begun_left ? (uint32_t)bytes : queue->begun_left;
        skip_bytes(queue, step);
        queue->begun_left -= step;
        bytes -= step;
        if (queue->begun_left == 0) {
            queue->n_frames--;
            (*frames)++;
            *frame_bytes += queue->begun_len;
        }
    }
}

unsigned queue_next(const struct queue *queue, uint32_t *position, struct iovec iov[2], uint32_t *ret_len)
{
    uint32_t at = *position;

    if (at >= queue->len)
        return 0;
    *ret_len = record_len(queue, at);
    *position = at + FRAME_PREFIX + *ret_len;
    return pieces(queue, at + FRAME_PREFIX, *ret_len, iov);
}

uint32_t queue_pop(struct queue *queue)
{
    uint32_t len = record_len(queue, 0);

    skip_bytes(queue, FRAME_PREFIX + len);
    queue->n_frames--;
    return len;
}

uint32_t queue_clear(struct queue *queue)
{
    uint32_t n_frames = queue->n_frames;

    queue->start = 0;
    queue->len = 0;
    queue->n_frames = 0;
    queue->begun_left = 0;
    return n_frames;
}

bool queue_is_touched(const struct queue *queue)
{
    return queue->touched >= QUEUE_TRIM_FROM;
}

void queue_trim(struct queue *queue)
{
    if (!queue_is_empty(queue) || !queue_is_touched(queue))
        return;
    resume_forget(ring_of(queue), queue->touched);
    queue->touched = 0;
}
