/* daemon/broker_requests_darwin.c - what is asked and answered, in both protocols
 *
 * The good path: a message is read -> vmswitchd is asked for the network of that name, and whether the asking
 * user may be on it -> the network is there or is made -> where a descriptor is wanted vmswitchd plugs one in
 * -> the client holds the network, and gets its reply.
 *
 * An uplink is answered if it is of our vmswitchd; others (of a stand-alone program, of another vmswitchd)
 * hear that the broker is none of theirs. Where vmswitchd does not run there are "shared" and "host", with
 * everything as vmnet has it; where it does, every network is one of its own, which its API shows.
 */
#include "daemon/broker_internal_darwin.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daemon/broker_rights.h"
#include "io/log.h"

static void finish(struct broker *broker, struct request *request)
{
    struct client *client = request->client;
    client->n_requests--;
    if (request->fd >= 0)
        close(request->fd);
    if (request->lease >= 0)
        close(request->lease);
    xpc_release(request->reply);
    free(request);
    client_unref(client);
    broker_look_idle(broker);
}

/* ---- answers ---- */

static void fail_reply(xpc_object_t reply, enum protocol protocol, enum broker_error error, const char *why)
{
    if (protocol == PROTOCOL_LIMA) {
        xpc_dictionary_set_string(reply, LIMA_ERROR, why);
    } else {
        xpc_dictionary_set_int64(reply, BROKER_ERROR, error);
        xpc_dictionary_set_string(reply, BROKER_MESSAGE, why);
    }
}

static void refuse(struct broker *broker, struct request *request, enum broker_error error, const char *why)
{
    log_warn("pid %ld, uid %ld: network %s: %s", (long)request->from.pid, (long)request->from.uid,
             request->name, why);
    if (request->held) /* it gets nothing, and keeps nothing */
        client_let_go(broker, request->client, request->held);
    fail_reply(request->reply, request->protocol, error, why);
    if (!request->client->is_gone)
        xpc_connection_send_message(request->client->connection, request->reply);
    finish(broker, request);
}

static bool set_configuration(xpc_object_t reply, const struct held *held)
{
    json_t *configuration = broker_configuration(&held->settings, &held->subnet, held->prefix,
                                                 !held->is_builtin && held->origin.spec.isolated);
    char *text = configuration ? json_dumps(configuration, JSON_COMPACT) : NULL;
    if (text)
        xpc_dictionary_set_data(reply, LIMA_CONFIGURATION, text, strlen(text));
    json_decref(configuration);
    free(text);
    return text != NULL;
}

/* Fills the reply. Returns false and a sentence if there is nothing to send. */
static bool fill_reply(const struct request *request, const struct held *held, char why[UPLINK_REASON_SIZE])
{
    const bool is_lima = request->protocol == PROTOCOL_LIMA;
    snprintf(why, UPLINK_REASON_SIZE, "out of memory");
    if (is_lima && held && !set_configuration(request->reply, held))
        return false;
    if (held && !request->is_foreign) {
        xpc_object_t serialization = network_object_serialize(held->object, why);
        if (!serialization)
            return false;
        xpc_dictionary_set_value(request->reply, is_lima ? LIMA_SERIALIZATION : BROKER_NETWORK,
                                 serialization);
        xpc_release(serialization);
    }
    if (request->fd >= 0)
        xpc_dictionary_set_fd(request->reply, LIMA_FILE_DESCRIPTOR, request->fd);
    return true;
}

/* For what says that it is the uplink of a network. */
static void refuse_stranger(struct broker *broker, struct request *request)
{
    xpc_dictionary_set_bool(request->reply, BROKER_NOT_OURS, true);
    refuse(broker, request, BROKER_NOT_FOUND,
           "it is not the uplink of a network of this broker's vmswitchd, and does without the broker");
}

/* The last step. 'held' is NULL if there is a descriptor alone. */
static void answer(struct broker *broker, struct request *request, struct held *held)
{
    char why[UPLINK_REASON_SIZE];
    struct client *client = request->client;
    if (client->is_gone) { /* with it goes the descriptor, too */
        finish(broker, request);
        return;
    }
    if (!fill_reply(request, held, why)) {
        refuse(broker, request, BROKER_INTERNAL, why);
        return;
    }
    if (request->lease >= 0) {
        const int lease = request->lease;
        request->lease = -1;
        if (!client_keep_lease(client, lease)) {
            refuse(broker, request, BROKER_NOT_ALLOWED, "this program has as many descriptors as it may");
            return;
        }
    }
    log_audit("pid %ld, uid %ld: network %s%s", (long)request->from.pid, (long)request->from.uid,
              request->name, request->fd >= 0 ? ", a descriptor" : "");
    xpc_connection_send_message(client->connection, request->reply);
    if (held)
        clients_tell(broker, held);
    finish(broker, request);
}

/* ---- a descriptor ---- */

static void attach(struct broker *broker, struct request *request, struct held *held)
{
    dispatch_async(broker->asks, ^{
      const int r = switch_attach(broker->runtime_dir, request->name, &request->port, &request->fd,
                                  &request->lease, request->why);
      dispatch_async(broker->queue, ^{
        if (r < 0)
            refuse(broker, request, BROKER_INTERNAL, request->why);
        else
            answer(broker, request, held);
      });
    });
}

