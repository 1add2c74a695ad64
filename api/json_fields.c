#include "api/json_fields.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static bool is_listed(const char *key, const char *const *list)
{
    for (; list && *list; list++) {
        if (strcmp(*list, key) == 0)
            return true;
    }
    return false;
}

/* "a, b, c" as far as it fits. */
static void join_names(char *text, size_t size, const char *const *names, int n)
{
    size_t len = 0;

    text[0] = '\0';
    for (int i = 0; i < n && len < size; i++) {
        int written = snprintf(text + len, size - len, "%s\"%s\"", i ? ", " : "", names[i]);
        len += written > 0 ? (size_t)written : 0;
    }
}

static void refuse_unknown(struct fields *fields, const char *key, const char *const *known)
{
    char list[192];
    int n = 0;

    while (known[n])
        n++;
    join_names(list, sizeof(list), known, n);
    fields_fail(fields, key, "is not a known field; known are %s", list);
}

void fields_open(struct fields *fields, const json_t *value, const char *path, const char *const *known,
                 const char *const *read_only, struct spec_error *error)
{
    const char *key;
    json_t *unused;
    char shown[JSON_SHOWN_SIZE];

    *fields = (struct fields){.object = value, .error = error};
    snprintf(fields->path, sizeof(fields->path), "%s", path);
    if (!json_is_object(value)) {
        fields_fail(fields, NULL, "must be an object, not %s", json_shown(value, shown));
        return;
    }
    /* jansson's iterator takes no const; nothing is changed through it. */
    union {
        const json_t *is_const;
        json_t *is_not;
    } object = {.is_const = value};
    json_object_foreach(object.is_not, key, unused)
    {
        if (is_listed(key, read_only))
            fields_fail(fields, key, "is read only: leave it out");
        else if (!is_listed(key, known))
            refuse_unknown(fields, key, known);
    }
}

void fields_fail(struct fields *fields, const char *key, const char *format, ...)
{
    va_list args;

    if (fields->failed)
        return;
    fields->failed = true;
    snprintf(fields->error->field, sizeof(fields->error->field), "%s%s%s", fields->path, key ? "/" : "",
             key ? key : "");
    va_start(args, format);
    vsnprintf(fields->error->rule, sizeof(fields->error->rule), format, args);
    va_end(args);
    /* Both may hold a piece of the sender's text, cut in the middle of a character. */
    text_make_printable(fields->error->field);
    text_make_printable(fields->error->rule);
}

void fields_join(struct fields *fields, const struct fields *inner)
{
    /* The inner reader shares our 'error', which it wrote only if we had not failed when it began. */
    fields->failed |= inner->failed;
}

const json_t *fields_get(const struct fields *fields, const char *key)
{
    return fields->failed ? NULL : json_object_get(fields->object, key);
}

void fields_bool(struct fields *fields, const char *key, bool *value)
{
    const json_t *found = fields_get(fields, key);
    char shown[JSON_SHOWN_SIZE];

    if (!found)
        return;
    if (json_is_boolean(found))
        *value = json_is_true(found);
    else
        fields_fail(fields, key, "must be true or false, not %s", json_shown(found, shown));
}

bool fields_integer(struct fields *fields, const char *key, int64_t min, int64_t max, bool or_null,
                    int64_t *value)
{
    const json_t *found = fields_get(fields, key);
    char shown[JSON_SHOWN_SIZE];

    if (!found)
        return false;
    if (or_null && json_is_null(found)) {
        *value = 0;
        return true;
    }
    if (!json_is_integer(found) || json_integer_value(found) < min || json_integer_value(found) > max) {
        fields_fail(fields, key, "must be an integer from %lld to %lld%s, not %s", (long long)min,
                    (long long)max, or_null ? ", or null" : "", json_shown(found, shown));
        return false;
    }
    *value = json_integer_value(found);
    return true;
}

bool fields_choice(struct fields *fields, const char *key, const char *const *names, int n, int *value)
{
    const json_t *found = fields_get(fields, key);
    char shown[JSON_SHOWN_SIZE], list[128];

    if (!found)
        return false;
    for (int i = 0; json_is_string(found) && i < n; i++) {
        if (strcmp(json_string_value(found), names[i]) == 0) {
            *value = i;
            return true;
        }
    }
    join_names(list, sizeof(list), names, n);
    fields_fail(fields, key, "must be one of %s, not %s", list, json_shown(found, shown));
    return false;
}

const char *fields_string(struct fields *fields, const char *key, const char *rule)
{
    const json_t *found = fields_get(fields, key);
    char shown[JSON_SHOWN_SIZE];

    if (found && !json_is_string(found))
        fields_fail(fields, key, "%s, not %s", rule, json_shown(found, shown));
    return json_string_value(found);
}

bool fields_is_word(const char *text, size_t size)
{
    static const char letters[] = ".-_abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";

    return text[0] && text[0] != '.' && text[0] != '-' && strlen(text) < size &&
           strspn(text, letters) == strlen(text);
}

const char *json_shown(const json_t *value, char shown[JSON_SHOWN_SIZE])
{
    switch (value ? json_typeof(value) : JSON_NULL) {
    case JSON_OBJECT:
        snprintf(shown, JSON_SHOWN_SIZE, "an object");
        break;
    case JSON_ARRAY:
        snprintf(shown, JSON_SHOWN_SIZE, "an array");
        break;
    case JSON_STRING:
        snprintf(shown, JSON_SHOWN_SIZE, "\"%.40s\"%s", json_string_value(value),
                 json_string_length(value) > 40 ? "..." : "");
        break;
    case JSON_INTEGER:
        snprintf(shown, JSON_SHOWN_SIZE, "%lld", (long long)json_integer_value(value));
        break;
    case JSON_REAL:
        snprintf(shown, JSON_SHOWN_SIZE, "%g", json_real_value(value));
        break;
    case JSON_TRUE:
        snprintf(shown, JSON_SHOWN_SIZE, "true");
        break;
    case JSON_FALSE:
        snprintf(shown, JSON_SHOWN_SIZE, "false");
        break;
    case JSON_NULL:
        snprintf(shown, JSON_SHOWN_SIZE, "null");
        break;
    }
    text_make_printable(shown);
    return shown;
}

void text_make_printable(char *text)
{
    for (; *text; text++) {
        if (*text < ' ' || *text > '~')
            *text = '?';
    }
}

json_t *json_text(const char *text)
{
    char printable[512];
    json_t *string;

    if (!text)
        return json_null();
    string = json_string(text);
    if (string)
        return string;
    snprintf(printable, sizeof(printable), "%s", text);
    text_make_printable(printable);
    return json_string(printable);
}
