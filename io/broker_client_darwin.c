#include "io/broker_client_darwin.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "io/broker_protocol.h"
#include "io/code_identity_darwin.h"
#include "io/vmnet_status_darwin.h"

struct broker_client {
    unsigned refs; /* the caller's; the connection's, until it is invalid; the question's */
    xpc_connection_t connection;
    const struct broker_client_ops *ops;
    void *ctx;
    bool is_closed, has_network;
    bool looks_itself; /* at who replies: the connection can't */
};

static void unref(struct broker_client *client)
{
    if (--client->refs > 0)
        return;
    xpc_release(client->connection);
    free(client);
}

/* ---- what is said ---- */

static void read_holders(xpc_object_t event, struct broker_holders *ret_holders)
{
    xpc_object_t all = xpc_dictionary_get_value(event, BROKER_PEERS);
    *ret_holders = (struct broker_holders){.n = 0};
    if (!all || xpc_get_type(all) != XPC_TYPE_ARRAY)
        return;
    ret_holders->n = (uint32_t)xpc_array_get_count(all);
    for (uint32_t i = 0; i < ret_holders->n && i < BROKER_HOLDERS_MAX; i++) {
        xpc_object_t one = xpc_array_get_value(all, i);
        if (xpc_get_type(one) != XPC_TYPE_DICTIONARY)
            continue;
        ret_holders->list[i] =
            (struct broker_holder){.pid = (int32_t)xpc_dictionary_get_int64(one, BROKER_PEER_PID),
                                   .uid = (uint32_t)xpc_dictionary_get_int64(one, BROKER_PEER_UID)};
    }
}

static void on_message(struct broker_client *client, xpc_object_t event)
{
    struct broker_holders holders;
    const char *what = xpc_dictionary_get_string(event, BROKER_EVENT);
    if (client->is_closed || !what || strcmp(what, BROKER_EVENT_PEERS) != 0)
        return;
    read_holders(event, &holders);
    client->ops->on_holders(client->ctx, &holders);
}

static void on_event(struct broker_client *client, xpc_object_t event)
{
    const bool is_over = event == XPC_ERROR_CONNECTION_INVALID;
    if (xpc_get_type(event) == XPC_TYPE_DICTIONARY) {
        on_message(client, event);
        return;
    }
    if (client->has_network && !client->is_closed) {
        client->has_network = false;
        client->ops->on_lost(client->ctx);
    }
    if (is_over)
        unref(client);
}

/* 0 if the reply is one. */
static uint32_t status_of(const struct broker_client *client, xpc_object_t reply)
{
    if (reply == XPC_ERROR_CONNECTION_INVALID)
        return VMNET_STATUS_NO_BROKER;
    if (reply == XPC_ERROR_PEER_CODE_SIGNING_REQUIREMENT)
        return VMNET_STATUS_BROKER_FOREIGN;
    if (xpc_get_type(reply) != XPC_TYPE_DICTIONARY)
        return VMNET_STATUS_BROKER_GONE;
    if (client->looks_itself && !code_is_own(reply))
        return VMNET_STATUS_BROKER_FOREIGN;
    return xpc_dictionary_get_bool(reply, BROKER_NOT_OURS) ? VMNET_STATUS_NO_BROKER : 0;
}

static void on_reply(struct broker_client *client, xpc_object_t reply)
{
    if (client->is_closed)
        return;
    const uint32_t status = status_of(client, reply);
    if (status) {
        client->ops->on_answer(client->ctx, NULL, status, "");
        return;
    }
    xpc_object_t network = xpc_dictionary_get_value(reply, BROKER_NETWORK);
    const char *why = xpc_dictionary_get_string(reply, BROKER_MESSAGE);
    client->has_network = network != NULL;
    client->ops->on_answer(client->ctx, network, network ? 0 : VMNET_STATUS_BROKER_REFUSED,
                           why ? why : "it says no reason");
}

/* ---- life ---- */

static void ask(struct broker_client *client, const char *network, dispatch_queue_t queue)
{
    xpc_object_t request = xpc_dictionary_create(NULL, NULL, 0);
    xpc_dictionary_set_string(request, BROKER_COMMAND, BROKER_COMMAND_ACQUIRE);
    xpc_dictionary_set_string(request, BROKER_NETWORK_NAME, network);
    xpc_dictionary_set_bool(request, BROKER_WATCH, true);
    xpc_dictionary_set_bool(request, BROKER_UPLINK, true);
    client->refs++;
    xpc_connection_send_message_with_reply(client->connection, request, queue, ^(xpc_object_t reply) {
      on_reply(client, reply);
      unref(client);
    });
    xpc_release(request);
}

struct broker_client *broker_client_open(const char *network, dispatch_queue_t queue,
                                         const struct broker_client_ops *ops, void *ctx)
{
    struct broker_client *client = calloc(1, sizeof(*client));
    if (!client)
        return NULL;
    *client = (struct broker_client){.refs = 2, .ops = ops, .ctx = ctx};
    client->connection = xpc_connection_create_mach_service(BROKER_SERVICE, queue, 0);
    xpc_connection_set_event_handler(client->connection, ^(xpc_object_t event) {
      on_event(client, event);
    });
    /* Another executable's network would end this process. */
    client->looks_itself = code_must_be_own() && !code_require_own(client->connection);
    xpc_connection_resume(client->connection);
    ask(client, network, queue);
    return client;
}

void broker_client_close(struct broker_client *client)
{
    if (!client)
        return;
    client->is_closed = true;
    xpc_connection_cancel(client->connection);
    unref(client);
}
