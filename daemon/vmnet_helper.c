/* daemon/vmnet_helper.c - vmnet-helper: one VM's network, for the programs that start it by that name
 *
 * The command line, the line of JSON, descriptors, signals, exit codes and log lines are those of the program
 * it takes the place of; docs/compatibility.md says who relies on which.
 */
#include "daemon/vmnet_helper.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daemon/bridges.h"
#include "daemon/front.h"
#include "daemon/roles.h"

/* Of the program it stands in for, whose clients compare it: as strict semver, and with 0.9.0. They read
 * these two keys and nothing else; what we are is in the second, which they do not look at. */
static const char version[] = "version: v0.13.0\n"
                              "commit: vmswitch-" VMSWITCH_VERSION "\n";

int helper_facts_begin(struct helper_facts *facts, const struct helper_options *options, char *why,
                       size_t size)
{
    const bool is_big = options->tso || options->checksum;
    int r = 0;
    *facts = (struct helper_facts){.frame_max = is_big ? HELPER_FRAME_MAX_OFFLOAD : HELPER_FRAME_MAX};
    if (options->has_interface_id)
        memcpy(facts->interface_id, options->interface_id, sizeof(facts->interface_id));
    else
        r = interface_id_make(facts->interface_id);
    if (r < 0) {
        snprintf(why, size, "no random interface id: %s", uv_strerror(r));
        return -1;
    }
    facts->mac = interface_id_mac(facts->interface_id);
    interface_id_prefix(facts->interface_id, facts->prefix);
    return 0;
}

/* ---- whom we become ---- */

/* What sudo leaves: decimal, and not root's. */
static bool id_of(const char *name, uint32_t *ret_id)
{
    const char *text = getenv(name); /* NOLINT(concurrency-mt-unsafe): one thread */
    char *rest;
    errno = 0;
    unsigned long id = text ? strtoul(text, &rest, 10) : 0;
    if (!id || errno || *rest || id >= UINT32_MAX)
        return false;
    *ret_id = (uint32_t)id;
    return true;
}

bool helper_find_caller(uint32_t *ret_uid, uint32_t *ret_gid)
{
    *ret_uid = (uint32_t)getuid();
    *ret_gid = (uint32_t)getgid();
    if (geteuid() != 0)
        return false;
    if (*ret_uid != 0)
        return true;
    return id_of("SUDO_UID", ret_uid) && id_of("SUDO_GID", ret_gid);
}

/* ---- descriptors ---- */

/* The roles need 0 to 2 for themselves; a client may well pass its socket as one of them. */
static int move_up(int *fd, const char *option)
{
    if (*fd < 0)
        return 0;
    int moved = *fd > STDERR_FILENO ? *fd : fcntl(*fd, F_DUPFD, STDERR_FILENO + 1);
    if (moved < 0 || fcntl(moved, F_SETFD, FD_CLOEXEC) < 0) {
        log_error("Option %s names descriptor %d, which is not open: %s", option, *fd, strerror(errno));
        return -1;
    }
    if (moved != *fd) {
        int null = open("/dev/null", O_RDWR | O_CLOEXEC);
        if (null < 0 || dup2(null, *fd) < 0)
            return -1;
        close(null);
    }
    *fd = moved;
    return 0;
}

/* ---- what only prints ---- */

static int print(const char *text, FILE *file)
{
    fputs(text, file);
    return fflush(file) == 0 ? EXIT_OK : EXIT_FAILED;
}

/* All that vmnet lists will do. */
static bool is_bridgeable(const struct bridge *bridge)
{
    return vmnet_role_exists() || strcmp(bridge->type, "bridge") == 0 || strcmp(bridge->type, "ovs") == 0;
}

static int list_interfaces(void)
{
    static struct bridge bridges[BRIDGES_MAX];
    int n = bridges_list(bridges);
    if (n < 0) {
        log_error("The interfaces cannot be listed: %s", strerror(-n));
        return EXIT_FAILED;
    }
    for (int i = 0; i < n; i++)
        if (is_bridgeable(&bridges[i]))
            puts(bridges[i].name);
    return fflush(stdout) == 0 ? EXIT_OK : EXIT_FAILED;
}

static int run(struct helper_options *options)
{
    /* NOLINTBEGIN(concurrency-mt-unsafe): one thread */
    const char *joined = getenv("VMSWITCH_JOIN"), *uplink = getenv("VMSWITCH_UPLINK");
    /* NOLINTEND(concurrency-mt-unsafe) */
    const char *network = options->network ? options->network : front_is_set(joined) ? joined : NULL;
    if (move_up(&options->fd, "fd") < 0 || move_up(&options->liveness_fd, "parent-liveness-fd") < 0)
        return EXIT_FAILED;
    if (options->network && options->has_interface_id) {
        log_warn("Option interface-id has no meaning with network: ignored");
        options->has_interface_id = false;
    }
    return network ? helper_run_joined(options, network) : helper_run_own(options, uplink);
}

int main(int argc, char **argv)
{
    struct helper_options options;
    char why[HELPER_WHY_SIZE];
    log_set_style(LOG_STYLE_TAGGED);
    log_open("", LOG_INFO);
    if (front_is_role(argc, argv))
        return front_role(HELPER_PROGRAM, argc, argv);
    if (helper_options_parse(&options, argc, argv, why) < 0) {
        log_error("%s", why);
        return EXIT_FAILED;
    }
    log_open("", options.is_verbose ? LOG_DEBUG : LOG_INFO);
    switch (options.action) {
    case HELPER_HELP:
        return print(helper_options_help(), stderr);
    case HELPER_VERSION:
        return print(version, stdout);
    case HELPER_LIST:
        return list_interfaces();
    default:
        return run(&options);
    }
}
