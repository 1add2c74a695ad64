/* tests/lib/traffic.c - building and checking test frames */
#include "tests/lib/traffic.h"

#include <string.h>
#include <time.h>

enum { ETHERTYPE = 0x88b5 /* IEEE: local experiments */, MAGIC = 0x564d5357, PATTERN = 4096 };

static uint8_t pattern[PATTERN + TRAFFIC_FRAME_MAX];

static void fill_pattern(void)
{
    uint32_t state = 0x9e3779b9;

    if (pattern[0])
        return;
    for (size_t i = 0; i < sizeof(pattern); i++) {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        pattern[i] = (uint8_t)(state >> 8);
    }
    pattern[0] = 1; /* filled */
}

static const uint8_t *pattern_of(const struct traffic_info *info)
{
    return pattern + (info->number * 31 + info->flow * 7u) % PATTERN;
}

static void put(uint8_t **at, uint64_t value, unsigned bytes)
{
    while (bytes-- > 0)
        *(*at)++ = (uint8_t)(value >> (8 * bytes));
}

static uint64_t get(const uint8_t **at, unsigned bytes)
{
    uint64_t value = 0;

    while (bytes-- > 0)
        value = value << 8 | *(*at)++;
    return value;
}

/* FNV-1a: enough to tell a header that was changed. */
static uint32_t checksum(const uint8_t *data, size_t len)
{
    uint32_t hash = 2166136261u;

    for (size_t i = 0; i < len; i++)
        hash = (hash ^ data[i]) * 16777619u;
    return hash;
}

void traffic_mac(uint8_t mac[6], unsigned base, unsigned index)
{
    const uint8_t bytes[6] = {0x52, 0x54, 0x00, (uint8_t)base, (uint8_t)(index >> 8), (uint8_t)index};

    memcpy(mac, bytes, 6);
}

void traffic_build(uint8_t *frame, size_t len, const uint8_t to[6], const uint8_t from[6],
                   const struct traffic_info *info)
{
    uint8_t *at = frame + 12;

    fill_pattern();
    memcpy(frame, to, 6);
    memcpy(frame + 6, from, 6);
    put(&at, ETHERTYPE, 2);
    put(&at, MAGIC, 4);
    put(&at, info->run, 4);
    put(&at, info->flow, 2);
    put(&at, info->from, 2);
    put(&at, info->number, 8);
    put(&at, info->sent_ns, 8);
    put(&at, len, 4);
    put(&at, checksum(frame, (size_t)(at - frame)), 4);
    memcpy(at, pattern_of(info), len - TRAFFIC_HEADER);
}

enum traffic_verdict traffic_check(const uint8_t *frame, size_t len, uint32_t run,
                                   struct traffic_info *ret_info)
{
    const uint8_t *at = frame + 12;

    fill_pattern();
    if (len < TRAFFIC_HEADER || get(&at, 2) != ETHERTYPE || get(&at, 4) != MAGIC)
        return TRAFFIC_ALIEN;
    ret_info->run = (uint32_t)get(&at, 4);
    ret_info->flow = (uint16_t)get(&at, 2);
    ret_info->from = (uint16_t)get(&at, 2);
    ret_info->number = get(&at, 8);
    ret_info->sent_ns = get(&at, 8);
    uint64_t said_len = get(&at, 4);
    uint32_t expected = checksum(frame, (size_t)(at - frame));
    if (get(&at, 4) != expected || said_len != len)
        return TRAFFIC_CORRUPT;
    if (ret_info->run != run)
        return TRAFFIC_ALIEN;
    return memcmp(at, pattern_of(ret_info), len - TRAFFIC_HEADER) == 0 ? TRAFFIC_GOOD : TRAFFIC_CORRUPT;
}

uint64_t traffic_now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}
