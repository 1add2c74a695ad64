/* daemon/network_named.c - named ports: their own paths, their settings
 *
 * One client at a time. A second one on the stream path is closed at once, so that it may try again; on the
 * datagram path it is not adopted until the first is gone (io/dgram_path.c).
 */
#include "daemon/network_internal.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static void on_named_stream_client(void *ctx, int fd)
{
    struct network_port *np = ctx;
    if (np->has_link || np->via != VIA_NONE) {
        np->network->clients_refused++;
        log_limited(&np->refuse_log, uv_now(np->network->loop), LOG_WARN,
                    "port %s: client refused: the port has a client already", np->port.name);
        close(fd);
        return;
    }
    if (network_open_link(np, fd, LINK_STREAM, VIA_PATH) < 0)
        network_refuse_client(np->network, "its socket could not be opened");
}

static bool on_path_client(void *ctx, struct port *port, const char *peer_path)
{
    struct network_port *np = ctx;
    char escaped[160];
    if (np->has_link || np->via != VIA_NONE)
        return false;
    np->problem[0] = 0;
    network_set_client(np, VIA_PATH);
    log_limited(&np->client_log, uv_now(np->network->loop), LOG_INFO, "port %s: datagram client %s",
                port->name, log_escape(peer_path, escaped, sizeof(escaped)));
    return true;
}

static void on_path_client_gone(void *ctx, struct port *port, const char *reason)
{
    struct network_port *np = ctx;
    log_limited(&np->client_log, uv_now(np->network->loop), LOG_INFO, "port %s: client gone: %s", port->name,
                reason);
    network_set_client(np, VIA_NONE);
}

static void on_path_denied(void *ctx, struct port *port, const char *peer_path, int error)
{
    struct network_port *np = ctx;
    char escaped[80];
    if (error == -ENOENT) {
        log_limited(&np->denied_log, uv_now(np->network->loop), LOG_INFO, "port %s: " NETWORK_CLIENT_UNSEEN,
                    port->name, log_escape(peer_path, escaped, sizeof(escaped)));
        return;
    }
    snprintf(np->problem, sizeof(np->problem),
             "client_path_denied: %s may not be written by uid %u; use a stream, or pass a descriptor",
             log_escape(peer_path, escaped, sizeof(escaped)), (unsigned)getuid());
    log_limited(&np->denied_log, uv_now(np->network->loop), LOG_WARN, "port %s: %s", port->name, np->problem);
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

void network_done(struct done *done, unsigned status, const char *why)
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

/* The port as it is, if its offload is what is wanted; made anew (a port's offload is constant) while nobody
 * is plugged in. NULL: *ret_done says why. Who asked lets the new one listen on its paths again. */
static struct network_port *fit_or_make(struct network *network, struct network_port *np, const char *name,
                                        enum port_offload offload, struct done *ret_done)
{
    if (np && np->port.offload == offload)
        return np;
    if (np && (np->has_link || np->via != VIA_NONE)) {
        network_done(
            ret_done, 409,
            "offload cannot change while the port has a client; end the client, or DELETE the port and PUT "
            "it again");
        return NULL;
    }
    if (np)
        network_drop_port(np, LINK_CLOSE_NOW, "made anew with another offload");
    np = network_add_port(network, name, PORT_VM, offload);
    if (!np)
        network_done(ret_done, 503, "the network has all its 256 ports in use");
    return np;
}

void network_put_port(struct network *network, const struct port_spec *spec, struct done *ret_done)
{
    struct network_port *np = network_find_port(network, spec->name);
    if (strcmp(spec->name, UPLINK_PORT_NAME) == 0) {
        network_done(ret_done, 422, "the name uplink is the network's own uplink port");
        return;
    }
    struct fdb *fdb = lan_fdb(network->lan);
    for (uint32_t i = 0; i < spec->n_statics; i++) {
        const struct port *holder = fdb_find(fdb, spec->statics[i]);
        if (holder && holder != (np ? &np->port : NULL) &&
            fdb_is_static_elsewhere(fdb, spec->statics[i], np ? &np->port : NULL)) {
            network_done(ret_done, 409,
                         "a static address of it is pinned to another port, or is the uplink's own");
            return;
        }
    }
    if (np && !np->is_named) {
        network_done(ret_done, 409, "a client without a named port has this name until it leaves");
        return;
    }
    np = fit_or_make(network, np, spec->name, spec->offload_is_set ? spec->offload : network->spec.offload,
                     ret_done);
    if (!np)
        return;
    np->is_named = true;
    set_enabled(np, spec->enabled);
    np->port.isolated = spec->isolated;
    fdb_remove_statics(fdb, &np->port);
    for (uint32_t i = 0; i < spec->n_statics; i++)
        fdb_add_static(fdb, spec->statics[i], &np->port);
    network_done(ret_done, 0, "");
}

void network_change_port(struct network *network, const char *name, const struct port_change *change,
                         struct done *ret_done)
{
    struct network_port *np = network_find_port(network, name);
    if (!np) {
        network_done(ret_done, 404, "there is no such port");
        return;
    }
    if (change->has_enabled)
        set_enabled(np, change->enabled);
    if (change->has_isolated && np->port.role == PORT_UPLINK) {
        network_done(ret_done, 422, "the uplink cannot be isolated: isolated ports reach nothing else");
        return;
    }
    if (change->has_isolated)
        np->port.isolated = change->isolated;
    network_done(ret_done, 0, "");
}

void network_remove_port(struct network *network, const char *name, struct done *ret_done)
{
    struct network_port *np = network_find_port(network, name);
    if (!np) {
        network_done(ret_done, 404, "there is no such port");
        return;
    }
    if (np->port.role == PORT_UPLINK) {
        network_done(ret_done, 422, "the uplink goes with its network; set its link down instead");
        return;
    }
    network_drop_port(np, LINK_CLOSE_DRAIN, "detached over the API");
    network_done(ret_done, 0, "");
}
