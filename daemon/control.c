/* daemon/control.c - the control role: the API, the configuration, and who should be running
 *
 * The good path: the monitor says hello, hands over the two listeners, the open configuration file and what
 * runs already, then says begin -> configuration and state are read -> what runs is adopted, the rest started
 * -> the API is served until the monitor's channel ends.
 */
#include "daemon/control_internal.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "api/shortage.h"
#include "daemon/loop_room.h"
#include "daemon/roles.h"
#include "daemon/sandbox.h"

enum { RENEWAL_MS = 100 }; /* for the answers that are on their way */

static void end(struct control *control, int exit_code)
{
    control->exit_code = exit_code;
    uv_stop(&control->loop);
}

/* vmnet where it can start and does what the network asks for, else libslirp. */
static enum network_uplink resolve_shared(const struct control *control, const struct network_spec *spec)
{
    struct network_spec by_vmnet = *spec;
    struct spec_error error;
    by_vmnet.uplink = WANT_VMNET;
    return vmnet_role_may_start(control->hello.is_root) && network_spec_check(&by_vmnet, &error) == 0
               ? WANT_VMNET
               : WANT_USER;
}

int control_resolve_uplink(const struct control *control, const struct network_spec *spec,
                           enum network_uplink *ret_uplink, struct spec_error *ret_error)
{
    enum network_uplink want = spec->uplink;
    if (want == WANT_AUTO)
        want = spec->mode == MODE_SHARED     ? resolve_shared(control, spec)
               : spec->mode == MODE_INTERNAL ? WANT_NONE
               : vmnet_role_exists()         ? WANT_VMNET
                                             : WANT_TAP;
    *ret_error = (struct spec_error){.field = "/uplink"};
    if (want == WANT_TAP && !control->hello.is_root)
        snprintf(ret_error->rule, sizeof(ret_error->rule),
                 "\"tap\" needs a vmswitchd that was started as root, which this one was not: take \"mode\": "
                 "\"shared\" with \"uplink\": \"user\", or \"mode\": \"internal\"");
    else if (want == WANT_VMNET && !vmnet_role_exists())
        snprintf(ret_error->rule, sizeof(ret_error->rule),
                 "the vmnet uplink is not available on this system");
    else {
        *ret_uplink = want;
        return 0;
    }
    return -1;
}

bool control_may_bridge(const struct control *control, const char *interface)
{
    for (uint32_t i = 0; i < control->config.n_bridged_interfaces; i++)
        if (strcmp(control->config.bridged_interfaces[i], interface) == 0)
            return true;
    return false;
}

int control_check_bridge(const struct control *control, const struct network_spec *spec,
                         struct spec_error *ret_error)
{
    if (spec->mode != MODE_BRIDGED || control_may_bridge(control, spec->interface))
        return 0;
    *ret_error = (struct spec_error){.field = "/interface"};
    snprintf(ret_error->rule, sizeof(ret_error->rule),
             "must be one of the configuration's bridged_interfaces, which \"%s\" is not: list it there, and "
             "reload",
             spec->interface);
    return -1;
}

/* ---- what should run ---- */

int control_owner_of(const struct control *control, const struct network_config *nc, const char *file,
                     uint32_t *ret_uid, uint32_t *ret_gid, char *why, size_t size)
{
    *ret_uid = control->hello.service_uid;
    *ret_gid = control->hello.service_gid;
    if (!nc->user[0])
        return 0;
    const struct passwd *user = getpwnam(nc->user);
    if (!user || user->pw_uid == 0) {
        snprintf(why, size, "%s: network %s: user: %s %s", file, nc->spec.name, nc->user,
                 user ? "has uid 0, and no network runs as root" : "does not exist");
        return -1;
    }
    *ret_uid = user->pw_uid;
    if (user->pw_gid) /* root's group goes to no network */
        *ret_gid = user->pw_gid;
    return 0;
}

void control_set_log_level(struct control *control, const struct config *config)
{
    const struct log_order order = {.level = config->has_log_level ? (int)config->log_level
                                                                   : control->hello.log_level};
    log_set_level((enum log_level)order.level);
    channel_uv_send(control->monitor, MSG_LOG_LEVEL, 0, &order, sizeof(order), -1);
}

static int complain_of_memory(void)
{
    log_error("cannot start: memory is short");
    return -ENOMEM;
}

static int add_configured(struct control *control, const struct network_config *nc)
{
    char why[CONFIG_WHY_SIZE];
    uint32_t uid, gid;
    if (control_owner_of(control, nc, control->hello.config_path, &uid, &gid, why, sizeof(why)) < 0) {
        log_error("%s", why);
        return -1;
    }
    struct managed *m = managed_add(control, &nc->spec, SOURCE_CONFIG, uid, gid);
    if (!m)
        return complain_of_memory();
    m->n_ports = nc->n_ports;
    memcpy(m->ports, nc->ports, nc->n_ports * sizeof(*nc->ports));
    return 0;
}

