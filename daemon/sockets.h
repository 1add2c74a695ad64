/* daemon/sockets.h - the named sockets that the monitor has bound for its networks
 *
 * It keeps each open, so that a network that is started again gets the very same one and whoever connects
 * meanwhile waits in its backlog. They are removed when control says so, or at the end; by inode, so never
 * another's. A network's own sockets may be the service manager's (daemon/activation.h): those are used as
 * they are, and stay.
 */
#ifndef DAEMON_SOCKETS_H
#define DAEMON_SOCKETS_H

#include <stddef.h>

#include "daemon/activation.h"
#include "daemon/message.h"
#include "io/sockpath.h"

struct sockets;

/* 'dir_fd' and 'dir', the runtime folder, and 'activation' must outlive it. Returns NULL if memory is short.
 */
struct sockets *sockets_create(int dir_fd, const char *dir, struct activation *activation);

/* Removes and closes all. sockets_destroy(NULL) is fine. */
void sockets_destroy(struct sockets *sockets);

/* Binds one, or finds it bound already, by us or by the service manager; one that was bound with another mode
 * or owner is made anew. 'request' has been checked; 'want' is what it comes to. Returns the descriptor,
 * which stays ours, or a negative errno and a sentence: -ENOSPC beyond NETWORK_PORTS_MAX ports. */
int sockets_bind(struct sockets *sockets, const struct bind_request *request, const struct sockpath *want,
                 char *ret_why, size_t why_size);

/* Removes those of networks that 'is_wanted' does not know: a control that died between stopping a network
 * and unbinding it left them. */
void sockets_keep(struct sockets *sockets, bool (*is_wanted)(void *ctx, const char *network), void *ctx);

/* Removes both kinds of a port of a network; 'port' "": all sockets of the network. */
void sockets_unbind(struct sockets *sockets, const char *network, const char *port);

#endif
