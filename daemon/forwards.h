/* daemon/forwards.h - the forwards of a user network: what is wanted, and which of them could not be bound
 *
 * How it works
 *   forwards_apply() compares with what is there, so that a change leaves the untouched ones and their
 *   listening sockets alone. One whose port is taken is tried again every FORWARD_RETRY_MS.
 */
#ifndef DAEMON_FORWARDS_H
#define DAEMON_FORWARDS_H

#include <stdbool.h>
#include <stdint.h>

#include "api/network_spec.h"
#include "daemon/slirp_uplink.h"

enum { FORWARD_RETRY_MS = 2000 };

/* All zero: none. */
struct forwards {
    uint32_t n;
    struct {
        struct network_forward forward;
        int error; /* 0: bound; else the negative errno of the last try */
    } entries[NETWORK_FORWARDS_MAX];
    uint64_t retry_at_ms; /* 0: nothing to try again */
};

/* Makes them those of 'spec': removes first, so that one can take over the port of another. */
void forwards_apply(struct forwards *forwards, const struct network_spec *spec, struct slirp_uplink *uplink,
                    uint64_t now_ms);

/* Tries the failed ones again when it is time. Returns how long until then, in ms, or -1. */
int64_t forwards_retry(struct forwards *forwards, struct slirp_uplink *uplink, uint64_t now_ms);

/* Returns false if all are bound; else the first that is not, and why:
 * "forward tcp 127.0.0.1:8080: address already in use". */
bool forwards_failure(const struct forwards *forwards, char reason[UPLINK_REASON_SIZE]);

#endif
