/* HTTP as hostile clients send it: each request has one answer at most, never a 5xx of ours, and is closed.
 */
#include "fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static struct fixture *shared;

static int open_shared(void **state)
{
    (void)state;
    shared = malloc(sizeof(*shared));
    fixture_open(shared, NULL);
    return 0;
}

static int close_shared(void **state)
{
    (void)state;
    fixture_close(shared);
    free(shared);
    return 0;
}

static unsigned raw(const char *text)
{
    return fixture_send_raw(shared, text, strlen(text));
}

static void assert_one_answer(void)
{
    if (shared->answer_len && strstr(shared->answer, "\nHTTP/1."))
        fail_msg("more than one answer: %s", shared->answer);
}

/* A02 */
static void header_over_8_kib_is_refused(void **state)
{
    static const size_t sizes[] = {8 * 1024, 9 * 1024, 11 * 1024, 12 * 1024, 64 * 1024};
    char *text = malloc(128 * 1024);

    (void)state;
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        int len = sprintf(text, "GET /v1 HTTP/1.1\r\nHost: x\r\nX-Long: ");
        memset(text + len, 'a', sizes[i]);
        strcpy(text + len + sizes[i], "\r\n\r\n");
        assert_int_equal(raw(text), 431);
    }
    free(text);
}

static void header_of_7_kib_is_taken(void **state)
{
    char text[8 * 1024];
    int len = sprintf(text, "GET /v1 HTTP/1.1\r\nHost: x\r\nX-Long: ");

    (void)state;
    memset(text + len, 'a', 7 * 1024);
    strcpy(text + len + 7 * 1024, "\r\n\r\n");
    assert_int_equal(raw(text), 200);
}

/* A02 */
static void ten_thousand_header_fields_are_refused(void **state)
{
    char *text = malloc(256 * 1024), *at = text + sprintf(text, "GET /v1 HTTP/1.1\r\nHost: x\r\n");

    (void)state;
    for (int i = 0; i < 10000; i++)
        at += sprintf(at, "X-%d: 1\r\n", i);
    strcpy(at, "\r\n");
    assert_int_equal(raw(text), 431);
    free(text);
}

