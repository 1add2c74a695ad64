#include "daemon/tap.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "daemon/ovs.h"
#include "daemon/subnet_conflict.h"
#include "daemon/sysctl.h"
#include "io/vnet.h"
#include "switch/mac.h"

/* The kernel puts the first free number in, so the name is one that nobody had. */
static const char name_pattern[] = TAP_PREFIX "%d";

/* Not in the headers of Debian 12, whose backported kernels know them. */
enum { TAP_F_USO4 = 0x20, TAP_F_USO6 = 0x40 };

enum { TAP_MTU_MIN = 576, TAP_MTU_MAX = 65521 /* drivers/net/tun.c: 65535 without the Ethernet header */ };

static int fail(int error, const char *step, char *why, size_t size)
{
    const char *hint = "";
    if (error == ENOENT || error == ENODEV)
        hint = "; load the tun module (modprobe tun)";
    else if (error == EPERM || error == EACCES)
        hint = "; vmswitchd must be started as root for this";
    snprintf(why, size, "%s: %s%s", step, strerror(error), hint);
    return -error;
}

/* The request comes from control, which may have been taken over. */
static bool request_is_valid(const struct tap_request *request)
{
    uint32_t hosts = ~request->netmask;
    if (request->mtu < TAP_MTU_MIN || request->mtu > TAP_MTU_MAX)
        return false;
    if (!message_text_ok(request->bridge, sizeof(request->bridge)) ||
        (request->bridge[0] && request->address))
        return false;
    if (request->address == 0)
        return request->netmask == 0;
    bool is_contiguous = (hosts & (hosts + 1)) == 0;
    bool is_unicast =
        request->address >> 24 != 0 && request->address >> 24 != 127 && request->address >> 24 < 224;
    /* Neither the subnet's own address nor its broadcast; /31 and /32 have no room for a guest. */
    bool is_host = (request->address & hosts) != 0 && (request->address & hosts) != hosts;
    return is_contiguous && hosts >= 3 && request->netmask >> 24 != 0 && is_unicast && is_host;
}

static void put_address(struct ifreq *ifr, uint32_t address)
{
    const struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(address)};
    memcpy(&ifr->ifr_addr, &in, sizeof(in));
}

/* Addresses the interface named in 'ifr'. Returns 0, or a negative errno and the step. */
static int configure(int inet, struct ifreq *ifr, const struct tap_request *request, uint64_t *ret_mac,
                     const char **ret_step)
{
    if (*ret_step = "TAP: SIOCGIFHWADDR", ioctl(inet, SIOCGIFHWADDR, ifr) < 0)
        return -errno;
    uint8_t bytes[MAC_LEN];
    memcpy(bytes, ifr->ifr_hwaddr.sa_data, sizeof(bytes));
    *ret_mac = mac_load(bytes);
    /* A bridge has the lowest address of its ports, which must not become ours and go with us. */
    ifr->ifr_hwaddr.sa_data[0] = (char)0xFE;
    if (*ret_step = "TAP: SIOCSIFHWADDR", request->bridge[0] && ioctl(inet, SIOCSIFHWADDR, ifr) < 0)
        return -errno;
    ifr->ifr_mtu = (int)request->mtu;
    if (*ret_step = "TAP: SIOCSIFMTU", ioctl(inet, SIOCSIFMTU, ifr) < 0)
        return -errno;
    if (request->address) {
        put_address(ifr, request->address);
        if (*ret_step = "TAP: SIOCSIFADDR", ioctl(inet, SIOCSIFADDR, ifr) < 0)
            return -errno;
        put_address(ifr, request->netmask);
        if (*ret_step = "TAP: SIOCSIFNETMASK", ioctl(inet, SIOCSIFNETMASK, ifr) < 0)
            return -errno;
    }
    return 0;
}

static int set_up(int inet, struct ifreq *ifr, const char **ret_step)
{
    if (*ret_step = "TAP: SIOCGIFFLAGS", ioctl(inet, SIOCGIFFLAGS, ifr) < 0)
        return -errno;
    ifr->ifr_flags = (short)(ifr->ifr_flags | IFF_UP);
    if (*ret_step = "TAP: SIOCSIFFLAGS", ioctl(inet, SIOCSIFFLAGS, ifr) < 0)
        return -errno;
    return 0;
}

/* ---- bridges ---- */

/* A bridge takes the lowest MTU of its ports: ours must not cut everybody's. */
static int check_bridge(int inet, const struct tap_request *request, char *why, size_t size)
{
    struct ifreq ifr = {.ifr_flags = 0};
    memcpy(ifr.ifr_name, request->bridge, sizeof(request->bridge));
    if (ioctl(inet, SIOCGIFMTU, &ifr) < 0) {
        int error = errno;
        snprintf(why, size, "there is no bridge %s: make it, or name another as interface", request->bridge);
        return -error;
    }
    if ((uint32_t)ifr.ifr_mtu <= request->mtu)
        return 0;
    snprintf(why, size,
             "%s has an MTU of %d, which a port with %u would lower for all on it: set the network's mtu",
             request->bridge, ifr.ifr_mtu, request->mtu);
    return -EINVAL;
}

/* The host itself has no part in what goes through a port of a bridge: it neither greets its guests by IPv6
 * nor answers their ARP there, which it would beside an Open vSwitch that runs without the kernel's module.
 */
static void keep_host_silent(const char *tap)
{
    sysctl_have_no_ipv6(tap); /* which a kernel without IPv6 refuses */
    sysctl_ignore_arp(tap);
}

