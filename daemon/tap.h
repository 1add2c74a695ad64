/* daemon/tap.h - a new TAP interface, for a network's uplink */
#ifndef DAEMON_TAP_H
#define DAEMON_TAP_H

#include <stddef.h>

#include "daemon/message.h"

#define TAP_PREFIX "vmsw" /* a number follows */

/* Makes an interface vmswN that was not there before, gives it the address, if nothing that this host reaches
 * has it, or puts it into the bridge, and sets it up. It is gone when the last copy of the descriptor is
 * closed (from an Open vSwitch bridge: daemon/ovs.h). Needs CAP_NET_ADMIN. Returns the descriptor
 * (close-on-exec), or a negative errno and a sentence in 'ret_why'; -ENOTSUP where there are no TAPs. */
int tap_open(const struct tap_request *request, struct uplink_facts *ret_facts, char *ret_why,
             size_t why_size);

/* Removes what those that have gone left in other programs' databases. Needs root; may take OVS_SECONDS. */
void tap_remove_stale(void);

#endif
