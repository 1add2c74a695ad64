/* The server: connections, caps, deadlines, and answers that come late or not at all. */
#include "fixture.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define GET_V1 "GET /v1 HTTP/1.1\r\nHost: x\r\n\r\n"

/* Quick ones, and nobody is root: the caps hold for the one who runs the tests. */
static struct api_limits quick_limits(void)
{
    struct api_limits limits = api_limits_default;

    limits.privileged = (uid_t)-2;
    limits.header_ms = 100;
    limits.request_ms = 200;
    limits.answer_ms = 300;
    limits.write_ms = 100;
    return limits;
}

static void get_v1_is_answered_with_json_and_closed(void **state)
{
    struct fixture f;

    (void)state;
    fixture_open(&f, NULL);
    assert_int_equal(fixture_ask(&f, "GET", "/v1", NULL), 200);
    assert_string_equal(f.op, "info");
    assert_answer_has(&f, "Content-Type: application/json\r\n");
    assert_answer_has(&f, "Connection: close\r\n");
    assert_string_equal(f.body, "{\n  \"op\": \"info\"\n}\n");
    assert_true(f.peer.is_known);
    assert_int_equal(f.peer.uid, getuid());
    fixture_close(&f);
}

static void defaults_are_those_of_the_reliability_notes(void **state)
{
    (void)state;
    assert_int_equal(api_limits_default.connections, 64);
    assert_int_equal(api_limits_default.per_uid, 16);
    assert_int_equal(api_limits_default.reserved, 2);
    assert_int_equal(api_limits_default.privileged, 0);
    assert_int_equal(api_limits_default.header_ms, 5000);
    assert_int_equal(api_limits_default.request_ms, 10000);
    assert_int_equal(api_limits_default.write_ms, 10000);
}

static void answer_may_come_later(void **state)
{
    struct fixture f;
    int fd;

    (void)state;
    fixture_open(&f, NULL);
    f.hold = true;
    fd = fixture_connect(&f);
    client_send(fd, GET_V1, sizeof(GET_V1) - 1);
    assert_false(fixture_receive(&f, fd, 50));
    assert_int_equal(f.n_held, 1);
    fixture_answer_held(&f);
    assert_true(fixture_receive(&f, fd, 1000));
    assert_int_equal(f.status, 200);
    assert_int_equal(f.n_calls, 1);
    close(fd);
    fixture_close(&f);
}

static void answer_to_a_client_that_has_gone_is_dropped(void **state)
{
    struct fixture f;
    int fd;

    (void)state;
    fixture_open(&f, NULL);
    f.hold = true;
    fd = fixture_connect(&f);
    client_send(fd, GET_V1, sizeof(GET_V1) - 1);
    fixture_turn(&f, 20);
    close(fd);
    fixture_turn(&f, 20);
    assert_int_equal(f.n_held, 1);
    fixture_answer_held(&f);
    fixture_turn(&f, 20);
    f.hold = false;
    assert_int_equal(fixture_ask(&f, "GET", "/v1", NULL), 200);
    fixture_close(&f);
}

static void op_that_never_answers_is_answered_for(void **state)
{
    struct api_limits limits = quick_limits();
    struct fixture f;

    (void)state;
    fixture_open(&f, &limits);
    f.hold = true;
    assert_int_equal(fixture_ask(&f, "GET", "/v1/health", NULL), 503);
    assert_problem(&f, 503, NULL);
    fixture_answer_held(&f); /* late: goes nowhere */
    fixture_close(&f);
}

static void close_answers_open_calls_and_outlives_late_answers(void **state)
{
    struct fixture f;
    int fd;

    (void)state;
    fixture_open(&f, NULL);
    f.hold = true;
    fd = fixture_connect(&f);
    client_send(fd, GET_V1, sizeof(GET_V1) - 1);
    fixture_turn(&f, 20);
    api_server_close(f.server);
    f.server = NULL;
    assert_true(fixture_receive(&f, fd, 1000));
    assert_problem(&f, 503, NULL);
    fixture_answer_held(&f);
    close(fd);
    fixture_close(&f);
}