/* ---- the network ---- */

static void go_on_with(struct broker *broker, struct request *request, struct held *held)
{
    /* Before anything else waits: from here on it does not go away under the request. A client that has gone
     * holds nothing, so that its request ends here. */
    if (request->client->is_gone) {
        finish(broker, request);
        return;
    }
    if (!client_holds(request->client, held))
        request->held = held;
    if (!client_hold(request->client, held, request->watches)) {
        request->held = NULL;
        refuse(broker, request, BROKER_NOT_ALLOWED, "this program holds 8 networks, and no more are allowed");
        return;
    }
    if (request->wants_fd)
        attach(broker, request, held);
    else
        answer(broker, request, held);
}

void request_go_on(struct broker *broker, struct request *request, struct held *held, const char *why)
{
    if (held)
        go_on_with(broker, request, held);
    else
        refuse(broker, request, BROKER_CREATE_FAILURE, why);
}

/* A network of vmswitchd's that is none of vmnet's, or none that a network object can be. */
static void go_on_without(struct broker *broker, struct request *request, const char *why)
{
    char all[MESSAGE_WHY_SIZE];
    if (request->wants_fd && request->found == SWITCH_KNOWS) {
        attach(broker, request, NULL);
        return;
    }
    snprintf(all, sizeof(all), "%s; ask for a descriptor (FdType)", why);
    refuse(broker, request, BROKER_NOT_ALLOWED, all);
}

static bool is_builtin_name(const char *name)
{
    return strcmp(name, "shared") == 0 || strcmp(name, "host") == 0;
}

static void create(struct broker *broker, struct request *request)
{
    struct network_settings settings;
    char why[UPLINK_REASON_SIZE];
    const struct network_spec *spec = &request->network.spec;
    if (request->found == SWITCH_KNOWS && request->network.kind != UPLINK_VMNET) {
        go_on_without(broker, request, "the network's uplink is not vmnet");
    } else if (request->found == SWITCH_KNOWS) {
        if (broker_settings(spec, &settings, why) < 0)
            go_on_without(broker, request, why);
        else
            held_create(broker, request, &settings);
    } else if (request->found == SWITCH_ABSENT && is_builtin_name(request->name)) {
        network_settings_init(&settings, request->name[0] == 'h' ? VMNET_MODE_HOST : VMNET_MODE_SHARED);
        held_create(broker, request, &settings);
    } else {
        refuse(broker, request, BROKER_NOT_FOUND, request->why);
    }
}

/* Names are those of one vmswitchd, and of others nothing is known. It knows its uplinks' processes. */
static bool is_strange_uplink(const struct request *request)
{
    if (!request->is_uplink || request->found == SWITCH_UNREACHABLE)
        return false;
    const int pid = request->network.uplink_pid;
    return request->found != SWITCH_KNOWS || (pid && pid != request->from.pid);
}

static void on_looked_up(struct broker *broker, struct request *request)
{
    struct held *held = held_find(broker, request->name);
    if (is_strange_uplink(request)) {
        refuse_stranger(broker, request);
    } else if (!request->is_allowed) {
        refuse(broker, request, BROKER_NOT_ALLOWED,
               "this user may not be on the network: be its owner, or a member of its group or of vmswitch");
    } else if (broker->is_ending) {
        refuse(broker, request, BROKER_INTERNAL, "the broker is about to end; ask again in a moment");
    } else if (held && held->state == HELD_CREATING) {
        request->next = held->waiting;
        held->waiting = request;
    } else if (held) {
        go_on_with(broker, request, held);
    } else {
        create(broker, request);
    }
}

static void look_up(struct broker *broker, struct request *request)
{
    struct held *held = held_find(broker, request->name);
    /* Where vmswitchd is away for a moment, the network is still what it was. */
    const bool has_origin = held && !held->is_builtin;
    if (has_origin)
        request->network = held->origin;
    const uid_t uid = request->from.uid;
    dispatch_async(broker->asks, ^{
      const enum switch_answer found =
          switch_find(broker->runtime_dir, request->name, &request->network, request->why);
      request->found = found;
      request->is_allowed = broker_may_use(
          uid, found == SWITCH_KNOWS || (has_origin && found != SWITCH_KNOWS_NOT) ? &request->network : NULL);
      dispatch_async(broker->queue, ^{
        on_looked_up(broker, request);
      });
    });
}

/* ---- what a message says ---- */

/* A key that came after the oldest macOS that this runs on. */
static bool is_said(xpc_object_t desc, const char *symbol)
{
    const char *const *key = (const char *const *)dlsym(RTLD_DEFAULT, symbol);
    return key && xpc_dictionary_get_bool(desc, *key);
}

/* Of the keys that an interface would have had, those that a port of the switch can do. */
static void read_desc(struct switch_port *port, xpc_object_t desc)
{
    port->is_isolated = xpc_dictionary_get_bool(desc, vmnet_enable_isolation_key);
    if (is_said(desc, "vmnet_enable_virtio_header_key"))
        port->offload = "virtio";
    else if (xpc_dictionary_get_bool(desc, vmnet_enable_tso_key) ||
             is_said(desc, "vmnet_enable_checksum_offload_key"))
        port->offload = "raw";
}

