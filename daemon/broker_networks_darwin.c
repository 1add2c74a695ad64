/* daemon/broker_networks_darwin.c - the networks: made on first use, held while used
 *
 * The good path: the first request for a name -> vmnet makes the network -> its requests go on, and each
 * client that got it holds it -> the last of them goes -> the network does, unless its bridge is still there:
 * then a VM is on it whose program has closed its connection, and it is looked at again until the bridge is
 * gone: when the system says that an address has gone, and now and then. What can go wrong: vmnet refuses, or
 * never answers: all who wait hear why, and the next request tries again.
 */
#include "daemon/broker_internal_darwin.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/log.h"

struct held *held_find(struct broker *broker, const char *name)
{
    for (struct held *held = broker->networks; held; held = held->next)
        if (strcmp(held->name, name) == 0)
            return held;
    return NULL;
}

/* Frees it, whom nobody holds. */
static void discard(struct broker *broker, struct held *held)
{
    struct held **at = &broker->networks;
    while (*at != held)
        at = &(*at)->next;
    *at = held->next;
    network_object_release(held->object);
    free(held);
}

/* ---- its bridge ---- */

/* vmnet's bridge has the host's address. */
static bool has_bridge(const struct held *held)
{
    struct ifaddrs *all = NULL;
    bool is_there = false;
    if (getifaddrs(&all) < 0)
        return true; /* not known: then rather keep it */
    for (const struct ifaddrs *one = all; one && !is_there; one = one->ifa_next) {
        struct sockaddr_in address;
        if (!one->ifa_addr || one->ifa_addr->sa_family != AF_INET)
            continue;
        memcpy(&address, one->ifa_addr, sizeof(address));
        is_there = ntohl(address.sin_addr.s_addr) == held->subnet.gateway;
    }
    freeifaddrs(all);
    return is_there;
}

static void look_at_bridge(struct broker *broker, struct held *held);

static void on_time_to_look(struct broker *broker, uint64_t serial)
{
    struct held *held = broker->networks;
    while (held && held->serial != serial)
        held = held->next;
    if (!held)
        return;
    held->is_checked = false;
    if (held->n_holders == 0)
        look_at_bridge(broker, held);
}

static void look_again(struct broker *broker, struct held *held)
{
    const int64_t wait_ms = broker->is_told ? BRIDGE_CHECK_TOLD_MS : BRIDGE_CHECK_MS;
    const uint64_t serial = held->serial;
    if (held->is_checked)
        return;
    held->is_checked = true;
    dispatch_after(dispatch_time(DISPATCH_TIME_NOW, wait_ms * (int64_t)NSEC_PER_MSEC), broker->queue, ^{
      on_time_to_look(broker, serial);
    });
}

static void look_at_bridge(struct broker *broker, struct held *held)
{
    if (has_bridge(held)) {
        look_again(broker, held);
        return;
    }
    log_info("network %s: nobody is on it any more", held->name);
    discard(broker, held);
    broker_look_idle(broker);
}

void held_look_at_all(struct broker *broker)
{
    struct held *next;
    for (struct held *held = broker->networks; held; held = next) {
        next = held->next;
        if (held->state == HELD_UP && held->n_holders == 0)
            look_at_bridge(broker, held);
    }
}

void held_drop(struct broker *broker, struct held *held)
{
    held->n_holders--;
    if (held->n_holders > 0)
        clients_tell(broker, held);
    else
        look_at_bridge(broker, held);
}

/* ---- making it ---- */

struct making {
    struct broker *broker;
    struct held *held;
};

static void log_network(const struct held *held)
{
    char address[INET_ADDRSTRLEN];
    const struct in_addr in = {.s_addr = htonl(held->subnet.gateway)};
    inet_ntop(AF_INET, &in, address, sizeof(address));
    log_info("network %s: made, mode %s, host %s", held->name,
             held->settings.mode == VMNET_MODE_HOST ? "host" : "shared", address);
}

static void on_created(void *ctx, struct network_object *object, uint32_t status, const char *why)
{
    struct making making = *(struct making *)ctx;
    struct held *held = making.held;
    struct request *waiting = held->waiting;
    (void)status; /* in the sentence */
    free(ctx);
    held->waiting = NULL;
    held->object = object;
    if (object) {
        held->state = HELD_UP;
        network_object_subnet(object, &held->subnet, held->prefix);
        log_network(held);
    } else {
        log_error("network %s: %s", held->name, why);
    }
    while (waiting) {
        struct request *next = waiting->next;
        request_go_on(making.broker, waiting, object ? held : NULL, why);
        waiting = next;
    }
    if (!object)
        discard(making.broker, held);
    else if (held->n_holders == 0) /* all who wanted it are gone */
        look_at_bridge(making.broker, held);
    broker_look_idle(making.broker);
}

void held_create(struct broker *broker, struct request *request, const struct network_settings *settings)
{
    struct held *held = calloc(1, sizeof(*held));
    struct making *making = calloc(1, sizeof(*making));
    if (!held || !making) {
        free(held);
        free(making);
        request_go_on(broker, request, NULL, "out of memory");
        return;
    }
    held->serial = ++broker->n_made;
    snprintf(held->name, sizeof(held->name), "%s", request->name);
    held->is_builtin = request->found != SWITCH_KNOWS;
    held->origin = request->network;
    held->settings = *settings;
    held->waiting = request;
    held->next = broker->networks;
    broker->networks = held;
    *making = (struct making){broker, held};
    network_object_create(settings, NETWORK_CREATE_MS, broker->queue, on_created, making);
}
