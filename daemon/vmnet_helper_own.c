/* daemon/vmnet_helper_own.c - vmnet-helper with a network of its own: a switch, one VM, an uplink */
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "api/spec_json.h"
#include "daemon/accounts.h"
#include "daemon/front.h"
#include "daemon/roles.h"
#include "daemon/vmnet_helper.h"
#include "daemon/vmnet_helper_vm.h"

struct own {
    const struct helper_options *options;
    struct front_plan plan;
    struct helper_facts facts;
    int kept[2];                  /* the VM's descriptor, the parent's */
    struct helper_socket socket;  /* unless the keeper made it */
    char path[MESSAGE_PATH_SIZE]; /* of it, absolute: the folder we were started in is left */
    struct front *front;
    struct helper_vm *vm;
};

/* ---- what there is to be ---- */

static void set_addresses(struct network_spec *spec, const struct helper_options *options)
{
    if (!options->start)
        return;
    if (options->mode == MODE_BRIDGED) {
        log_warn("Addresses have no meaning with operation-mode bridged: ignored");
        return;
    }
    spec->ipv4.gateway = options->start;
    spec->ipv4.netmask = options->mask;
    spec->ipv4.dhcp_end = options->end;
}

static void set_interface(struct network_spec *spec, const struct helper_options *options)
{
    if (options->mode == MODE_BRIDGED)
        snprintf(spec->interface, sizeof(spec->interface), "%s", options->shared_interface);
    else if (options->shared_interface)
        log_warn("Option shared-interface has no meaning without operation-mode bridged: ignored");
}

/* What depends on the uplink that was chosen. */
static void finish_spec(struct network_spec *spec, const struct own *own)
{
    if (spec->uplink == WANT_VMNET) {
        spec->vmnet.has_interface_id = true;
        memcpy(spec->vmnet.interface_id, own->facts.interface_id, sizeof(spec->vmnet.interface_id));
        spec->ipv4.dhcp = spec->mode != MODE_BRIDGED;
        if (!own->options->start) /* its own choice, told as a fact */
            spec->ipv4.gateway = spec->ipv4.netmask = spec->ipv4.dhcp_end = 0;
    }
    if (spec->uplink == WANT_TAP && spec->mode == MODE_HOST)
        spec->ipv4.dhcp = true;
    front_fit_to_tap(spec);
    if (spec->mode == MODE_SHARED && (spec->uplink == WANT_USER || spec->uplink == WANT_VMNET)) {
        spec->ipv6.has_prefix = true;
        memcpy(spec->ipv6.prefix, own->facts.prefix, sizeof(spec->ipv6.prefix));
    }
}

static int make_spec(struct own *own, const char *uplink, char *why, size_t size)
{
    const struct helper_options *options = own->options;
    struct network_spec *spec = &own->plan.spec;
    char name[NETWORK_NAME_SIZE], where[32];
    snprintf(where, sizeof(where), "pid %ld", (long)getpid());
    front_make_name("vh", options->socket ? options->socket : where, name);
    network_spec_init(spec, name, options->mode);
    spec->isolated = options->is_isolated;
    set_interface(spec, options);
    set_addresses(spec, options);
    if (front_choose_uplink(spec, uplink, why, size) < 0)
        return -1;
    finish_spec(spec, own);
    return 0;
}

/* Who calls us by sudo or setuid gets no socket made, or replaced, by root. Root itself does: it becomes the
 * service user, who could make none in its folders. */
static int plan_user_and_socket(struct own *own, char *why, size_t size)
{
    struct front_plan *plan = &own->plan;
    const char *socket = own->options->socket ? own->options->socket : "";
    char folder[MESSAGE_PATH_SIZE] = "";
    uid_t uid;
    gid_t gid;
    if (!helper_find_caller(&plan->uid, &plan->gid) && geteuid() == 0) {
        if (accounts_find_service("", &uid, &gid, why, size) < 0)
            return -1;
        plan->uid = plan->socket_uid = (uint32_t)uid;
        plan->gid = plan->socket_gid = (uint32_t)gid;
        snprintf(plan->socket_path, sizeof(plan->socket_path), "%s", socket);
        return 0;
    }
    if (plan->gid == 0 && geteuid() == 0) {
        snprintf(why, size, "cannot run as group 0, uid %u's", plan->uid);
        return -1;
    }
    if (socket[0] && socket[0] != '/' && !getcwd(folder, sizeof(folder) - HELPER_SOCKET_LEN_MAX - 2)) {
        snprintf(why, size, "the current folder cannot be found; give --socket with its whole path");
        return -1;
    }
    snprintf(own->path, sizeof(own->path), "%s%s%s", folder, folder[0] ? "/" : "", socket);
    return 0;
}