/* A14 */
static void half_closed_client_gets_its_answer(void **state)
{
    struct fixture f;
    int fd;

    (void)state;
    fixture_open(&f, NULL);
    fd = fixture_connect(&f);
    client_send(fd, GET_V1, sizeof(GET_V1) - 1);
    shutdown(fd, SHUT_WR);
    assert_true(fixture_receive(&f, fd, 1000));
    assert_int_equal(f.status, 200);
    close(fd);
    fixture_close(&f);
}

/* A01: one header byte now and then does not keep a connection. */
static void slow_header_is_closed_at_its_deadline(void **state)
{
    struct api_limits limits = quick_limits();
    struct fixture f;
    uint64_t begin = uv_hrtime();
    int fd, i;

    (void)state;
    fixture_open(&f, &limits);
    fd = fixture_connect(&f);
    for (i = 0; i < 100; i++) {
        client_send(fd, "G", 1);
        if (fixture_receive(&f, fd, 10))
            break;
    }
    assert_in_range((uv_hrtime() - begin) / 1000000, 80, 400);
    assert_int_equal(f.status, 0);
    close(fd);
    fixture_close(&f);
}

static void slow_body_is_closed_at_its_deadline(void **state)
{
    static const char begin_of_post[] =
        "POST /v1/networks HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{";
    struct api_limits limits = quick_limits();
    struct fixture f;
    uint64_t begin = uv_hrtime();
    int fd, i;

    (void)state;
    fixture_open(&f, &limits);
    fd = fixture_connect(&f);
    client_send(fd, begin_of_post, sizeof(begin_of_post) - 1);
    for (i = 0; i < 100; i++) {
        client_send(fd, " ", 1);
        if (fixture_receive(&f, fd, 10))
            break;
    }
    assert_in_range((uv_hrtime() - begin) / 1000000, 150, 600);
    assert_int_equal(f.n_calls, 0);
    close(fd);
    fixture_close(&f);
}

/* More than the socket takes: the rest is dropped at the deadline, and the slot is free again. */
static void client_that_reads_nothing_is_closed_at_its_deadline(void **state)
{
    struct api_limits limits = quick_limits();
    struct fixture f;
    int fd;

    (void)state;
    limits.per_uid = 1;
    fixture_open(&f, &limits);
    f.padding = 1024 * 1024;
    fd = fixture_connect(&f);
    client_send(fd, GET_V1, sizeof(GET_V1) - 1);
    fixture_turn(&f, 20);
    assert_int_equal(f.n_calls, 1);
    assert_int_equal(fixture_ask(&f, "GET", "/v1", NULL), 503); /* it still has its one place */
    fixture_turn(&f, 200);
    f.padding = 0;
    assert_int_equal(fixture_ask(&f, "GET", "/v1", NULL), 200);
    close(fd);
    fixture_close(&f);
}

/* Hung up, but not closed: no reason to wait for the deadline, awake. */
static void client_that_hangs_up_unread_is_closed_at_once(void **state)
{
    struct api_limits limits = quick_limits();
    struct fixture f;
    int fd;

    (void)state;
    limits.per_uid = 1;
    limits.write_ms = 60 * 1000;
    fixture_open(&f, &limits);
    f.padding = 1024 * 1024;
    fd = fixture_connect(&f);
    client_send(fd, GET_V1, sizeof(GET_V1) - 1);
    fixture_turn(&f, 20);
    shutdown(fd, SHUT_RDWR);
    fixture_turn(&f, 50);
    f.padding = 0;
    assert_int_equal(fixture_ask(&f, "GET", "/v1", NULL), 200);
    close(fd);
    fixture_close(&f);
}

