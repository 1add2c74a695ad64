/* daemon/slirp_uplink.h - a network's way out through libslirp: NAT, DHCP and DNS without any privilege
 *
 * How it works
 *   One libslirp instance. Guests' frames go in with slirp_uplink_input(), its frames come out through the
 *   callback of slirp_uplink_create(), during any call here. It opens and closes host sockets as it likes, so
 *   they are gathered anew before each poll(2): slirp_uplink_prepare(), poll, slirp_uplink_finish().
 *
 * Addresses of the subnet
 *   The gateway is the host's end; the name server stands at the gateway's address + 1 (libslirp wants one of
 *   its own; - 1 where + 1 is no host address), DHCP starts behind both and ends at dhcp_end. libslirp has 16
 * leases, which lie as close to the gateway as they can. IPv6, with a prefix: the host is prefix::2, the name
 * server prefix::3.
 */
#ifndef DAEMON_SLIRP_UPLINK_H
#define DAEMON_SLIRP_UPLINK_H

#include <stddef.h>
#include <stdint.h>

#include "api/network_spec.h"
#include "daemon/poll_set.h"
#include "io/uplink.h"

struct slirp_uplink;

/* Where things are in the subnet; host byte order. */
struct slirp_addresses {
    uint32_t gateway, nameserver;
    uint32_t dhcp_first;
    unsigned n_leases; /* 0 without DHCP */
};

/* Returns 0, or -EINVAL and in 'why' the rule that the subnet breaks. */
int slirp_addresses_choose(const struct network_spec *spec, struct slirp_addresses *ret,
                           char why[UPLINK_REASON_SIZE]);

/* libslirp wants to send 'len' bytes at 'frame', borrowed. */
typedef void slirp_uplink_output(void *ctx, const uint8_t *frame, size_t len);

/* Returns 0, or a negative errno and the reason in 'why'. */
int slirp_uplink_create(struct slirp_uplink **ret_uplink, const struct network_spec *spec,
                        const struct slirp_addresses *addresses, slirp_uplink_output *output, void *ctx,
                        char why[UPLINK_REASON_SIZE]);
/* Closes every socket and connection; NULL is fine. */
void slirp_uplink_destroy(struct slirp_uplink *uplink);

struct uplink_facts slirp_uplink_facts(const struct slirp_uplink *uplink);

/* 'frame' has passed guest_frame_check(). */
void slirp_uplink_input(struct slirp_uplink *uplink, const uint8_t *frame, size_t len);

/* Adds libslirp's sockets to 'set' and shortens '*timeout_ms' to what its timers need. */
void slirp_uplink_prepare(struct slirp_uplink *uplink, struct poll_set *set, int *timeout_ms);
/* Works off what poll() saw in the same set; also without any event, for the timers. */
void slirp_uplink_finish(struct slirp_uplink *uplink, struct poll_set *set, bool poll_failed);

/* Returns 0 or a negative errno. */
int slirp_uplink_add_forward(struct slirp_uplink *uplink, const struct network_forward *forward);
/* Stops listening; connections that exist go on. */
void slirp_uplink_remove_forward(struct slirp_uplink *uplink, const struct network_forward *forward);

#endif
