/* daemon/nat_role_linux.c - the process beside the TAP of one network: its NAT, its DHCP and its DNS; in mode
 * host DHCP, the names of guests, and rules that keep them from everything behind the host
 *
 * The good path: the monitor says hello, gives up being root but for two capabilities, and control says what
 * should be (MSG_NAT) -> ports of forwards are bound, rules written, dnsmasq started -> reported as up. The
 * TAP is the network's: no frame passes here, and ports and TAP go on when this process ends.
 *
 * What can go wrong: rules are refused, a port is taken, dnsmasq is missing or dies, the host does not
 * forward: degraded with the reason, the rest works, and what failed is tried again. Monitor gone: exit.
 * Control gone: goes on.
 *
 * What it leaves: the leases. The kernel removes the rules with our socket, and ends dnsmasq with us.
 */
#include <errno.h>
#include <limits.h>
#include <net/if.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "api/spec_json.h"
#include "daemon/channel.h"
#include "daemon/clock.h"
#include "daemon/dhcp_server.h"
#include "daemon/host_ports.h"
#include "daemon/lease_reclaim.h"
#include "daemon/message.h"
#include "daemon/nat_rules.h"
#include "daemon/nat_table.h"
#include "daemon/privileges.h"
#include "daemon/roles.h"
#include "daemon/sandbox.h"
#include "daemon/sysctl.h"
#include "daemon/tap.h"
#include "io/log.h"

enum { CHECK_MS = 2000 }; /* how often what failed is tried again */

struct nat_role {
    struct channel *monitor;
    struct channel *control; /* NULL: none at present */
    char name[NETWORK_NAME_SIZE];
    bool is_over;
    int exit_code;
    uint64_t now_ms;

    bool has_order;
    struct nat_order order;
    unsigned tap_index; /* a TAP of the same name may be another */
    struct host_ports ports;
    struct nat_table *table;
    struct dhcp_server dhcp;
    struct lease_reclaim reclaim;
    char rules_failure[UPLINK_REASON_SIZE];
    bool is_forwarding; /* the host */
    uint64_t check_ms;  /* when to try again; 0: nothing has failed */
    struct uplink_report said;
};

static void end(struct nat_role *role, int exit_code)
{
    role->is_over = true;
    role->exit_code = exit_code;
}

static bool is_host_only(const struct nat_role *role)
{
    return role->order.spec.mode == MODE_HOST;
}

/* ---- what control hears ---- */

static void lose_control(struct nat_role *role)
{
    channel_destroy(role->control);
    role->control = NULL;
}

static void tell_control(struct nat_role *role, uint16_t type, const void *payload, uint32_t len)
{
    if (role->control)
        channel_send(role->control, type, 0, payload, len, -1); /* a failure shows where it is read */
}

static bool is_exhausted(const struct nat_role *role, struct uplink_report *report)
{
    if (!lease_reclaim_is_exhausted(&role->reclaim))
        return false;
    snprintf(report->reason, sizeof(report->reason),
             "DHCP lease table full (%u leases), and their guests answer", role->reclaim.n_used);
    return true;
}

static void find_state(const struct nat_role *role, struct uplink_report *report)
{
    report->state = UPLINK_DEGRADED;
    if (!role->has_order) {
        report->state = UPLINK_STARTING;
    } else if (role->rules_failure[0]) {
        memcpy(report->reason, role->rules_failure, sizeof(report->reason));
    } else if (!role->is_forwarding) {
        snprintf(report->reason, sizeof(report->reason),
                 "this host does not forward IPv4, so guests reach it and nothing beyond: run "
                 "sysctl -w net.ipv4.ip_forward=1");
    } else {
        report->state = dhcp_server_state(&role->dhcp, report->reason);
        if (report->state == UPLINK_UP &&
            (host_ports_failure(&role->ports, report->reason) || is_exhausted(role, report)))
            report->state = UPLINK_DEGRADED;
    }
}

