/* Tests of io/framing.c against a naive splitter that takes byte by byte. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "io/framing.h"
#include "switch/row.h"

enum { BYTES = 8192, FRAMES = 4096 };

struct naive {
    uint8_t frames[BYTES];
    size_t lens[FRAMES], n_frames, n_bytes;
    uint64_t n_runts;
    int is_bad;
};

static void naive_split(const uint8_t *bytes, size_t len, struct naive *out)
{
    uint8_t record[FRAME_PREFIX + FRAME_LEN_MAX];
    size_t have = 0;

    memset(out, 0, sizeof *out);
    for (size_t i = 0; i < len; i++) {
        uint32_t want;

        record[have++] = bytes[i];
        if (have < FRAME_PREFIX)
            continue;
        want = (uint32_t)record[0] << 24 | (uint32_t)record[1] << 16 | (uint32_t)record[2] << 8 | record[3];
        if (want > FRAME_LEN_MAX) {
            out->is_bad = 1;
            return;
        }
        if (have < FRAME_PREFIX + want)
            continue;
        if (want < FRAME_LEN_MIN) {
            out->n_runts++;
        } else {
            memcpy(out->frames + out->n_bytes, record + FRAME_PREFIX, want);
            out->n_bytes += want;
            out->lens[out->n_frames++] = want;
        }
        have = 0;
    }
}

/* What switch/row.h says of a row. */
static void assert_row_is_true(const struct frame *row)
{
    static struct frame frames[FRAMES];
    const size_t n = row_spread(row, 1, frames);
    uint32_t bytes = 0, longest = 0;

    assert_int_equal(n, row_count(row));
    for (size_t i = 0; i < n; i++) {
        assert_memory_equal(frames[i].head, row->head, FRAME_LEN_MIN);
        assert_int_equal(frames[i].n_more + frames[i].more_bytes + frames[i].more_max, 0);
        bytes += frames[i].len;
        if (i > 0 && frames[i].len > longest)
            longest = frames[i].len;
    }
    assert_int_equal(row_bytes(row), bytes);
    assert_int_equal(row->more_max, longest);
    assert_ptr_equal(row_end(row), frames[n - 1].head + frames[n - 1].len);
}

/* Offers the bytes as reads that end at each of 'cuts', keeping what is left over as a link does. */
static void split_in_pieces(const uint8_t *bytes, const size_t *cuts, size_t n_cuts, size_t max_frames,
                            bool in_rows, struct naive *out)
{
    static uint8_t held[BYTES];
    static struct frame rows[FRAMES], frames[FRAMES];
    size_t n_held = 0, from = 0;

    memset(out, 0, sizeof *out);
    for (size_t c = 0; c < n_cuts && !out->is_bad; c++) {
        struct framing_result r;

        memcpy(held + n_held, bytes + from, cuts[c] - from);
        n_held += cuts[c] - from;
        from = cuts[c];
        do {
            framing_split(held, n_held, in_rows, rows, max_frames, &r);
            assert_int_equal(row_spread(rows, r.n_rows, frames), r.n_frames);
            assert_true(in_rows || r.n_rows == r.n_frames);
            if (r.n_frames > 0)
                assert_int_equal(r.last_len, frames[r.n_frames - 1].len);
            for (size_t i = 0; i < r.n_rows; i++)
                assert_row_is_true(&rows[i]);
            for (size_t i = 0; i < r.n_frames; i++) {
                assert_int_equal(frame_get_len(frames[i].head - FRAME_PREFIX), frames[i].len);
                assert_int_equal(frames[i].head_len, frames[i].len);
                memcpy(out->frames + out->n_bytes, frames[i].head, frames[i].len);
                out->n_bytes += frames[i].len;
                out->lens[out->n_frames++] = frames[i].len;
            }
            out->n_runts += r.n_runts;
            out->is_bad = r.is_bad;
            memmove(held, held + r.consumed, n_held - r.consumed);
            n_held -= r.consumed;
        } while (r.n_frames == max_frames && !r.is_bad);
    }
}

static void assert_same(const struct naive *a, const struct naive *b)
{
    assert_int_equal(a->n_frames, b->n_frames);
    assert_int_equal(a->n_runts, b->n_runts);
    assert_int_equal(a->is_bad, b->is_bad);
    assert_memory_equal(a->lens, b->lens, sizeof a->lens[0] * a->n_frames + 1);
    assert_memory_equal(a->frames, b->frames, a->n_bytes + 1);
}

static size_t put_record(uint8_t *at, uint32_t len, uint8_t fill)
{
    frame_put_len(at, len);
    memset(at + FRAME_PREFIX, fill, len);
    return FRAME_PREFIX + len;
}

static void f06_every_split_point_gives_the_same_frames(void **state)
{
    static uint8_t bytes[BYTES];
    static struct naive wanted, got;
    size_t len = 0;

    (void)state;
    len += put_record(bytes + len, 1514, 0xa1);
    len += put_record(bytes + len, 7, 0xb2);
    len += put_record(bytes + len, 1514, 0xc3);
    len += put_record(bytes + len, 1514, 0xd4);
    naive_split(bytes, len, &wanted);
    assert_int_equal(wanted.n_frames, 3);
    assert_int_equal(wanted.n_runts, 1);
    for (size_t cut = 0; cut <= len; cut++) {
        size_t cuts[2] = {cut, len};

        split_in_pieces(bytes, cuts, 2, FRAMES, cut & 1, &got);
        assert_same(&wanted, &got);
    }
}

