/* daemon/network_attach.c - passed descriptors: a port that lives as long as its lease */
#include "daemon/network_internal.h"

#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "io/socket.h"

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

/* The inode of a socket, which all its descriptors share; 0 if it cannot be had. */
static ino_t inode_of(int fd)
{
    struct stat status;
    return fstat(fd, &status) == 0 ? status.st_ino : 0;
}

static bool holds(const struct network_port *list, ino_t inode)
{
    for (const struct network_port *np = list; np; np = np->next)
        if (np->inode == inode)
            return true;
    return false;
}

/* Two ports on one socket would write into each other's frames; one that is being closed still reads it. */
static bool is_plugged_already(const struct network *network, ino_t inode)
{
    return inode && (holds(network->ports, inode) || holds(network->leaving, inode));
}

/* Opens the link in the port that was asked for, or in a new one. 'fd' is taken. NULL: *ret_done says why. */
static struct network_port *plug_in(struct network *network, const struct attach_order *order, int fd,
                                    enum link_kind kind, struct done *ret_done)
{
    const char *port = order->port;
    char why[MESSAGE_WHY_SIZE];
    struct network_port *np = port[0] ? network_find_port(network, port) : NULL;
    if (!port[0]) {
        np = network_add_client(network, "fd", fd, kind, VIA_FD,
                                order->has_offload ? order->offload : network->spec.offload);
        if (!np)
            network_done(ret_done, 503, "the network has no free port");
        else
            np->port.isolated = order->isolated;
        return np;
    }
    if (!np || !np->is_named) {
        network_done(ret_done, 404, "there is no such named port; make it with PUT");
        close(fd);
    } else if (np->has_link || np->via != VIA_NONE) {
        network_done(ret_done, 409, "the port has a client already; detach it first");
        close(fd);
    } else if (order->has_offload && order->offload != np->port.offload) {
        snprintf(why, sizeof(why),
                 "the port's offload is \"%s\"; say that or nothing, or PUT the port with another",
                 port_offload_name(np->port.offload));
        network_done(ret_done, 409, why);
        close(fd);
    } else if (order->isolated && !np->port.isolated && !network->spec.isolated) {
        network_done(ret_done, 409,
                     "the port is not isolated; PATCH it with \"isolated\": true, or do not ask for it");
        close(fd);
    } else if (network_open_link(np, fd, kind, VIA_FD) < 0) {
        network_done(ret_done, 503, "the socket could not be opened");
    } else {
        return np;
    }
    return NULL;
}

static void unplug(struct network_port *np, const char *reason)
{
    if (np->is_named)
        link_close(&np->port, LINK_CLOSE_NOW, reason);
    else
        network_drop_port(np, LINK_CLOSE_NOW, reason);
}

void network_attach(struct network *network, const struct attach_order *order, int data_fd, int lease_fd,
                    struct done *ret_done)
{
    enum link_kind kind;
    struct network_port *np = NULL;
    network_done(ret_done, 0, "");
    const int r = socket_check(data_fd, &kind);
    const ino_t inode = inode_of(data_fd);
    if (r == 0 && is_plugged_already(network, inode)) {
        network_done(ret_done, 409, "this socket is plugged into the network already");
        close(data_fd);
    } else if (r == 0) {
        np = plug_in(network, order, data_fd, kind, ret_done);
    } else {
        network_done(ret_done, 422, socket_check_message(r));
        close(data_fd);
    }
    if (!np) {
        if (lease_fd >= 0)
            close(lease_fd);
        return;
    }
    if (lease_fd >= 0 && !(np->lease = lease_open(network->loop, lease_fd, on_lease_end, np))) {
        unplug(np, "there is no memory for its lease");
        network_done(ret_done, 503, "the network has no memory left");
        return;
    }
    snprintf(ret_done->port, sizeof(ret_done->port), "%s", np->port.name);
    np->inode = inode;
    np->peer = order->peer; /* who attached it; a socketpair's own credentials say the same or less */
    np->persist = order->persist;
}