static void report(struct nat_role *role, bool is_wanted)
{
    struct uplink_report report = {.state = UPLINK_STARTING};
    find_state(role, &report);
    const bool is_new = report.state != role->said.state || strcmp(report.reason, role->said.reason) != 0;
    if (is_new && report.state == UPLINK_UP)
        log_info("%sDHCP and DNS are up on %s", is_host_only(role) ? "" : "NAT, ", role->order.tap);
    else if (is_new && report.state != UPLINK_STARTING)
        log_warn("%s is %s: %s", is_host_only(role) ? "DHCP" : "NAT", uplink_state_name(report.state),
                 report.reason);
    role->said = report;
    if (is_new || is_wanted)
        tell_control(role, MSG_UPLINK_REPORT, &report, sizeof(report));
}

/* Everything that a new control may not know. */
static void tell_all(struct nat_role *role)
{
    struct uplink_facts facts = {.mac = 0};
    if (!role->has_order)
        return;
    memcpy(facts.ifname, role->order.tap, sizeof(facts.ifname));
    tell_control(role, MSG_UPLINK_READY, &facts, sizeof(facts));
    report(role, true);
}

/* ---- what should be ---- */

static void write_rules(struct nat_role *role)
{
    static char text[NAT_RULES_SIZE];
    struct network_forward forwards[NETWORK_FORWARDS_MAX];
    const struct network_spec *spec = &role->order.spec;
    const struct nat_plan plan = {.network = spec->name,
                                  .tap = role->order.tap,
                                  .is_host_only = is_host_only(role),
                                  .gateway = spec->ipv4.gateway,
                                  .netmask = spec->ipv4.netmask,
                                  .n_forwards = host_ports_bound(&role->ports, forwards),
                                  .forwards = forwards};
    role->rules_failure[0] = '\0';
    if (!role->table)
        role->table = nat_table_create(role->rules_failure, sizeof(role->rules_failure));
    if (!role->table)
        return;
    role->rules_failure[0] = '\0';
    if (nat_rules_write(&plan, text, sizeof(text)) < 0)
        snprintf(role->rules_failure, sizeof(role->rules_failure), "nftables: out of memory");
    else
        nat_table_apply(role->table, text, role->rules_failure, sizeof(role->rules_failure));
}

/* Our own interface forwards when its rules are there; whether the host's others do is its administrator's
 * choice. Of a host network none does. */
static void look_at_forwarding(struct nat_role *role)
{
    if (is_host_only(role)) {
        role->is_forwarding = true; /* nothing is missing */
        return;
    }
    const int r = role->rules_failure[0] ? 0 : sysctl_forward_ipv4(role->order.tap);
    if (r < 0)
        snprintf(role->rules_failure, sizeof(role->rules_failure), "%s cannot be made to forward: %s",
                 role->order.tap, strerror(-r));
    role->is_forwarding = sysctl_forwards_ipv4();
}

static bool has_failed(const struct nat_role *role)
{
    char reason[UPLINK_REASON_SIZE];
    return role->rules_failure[0] || !role->is_forwarding || host_ports_failure(&role->ports, reason);
}

static void schedule_check(struct nat_role *role)
{
    role->check_ms = has_failed(role) ? role->now_ms + CHECK_MS : 0;
}

static int64_t check(struct nat_role *role)
{
    if (!role->check_ms)
        return -1;
    if (role->now_ms < role->check_ms)
        return (int64_t)(role->check_ms - role->now_ms);
    if (host_ports_retry(&role->ports) || role->rules_failure[0])
        write_rules(role);
    look_at_forwarding(role);
    schedule_check(role);
    return role->check_ms ? CHECK_MS : -1;
}

static bool is_tap_name(const char name[NETWORK_IFNAME_SIZE])
{
    const size_t prefix = strlen(TAP_PREFIX);
    return message_text_ok(name, NETWORK_IFNAME_SIZE) && strncmp(name, TAP_PREFIX, prefix) == 0 &&
           name[prefix] && strspn(name + prefix, "0123456789") == strlen(name + prefix);
}

