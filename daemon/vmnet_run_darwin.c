#include "daemon/vmnet_run.h"

#include <errno.h>
#include <limits.h>
#include <mach-o/dyld.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysctl.h>
#include <unistd.h>

enum { UNPRIVILEGED_SINCE = 26 }; /* macOS 26: vmnet takes an entitlement in place of root */

bool vmnet_run_needs_sudo(void)
{
    char version[32] = "";
    size_t size = sizeof(version) - 1;
    if (geteuid() == 0)
        return false;
    /* Unknown is taken for old: sudo works everywhere. */
    if (sysctlbyname("kern.osproductversion", version, &size, NULL, 0) < 0)
        return true;
    return strtol(version, NULL, 10) < UNPRIVILEGED_SINCE;
}

int vmnet_run_self(char *path, size_t size)
{
    char found[PATH_MAX], resolved[PATH_MAX];
    uint32_t found_size = sizeof(found);
    if (_NSGetExecutablePath(found, &found_size) < 0)
        return -ENAMETOOLONG;
    if (!realpath(found, resolved))
        return -errno;
    if (strlcpy(path, resolved, size) >= size)
        return -ENAMETOOLONG;
    return 0;
}
