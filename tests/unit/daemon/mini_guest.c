#include "tests/unit/daemon/mini_guest.h"

#include <string.h>

#include "switch/mac.h"

enum { ETHER = 14, IPV4 = 20, UDP = 8, TCP = 20, BOOTP = 236 };

static const uint64_t broadcast = UINT64_C(0xFFFFFFFFFFFF);

static void put16(uint8_t *at, uint32_t value)
{
    at[0] = (uint8_t)(value >> 8);
    at[1] = (uint8_t)value;
}

static void put32(uint8_t *at, uint32_t value)
{
    put16(at, value >> 16);
    put16(at + 2, value & 0xFFFF);
}

static unsigned get16(const uint8_t *at)
{
    return (unsigned)at[0] << 8 | at[1];
}

static uint32_t get32(const uint8_t *at)
{
    return (uint32_t)get16(at) << 16 | get16(at + 2);
}

static uint32_t sum(const uint8_t *bytes, size_t len, uint32_t start)
{
    uint32_t total = start;
    for (size_t i = 0; i < len; i++)
        total += i % 2 ? bytes[i] : (uint32_t)bytes[i] << 8;
    while (total >> 16)
        total = (total & 0xFFFF) + (total >> 16);
    return total;
}

uint32_t guest_random(uint32_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 17;
    *state ^= *state << 5;
    return *state;
}

static void start_frame(const struct mini_guest *guest, uint64_t to, unsigned type, struct built *ret)
{
    memset(ret, 0, sizeof(*ret));
    mac_store(ret->bytes, to);
    mac_store(ret->bytes + 6, guest->mac);
    put16(ret->bytes + 12, type);
}

static void put_arp(const struct mini_guest *guest, unsigned op, uint64_t to_mac, uint32_t to_ip,
                    struct built *ret)
{
    static const uint8_t ethernet_ipv4[] = {0, 1, 8, 0, 6, 4};
    uint8_t *arp = ret->bytes + ETHER;
    memcpy(arp, ethernet_ipv4, sizeof(ethernet_ipv4));
    put16(arp + 6, op);
    mac_store(arp + 8, guest->mac);
    put32(arp + 14, guest->ip);
    mac_store(arp + 18, to_mac);
    put32(arp + 24, to_ip);
    ret->len = ETHER + 28;
}

void guest_arp_request(const struct mini_guest *guest, uint32_t wanted, struct built *ret)
{
    start_frame(guest, broadcast, 0x0806, ret);
    put_arp(guest, 1, 0, wanted, ret);
}

void guest_arp_reply(const struct mini_guest *guest, uint64_t to_mac, uint32_t to_ip, struct built *ret)
{
    start_frame(guest, to_mac, 0x0806, ret);
    put_arp(guest, 2, to_mac, to_ip, ret);
}

void guest_ipv4_checksum(uint8_t *frame)
{
    uint8_t *ip = frame + ETHER;
    put16(ip + 10, 0);
    put16(ip + 10, ~sum(ip, (size_t)(ip[0] & 0xF) * 4, 0) & 0xFFFF);
}

/* The transport part lies in place already; 'checksum_at' is its checksum's offset within it. */
static void put_ipv4(const struct mini_guest *guest, uint32_t to, uint8_t protocol, size_t len,
                     size_t checksum_at, struct built *ret)
{
    uint8_t *ip = ret->bytes + ETHER, *transport = ip + IPV4;
    ip[0] = 0x45;
    put16(ip + 2, (uint32_t)(IPV4 + len));
    ip[8] = 64;
    ip[9] = protocol;
    put32(ip + 12, guest->ip);
    put32(ip + 16, to);
    guest_ipv4_checksum(ret->bytes);
    uint32_t pseudo = protocol == 1 ? 0 : sum(ip + 12, 8, (uint32_t)(protocol + len));
    uint32_t checksum = ~sum(transport, len, pseudo) & 0xFFFF;
    put16(transport + checksum_at, checksum ? checksum : 0xFFFF);
    ret->len = ETHER + IPV4 + len;
}

void guest_udp(const struct mini_guest *guest, uint32_t to, unsigned port_from, unsigned port_to,
               const void *payload, size_t len, struct built *ret)
{
    start_frame(guest, broadcast, 0x0800, ret);
    uint8_t *udp = ret->bytes + ETHER + IPV4;
    put16(udp, port_from);
    put16(udp + 2, port_to);
    put16(udp + 4, (uint32_t)(UDP + len));
    memcpy(udp + UDP, payload, len);
    put_ipv4(guest, to, 17, UDP + len, 6, ret);
}

