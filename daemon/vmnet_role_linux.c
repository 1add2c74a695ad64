/* daemon/vmnet_role_linux.c - there is no vmnet here, and no role that would stay root for it */
#include "daemon/roles.h"

int vmnet_main(int channel_fd, uint32_t uid, uint32_t gid)
{
    (void)channel_fd;
    (void)uid;
    (void)gid;
    return EXIT_USAGE;
}

bool vmnet_role_exists(void)
{
    return false;
}

bool vmnet_role_may_start(bool is_root)
{
    (void)is_root;
    return false;
}
