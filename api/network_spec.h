/* api/network_spec.h - a network and a port as they are wanted: flat data, no pointers
 *
 * Filled from JSON (configuration, API, state folder) by api/spec_json.c and sent between roles as it lies.
 * Addresses are in host byte order.
 */
#ifndef API_NETWORK_SPEC_H
#define API_NETWORK_SPEC_H

#include <stdbool.h>
#include <stdint.h>

#include "io/uplink.h"
#include "switch/port.h"

#define NETWORK_NAME_SIZE PORT_NAME_SIZE
#define NETWORK_GROUP_SIZE 33
#define NETWORK_IFNAME_SIZE 16

enum {
    NETWORKS_MAX = 64,
    NETWORK_PORTS_MAX = 256, /* uplink not counted */
    NETWORK_FORWARDS_MAX = 32,
    NETWORK_RESERVATIONS_MAX = 64,
    PORT_STATICS_MAX = 8,
};

enum network_mode { MODE_SHARED, MODE_HOST, MODE_BRIDGED, MODE_INTERNAL, MODE_N };
enum network_uplink { WANT_AUTO, WANT_NONE, WANT_USER, WANT_TAP, WANT_VMNET, WANT_N };

struct network_forward {
    uint32_t host_ip; /* 0: every address of the host; "host": "8080" means 127.0.0.1:8080 */
    uint32_t guest_ip;
    uint16_t host_port, guest_port;
    bool is_udp;
};

/* The guest with this MAC address gets this address over DHCP, and no other guest does. */
struct network_reservation {
    uint64_t mac;
    uint32_t address;
};

/* "vmnet": what only macOS's vmnet knows. All of it has a default that every macOS can do. */
struct network_vmnet {
    bool has_interface_id; /* else one is derived from the network's name and the host */
    uint8_t interface_id[16];
    bool has_network_id; /* of an isolated host network without DHCP; else the interface's id */
    uint8_t network_id[16];
    bool has_host_ipv6; /* the host's address on such a network */
    uint8_t host_ipv6[16];
    bool isolation_is_set; /* else as the network's "isolated" */
    bool isolation;        /* no frames between this interface and other users of the same vmnet */
    bool nat44, nat66, dns_proxy, router_advertisement;
    char external_interface[NETWORK_IFNAME_SIZE]; /* "": the one of the default route */
    bool tso, checksum_offload, virtio_header;    /* used where the system has them */
};

struct network_spec {
    char name[NETWORK_NAME_SIZE];
    enum network_mode mode;
    enum network_uplink uplink;
    char interface[NETWORK_IFNAME_SIZE]; /* bridged; "" is null */
    struct {
        uint32_t gateway, netmask, dhcp_end;
        bool dhcp;
        bool dhcp_is_set; /* said by the user, not defaulted */
        uint32_t n_reservations;
        struct network_reservation reservations[NETWORK_RESERVATIONS_MAX];
    } ipv4;
    struct {
        bool has_prefix;
        uint8_t prefix[16]; /* a /64 */
    } ipv6;
    uint32_t mtu;
    bool isolated;
    enum port_offload offload; /* of ports that do not say; the uplink's is its own affair */
    bool host_loopback;        /* guests may reach the host's loopback (user uplink) */
    uint32_t n_forwards;
    struct network_forward forwards[NETWORK_FORWARDS_MAX];
    struct network_vmnet vmnet;
    struct {
        bool stream, datagram;
        char group[NETWORK_GROUP_SIZE]; /* "" is null: none */
        uint32_t mode;                  /* 0600, 0660, 0666 ... */
    } sockets;
    struct {
        uint32_t fdb_entries, fdb_per_port, fdb_uplink; /* 0: the default */
        uint32_t queue_frames, queue_bytes;
    } limits;
    struct {
        uint32_t read_bytes, batch_frames, socket_bytes, busy_poll_us; /* as struct io_settings */
    } tuning;
};

struct port_spec {
    char name[PORT_NAME_SIZE];
    bool enabled; /* "link": "up" | "down" */
    bool isolated;
    bool offload_is_set;       /* else the network's default */
    enum port_offload offload; /* constant while the port lives */
    uint32_t n_statics;
    uint64_t statics[PORT_STATICS_MAX]; /* "static_addresses": pinned to this port */
};

/* PATCH: what to change. */
struct port_change {
    bool has_enabled, enabled;
    bool has_isolated, isolated;
};

/* True if nothing but what can change while frames flow differs: isolated and forwards. */
bool network_spec_differs_live_only(const struct network_spec *a, const struct network_spec *b);

/* True if the two say the same. */
bool network_spec_is_same(const struct network_spec *a, const struct network_spec *b);

/* Copies to 'spec' what can change while frames flow. */
void network_spec_take_live(struct network_spec *spec, const struct network_spec *from);

/* True if the two say the same. */
bool port_spec_is_same(const struct port_spec *a, const struct port_spec *b);

/* True if everything in "vmnet" is as network_spec_init() has it. */
bool network_vmnet_is_default(const struct network_vmnet *vmnet);

/* True if a network with this uplink ('auto' resolved) has a process nat beside its TAP: for NAT, DHCP and
 * DNS in mode shared, for DHCP and the names of its guests in mode host. */
bool network_spec_wants_nat(const struct network_spec *spec, enum network_uplink uplink);

/* Defaults of a network called 'name'; mode internal, see api/spec_json.c for the defaults of each mode. */
void network_spec_init(struct network_spec *spec, const char *name, enum network_mode mode);

#endif
