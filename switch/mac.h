/* switch/mac.h - a 48-bit Ethernet address, held in the low bits of a uint64_t
 *
 * The first byte on the wire is the most significant of the six, so two addresses compare and hash as
 * one integer.
 */
#ifndef SWITCH_MAC_H
#define SWITCH_MAC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MAC_LEN 6
#define MAC_TEXT_SIZE 18 /* "52:54:00:12:34:56" and its NUL */

/* Reads the six bytes at 'bytes': as four and two, each of which compilers make one load of. */
static inline uint64_t mac_load(const uint8_t *bytes)
{
    const uint32_t first =
        (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 | bytes[3];
    const uint16_t last = (uint16_t)(bytes[4] << 8 | bytes[5]);

    return (uint64_t)first << 16 | last;
}

static inline void mac_store(uint8_t *bytes, uint64_t mac)
{
    for (int i = 0; i < MAC_LEN; i++)
        bytes[i] = (uint8_t)(mac >> (40 - 8 * i));
}

/* Broadcast and multicast: the group bit of the first byte (IEEE 802-2014, 8.2.2). */
static inline bool mac_is_group(uint64_t mac)
{
    return (mac >> 40) & 1;
}

/* 01:80:C2:00:00:00 to 0F, which no bridge forwards (IEEE 802.1Q-2018, table 8-1). */
static inline bool mac_is_reserved(uint64_t mac)
{
    return (mac & ~UINT64_C(0xF)) == UINT64_C(0x0180C2000000);
}

/* Writes "52:54:00:12:34:56". */
void mac_format(uint64_t mac, char text[MAC_TEXT_SIZE]);

/* Reads "52:54:00:12:34:56", either case, nothing before or behind it. Returns false for anything else. */
bool mac_parse(const char *text, uint64_t *ret_mac);

#endif
