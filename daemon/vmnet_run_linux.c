#include "daemon/vmnet_run.h"

#include <errno.h>
#include <unistd.h>

/* The user uplink needs no privilege; who wants a TAP starts the whole as root. */
bool vmnet_run_needs_sudo(void)
{
    return false;
}

int vmnet_run_self(char *path, size_t size)
{
    ssize_t n = readlink("/proc/self/exe", path, size);
    if (n < 0)
        return -errno;
    if ((size_t)n >= size)
        return -ENAMETOOLONG;
    path[n] = '\0';
    return 0;
}
