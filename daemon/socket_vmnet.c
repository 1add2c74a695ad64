/* daemon/socket_vmnet.c - a program for those who start socket_vmnet: Lima, minikube, colima, scripts
 *
 * Options in, one network out (daemon/front.h). What its clients look for on stderr, in files and in time is
 * listed in docs/compatibility.md.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "api/spec_json.h"
#include "daemon/accounts.h"
#include "daemon/front.h"
#include "daemon/roles.h"
#include "daemon/socket_vmnet_options.h"
#include "switch/mac.h"

#define PROGRAM "socket_vmnet"
#define DEFAULT_GROUP "staff"
#define REPLACES "v1.2.2" /* the release whose options and behaviour these are */

enum { SOCKET_MODE = 0770 };

static int fail(const char *why)
{
    log_error("%s", why);
    return EXIT_FAILED;
}

static int fail_usage(const char *why)
{
    if (why[0])
        log_error("%s", why);
    fputs(socket_vmnet_usage(), stdout);
    return EXIT_FAILED;
}

/* A group that was asked for must be there. The default is not everywhere, and not everybody's to give away.
 */
static int choose_group(struct front_plan *plan, const char *name, char *why, size_t size)
{
    gid_t gid;
    plan->socket_gid = UINT32_MAX;
    if (accounts_find_group(name ? name : DEFAULT_GROUP, &gid)) {
        if (name || geteuid() == 0)
            plan->socket_gid = (uint32_t)gid;
        return 0;
    }
    if (!name) {
        log_warn("there is no group \"%s\": only the owner can connect; say --socket-group", DEFAULT_GROUP);
        return 0;
    }
    char shown[80];
    snprintf(why, size, "unknown group name \"%s\"", log_escape(name, shown, sizeof(shown)));
    return -1;
}

static int choose_user(struct front_plan *plan, char *why, size_t size)
{
    uid_t uid = geteuid();
    gid_t gid = getegid();
    if (uid == 0 && accounts_find_service("", &uid, &gid, why, size) < 0)
        return -1;
    plan->uid = (uint32_t)uid;
    plan->gid = (uint32_t)gid;
    return 0;
}

static void warn(const struct socket_vmnet_options *options, const struct front_plan *plan)
{
    const enum network_uplink uplink = plan->spec.uplink;
    if (geteuid() != 0 && (uplink == WANT_VMNET || uplink == WANT_TAP))
        log_warn("running without root: the %s uplink is not likely to start", network_uplink_name(uplink));
    if (geteuid() != getuid())
        log_warn("running with setuid, which lets everybody make networks; start it by sudo instead");
    if (uplink == WANT_VMNET && options->mode == MODE_SHARED && !options->has_gateway)
        log_warn("--vmnet-gateway=IP is not given: the addresses are macOS's choice");
    if (options->has_network_id && options->mode != MODE_HOST)
        log_warn("--vmnet-network-identifier goes with --vmnet-mode=host alone: it is ignored");
    if (uplink != WANT_VMNET && (options->has_interface_id || options->has_network_id))
        log_info("the uplink %s has no identifiers: they are ignored", network_uplink_name(uplink));
}

static int make_plan(struct front_plan *plan, const struct socket_vmnet_options *options, char *why,
                     size_t size)
{
    const char *uplink = getenv("VMSWITCH_UPLINK"); /* NOLINT(concurrency-mt-unsafe): one thread */
    *plan = (struct front_plan){.spec = options->spec, .socket_mode = SOCKET_MODE, .socket_uid = UINT32_MAX};
    plan->log_level = getenv("DEBUG") ? LOG_DEBUG : LOG_INFO; /* NOLINT(concurrency-mt-unsafe) */
    front_make_name("sv", options->socket_path, plan->spec.name);
    snprintf(plan->socket_path, sizeof(plan->socket_path), "%s", options->socket_path);
    snprintf(plan->pidfile, sizeof(plan->pidfile), "%s", options->pidfile ? options->pidfile : "");
    if (front_choose_uplink(&plan->spec, uplink, why, size) < 0 ||
        choose_group(plan, options->socket_group, why, size) < 0)
        return -1;
    if (plan->spec.uplink == WANT_VMNET)
        socket_vmnet_options_fill_vmnet(options, &plan->spec);
    else if (plan->spec.uplink == WANT_TAP)
        plan->spec.ipv4.dhcp = socket_vmnet_options_have_dhcp(options);
    front_fit_to_tap(&plan->spec);
    if (front_check(&plan->spec, why, size) < 0)
        return -1;
    return choose_user(plan, why, size);
}

static void log_facts(const struct network_spec *spec, const struct uplink_facts *facts)
{
    char mac[MAC_TEXT_SIZE];
    log_info("* uplink: %s", network_uplink_name(spec->uplink));
    if (facts->ifname[0])
        log_info("* interface: %s", facts->ifname);
    if (facts->mac) {
        mac_format(facts->mac, mac);
        log_info("* host_mac_address: %s", mac);
    }
    log_info("* vmnet_mtu: %u", facts->mtu ? facts->mtu : spec->mtu);
}

static int on_ready(void *ctx, struct front *front, int fd, const struct uplink_facts *facts, char *why,
                    size_t size)
{
    const struct front_plan *plan = ctx;
    log_facts(&plan->spec, facts);
    int r = network_listen(front_network(front), SOCKET_STREAM, "", fd);
    if (r < 0) {
        close(fd);
        snprintf(why, size, "cannot listen on %s: %s", plan->socket_path, uv_strerror(r));
        return -1;
    }
    log_info("ready: VMs connect to %s", plan->socket_path);
    return 0;
}

static int run(const struct socket_vmnet_options *options)
{
    static const struct front_events events = {.on_ready = on_ready};
    struct front_plan plan;
    char why[MESSAGE_WHY_SIZE + 64];
    if (make_plan(&plan, options, why, sizeof(why)) < 0)
        return fail(why);
    warn(options, &plan);
    plan.opens_no_file = true;
    return front_run(PROGRAM, &plan, &events, &plan);
}

int main(int argc, char **argv)
{
    struct socket_vmnet_options options;
    char why[MESSAGE_WHY_SIZE];
    log_set_style(LOG_STYLE_BAR);
    log_open("", LOG_INFO);
    if (front_is_role(argc, argv))
        return front_role(PROGRAM, argc, argv);
    if (socket_vmnet_options_parse(&options, argc, argv, why, sizeof(why)) < 0)
        return fail_usage(why);
    if (options.help)
        fputs(socket_vmnet_usage(), stdout);
    if (options.version)
        puts(REPLACES " (vmswitch " VMSWITCH_VERSION ")");
    if (options.help || options.version)
        return fflush(stdout) == 0 ? EXIT_OK : EXIT_FAILED;
    return run(&options);
}
