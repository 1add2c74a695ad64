/* io/log.c - see log.h
 *
 * A line is built on the stack and written at once. The message is escaped as a whole, once for every format;
 * JSON then escapes the backslashes of that.
 *
 * When stderr is full: O_NONBLOCK belongs to a description that others may share, so that it is set only on
 * one of our own (log_own_stderr), a socket is written with MSG_DONTWAIT, and else poll() tells beforehand
 * whether there is room (PIPE_BUF bytes, and a line is shorter). A line that does not fit is lost and
 * counted.
 */
#include "io/log.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum {
    LOG_ROLE_SIZE = 64,
    LOG_NAME_SIZE = 64,
    LOG_TEXT_SIZE = 512,
    LOG_ESCAPED_SIZE = 900, /* the longest message */
    LOG_LINE_SIZE = 2048,   /* under PIPE_BUF of Linux, so that a write is whole or not at all */
    LOG_BURST = 10,
    LOG_INTERVAL_MS = 10 * 1000,
    LOG_TOTAL_BURST = 200,
    LOG_TOTAL_INTERVAL_MS = 2 * 1000, /* 1,800 lines an hour: some 300 KiB */
};

static struct {
    char role[LOG_ROLE_SIZE];
    char network[LOG_NAME_SIZE]; /* of the role's name, "" if it has none */
    enum log_level level;
    enum log_format format;
    enum log_style style;
    uint64_t lost, lost_told;
    uint32_t total_left;
    uint64_t total_since_ms;
} log_state = {.role = "vmswitchd", .level = LOG_INFO, .total_left = LOG_TOTAL_BURST};

static const char *const level_names[] = {"error", "warn", "info", "debug"};
static const char *const level_tags[] = {"ERROR", "WARN ", "INFO ", "DEBUG"};
_Static_assert(sizeof level_names / sizeof *level_names == LOG_N_LEVELS, "a name per level");

/* syslog(3)'s numbers */
static const char *const priorities[] = {"<3>", "<4>", "<6>", "<7>"};
_Static_assert(sizeof priorities / sizeof *priorities == LOG_N_LEVELS, "a priority per level");

static const char *const format_names[] = {"text", "json", "journal", "journal-json"};
_Static_assert(sizeof format_names / sizeof *format_names == LOG_N_FORMATS, "a name per format");

