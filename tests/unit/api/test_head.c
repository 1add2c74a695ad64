/* The head of a request: complete or not at every byte, and what is never let through. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/head.h"

static struct head_refusal refusal;

static void head_is_good_at_its_last_byte_and_never_before(void **state)
{
    static const char request[] = "PUT /v1/networks/lab HTTP/1.1\r\nHost: x\r\nUser-Agent: a/1 (b)\r\nX:\r\n"
                                  "Content-Length:  2\r\n\r\n{}\n\0\n{}";
    size_t head = (size_t)(strstr(request, "\r\n\r\n") - request) + 4;

    (void)state;
    for (size_t len = 0; len < head; len++)
        assert_int_equal(head_check(request, len, &refusal), HEAD_MORE);
    /* What comes behind is not the head's: it may hold anything. */
    for (size_t len = head; len < sizeof(request); len++)
        assert_int_equal(head_check(request, len, &refusal), HEAD_GOOD);
}

static void assert_bad(const char *text, unsigned status)
{
    if (head_check(text, strlen(text), &refusal) != HEAD_BAD || refusal.status != status)
        fail_msg("%s: %u %s", text, refusal.status, refusal.detail);
    assert_non_null(refusal.detail);
    assert_non_null(refusal.next_step);
}

/* A12 */
static void what_confuses_is_refused(void **state)
{
    (void)state;
    assert_bad("\r\n", 400);
    assert_bad("GET /v1 HTTP/1.1\n", 400);
    assert_bad("GET /v1 HTTP/1.1\rX", 400);
    assert_bad("GET /v1\r\n", 400);
    assert_bad("GET  /v1 HTTP/1.1\r\n", 400);
    assert_bad("GET /v1  HTTP/1.1\r\n", 400);
    assert_bad("GET /v1 HTTP/1.1 \r\n", 400);
    assert_bad("GET\t/v1\tHTTP/1.1\r\n", 400);
    assert_bad(" GET /v1 HTTP/1.1\r\n", 400);
    assert_bad("G(T /v1 HTTP/1.1\r\n", 400);
    assert_bad("GET http://x/v1 HTTP/1.1\r\n", 400);
    assert_bad("GET * HTTP/1.1\r\n", 400);
    assert_bad("GET /\xc3\xa4 HTTP/1.1\r\n", 400);
    assert_bad("GET /v1 HTTP/2.0\r\n", 505);
    assert_bad("GET /v1 HTTP/1.2\r\n", 505);
    assert_bad("GET /v1 http/1.1\r\n", 400);
    assert_bad("\x16\x03\x01", 400);
#define GET "GET /v1 HTTP/1.1\r\nHost: x\r\n"
    assert_bad(GET " folded\r\n", 400);
    assert_bad(GET "X : y\r\n", 400);
    assert_bad(GET ": y\r\n", 400);
    assert_bad(GET "X\r\n", 400);
    assert_bad(GET "X: a\x01\r\n", 400);
    assert_bad(GET "X: a\x7f\r\n", 400);
    assert_bad(GET "Host: y\r\n\r\n", 400);
    assert_bad("GET /v1 HTTP/1.1\r\n\r\n", 400);
    assert_bad(GET "Upgrade: h2c\r\n", 400);
    assert_bad(GET "Content-Length: 1\r\ncontent-length: 1\r\n\r\n", 400);
    assert_bad(GET "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400);
    assert_bad(GET "transfer-encoding: chunked\r\n\r\n", 411);
    assert_bad(GET "Content-Length: +1\r\n", 400);
    assert_bad(GET "Content-Length: 1 \r\n", 400);
    assert_bad(GET "Content-Length: 1, 1\r\n", 400);
    assert_bad(GET "Content-Length:\r\n", 400);
    assert_bad(GET "Content-Length: 65537\r\n\r\n", 413);
    assert_bad(GET "Content-Length: 99999999999999999999999999\r\n\r\n", 413);
}

static void host_may_be_left_out_of_http_1_0(void **state)
{
    (void)state;
    assert_int_equal(head_check("GET /v1 HTTP/1.0\r\n\r\n", 20, &refusal), HEAD_GOOD);
}

/* A02 */
static void head_has_8_kib_and_64_fields_at_most(void **state)
{
    char *text = malloc(HEAD_MAX + 100);
    size_t len = (size_t)sprintf(text, GET "X: "), fields;

    (void)state;
    memset(text + len, 'a', HEAD_MAX - len - 4);
    memcpy(text + HEAD_MAX - 4, "\r\n\r\n", 4);
    assert_int_equal(head_check(text, HEAD_MAX, &refusal), HEAD_GOOD);
    memcpy(text + HEAD_MAX - 4, "aaaa\r\n\r\n", 8);
    assert_int_equal(head_check(text, HEAD_MAX + 4, &refusal), HEAD_BAD);
    assert_int_equal(refusal.status, 431);
    memset(text, '/', HEAD_MAX);
    memcpy(text, "GET ", 4);
    assert_int_equal(head_check(text, HEAD_MAX, &refusal), HEAD_BAD);
    assert_int_equal(refusal.status, 414);
    len = (size_t)sprintf(text, GET);
    for (fields = 1; fields < HEAD_FIELDS_MAX; fields++)
        len += (size_t)sprintf(text + len, "X: y\r\n");
    assert_int_equal(head_check(text, len, &refusal), HEAD_MORE);
    strcpy(text + len, "X: y\r\n");
    assert_bad(text, 431);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(head_is_good_at_its_last_byte_and_never_before),
        cmocka_unit_test(what_confuses_is_refused),
        cmocka_unit_test(host_may_be_left_out_of_http_1_0),
        cmocka_unit_test(head_has_8_kib_and_64_fields_at_most),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
