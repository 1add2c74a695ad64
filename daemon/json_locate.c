/* daemon/json_locate.c - finds where in a text a JSON pointer leads
 *
 * How it works
 *   jansson keeps no positions, so the text is scanned again, only when there is an error to report. One
 * cursor goes forward: into a member or element that is on the pointer's way, over all others (counting
 * brackets, no recursion). The line is counted at the end.
 *
 * What is always true
 *   The cursor never passes the end. The text was parsed before, but nothing relies on it: whatever does not
 * look like JSON ends the search where it stands.
 */
#include "daemon/json_locate.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct cursor {
    const char *at, *end;
};

static bool cursor_is_at(const struct cursor *cursor, char byte)
{
    return cursor->at < cursor->end && *cursor->at == byte;
}

static void skip_space(struct cursor *cursor)
{
    while (cursor->at < cursor->end && *cursor->at && strchr(" \t\r\n", *cursor->at))
        cursor->at++;
}

/* Eats 'byte' and the white space before it. */
static bool skip_byte(struct cursor *cursor, char byte)
{
    skip_space(cursor);
    if (!cursor_is_at(cursor, byte))
        return false;
    cursor->at++;
    return true;
}

/* From an opening quote to behind the closing one. */
static void skip_string(struct cursor *cursor)
{
    cursor->at++;
    while (cursor->at < cursor->end && *cursor->at != '"')
        cursor->at += *cursor->at == '\\' && cursor->end - cursor->at > 1 ? 2 : 1;
    if (cursor->at < cursor->end)
        cursor->at++;
}

/* Over one value: up to the comma or bracket that ends it. */
static void skip_value(struct cursor *cursor)
{
    size_t depth = 0;

    skip_space(cursor);
    while (cursor->at < cursor->end) {
        char byte = *cursor->at;
        if (byte == '"') {
            skip_string(cursor);
            continue;
        }
        if (depth == 0 && (byte == ',' || byte == ']' || byte == '}'))
            return;
        if (byte == '[' || byte == '{')
            depth++;
        if (byte == ']' || byte == '}')
            depth--;
        cursor->at++;
    }
}

/* The next token of a pointer, without the escapes ~0 and ~1; false at its end. Cut to fit 'token': a name
 * that long is no field of ours. */
static bool next_token(const char **pointer, char *token, size_t size)
{
    size_t n = 0;

    if (**pointer != '/')
        return false;
    for ((*pointer)++; **pointer && **pointer != '/'; (*pointer)++) {
        char byte = **pointer;
        if (byte == '~' && ((*pointer)[1] == '0' || (*pointer)[1] == '1')) {
            byte = (*pointer)[1] == '0' ? '~' : '/';
            (*pointer)++;
        }
        if (n + 1 < size)
            token[n++] = byte;
    }
    token[n] = '\0';
    return true;
}

/* 'key' has its quotes. Escapes are rare in a key, so jansson may read those. */
static bool key_equals(const char *key, size_t len, const char *token)
{
    if (len < 2)
        return false;
    if (!memchr(key, '\\', len))
        return strlen(token) == len - 2 && memcmp(key + 1, token, len - 2) == 0;

    json_t *decoded = json_loadb(key, len, JSON_DECODE_ANY, NULL);
    bool is_equal = json_is_string(decoded) && strcmp(json_string_value(decoded), token) == 0;
    json_decref(decoded);
    return is_equal;
}

/* Moves to the value of a member; *ret_key is then the place of its key. */
static bool enter_member(struct cursor *cursor, const char *token, const char **ret_key)
{
    do {
        skip_space(cursor);
        if (!cursor_is_at(cursor, '"'))
            return false;
        const char *key = cursor->at;
        skip_string(cursor);
        size_t len = (size_t)(cursor->at - key);
        if (!skip_byte(cursor, ':'))
            return false;
        if (key_equals(key, len, token)) {
            *ret_key = key;
            return true;
        }
        skip_value(cursor);
    } while (skip_byte(cursor, ','));
    return false;
}

static bool enter_element(struct cursor *cursor, const char *token, const char **ret_start)
{
    char *rest = NULL;
    unsigned long index = strtoul(token, &rest, 10);

    if (!*token || *rest)
        return false;
    for (; index > 0; index--) {
        skip_value(cursor);
        if (!skip_byte(cursor, ','))
            return false;
    }
    skip_space(cursor);
    if (cursor_is_at(cursor, ']'))
        return false;
    *ret_start = cursor->at;
    return true;
}

int json_locate(const char *text, size_t len, const char *pointer)
{
    struct cursor cursor = {text, text + len};
    char token[128];

    skip_space(&cursor);
    const char *found = cursor.at < cursor.end ? cursor.at : text;
    while (next_token(&pointer, token, sizeof token)) {
        bool is_there = skip_byte(&cursor, '{')   ? enter_member(&cursor, token, &found)
                        : skip_byte(&cursor, '[') ? enter_element(&cursor, token, &found)
                                                  : false;
        if (!is_there)
            break;
    }

    int line = 1;
    for (const char *at = text; at < found; at++)
        line += *at == '\n';
    return line;
}

void json_pointer_say(const char *pointer, char *said, size_t size)
{
    char token[128];
    size_t n = 0;

    if (!*pointer)
        snprintf(said, size, "the file");
    else
        said[0] = '\0';
    while (n < size && next_token(&pointer, token, sizeof token)) {
        bool is_index = *token && strspn(token, "0123456789") == strlen(token);
        for (char *byte = token; *byte; byte++)
            if ((unsigned char)*byte < 0x20 || *byte == 0x7f)
                *byte = '?';
        n += (size_t)snprintf(said + n, size - n, "%s%s%s",
                              is_index ? "["
                              : n > 0  ? "."
                                       : "",
                              token, is_index ? "]" : "");
    }
}
