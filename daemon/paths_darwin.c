#include "daemon/paths.h"

const char *paths_root_runtime_dir(void)
{
    return "/var/run/vmswitch";
}

bool paths_group_is_roots(gid_t gid)
{
    enum { WHEEL = 0, DAEMON = 1 }; /* /var/run is writable for the group daemon */
    return gid == WHEEL || gid == DAEMON;
}
