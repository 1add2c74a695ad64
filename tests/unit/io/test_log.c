/* Tests of io/log.c and io/uplink.c. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
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
    redirect(); /* where it is told */
    log_info("room again");
    restore();
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
    assert_true(n > 0 && n <= 2048);
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

/* What one call writes. */
static const char *line_of(enum log_format format, void (*say)(void))
{
    static char line[4096];
    ssize_t n;

    redirect();
    log_set_format(format);
    say();
    n = read(reader, line, sizeof line - 1);
    log_set_format(LOG_FORMAT_TEXT);
    restore();
    assert_true(n > 0);
    line[n] = '\0';
    assert_ptr_equal(strchr(line, '\n'), line + n - 1);
    return line;
}

static void say_gone(void)
{
    log_open("network lab", LOG_INFO);
    log_warn("port %s: client gone: %s", "p1", "\"a\\b\"\n\x1b[31m\xff");
}

static void say_network(void)
{
    log_open("control", LOG_INFO);
    log_info("network %s: port %s: changed", "lab", "p1");
}

static void say_audit(void)
{
    log_audit("uid %d: DELETE /v1/networks/lab: 204", 0);
}

static void say_nothing_known(void)
{
    log_open("monitor", LOG_INFO);
    log_error("%s", "port p1: network x: these are somebody's words");
}

static void json_is_one_object_with_what_it_is_about(void **state)
{
    const char *line = line_of(LOG_FORMAT_JSON, say_gone);

    (void)state;
    assert_int_equal(strncmp(line, "{\"time\":\"20", 11), 0);
    assert_non_null(strstr(line,
                           "Z\",\"level\":\"warn\",\"role\":\"network\",\"network\":\"lab\",\"port\":\"p1\","
                           "\"message\":\"port p1: client gone: \\\"a\\\\b\\\"\\\\x0a\\\\x1b[31m\\\\xff\","
                           "\"fields\":{}}\n"));
    line = line_of(LOG_FORMAT_JSON, say_network);
    assert_non_null(strstr(line, "\"role\":\"control\",\"network\":\"lab\",\"port\":\"p1\","));
    line = line_of(LOG_FORMAT_JSON, say_audit);
    assert_non_null(strstr(line, "\"fields\":{\"audit\":true}}\n"));
    line = line_of(LOG_FORMAT_JSON, say_nothing_known); /* a text that only looks like a subject is none */
    assert_non_null(strstr(line, "\"role\":\"monitor\",\"network\":null,\"port\":null,"));
}

static void the_journal_gets_priorities_and_no_time(void **state)
{
    (void)state;
    assert_string_equal(line_of(LOG_FORMAT_JOURNAL, say_network),
                        "<6>control: network lab: port p1: changed\n");
    assert_string_equal(line_of(LOG_FORMAT_JOURNAL, say_nothing_known),
                        "<3>monitor: port p1: network x: these are somebody's words\n");
    assert_string_equal(line_of(LOG_FORMAT_JOURNAL, say_audit),
                        "<6>monitor: audit: uid 0: DELETE /v1/networks/lab: 204\n");
    assert_int_equal(strncmp(line_of(LOG_FORMAT_JOURNAL_JSON, say_gone), "<4>{\"time\":", 11), 0);
}

static char long_text[10001];

static void say_long(void)
{
    log_info("network %s: %s", long_text, long_text);
}

static void g02_a_long_text_is_a_short_object(void **state)
{
    static const char bytes[] = {'"', '\\', '\n', 'a', 27};

    (void)state;
    for (size_t i = 0; i < sizeof bytes; i++) {
        memset(long_text, bytes[i], sizeof long_text - 1);
        const char *line = line_of(LOG_FORMAT_JSON, say_long);
        assert_true(strlen(line) <= 2048);
        assert_non_null(strstr(line, "\"fields\":{}}\n"));
        for (const char *at = line; at[1]; at++)
            assert_true(*at >= ' ' && *at <= '~');
    }
}

static void the_journal_is_known_by_its_device_and_inode(void **state)
{
    char stream[64];
    struct stat st;
    int fds[2];

    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    saved = dup(STDERR_FILENO);
    dup2(fds[1], STDERR_FILENO);
    assert_int_equal(fstat(STDERR_FILENO, &st), 0);
    snprintf(stream, sizeof stream, "%llu:%llu", (unsigned long long)st.st_dev,
             (unsigned long long)st.st_ino);
    const bool is_its = log_is_journal(stream);
    snprintf(stream, sizeof stream, "%llu:%llu", (unsigned long long)st.st_dev,
             (unsigned long long)st.st_ino + 1);
    const bool is_others = log_is_journal(stream) || log_is_journal("") || log_is_journal(NULL) ||
                           log_is_journal("1:") || log_is_journal("x");
    dup2(saved, STDERR_FILENO);
    close(saved);
    close(fds[0]);
    close(fds[1]);
    assert_true(is_its);
    assert_false(is_others);
}

/* Reads until nothing is left; returns how many lines, and fills 'last' with the one before the end. */
static unsigned drain(int fd, char last[256])
{
    static char bytes[1 << 20];
    size_t len = 0;
    unsigned n = 0;

    fcntl(fd, F_SETFL, O_NONBLOCK);
    for (ssize_t r; (r = read(fd, bytes + len, sizeof bytes - 1 - len)) > 0;)
        len += (size_t)r;
    bytes[len] = '\0';
    for (char *at = bytes, *end; (end = strchr(at, '\n')); at = end + 1) {
        *end = '\0';
        snprintf(last, 256, "%.255s", at);
        n++;
    }
    return n;
}

