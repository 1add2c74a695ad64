/* daemon/ovs.h - ports of Open vSwitch bridges, through its own tool (Linux)
 *
 * Open vSwitch writes its ports down: one whose TAP has gone stays in its database, and takes the next
 * interface of that name. Ours have a mark there (external_ids:vmswitchd), so that those whose TAP has gone
 * can be removed, whoever left them. Each call runs ovs-vsctl for at most OVS_SECONDS. The monitor's alone.
 */
#ifndef DAEMON_OVS_H
#define DAEMON_OVS_H

#include <stdbool.h>
#include <stddef.h>

enum { OVS_SECONDS = 1 };

/* True if there is a bridge of that name. */
bool ovs_has_bridge(const char *bridge);

/* Makes the interface a port of the bridge. Returns 0, or a negative errno and a sentence. */
int ovs_add_port(const char *bridge, const char *interface, char *ret_why, size_t why_size);

/* Removes the marked ports whose interface is no more. At first, and once a port was added; else it does
 * nothing. */
void ovs_remove_stale(void);

#endif
