/* daemon/front_role.c - the processes that a front end starts of its own executable */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <unistd.h>

#include "daemon/front.h"
#include "daemon/keeper.h"
#include "daemon/options.h"
#include "daemon/privileges.h"
#include "daemon/roles.h"
#include "daemon/sandbox.h"
#include "daemon/spawn.h"
#include "io/peer.h"

bool front_is_role(int argc, char **argv)
{
    return argc > 1 && strncmp(argv[1], "--role=", strlen("--role=")) == 0;
}

static int complain(const char *program, const char *why)
{
    fprintf(stderr, "%s: %s\n", program, why);
    return EXIT_FAILED;
}

/* Whoever may start the program as root, by sudo or setuid, may start it with these words as well. What a
 * role then hears is believed only from root, which made both ends of the channel. */
static bool is_from_root(int fd)
{
    struct peer peer;
    peer_of(fd, &peer);
    return peer.is_known && peer.uid == 0;
}

int front_role(const char *program, int argc, char **argv)
{
    char why[MESSAGE_WHY_SIZE];
    struct options options;
    struct stat st;
    if (options_parse(&options, argc, argv, why, sizeof(why)) < 0)
        return complain(program, why);
    /* Of a program that is setuid, anybody could start a keeper and tell it what to do. */
    if (getuid() != geteuid() || getgid() != getegid())
        return complain(program, "--role is not for you");
    if (fstat(ROLE_CHANNEL_FD, &st) < 0 || !S_ISSOCK(st.st_mode))
        return complain(program, "--role is for the program's own use");
    if (geteuid() == 0 && !is_from_root(ROLE_CHANNEL_FD))
        return complain(program, "--role is for the program's own use, and the channel is not root's");
    sandbox_set_mode(options.sandbox);
    signal(SIGPIPE, SIG_IGN);
    spawn_restore_name(program);
    switch (options.role) {
    case ROLE_KEEPER:
        return keeper_main(program, ROLE_CHANNEL_FD);
    case ROLE_VMNET:
        return vmnet_main(ROLE_CHANNEL_FD, options.uid, options.gid);
    case ROLE_NAT:
        return nat_main(ROLE_CHANNEL_FD, options.uid, options.gid);
    case ROLE_UPLINK:
        if (privileges_drop(options.uid, options.gid, why, sizeof(why)) < 0)
            return complain(program, why);
        return uplink_main(ROLE_CHANNEL_FD);
    default:
        return complain(program, "it has no such role");
    }
}
