/* daemon/netlink.h - asking the kernel for its routes and its interfaces (rtnetlink; Linux) */
#ifndef DAEMON_NETLINK_H
#define DAEMON_NETLINK_H

#include <stdbool.h>
#include <stdint.h>

struct nlmsghdr;

/* One entry of the answer, borrowed. Returns false to hear no more. */
typedef bool netlink_fn(void *ctx, struct nlmsghdr *entry);

/* Asks for all of a kind (RTM_GETROUTE, RTM_GETLINK) of an address family. Takes what the kernel sends until
 * its end, and blocks only in the kernel. Needs no privilege. Returns 0 or a negative errno. */
int netlink_dump(uint16_t type, uint8_t family, netlink_fn *fn, void *ctx);

/* Asks for something to be done; 'request' has NLM_F_ACK. Returns 0 or the negative errno of the answer. */
int netlink_ask(const struct nlmsghdr *request);

#endif
