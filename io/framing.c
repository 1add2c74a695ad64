/* io/framing.c - see framing.h */
#include "io/framing.h"

void framing_split(uint8_t *bytes, size_t len, struct frame *frames, size_t max_frames,
                   struct framing_result *ret)
{
    uint8_t *at = bytes;
    const uint8_t *end = bytes + len;
    size_t n = 0;

    *ret = (struct framing_result){.n_frames = 0};
    while (n < max_frames && end - at >= FRAME_PREFIX) {
        uint32_t frame_len = frame_get_len(at);

        if (frame_len > FRAME_LEN_MAX) {
            ret->is_bad = true;
            ret->bad_len = frame_len;
            break;
        }
        if ((size_t)(end - at) < FRAME_PREFIX + (size_t)frame_len)
            break;
        if (frame_len >= FRAME_LEN_MIN) {
            frames[n++] = (struct frame){.head = at + FRAME_PREFIX, .len = frame_len, .head_len = frame_len};
        } else {
            ret->n_runts++;
            ret->runt_bytes += frame_len;
        }
        at += FRAME_PREFIX + frame_len;
    }
    ret->n_frames = n;
    ret->consumed = (size_t)(at - bytes);
}
