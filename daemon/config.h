/* daemon/config.h - the configuration file: networks and their ports, what may be bridged, how much to log
 *
 * One JSON object; lines that start with "//" (after white space) are comments:
 *
 *   // comment
 *   { "networks": [ { network fields..., "user": "alice", "ports": [ { port fields... } ] } ],
 *     "bridged_interfaces": ["br0"], "log_level": "info" }
 *
 * The network and port fields are those of the API (api/spec_json.h). It is read whole or not at all: an
 * error names file, line, field and rule in one sentence. Nothing is looked up on the system here (that a
 * user, group or interface exists is found out by whoever uses it).
 */
#ifndef DAEMON_CONFIG_H
#define DAEMON_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "api/network_spec.h"
#include "io/log.h"

#define CONFIG_USER_SIZE 33 /* a login name, as useradd(8) limits it, and its NUL */

enum {
    CONFIG_SIZE_MAX = 1024 * 1024, /* bytes */
    CONFIG_BRIDGED_MAX = 32,       /* interfaces */
    CONFIG_WHY_SIZE = 1024,        /* holds any error: a path of 512, a field and a rule */
};

struct network_config {
    struct network_spec spec;
    char user[CONFIG_USER_SIZE]; /* whom the network process runs as; "": the service user. Never "root" */
    uint32_t n_ports;
    struct port_spec *ports; /* in config->ports */
};

struct config {
    uint32_t n_networks;
    struct network_config *networks; /* NULL if there are none */
    struct port_spec *ports;         /* of all networks, one behind the other; NULL likewise */
    uint32_t n_bridged_interfaces;
    char bridged_interfaces[CONFIG_BRIDGED_MAX][NETWORK_IFNAME_SIZE];
    bool has_log_level;
    enum log_level log_level;
};

/* Reads the open regular file 'fd' from its start, whatever its offset is, and leaves it open; 'path' is its
 * name in messages. Returns 0, and config_deinit() frees what *ret_config holds; or, with a sentence in
 * ret_why and an empty *ret_config, -1, or -ENOMEM: it is not the file's fault. */
int config_load(int fd, const char *path, struct config *ret_config, char *ret_why, size_t why_size);

/* The same with a text. */
int config_parse(const char *text, size_t len, const char *path, struct config *ret_config, char *ret_why,
                 size_t why_size);

/* Leaves an empty configuration; an all-zero one is fine. */
void config_deinit(struct config *config);

/* The network called 'name', or NULL. */
const struct network_config *config_find(const struct config *config, const char *name);

/* True if a host route to one would catch the other: both have an uplink behind which the host or a NAT owns
 * their IPv4 subnet, and the subnets share an address. */
bool config_subnets_overlap(const struct network_spec *a, const struct network_spec *b);

#endif
