/* Tests of io/queue.c against a naive list of frames. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "io/framing.h"
#include "io/resume.h"

enum { ROUNDS = 60000, FRAMES_MAX = 24, BYTES_MAX = FRAME_PREFIX + FRAME_LEN_MAX };

/* The bytes that must come out, and the frames that are in. */
struct naive {
    uint8_t bytes[2 * BYTES_MAX];
    size_t len;
    uint32_t lens[FRAMES_MAX];
    unsigned n;
    size_t head_left; /* bytes of the first frame, prefix included, that are still in */
};

static struct resume *make(void)
{
    struct io_settings settings = {.limits = {FRAMES_MAX, BYTES_MAX}, .read_bytes = IO_STREAM_READ};
    struct resume *resume = resume_create(&settings);

    assert_non_null(resume);
    return resume;
}

static void naive_push(struct naive *naive, const uint8_t *record, uint32_t len, size_t skip)
{
    memcpy(naive->bytes + naive->len, record + skip, FRAME_PREFIX + len - skip);
    naive->len += FRAME_PREFIX + len - skip;
    if (naive->n == 0)
        naive->head_left = FRAME_PREFIX + len - skip;
    naive->lens[naive->n++] = len;
}

static void naive_take(struct naive *naive, size_t n, uint64_t *frames, uint64_t *bytes)
{
    memmove(naive->bytes, naive->bytes + n, naive->len - n);
    naive->len -= n;
    while (n > 0) {
        size_t step = n < naive->head_left ? n : naive->head_left;

        n -= step;
        naive->head_left -= step;
        if (naive->head_left > 0)
            return;
        (*frames)++;
        *bytes += naive->lens[0];
        memmove(naive->lens, naive->lens + 1, sizeof naive->lens - sizeof naive->lens[0]);
        if (--naive->n > 0)
            naive->head_left = FRAME_PREFIX + naive->lens[0];
    }
}

static void assert_holds(struct queue *queue, const struct naive *naive)
{
    static uint8_t flat[2 * BYTES_MAX];
    struct iovec iov[2];
    unsigned n_iov = queue_peek(queue, iov);
    size_t len = 0;

    for (unsigned i = 0; i < n_iov; i++) {
        memcpy(flat + len, iov[i].iov_base, iov[i].iov_len);
        len += iov[i].iov_len;
    }
    assert_int_equal(len, naive->len);
    assert_int_equal(queue->n_frames, naive->n);
    assert_memory_equal(flat, naive->bytes, len + (len == 0));
}

/* A frame in up to three pieces. */
static struct frame random_frame(uint8_t *record, struct frame_segment rest[2])
{
    uint32_t len = FRAME_LEN_MIN + (uint32_t)rand() % (rand() % 8 == 0 ? 20000 : 2000);
    struct frame frame = {.head = record + FRAME_PREFIX, .len = len, .head_len = len};

    frame_put_len(record, len);
    for (uint32_t i = 0; i < len; i++)
        record[FRAME_PREFIX + i] = (uint8_t)rand();
    if (len > 200 && rand() % 2) {
        frame.head_len = 64;
        rest[0] = (struct frame_segment){frame.head + 64, 50};
        rest[1] = (struct frame_segment){frame.head + 114, len - 114};
        frame.rest = rest;
        frame.n_rest = 2;
    }
    return frame;
}

static void as_a_stream_it_gives_the_bytes_of_a_naive_list(void **state)
{
    static struct naive naive;
    static uint8_t record[BYTES_MAX];
    struct resume *resume = make();
    struct queue *queue = &resume->out;
    struct frame_segment rest[2];
    unsigned n_refused = 0;

    (void)state;
    srand(3);
    for (int i = 0; i < ROUNDS / 10; i++) {
        struct frame frame = random_frame(record, rest);
        uint64_t frames = 0, bytes = 0, naive_frames = 0, naive_bytes = 0;

        if (queue_is_empty(queue) && rand() % 2) {
            size_t sent = 1 + (size_t)rand() % (FRAME_PREFIX + frame.len - 1);

            queue_push_rest(queue, &frame, sent);
            naive_push(&naive, record, frame.len, sent);
        } else {
            bool fits = naive.n < FRAMES_MAX && naive.len + FRAME_PREFIX + frame.len <= BYTES_MAX;

            assert_int_equal(queue_push(queue, &frame), fits);
            if (fits)
                naive_push(&naive, record, frame.len, 0);
            else
                n_refused++;
        }
        assert_holds(queue, &naive);
        if (naive.len > 0 && rand() % 3 == 0) {
            size_t n = 1 + (size_t)rand() % (rand() % 8 ? 2000 : naive.len);

            n = n < naive.len ? n : naive.len;
            queue_advance(queue, n, &frames, &bytes);
            naive_take(&naive, n, &naive_frames, &naive_bytes);
            assert_int_equal(frames, naive_frames);
            assert_int_equal(bytes, naive_bytes);
            assert_holds(queue, &naive);
        }
    }
    assert_true(n_refused > 100);
    resume_destroy(resume);
}

static void as_datagrams_it_gives_record_by_record(void **state)
{
    static uint8_t record[BYTES_MAX];
    struct resume *resume = make();
    struct queue *queue = &resume->out;
    uint32_t lens[FRAMES_MAX] = {0};
    unsigned n = 0;
    struct frame_segment rest[2];

    (void)state;
    srand(4);
    for (int i = 0; i < ROUNDS / 10; i++) {
        struct frame frame = random_frame(record, rest);
        uint32_t position = 0, len;
        struct iovec iov[2];
        unsigned seen = 0, n_iov;

        if (queue_push(queue, &frame))
            lens[n++] = frame.len;
        while ((n_iov = queue_next(queue, &position, iov, &len)) > 0) {
            assert_int_equal(len, lens[seen++]);
            assert_int_equal(iov[0].iov_len + (n_iov == 2 ? iov[1].iov_len : 0), len);
        }
        assert_int_equal(seen, n);
        while (n > 0 && rand() % 2) {
            assert_int_equal(queue_pop(queue), lens[0]);
            memmove(lens, lens + 1, sizeof lens - sizeof lens[0]);
            n--;
        }
    }
    assert_int_equal(queue_clear(queue), n);
    assert_true(queue_is_empty(queue));
    resume_destroy(resume);
}

static void a_trimmed_queue_works_on(void **state)
{
    static uint8_t record[BYTES_MAX];
    struct frame frame = {.head = record + FRAME_PREFIX, .len = FRAME_LEN_MAX, .head_len = FRAME_LEN_MAX};
    struct resume *resume = make();
    uint32_t touched;

    (void)state;
    assert_true(queue_push(&resume->out, &frame));
    touched = resume->out.touched;
    resume_trim(resume);
    assert_int_equal(resume->out.touched, touched); /* not while something is in it */
    queue_pop(&resume->out);
    resume_trim(resume);
    assert_int_equal(resume->out.touched, 0);
    assert_true(queue_push(&resume->out, &frame));
    assert_int_equal(queue_pop(&resume->out), FRAME_LEN_MAX);
    resume_destroy(resume);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(as_a_stream_it_gives_the_bytes_of_a_naive_list),
        cmocka_unit_test(as_datagrams_it_gives_record_by_record),
        cmocka_unit_test(a_trimmed_queue_works_on),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
