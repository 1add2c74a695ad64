#include "api/address.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

bool ipv4_parse(const char *text, uint32_t *ret_ip)
{
    struct in_addr in;

    if (inet_pton(AF_INET, text, &in) != 1)
        return false;
    *ret_ip = ntohl(in.s_addr);
    return true;
}

bool port_number_parse(const char *text, uint16_t *ret_port)
{
    uint32_t port = 0;

    if (*text < '1' || *text > '9')
        return false;
    for (; *text >= '0' && *text <= '9' && port <= UINT16_MAX; text++)
        port = port * 10 + (uint32_t)(*text - '0');
    if (*text || port > UINT16_MAX)
        return false;
    *ret_port = (uint16_t)port;
    return true;
}

bool endpoint_parse(const char *text, uint32_t *ret_ip, uint16_t *ret_port)
{
    const char *colon = strchr(text, ':');
    char ip[IPV4_TEXT_SIZE];

    if (!colon || (size_t)(colon - text) >= sizeof(ip))
        return false;
    snprintf(ip, sizeof(ip), "%.*s", (int)(colon - text), text);
    return ipv4_parse(ip, ret_ip) && port_number_parse(colon + 1, ret_port);
}

bool prefix_parse(const char *text, uint8_t ret_prefix[16])
{
    static const uint8_t no_host[8];
    const char *slash = strchr(text, '/');
    char address[INET6_ADDRSTRLEN];
    struct in6_addr in;
    bool is_unique_local, is_global;

    if (!slash || strcmp(slash, "/64") != 0 || (size_t)(slash - text) >= sizeof(address))
        return false;
    snprintf(address, sizeof(address), "%.*s", (int)(slash - text), text);
    if (inet_pton(AF_INET6, address, &in) != 1)
        return false;
    is_unique_local = (in.s6_addr[0] & 0xFE) == 0xFC; /* fc00::/7, RFC 4193 */
    is_global = (in.s6_addr[0] & 0xE0) == 0x20;       /* 2000::/3, RFC 4291 */
    if (!(is_unique_local || is_global) || memcmp(in.s6_addr + 8, no_host, sizeof(no_host)) != 0)
        return false;
    memcpy(ret_prefix, in.s6_addr, 16);
    return true;
}

bool ipv6_parse(const char *text, uint8_t ret_ip[16])
{
    struct in6_addr in;

    if (inet_pton(AF_INET6, text, &in) != 1 || IN6_IS_ADDR_UNSPECIFIED(&in) || IN6_IS_ADDR_MULTICAST(&in))
        return false;
    memcpy(ret_ip, in.s6_addr, 16);
    return true;
}

void ipv4_format(uint32_t ip, char text[IPV4_TEXT_SIZE])
{
    snprintf(text, IPV4_TEXT_SIZE, "%u.%u.%u.%u", ip >> 24, ip >> 16 & 0xFF, ip >> 8 & 0xFF, ip & 0xFF);
}

void endpoint_format(uint32_t ip, uint16_t port, char text[ENDPOINT_TEXT_SIZE])
{
    snprintf(text, ENDPOINT_TEXT_SIZE, "%u.%u.%u.%u:%u", ip >> 24, ip >> 16 & 0xFF, ip >> 8 & 0xFF, ip & 0xFF,
             (unsigned)port);
}

void ipv6_format(const uint8_t ip[16], char text[IPV6_TEXT_SIZE])
{
    inet_ntop(AF_INET6, ip, text, IPV6_TEXT_SIZE);
}

void prefix_format(const uint8_t prefix[16], char text[PREFIX_TEXT_SIZE])
{
    char address[INET6_ADDRSTRLEN];

    inet_ntop(AF_INET6, prefix, address, sizeof(address));
    snprintf(text, PREFIX_TEXT_SIZE, "%s/64", address);
}

bool netmask_is_valid(uint32_t netmask)
{
    uint32_t hosts = ~netmask;

    return (hosts & (hosts + 1)) == 0 && hosts >= 7 && hosts <= 0xFFFFFF;
}

bool ipv4_is_host(uint32_t ip)
{
    return ip >> 24 != 0 && ip >> 24 != 127 && ip >> 24 < 224;
}
