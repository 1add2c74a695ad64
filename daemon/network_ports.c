/* daemon/network_ports.c - the ports of a network: how clients come to the shared paths, plug in and go
 *
 * The good path of a client without a named port: accept -> network_add_port -> link opened -> frames ->
 * link's on_closed -> network_drop_port. Of a named port: put -> sockets listened on -> client plugs in ->
 * on_closed -> the port waits, down, for the next one.
 */
#include "daemon/network_internal.h"

#include <errno.h>
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

void network_refuse_client(struct network *network, const char *why)
{
    network->clients_refused++;
    log_limited(&network->refuse_log, uv_now(network->loop), LOG_WARN, "client refused: %s", why);
}

/* A client that leaves segmentation to us sends, and takes, TCP far above the MTU. */
static uint32_t frame_max(const struct network *network, enum port_role role, enum port_offload offload)
{
    return role == PORT_VM && offload != OFFLOAD_OFF ? FRAME_OFFLOAD_MAX
                                                     : network->spec.mtu + FRAME_ETHER_HEADER;
}

struct network_port *network_add_port(struct network *network, const char *name, enum port_role role,
                                      enum port_offload offload)
{
    if (role == PORT_VM && network->n_ports >= NETWORK_PORTS_MAX) {
        network_refuse_client(network, "the network has all its ports in use");
        return NULL;
    }
    struct network_port *np = calloc(1, sizeof(*np));
    if (!np) {
        network_refuse_client(network, "out of memory");
        return NULL;
    }
    np->network = network;
    np->since_ms = uv_now(network->loop);
    snprintf(np->port.name, sizeof(np->port.name), "%s", name);
    np->port.role = role;
    np->port.owner = np;
    np->port.enabled = true;
    np->port.offload = offload;
    np->port.frame_max = frame_max(network, role, offload);
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

static void end_logs(struct network_port *np)
{
    char what[PORT_NAME_SIZE + 32];
    snprintf(what, sizeof(what), "port %s: clients", np->port.name);
    log_limit_end(&np->client_log, what);
    snprintf(what, sizeof(what), "port %s: clients refused", np->port.name);
    log_limit_end(&np->refuse_log, what);
    snprintf(what, sizeof(what), "port %s: clients denied", np->port.name);
    log_limit_end(&np->denied_log, what);
}

void network_drop_port(struct network_port *np, enum link_close how, const char *reason)
{
    struct network *network = np->network;
    end_logs(np);
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

struct log_limit *network_client_log(struct network_port *np)
{
    return np->is_named || np->port.role == PORT_UPLINK ? &np->client_log : &np->network->client_log;
}

void network_set_client(struct network_port *np, enum port_via via)
{
    np->via = via;
    np->since_ms = uv_now(np->network->loop);
    if (via != VIA_NONE)
        return;
    np->peer = (struct peer){.is_known = false};
    np->inode = 0;
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
    log_limited(network_client_log(np), uv_now(np->network->loop), LOG_INFO, "port %s: client gone: %s",
                np->port.name, reason);
    network_set_client(np, VIA_NONE);
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
    network_set_client(np, via);
    if (np->peer.is_known)
        log_limited(network_client_log(np), uv_now(network->loop), LOG_INFO,
                    "port %s: %s client, uid %u, pid %d", np->port.name, link_kind_name(kind), np->peer.uid,
                    (int)np->peer.pid);
    else
        log_limited(network_client_log(np), uv_now(network->loop), LOG_INFO, "port %s: %s link",
                    np->port.name, link_kind_name(kind));
    return 0;
}

struct network_port *network_add_client(struct network *network, const char *prefix, int fd,
                                        enum link_kind kind, enum port_via via, enum port_offload offload)
{
    char name[PORT_NAME_SIZE];
    network_make_name(network, prefix, name);
    struct network_port *np = network_add_port(network, name, PORT_VM, offload);
    if (!np) {
        close(fd);
        return NULL;
    }
    if (network_open_link(np, fd, kind, via) < 0) {
        network_refuse_client(network, "its socket could not be opened");
        network_drop_port(np, LINK_CLOSE_NOW, "not opened");
        return NULL;
    }
    return np;
}

void network_on_stream_client(void *ctx, int fd)
{
    struct network *network = ctx;
    network_add_client(network, "stream", fd, LINK_STREAM, VIA_PATH, network->spec.offload);
}

/* ---- the shared datagram path ---- */

static struct port *on_hub_client(void *ctx, const char *peer_path)
{
    struct network *network = ctx;
    char name[PORT_NAME_SIZE], escaped[160];
    network_make_name(network, "datagram", name);
    struct network_port *np = network_add_port(network, name, PORT_VM, network->spec.offload);
    if (!np)
        return NULL;
    network_set_client(np, VIA_SHARED);
    log_limited(&network->client_log, uv_now(network->loop), LOG_INFO,
                "port %s: datagram client %s on the shared path", name,
                log_escape(peer_path, escaped, sizeof(escaped)));
    return &np->port;
}

static void on_hub_client_gone(void *ctx, struct port *port, const char *reason)
{
    struct network *network = ctx;
    struct network_port *np = port->owner;
    log_limited(&network->client_log, uv_now(network->loop), LOG_INFO, "port %s: client gone: %s", port->name,
                reason);
    np->via = VIA_NONE; /* the hub has let go of it already */
    network_drop_port(np, LINK_CLOSE_NOW, reason);
}

static void on_hub_denied(void *ctx, const char *peer_path, int error)
{
    struct network *network = ctx;
    char escaped[160];
    network->clients_refused++;
    if (error == -ENOENT)
        log_limited(&network->denied_log, uv_now(network->loop), LOG_INFO, NETWORK_CLIENT_UNSEEN,
                    log_escape(peer_path, escaped, sizeof(escaped)));
    else
        log_limited(&network->denied_log, uv_now(network->loop), LOG_WARN,
                    "client_path_denied: the socket %s may not be written by uid %u: use a stream, or pass a "
                    "descriptor",
                    log_escape(peer_path, escaped, sizeof(escaped)), (unsigned)getuid());
}

const struct dgram_hub_events network_hub_events = {
    .on_client = on_hub_client,
    .on_client_gone = on_hub_client_gone,
    .on_denied = on_hub_denied,
};
