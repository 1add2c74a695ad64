/* tests/fuzz/fuzz_config.c - the configuration file
 *
 * What is accepted means the same after it is written out again; what is refused says where and leaves
 * nothing. The first line of the input is also looked up as a JSON pointer in the rest: json_locate() must
 * cope with any text.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/spec_json.h"
#include "daemon/config.h"
#include "daemon/json_locate.h"

static void expect(int holds)
{
    if (!holds)
        abort();
}

static void network_reads_back(const struct network_config *network)
{
    struct network_spec spec;
    struct spec_error error;
    json_t *object = network_spec_to_json(&network->spec);

    expect(network_spec_from_json(object, NULL, &spec, &error) == 0);
    expect(memcmp(&spec, &network->spec, sizeof spec) == 0);
    json_decref(object);
    for (uint32_t i = 0; i < network->n_ports; i++) {
        struct port_spec port;
        object = port_spec_to_json(&network->ports[i]);
        expect(port_spec_from_json(object, NULL, &port, &error) == 0);
        expect(memcmp(&port, &network->ports[i], sizeof port) == 0);
        json_decref(object);
    }
}

static void locate(const char *text, size_t len)
{
    const char *newline = memchr(text, '\n', len);
    size_t n = newline ? (size_t)(newline - text) : 0;
    char pointer[256], said[64];

    if (!newline || n >= sizeof pointer)
        return;
    memcpy(pointer, text, n);
    pointer[n] = '\0';
    expect(json_locate(newline + 1, len - n - 1, pointer) >= 1);
    json_pointer_say(pointer, said, sizeof said);
    expect(strlen(said) < sizeof said);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *text = (const char *)data;
    struct config config;
    char why[CONFIG_WHY_SIZE] = "";

    if (config_parse(text, size, "fuzz", &config, why, sizeof why) == 0) {
        for (uint32_t i = 0; i < config.n_networks; i++)
            network_reads_back(&config.networks[i]);
    } else {
        expect(strncmp(why, "fuzz:", 5) == 0 && !strpbrk(why, "\n\x1b"));
        expect(config.n_networks == 0 && !config.networks);
    }
    config_deinit(&config);
    locate(text, size);
    return 0;
}
