/* daemon/network.h - one running network: a lan, its ports and links, its uplink
 *
 * Used by the network role, which fills it from messages, and by a stand-alone front end or a test, which
 * call it directly. It runs on the loop it is given and reaches the rest of the daemon only through struct
 * network_env: sockets and uplinks are opened by others and handed in.
 *
 * Ports
 *   A named port is made by network_put_port() and stays until it is removed; one client at a time plugs into
 *   it, by its own stream path, its own datagram path or a passed descriptor. Any other client makes a port
 *   with a generated name ("stream-1", "datagram-2", "fd-3") that goes with it.
 */
#ifndef DAEMON_NETWORK_H
#define DAEMON_NETWORK_H

#include <uv.h>

#include "daemon/message.h"

struct network;

struct network_env {
    /* Open the uplink, or open it again: network_plug_uplink() or network_report_uplink() answers. May be
     * called again if neither does. */
    void (*uplink_wanted)(void *ctx);
};

/* Makes a running network without sockets. Returns 0 or a negative libuv code. 'env' must outlive it. */
int network_create(struct network **ret_network, uv_loop_t *loop, const struct network_spec *spec,
                   const struct network_env *env, void *ctx);

/* Changes what can change while frames flow: isolated, forwards. Returns false, and changes nothing, if
 * 'spec' differs in more: that takes a new network. */
bool network_configure(struct network *network, const struct network_spec *spec);

/* What it runs with; borrowed. */
const struct network_spec *network_spec_of(const struct network *network);

/* Listens on a bound socket, taken on success: the network's own (port "") or a named port's. Returns 0 (also
 * when it listens there already; 'fd' is closed then) or a negative libuv code. */
int network_listen(struct network *network, enum socket_kind kind, const char *port, int fd);

/* Each fills *ret_done: status 0, or an HTTP status and a sentence. */
void network_put_port(struct network *network, const struct port_spec *spec, struct done *ret_done);
void network_change_port(struct network *network, const char *name, const struct port_change *change,
                         struct done *ret_done);
void network_remove_port(struct network *network, const char *name, struct done *ret_done);
void network_flush(struct network *network, struct done *ret_done);

/* Plugs in a checked, connected socket. Takes both descriptors in every case; 'lease_fd' may be -1. */
void network_attach(struct network *network, const struct attach_order *order, int data_fd, int lease_fd,
                    struct done *ret_done);

/* Plugs the uplink in; 'fd' is taken in every case. */
void network_plug_uplink(struct network *network, const struct uplink_order *order, int fd);

/* What its opener knows of the uplink. Not plugged and not failed: it is wanted again after a while. */
void network_report_uplink(struct network *network, const struct uplink_report *report);

/* True while an uplink is needed and not there. */
bool network_wants_uplink(const struct network *network);

/* Calls 'emit' with the pages of a snapshot, in the order of daemon/message.h, without MSG_SNAPSHOT_END. All
 * pages are of one moment. */
typedef void network_emit(void *ctx, uint16_t type, const void *payload, uint32_t len);
void network_snapshot(struct network *network, const struct query *query, network_emit *emit, void *ctx);

/* Closes every link as their peers need it (LINK_CLOSE_DRAIN), then calls on_closed; 'network' is freed then.
 */
void network_close(struct network *network, void (*on_closed)(void *ctx), void *ctx);

#endif