/* Returns 0; -1: the file is wrong; -ENOMEM. */
static int load_config(struct control *control)
{
    char why[CONFIG_WHY_SIZE];
    if (control->config_fd < 0)
        return 0;
    int r = config_load(control->config_fd, control->hello.config_path, &control->config, why, sizeof(why));
    if (r < 0) {
        log_error("%s", why);
        return r;
    }
    control_set_log_level(control, &control->config);
    for (uint32_t i = 0; r == 0 && i < control->config.n_networks; i++)
        r = add_configured(control, &control->config.networks[i]);
    return r;
}

struct loading {
    struct control *control;
    int error;
};

static void on_kept_network(void *ctx, const struct state_network *kept)
{
    struct loading *loading = ctx;
    struct control *control = loading->control;
    if (managed_find(control, kept->spec->name)) {
        log_warn("network %s: the configuration file's is used, not the one made over the API",
                 kept->spec->name);
        return;
    }
    if (control->n_networks >= NETWORKS_MAX) {
        log_error("network %s: left out: %u networks are the limit", kept->spec->name, NETWORKS_MAX);
        return;
    }
    const bool is_ours = !control->hello.is_root || kept->uid == 0;
    struct managed *m =
        managed_add(control, kept->spec, SOURCE_API, is_ours ? control->hello.service_uid : kept->uid,
                    is_ours ? control->hello.service_gid : kept->gid);
    if (!m) {
        loading->error = complain_of_memory();
        return;
    }
    m->n_ports = kept->n_ports;
    memcpy(m->ports, kept->ports, kept->n_ports * sizeof(*kept->ports));
}

static void on_damaged(void *ctx, const char *file, const char *why)
{
    (void)ctx;
    (void)file;
    log_error("%s", why);
}

static bool has_orphan(const struct control *control, const char *name)
{
    for (const struct orphan *orphan = control->orphans; orphan; orphan = orphan->next)
        if (orphan->running.child.role == ROLE_NETWORK && strcmp(orphan->running.child.name, name) == 0)
            return true;
    return false;
}

static int load_state(struct control *control)
{
    static const struct state_visitor visitor = {.on_network = on_kept_network, .on_damaged = on_damaged};
    struct loading loading = {.control = control};
    char why[STATE_WHY_SIZE];
    if (state_open(&control->state, control->hello.state_dir, why, sizeof(why)) < 0 ||
        state_load_all(control->state, &visitor, &loading, why, sizeof(why)) < 0) {
        log_error("%s", why);
        return -1;
    }
    if (loading.error)
        return loading.error; /* one that is not known would be stopped: the next control tries again */
    /* A control that follows another makes it only if it runs: it may have been deleted meanwhile. */
    if (control->config_fd < 0 && !managed_find(control, "shared") &&
        (control->hello.is_first || has_orphan(control, "shared"))) {
        struct network_spec spec;
        network_spec_init(&spec, "shared", MODE_SHARED);
        spec.uplink = WANT_USER; /* which needs nothing, wherever we are */
        if (!managed_add(control, &spec, SOURCE_DEFAULT, control->hello.service_uid,
                         control->hello.service_gid))
            return complain_of_memory();
    }
    return 0;
}

/* ---- what runs ---- */

static struct orphan *take_orphan(struct control *control, enum role role, const char *name)
{
    for (struct orphan **at = &control->orphans; *at; at = &(*at)->next) {
        struct orphan *orphan = *at;
        if (orphan->running.child.role != role || strcmp(orphan->running.child.name, name) != 0)
            continue;
        *at = orphan->next;
        return orphan;
    }
    return NULL;
}

static void orphan_free(struct orphan *orphan)
{
    if (orphan->fd >= 0)
        close(orphan->fd);
    free(orphan);
}

static void start_or_adopt(struct control *control, struct managed *m)
{
    struct orphan *network = take_orphan(control, ROLE_NETWORK, m->spec.name);
    struct orphan *uplink = take_orphan(control, ROLE_UPLINK, m->spec.name);
    if (!uplink)
        uplink = take_orphan(control, ROLE_VMNET, m->spec.name);
    if (!uplink)
        uplink = take_orphan(control, ROLE_NAT, m->spec.name);
    m->is_adopted = network != NULL;
    if (uplink) {
        uplink_adopt(m, uplink);
        orphan_free(uplink);
    }
    if (network) {
        managed_adopt(m, network);
        orphan_free(network);
    } else {
        managed_start(m);
    }
}

