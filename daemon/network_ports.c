/* daemon/network_ports.c - the ports of a network: how clients come, plug in and go
 *
 * The good path of a client without a named port: accept -> network_add_port -> link opened -> frames ->
 * link's on_closed -> network_drop_port. Of a named port: put -> sockets listened on -> client plugs in ->
 * on_closed -> the port waits, down, for the next one.
 */
#include "daemon/network_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "io/socket.h"

struct network_port *network_find_port(struct network *network, const char *name)
{
    for (struct network_port *np = network->ports; np; np = np->next)
        if (strcmp(np->port.name, name) == 0)
            return np;
    return NULL;
}

void network_make_name(struct network *network, const char *kind, char name[PORT_NAME_SIZE])
{
    do
        snprintf(name, PORT_NAME_SIZE, "%s-%u", kind, ++network->next_number);
    while (network_find_port(network, name));
}

static void refuse(struct network *network, const char *why)
{
    uint32_t suppressed;
    network->clients_refused++;
    if (log_allowed(&network->refuse_log, uv_now(network->loop), &suppressed))
        log_warn("client refused: %s (%u like it not logged)", why, suppressed);
}

struct network_port *network_add_port(struct network *network, const char *name, enum port_role role)
{
    if (role == PORT_VM && network->n_ports >= NETWORK_PORTS_MAX) {
        refuse(network, "the network has all its ports in use");
        return NULL;
    }
    struct network_port *np = calloc(1, sizeof(*np));
    if (!np) {
        refuse(network, "out of memory");
        return NULL;
    }
    np->network = network;
    np->since_ms = uv_now(network->loop);
    snprintf(np->port.name, sizeof(np->port.name), "%s", name);
    np->port.role = role;
    np->port.owner = np;
    np->port.enabled = true;
    np->port.frame_max = network->spec.mtu + FRAME_ETHER_HEADER;
    np->next = network->ports;
    network->ports = np;
    if (role == PORT_VM)
        network->n_ports++;
    lan_join(network->lan, &np->port);
    return np;
}

static void unlink_from(struct network_port **list, struct network_port *np)
{
    while (*list != np)
        list = &(*list)->next;
    *list = np->next;
}

/* Nobody holds a leaving port any more once its link is closed. */
static void maybe_free(struct network_port *np)
{
    if (np->has_link)
        return;
    struct network *network = np->network;
    unlink_from(&network->leaving, np);
    free(np);
    network_maybe_closed(network);
}

void network_drop_port(struct network_port *np, enum link_close how, const char *reason)
{
    struct network *network = np->network;
    listener_close(np->listener);
    dgram_path_close(np->dgram_path);
    lease_close(np->lease);
    np->listener = NULL;
    np->dgram_path = NULL;
    np->lease = NULL;
    if (np->via == VIA_SHARED)
        dgram_hub_detach(network->hub, &np->port);
    else
        link_close(&np->port, how, reason); /* unplugs at once; on_link_closed frees it */
    unlink_from(&network->ports, np);
    if (np->port.role == PORT_VM)
        network->n_ports--;
    lan_leave(network->lan, &np->port);
    np->is_leaving = true;
    np->next = network->leaving;
    network->leaving = np;
    maybe_free(np);
}

static void set_client(struct network_port *np, enum port_via via)
{
    np->via = via;
    np->since_ms = uv_now(np->network->loop);
    if (via == VIA_NONE)
        np->peer = (struct peer){.is_known = false};
}

/* A stream or datagram link is closed; the port is unplugged. */
static void on_link_closed(struct port *port, void *ctx, const char *reason)
{
    struct network_port *np = ctx;
    (void)port;
    np->has_link = false;
    if (np->is_leaving) {
        maybe_free(np);
        return;
    }
    log_info("port %s: client gone: %s", np->port.name, reason);
    set_client(np, VIA_NONE);
    if (np->port.role == PORT_UPLINK) {
        network_uplink_lost(np->network, reason);
    } else if (np->is_named) {
        lease_close(np->lease);
        np->lease = NULL;
    } else {
        network_drop_port(np, LINK_CLOSE_NOW, reason);
    }
}

int network_open_link(struct network_port *np, int fd, enum link_kind kind, enum port_via via)
{
    struct network *network = np->network;
    if (via != VIA_UPLINK)
        peer_of(fd, &np->peer);
    int r = kind == LINK_TAP        ? link_tap_open(network->io, &np->port, fd, on_link_closed, np)
            : kind == LINK_DATAGRAM ? link_datagram_open(network->io, &np->port, fd, on_link_closed, np)
                                    : link_stream_open(network->io, &np->port, fd, on_link_closed, np);
    if (r < 0) {
        close(fd);
        return r;
    }
    np->has_link = true;
    np->problem[0] = 0;
    set_client(np, via);
    if (np->peer.is_known)
        log_info("port %s: %s client, uid %u, pid %d", np->port.name, link_kind_name(kind), np->peer.uid,
                 (int)np->peer.pid);
    else
        log_info("port %s: %s link", np->port.name, link_kind_name(kind));
    return 0;
}

