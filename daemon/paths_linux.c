#include "daemon/paths.h"

const char *paths_root_runtime_dir(void)
{
    return "/run/vmswitch";
}

bool paths_group_is_roots(gid_t gid)
{
    return gid == 0;
}
