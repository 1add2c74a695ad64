/* io/log.c - see log.h
 *
 * A line: "2026-03-01T12:00:00.123Z warn network shared: port p1: ..." and a newline, built on the stack and
 * written at once. Whatever got into it, it stays one line of printable ASCII: the finished message is
 * escaped as a whole.
 *
 * When stderr is full: O_NONBLOCK belongs to a description that others share, so it is not set; poll() tells
 * beforehand whether a pipe has room (PIPE_BUF bytes, and a line is shorter). If not, the line is lost and
 * counted.
 */
#include "io/log.h"

#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum {
    LOG_ROLE_SIZE = 64,
    LOG_TEXT_SIZE = 512,
    LOG_LINE_SIZE = 1024, /* under PIPE_BUF, so that a write is whole or not at all */
    LOG_BURST = 10,
    LOG_INTERVAL_MS = 10 * 1000,
};

static struct {
    char role[LOG_ROLE_SIZE];
    enum log_level level;
    enum log_style style;
    uint64_t lost;
} log_state = {.role = "vmswitchd", .level = LOG_INFO};

static const char *const level_names[] = {"error", "warn", "info", "debug"};
static const char *const level_tags[] = {"ERROR", "WARN ", "INFO ", "DEBUG"};
_Static_assert(sizeof level_names / sizeof *level_names == LOG_N_LEVELS, "a name per level");

void log_open(const char *role, enum log_level level)
{
    (void)snprintf(log_state.role, sizeof log_state.role, "%s", role);
    log_state.level = level;
}

void log_set_style(enum log_style style)
{
    log_state.style = style;
}

bool log_level_parse(const char *name, enum log_level *ret_level)
{
    for (int i = 0; i < LOG_N_LEVELS; i++)
        if (strcmp(name, level_names[i]) == 0) {
            *ret_level = (enum log_level)i;
            return true;
        }
    return false;
}

const char *log_level_name(enum log_level level)
{
    return level_names[level];
}

void log_set_level(enum log_level level)
{
    log_state.level = level;
}

uint64_t log_lost(void)
{
    return log_state.lost;
}

const char *log_escape(const char *text, char *escaped, unsigned size)
{
    static const char hex[] = "0123456789abcdef";
    unsigned at = 0;

    if (size == 0)
        return escaped;
    for (; *text != '\0'; text++) {
        unsigned char c = (unsigned char)*text;
        bool is_plain = c >= 0x20 && c < 0x7f;

        if (at + (is_plain ? 1 : 4) >= size)
            break;
        if (is_plain) {
            escaped[at++] = (char)c;
            continue;
        }
        escaped[at++] = '\\';
        escaped[at++] = 'x';
        escaped[at++] = hex[c >> 4];
        escaped[at++] = hex[c & 15];
    }
    escaped[at] = '\0';
    return escaped;
}

/* gmtime_r() may allocate; this is the civil-from-days algorithm for days since 1970. */
static void format_time(char *text, size_t size)
{
    struct timespec now;
    long long days, z, era, doe, yoe, doy, mp;
    int day, month, s;

    clock_gettime(CLOCK_REALTIME, &now);
    days = (long long)now.tv_sec / 86400;
    s = (int)((long long)now.tv_sec % 86400);
    z = days + 719468;
    era = z / 146097;
    doe = z - era * 146097;
    yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
    doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    mp = (5 * doy + 2) / 153;
    day = (int)(doy - (153 * mp + 2) / 5 + 1);
    month = (int)(mp < 10 ? mp + 3 : mp - 9);
    (void)snprintf(text, size, "%04lld-%02d-%02dT%02d:%02d:%02d.%03dZ",
                   yoe + era * 400 + (month <= 2 ? 1 : 0), month, day, s / 3600, s / 60 % 60, s % 60,
                   (int)(now.tv_nsec / 1000000));
}

static int format_line(char *line, size_t size, enum log_level level, const char *prefix, const char *text)
{
    const char *role = log_state.role, *colon = role[0] ? ": " : "";
    char time[48];

    if (log_state.style == LOG_STYLE_BAR)
        return snprintf(line, size, "%s| %s%s%s%s\n", level_tags[level], role, colon, prefix, text);
    if (log_state.style == LOG_STYLE_TAGGED)
        return snprintf(line, size, "%s [%s] %s%s\n", level_tags[level], role[0] ? role : "main", prefix,
                        text);
    format_time(time, sizeof time);
    return snprintf(line, size, "%s %s %s: %s%s\n", time, level_names[level], role, prefix, text);
}

static void write_line(const char *line, size_t len)
{
    struct pollfd poll_fd = {.fd = STDERR_FILENO, .events = POLLOUT};
    bool has_room = poll(&poll_fd, 1, 0) == 1 && (poll_fd.revents & POLLOUT);

    if (!has_room || write(STDERR_FILENO, line, len) != (ssize_t)len)
        log_state.lost++;
}

__attribute__((format(printf, 3, 0))) static void log_line(enum log_level level, const char *prefix,
                                                           const char *format, va_list args)
{
    char text[LOG_TEXT_SIZE], escaped[LOG_LINE_SIZE - 256], line[LOG_LINE_SIZE];
    int len;

    if (level > log_state.level)
        return;
    /* The analyser loses sight of va_start() in the callers. */
    (void)vsnprintf(text, sizeof text, format, args); /* NOLINT(clang-analyzer-valist.Uninitialized) */
    log_escape(text, escaped, sizeof escaped);
    len = format_line(line, sizeof line, level, prefix, escaped);
    if (len < 0)
        return;
    write_line(line, (size_t)len < sizeof line ? (size_t)len : sizeof line - 1);
}

#define LOG_FUNCTION(name, level, prefix)                                                                    \
    void name(const char *format, ...)                                                                       \
    {                                                                                                        \
        va_list args;                                                                                        \
                                                                                                             \
        va_start(args, format);                                                                              \
        log_line(level, prefix, format, args);                                                               \
        va_end(args);                                                                                        \
    }

LOG_FUNCTION(log_error, LOG_ERROR, "")
LOG_FUNCTION(log_warn, LOG_WARN, "")
LOG_FUNCTION(log_info, LOG_INFO, "")
LOG_FUNCTION(log_debug, LOG_DEBUG, "")
LOG_FUNCTION(log_audit, LOG_INFO, "audit: ")

bool log_allowed(struct log_limit *limit, uint64_t now_ms, uint32_t *ret_suppressed)
{
    *ret_suppressed = 0;
    /* Quiet for a whole interval since the last line: a fresh burst. */
    if (limit->in_burst > 0 && now_ms - limit->since_ms >= LOG_INTERVAL_MS) {
        *ret_suppressed = limit->suppressed;
        limit->in_burst = limit->suppressed > 0 ? LOG_BURST : 1;
        limit->suppressed = 0;
        limit->since_ms = now_ms;
        return true;
    }
    if (limit->in_burst < LOG_BURST) {
        limit->in_burst++;
        limit->since_ms = now_ms;
        return true;
    }
    limit->suppressed++;
    return false;
}
