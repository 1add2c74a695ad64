/* daemon/config.c - reads the configuration file
 *
 * How it works
 *   Comment lines are blanked byte for byte, so lines and columns stay true. The text is parsed under the
 * API's limits, "user" and "ports" are taken out of each network, and the rest goes to the one strict reader
 * of specs. Every error carries a JSON pointer; its line is looked for only then.
 *
 * When it fails
 *   Nothing of the file counts; what was read so far is freed.
 */
#include "daemon/config.h"

#include <arpa/inet.h>
#include <errno.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "api/shortage.h"
#include "api/spec_json.h"
#include "daemon/json_locate.h"

/* One reading of one file. */
struct reader {
    const char *path;
    const char *text; /* without comments */
    size_t len;
    char *why;
    size_t why_size;
};

/* Says that what 'pointer' names breaks a rule; returns -1. */
__attribute__((format(printf, 3, 4))) static int refuse(struct reader *reader, const char *pointer,
                                                        const char *rule, ...)
{
    char field[160], sentence[512];
    va_list args;

    va_start(args, rule);
    vsnprintf(sentence, sizeof sentence, rule, args);
    va_end(args);
    json_pointer_say(pointer, field, sizeof field);
    snprintf(reader->why, reader->why_size, "%s:%d: %s: %s", reader->path,
             json_locate(reader->text, reader->len, pointer), field, sentence);
    return -1;
}

static int refuse_memory(struct reader *reader)
{
    snprintf(reader->why, reader->why_size, "%s: memory is short", reader->path);
    return -ENOMEM;
}

/* "" for a missing array; NULL if it is refused. */
static int array_of(struct reader *reader, const json_t *object, const char *key, const char *pointer,
                    size_t max, const json_t **ret_array)
{
    const json_t *array = json_object_get(object, key);

    *ret_array = array;
    if (!array)
        return 0;
    if (!json_is_array(array))
        return refuse(reader, pointer, "must be an array");
    if (json_array_size(array) > max)
        return refuse(reader, pointer, "must have at most %zu elements, not %zu", max,
                      json_array_size(array));
    return 0;
}

static bool user_is_valid(const char *user)
{
    const char *allowed = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-";
    size_t len = strlen(user);

    return len > 0 && len < CONFIG_USER_SIZE && strspn(user, allowed) == len && *user != '-';
}

static int read_user(struct reader *reader, const json_t *user, const char *base,
                     struct network_config *network)
{
    char pointer[64];

    if (!user || json_is_null(user))
        return 0;
    snprintf(pointer, sizeof pointer, "%s/user", base);
    if (!json_is_string(user) || !user_is_valid(json_string_value(user)))
        return refuse(reader, pointer, "must be a login name of 1 to %d letters, digits, '_', '.' and '-'",
                      CONFIG_USER_SIZE - 1);
    if (strcmp(json_string_value(user), "root") == 0)
        return refuse(reader, pointer, "must not be root: a network process never runs as root");
    snprintf(network->user, sizeof network->user, "%s", json_string_value(user));
    return 0;
}

/* An address is at one port: at none before this one. */
static int check_statics(struct reader *reader, const char *base, const struct network_config *network,
                         const struct port_spec *port)
{
    char pointer[160];

    for (uint32_t i = 0; i < port->n_statics; i++)
        for (uint32_t k = 0; k < network->n_ports; k++)
            for (uint32_t j = 0; j < network->ports[k].n_statics; j++)
                if (network->ports[k].statics[j] == port->statics[i]) {
                    snprintf(pointer, sizeof pointer, "%s/static_addresses/%u", base, i);
                    return refuse(reader, pointer, "must not be an address of port \"%s\" as well",
                                  network->ports[k].name);
                }
    return 0;
}

static int read_port(struct reader *reader, const json_t *element, const char *base,
                     struct network_config *network)
{
    struct port_spec *port = &network->ports[network->n_ports];
    struct spec_error error = {.field = ""};
    char pointer[160];