/* A04 */
static void pipelined_requests_get_one_answer(void **state)
{
    struct fixture f;
    int fd;

    (void)state;
    fixture_open(&f, NULL);
    fd = fixture_connect(&f);
    for (int i = 0; i < 1000; i++)
        client_send(fd, GET_V1, sizeof(GET_V1) - 1);
    fixture_turn(&f, 100);
    assert_true(fixture_receive(&f, fd, 1000));
    assert_int_equal(f.n_calls, 1);
    assert_null(strstr(f.answer + 1, "HTTP/1.1"));
    close(fd);
    fixture_close(&f);
}

/* Opens 'n' clients that say nothing. Returns how many were not turned away. */
static int crowd(struct fixture *f, int *fds, int n)
{
    int n_open = 0;

    for (int i = 0; i < n; i++) {
        fds[i] = fixture_connect(f);
        fixture_turn(f, 1);
    }
    fixture_turn(f, 200); /* on a busy machine the last refusals come late */
    for (int i = 0; i < n; i++) {
        if (!fixture_receive(f, fds[i], 2))
            n_open++;
        else
            assert_problem(f, 503, NULL);
    }
    return n_open;
}

static void one_uid_gets_sixteen_connections(void **state)
{
    struct api_limits limits = quick_limits();
    struct fixture f;
    int fds[20];

    (void)state;
    limits.header_ms = 5000;
    fixture_open(&f, &limits);
    assert_int_equal(crowd(&f, fds, 20), 16);
    for (int i = 0; i < 20; i++)
        close(fds[i]);
    fixture_turn(&f, 20);
    assert_int_equal(fixture_ask(&f, "GET", "/v1", NULL), 200);
    fixture_close(&f);
}

static void two_places_are_kept_for_root(void **state)
{
    struct api_limits limits = quick_limits();
    struct fixture f;
    int fds[70];

    (void)state;
    limits.header_ms = 5000;
    limits.per_uid = 1000;
    fixture_open(&f, &limits);
    assert_int_equal(crowd(&f, fds, 66), 62);
    f.server->limits.privileged = getuid();
    assert_int_equal(fixture_ask(&f, "GET", "/v1/health", NULL), 200);
    assert_int_equal(crowd(&f, fds + 66, 4), 2);
    for (int i = 0; i < 70; i++)
        close(fds[i]);
    fixture_close(&f);
}

static void no_descriptor_is_left_behind(void **state)
{
    struct fixture f;
    int before;

    (void)state;
    fixture_open(&f, NULL);
    fixture_ask(&f, "GET", "/v1", NULL);
    fixture_turn(&f, 10);
    before = count_fds();
    for (int i = 0; i < 200; i++) {
        fixture_ask(&f, i % 2 ? "GET" : "BREW", "/v1", NULL);
        close(fixture_connect(&f));
    }
    fixture_turn(&f, 20);
    assert_int_equal(count_fds(), before);
    fixture_close(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(get_v1_is_answered_with_json_and_closed),
        cmocka_unit_test(defaults_are_those_of_the_reliability_notes),
        cmocka_unit_test(answer_may_come_later),
        cmocka_unit_test(answer_to_a_client_that_has_gone_is_dropped),
        cmocka_unit_test(op_that_never_answers_is_answered_for),
        cmocka_unit_test(close_answers_open_calls_and_outlives_late_answers),
        cmocka_unit_test(half_closed_client_gets_its_answer),
        cmocka_unit_test(slow_header_is_closed_at_its_deadline),
        cmocka_unit_test(slow_body_is_closed_at_its_deadline),
        cmocka_unit_test(client_that_reads_nothing_is_closed_at_its_deadline),
        cmocka_unit_test(client_that_hangs_up_unread_is_closed_at_once),
        cmocka_unit_test(pipelined_requests_get_one_answer),
        cmocka_unit_test(one_uid_gets_sixteen_connections),
        cmocka_unit_test(two_places_are_kept_for_root),
        cmocka_unit_test(no_descriptor_is_left_behind),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
