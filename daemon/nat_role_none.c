/* daemon/nat_role_none.c - NAT of the host's kernel is Linux's: there is no such role here */
#include "daemon/dhcp_server.h"
#include "daemon/roles.h"

int nat_main(int channel_fd, uint32_t uid, uint32_t gid)
{
    (void)channel_fd;
    (void)uid;
    (void)gid;
    return EXIT_USAGE;
}

bool nat_role_exists(void)
{
    return false;
}

void dhcp_server_end_stale(const char *runtime_dir, uint32_t uid)
{
    (void)runtime_dir;
    (void)uid;
}

const char *dhcp_server_program(void)
{
    return NULL;
}
