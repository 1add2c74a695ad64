/* daemon/attach_line.h - the one line that a client says on attach.sock
 *
 *   {"network": "shared", "kind": "stream", "port": "vm1", "offload": "off", "persist": false, "isolated":
 * false}
 *
 * Only "network" is needed. Pure, so that it can be fuzzed.
 */
#ifndef DAEMON_ATTACH_LINE_H
#define DAEMON_ATTACH_LINE_H

#include <stdbool.h>
#include <stddef.h>

#include "api/network_spec.h"

enum { ATTACH_LINE_MAX = 4096, ATTACH_WHY_SIZE = 256 };

struct attach_line {
    char network[NETWORK_NAME_SIZE];
    bool has_kind, wants_stream; /* "stream" or "datagram" was said */
    char port[PORT_NAME_SIZE];   /* "": none */
    bool persist, isolated;
    bool has_offload; /* was said */
    enum port_offload offload;
};

/* Parses 'len' bytes without their newline. Returns 0, or -1 with a sentence that names the field. */
int attach_line_parse(const char *text, size_t len, struct attach_line *ret_line, char why[ATTACH_WHY_SIZE]);

#endif
