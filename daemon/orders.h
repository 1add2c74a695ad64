/* daemon/orders.h - what control may ask of the monitor
 *
 * Control parses what strangers send, so it may have been taken over: each request is checked here against
 * the monitor's own rules. All that can be had by them: processes of ours under a uid that is not root's,
 * sockets of ours in the runtime folder, and new TAP interfaces, alone or in a bridge that the configuration
 * names, for at most NETWORKS_MAX networks. A refused request gets an answer that says why, and nothing is
 * done.
 */
#ifndef DAEMON_ORDERS_H
#define DAEMON_ORDERS_H

#include <stdbool.h>

#include "daemon/channel.h"
#include "daemon/children.h"
#include "daemon/nat_place.h"
#include "daemon/sockets.h"

struct allowed_bridges {
    bool is_final; /* this control has said something: it may have met strangers since */
    struct bridge_list list;
};

struct orders { /* what they act on */
    struct allowed_bridges *bridges;
    struct children *children;
    struct sockets *sockets;
    struct nat_place nat;
    bool is_root;
};

/* Does what 'message' asks and answers on 'control'. Returns 0, or -EBADMSG if it is nothing control may say.
 */
int orders_handle(const struct orders *orders, struct channel *control, const struct message *message,
                  uint64_t now_ms);

#endif