/* A02 */
static void uri_of_a_mebibyte_is_refused(void **state)
{
    char *text = malloc(1100 * 1024);
    int len = sprintf(text, "GET /v1/");

    (void)state;
    memset(text + len, 'a', 1024 * 1024);
    strcpy(text + len + 1024 * 1024, " HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_int_equal(raw(text), 414);
    free(text);
}

/* A12: where the library is lax, the handler refuses. */
static void confusing_lengths_are_refused(void **state)
{
    int n_calls = shared->n_calls;

    (void)state;
    assert_int_equal(
        raw("POST /v1/networks HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n"
            "\r\n{}"),
        400);
    assert_problem(shared, 400, NULL);
    assert_int_equal(
        raw("POST /v1/networks HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\n{}"),
        400);
    assert_problem(shared, 400, NULL);
    assert_int_equal(
        raw("POST /v1/networks HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n"
            "\r\n"),
        411);
    assert_problem(shared, 411, NULL);
    assert_one_answer();
    assert_int_equal(raw("POST /v1/networks HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n"), 400);
    assert_int_equal(raw("POST /v1/networks HTTP/1.1\r\nHost: x\r\nContent-Length: 2x\r\n\r\n{}"), 400);
    assert_int_equal(
        raw("POST /v1/networks HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\n"), 413);
    assert_int_equal(shared->n_calls, n_calls);
}

/* A12: bare CR and LF, obs-fold, NUL, HTTP/0.9, HTTP/2: refused or answered, once, and closed. */
static void odd_requests_have_one_answer(void **state)
{
    static const struct {
        const char *bytes;
        size_t len;
    } requests[] = {
#define R(text) {text, sizeof(text) - 1}
        R("GET /v1 HTTP/1.1\nHost: x\n\n"),
        R("GET /v1 HTTP/1.1\rHost: x\r\r"),
        R("GET /v1 HTTP/1.1\r\nHost: x\r\n folded\r\n\r\n"),
        R("GET /v1 HTTP/1.1\r\nHost: x\r\nX: a\0b\r\n\r\n"),
        R("GET /v\0001 HTTP/1.1\r\nHost: x\r\n\r\n"),
        R("GET /v1\r\n\r\n"),
        R("GET /v1 HTTP/0.9\r\n\r\n"),
        R("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
        R("GET /v1 HTTP/9.9\r\nHost: x\r\n\r\n"),
        R("GET /v1 HTTP/1.1\r\n\r\n"),
        R("GET\r\n\r\n"),
        R("\r\n\r\n"),
        R("GET /v1 HTTP/1.1\r\nHost : x\r\n\r\n"),
        R("GET /v1 HTTP/1.1\r\n: x\r\n\r\n"),
        R("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 TLS\r\n\r\n"),
        R("\0\0\0\x2a\xff\xff\xff\xff\xff\xff\x52\x54\0\x12\x34\x56\r\n\r\n"),
#undef R
    };

    (void)state;
    for (size_t i = 0; i < sizeof(requests) / sizeof(requests[0]); i++) {
        int fd = fixture_connect(shared);
        client_send(fd, requests[i].bytes, requests[i].len);
        shutdown(fd, SHUT_WR);
        assert_true(fixture_receive(shared, fd, 2000));
        close(fd);
        assert_one_answer();
        if (shared->status >= 500 && shared->status != 505)
            fail_msg("request %zu: %s", i, shared->answer);
    }
}

static void only_http_1_is_spoken(void **state)
{
    (void)state;
    assert_int_equal(raw("GET /v1 HTTP/1.0\r\n\r\n"), 200);
    assert_int_equal(raw("GET /v1 HTTP/2.0\r\nHost: x\r\n\r\n"), 505);
    assert_int_equal(raw("GET /v1 HTTP/1.7\r\nHost: x\r\n\r\n"), 505);
}

/* A13 */
static void upgrade_connect_trace_and_absolute_uris_are_refused(void **state)
{
    (void)state;
    assert_int_equal(raw("GET /v1 HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"),
                     400);
    assert_int_equal(fixture_ask(shared, "TRACE", "/v1", NULL), 405);
    assert_int_equal(fixture_ask(shared, "OPTIONS", "/v1", NULL), 405);
    assert_in_range(fixture_ask(shared, "CONNECT", "x:80", NULL), 400, 405);
    assert_in_range(fixture_ask(shared, "GET", "http://x/v1", NULL), 400, 404);
    assert_in_range(fixture_ask(shared, "OPTIONS", "*", NULL), 400, 405);
}

static void body_over_64_kib_is_refused(void **state)
{
    char *body = malloc(1024 * 1024 + 1);

    (void)state;
    memset(body, ' ', 1024 * 1024);
    body[1024 * 1024] = '\0';
    assert_int_equal(fixture_ask(shared, "POST", "/v1/networks", body), 413);
    assert_problem(shared, 413, NULL);
    body[64 * 1024 + 1] = '\0';
    assert_int_equal(fixture_ask(shared, "POST", "/v1/networks", body), 413);
    body[64 * 1024] = '\0';
    memcpy(body, "{\"name\":\"a\"}", 12);
    assert_int_equal(fixture_ask(shared, "POST", "/v1/networks", body), 200);
    free(body);
}

static void body_where_none_is_taken_is_refused(void **state)
{
    (void)state;
    assert_int_equal(fixture_ask(shared, "GET", "/v1", "{}"), 400);
    assert_problem(shared, 400, NULL);
    assert_int_equal(fixture_ask(shared, "DELETE", "/v1/networks/a", "{}"), 400);
    assert_int_equal(fixture_ask(shared, "DELETE", "/v1/networks/a", ""), 204);
    assert_string_equal(shared->body, "");
}

static void query_is_refused(void **state)
{
    (void)state;
    assert_int_equal(fixture_ask(shared, "GET", "/v1/networks?all", NULL), 400);
    assert_int_equal(fixture_ask(shared, "GET", "/v1/networks?x=1&y=2", NULL), 400);
    assert_problem(shared, 400, NULL);
}

static void head_is_get_without_a_body(void **state)
{
    (void)state;
    assert_int_equal(fixture_ask(shared, "HEAD", "/v1", NULL), 200);
    assert_string_equal(shared->body, "");
}

/* A10: never a 5xx of ours, never a hang. */
static void twenty_thousand_mutated_requests_are_survived(void **state)
{
    static const char *const corpus[] = {
        "GET /v1/networks/a/ports/b HTTP/1.1\r\nHost: x\r\nAccept: */*\r\n\r\n",
        ("POST /v1/networks HTTP/1.1\r\nHost: x\r\nContent-Length: 70\r\n\r\n"
         "{\"name\": \"lab\", \"mode\": \"shared\", \"mtu\": 1500, \"ipv6\": {\"prefix\": null}}"),
        ("PUT /v1/networks/a/ports/b HTTP/1.1\r\nHost: x\r\nContent-Length: 43\r\n\r\n"
         "{\"static_addresses\": [\"52:54:00:12:34:56\"]}"),
        "PATCH /v1/networks/a/ports/b HTTP/1.1\r\nHost: x\r\nContent-Length: 16\r\n\r\n{\"link\": \"down\"}",
        "DELETE /v1/networks/a/fdb HTTP/1.0\r\n\r\n",
    };
    uint32_t random = 1;
    uint64_t begin = uv_hrtime(), worst = 0;

    (void)state;
    for (int i = 0; i < 20000; i++) {
        char text[512];
        size_t len = strlen(strcpy(text, corpus[i % 5]));
        uint64_t sent = uv_hrtime();
        int fd = fixture_connect(shared);
        for (int n = i % 3 + 1; n > 0; n--) {
            random = random * 1664525 + 1013904223;
            size_t at = (random >> 8) % len;
            if (random >> 30 == 0 && len > 1)
                memmove(text + at, text + at + 1, len-- - at);
            else
                text[at] = (char)(random >> 22);
        }
        client_send(fd, text, len);
        shutdown(fd, SHUT_WR);
        if (!fixture_receive(shared, fd, 10000) || shared->status >= 500)
            assert_int_equal(shared->status, 505);
        assert_one_answer();
        close(fd);
        if (uv_hrtime() - sent > worst)
            worst = uv_hrtime() - sent;
    }
    print_message("worst %llu us, all %llu ms\n", (unsigned long long)worst / 1000,
                  (unsigned long long)(uv_hrtime() - begin) / 1000000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(header_over_8_kib_is_refused),
        cmocka_unit_test(header_of_7_kib_is_taken),
        cmocka_unit_test(ten_thousand_header_fields_are_refused),
        cmocka_unit_test(uri_of_a_mebibyte_is_refused),
        cmocka_unit_test(confusing_lengths_are_refused),
        cmocka_unit_test(odd_requests_have_one_answer),
        cmocka_unit_test(only_http_1_is_spoken),
        cmocka_unit_test(upgrade_connect_trace_and_absolute_uris_are_refused),
        cmocka_unit_test(body_over_64_kib_is_refused),
        cmocka_unit_test(body_where_none_is_taken_is_refused),
        cmocka_unit_test(query_is_refused),
        cmocka_unit_test(head_is_get_without_a_body),
        cmocka_unit_test(twenty_thousand_mutated_requests_are_survived),
    };

    return cmocka_run_group_tests(tests, open_shared, close_shared);
}
