/* perf/frame.h - the frames the generator sends, and the check of every one that comes back
 *
 * A frame is: destination and source address of two ports, EtherType 0x88b5 (IEEE local experimental), a
 * magic number, the flow, a 64-bit sequence number, then bytes that depend on the frame's place in its batch,
 * so that a switch that mixes up two frames of one batch is found out. Numbers are in the machine's byte
 * order: sender and receiver are one process.
 */
#ifndef PERF_FRAME_H
#define PERF_FRAME_H

#include <stddef.h>
#include <stdint.h>

enum {
    FRAME_MIN = 60,
    FRAME_MAX = 65536,
    FRAME_HEADER = 30,
    /* Above this only every 16th payload is compared, or the generator would measure memcmp(). */
    FRAME_CHECK_ALL = 1518,
    BATCH_MAX = 64
};
#define TO_ALL UINT32_MAX /* as a port: the broadcast address */
#define FLOW_ANNOUNCE UINT32_MAX

enum frame_verdict {
    FRAME_GOOD,
    FRAME_ALIEN,  /* not of our EtherType: the switch's own traffic */
    FRAME_CORRUPT /* ours once, but length, address or bytes are wrong */
};

struct frame_id {
    uint32_t flow;
    uint64_t seq;
};

/* What a frame of a flow must look like. */
struct frame_shape {
    size_t size;
    uint32_t from, to; /* ports; 'to' may be TO_ALL */
    unsigned batch;    /* frame 'seq' was number seq % batch of its batch */
};

/* Fills the bytes all frames draw from. Call once, first. */
void frame_init(void);

/* Writes the frame number 'slot' of a batch of 'flow'; its sequence number is left to frame_stamp(). */
void frame_build(uint8_t *frame, const struct frame_shape *shape, uint32_t flow, unsigned slot);
void frame_stamp(uint8_t *frame, uint64_t seq);

/* Says whose frame this is, without trusting anything but its length. */
enum frame_verdict frame_identify(const uint8_t *frame, size_t len, struct frame_id *id);

/* Compares the frame with what 'shape' says. */
enum frame_verdict frame_check(const uint8_t *frame, size_t len, const struct frame_shape *shape,
                               uint64_t seq);

#endif