    if (!json_is_object(element))
        return refuse(reader, base, "must be an object");
    if (port_spec_from_json(element, NULL, port, &error) < 0) {
        snprintf(pointer, sizeof pointer, "%s%s", base, error.field);
        return refuse(reader, pointer, "%s", error.rule);
    }
    snprintf(pointer, sizeof pointer, "%s/name", base);
    if (strcmp(port->name, "uplink") == 0)
        return refuse(reader, pointer, "must not be \"uplink\", which every network has");
    for (uint32_t i = 0; i < network->n_ports; i++)
        if (strcmp(network->ports[i].name, port->name) == 0)
            return refuse(reader, pointer, "must be the only port \"%s\" of its network", port->name);
    if (check_statics(reader, base, network, port) < 0)
        return -1;
    network->n_ports++;
    return 0;
}

static int read_ports(struct reader *reader, const json_t *object, const char *base,
                      struct network_config *network)
{
    char pointer[64];
    const json_t *array;

    snprintf(pointer, sizeof pointer, "%s/ports", base);
    if (array_of(reader, object, "ports", pointer, NETWORK_PORTS_MAX, &array) < 0)
        return -1;
    for (size_t i = 0; i < json_array_size(array); i++) {
        snprintf(pointer, sizeof pointer, "%s/ports/%zu", base, i);
        if (read_port(reader, json_array_get(array, i), pointer, network) < 0)
            return -1;
    }
    return 0;
}

/* The fields that the API knows too. */
static int read_spec(struct reader *reader, json_t *object, const char *base, struct network_spec *spec)
{
    struct spec_error error = {.field = ""};
    char pointer[160];

    json_t *fields = json_copy(object); /* shallow */
    if (!fields)
        return refuse_memory(reader);
    json_object_del(fields, "user");
    json_object_del(fields, "ports");
    int r = network_spec_from_json(fields, NULL, spec, &error);
    if (r == 0)
        r = network_spec_check(spec, &error);
    json_decref(fields);
    if (r == 0)
        return 0;
    snprintf(pointer, sizeof pointer, "%s%s", base, error.field);
    return refuse(reader, pointer, "%s", error.rule);
}

/* What holds between a network and those before it. */
static int check_network(struct reader *reader, const char *base, const struct network_config *networks,
                         const struct network_config *network)
{
    const struct network_spec *spec = &network->spec;
    char pointer[64], gateway[INET_ADDRSTRLEN], netmask[INET_ADDRSTRLEN];

    for (const struct network_config *other = networks; other < network; other++) {
        if (strcmp(other->spec.name, spec->name) == 0) {
            snprintf(pointer, sizeof pointer, "%s/name", base);
            return refuse(reader, pointer, "must be the only network \"%s\"", spec->name);
        }
        if (config_subnets_overlap(&other->spec, spec)) {
            struct in_addr address = {htonl(spec->ipv4.gateway)}, mask = {htonl(spec->ipv4.netmask)};
            inet_ntop(AF_INET, &address, gateway, sizeof gateway);
            inet_ntop(AF_INET, &mask, netmask, sizeof netmask);
            snprintf(pointer, sizeof pointer, "%s/ipv4/gateway", base);
            return refuse(reader, pointer,
                          "must be in a subnet of its own: %s with netmask %s overlaps network \"%s\"",
                          gateway, netmask, other->spec.name);
        }
    }
    return 0;
}

static int read_network(struct reader *reader, json_t *object, const char *base,
                        struct network_config *network)
{
    if (!json_is_object(object))
        return refuse(reader, base, "must be an object");
    if (read_spec(reader, object, base, &network->spec) < 0 ||
        read_user(reader, json_object_get(object, "user"), base, network) < 0 ||
        read_ports(reader, object, base, network) < 0)
        return -1;
    return 0;
}

/* As many as fit the limits: those of a network that has more are never read. */
static size_t count_ports(const json_t *networks)
{
    size_t n = 0;

    for (size_t i = 0; i < json_array_size(networks); i++) {
        size_t its = json_array_size(json_object_get(json_array_get(networks, i), "ports"));
        n += its < NETWORK_PORTS_MAX ? its : NETWORK_PORTS_MAX;
    }
    return n;
}

