#include "daemon/sockets.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* "<network>.<port>.stream" */
#define SOCKET_NAME_SIZE (NETWORK_NAME_SIZE + PORT_NAME_SIZE + 8)

struct bound_socket {
    struct bound_socket *next;
    char network[NETWORK_NAME_SIZE];
    char port[PORT_NAME_SIZE];
    enum socket_kind kind;
    char name[SOCKET_NAME_SIZE];
    int fd;
    bool is_passed; /* the activation's: not ours to close or remove */
    struct sockpath_id id;
    struct sockpath want;
};

struct sockets {
    int dir_fd;
    const char *dir;
    struct activation *activation;
    struct bound_socket *first;
};

struct sockets *sockets_create(int dir_fd, const char *dir, struct activation *activation)
{
    struct sockets *sockets = calloc(1, sizeof(*sockets));
    if (!sockets)
        return NULL;
    sockets->dir_fd = dir_fd;
    sockets->dir = dir;
    sockets->activation = activation;
    return sockets;
}

/* Takes out and removes what '*at' points at. */
static void drop(struct sockets *sockets, struct bound_socket **at)
{
    struct bound_socket *bound = *at;
    *at = bound->next;
    if (!bound->is_passed) {
        sockpath_remove(sockets->dir_fd, bound->name, &bound->id);
        close(bound->fd);
    }
    free(bound);
}

void sockets_destroy(struct sockets *sockets)
{
    if (!sockets)
        return;
    while (sockets->first)
        drop(sockets, &sockets->first);
    free(sockets);
}

static void make_name(char name[SOCKET_NAME_SIZE], const struct bind_request *request)
{
    snprintf(name, SOCKET_NAME_SIZE, "%s%s%s.%s", request->network, request->port[0] ? "." : "",
             request->port, request->kind == SOCKET_STREAM ? "stream" : "dgram");
}

static bool is_as_wanted(const struct bound_socket *bound, const struct sockpath *want)
{
    return bound->is_passed ||
           (bound->want.mode == want->mode && bound->want.uid == want->uid && bound->want.gid == want->gid);
}

/* Uses what the service manager passed, or makes it. Returns the descriptor, or a negative errno and a
 * sentence. */
static int open_socket(struct sockets *sockets, struct bound_socket *bound, const struct sockpath *want,
                       char *why, size_t size)
{
    int fd = bound->port[0] ? -ENOENT : activation_claim(sockets->activation, bound->name, why, size);
    if (fd == -ENOENT)
        return sockpath_make(sockets->dir_fd, sockets->dir, bound->name, want, &bound->id, why, size);
    bound->is_passed = true;
    int r = fd < 0 ? fd : activation_check_mode(fd, bound->name, want->mode, why, size);
    return r < 0 ? r : fd;
}

int sockets_bind(struct sockets *sockets, const struct bind_request *request, const struct sockpath *want,
                 char *ret_why, size_t why_size)
{
    unsigned n_of_network = 0;
    for (struct bound_socket **at = &sockets->first; *at; at = &(*at)->next) {
        const struct bound_socket *bound = *at;
        if (strcmp(bound->network, request->network) != 0)
            continue;
        if (bound->kind == request->kind && strcmp(bound->port, request->port) == 0) {
            if (is_as_wanted(bound, want))
                return bound->fd;
            drop(sockets, at);
            break;
        }
        n_of_network++;
    }
    if (n_of_network >= 2 * (NETWORK_PORTS_MAX + 1)) {
        snprintf(ret_why, why_size, "network %s has the sockets of %d ports already", request->network,
                 NETWORK_PORTS_MAX);
        return -ENOSPC;
    }
    struct bound_socket *bound = calloc(1, sizeof(*bound));
    if (!bound) {
        snprintf(ret_why, why_size, "out of memory");
        return -ENOMEM;
    }
    memcpy(bound->network, request->network, sizeof(bound->network));
    memcpy(bound->port, request->port, sizeof(bound->port));
    bound->kind = request->kind;
    make_name(bound->name, request);
    bound->fd = open_socket(sockets, bound, want, ret_why, why_size);
    if (bound->fd < 0) {
        int r = bound->fd;
        free(bound);
        return r;
    }
    bound->want = *want;
    bound->next = sockets->first;
    sockets->first = bound;
    return bound->fd;
}

void sockets_keep(struct sockets *sockets, bool (*is_wanted)(void *ctx, const char *network), void *ctx)
{
    struct bound_socket **at = &sockets->first;
    while (*at) {
        if (is_wanted(ctx, (*at)->network))
            at = &(*at)->next;
        else
            drop(sockets, at);
    }
}

void sockets_unbind(struct sockets *sockets, const char *network, const char *port)
{
    struct bound_socket **at = &sockets->first;
    while (*at) {
        bool is_meant = strcmp((*at)->network, network) == 0 && (!port[0] || strcmp((*at)->port, port) == 0);
        if (is_meant)
            drop(sockets, at);
        else
            at = &(*at)->next;
    }
}
