/* daemon/bridges.h - what the system says a network can be bridged to */
#ifndef DAEMON_BRIDGES_H
#define DAEMON_BRIDGES_H

#include "io/uplink.h"

enum { BRIDGES_MAX = 256, BRIDGE_TYPE_SIZE = 16 };

struct bridge {
    char name[UPLINK_IFNAME_SIZE];
    char type[BRIDGE_TYPE_SIZE]; /* Linux: "bridge" and "ovs" take a TAP; "ethernet", "wifi", "tap", "veth",
                                    "vlan" and what else the kernel calls them do not. macOS: "ethernet" or
                                    "wifi". "": the system does not say */
};

/* Returns how many there are, at most BRIDGES_MAX, or a negative errno. May block: not for a loop's thread
 * where there is vmnet. */
int bridges_list(struct bridge ret_bridges[BRIDGES_MAX]);

#endif
