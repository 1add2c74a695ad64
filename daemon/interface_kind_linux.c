/* daemon/interface_kind_linux.c - see interface_kind.h: sysfs has a link to the radio of what has one */
#include "daemon/interface_kind.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum interface_kind interface_kind(const char *name)
{
    static const char *const signs[] = {"phy80211", "wireless"};
    char path[64];
    if (strchr(name, '/'))
        return INTERFACE_KIND_UNKNOWN;
    for (size_t i = 0; i < sizeof(signs) / sizeof(signs[0]); i++) {
        snprintf(path, sizeof(path), "/sys/class/net/%s/%s", name, signs[i]);
        if (access(path, F_OK) == 0)
            return INTERFACE_KIND_WIFI;
    }
    snprintf(path, sizeof(path), "/sys/class/net/%s", name);
    return access(path, F_OK) == 0 ? INTERFACE_KIND_WIRED : INTERFACE_KIND_UNKNOWN;
}
