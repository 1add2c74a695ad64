#include "daemon/bridges.h"

#include <errno.h>

int bridges_list(char ret_names[BRIDGES_MAX][UPLINK_IFNAME_SIZE])
{
    (void)ret_names;
    return -ENOTSUP;
}
