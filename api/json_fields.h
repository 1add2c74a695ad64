/* api/json_fields.h - reads a JSON object field by field, strictly
 *
 * The first thing that is wrong is kept, with its JSON pointer, and every later call does nothing: a reader
 * is a list of fields, and looks at 'failed' once, at its end. An absent field leaves its value as it was.
 */
#ifndef API_JSON_FIELDS_H
#define API_JSON_FIELDS_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "api/spec_json.h"

#define JSON_PATH_SIZE 32 /* "/ipv4/reservations/63" and its like */

struct fields {
    const json_t *object;
    char path[JSON_PATH_SIZE]; /* JSON pointer of 'object'; "" is the whole */
    struct spec_error *error;
    bool failed;
};

/* Begins with 'value', which must be an object whose keys are all in 'known' (ends with NULL). A key in
 * 'read_only' (may be NULL, ends with NULL) is refused as such: it is shown, not set. */
void fields_open(struct fields *fields, const json_t *value, const char *path, const char *const *known,
                 const char *const *read_only, struct spec_error *error);

/* Keeps "this field must ..." unless something was wrong before. 'key' NULL: the object itself. */
void fields_fail(struct fields *fields, const char *key, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Takes over the failure of a reader of an inner object. */
void fields_join(struct fields *fields, const struct fields *inner);

/* The value, or NULL if it is absent or something was wrong before. Borrowed. */
const json_t *fields_get(const struct fields *fields, const char *key);

void fields_bool(struct fields *fields, const char *key, bool *value);

/* An integer, not a real and not a string. Null is 0 if 'or_null'. Returns true if it was set. */
bool fields_integer(struct fields *fields, const char *key, int64_t min, int64_t max, bool or_null,
                    int64_t *value);

/* One of 'n' names. Returns true if it was set. */
bool fields_choice(struct fields *fields, const char *key, const char *const *names, int n, int *value);

/* A string, or NULL if it is absent or not one; 'rule' says what it must be. Borrowed. */
const char *fields_string(struct fields *fields, const char *key, const char *rule);

/* 'text' fits 'size', begins with a letter, a digit or '_' and goes on with these, '.' and '-': a group or an
 * interface, as all systems write them. */
bool fields_is_word(const char *text, size_t size);

#define JSON_SHOWN_SIZE 64
/* Writes 'value' as a sentence shows it: 70000, "abc", null, an array. Printable ASCII. Returns 'shown'. */
const char *json_shown(const json_t *value, char shown[JSON_SHOWN_SIZE]);

/* Turns bytes that are not printable ASCII into '?', in place. */
void text_make_printable(char *text);

/* A JSON string of 'text' (null if it is NULL) that cannot fail on bad UTF-8. New reference. */
json_t *json_text(const char *text);

#endif