/* On a pipe of our own description, on one that is shared, and on a socket, as the journal's is. */
static void g03_what_was_lost_is_told_exactly_when_there_is_room_again(void **state)
{
    (void)state;
    log_open("monitor", LOG_INFO);
    for (int kind = 0; kind < 3; kind++) {
        const unsigned n_lines = 3000;
        uint64_t before = log_lost();
        char last[256];
        int fds[2];
        assert_int_equal(kind == 2 ? socketpair(AF_UNIX, SOCK_STREAM, 0, fds) : pipe(fds), 0);
        saved = dup(STDERR_FILENO);
        dup2(fds[1], STDERR_FILENO);
        if (kind == 1)
            log_own_stderr();
        const int flags_before = fcntl(fds[1], F_GETFL), flags = fcntl(STDERR_FILENO, F_GETFL);
        for (unsigned i = 0; i < n_lines; i++) /* a wait would be a hang: nobody reads */
            log_info("line %u of many, long enough to fill what there is before long", i);
        const unsigned came = drain(fds[0], last);
        const uint64_t lost = log_lost() - before;
        log_info("after the drought");
        log_info("and on");
        const unsigned came_later = drain(fds[0], last);
        dup2(saved, STDERR_FILENO);
        close(saved);
        close(fds[0]);
        close(fds[1]);
        assert_int_equal(flags_before & O_NONBLOCK, 0); /* who shares it does not notice */
        assert_true(kind != 1 || (flags & O_NONBLOCK));
        assert_true(lost > 0);
        assert_int_equal(came + lost, n_lines);
        assert_int_equal(came_later, 3);
        assert_non_null(strstr(last, "and on"));
        assert_int_equal(log_lost() - before, lost);
    }
}

static void limited(struct log_limit *limit, uint64_t now_ms, unsigned *n_lines, unsigned *n_told)
{
    char line[256] = "";

    redirect();
    fcntl(reader, F_SETFL, O_NONBLOCK);
    log_limited(limit, now_ms, LOG_INFO, "port %s: something", "p1");
    ssize_t n = read(reader, line, sizeof line - 1);
    restore();
    const char *more = n > 0 ? strstr(line, "something (") : NULL;
    *n_lines += n > 0;
    *n_told += more ? (unsigned)strtoul(more + 11, NULL, 10) : 0;
}

/* P14: whatever comes, and whenever, lines and told numbers add up to what happened. */
static void g_lines_and_suppressed_counts_add_up(void **state)
{
    struct log_limit limits[3] = {{0}};
    unsigned n_lines[3] = {0}, n_told[3] = {0}, n_events[3] = {0}, in_minute = 0;
    uint64_t now_ms = 1000000;

    (void)state;
    srandom(7);
    for (int i = 0; i < 3000; i++) {
        const unsigned site = (unsigned)random() % 3, before = n_lines[0];
        now_ms += (unsigned)random() % 100; /* 150 s in all */
        limited(&limits[site], now_ms, &n_lines[site], &n_told[site]);
        n_events[site]++;
        in_minute += n_lines[0] - before;
    }
    for (unsigned site = 0; site < 3; site++) {
        assert_int_equal(n_lines[site] + n_told[site] + limits[site].suppressed, n_events[site]);
        assert_in_range(n_lines[site], 10, 10 + 16);
    }
    assert_true(in_minute <= 100);
    /* What is left is told at the end. */
    char line[256] = "";
    limits[0].suppressed = 5;
    redirect();
    log_limit_end(&limits[0], "port p1: clients");
    assert_true(read(reader, line, sizeof line - 1) > 0);
    fcntl(reader, F_SETFL, O_NONBLOCK);
    log_limit_end(&limits[0], "port p1: clients");
    assert_true(read(reader, line + 200, 50) < 0);
    restore();
    assert_non_null(strstr(line, "port p1: clients: 5 lines were left out\n"));
}

/* P14: 1,000 ports that all have something to say. */
static void g_all_sites_together_are_limited(void **state)
{
    static struct log_limit limits[1000];
    uint32_t suppressed;
    unsigned n_lines = 0;
    uint64_t n_told = 0, begun_ms = 10 * 1000 * 1000, n_events = 0;

    (void)state;
    memset(limits, 0, sizeof limits);
    for (uint64_t now_ms = begun_ms; now_ms < begun_ms + 3600 * 1000; now_ms += 1000)
        for (unsigned i = 0; i < 1000; i += 7) {
            n_lines += log_allowed(&limits[(now_ms / 1000 + i) % 1000], now_ms, &suppressed);
            n_told += suppressed;
            n_events++;
        }
    for (unsigned i = 0; i < 1000; i++)
        n_told += limits[i].suppressed;
    assert_int_equal(n_lines + n_told, n_events);
    assert_in_range(n_lines, 1800, 200 + 1800); /* of 200 bytes: less than 1 MiB an hour */
}

static void formats_have_names(void **state)
{
    enum log_format format;

    (void)state;
    for (int i = 0; i < LOG_N_FORMATS; i++) {
        assert_true(log_format_parse(log_format_name((enum log_format)i), &format));
        assert_int_equal(format, i);
    }
    assert_false(log_format_parse("xml", &format));
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
        cmocka_unit_test(formats_have_names),
        cmocka_unit_test(json_is_one_object_with_what_it_is_about),
        cmocka_unit_test(the_journal_gets_priorities_and_no_time),
        cmocka_unit_test(g02_a_long_text_is_a_short_object),
        cmocka_unit_test(the_journal_is_known_by_its_device_and_inode),
        cmocka_unit_test(g03_what_was_lost_is_told_exactly_when_there_is_room_again),
        cmocka_unit_test(g_lines_and_suppressed_counts_add_up),
        cmocka_unit_test(g_all_sites_together_are_limited),
        cmocka_unit_test(an_uplink_is_tried_again_more_and_more_seldom),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
