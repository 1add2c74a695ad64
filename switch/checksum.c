/* switch/checksum.c - the Internet checksum (RFC 1071)
 *
 * How it works
 *   32-bit words are added into 64-bit lanes, which cannot overflow for any length that fits a frame; carries
 *   are folded once, at the end. The lanes are independent, so that a compiler may use vectors.
 */
#include "switch/checksum.h"

#include <string.h>

enum { N_LANES = 8 };

static uint64_t add_blocks(const uint8_t *bytes, size_t n_blocks)
{
    uint64_t lanes[N_LANES] = {0};
    uint64_t sum = 0;

    for (size_t block = 0; block < n_blocks; block++) {
        uint32_t words[N_LANES];
        memcpy(words, bytes + block * sizeof(words), sizeof(words));
        for (size_t i = 0; i < N_LANES; i++)
            lanes[i] += words[i];
    }
    for (size_t i = 0; i < N_LANES; i++)
        sum += lanes[i];
    return sum;
}

uint64_t checksum_add(uint64_t sum, const uint8_t *bytes, size_t len)
{
    size_t n_blocks = len / (N_LANES * sizeof(uint32_t));

    sum += add_blocks(bytes, n_blocks);
    bytes += n_blocks * N_LANES * sizeof(uint32_t);
    len -= n_blocks * N_LANES * sizeof(uint32_t);
    for (; len > 0; bytes += 2) {
        uint16_t word = 0;
        size_t n = len < sizeof(word) ? len : sizeof(word);
        memcpy(&word, bytes, n);
        sum += word;
        len -= n;
    }
    return sum;
}

uint64_t checksum_add_be16(uint64_t sum, uint16_t value)
{
    const uint8_t bytes[2] = {(uint8_t)(value >> 8), (uint8_t)value};

    return checksum_add(sum, bytes, sizeof(bytes));
}

static uint16_t fold(uint64_t sum)
{
    while (sum >> 16 != 0)
        sum = (sum & 0xFFFF) + (sum >> 16);
    return (uint16_t)sum;
}

void checksum_store_partial(uint8_t *field, uint64_t sum)
{
    uint16_t word = fold(sum);

    memcpy(field, &word, sizeof(word));
}

void checksum_store(uint8_t *field, uint64_t sum)
{
    uint16_t word = (uint16_t)~fold(sum);

    memcpy(field, &word, sizeof(word));
}

void checksum_store_udp(uint8_t *field, uint64_t sum)
{
    uint16_t word = (uint16_t)~fold(sum);

    if (word == 0)
        word = 0xFFFF;
    memcpy(field, &word, sizeof(word));
}
