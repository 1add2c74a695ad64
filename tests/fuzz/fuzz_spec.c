/* tests/fuzz/fuzz_spec.c - JSON text -> spec -> JSON -> spec is a fixed point, and errors are printable */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/spec_json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool holds, const char *what)
{
    if (holds)
        return;
    fprintf(stderr, "does not hold: %s\n", what);
    abort();
}

static void check_text(const char *text)
{
    for (; *text; text++)
        must(*text >= ' ' && *text <= '~', "an error is printable");
}

static void check_network(const json_t *json)
{
    static struct network_spec spec, again;
    struct spec_error error;
    json_t *back;

    if (network_spec_from_json(json, "name", &spec, &error) < 0) {
        check_text(error.field);
        check_text(error.rule);
        return;
    }
    if (network_spec_check(&spec, &error) < 0) {
        check_text(error.field);
        check_text(error.rule);
    }
    back = network_spec_to_json(&spec);
    must(back && network_spec_from_json(back, NULL, &again, &error) == 0, "what was written is read");
    must(memcmp(&spec, &again, sizeof(spec)) == 0, "a network survives the trip");
    json_decref(back);
}

static void check_port(const json_t *json)
{
    struct port_spec spec, again;
    struct port_change change;
    struct spec_error error;
    json_t *back;

    (void)port_change_from_json(json, &change, &error);
    if (port_spec_from_json(json, "name", &spec, &error) < 0) {
        check_text(error.field);
        check_text(error.rule);
        return;
    }
    back = port_spec_to_json(&spec);
    must(back && port_spec_from_json(back, NULL, &again, &error) == 0, "what was written is read");
    must(memcmp(&spec, &again, sizeof(spec)) == 0, "a port survives the trip");
    json_decref(back);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char why[128] = "";
    int line = 0;
    json_t *json = json_parse_limited((const char *)data, size, why, sizeof(why), &line);

    if (!json) {
        must(why[0] != '\0' && line >= 1, "a refusal says why and where");
        check_text(why);
        return 0;
    }
    check_network(json);
    check_port(json);
    json_decref(json);
    return 0;
}