void guest_dhcp(const struct mini_guest *guest, unsigned type, uint32_t requested, struct built *ret)
{
    static const uint8_t cookie[] = {0x63, 0x82, 0x53, 0x63};
    uint8_t bootp[BOOTP + 312] = {1, 1, 6, 0, 0x12, 0x34, 0x56, 0x78};
    mac_store(bootp + 28, guest->mac);
    uint8_t *option = bootp + BOOTP;
    memcpy(option, cookie, sizeof(cookie));
    option += sizeof(cookie);
    *option++ = 53;
    *option++ = 1;
    *option++ = (uint8_t)type;
    if (requested) {
        *option++ = 50;
        *option++ = 4;
        put32(option, requested);
        option += 4;
    }
    *option = 255;
    const struct mini_guest nobody = {.mac = guest->mac};
    guest_udp(&nobody, 0xFFFFFFFF, 68, 67, bootp, sizeof(bootp), ret);
}

void guest_ping(const struct mini_guest *guest, uint32_t to, struct built *ret)
{
    start_frame(guest, broadcast, 0x0800, ret);
    uint8_t *icmp = ret->bytes + ETHER + IPV4;
    icmp[0] = 8;
    put16(icmp + 4, 77);
    put16(icmp + 6, 1);
    memset(icmp + 8, 'x', 32);
    put_ipv4(guest, to, 1, 40, 2, ret);
}

void guest_tcp_syn(const struct mini_guest *guest, uint32_t to, unsigned port_from, unsigned port_to,
                   struct built *ret)
{
    start_frame(guest, broadcast, 0x0800, ret);
    uint8_t *tcp = ret->bytes + ETHER + IPV4;
    put16(tcp, port_from);
    put16(tcp + 2, port_to);
    put32(tcp + 4, 1000);
    tcp[12] = 5 << 4;
    tcp[13] = TCP_SYN;
    put16(tcp + 14, 65535);
    put_ipv4(guest, to, 6, TCP, 16, ret);
}

static void look_at_dhcp(const uint8_t *bootp, size_t len, struct seen *ret)
{
    ret->dhcp_ip = get32(bootp + 16);
    ret->dhcp_client = mac_load(bootp + 28);
    for (size_t at = BOOTP + 4; at + 2 < len && bootp[at] != 255; at += 2 + (size_t)bootp[at + 1]) {
        const uint8_t *value = bootp + at + 2;
        if (bootp[at] == 53)
            ret->dhcp_type = value[0];
        else if (bootp[at] == 1)
            ret->dhcp_mask = get32(value);
        else if (bootp[at] == 3)
            ret->dhcp_router = get32(value);
        else if (bootp[at] == 6)
            ret->dhcp_dns = get32(value);
    }
}

static bool look_at_ipv4(const uint8_t *ip, size_t len, struct seen *ret)
{
    size_t header = (size_t)(ip[0] & 0xF) * 4;
    if (len < IPV4 || len < header + UDP)
        return false;
    const uint8_t *transport = ip + header;
    ret->protocol = ip[9];
    ret->ip_from = get32(ip + 12);
    ret->ip_to = get32(ip + 16);
    if (ret->protocol == 1) {
        ret->icmp_type = transport[0];
        return true;
    }
    ret->port_from = get16(transport);
    ret->port_to = get16(transport + 2);
    if (ret->protocol == 6) {
        if (len < header + TCP)
            return false;
        ret->tcp_seq = get32(transport + 4);
        ret->tcp_flags = transport[13];
        return true;
    }
    ret->payload = transport + UDP;
    ret->payload_len = len - header - UDP;
    if (ret->port_to == 68 && ret->payload_len > BOOTP + 4)
        look_at_dhcp(ret->payload, ret->payload_len, ret);
    return true;
}

bool guest_look(const uint8_t *frame, size_t len, struct seen *ret)
{
    memset(ret, 0, sizeof(*ret));
    if (len < ETHER)
        return false;
    ret->mac_to = mac_load(frame);
    ret->mac_from = mac_load(frame + 6);
    ret->ether_type = get16(frame + 12);
    if (ret->ether_type == 0x0800)
        return look_at_ipv4(frame + ETHER, len - ETHER, ret);
    if (ret->ether_type != 0x0806)
        return true;
    if (len < ETHER + 28)
        return false;
    ret->arp_op = get16(frame + ETHER + 6);
    ret->arp_mac_from = mac_load(frame + ETHER + 8);
    ret->ip_from = get32(frame + ETHER + 14);
    ret->ip_to = get32(frame + ETHER + 24);
    return true;
}
