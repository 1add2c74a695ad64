#include "daemon/sysctl.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

int sysctl_set(const char *version, const char *interface, const char *name, const char *value)
{
    char path[128];
    snprintf(path, sizeof(path), "/proc/sys/net/%s/conf/%s/%s", version, interface, name);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    int r = write(fd, value, strlen(value)) < 0 ? -errno : 0;
    close(fd);
    return r;
}

bool sysctl_forwards_ipv4(void)
{
    char byte = '0';
    int fd = open("/proc/sys/net/ipv4/ip_forward", O_RDONLY | O_CLOEXEC);
    bool is_on = fd >= 0 && read(fd, &byte, 1) == 1 && byte != '0';
    if (fd >= 0)
        close(fd);
    return is_on;
}