static int enter_bridge(int inet, const struct tap_request *request, const char *tap, char *why, size_t size)
{
    struct ifreq ifr = {.ifr_ifindex = (int)if_nametoindex(tap)};
    memcpy(ifr.ifr_name, request->bridge, sizeof(request->bridge));
    if (ioctl(inet, SIOCBRADDIF, &ifr) == 0)
        return 0;
    int error = errno;
    if (error != EOPNOTSUPP && error != ENOTTY && error != EINVAL) {
        snprintf(why, size, "cannot enter the bridge %s: %s", request->bridge, strerror(error));
        return -error;
    }
    if (ovs_has_bridge(request->bridge))
        return ovs_add_port(request->bridge, tap, why, size);
    snprintf(why, size,
             "%s is not a bridge: make one (ip link add br0 type bridge; ip link set %s master br0) and name "
             "it as "
             "interface",
             request->bridge, request->bridge);
    return -EOPNOTSUPP;
}

static int check_host(int inet, const struct tap_request *request, char *why, size_t size)
{
    char with[96];
    if (request->bridge[0]) {
        ovs_remove_stale(); /* or the new TAP would be the port that an old one of its name was */
        return check_bridge(inet, request, why, size);
    }
    if (!request->address ||
        subnet_conflict_find(request->address, request->netmask, "", with, sizeof(with)) == 0)
        return 0;
    snprintf(why, size, "its IPv4 subnet overlaps %s, which this host has already: choose another gateway",
             with);
    return -EADDRINUSE;
}

/* The host hands us what its own network card would have to finish, and takes such frames: 64 KiB at a time
 * instead of 1500 bytes. From the most that a kernel may know to what all with this header do
 * (linux/if_tun.h; UDP since 6.2, and then both versions of IP together). */
static void set_offload(int fd, struct uplink_facts *facts)
{
    const unsigned tcp = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6;
    const unsigned udp = TAP_F_USO4 | TAP_F_USO6;
    const int header = VNET_HEADER, little_endian = 1;

    facts->has_vnet_header = true;
    ioctl(fd, TUNSETVNETHDRSZ, &header);
    ioctl(fd, TUNSETVNETLE, &little_endian);
    facts->takes_udp_gso = ioctl(fd, TUNSETOFFLOAD, (unsigned long)(tcp | udp)) == 0;
    if (!facts->takes_udp_gso)
        ioctl(fd, TUNSETOFFLOAD, (unsigned long)tcp);
}

static bool has_vnet_header(int fd)
{
    unsigned features = 0;

    return ioctl(fd, TUNGETFEATURES, &features) == 0 && (features & IFF_VNET_HDR);
}

/* Makes the interface; its name is in 'ifr' then. */
static int make(int fd, const struct tap_request *request, struct ifreq *ifr)
{
    const bool offloads = has_vnet_header(fd);
    memcpy(ifr->ifr_name, name_pattern, sizeof(name_pattern));
    /* EXCL: never attach to an interface that is there. */
    ifr->ifr_flags = (short)(IFF_TAP | IFF_NO_PI | IFF_TUN_EXCL | (offloads ? IFF_VNET_HDR : 0));
    if (ioctl(fd, TUNSETIFF, ifr) < 0)
        return -errno;
    ioctl(fd, TUNSETOWNER,
          (unsigned long)request->uid); /* for "ip tuntap show"; of no effect while it is held */
    return offloads;
}

/* Everything but the descriptors. */
static int open_on(int fd, int inet, const struct tap_request *request, struct uplink_facts *facts, char *why,
                   size_t size)
{
    const char *step = "TAP: TUNSETIFF";
    struct ifreq ifr = {.ifr_flags = 0};
    char name[UPLINK_IFNAME_SIZE];
    uint64_t mac = 0;
    int r = check_host(inet, request, why, size);
    if (r < 0)
        return r;
    const int offloads = make(fd, request, &ifr);
    memcpy(name, ifr.ifr_name, sizeof(name));
    r = offloads < 0 ? offloads : configure(inet, &ifr, request, &mac, &step);
    if (r < 0)
        return fail(-r, step, why, size);
    if (request->bridge[0])
        keep_host_silent(name);
    if (request->bridge[0] && (r = enter_bridge(inet, request, name, why, size)) < 0)
        return r;
    if ((r = set_up(inet, &ifr, &step)) < 0)
        return fail(-r, step, why, size);
    /* A bridge's own address is not ours: what guests send to it is learnt like any other. */
    *facts = (struct uplink_facts){.mac = request->bridge[0] ? 0 : mac, .mtu = request->mtu};
    memcpy(facts->ifname, name, sizeof(facts->ifname));
    if (offloads)
        set_offload(fd, facts);
    return 0;
}

int tap_open(const struct tap_request *request, struct uplink_facts *ret_facts, char *ret_why,
             size_t why_size)
{
    if (!request_is_valid(request)) {
        snprintf(ret_why, why_size, "TAP: the address, netmask or MTU is not one a host can have");
        return -EINVAL;
    }
    int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return fail(errno, "/dev/net/tun", ret_why, why_size);
    int inet = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    int r = inet < 0 ? fail(errno, "TAP: socket", ret_why, why_size)
                     : open_on(fd, inet, request, ret_facts, ret_why, why_size);
    if (inet >= 0)
        close(inet);
    if (r == 0)
        return fd;
    close(fd);
    return r;
}

void tap_remove_stale(void)
{
    ovs_remove_stale();
}
