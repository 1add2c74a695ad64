/* api/json_limited.c - JSON text of a hostile sender -> JSON
 *
 * How it works
 *   jansson recurses once per level and keeps what it has read, so a limit that is checked on its result
 * comes too late. A flat scan goes over the text first, with counters and no recursion, and refuses what is
 * too deep, too long or too much; it knows just enough JSON for that (strings, brackets, numbers). Everything
 * else that is wrong, jansson finds.
 *
 * What is always true
 *   What is returned is what the text says, also where memory was short (api/shortage.h).
 *   Text that reaches jansson is at most JSON_DEPTH_MAX deep, and its numbers are exact or finite.
 */
#include "api/spec_json.h"

#include <math.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/json_fields.h"
#include "api/shortage.h"

enum {
    JSON_DEPTH_MAX = 32,    /* of ours the deepest is 4 */
    JSON_KEYS_MAX = 64,     /* of ours the widest has 30 */
    JSON_STRING_MAX = 4096, /* bytes as written, escapes unexpanded */
    JSON_NUMBER_MAX = 32,   /* characters of a number */
};

struct scan {
    const char *text;
    size_t len, at;
    int line;
    int depth;
    uint32_t n_keys[JSON_DEPTH_MAX + 1];
    size_t key_at, key_len; /* the string read last: the key, when a number follows */
    char *why;
    size_t why_size;
};

static bool refuse(struct scan *scan, const char *format, ...) __attribute__((format(printf, 2, 3)));
static bool refuse(struct scan *scan, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(scan->why, scan->why_size, format, args);
    va_end(args);
    return false;
}

/* 'at' is on the opening quote; moves behind the closing one, or to the end for jansson to refuse. */
static bool scan_string(struct scan *scan)
{
    size_t begin = ++scan->at;

    while (scan->at < scan->len && scan->text[scan->at] != '"') {
        if (scan->text[scan->at] == '\0')
            return refuse(scan, "a NUL byte in a string");
        scan->at += scan->text[scan->at] == '\\' && scan->at + 1 < scan->len ? 2 : 1;
        if (scan->at - begin > JSON_STRING_MAX)
            return refuse(scan, "a string is longer than %d bytes", JSON_STRING_MAX);
    }
    scan->key_at = begin;
    scan->key_len = scan->at - begin;
    scan->at++;
    return true;
}

static bool is_number_char(char c)
{
    return (c >= '0' && c <= '9') || c == '-' || c == '+' || c == '.' || c == 'e' || c == 'E';
}

/* An integer beyond 2^53 is another one after a trip through a double (RFC 8259, section 6), so it is
 * refused. */
static bool number_is_good(const char *number)
{
    const double exact_max = 9007199254740992.0; /* 2^53 */

    if (strpbrk(number, ".eE"))
        return isfinite(strtod(number, NULL));
    return fabs(strtod(number, NULL)) < exact_max;
}

static bool scan_number(struct scan *scan)
{
    char number[JSON_NUMBER_MAX + 1];
    size_t len = 0;
    int key_len = scan->key_len < 40 ? (int)scan->key_len : 40;

    while (scan->at < scan->len && is_number_char(scan->text[scan->at])) {
        if (len < JSON_NUMBER_MAX)
            number[len] = scan->text[scan->at];
        len++;
        scan->at++;
    }
    number[len < JSON_NUMBER_MAX ? len : JSON_NUMBER_MAX] = '\0';
    if (len <= JSON_NUMBER_MAX && number_is_good(number))
        return true;
    return refuse(scan, "field \"%.*s\": the number %s%s is out of range", key_len,
                  scan->key_len ? scan->text + scan->key_at : "", number, len > JSON_NUMBER_MAX ? "..." : "");
}

static bool scan_open(struct scan *scan)
{
    if (scan->depth == JSON_DEPTH_MAX)
        return refuse(scan, "deeper than %d levels", JSON_DEPTH_MAX);
    scan->n_keys[++scan->depth] = 0;
    scan->at++;
    return true;
}

static bool scan_token(struct scan *scan)
{
    char c = scan->text[scan->at];

    if (c == '"')
        return scan_string(scan);
    if (c == '{' || c == '[')
        return scan_open(scan);
    if (c == '-' || (c >= '0' && c <= '9'))
        return scan_number(scan);
    if (c == '\0')
        return refuse(scan, "a NUL byte");
    if (c == ':' && ++scan->n_keys[scan->depth] > JSON_KEYS_MAX)
        return refuse(scan, "an object has more than %d keys", JSON_KEYS_MAX);
    if ((c == '}' || c == ']') && scan->depth > 0)
        scan->depth--;
    if (c == '\n')
        scan->line++;
    scan->at++;
    return true;
}

json_t *json_parse_limited(const char *text, size_t len, char *ret_why, size_t why_size, int *ret_line)
{
    struct scan scan = {.text = text, .len = len, .line = 1, .why = ret_why, .why_size = why_size};
    json_error_t error;
    uint64_t n_short;
    json_t *json;
    bool is_good = true;

    while (is_good && scan.at < len)
        is_good = scan_token(&scan);
    if (!is_good) {
        *ret_line = scan.line;
        text_make_printable(ret_why);
        return NULL;
    }
    n_short = shortage_count();
    json = json_loadb(text, len, JSON_REJECT_DUPLICATES, &error);
    if (shortage_count() != n_short) { /* jansson leaves characters out then, without a word */
        json_decref(json);
        *ret_line = 1;
        snprintf(ret_why, why_size, "memory is short");
        return NULL;
    }
    if (json)
        return json;
    *ret_line = error.line > 0 ? error.line : 1;
    snprintf(ret_why, why_size, "%s", len ? error.text : "there is nothing");
    text_make_printable(ret_why);
    return NULL;
}
