/* perf/tap.c - see tap.h */
#include "perf/tap.h"

#include <err.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <stdio.h>
#include <sys/ioctl.h>

#include "perf/vnet_header.h"

static void offload_on(int fd)
{
    int size = VNET_HEADER_SIZE, is_little_endian = 1;

    if (ioctl(fd, TUNSETVNETHDRSZ, &size) != 0)
        err(1, "TUNSETVNETHDRSZ");
    if (ioctl(fd, TUNSETVNETLE, &is_little_endian) != 0)
        err(1, "TUNSETVNETLE");
    if (ioctl(fd, TUNSETOFFLOAD, (unsigned long)(TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6)) != 0)
        err(1, "TUNSETOFFLOAD");
}

int tap_open(const char *name, bool has_offload)
{
    struct ifreq request = {.ifr_flags = IFF_TAP | IFF_NO_PI};
    int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);

    if (fd < 0)
        err(1, "/dev/net/tun");
    if (snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", name) >= (int)sizeof(request.ifr_name))
        errx(1, "%s: too long for an interface's name", name);
    if (has_offload)
        request.ifr_flags |= IFF_VNET_HDR;
    if (ioctl(fd, TUNSETIFF, &request) != 0)
        err(1, "TAP %s", name);
    if (has_offload)
        offload_on(fd);
    return fd;
}