/* A client without a port of its own: makes one. 'fd' is taken. Returns NULL if it was refused. */
static struct network_port *add_client(struct network *network, const char *prefix, int fd,
                                       enum link_kind kind, enum port_via via)
{
    char name[PORT_NAME_SIZE];
    network_make_name(network, prefix, name);
    struct network_port *np = network_add_port(network, name, PORT_VM);
    if (!np) {
        close(fd);
        return NULL;
    }
    if (network_open_link(np, fd, kind, via) < 0) {
        refuse(network, "its socket could not be opened");
        network_drop_port(np, LINK_CLOSE_NOW, "not opened");
        return NULL;
    }
    return np;
}

void network_on_stream_client(void *ctx, int fd)
{
    add_client(ctx, "stream", fd, LINK_STREAM, VIA_PATH);
}

/* ---- the shared datagram path ---- */

static struct port *on_hub_client(void *ctx, const char *peer_path)
{
    struct network *network = ctx;
    char name[PORT_NAME_SIZE], escaped[160];
    network_make_name(network, "datagram", name);
    struct network_port *np = network_add_port(network, name, PORT_VM);
    if (!np)
        return NULL;
    set_client(np, VIA_SHARED);
    log_info("port %s: datagram client %s on the shared path", name,
             log_escape(peer_path, escaped, sizeof(escaped)));
    return &np->port;
}

static void on_hub_client_gone(void *ctx, struct port *port, const char *reason)
{
    (void)ctx;
    struct network_port *np = port->owner;
    log_info("port %s: client gone: %s", port->name, reason);
    np->via = VIA_NONE; /* the hub has let go of it already */
    network_drop_port(np, LINK_CLOSE_NOW, reason);
}

static void on_hub_denied(void *ctx, const char *peer_path)
{
    struct network *network = ctx;
    char escaped[160];
    uint32_t suppressed;
    network->clients_refused++;
    if (log_allowed(&network->denied_log, uv_now(network->loop), &suppressed))
        log_warn("client_path_denied: the socket %s may not be written by uid %u: use a stream, or pass a "
                 "descriptor",
                 log_escape(peer_path, escaped, sizeof(escaped)), (unsigned)getuid());
}

const struct dgram_hub_events network_hub_events = {
    .on_client = on_hub_client,
    .on_client_gone = on_hub_client_gone,
    .on_denied = on_hub_denied,
};

/* ---- named ports ---- */

static void on_named_stream_client(void *ctx, int fd)
{
    struct network_port *np = ctx;
    if (np->has_link || np->via != VIA_NONE) {
        refuse(np->network, "the port has a client already");
        close(fd);
        return;
    }
    if (network_open_link(np, fd, LINK_STREAM, VIA_PATH) < 0)
        refuse(np->network, "its socket could not be opened");
}

static bool on_path_client(void *ctx, struct port *port, const char *peer_path)
{
    struct network_port *np = ctx;
    char escaped[160];
    if (np->has_link || np->via != VIA_NONE)
        return false;
    np->problem[0] = 0;
    set_client(np, VIA_PATH);
    log_info("port %s: datagram client %s", port->name, log_escape(peer_path, escaped, sizeof(escaped)));
    return true;
}

static void on_path_client_gone(void *ctx, struct port *port, const char *reason)
{
    log_info("port %s: client gone: %s", port->name, reason);
    set_client(ctx, VIA_NONE);
}

static void on_path_denied(void *ctx, struct port *port, const char *peer_path)
{
    struct network_port *np = ctx;
    char escaped[80];
    snprintf(np->problem, sizeof(np->problem),
             "client_path_denied: %s may not be written by uid %u; use a stream, or pass a descriptor",
             log_escape(peer_path, escaped, sizeof(escaped)), (unsigned)getuid());
    log_warn("port %s: %s", port->name, np->problem);
}

static const struct dgram_path_events path_events = {
    .on_client = on_path_client,
    .on_client_gone = on_path_client_gone,
    .on_denied = on_path_denied,
};

int network_listen(struct network *network, enum socket_kind kind, const char *port, int fd)
{
    struct network_port *np = NULL;
    bool has_one;
    if (port[0]) {
        np = network_find_port(network, port);
        if (!np || !np->is_named)
            return UV_ENOENT;
        has_one = kind == SOCKET_STREAM ? np->listener != NULL : np->dgram_path != NULL;
    } else {
        has_one = kind == SOCKET_STREAM ? network->listener != NULL : network->hub != NULL;
    }
    if (has_one) {
        close(fd);
        return 0;
    }
    if (kind == SOCKET_STREAM)
        return np ? listener_open(&np->listener, network->loop, fd, on_named_stream_client, np)
                  : listener_open(&network->listener, network->loop, fd, network_on_stream_client, network);
    return np ? dgram_path_open(&np->dgram_path, network->io, &np->port, fd, &path_events, np)
              : dgram_hub_open(&network->hub, network->io, fd, &network_hub_events, network);
}

