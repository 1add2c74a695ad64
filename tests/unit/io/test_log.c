/* Tests of io/log.c and io/uplink.c. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "io/log.h"
#include "io/uplink.h"

static int saved, reader;

static void redirect(void)
{
    int fds[2];

    assert_int_equal(pipe(fds), 0);
    saved = dup(STDERR_FILENO);
    dup2(fds[1], STDERR_FILENO);
    close(fds[1]);
    reader = fds[0];
}

static void restore(void)
{
    dup2(saved, STDERR_FILENO);
    close(saved);
    close(reader);
}

static void a_line_has_level_and_role_and_is_one_line(void **state)
{
    char line[2048];
    ssize_t n;

    (void)state;
    redirect();
    log_open("network shared", LOG_INFO);
    log_warn("port %s: gone", "a\nb\x1b[31m\xff");
    n = read(reader, line, sizeof line - 1);
    restore();
    assert_true(n > 0);
    line[n] = '\0';
    assert_non_null(strstr(line, "Z warn network shared: port a\\x0ab\\x1b[31m\\xff: gone\n"));
    assert_ptr_equal(strchr(line, '\n'), line + n - 1);
}

static void a_stand_in_writes_as_what_it_stands_in_for(void **state)
{
    static const char wanted[] =
        "INFO | one\nERROR| uplink lab: two\nWARN  [main] three\nDEBUG [uplink] fo\\x0aur\n";
    char text[2048];
    ssize_t n;

    (void)state;
    redirect();
    log_set_style(LOG_STYLE_BAR);
    log_open("", LOG_DEBUG);
    log_info("one");
    log_open("uplink lab", LOG_DEBUG);
    log_error("two");
    log_set_style(LOG_STYLE_TAGGED);
    log_open("", LOG_DEBUG);
    log_warn("three");
    log_open("uplink", LOG_DEBUG);
    log_debug("fo\nur");
    log_set_style(LOG_STYLE_OWN);
    n = read(reader, text, sizeof text - 1);
    restore();
    assert_true(n > 0);
    text[n] = '\0';
    assert_string_equal(text, wanted);
}

static void levels_above_the_chosen_one_say_nothing(void **state)
{
    char line[256];

    (void)state;
    redirect();
    fcntl(reader, F_SETFL, O_NONBLOCK);
    log_set_level(LOG_WARN);
    log_info("no");
    log_audit("no");
    assert_int_equal(read(reader, line, sizeof line), -1);
    log_error("yes");
    assert_true(read(reader, line, sizeof line) > 0);
    log_set_level(LOG_INFO);
    restore();
}

static void g03_a_full_pipe_loses_lines_and_counts_them(void **state)
{
    uint64_t before = log_lost();

    (void)state;
    redirect();
    for (int i = 0; i < 5000; i++)
        log_info("line %d of many, long enough to fill a pipe before long", i);
    restore();
    assert_true(log_lost() > before);
}

static void a_long_text_is_cut_and_still_ends_its_line(void **state)
{
    static char text[5000], line[4096];
    ssize_t n;

    (void)state;
    memset(text, '\n', sizeof text - 1);
    redirect();
    log_info("%s", text);
    n = read(reader, line, sizeof line);
    restore();
    assert_true(n > 0 && n <= 1024);
    assert_int_equal(line[n - 1], '\n');
    assert_ptr_equal(memchr(line, '\n', (size_t)n), line + n - 1);
}

static void escaping_fits_every_size(void **state)
{
    char escaped[16];

    (void)state;
    for (unsigned size = 1; size <= sizeof escaped; size++) {
        memset(escaped, 'z', sizeof escaped);
        log_escape("a\x01"
                   "b\x02\x03",
                   escaped, size);
        assert_true(strlen(escaped) < size);
    }
    assert_string_equal(log_escape("a\x01"
                                   "b",
                                   escaped, sizeof escaped),
                        "a\\x01b");
}

static void a_site_logs_a_burst_then_once_in_ten_seconds(void **state)
{
    struct log_limit limit = {0};
    uint32_t suppressed;

    (void)state;
    for (int i = 0; i < 10; i++)
        assert_true(log_allowed(&limit, 1000, &suppressed));
    for (int i = 0; i < 7; i++)
        assert_false(log_allowed(&limit, 1000, &suppressed));
    assert_true(log_allowed(&limit, 11000, &suppressed));
    assert_int_equal(suppressed, 7);
    assert_false(log_allowed(&limit, 11001, &suppressed));
    assert_true(log_allowed(&limit, 21000, &suppressed));
    assert_int_equal(suppressed, 1);
}

static void levels_have_names(void **state)
{
    enum log_level level;

    (void)state;
    for (int i = 0; i < LOG_N_LEVELS; i++) {
        assert_true(log_level_parse(log_level_name((enum log_level)i), &level));
        assert_int_equal(level, i);
    }
    assert_false(log_level_parse("loud", &level));
}

static void an_uplink_is_tried_again_more_and_more_seldom(void **state)
{
    struct uplink_retry retry = {0};
    uint32_t last = 0;

    (void)state;
    assert_int_equal(uplink_retry_next(&retry, 0), UPLINK_RETRY_MIN_MS);
    for (int i = 0; i < 10; i++) {
        uint32_t next = uplink_retry_next(&retry, 0);

        assert_true(next >= last && next <= UPLINK_RETRY_MAX_MS);
        last = next;
    }
    assert_int_equal(last, UPLINK_RETRY_MAX_MS);
    assert_int_equal(uplink_retry_next(&retry, UPLINK_STABLE_MS), UPLINK_RETRY_MIN_MS);
    assert_string_equal(uplink_kind_name(UPLINK_VMNET), "vmnet");
    assert_string_equal(uplink_state_name(UPLINK_DEGRADED), "degraded");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_stand_in_writes_as_what_it_stands_in_for),
        cmocka_unit_test(a_line_has_level_and_role_and_is_one_line),
        cmocka_unit_test(levels_above_the_chosen_one_say_nothing),
        cmocka_unit_test(g03_a_full_pipe_loses_lines_and_counts_them),
        cmocka_unit_test(a_long_text_is_cut_and_still_ends_its_line),
        cmocka_unit_test(escaping_fits_every_size),
        cmocka_unit_test(a_site_logs_a_burst_then_once_in_ten_seconds),
        cmocka_unit_test(levels_have_names),
        cmocka_unit_test(an_uplink_is_tried_again_more_and_more_seldom),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