/* Control may have been taken over: what it says makes rules of the whole host's network. */
static bool order_is_valid(const struct nat_role *role, const struct nat_order *order)
{
    const struct network_spec *spec = &order->spec;
    struct spec_error error;
    return is_tap_name(order->tap) && message_text_ok(spec->name, sizeof(spec->name)) &&
           strcmp(spec->name, role->name) == 0 && network_spec_wants_nat(spec, spec->uplink) &&
           (!role->has_order || spec->mode == role->order.spec.mode) &&
           spec->n_forwards <= NETWORK_FORWARDS_MAX &&
           spec->ipv4.n_reservations <= NETWORK_RESERVATIONS_MAX && spec->mtu <= UINT16_MAX &&
           network_spec_check(spec, &error) == 0;
}

static int take_order(struct nat_role *role, const struct nat_order *order)
{
    if (!order_is_valid(role, order))
        return -EBADMSG;
    const unsigned index = if_nametoindex(order->tap);
    const bool is_new_tap = !role->has_order || index != role->tap_index;
    role->order = *order;
    role->has_order = true;
    role->tap_index = index;
    host_ports_apply(&role->ports, &order->spec);
    write_rules(role);
    look_at_forwarding(role);
    dhcp_server_configure(&role->dhcp, &order->spec, order->tap, is_new_tap, role->now_ms);
    lease_reclaim_configure(&role->reclaim, &role->dhcp, &order->spec, role->now_ms);
    schedule_check(role);
    tell_all(role);
    return 0;
}

/* ---- channels ---- */

static int on_control_message(void *ctx, struct message *message)
{
    return message->type == MSG_NAT ? take_order(ctx, message->payload) : -EBADMSG;
}

/* A front end has no state folder; one that is in a folder closed to us would be of no use. */
static void choose_folders(struct dhcp_server *dhcp, const struct hello *hello)
{
    snprintf(dhcp->folder, sizeof(dhcp->folder), "%s/%s.dhcp", hello->runtime_dir, hello->name);
    snprintf(dhcp->lease_folder, sizeof(dhcp->lease_folder), "%s/leases/%s", hello->state_dir, hello->name);
    if (hello->state_dir[0] && access(dhcp->lease_folder, R_OK | W_OK | X_OK) == 0)
        return;
    if (hello->state_dir[0])
        log_warn(
            "leases end with this daemon: %s: %s; let the DHCP server's user pass (chmod o+x) the folders "
            "above it",
            dhcp->lease_folder, strerror(errno));
    memcpy(dhcp->lease_folder, dhcp->folder, sizeof(dhcp->folder));
}

static int hear_hello(struct nat_role *role, const struct hello *hello)
{
    char title[16 + NETWORK_NAME_SIZE];
    if (role->name[0] || hello->protocol != MESSAGE_PROTOCOL || hello->role != ROLE_NAT ||
        !message_text_ok(hello->name, sizeof(hello->name)) || !port_name_is_valid(hello->name) ||
        !message_text_ok(hello->runtime_dir, sizeof(hello->runtime_dir)) ||
        !message_text_ok(hello->state_dir, sizeof(hello->state_dir)) || hello->log_level < LOG_ERROR ||
        hello->log_level >= LOG_N_LEVELS)
        return -EBADMSG;
    memcpy(role->name, hello->name, sizeof(role->name));
    snprintf(title, sizeof(title), "nat %s", role->name);
    log_open(title, (enum log_level)hello->log_level);
    choose_folders(&role->dhcp, hello);
    return 0;
}

static int take_control(struct nat_role *role, struct message *message)
{
    lose_control(role);
    role->control = channel_create(message->fd);
    if (!role->control)
        return -ENOMEM;
    message->fd = -1;
    tell_all(role);
    return 0;
}

static int on_monitor_message(void *ctx, struct message *message)
{
    struct nat_role *role = ctx;
    if (message->type == MSG_HELLO)
        return hear_hello(role, message->payload);
    if (message->type == MSG_LOG_LEVEL) {
        log_set_level((enum log_level)((const struct log_order *)message->payload)->level);
        return 0;
    }
    if (message->type == MSG_CONTROL && role->name[0] && message->fd >= 0)
        return take_control(role, message);
    return -EBADMSG;
}