void log_open(const char *role, enum log_level level)
{
    const char *blank = strchr(role, ' ');

    (void)snprintf(log_state.role, sizeof log_state.role, "%s", role);
    (void)snprintf(log_state.network, sizeof log_state.network, "%s", blank ? blank + 1 : "");
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

bool log_format_parse(const char *name, enum log_format *ret_format)
{
    for (int i = 0; i < LOG_N_FORMATS; i++)
        if (strcmp(name, format_names[i]) == 0) {
            *ret_format = (enum log_format)i;
            return true;
        }
    return false;
}

const char *log_format_name(enum log_format format)
{
    return format_names[format];
}

void log_set_format(enum log_format format)
{
    log_state.format = format;
}

enum log_format log_format(void)
{
    return log_state.format;
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

/* ---- stderr ---- */

bool log_is_journal(const char *journal_stream)
{
    struct stat st;
    char *end = NULL;

    if (!journal_stream || fstat(STDERR_FILENO, &st) < 0)
        return false;
    unsigned long long device = strtoull(journal_stream, &end, 10);
    return *end == ':' && device == (unsigned long long)st.st_dev &&
           strtoull(end + 1, &end, 10) == (unsigned long long)st.st_ino && *end == '\0';
}

void log_own_stderr(void)
{
    struct stat st;

    if (fstat(STDERR_FILENO, &st) < 0 || !(S_ISFIFO(st.st_mode) || isatty(STDERR_FILENO)))
        return;
    /* On macOS this is a copy of the description, not one of our own: nothing is set on it, and poll() helps.
     */
    int fd = open("/dev/fd/2", O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (fd < 0)
        return;
    dup2(fd, STDERR_FILENO);
    close(fd);
}

static bool write_whole(const char *line, size_t len)
{
    struct pollfd poll_fd = {.fd = STDERR_FILENO, .events = POLLOUT};
    ssize_t n = send(STDERR_FILENO, line, len, MSG_DONTWAIT | MSG_NOSIGNAL);

    if (n >= 0 || errno != ENOTSOCK)
        return n == (ssize_t)len;
    const int flags = fcntl(STDERR_FILENO, F_GETFL);
    if (!(flags >= 0 && (flags & O_NONBLOCK)) && (poll(&poll_fd, 1, 0) != 1 || !(poll_fd.revents & POLLOUT)))
        return false;
    return write(STDERR_FILENO, line, len) == (ssize_t)len;
}

/* ---- a line ---- */

struct line {
    char bytes[LOG_LINE_SIZE];
    size_t len;
};

__attribute__((format(printf, 2, 3))) static void add(struct line *line, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    /* The analyser loses sight of va_start(). NOLINTNEXTLINE(clang-analyzer-valist.Uninitialized) */
    int n = vsnprintf(line->bytes + line->len, sizeof line->bytes - line->len, format, args);
    va_end(args);
    if (n > 0)
        line->len +=
            (size_t)n < sizeof line->bytes - line->len ? (size_t)n : sizeof line->bytes - line->len - 1;
}

/* 'text' is printable ASCII; NULL and "" are null. Cut so that the rest of the object always fits. */
static void add_json_text(struct line *line, const char *key, const char *text)
{
    add(line, "\"%s\":", key);
    if (!text || !*text) {
        add(line, "null,");
        return;
    }
    add(line, "\"");
    for (; *text && line->len < LOG_LINE_SIZE - 64; text++)
        add(line, "%s%c", *text == '"' || *text == '\\' ? "\\" : "", *text);
    add(line, "\",");
}

struct said { /* one message, its strings escaped */
    enum log_level level;
    bool is_audit;
    uint32_t suppressed;
    char network[LOG_NAME_SIZE], port[LOG_NAME_SIZE];
    char text[LOG_ESCAPED_SIZE];
};

static void add_json(struct line *line, const struct said *said)
{
    char time[48], role[LOG_ROLE_SIZE];

    format_time(time, sizeof time);
    (void)snprintf(role, sizeof role, "%.*s", (int)strcspn(log_state.role, " "), log_state.role);
    add(line, "{");
    add_json_text(line, "time", time);
    add_json_text(line, "level", level_names[said->level]);
    add_json_text(line, "role", role);
    add_json_text(line, "network", said->network[0] ? said->network : log_state.network);
    add_json_text(line, "port", said->port);
    add_json_text(line, "message", said->text);
    add(line, "\"fields\":{");
    if (said->is_audit)
        add(line, "\"audit\":true%s", said->suppressed ? "," : "");
    if (said->suppressed)
        add(line, "\"suppressed\":%u", said->suppressed);
    add(line, "}}");
}

static void add_text(struct line *line, const struct said *said)
{
    const char *role = log_state.role, *audit = said->is_audit ? "audit: " : "";
    const bool is_journal = log_state.format == LOG_FORMAT_JOURNAL;
    char time[48];

    if (log_state.style == LOG_STYLE_BAR) {
        add(line, "%s| %s%s", level_tags[said->level], role, role[0] ? ": " : "");
    } else if (log_state.style == LOG_STYLE_TAGGED) {
        add(line, "%s [%s] ", level_tags[said->level], role[0] ? role : "main");
    } else if (is_journal) {
        add(line, "%s: ", role);
    } else {
        format_time(time, sizeof time);
        add(line, "%s %s %s: ", time, level_names[said->level], role);
    }
    add(line, "%s%s", audit, said->text);
    if (said->suppressed)
        add(line, " (%u more left out)", said->suppressed);
}

static bool write_said(const struct said *said)
{
    struct line line = {.len = 0};

    if (log_state.format == LOG_FORMAT_JOURNAL || log_state.format == LOG_FORMAT_JOURNAL_JSON)
        add(&line, "%s", priorities[said->level]);
    if (log_state.format == LOG_FORMAT_JSON || log_state.format == LOG_FORMAT_JOURNAL_JSON)
        add_json(&line, said);
    else
        add_text(&line, said);
    if (line.len > sizeof line.bytes - 2)
        line.len = sizeof line.bytes - 2;
    line.bytes[line.len++] = '\n';
    return write_whole(line.bytes, line.len);
}

/* The first line that gets through is the one that tells of those that did not. */
static bool tell_lost(void)
{
    struct said said = {.level = LOG_WARN};

    if (log_state.lost == log_state.lost_told)
        return true;
    (void)snprintf(said.text, sizeof said.text, "%llu lines of this log were lost: stderr took no more",
                   (unsigned long long)(log_state.lost - log_state.lost_told));
    if (!write_said(&said))
        return false;
    log_state.lost_told = log_state.lost;
    return true;
}

/* What a line is about stands at the beginning of its format: not of the text, which others have a say in. */
__attribute__((format(printf, 2, 0))) static void find_subject(struct said *said, const char *format,
                                                               va_list args)
{
    static const char network[] = "network %s: ", port[] = "port %s: ";
    va_list copy;

    va_copy(copy, args);
    if (strncmp(format, network, sizeof network - 1) == 0) {
        log_escape(va_arg(copy, const char *), /* NOLINT(clang-analyzer-valist.Uninitialized) */
                   said->network, sizeof said->network);
        format += sizeof network - 1;
    }
    if (strncmp(format, port, sizeof port - 1) == 0)
        log_escape(va_arg(copy, const char *), /* NOLINT(clang-analyzer-valist.Uninitialized) */
                   said->port, sizeof said->port);
    va_end(copy);
}

__attribute__((format(printf, 2, 0))) static void log_line(struct said *said, const char *format,
                                                           va_list args)
{
    char text[LOG_TEXT_SIZE];

    if (said->level > log_state.level)
        return;
    find_subject(said, format, args);
    /* The analyser loses sight of va_start() in the callers. */
    (void)vsnprintf(text, sizeof text, format, args); /* NOLINT(clang-analyzer-valist.Uninitialized) */
    log_escape(text, said->text, sizeof said->text);
    if (!tell_lost() || !write_said(said))
        log_state.lost++;
}

#define LOG_FUNCTION(name, its_level, audits)                                                                \
    void name(const char *format, ...)                                                                       \
    {                                                                                                        \
        struct said said = {.level = (its_level), .is_audit = (audits)};                                     \
        va_list args;                                                                                        \
                                                                                                             \
        va_start(args, format);                                                                              \
        log_line(&said, format, args);                                                                       \
        va_end(args);                                                                                        \
    }

LOG_FUNCTION(log_error, LOG_ERROR, false)
LOG_FUNCTION(log_warn, LOG_WARN, false)
LOG_FUNCTION(log_info, LOG_INFO, false)
LOG_FUNCTION(log_debug, LOG_DEBUG, false)
LOG_FUNCTION(log_audit, LOG_INFO, true)

/* ---- limits ---- */

void log_limited(struct log_limit *limit, uint64_t now_ms, enum log_level level, const char *format, ...)
{
    struct said said = {.level = level};
    va_list args;

    if (level > log_state.level || !log_allowed(limit, now_ms, &said.suppressed))
        return;
    va_start(args, format);
    log_line(&said, format, args);
    va_end(args);
}

void log_audit_limited(struct log_limit *limit, uint64_t now_ms, const char *format, ...)
{
    struct said said = {.level = LOG_INFO, .is_audit = true};
    va_list args;

    if (said.level > log_state.level || !log_allowed(limit, now_ms, &said.suppressed))
        return;
    va_start(args, format);
    log_line(&said, format, args);
    va_end(args);
}

void log_limit_end(struct log_limit *limit, const char *what)
{
    if (limit->suppressed > 0)
        log_info("%s: %u lines were left out", what, limit->suppressed);
    limit->suppressed = 0;
}

/* Of all sites together. */
static bool total_allows(uint64_t now_ms)
{
    const uint64_t passed_ms = now_ms - log_state.total_since_ms;
    const uint64_t earned = passed_ms / LOG_TOTAL_INTERVAL_MS;

    if (earned > 0) {
        log_state.total_left = earned >= LOG_TOTAL_BURST - log_state.total_left
                                   ? LOG_TOTAL_BURST
                                   : log_state.total_left + (uint32_t)earned;
        log_state.total_since_ms = now_ms - passed_ms % LOG_TOTAL_INTERVAL_MS;
    }
    if (log_state.total_left == 0)
        return false;
    log_state.total_left--;
    return true;
}

static bool site_allows(const struct log_limit *limit, uint64_t now_ms)
{
    return limit->in_burst < LOG_BURST || now_ms - limit->since_ms >= LOG_INTERVAL_MS;
}

bool log_allowed(struct log_limit *limit, uint64_t now_ms, uint32_t *ret_suppressed)
{
    *ret_suppressed = 0;
    if (!site_allows(limit, now_ms) || !total_allows(now_ms)) {
        limit->suppressed++;
        return false;
    }
    /* Quiet for a whole interval since the last line: a fresh burst, unless some were left out meanwhile. */
    if (limit->in_burst > 0 && now_ms - limit->since_ms >= LOG_INTERVAL_MS)
        limit->in_burst = limit->suppressed > 0 ? LOG_BURST : 1;
    else
        limit->in_burst++;
    *ret_suppressed = limit->suppressed;
    limit->suppressed = 0;
    limit->since_ms = now_ms;
    return true;
}
