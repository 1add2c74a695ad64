/* io/framing.c - see framing.h */
#include "io/framing.h"

void framing_split(uint8_t *bytes, size_t len, struct frame *frames, size_t max_frames,
                   struct framing_result *ret)
{
    *ret = (struct framing_result){.n_frames = 0};
    while (ret->n_frames < max_frames && len - ret->consumed >= FRAME_PREFIX) {
        uint8_t *record = bytes + ret->consumed;
        uint32_t frame_len = framing_get_len(record);

        if (frame_len > FRAME_LEN_MAX) {
            ret->is_bad = true;
            ret->bad_len = frame_len;
            return;
        }
        if (len - ret->consumed - FRAME_PREFIX < frame_len)
            return;
        ret->consumed += FRAME_PREFIX + frame_len;
        if (frame_len < FRAME_LEN_MIN) {
            ret->n_runts++;
            ret->runt_bytes += frame_len;
            continue;
        }
        frames[ret->n_frames++] =
            (struct frame){.head = record + FRAME_PREFIX, .len = frame_len, .head_len = frame_len};
    }
}
