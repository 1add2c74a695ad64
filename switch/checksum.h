/* switch/checksum.h - the Internet checksum (RFC 1071)
 *
 * A sum is of 16-bit words as they lie in memory, not yet folded: ones' complement arithmetic gives the same
 * bytes in either byte order, so nothing is ever swapped. Sums may be added to each other as long as each
 * was taken from an even offset of what is summed.
 */
#ifndef SWITCH_CHECKSUM_H
#define SWITCH_CHECKSUM_H

#include <stddef.h>
#include <stdint.h>

/* Returns 'sum' and the words of 'bytes', at any alignment; an odd last byte counts as if a zero followed. */
uint64_t checksum_add(uint64_t sum, const uint8_t *bytes, size_t len);

/* Returns 'sum' and a word whose value, big-endian on the wire, is 'value'. */
uint64_t checksum_add_be16(uint64_t sum, uint16_t value);

/* Writes the folded sum itself: what a partial checksum consists of. */
void checksum_store_partial(uint8_t *field, uint64_t sum);

/* Writes the complement of the folded sum: what a finished checksum is. */
void checksum_store(uint8_t *field, uint64_t sum);

/* Likewise, but never 0, which in UDP means that there is no checksum. */
void checksum_store_udp(uint8_t *field, uint64_t sum);

#endif