/* What runs and is wanted by nobody. */
static void stop_orphans(struct control *control)
{
    for (struct orphan *orphan; (orphan = control->orphans);) {
        control->orphans = orphan->next;
        struct unbind_request unbind = {.port = ""};
        memcpy(unbind.network, orphan->running.child.name, sizeof(unbind.network));
        log_warn("%s %s runs and is not wanted: stopped",
                 orphan->running.child.role == ROLE_NETWORK ? "network" : "uplink",
                 orphan->running.child.name);
        channel_uv_send(control->monitor, MSG_STOP, 0, &orphan->running.child, sizeof(orphan->running.child),
                        -1);
        channel_uv_send(control->monitor, MSG_UNBIND, 0, &unbind, sizeof(unbind), -1);
        orphan_free(orphan);
    }
}

static void list_bridges(const struct config *config, struct bridge_list *ret_list)
{
    memset(ret_list, 0, sizeof(*ret_list)); /* it is compared, and travels, as it lies */
    for (uint32_t i = 0; i < config->n_bridged_interfaces; i++)
        memcpy(ret_list->names[ret_list->n++], config->bridged_interfaces[i], NETWORK_IFNAME_SIZE);
    for (uint32_t i = 0; i < config->n_networks && ret_list->n < BRIDGED_MAX; i++)
        if (config->networks[i].spec.interface[0])
            memcpy(ret_list->names[ret_list->n++], config->networks[i].spec.interface, NETWORK_IFNAME_SIZE);
}

/* Before anything is heard of a client: what comes later, the monitor does not believe. */
static void send_bridges(struct control *control)
{
    list_bridges(&control->config, &control->bridges);
    channel_uv_send(control->monitor, MSG_BRIDGES, 0, &control->bridges, sizeof(control->bridges), -1);
}

/* What DHCP servers remember of others is of no use any more. */
static void send_networks(const struct control *control)
{
    struct network_names names = {.n = 0};
    for (const struct managed *m = control->networks; m; m = m->next) {
        if (names.n == NETWORKS_MAX)
            return; /* more than can run: nothing is thrown away */
        memcpy(names.names[names.n++], m->spec.name, NETWORK_NAME_SIZE);
    }
    channel_uv_send(control->monitor, MSG_NETWORKS, 0, &names, sizeof(names), -1);
}

static void on_renewal(uv_timer_t *timer)
{
    end(timer->data, EXIT_OK);
}

void control_renew_if_needed(struct control *control)
{
    struct bridge_list bridges;
    list_bridges(&control->config, &bridges);
    if (memcmp(&bridges, &control->bridges, sizeof(bridges)) == 0)
        return;
    log_info("the configuration names other bridges: control starts anew, networks go on");
    uv_timer_start(&control->renewal, on_renewal, RENEWAL_MS, 0);
}

/* Before the first file of others is read. What libraries load when they are first asked, they load here. */
static void enter_sandbox(struct control *control)
{
    (void)getpwnam("vmswitch-nobody-at-all");
    (void)getgrnam("vmswitch-nobody-at-all");
    sandbox_enter(SANDBOX_CONTROL, control->hello.state_dir, &control->sandbox);
    if (control->sandbox.missing[0])
        log_warn("the sandbox is incomplete (%s): processes go on with the walls there are",
                 control->sandbox.missing);
    else if (sandbox_mode() != SANDBOX_ON)
        log_warn("--sandbox=%s: for a diagnosis, not for use", sandbox_mode_name(sandbox_mode()));
}

static void begin(struct control *control)
{
    int r;
    control->has_begun = true;
    enter_sandbox(control);
    r = load_config(control);
    if (r < 0) {
        end(control, r == -ENOMEM ? EXIT_FAILED : EXIT_CONFIG);
        return;
    }
    send_bridges(control);
    if (load_state(control) < 0) {
        end(control, EXIT_FAILED);
        return;
    }
    send_networks(control);
    for (struct managed *m = control->networks; m; m = m->next)
        start_or_adopt(control, m);
    stop_orphans(control);
    r = api_server_open(&control->api, &control->loop, control->api_fd, &control_api_ops, control);
    if (r == 0) {
        control->api_fd = -1;
        r = attach_open(&control->attach, control, control->attach_fd);
    }
    if (r < 0) {
        log_error("the API could not be opened: %s", uv_strerror(r));
        end(control, EXIT_FAILED);
        return;
    }
    control->attach_fd = -1;
    control_ready_begin(control);
    log_info("vmswitchd %s ready: API at %s/api.sock", VMSWITCH_VERSION, control->hello.runtime_dir);
}

/* ---- the monitor ---- */

static void take_hello(struct control *control, const struct hello *hello)
{
    if (hello->protocol != MESSAGE_PROTOCOL || !message_text_ok(hello->runtime_dir, MESSAGE_PATH_SIZE) ||
        !message_text_ok(hello->state_dir, MESSAGE_PATH_SIZE) ||
        !message_text_ok(hello->config_path, MESSAGE_PATH_SIZE)) {
        log_error("the monitor speaks protocol %u, this is %u", hello->protocol, MESSAGE_PROTOCOL);
        end(control, EXIT_FAILED);
        return;
    }
    control->hello = *hello;
    log_set_level((enum log_level)hello->log_level);
}

