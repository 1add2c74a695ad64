/* io/framing.c - see framing.h */
#include "io/framing.h"

#include "switch/row.h"

void framing_split(uint8_t *bytes, size_t len, bool in_rows, struct frame *rows, size_t max_frames,
                   struct framing_result *ret)
{
    uint8_t *at = bytes;
    const uint8_t *end = bytes + len;
    size_t n_rows = 0, n_frames = 0;
    uint32_t last_len = 0;

    *ret = (struct framing_result){.n_frames = 0};
    while (n_frames < max_frames && end - at >= FRAME_PREFIX) {
        const uint32_t record_len = frame_get_len(at);

        if (record_len > FRAME_LEN_MAX) {
            ret->is_bad = true;
            ret->bad_len = record_len;
            break;
        }
        if ((size_t)(end - at) < FRAME_PREFIX + (size_t)record_len)
            break;
        if (record_len < FRAME_LEN_MIN) {
            ret->n_runts++;
            ret->runt_bytes += record_len;
            at += FRAME_PREFIX + record_len;
            continue;
        }

        struct frame *row = &rows[n_rows++];

        *row = (struct frame){.head = at + FRAME_PREFIX, .len = record_len, .head_len = record_len};
        at += FRAME_PREFIX + record_len;
        last_len = record_len;
        n_frames++;
        if (in_rows && at < end) {
            at = row_extend(row, at, end, max_frames - n_frames, &last_len);
            n_frames += row->n_more;
        }
    }
    ret->n_rows = n_rows;
    ret->n_frames = n_frames;
    ret->last_len = last_len;
    ret->consumed = (size_t)(at - bytes);
}