static int read_networks(struct reader *reader, const json_t *root, struct config *config)
{
    const json_t *array;
    char pointer[32];

    if (array_of(reader, root, "networks", "/networks", NETWORKS_MAX, &array) < 0)
        return -1;
    if (json_array_size(array) == 0)
        return 0;
    config->networks = calloc(json_array_size(array), sizeof *config->networks);
    config->ports = calloc(count_ports(array) + 1, sizeof *config->ports);
    if (!config->networks || !config->ports)
        return refuse_memory(reader);
    struct port_spec *ports = config->ports;
    for (size_t i = 0; i < json_array_size(array); i++) {
        struct network_config *network = &config->networks[config->n_networks++];
        network->ports = ports;
        snprintf(pointer, sizeof pointer, "/networks/%zu", i);
        if (read_network(reader, json_array_get(array, i), pointer, network) < 0 ||
            check_network(reader, pointer, config->networks, network) < 0)
            return -1;
        ports += network->n_ports;
    }
    return 0;
}

/* As the kernel has it for an interface (dev_valid_name() in net/core/dev.c). */
static bool interface_is_valid(const char *name)
{
    size_t len = strlen(name);

    if (len == 0 || len >= NETWORK_IFNAME_SIZE || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
        return false;
    for (size_t i = 0; i < len; i++)
        if (name[i] <= ' ' || name[i] > '~' || name[i] == '/' || name[i] == ':')
            return false;
    return true;
}

static int read_bridged_interfaces(struct reader *reader, const json_t *root, struct config *config)
{
    const json_t *array;
    char pointer[64];

    if (array_of(reader, root, "bridged_interfaces", "/bridged_interfaces", CONFIG_BRIDGED_MAX, &array) < 0)
        return -1;
    for (size_t i = 0; i < json_array_size(array); i++) {
        const char *name = json_string_value(json_array_get(array, i));
        if (!name || !interface_is_valid(name)) {
            snprintf(pointer, sizeof pointer, "/bridged_interfaces/%zu", i);
            return refuse(reader, pointer, "must be the name of an interface, 1 to %d characters",
                          NETWORK_IFNAME_SIZE - 1);
        }
        snprintf(config->bridged_interfaces[i], NETWORK_IFNAME_SIZE, "%s", name);
        config->n_bridged_interfaces++;
    }
    return 0;
}

static int read_log_level(struct reader *reader, const json_t *root, struct config *config)
{
    const json_t *level = json_object_get(root, "log_level");

    if (!level)
        return 0;
    if (!json_is_string(level) || !log_level_parse(json_string_value(level), &config->log_level))
        return refuse(reader, "/log_level", "must be \"error\", \"warn\", \"info\" or \"debug\"");
    config->has_log_level = true;
    return 0;
}

static int read_root(struct reader *reader, json_t *root, struct config *config)
{
    static const char *const known[] = {"networks", "bridged_interfaces", "log_level"};
    const char *key;
    json_t *value;

    if (!json_is_object(root))
        return refuse(reader, "", "must be one JSON object");
    json_object_foreach(root, key, value)
    {
        bool is_known = false;
        for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
            is_known = is_known || strcmp(key, known[i]) == 0;
        if (!is_known) {
            char pointer[64];
            snprintf(pointer, sizeof pointer, "/%s", key);
            return refuse(reader, pointer,
                          "is no field of the configuration; it has networks, bridged_interfaces "
                          "and log_level");
        }
    }
    if (read_bridged_interfaces(reader, root, config) < 0 || read_log_level(reader, root, config) < 0)
        return -1;
    return read_networks(reader, root, config);
}

/* A line break cannot stand inside a JSON string, so a line that starts with "//" is never part of one. */
static void blank_comments(char *text, size_t len)
{
    for (size_t start = 0; start < len;) {
        const char *newline = memchr(text + start, '\n', len - start);
        size_t end = newline ? (size_t)(newline - text) : len;
        size_t first = start;
        while (first < end && (text[first] == ' ' || text[first] == '\t'))
            first++;
        if (end - first >= 2 && text[first] == '/' && text[first + 1] == '/')
            memset(text + first, ' ', end - first);
        start = end + 1;
    }
}

int config_parse(const char *text, size_t len, const char *path, struct config *ret_config, char *ret_why,
                 size_t why_size)
{
    struct reader reader = {.path = path, .len = len, .why = ret_why, .why_size = why_size};
    const uint64_t n_short = shortage_count();
    char sentence[256];
    int line = 1, r;

    memset(ret_config, 0, sizeof *ret_config);
    if (len > CONFIG_SIZE_MAX) {
        snprintf(ret_why, why_size, "%s: must have at most %d bytes", path, CONFIG_SIZE_MAX);
        return -1;
    }
    char *blanked = malloc(len + 1);
    if (!blanked)
        return refuse_memory(&reader);
    memcpy(blanked, text, len);
    blanked[len] = '\0';
    blank_comments(blanked, len);
    reader.text = blanked;

    json_t *root = json_parse_limited(blanked, len, sentence, sizeof sentence, &line);
    if (root) {
        r = read_root(&reader, root, ret_config);
    } else {
        snprintf(ret_why, why_size, "%s:%d: %s", path, line, sentence);
        r = -1;
    }
    if (shortage_count() != n_short) /* or a field would be missed without a word */
        r = refuse_memory(&reader);
    json_decref(root);
    free(blanked);
    if (r < 0)
        config_deinit(ret_config);
    return r;
}

/* The whole file into 'text'. pread: the offset belongs to the open file, which other processes may have too.
 */
static int read_file(int fd, char *text, size_t size, size_t *ret_len)
{
    size_t len = 0;

    while (len < size) {
        ssize_t n = pread(fd, text + len, size - len, (off_t)len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        if (n == 0)
            break;
        len += (size_t)n;
    }
    *ret_len = len;
    return 0;
}

int config_load(int fd, const char *path, struct config *ret_config, char *ret_why, size_t why_size)
{
    struct stat status;
    size_t len = 0;

    memset(ret_config, 0, sizeof *ret_config);
    if (fstat(fd, &status) < 0) {
        snprintf(ret_why, why_size, "%s: %s", path, strerror(errno));
        return -1;
    }
    if (!S_ISREG(status.st_mode)) {
        snprintf(ret_why, why_size, "%s: must be a regular file", path);
        return -1;
    }
    char *text = malloc(CONFIG_SIZE_MAX + 1); /* one more, so that a file that is too long shows */
    if (!text) {
        snprintf(ret_why, why_size, "%s: memory is short", path);
        return -ENOMEM;
    }
    int r = read_file(fd, text, CONFIG_SIZE_MAX + 1, &len);
    if (r < 0)
        snprintf(ret_why, why_size, "%s: %s", path, strerror(-r));
    else
        r = config_parse(text, len, path, ret_config, ret_why, why_size);
    free(text);
    return r == -ENOMEM ? r : r < 0 ? -1 : 0;
}

void config_deinit(struct config *config)
{
    free(config->ports);
    free(config->networks);
    memset(config, 0, sizeof *config);
}

const struct network_config *config_find(const struct config *config, const char *name)
{
    for (uint32_t i = 0; i < config->n_networks; i++)
        if (strcmp(config->networks[i].spec.name, name) == 0)
            return &config->networks[i];
    return NULL;
}

/* A bridged network has the addresses of the network it is bridged to, an internal one none that the host
 * knows. */
static bool has_subnet(const struct network_spec *spec)
{
    return (spec->mode == MODE_SHARED || spec->mode == MODE_HOST) && spec->uplink != WANT_NONE &&
           spec->ipv4.gateway != 0 && spec->ipv4.netmask != 0;
}

bool config_subnets_overlap(const struct network_spec *a, const struct network_spec *b)
{
    return has_subnet(a) && has_subnet(b) &&
           ((a->ipv4.gateway ^ b->ipv4.gateway) & a->ipv4.netmask & b->ipv4.netmask) == 0;
}
