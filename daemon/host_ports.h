/* daemon/host_ports.h - the host's ports that forwards take, kept by sockets that nobody connects to
 *
 * DNAT asks nobody whether a port is in use. A socket bound to each says so, here and to other programs, and
 * a forward that was not bound gets no rule: nobody can have packets that were meant for a program of the
 * host's.
 */
#ifndef DAEMON_HOST_PORTS_H
#define DAEMON_HOST_PORTS_H

#include <stdbool.h>
#include <stdint.h>

#include "api/network_spec.h"

enum { HOST_PORTS_RETRY_MS = 2000 };

/* host_ports_init() first. */
struct host_ports {
    uint32_t n;
    struct {
        struct network_forward forward;
        int fd; /* bound; or the negative errno of the last try */
    } entries[NETWORK_FORWARDS_MAX];
};

void host_ports_init(struct host_ports *ports);

/* Keeps those that are there already, lets go of the others first. */
void host_ports_apply(struct host_ports *ports, const struct network_spec *spec);

/* Tries the failed ones again. Returns true if one was bound. */
bool host_ports_retry(struct host_ports *ports);

/* Copies the forwards that are bound. Returns how many. */
uint32_t host_ports_bound(const struct host_ports *ports,
                          struct network_forward ret_forwards[NETWORK_FORWARDS_MAX]);

/* Returns false if all are bound; else the first that is not: "forward tcp 127.0.0.1:80: Address already in
 * use". */
bool host_ports_failure(const struct host_ports *ports, char reason[UPLINK_REASON_SIZE]);

void host_ports_close(struct host_ports *ports);

#endif
