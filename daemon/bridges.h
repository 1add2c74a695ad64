/* daemon/bridges.h - what the system says a network can be bridged to */
#ifndef DAEMON_BRIDGES_H
#define DAEMON_BRIDGES_H

#include "io/uplink.h"

enum { BRIDGES_MAX = 64 };

/* Returns how many there are, -ENOTSUP where the system has no say (then any interface may do), or another
 * negative errno. May block: not for a loop's thread. */
int bridges_list(char ret_names[BRIDGES_MAX][UPLINK_IFNAME_SIZE]);

#endif
