/* io/log.h - lines on stderr: for people, for machines, for the journal
 *
 * No allocation, never blocks, one write per line. A line that stderr does not take is lost, counted, and the
 * number is told by the next one that it takes. Strings that came from outside are escaped, all of them: the
 * finished message is printable ASCII, whatever got into it. Not for frames: those are counted.
 */
#ifndef IO_LOG_H
#define IO_LOG_H

#include <stdbool.h>
#include <stdint.h>

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG, LOG_N_LEVELS };

/* How a line of text looks. A program that stands in for another writes as that does: its clients look for
 * it. */
enum log_style {
    LOG_STYLE_OWN,    /* 2026-03-01T12:00:00.123Z info network lab: text */
    LOG_STYLE_BAR,    /* INFO | text */
    LOG_STYLE_TAGGED, /* INFO  [main] text */
};
void log_set_style(enum log_style style);

enum log_format {
    LOG_FORMAT_TEXT,    /* "2026-03-01T12:00:00.123Z warn network lab: port p1: ..." */
    LOG_FORMAT_JSON,    /* one object a line: time, level, role, network, port, message, fields */
    LOG_FORMAT_JOURNAL, /* "<4>network lab: port p1: ...": the journal adds the time, and sorts by the number
                         */
    LOG_FORMAT_JOURNAL_JSON, /* the number, then the object */
    LOG_N_FORMATS,
};

/* 'role' ("control", "network shared", ...) stands in front of each line; copied. What follows its first
 * blank is the network's name. */
void log_open(const char *role, enum log_level level);

/* Returns false if 'name' is no level. Names: error, warn, info, debug. */
bool log_level_parse(const char *name, enum log_level *ret_level);
const char *log_level_name(enum log_level level);
void log_set_level(enum log_level level);

/* Likewise. Names: text, json, journal, journal-json. */
bool log_format_parse(const char *name, enum log_format *ret_format);
const char *log_format_name(enum log_format format);
void log_set_format(enum log_format format);
enum log_format log_format(void);

/* True if stderr is what the variable JOURNAL_STREAM ("device:inode", or NULL) says: the journal's. */
bool log_is_journal(const char *journal_stream);

/* Where stderr is a pipe or a terminal, puts a description of our own in its place, so that it can be made
 * not to block without others noticing. Call it before other processes are started, which then have it too.
 */
void log_own_stderr(void);

/* A format that begins with "network %s: ", "port %s: " or both says what the line is about: the fields
 * network and port of JSON. */
void log_error(const char *format, ...) __attribute__((format(printf, 1, 2)));
void log_warn(const char *format, ...) __attribute__((format(printf, 1, 2)));
void log_info(const char *format, ...) __attribute__((format(printf, 1, 2)));
void log_debug(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Who did what over the API, at level info: "audit: ...". */
void log_audit(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Lines lost because stderr did not take them. */
uint64_t log_lost(void);

/* A site that a client can trigger: a burst of 10, then one line per 10 s with the number suppressed. All
 * sites of a process together: a burst of 200, then one line per 2 s. */
struct log_limit {
    uint64_t since_ms;
    uint32_t in_burst;
    uint32_t suppressed;
};

/* Logs under the limit; a line tells how many were left out since the last one: "(7 more left out)", and
 * {"suppressed": 7} among the fields of JSON. */
void log_limited(struct log_limit *limit, uint64_t now_ms, enum log_level level, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

void log_audit_limited(struct log_limit *limit, uint64_t now_ms, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Tells what was left out and not told yet, if anything: "<what>: 7 lines were left out". For whoever holds
 * the limit, at its end, so that the numbers of a log add up. */
void log_limit_end(struct log_limit *limit, const char *what);

/* True if the site may log now; *ret_suppressed = lines left out since the last one. */
bool log_allowed(struct log_limit *limit, uint64_t now_ms, uint32_t *ret_suppressed);

/* Copies 'text' with control and non-ASCII bytes as \xNN, cut to fit 'size'; returns 'escaped'. */
const char *log_escape(const char *text, char *escaped, unsigned size);

#endif
