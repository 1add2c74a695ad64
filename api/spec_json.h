/* api/spec_json.h - JSON <-> specs, strict: unknown fields, wrong types and values out of range are refused
 * by name
 *
 * Used by the API, the configuration file and the state folder alike, so that all three accept the same.
 */
#ifndef API_SPEC_JSON_H
#define API_SPEC_JSON_H

#include <jansson.h>

#include "api/network_spec.h"

struct spec_error {
    char field[64]; /* JSON pointer below the object, e.g. "/ipv4/gateway"; "" for the whole */
    char rule[256]; /* what must hold and what was found: "must be an integer from 576 to 65535, not 70000" */
};

/* Each returns 0, or -1 with *ret_error filled. 'name' is the name from the URL or NULL (then "name" in the
 * object is required); a "name" that disagrees is an error.
 * Absent fields have their defaults. Combinations are checked by network_spec_check(). */
int network_spec_from_json(const json_t *object, const char *name, struct network_spec *ret_spec,
                           struct spec_error *ret_error);
int port_spec_from_json(const json_t *object, const char *name, struct port_spec *ret_spec,
                        struct spec_error *ret_error);
int port_change_from_json(const json_t *object, struct port_change *ret_change, struct spec_error *ret_error);

/* Pairs that make no sense ("mode" internal with "uplink" tap), subnets, forwards that no uplink serves. A
 * 422. */
int network_spec_check(const struct network_spec *spec, struct spec_error *ret_error);

/* New references; round-trip with the functions above. NULL if memory is short. */
json_t *network_spec_to_json(const struct network_spec *spec);
json_t *port_spec_to_json(const struct port_spec *spec);

/* Parses JSON text under the limits of a hostile sender: depth 32, 64 keys an object, strings of 4 KiB, no
 * duplicate keys, valid UTF-8, no NUL, numbers in range. NULL with a sentence and the line (from 1). */
json_t *json_parse_limited(const char *text, size_t len, char *ret_why, size_t why_size, int *ret_line);

const char *network_mode_name(enum network_mode mode);
const char *network_uplink_name(enum network_uplink uplink);

#endif
