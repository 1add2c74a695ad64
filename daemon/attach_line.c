#include "daemon/attach_line.h"

#include <stdio.h>
#include <string.h>

#include "api/spec_json.h"
#include "io/log.h"

/* "" if the field is not there. Returns false if it is no valid name. */
static bool take_name(const json_t *object, const char *key, char name[PORT_NAME_SIZE])
{
    const json_t *value = json_object_get(object, key);
    const char *text = json_string_value(value);
    name[0] = 0;
    if (!value)
        return true;
    if (!text || !port_name_is_valid(text))
        return false;
    snprintf(name, PORT_NAME_SIZE, "%s", text);
    return true;
}

static bool take_kind(const json_t *object, struct attach_line *line)
{
    const json_t *value = json_object_get(object, "kind");
    const char *text = json_string_value(value);
    line->has_kind = value != NULL;
    line->wants_stream = text && strcmp(text, "stream") == 0;
    return !value || line->wants_stream || (text && strcmp(text, "datagram") == 0);
}

/* false if the field is not there. */
static bool take_flag(const json_t *object, const char *key, bool *ret_flag)
{
    const json_t *value = json_object_get(object, key);
    *ret_flag = json_is_true(value);
    return !value || json_is_boolean(value);
}

static bool take_offload(const json_t *object, struct attach_line *line)
{
    const json_t *value = json_object_get(object, "offload");
    const char *text = json_string_value(value);
    line->has_offload = value != NULL;
    for (int i = 0; text && i < OFFLOAD_N; i++) {
        line->offload = (enum port_offload)i;
        if (strcmp(text, port_offload_name(line->offload)) == 0)
            return true;
    }
    return !value;
}

/* The first field that is not known, or NULL. */
static const char *unknown_field(json_t *object)
{
    static const char *const known[] = {"network", "kind", "port", "persist", "offload", "isolated"};
    const char *key;
    json_t *value;
    json_object_foreach(object, key, value)
    {
        bool is_known = false;
        for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
            is_known |= strcmp(key, known[i]) == 0;
        if (!is_known)
            return key;
    }
    return NULL;
}

static int check(json_t *object, struct attach_line *line, char why[ATTACH_WHY_SIZE])
{
    char escaped[64];
    const char *unknown = json_is_object(object) ? unknown_field(object) : NULL;
    if (!json_is_object(object))
        snprintf(why, ATTACH_WHY_SIZE, "the line must be a JSON object");
    else if (unknown)
        snprintf(why, ATTACH_WHY_SIZE,
                 "unknown field \"%s\"; known are network, kind, port, persist, offload and isolated",
                 log_escape(unknown, escaped, sizeof(escaped)));
    else if (!take_name(object, "network", line->network) || !line->network[0])
        snprintf(why, ATTACH_WHY_SIZE, "\"network\" must be a name, [a-z0-9][a-z0-9_-]{0,31}");
    else if (!take_name(object, "port", line->port))
        snprintf(why, ATTACH_WHY_SIZE, "\"port\" must be a name, [a-z0-9][a-z0-9_-]{0,31}");
    else if (!take_kind(object, line))
        snprintf(why, ATTACH_WHY_SIZE, "\"kind\" must be \"stream\" or \"datagram\"");
    else if (!take_flag(object, "persist", &line->persist))
        snprintf(why, ATTACH_WHY_SIZE, "\"persist\" must be true or false");
    else if (!take_flag(object, "isolated", &line->isolated))
        snprintf(why, ATTACH_WHY_SIZE, "\"isolated\" must be true or false");
    else if (!take_offload(object, line))
        snprintf(why, ATTACH_WHY_SIZE, "\"offload\" must be \"off\", \"raw\" or \"virtio\"");
    else
        return 0;
    return -1;
}

int attach_line_parse(const char *text, size_t len, struct attach_line *ret_line, char why[ATTACH_WHY_SIZE])
{
    char reason[160];
    int line;
    *ret_line = (struct attach_line){.persist = false};
    json_t *object = json_parse_limited(text, len, reason, sizeof(reason), &line);
    if (!object) {
        snprintf(why, ATTACH_WHY_SIZE, "the line is not valid JSON: %s", reason);
        return -1;
    }
    int r = check(object, ret_line, why);
    json_decref(object);
    return r;
}
