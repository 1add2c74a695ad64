#include "daemon/paths.h"

const char *paths_root_runtime_dir(void)
{
    return "/run/vmswitch";
}
