/* daemon/broker_rights.h - who may be on a network that the broker holds
 *
 * Whoever may plug a VM into it: root, the broker's own user, the network's owner, members of the group
 * vmswitch and of the network's group, and everybody where its sockets are open to all.
 */
#ifndef DAEMON_BROKER_RIGHTS_H
#define DAEMON_BROKER_RIGHTS_H

#include <stdbool.h>
#include <sys/types.h>

#include "daemon/broker_switch.h"

/* 'network' is NULL for one that no vmswitchd has. Looks users and groups up, which may block. */
bool broker_may_use(uid_t uid, const struct switch_network *network);

#endif