static void serve_control(struct nat_role *role)
{
    channel_flush(role->control);
    const int r = channel_receive(role->control, on_control_message, role);
    if (r >= 0)
        return;
    if (r == -EBADMSG)
        log_error("an order of control's was refused");
    lose_control(role);
}

static void serve_monitor(struct nat_role *role)
{
    channel_flush(role->monitor);
    const int r = channel_receive(role->monitor, on_monitor_message, role);
    if (r < 0)
        end(role, r == -ECONNRESET ? EXIT_OK : EXIT_FAILED);
}

/* ---- the loop ---- */

static struct pollfd watch(const struct channel *channel)
{
    return (struct pollfd){.fd = channel ? channel_fd(channel) : -1,
                           .events =
                               (short)(POLLIN | (channel && channel_wants_write(channel) ? POLLOUT : 0))};
}

/* The sooner of two waits in ms, of which -1 is for ever. */
static int64_t sooner(int64_t a, int64_t b)
{
    return a < 0 || (b >= 0 && b < a) ? b : a;
}

static void turn(struct nat_role *role)
{
    int64_t wait_ms =
        sooner(check(role), lease_reclaim_work(&role->reclaim, &role->dhcp, role->order.tap, role->now_ms));
    wait_ms = sooner(wait_ms, dhcp_server_work(&role->dhcp, role->now_ms));
    report(role, false);
    struct pollfd fds[] = {watch(role->control),
                           watch(role->monitor),
                           {.fd = dhcp_server_fd(&role->dhcp), .events = POLLIN},
                           {.fd = lease_reclaim_fd(&role->reclaim), .events = POLLIN},
                           {.fd = dhcp_server_log_fd(&role->dhcp), .events = POLLIN}};
    if (poll(fds, sizeof(fds) / sizeof(fds[0]), wait_ms > INT_MAX ? INT_MAX : (int)wait_ms) < 0)
        memset(fds, 0, sizeof(fds)); /* interrupted: undefined */
    role->now_ms = clock_ms();
    if (fds[4].revents)
        dhcp_server_hear(&role->dhcp, role->now_ms);
    if (fds[2].revents)
        dhcp_server_reap(&role->dhcp, role->now_ms);
    if (fds[3].revents)
        lease_reclaim_hear(&role->reclaim, role->now_ms);
    if (fds[0].revents)
        serve_control(role); /* before the monitor, which may replace it */
    if (fds[1].revents)
        serve_monitor(role);
}

bool nat_role_exists(void)
{
    return true;
}

int nat_main(int channel_fd, uint32_t uid, uint32_t gid)
{
    char why[MESSAGE_WHY_SIZE];
    struct nat_role *role = calloc(1, sizeof(*role));
    log_open("nat", LOG_INFO);
    if (privileges_drop_to_nat(uid, gid, why, sizeof(why)) < 0) {
        log_error("%s", why);
        free(role);
        return EXIT_FAILED;
    }
    if (!role)
        return EXIT_FAILED;
    host_ports_init(&role->ports);
    role->reclaim.inotify_fd = -1;
    role->monitor = channel_create(channel_fd);
    if (!role->monitor)
        end(role, EXIT_FAILED);
    signal(SIGINT, SIG_IGN); /* a terminal's Ctrl-C is the monitor's to handle */
    role->now_ms = clock_ms();
    struct sandbox_state sandbox;
    sandbox_enter(SANDBOX_NAT, NULL, &sandbox);
    while (!role->is_over)
        turn(role);
    const int exit_code = role->exit_code;
    dhcp_server_stop(&role->dhcp);
    lease_reclaim_close(&role->reclaim);
    nat_table_destroy(role->table);
    host_ports_close(&role->ports);
    channel_destroy(role->control);
    channel_destroy(role->monitor);
    free(role);
    return exit_code;
}
