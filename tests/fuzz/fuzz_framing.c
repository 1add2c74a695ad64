/* fuzz_framing - any bytes, cut anywhere: the frames are those of a naive reader of the whole
 *
 * The first byte chooses how the rest is cut into reads, and whether frames come in rows; what is left of a
 * read is carried in front of the next, as io/link_stream.c does.
 */
#include <stdlib.h>
#include <string.h>

#include "io/framing.h"
#include "switch/row.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { FRAMES_MAX = 8 };

struct reader { /* the naive one */
    const uint8_t *bytes;
    size_t len, at;
};

/* Expects 'frame' to be what comes next of the whole. */
static void expect(struct reader *whole, const struct frame *frame)
{
    uint32_t len = 0;
    for (;;) {
        if (whole->len - whole->at < 4)
            abort();
        len = frame_get_len(whole->bytes + whole->at);
        if (len > FRAME_LEN_MAX || len > whole->len - whole->at - 4)
            abort();
        if (len >= FRAME_LEN_MIN)
            break;
        whole->at += 4 + len;
    }
    if (frame->len != len || frame->head_len != len ||
        memcmp(frame->head, whole->bytes + whole->at + 4, len) != 0 ||
        frame_get_len(frame->head - FRAME_PREFIX) != len)
        abort();
    whole->at += 4 + len;
}

/* Returns the bytes that are left, or SIZE_MAX after a bad length. */
static size_t take(uint8_t *bytes, size_t len, bool in_rows, struct reader *whole)
{
    struct frame rows[FRAMES_MAX], frames[FRAMES_MAX];
    struct framing_result split;
    size_t at = 0;
    do {
        framing_split(bytes + at, len - at, in_rows, rows, FRAMES_MAX, &split);
        if (split.n_frames > FRAMES_MAX || row_spread(rows, split.n_rows, frames) != split.n_frames)
            abort();
        for (size_t i = 0; i < split.n_frames; i++)
            expect(whole, &frames[i]);
        at += split.consumed;
        if (split.is_bad)
            return SIZE_MAX;
    } while (split.n_frames == FRAMES_MAX);
    memmove(bytes, bytes + at, len - at);
    return len - at;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    size_t step = data[0] ? data[0] : 1, have = 0;
    struct reader whole = {.bytes = data + 1, .len = size - 1};
    uint8_t *bytes = malloc(size);
    if (!bytes)
        return 0;
    for (size_t at = 0; at < whole.len && have != SIZE_MAX; at += step) {
        const size_t n = whole.len - at < step ? whole.len - at : step;
        memcpy(bytes + have, whole.bytes + at, n);
        have = take(bytes, have + n, data[0] & 1, &whole);
    }
    free(bytes);
    return 0;
}