static void random_bytes_in_random_pieces_give_what_the_naive_splitter_gives(void **state)
{
    static uint8_t bytes[BYTES];
    static struct naive wanted, got;

    (void)state;
    srand(7);
    for (int round = 0; round < 3000; round++) {
        size_t cuts[64], len = 0, n_cuts = 0;

        while (len < 4000) {
            uint32_t n = rand() % 4 == 0 ? (uint32_t)(rand() % 20) : (uint32_t)(rand() % 700);

            len += put_record(bytes + len, n, (uint8_t)rand());
        }
        if (rand() % 3 == 0)
            bytes[(size_t)rand() % len] ^= (uint8_t)rand();
        naive_split(bytes, len, &wanted);
        for (size_t at = 0; n_cuts < 63 && at < len; n_cuts++) {
            at += (size_t)rand() % 300;
            cuts[n_cuts] = at < len ? at : len;
        }
        cuts[n_cuts++] = len;
        size_t max_frames = 1 + (size_t)rand() % 5;

        for (int in_rows = 0; in_rows < 2; in_rows++) {
            split_in_pieces(bytes, cuts, n_cuts, max_frames, in_rows, &got);
            assert_same(&wanted, &got);
        }
    }
}

static void neighbours_of_one_flow_are_a_row_and_a_runt_ends_it(void **state)
{
    static uint8_t bytes[BYTES];
    struct frame rows[8];
    struct framing_result r;
    size_t len = 0;

    (void)state;
    len += put_record(bytes + len, 60, 1);
    len += put_record(bytes + len, 200, 1);
    len += put_record(bytes + len, 100, 1);
    len += put_record(bytes + len, 60, 2);
    len += put_record(bytes + len, 60, 1);
    len += put_record(bytes + len, 13, 1);
    len += put_record(bytes + len, 61, 1);
    framing_split(bytes, len, true, rows, 8, &r);
    assert_int_equal(r.n_rows, 4);
    assert_int_equal(r.n_frames, 6);
    assert_int_equal(r.n_runts, 1);
    assert_int_equal(r.last_len, 61);
    assert_int_equal(row_count(&rows[0]), 3);
    assert_int_equal(row_bytes(&rows[0]), 360);
    assert_int_equal(rows[0].more_max, 200);
    for (int i = 1; i < 4; i++)
        assert_int_equal(row_count(&rows[i]), 1);

    /* No more frames than there is room for, in a row or not. */
    framing_split(bytes, len, true, rows, 2, &r);
    assert_int_equal(r.n_rows, 1);
    assert_int_equal(r.n_frames, 2);
    assert_int_equal(r.consumed, 2 * FRAME_PREFIX + 260);
}

/* The EtherType is the last of what is compared, and of each address the first and the last byte count. */
static void a_row_is_of_one_destination_source_and_ethertype(void **state)
{
    static uint8_t bytes[2 * (FRAME_PREFIX + 60)];
    struct frame rows[2];
    struct framing_result r;

    (void)state;
    for (size_t i = 0; i <= FRAME_LEN_MIN; i++) {
        put_record(bytes, 60, 7);
        put_record(bytes + FRAME_PREFIX + 60, 60, 7);
        bytes[2 * FRAME_PREFIX + 60 + i] ^= 1;
        framing_split(bytes, sizeof bytes, true, rows, 2, &r);
        assert_int_equal(r.n_rows, i < FRAME_LEN_MIN ? 2 : 1);
    }
}

static void the_longest_frame_passes_and_one_byte_more_is_bad(void **state)
{
    static uint8_t bytes[FRAME_PREFIX + FRAME_LEN_MAX + 1];
    struct frame frames[4];
    struct framing_result r;

    (void)state;
    frame_put_len(bytes, FRAME_LEN_MAX);
    framing_split(bytes, FRAME_PREFIX + FRAME_LEN_MAX, true, frames, 4, &r);
    assert_int_equal(r.n_frames, 1);
    framing_split(bytes, FRAME_PREFIX + FRAME_LEN_MAX - 1, true, frames, 4, &r);
    assert_int_equal(r.n_frames, 0);
    assert_int_equal(r.consumed, 0);
    frame_put_len(bytes, FRAME_LEN_MAX + 1);
    framing_split(bytes, FRAME_PREFIX, true, frames, 4, &r);
    assert_true(r.is_bad);
    assert_int_equal(r.bad_len, FRAME_LEN_MAX + 1);
    frame_put_len(bytes, UINT32_MAX);
    framing_split(bytes, FRAME_PREFIX, true, frames, 4, &r);
    assert_true(r.is_bad);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(f06_every_split_point_gives_the_same_frames),
        cmocka_unit_test(random_bytes_in_random_pieces_give_what_the_naive_splitter_gives),
        cmocka_unit_test(neighbours_of_one_flow_are_a_row_and_a_runt_ends_it),
        cmocka_unit_test(a_row_is_of_one_destination_source_and_ethertype),
        cmocka_unit_test(the_longest_frame_passes_and_one_byte_more_is_bad),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