static void take_running(struct control *control, struct message *message)
{
    struct orphan *orphan = calloc(1, sizeof(*orphan));
    if (!orphan)
        return;
    orphan->running = *(const struct child_running *)message->payload;
    orphan->fd = message->fd;
    message->fd = -1;
    orphan->next = control->orphans;
    control->orphans = orphan;
}

static void take_fd(int *slot, struct message *message)
{
    if (*slot >= 0)
        close(*slot);
    *slot = message->fd;
    message->fd = -1;
}

static void take_exited(struct control *control, const struct child_exited *exited)
{
    struct managed *m;
    if (!message_text_ok(exited->child.name, sizeof(exited->child.name)) ||
        !(m = managed_find(control, exited->child.name)))
        return;
    if (exited->child.role != ROLE_NETWORK)
        uplink_exited(m, exited);
    else
        managed_exited(m, exited);
}

static void on_monitor_message(void *ctx, struct message *message)
{
    struct control *control = ctx;
    switch (message->type) {
    case MSG_HELLO:
        take_hello(control, message->payload);
        break;
    case MSG_API_LISTENER:
        take_fd(&control->api_fd, message);
        break;
    case MSG_ATTACH_LISTENER:
        take_fd(&control->attach_fd, message);
        break;
    case MSG_CONFIG_FILE:
        take_fd(&control->config_fd, message);
        break;
    case MSG_CHILD_RUNNING:
        take_running(control, message);
        break;
    case MSG_BEGIN:
        if (!control->has_begun)
            begin(control);
        break;
    case MSG_RELOAD:
        control_reload(control, NULL, &(const struct api_reload){.all = false});
        break;
    case MSG_EXITED:
        take_exited(control, message->payload);
        break;
    default:
        asks_answer(&control->asks, control->monitor, message);
    }
}

static void on_monitor_lost(void *ctx, int error)
{
    (void)error;
    end(ctx, EXIT_OK);
}

static void on_sigterm(uv_signal_t *handle, int signum)
{
    (void)signum;
    end(handle->data, EXIT_OK);
}

/* ---- the whole ---- */

static void close_all(struct control *control)
{
    if (control->api)
        api_server_close(control->api);
    if (control->attach)
        attach_close(control->attach);
    control_ready_close(control);
    control_reload_end(control);
    asks_close(&control->asks);
    managed_free_all(control);
    while (control->orphans) {
        struct orphan *orphan = control->orphans;
        control->orphans = orphan->next;
        orphan_free(orphan);
    }
    channel_uv_close(control->monitor);
    uv_close((uv_handle_t *)&control->renewal, NULL);
    uv_close((uv_handle_t *)&control->sigterm, NULL);
    const int fds[] = {control->api_fd, control->attach_fd, control->config_fd};
    for (unsigned i = 0; i < sizeof(fds) / sizeof(fds[0]); i++)
        if (fds[i] >= 0)
            close(fds[i]);
    uv_run(&control->loop, UV_RUN_DEFAULT);
    uv_loop_close(&control->loop);
    state_close(control->state);
    config_deinit(&control->config);
}

int control_main(int channel_fd)
{
    struct control *control = calloc(1, sizeof(*control));
    log_open("control", LOG_INFO);
    if (!control || loop_room_open(&control->loop, channel_fd) < 0) {
        log_error("cannot start: out of memory");
        free(control);
        return EXIT_FAILED;
    }
    control->api_fd = control->attach_fd = control->config_fd = -1;
    signal(SIGPIPE, SIG_IGN);
    signal(SIGINT, SIG_IGN);
    shortage_watch_json();
    control->binds_end = &control->binds;
    control->reloads_end = &control->reloads;
    control->started_ms = uv_now(&control->loop);
    asks_open(&control->asks, &control->loop);
    control_ready_open(control);
    uv_timer_init(&control->loop, &control->renewal);
    control->renewal.data = control;
    uv_signal_init(&control->loop, &control->sigterm);
    control->sigterm.data = control;
    uv_signal_start(&control->sigterm, on_sigterm, SIGTERM);
    int r = channel_uv_open(&control->monitor, &control->loop, channel_fd, on_monitor_message,
                            on_monitor_lost, control);
    if (r < 0) {
        log_error("no channel to the monitor: %s", uv_strerror(r));
        return EXIT_FAILED;
    }
    uv_run(&control->loop, UV_RUN_DEFAULT);
    close_all(control);
    const int exit_code = control->exit_code;
    free(control);
    return exit_code;
}
