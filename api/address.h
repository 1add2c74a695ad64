/* api/address.h - IP addresses as people write them; IPv4 in host byte order */
#ifndef API_ADDRESS_H
#define API_ADDRESS_H

#include <stdbool.h>
#include <stdint.h>

#define IPV4_TEXT_SIZE 16     /* "255.255.255.255" */
#define ENDPOINT_TEXT_SIZE 22 /* "255.255.255.255:65535" */
#define IPV6_TEXT_SIZE 46
#define PREFIX_TEXT_SIZE 50 /* an IPv6 address and "/64" */

/* Each takes the whole text and nothing else, or returns false. */
bool ipv4_parse(const char *text, uint32_t *ret_ip);
bool port_number_parse(const char *text, uint16_t *ret_port);                /* 1 to 65535 */
bool endpoint_parse(const char *text, uint32_t *ret_ip, uint16_t *ret_port); /* "192.168.105.5:80" */
bool prefix_parse(const char *text, uint8_t ret_prefix[16]);                 /* "fd00:1:2:3::/64" */
bool ipv6_parse(const char *text, uint8_t ret_ip[16]); /* a machine's: neither :: nor multicast */

void ipv4_format(uint32_t ip, char text[IPV4_TEXT_SIZE]);
void endpoint_format(uint32_t ip, uint16_t port, char text[ENDPOINT_TEXT_SIZE]);
void ipv6_format(const uint8_t ip[16], char text[IPV6_TEXT_SIZE]);
void prefix_format(const uint8_t prefix[16], char text[PREFIX_TEXT_SIZE]);

/* One bits, then zero bits, from /8 to /29: below, a switch of 4,096 addresses makes no sense; above, no
 * guest fits beside the gateway. */
bool netmask_is_valid(uint32_t netmask);

/* An address a machine may have: not 0/8, 127/8, multicast or above. */
bool ipv4_is_host(uint32_t ip);

#endif
