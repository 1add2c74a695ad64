/* io/log.h - lines for people on stderr
 *
 * No allocation, never blocks (a full pipe loses the line and counts it), one write per line. Strings that
 * came from outside are escaped. Not for frames: those are counted.
 */
#ifndef IO_LOG_H
#define IO_LOG_H

#include <stdbool.h>
#include <stdint.h>

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG, LOG_N_LEVELS };

/* How a line looks. A program that stands in for another writes as that does: its clients look for it. */
enum log_style {
    LOG_STYLE_OWN,    /* 2026-03-01T12:00:00.123Z info network lab: text */
    LOG_STYLE_BAR,    /* INFO | text */
    LOG_STYLE_TAGGED, /* INFO  [main] text */
};
void log_set_style(enum log_style style);

/* 'role' ("control", "network shared", ...) stands in front of each line; copied. */
void log_open(const char *role, enum log_level level);

/* Returns false if 'name' is no level. Names: error, warn, info, debug. */
bool log_level_parse(const char *name, enum log_level *ret_level);
const char *log_level_name(enum log_level level);
void log_set_level(enum log_level level);

void log_error(const char *format, ...) __attribute__((format(printf, 1, 2)));
void log_warn(const char *format, ...) __attribute__((format(printf, 1, 2)));
void log_info(const char *format, ...) __attribute__((format(printf, 1, 2)));
void log_debug(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Who did what over the API, at level info: "audit: ...". */
void log_audit(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Lines lost because stderr did not take them. */
uint64_t log_lost(void);

/* A site that a client can trigger: a burst of 10, then one line per 10 s with the number suppressed. */
struct log_limit {
    uint64_t since_ms;
    uint32_t in_burst;
    uint32_t suppressed;
};
/* True if the site may log now; *ret_suppressed = lines left out since the last one. */
bool log_allowed(struct log_limit *limit, uint64_t now_ms, uint32_t *ret_suppressed);

/* Copies 'text' with control and non-ASCII bytes as \xNN, cut to fit 'size'; returns 'escaped'. */
const char *log_escape(const char *text, char *escaped, unsigned size);

#endif