/* What the network is, vmswitchd says. True if it is left out. */
static bool configuration_is_valid(xpc_object_t message)
{
    size_t len = 0;
    const char *text = xpc_dictionary_get_data(message, LIMA_CONFIGURATION, &len);
    json_t *configuration = text ? json_loadb(text, len, JSON_REJECT_DUPLICATES, NULL) : NULL;
    const bool is_object = json_is_object(configuration);
    json_decref(configuration);
    return is_object || !xpc_dictionary_get_value(message, LIMA_CONFIGURATION);
}

static const char *read_lima(struct request *request, xpc_object_t message)
{
    const char *type = xpc_dictionary_get_string(message, LIMA_FD_TYPE);
    xpc_object_t desc = xpc_dictionary_get_value(message, LIMA_INTERFACE_DESC);
    if (!configuration_is_valid(message))
        return "Configuration: must be data, a JSON object";
    if (desc && xpc_get_type(desc) != XPC_TYPE_DICTIONARY)
        return "InterfaceDesc: must be a dictionary";
    if (!type && xpc_dictionary_get_value(message, LIMA_FD_TYPE))
        return "FdType: must be a string";
    if (!type)
        return NULL;
    request->wants_fd = true;
    request->port.is_stream = strcmp(type, "stream") == 0;
    if (!request->port.is_stream && strcmp(type, "datagram") != 0 && strcmp(type, "datagram_next") != 0)
        return "FdType: choose stream, datagram or datagram_next";
    if (desc)
        read_desc(&request->port, desc);
    return NULL;
}

static const char *read_acquire(struct request *request, xpc_object_t message)
{
    const char *command = xpc_dictionary_get_string(message, BROKER_COMMAND);
    if (!command || strcmp(command, BROKER_COMMAND_ACQUIRE) != 0)
        return "command: there is only \"acquire\"";
    request->watches = xpc_dictionary_get_bool(message, BROKER_WATCH);
    request->is_uplink = xpc_dictionary_get_bool(message, BROKER_UPLINK);
    return NULL;
}

/* Returns NULL, or what is wrong with it. */
static const char *read_message(struct request *request, xpc_object_t message)
{
    const bool is_lima = request->protocol == PROTOCOL_LIMA;
    const char *name = xpc_dictionary_get_string(message, is_lima ? LIMA_NETWORK : BROKER_NETWORK_NAME);
    if (!name || strlen(name) >= sizeof(request->name) || !port_name_is_valid(name))
        return is_lima ? "Network: must be a network's name" : "network_name: must be a network's name";
    snprintf(request->name, sizeof(request->name), "%s", name);
    return is_lima ? read_lima(request, message) : read_acquire(request, message);
}

static struct request *new_request(struct client *client, xpc_object_t reply, enum protocol protocol)
{
    struct request *request = client->n_requests < CLIENT_REQUESTS_MAX ? calloc(1, sizeof(*request)) : NULL;
    if (!request)
        return NULL;
    *request =
        (struct request){.client = client, .reply = reply, .protocol = protocol, .fd = -1, .lease = -1};
    client->refs++;
    client->n_requests++;
    return request;
}

/* The first message says who the client is. Whoever else speaks on its connection (a process that it gave the
 * connection to, or one that has its pid now) has no part in what it holds. */
static bool is_the_client(struct client *client, const struct sender *from)
{
    if (!client->has_spoken)
        client->who = *from;
    client->has_spoken = true;
    return sender_is_same(&client->who, from);
}

void request_take(struct broker *broker, struct client *client, xpc_object_t message)
{
    const enum protocol protocol =
        xpc_dictionary_get_value(message, LIMA_NETWORK) ? PROTOCOL_LIMA : PROTOCOL_ACQUIRE;
    xpc_object_t reply = xpc_dictionary_create_reply(message);
    if (!reply)
        return; /* it wants none: then there is nothing to do for it */
    struct request *request = new_request(client, reply, protocol);
    if (!request) {
        fail_reply(reply, protocol, BROKER_INTERNAL, "too many requests at once");
        xpc_connection_send_message(client->connection, reply);
        xpc_release(reply);
        return;
    }
    broker->n_uses++;
    request->from = sender_of(message, client->connection);
    const char *problem = read_message(request, message);
    request->is_foreign = !problem && code_must_be_own() && !code_is_own(message);
    if (!is_the_client(client, &request->from))
        refuse(
            broker, request, BROKER_NOT_ALLOWED,
            "another process than the one that this connection belongs to: connect to the broker yourself");
    else if (problem)
        refuse(broker, request, BROKER_INVALID_REQUEST, problem);
    else if (request->is_foreign && !request->wants_fd)
        refuse(broker, request, BROKER_NOT_ALLOWED,
               "a network for another executable needs macOS 26.2, or ask for a descriptor (FdType)");
    else
        look_up(broker, request);
}
