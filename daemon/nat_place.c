#include "daemon/nat_place.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "daemon/folders.h"
#include "daemon/privileges.h"

static int refuse(char *why, size_t size, const char *reason, int error)
{
    snprintf(why, size, "%s", reason);
    return -error;
}

int nat_place_prepare(const struct nat_place *place, struct child_start *start, char *ret_why,
                      size_t why_size)
{
    const char *network = start->child.name;
    if (!privileges_can_switch_user())
        return refuse(ret_why, why_size, "NAT and DHCP beside a TAP need root", EPERM);
    if (!privileges_can_nat())
        return refuse(ret_why, why_size,
                      "NAT needs CAP_NET_ADMIN and CAP_NET_BIND_SERVICE, which the service's sandbox has "
                      "not: see nat.conf in docs/linux.md",
                      EPERM);
    if (!place->uid)
        return refuse(ret_why, why_size, "there is no user dnsmasq or nobody for the DHCP server to run as",
                      ENOENT);
    start->uid = (uint32_t)place->uid;
    start->gid = (uint32_t)place->gid;
    int r = folders_make_dhcp(place->dir_fd, network, place->uid, place->gid, ret_why, why_size);
    if (r == 0 && place->leases_fd >= 0)
        r = folders_make_leases(place->leases_fd, network, place->uid, place->gid, ret_why, why_size);
    return r;
}
