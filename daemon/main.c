/* daemon/main.c - which role are we? */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/activation.h"
#include "daemon/broker.h"
#include "daemon/environment.h"
#include "daemon/message.h"
#include "daemon/monitor.h"
#include "daemon/notify.h"
#include "daemon/options.h"
#include "daemon/paths.h"
#include "daemon/privileges.h"
#include "daemon/roles.h"
#include "daemon/sandbox.h"
#include "daemon/spawn.h"
#include "daemon/strict_paths.h"
#include "io/log.h"

static int complain(const char *why, int exit_code)
{
    fprintf(stderr, "vmswitchd: %s\n", why);
    return exit_code;
}

static int run_monitor(struct options *options)
{
    char why[MESSAGE_WHY_SIZE];
    int passed[ACTIVATION_MAX];
    struct activation activation;
    struct notify notify;
    if (paths_complete(options, geteuid(), why, sizeof(why)) < 0)
        return complain(why, EXIT_USAGE);
    if (!options->has_log_format && log_is_journal(getenv("JOURNAL_STREAM")))
        log_set_format(LOG_FORMAT_JOURNAL);
    log_own_stderr();
    if (activation_take(&activation, why, sizeof(why)) < 0)
        return complain(why, EXIT_FAILED);
    notify_take(&notify);
    for (unsigned i = 0; i < activation.n; i++)
        passed[i] = activation.sockets[i].fd;
    int r = environment_reset(passed, activation.n);
    if (r < 0)
        return complain(strerror(-r), EXIT_FAILED);
    return monitor_main(options, &activation, &notify);
}

/* --strict-paths, for what the broker uses. */
static int check_paths(const struct options *options, char *why, size_t size)
{
    char executable[MESSAGE_PATH_SIZE];
    if (!options->strict_paths)
        return 0;
    snprintf(why, size, "--strict-paths: cannot find the path of this program");
    int r = spawn_executable(executable, sizeof(executable));
    r = r < 0 ? r : strict_paths_check(executable, true, why, size);
    return r < 0 ? r : strict_paths_check(options->runtime_dir, false, why, size);
}

static int run_broker(struct options *options)
{
    char why[MESSAGE_WHY_SIZE] = "";
    if (!broker_exists())
        return complain("--broker: there are no network objects to broker on this system", EXIT_USAGE);
    if (paths_complete(options, geteuid(), why, sizeof(why)) < 0)
        return complain(why, EXIT_USAGE);
    if (check_paths(options, why, sizeof(why)) < 0)
        return complain(why, EXIT_FAILED);
    const int r = environment_reset(NULL, 0);
    return r < 0 ? complain(strerror(-r), EXIT_FAILED) : broker_main(options);
}

/* Started by a monitor, which has reset the environment. */
static int run_role(const struct options *options)
{
    char why[MESSAGE_WHY_SIZE];
    struct stat st;
    if (fstat(ROLE_CHANNEL_FD, &st) < 0 || !S_ISSOCK(st.st_mode))
        return complain("--role is for vmswitchd's own use", EXIT_USAGE);
    if (options->role != ROLE_VMNET && options->role != ROLE_NAT &&
        privileges_drop(options->uid, options->gid, why, sizeof(why)) < 0)
        return complain(why, EXIT_FAILED);
    signal(SIGPIPE, SIG_IGN);
    spawn_restore_name("vmswitchd");
    switch (options->role) {
    case ROLE_KEEPER:
        return complain("--role=keeper is not a role of vmswitchd", EXIT_USAGE);
    case ROLE_CONTROL:
        return control_main(ROLE_CHANNEL_FD);
    case ROLE_NETWORK:
        return network_main(ROLE_CHANNEL_FD);
    case ROLE_VMNET:
        return vmnet_main(ROLE_CHANNEL_FD, options->uid, options->gid);
    case ROLE_NAT:
        return nat_main(ROLE_CHANNEL_FD, options->uid, options->gid);
    default:
        return uplink_main(ROLE_CHANNEL_FD);
    }
}

int main(int argc, char **argv)
{
    char why[MESSAGE_WHY_SIZE];
    struct options options;
    if (options_parse(&options, argc, argv, why, sizeof(why)) < 0)
        return complain(why, EXIT_USAGE);
    log_set_format(options.log_format);
    sandbox_set_mode(options.sandbox);
    if (options.help) {
        fputs(options_help(), stdout);
        return fflush(stdout) == 0 ? EXIT_OK : EXIT_FAILED;
    }
    if (options.version) {
        puts("vmswitchd " VMSWITCH_VERSION);
        return fflush(stdout) == 0 ? EXIT_OK : EXIT_FAILED;
    }
    if (options.is_broker)
        return run_broker(&options);
    return options.role == ROLE_MONITOR ? run_monitor(&options) : run_role(&options);
}
