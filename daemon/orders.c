#include "daemon/orders.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "daemon/accounts.h"
#include "daemon/folders.h"
#include "daemon/roles.h"
#include "daemon/tap.h"
#include "io/log.h"

/* A name from a message: ends, and is one. */
static bool name_ok(const char name[NETWORK_NAME_SIZE])
{
    return message_text_ok(name, NETWORK_NAME_SIZE) && port_name_is_valid(name);
}

static bool port_ok(const char port[PORT_NAME_SIZE])
{
    return port[0] == '\0' || (message_text_ok(port, PORT_NAME_SIZE) && port_name_is_valid(port));
}

static bool child_id_ok(const struct child_id *id)
{
    const bool is_known = id->role == ROLE_NETWORK || id->role == ROLE_UPLINK ||
                          (id->role == ROLE_VMNET && vmnet_role_exists()) ||
                          (id->role == ROLE_NAT && nat_role_exists());
    return is_known && name_ok(id->name);
}

/* Someone to run as: not root, not "nobody in particular". */
static bool id_ok(const struct orders *orders, uint32_t id)
{
    return !orders->is_root || (id != 0 && id != UINT32_MAX);
}

static int refuse(char *why, size_t size, const char *reason, int error)
{
    snprintf(why, size, "%s", reason);
    return -error;
}

/* ---- processes ---- */

static int start(const struct orders *orders, const struct child_start *asked, uint64_t now_ms,
                 struct child_started *answer, int *ret_fd)
{
    struct child *child;
    struct child_start checked = *asked, *request = &checked;
    if (!child_id_ok(&request->child))
        return refuse(answer->why, sizeof(answer->why), "no such role or name", EINVAL);
    int r = request->child.role == ROLE_NAT
                ? nat_place_prepare(&orders->nat, request, answer->why, sizeof(answer->why))
                : 0;
    if (r < 0)
        return r;
    if (!id_ok(orders, request->uid) || !id_ok(orders, request->gid))
        return refuse(answer->why, sizeof(answer->why), "a network does not run as root", EPERM);
    child = children_find(orders->children, request->child.role, request->child.name);
    if (child && child->state == CHILD_RUNS && child->uid != request->uid)
        return refuse(answer->why, sizeof(answer->why), "it runs as another user; stop it first", EBUSY);
    const bool ran = child && child->state == CHILD_RUNS;
    r = children_start(orders->children, request, &child, answer->why, sizeof(answer->why));
    if (r < 0)
        return r;
    r = child_connect_control(child);
    if (r < 0 && !ran) /* nobody would ever speak to it */
        child_stop(child, now_ms + CHILD_STOP_MS);
    if (r < 0)
        return refuse(answer->why, sizeof(answer->why), "the process does not take a channel", -r);
    *ret_fd = r;
    answer->pid = (int32_t)child->pid;
    return 0;
}

static int on_start(const struct orders *orders, struct channel *control, const struct message *message,
                    uint64_t now_ms)
{
    struct child_started answer = {.error = 0};
    int fd = -1;
    answer.error = -start(orders, message->payload, now_ms, &answer, &fd);
    if (answer.error)
        log_warn("control asks for a process: %s", answer.why);
    channel_send(control, MSG_STARTED, message->id, &answer, sizeof(answer), fd);
    return 0;
}

/* What outlives its processes and this daemon. */
static void on_forget(const struct orders *orders, const struct network_name *request)
{
    if (orders->nat.leases_fd >= 0 && name_ok(request->network))
        folders_remove_leases(orders->nat.leases_fd, request->network);
}

/* They were deleted, or left the configuration, while nobody was there to say so. */
static int on_networks(const struct orders *orders, const struct network_names *names)
{
    if (names->n > NETWORKS_MAX)
        return -EBADMSG;
    for (uint32_t i = 0; i < names->n; i++)
        if (!name_ok(names->names[i]))
            return -EBADMSG;
    if (orders->nat.leases_fd >= 0)
        folders_remove_other_leases(orders->nat.leases_fd, names);
    return 0;
}

static int on_stop(const struct orders *orders, const struct message *message, uint64_t now_ms)
{
    const struct child_id *id = message->payload;
    struct child *child = child_id_ok(id) ? children_find(orders->children, id->role, id->name) : NULL;
    if (!child)
        return 0; /* not there, as wanted */
    child_stop(child, now_ms + CHILD_STOP_MS);
    return 0;
}

/* ---- sockets ---- */

