/* tests/unit/daemon/mini_guest.h - just enough of a guest's network stack to talk to a NAT
 *
 * Builds frames with correct lengths and checksums and takes received ones apart. No state but the addresses.
 */
#ifndef TESTS_MINI_GUEST_H
#define TESTS_MINI_GUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { GUEST_FRAME_MAX = 2048, DHCP_DISCOVER = 1, DHCP_OFFER = 2, DHCP_REQUEST = 3, DHCP_ACK = 5 };

enum { TCP_FIN = 1, TCP_SYN = 2, TCP_RST = 4, TCP_ACK = 16 };

struct mini_guest {
    uint64_t mac;
    uint32_t ip; /* host byte order; 0: none yet */
};

struct built {
    size_t len;
    uint8_t bytes[GUEST_FRAME_MAX];
};

/* What a received frame says; zero where it does not apply. */
struct seen {
    unsigned ether_type;
    uint64_t mac_from, mac_to;
    uint8_t protocol;
    uint32_t ip_from, ip_to;
    unsigned port_from, port_to;
    uint8_t tcp_flags;
    uint32_t tcp_seq;
    uint8_t icmp_type;
    unsigned arp_op;
    uint64_t arp_mac_from;
    unsigned dhcp_type;
    uint32_t dhcp_ip, dhcp_router, dhcp_dns, dhcp_mask;
    uint64_t dhcp_client;
    size_t payload_len;
    const uint8_t *payload; /* of UDP */
};

void guest_arp_request(const struct mini_guest *guest, uint32_t wanted, struct built *ret);
void guest_arp_reply(const struct mini_guest *guest, uint64_t to_mac, uint32_t to_ip, struct built *ret);
void guest_dhcp(const struct mini_guest *guest, unsigned type, uint32_t requested, struct built *ret);
void guest_ping(const struct mini_guest *guest, uint32_t to, struct built *ret);
void guest_udp(const struct mini_guest *guest, uint32_t to, unsigned port_from, unsigned port_to,
               const void *payload, size_t len, struct built *ret);
void guest_tcp_syn(const struct mini_guest *guest, uint32_t to, unsigned port_from, unsigned port_to,
                   struct built *ret);
/* Writes the header checksum of the IPv4 packet in 'frame'. */
void guest_ipv4_checksum(uint8_t *frame);

/* The same numbers in every run (xorshift32, Marsaglia 2003); *state is not 0. */
uint32_t guest_random(uint32_t *state);

/* Returns false if the frame is too short for what it claims to be. */
bool guest_look(const uint8_t *frame, size_t len, struct seen *ret);

#endif
