#include "daemon/tap.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "io/vnet.h"
#include "switch/mac.h"

/* The kernel puts the first free number in, so the name is one that nobody had. */
static const char name_pattern[] = "vmsw%d";

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

/* Addresses the interface named in 'ifr' and sets it up. Returns 0, or a negative errno and the step. */
static int configure(int inet, struct ifreq *ifr, const struct tap_request *request, uint64_t *ret_mac,
                     const char **ret_step)
{
    if (*ret_step = "TAP: SIOCGIFHWADDR", ioctl(inet, SIOCGIFHWADDR, ifr) < 0)
        return -errno;
    uint8_t bytes[MAC_LEN];
    memcpy(bytes, ifr->ifr_hwaddr.sa_data, sizeof(bytes));
    *ret_mac = mac_load(bytes);
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
    if (*ret_step = "TAP: SIOCGIFFLAGS", ioctl(inet, SIOCGIFFLAGS, ifr) < 0)
        return -errno;
    ifr->ifr_flags = (short)(ifr->ifr_flags | IFF_UP);
    if (*ret_step = "TAP: SIOCSIFFLAGS", ioctl(inet, SIOCSIFFLAGS, ifr) < 0)
        return -errno;
    return 0;
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

int tap_open(const struct tap_request *request, struct uplink_facts *ret_facts, char *ret_why,
             size_t why_size)
{
    const char *step = "/dev/net/tun";
    struct ifreq ifr = {.ifr_flags = 0};
    uint64_t mac = 0;
    int r = 0;
    if (!request_is_valid(request)) {
        snprintf(ret_why, why_size, "TAP: the address, netmask or MTU is not one a host can have");
        return -EINVAL;
    }
    int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return fail(errno, step, ret_why, why_size);
    int inet = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (inet < 0) {
        r = -errno;
        step = "TAP: socket";
        goto close_tap;
    }
    memcpy(ifr.ifr_name, name_pattern, sizeof(name_pattern));
    /* EXCL: never attach to an interface that is there. */
    bool offloads = has_vnet_header(fd);
    ifr.ifr_flags = (short)(IFF_TAP | IFF_NO_PI | IFF_TUN_EXCL | (offloads ? IFF_VNET_HDR : 0));
    if (step = "TAP: TUNSETIFF", ioctl(fd, TUNSETIFF, &ifr) < 0) {
        r = -errno;
        goto close_inet;
    }
    ioctl(fd, TUNSETOWNER,
          (unsigned long)request->uid); /* for "ip tuntap show"; of no effect while it is held */
    r = configure(inet, &ifr, request, &mac, &step);
    if (r == 0) {
        *ret_facts = (struct uplink_facts){.mac = mac, .mtu = request->mtu};
        memcpy(ret_facts->ifname, ifr.ifr_name, sizeof(ret_facts->ifname));
        if (offloads)
            set_offload(fd, ret_facts);
    }
close_inet:
    close(inet);
close_tap:
    if (r == 0)
        return fd;
    close(fd);
    return fail(-r, step, ret_why, why_size);
}