static int bind_socket(const struct orders *orders, const struct bind_request *request, struct bound *answer)
{
    char *why = answer->why;
    const size_t size = sizeof(answer->why);
    /* What root made runs as the service user, but is root's to connect to: others may be that user too. */
    const bool is_users = orders->is_root && request->uid != orders->children->hello.service_uid;
    struct sockpath want = {.type = request->kind == SOCKET_STREAM ? SOCK_STREAM : SOCK_DGRAM,
                            .mode = (mode_t)(request->mode & 0777),
                            .uid = is_users ? (uid_t)request->uid : (uid_t)-1,
                            .gid = (gid_t)-1};
    if (!name_ok(request->network) || !port_ok(request->port) ||
        (request->kind != SOCKET_STREAM && request->kind != SOCKET_DGRAM) ||
        !message_text_ok(request->group, NETWORK_GROUP_SIZE))
        return refuse(why, size, "no such network, port, kind or group", EINVAL);
    const struct child *network = children_find(orders->children, ROLE_NETWORK, request->network);
    if (!network)
        return refuse(why, size, "no such network was started", ESRCH);
    if (orders->is_root && request->uid != network->uid)
        return refuse(why, size, "the sockets of a network belong to whom it runs as", EPERM);
    if (request->group[0] && !accounts_find_group(request->group, &want.gid)) {
        char shown[4 * NETWORK_GROUP_SIZE];
        snprintf(why, size, "there is no group '%s'; make it, or name another in sockets.group",
                 log_escape(request->group, shown, sizeof(shown)));
        return -ENOENT;
    }
    answer->gid = (uint32_t)want.gid;
    return sockets_bind(orders->sockets, request, &want, why, size);
}

static int on_bind(const struct orders *orders, struct channel *control, const struct message *message)
{
    struct bound answer = {.error = 0};
    int fd = bind_socket(orders, message->payload, &answer);
    int copy = fd < 0 ? fd : fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (fd < 0) {
        answer.error = -fd;
    } else if (copy < 0) {
        answer.error = errno;
        snprintf(answer.why, sizeof(answer.why), "the monitor has no more descriptors: %s", strerror(errno));
    }
    channel_send(control, MSG_BOUND, message->id, &answer, sizeof(answer), copy < 0 ? -1 : copy);
    return 0;
}

static int on_unbind(const struct orders *orders, struct channel *control, const struct message *message)
{
    const struct unbind_request *request = message->payload;
    const struct done done = {.status = 0};
    if (name_ok(request->network) && port_ok(request->port))
        sockets_unbind(orders->sockets, request->network, request->port);
    if (message->id) /* somebody waits for it */
        channel_send(control, MSG_DONE, message->id, &done, sizeof(done), -1);
    return 0;
}

/* ---- TAPs ---- */

static int on_bridges(const struct orders *orders, const struct message *message)
{
    const struct bridge_list *list = message->payload;
    if (orders->bridges->is_final || list->n > BRIDGED_MAX)
        return -EBADMSG;
    for (uint32_t i = 0; i < list->n; i++)
        if (!message_text_ok(list->names[i], sizeof(list->names[i])))
            return -EBADMSG;
    orders->bridges->list = *list;
    return 0;
}

static bool may_bridge(const struct orders *orders, const char bridge[NETWORK_IFNAME_SIZE])
{
    const struct bridge_list *list = &orders->bridges->list;
    for (uint32_t i = 0; i < list->n; i++)
        if (strncmp(list->names[i], bridge, NETWORK_IFNAME_SIZE) == 0)
            return true;
    return false;
}

static int open_tap(const struct orders *orders, const struct tap_request *request, struct tap_opened *answer)
{
    const struct child *network = NULL;
    if (!name_ok(request->network))
        return refuse(answer->why, sizeof(answer->why), "no such network", EINVAL);
    network = children_find(orders->children, ROLE_NETWORK, request->network);
    if (!network)
        return refuse(answer->why, sizeof(answer->why), "no such network was started", ENOENT);
    if (request->bridge[0] && !may_bridge(orders, request->bridge))
        return refuse(answer->why, sizeof(answer->why), "the configuration does not name that bridge", EPERM);
    struct tap_request checked = *request;
    checked.uid = network->uid;
    return tap_open(&checked, &answer->facts, answer->why, sizeof(answer->why));
}

static int on_open_tap(const struct orders *orders, struct channel *control, const struct message *message)
{
    struct tap_opened answer = {.error = 0};
    int fd = open_tap(orders, message->payload, &answer);
    if (fd < 0)
        answer.error = -fd;
    channel_send(control, MSG_TAP, message->id, &answer, sizeof(answer), fd < 0 ? -1 : fd);
    return 0;
}

static int handle(const struct orders *orders, struct channel *control, const struct message *message,
                  uint64_t now_ms)
{
    switch (message->type) {
    case MSG_START:
        return on_start(orders, control, message, now_ms);
    case MSG_STOP:
        return on_stop(orders, message, now_ms);
    case MSG_FORGET:
        on_forget(orders, message->payload);
        return 0;
    case MSG_NETWORKS:
        return on_networks(orders, message->payload);
    case MSG_BIND:
        return on_bind(orders, control, message);
    case MSG_UNBIND:
        return on_unbind(orders, control, message);
    case MSG_BRIDGES:
        return on_bridges(orders, message);
    case MSG_OPEN_TAP:
        return on_open_tap(orders, control, message);
    default:
        return -EBADMSG;
    }
}

int orders_handle(const struct orders *orders, struct channel *control, const struct message *message,
                  uint64_t now_ms)
{
    int r = handle(orders, control, message, now_ms);
    orders->bridges->is_final = true;
    return r;
}