static void done_with(struct done *done, unsigned status, const char *why)
{
    *done = (struct done){.status = status};
    snprintf(done->why, sizeof(done->why), "%s", why);
}

static void set_enabled(struct network_port *np, bool enabled)
{
    if (np->port.enabled != enabled)
        np->since_ms = uv_now(np->network->loop);
    np->port.enabled = enabled;
}

void network_put_port(struct network *network, const struct port_spec *spec, struct done *ret_done)
{
    struct network_port *np = network_find_port(network, spec->name);
    if (strcmp(spec->name, UPLINK_PORT_NAME) == 0) {
        done_with(ret_done, 422, "the name uplink is the network's own uplink port");
        return;
    }
    if (np && !np->is_named) {
        done_with(ret_done, 409, "a client without a named port has this name until it leaves");
        return;
    }
    if (!np && !(np = network_add_port(network, spec->name, PORT_VM))) {
        done_with(ret_done, 503, "the network has all its 256 ports in use");
        return;
    }
    np->is_named = true;
    set_enabled(np, spec->enabled);
    np->port.isolated = spec->isolated;
    struct fdb *fdb = lan_fdb(network->lan);
    fdb_remove_statics(fdb, &np->port);
    for (uint32_t i = 0; i < spec->n_statics; i++)
        fdb_add_static(fdb, spec->statics[i], &np->port);
    done_with(ret_done, 0, "");
}

void network_change_port(struct network *network, const char *name, const struct port_change *change,
                         struct done *ret_done)
{
    struct network_port *np = network_find_port(network, name);
    if (!np) {
        done_with(ret_done, 404, "there is no such port");
        return;
    }
    if (change->has_enabled)
        set_enabled(np, change->enabled);
    if (change->has_isolated && np->port.role == PORT_UPLINK) {
        done_with(ret_done, 422, "the uplink cannot be isolated: isolated ports reach nothing else");
        return;
    }
    if (change->has_isolated)
        np->port.isolated = change->isolated;
    done_with(ret_done, 0, "");
}

void network_remove_port(struct network *network, const char *name, struct done *ret_done)
{
    struct network_port *np = network_find_port(network, name);
    if (!np) {
        done_with(ret_done, 404, "there is no such port");
        return;
    }
    if (np->port.role == PORT_UPLINK) {
        done_with(ret_done, 422, "the uplink goes with its network; set its link down instead");
        return;
    }
    network_drop_port(np, LINK_CLOSE_DRAIN, "detached over the API");
    done_with(ret_done, 0, "");
}

/* ---- passed descriptors ---- */

static void on_lease_end(void *ctx)
{
    struct network_port *np = ctx;
    lease_close(np->lease);
    np->lease = NULL;
    if (np->persist)
        return;
    if (np->is_named)
        link_close(&np->port, LINK_CLOSE_DRAIN, "its lease ended");
    else
        network_drop_port(np, LINK_CLOSE_DRAIN, "its lease ended");
}

void network_attach(struct network *network, const struct attach_order *order, int data_fd, int lease_fd,
                    struct done *ret_done)
{
    enum link_kind kind;
    struct network_port *np = NULL;
    int r = socket_check(data_fd, &kind);
    if (r < 0) {
        done_with(ret_done, 422, socket_check_message(r));
    } else if (!order->port[0]) {
        if ((np = add_client(network, "fd", data_fd, kind, VIA_FD)) == NULL)
            done_with(ret_done, 503, "the network has no free port");
        data_fd = -1;
    } else if (!(np = network_find_port(network, order->port)) || !np->is_named) {
        done_with(ret_done, 404, "there is no such named port; make it with PUT");
        np = NULL;
    } else if (np->has_link || np->via != VIA_NONE) {
        done_with(ret_done, 409, "the port has a client already; detach it first");
        np = NULL;
    } else {
        if (network_open_link(np, data_fd, kind, VIA_FD) < 0) {
            done_with(ret_done, 503, "the socket could not be opened");
            np = NULL;
        }
        data_fd = -1;
    }
    if (data_fd >= 0)
        close(data_fd);
    if (!np) {
        if (lease_fd >= 0)
            close(lease_fd);
        return;
    }
    done_with(ret_done, 0, "");
    snprintf(ret_done->port, sizeof(ret_done->port), "%s", np->port.name);
    np->peer = order->peer; /* who attached it; a socketpair's own credentials say the same or less */
    np->persist = order->persist;
    if (lease_fd >= 0)
        np->lease = lease_open(network->loop, lease_fd, on_lease_end, np);
}
