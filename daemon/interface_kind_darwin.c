/* daemon/interface_kind_darwin.c - see interface_kind.h
 *
 * By the medium that ifconfig shows: what needs a framework of Apple's would not be in the cross-build.
 */
#include "daemon/interface_kind.h"

#include <fcntl.h>
#include <net/if.h>
#include <net/if_media.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

enum interface_kind interface_kind(const char *name)
{
    struct ifmediareq media = {.ifm_count = 0}; /* its list of media is not asked for */
    const int fd = socket(AF_INET, SOCK_DGRAM, 0);
    if (fd < 0)
        return INTERFACE_KIND_UNKNOWN;
    fcntl(fd, F_SETFD, FD_CLOEXEC);
    snprintf(media.ifm_name, sizeof(media.ifm_name), "%s", name);
    const int r = ioctl(fd, SIOCGIFMEDIA, &media);
    close(fd);
    if (r < 0)
        return INTERFACE_KIND_UNKNOWN;
    /* The type is part of both words, and of both also while there is no carrier. */
    switch (IFM_TYPE(media.ifm_current | media.ifm_active)) {
    case IFM_IEEE80211:
        return INTERFACE_KIND_WIFI;
    case IFM_ETHER:
        return INTERFACE_KIND_WIRED;
    default:
        return INTERFACE_KIND_UNKNOWN;
    }
}