static int make_plan(struct own *own, const char *uplink, char *why, size_t size)
{
    struct front_plan *plan = &own->plan;
    const struct helper_options *options = own->options;
    plan->is_datagram = true;
    plan->socket_mode = HELPER_SOCKET_MODE;
    plan->socket_uid = plan->socket_gid = UINT32_MAX;
    plan->log_level = options->is_verbose ? LOG_DEBUG : LOG_INFO;
    if (plan_user_and_socket(own, why, size) < 0)
        return -1;
    if (options->fd >= 0)
        own->kept[plan->n_kept_fds++] = options->fd;
    if (options->liveness_fd >= 0)
        own->kept[plan->n_kept_fds++] = options->liveness_fd;
    plan->kept_fds = own->kept;
    return make_spec(own, uplink, why, size);
}

static void fill_facts(struct helper_facts *facts, const struct network_spec *spec,
                       const struct uplink_facts *uplink)
{
    facts->mode = spec->mode;
    facts->mtu = uplink->mtu && uplink->mtu < spec->mtu ? uplink->mtu : spec->mtu;
    facts->start = uplink->subnet.gateway ? uplink->subnet.gateway : spec->ipv4.gateway;
    facts->end = uplink->subnet.gateway ? uplink->subnet.dhcp_end : spec->ipv4.dhcp_end;
    facts->mask = uplink->subnet.gateway ? uplink->subnet.netmask : spec->ipv4.netmask;
}

/* ---- the VM ---- */

static int attach(void *ctx, int fd, char *why, size_t size)
{
    struct own *own = ctx;
    struct attach_order order = {.has_offload = true,
                                 .offload =
                                     own->options->tso || own->options->checksum ? OFFLOAD_RAW : OFFLOAD_OFF};
    struct done done;
    int lease[2];
    /* The network ends the lease with the port, which is how we hear of it. */
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, lease) < 0) {
        close(fd);
        snprintf(why, size, "no descriptors left");
        return -1;
    }
    network_attach(front_network(own->front), &order, fd, lease[1], &done);
    if (done.status == 0)
        return lease[0];
    close(lease[0]);
    snprintf(why, size, "the VM's socket cannot be used: %s", done.why);
    return -1;
}

static uint64_t sum_of(const struct counters *counters, enum drop_reason first, enum drop_reason end)
{
    uint64_t sum = 0;
    for (int i = (int)first; i < (int)end; i++)
        sum += counters->drops[i];
    return sum;
}

static void take_page(void *ctx, uint16_t type, const void *payload, uint32_t len)
{
    struct helper_counters *ret = ctx;
    const struct ports_page *page = payload;
    (void)len;
    for (uint32_t i = 0; type == MSG_SNAPSHOT_PORTS && i < page->n; i++) {
        const struct counters *counters = &page->ports[i].counters;
        if (page->ports[i].is_uplink)
            continue;
        /* The table in switch/counters.h has what was dropped on the way in first. */
        *ret = (struct helper_counters){.frames_in = counters->frames_in,
                                        .bytes_in = counters->bytes_in,
                                        .drops_in = sum_of(counters, DROP_runt, DROP_link_down),
                                        .frames_out = counters->frames_out,
                                        .bytes_out = counters->bytes_out,
                                        .drops_out = sum_of(counters, DROP_link_down, DROP_N_REASONS)};
    }
}

static bool count(void *ctx, struct helper_counters *ret_counters)
{
    const struct own *own = ctx;
    const struct query query = {.ports = true};
    memset(ret_counters, 0, sizeof(*ret_counters));
    network_snapshot(front_network(own->front), &query, take_page, ret_counters);
    return true;
}

static void end(void *ctx, int exit_code)
{
    const struct own *own = ctx;
    front_end(own->front, exit_code);
}

static const struct helper_vm_ops vm_ops = {.attach = attach, .count = count, .end = end};

/* ---- the front end ---- */

static int on_ready(void *ctx, struct front *front, int fd, const struct uplink_facts *uplink, char *why,
                    size_t size)
{
    struct own *own = ctx;
    own->front = front;
    if (own->path[0]) {
        fd = helper_socket_make(&own->socket, own->path, why, size);
        if (fd < 0)
            return -1;
    }
    fill_facts(&own->facts, &own->plan.spec, uplink);
    log_debug("uplink: %s", network_uplink_name(own->plan.spec.uplink));
    if (helper_vm_open(&own->vm, front_loop(front), own->options, &own->facts, fd, &vm_ops, own, why, size) ==
        0)
        return 0;
    if (fd >= 0)
        close(fd);
    return -1;
}

static void on_end(void *ctx)
{
    struct own *own = ctx;
    helper_vm_close(own->vm);
    own->vm = NULL;
    helper_socket_remove(&own->socket);
}

int helper_run_own(const struct helper_options *options, const char *uplink)
{
    static const struct front_events events = {.on_ready = on_ready, .on_end = on_end};
    static struct own own; /* it holds paths: too much for a stack */
    char why[HELPER_SAY_SIZE];
    own = (struct own){.options = options};
    if (helper_facts_begin(&own.facts, options, why, sizeof(why)) < 0 ||
        make_plan(&own, uplink, why, sizeof(why)) < 0) {
        log_error("%s", why);
        return EXIT_FAILED;
    }
    return front_run(HELPER_PROGRAM, &own.plan, &events, &own);
}
