/* perf/frame.c - see frame.h */
#include "perf/frame.h"

#include <string.h>

enum { AT_TYPE = 12, AT_MAGIC = 14, AT_FLOW = 18, AT_SEQ = 22 };

static const uint8_t ethertype[2] = {0x88, 0xb5};
static const uint32_t magic = 0x766d7377;
static uint8_t pattern[FRAME_MAX + BATCH_MAX];

void frame_init(void)
{
    uint32_t x = 1;

    for (size_t i = 0; i < sizeof(pattern); i++) {
        x = x * 1664525u + 1013904223u; /* any sequence without short periods will do */
        pattern[i] = (uint8_t)(x >> 24);
    }
}

static void write_address(uint8_t *at, uint32_t port)
{
    if (port == TO_ALL) {
        memset(at, 0xff, 6);
        return;
    }
    at[0] = 0x02; /* locally administered */
    at[1] = 0x56;
    at[2] = 0x4d;
    at[3] = 0;
    at[4] = (uint8_t)(port >> 8);
    at[5] = (uint8_t)port;
}

void frame_build(uint8_t *frame, const struct frame_shape *shape, uint32_t flow, unsigned slot)
{
    write_address(frame, shape->to);
    write_address(frame + 6, shape->from);
    memcpy(frame + AT_TYPE, ethertype, 2);
    memcpy(frame + AT_MAGIC, &magic, 4);
    memcpy(frame + AT_FLOW, &flow, 4);
    memset(frame + AT_SEQ, 0, 8);
    memcpy(frame + FRAME_HEADER, pattern + slot, shape->size - FRAME_HEADER);
}

void frame_stamp(uint8_t *frame, uint64_t seq)
{
    memcpy(frame + AT_SEQ, &seq, 8);
}

enum frame_verdict frame_identify(const uint8_t *frame, size_t len, struct frame_id *id)
{
    if (len < FRAME_HEADER)
        return FRAME_CORRUPT;
    if (memcmp(frame + AT_TYPE, ethertype, 2) != 0)
        return FRAME_ALIEN;
    if (memcmp(frame + AT_MAGIC, &magic, 4) != 0)
        return FRAME_CORRUPT;
    memcpy(&id->flow, frame + AT_FLOW, 4);
    memcpy(&id->seq, frame + AT_SEQ, 8);
    return FRAME_GOOD;
}

enum frame_verdict frame_check(const uint8_t *frame, size_t len, const struct frame_shape *shape,
                               uint64_t seq)
{
    uint8_t addresses[12];

    if (len != shape->size)
        return FRAME_CORRUPT;
    write_address(addresses, shape->to);
    write_address(addresses + 6, shape->from);
    if (memcmp(frame, addresses, sizeof(addresses)) != 0)
        return FRAME_CORRUPT;
    if (len > FRAME_CHECK_ALL && seq % 16 != 0)
        return FRAME_GOOD;
    if (memcmp(frame + FRAME_HEADER, pattern + seq % shape->batch, len - FRAME_HEADER) != 0)
        return FRAME_CORRUPT;
    return FRAME_GOOD;
}
