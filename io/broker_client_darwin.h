/* io/broker_client_darwin.h - gets a network from the broker, and holds it
 *
 * How it works
 *   broker_client_open() asks by name. The answer, and whatever comes later, is told on the caller's serial
 * queue, until broker_client_close(), which lets the network go. There is no deadline: launchd may have to
 * start the broker first, and it vmnet's services; whoever waits has one.
 */
#ifndef IO_BROKER_CLIENT_DARWIN_H
#define IO_BROKER_CLIENT_DARWIN_H

#include <dispatch/dispatch.h>
#include <xpc/xpc.h>

#include "io/broker_client.h"

struct broker_client;

struct broker_client_ops {
    /* Once: the network's serialization, borrowed; or NULL, a status of io/vmnet_status_darwin.h and a
     * sentence. */
    void (*on_answer)(void *ctx, xpc_object_t serialization, uint32_t status, const char *why);
    void (*on_holders)(void *ctx, const struct broker_holders *holders);
    void (*on_lost)(void *ctx); /* after an answer: the broker has ended, and the network with it */
};

/* Called on 'queue', as are the operations and the close. NULL if memory is short. */
struct broker_client *broker_client_open(const char *network, dispatch_queue_t queue,
                                         const struct broker_client_ops *ops, void *ctx);
void broker_client_close(struct broker_client *client); /* NULL is fine */

#endif
