/* switch/row.c - see row.h */
#include "switch/row.h"

/* True if a whole record of a possible length lies at 'at'. */
static bool is_frame(const uint8_t *at, const uint8_t *end, uint32_t *ret_len)
{
    if (end - at < FRAME_PREFIX)
        return false;
    *ret_len = frame_get_len(at);
    return *ret_len - FRAME_LEN_MIN <= FRAME_LEN_MAX - FRAME_LEN_MIN &&
           *ret_len <= (size_t)(end - at) - FRAME_PREFIX;
}

uint8_t *row_extend(struct frame *row, uint8_t *at, const uint8_t *end, size_t max, uint32_t *last_len)
{
    const struct row_flow flow = row_flow_of(row->head);
    uint32_t n = 0, longest = 0, len;
    uint8_t *next = at;

    while (n < max && is_frame(next, end, &len) && row_is_of_flow(next + FRAME_PREFIX, &flow)) {
        longest = len > longest ? len : longest;
        *last_len = len;
        next += FRAME_PREFIX + len;
        n++;
    }
    row->n_more = n;
    row->more_bytes = (uint32_t)((size_t)(next - at) - (size_t)n * FRAME_PREFIX);
    row->more_max = longest;
    return next;
}

size_t row_spread(const struct frame *rows, size_t n, struct frame *ret_frames)
{
    struct frame *to = ret_frames;

    for (const struct frame *row = rows; row < rows + n; row++) {
        uint8_t *at = row->head + row->head_len;

        *to = *row;
        to->n_more = to->more_bytes = to->more_max = 0;
        to++;
        for (uint32_t i = 0; i < row->n_more; i++) {
            const uint32_t len = frame_get_len(at);

            *to++ = (struct frame){.head = at + FRAME_PREFIX, .len = len, .head_len = len};
            at += FRAME_PREFIX + len;
        }
    }
    return (size_t)(to - ret_frames);
}
