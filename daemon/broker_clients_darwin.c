/* daemon/broker_clients_darwin.c - who is connected, and what each holds
 *
 * A client is a connection. Its end, however it comes, is what lets its networks and descriptors go.
 */
#include "daemon/broker_internal_darwin.h"

#include <stdlib.h>
#include <unistd.h>

#include "io/log.h"

void client_unref(struct client *client)
{
    if (--client->refs > 0)
        return;
    xpc_release(client->connection);
    free(client);
}

static void forget(struct broker *broker, struct client *client)
{
    struct client **at = &broker->clients;
    while (*at != client)
        at = &(*at)->next;
    *at = client->next;
    broker->n_clients--;
}

static bool uses_anything(const struct client *client)
{
    return client->n_holds > 0 || client->n_leases > 0;
}

/* Before it gets its first network or descriptor: while there is one, launchd does not end us for being idle.
 */
static void begin_use(const struct client *client)
{
    if (!uses_anything(client))
        xpc_transaction_begin();
}

/* The connection is over. */
static void lose(struct broker *broker, struct client *client)
{
    if (client->is_gone)
        return;
    client->is_gone = true;
    forget(broker, client);
    for (unsigned i = 0; i < client->n_leases; i++)
        close(client->leases[i]);
    const unsigned n = client->n_holds;
    if (uses_anything(client)) {
        log_info("pid %ld is gone, and with it what it held: %u networks, %u descriptors",
                 (long)client->who.pid, n, client->n_leases);
        xpc_transaction_end();
    }
    client->n_holds = client->n_leases = 0;
    for (unsigned i = 0; i < n; i++)
        held_drop(broker, client->holds[i]);
    broker_look_idle(broker);
    client_unref(client);
}

static void on_event(struct broker *broker, struct client *client, xpc_object_t event)
{
    if (xpc_get_type(event) == XPC_TYPE_DICTIONARY)
        request_take(broker, client, event);
    else
        lose(broker, client);
}

void client_accept(struct broker *broker, xpc_connection_t connection)
{
    struct client *client = broker->n_clients < CLIENTS_MAX ? calloc(1, sizeof(*client)) : NULL;
    xpc_connection_set_target_queue(connection, broker->queue);
    if (!client) {
        log_warn("a program was turned away: there are %u already", broker->n_clients);
        xpc_connection_set_event_handler(connection, ^(xpc_object_t event) {
          (void)event;
        });
        xpc_connection_resume(connection);
        xpc_connection_cancel(connection);
        return;
    }
    client->connection = xpc_retain(connection);
    client->refs = 1;
    client->who = (struct sender){.pid = xpc_connection_get_pid(connection),
                                  .uid = xpc_connection_get_euid(connection)};
    client->next = broker->clients;
    broker->clients = client;
    broker->n_clients++;
    xpc_connection_set_event_handler(connection, ^(xpc_object_t event) {
      on_event(broker, client, event);
    });
    xpc_connection_resume(connection);
}

bool client_holds(const struct client *client, const struct held *held)
{
    for (unsigned i = 0; i < client->n_holds; i++)
        if (client->holds[i] == held)
            return true;
    return false;
}

bool client_hold(struct client *client, struct held *held, bool watches)
{
    if (client_holds(client, held))
        return true;
    if (client->n_holds == CLIENT_NETWORKS_MAX)
        return false;
    begin_use(client);
    client->watches[client->n_holds] = watches;
    client->holds[client->n_holds++] = held;
    held->n_holders++;
    return true;
}

void client_let_go(struct broker *broker, struct client *client, struct held *held)
{
    for (unsigned i = 0; i < client->n_holds; i++) {
        if (client->holds[i] != held)
            continue;
        client->n_holds--;
        client->holds[i] = client->holds[client->n_holds];
        client->watches[i] = client->watches[client->n_holds];
        if (!uses_anything(client))
            xpc_transaction_end();
        held_drop(broker, held);
        return;
    }
}

bool client_keep_lease(struct client *client, int lease)
{
    if (client->n_leases == CLIENT_LEASES_MAX) {
        close(lease);
        return false;
    }
    begin_use(client);
    client->leases[client->n_leases++] = lease;
    return true;
}

unsigned clients_holding(const struct broker *broker)
{
    unsigned n = 0;
    for (const struct client *client = broker->clients; client; client = client->next)
        n += uses_anything(client);
    return n;
}

static xpc_object_t describe_holders(const struct broker *broker, const struct held *held)
{
    xpc_object_t all = xpc_array_create(NULL, 0);
    for (const struct client *client = broker->clients; client; client = client->next) {
        if (!client_holds(client, held))
            continue;
        xpc_object_t one = xpc_dictionary_create(NULL, NULL, 0);
        xpc_dictionary_set_int64(one, BROKER_PEER_PID, client->who.pid);
        xpc_dictionary_set_int64(one, BROKER_PEER_UID, client->who.uid);
        xpc_array_append_value(all, one);
        xpc_release(one);
    }
    return all;
}

void clients_tell(struct broker *broker, const struct held *held)
{
    xpc_object_t event = xpc_dictionary_create(NULL, NULL, 0);
    xpc_object_t holders = describe_holders(broker, held);
    xpc_dictionary_set_string(event, BROKER_EVENT, BROKER_EVENT_PEERS);
    xpc_dictionary_set_string(event, BROKER_NETWORK_NAME, held->name);
    xpc_dictionary_set_value(event, BROKER_PEERS, holders);
    for (const struct client *client = broker->clients; client; client = client->next)
        for (unsigned i = 0; i < client->n_holds; i++)
            if (client->holds[i] == held && client->watches[i])
                xpc_connection_send_message(client->connection, event);
    xpc_release(holders);
    xpc_release(event);
}
