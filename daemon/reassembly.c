/* daemon/reassembly.c - see reassembly.h */
#include "daemon/reassembly.h"

#include <stdbool.h>
#include <string.h>

enum { ETHER_SIZE = 14, IPV4_SIZE = 20, MORE_FRAGMENTS = 0x2000, OFFSET_MASK = 0x1FFF, BLOCK_SIZE = 8 };

struct fragment {
    uint64_t key[2];
    uint32_t at, len; /* of its payload, in the datagram's */
    bool is_last;
    const uint8_t *frame; /* header, then payload */
};

static uint32_t load16(const uint8_t *bytes)
{
    return (uint32_t)bytes[0] << 8 | bytes[1];
}

static void store16(uint8_t *bytes, uint32_t value)
{
    bytes[0] = (uint8_t)(value >> 8);
    bytes[1] = (uint8_t)value;
}

static bool is_fragment(const uint8_t *frame)
{
    return load16(frame + 12) == 0x0800 && load16(frame + ETHER_SIZE + 6) & (MORE_FRAGMENTS | OFFSET_MASK);
}

static bool parse(const uint8_t *frame, struct fragment *ret)
{
    const uint8_t *ip = frame + ETHER_SIZE;
    uint32_t flags = load16(ip + 6);
    *ret = (struct fragment){
        .at = (flags & OFFSET_MASK) * BLOCK_SIZE,
        .len = load16(ip + 2) - IPV4_SIZE,
        .is_last = !(flags & MORE_FRAGMENTS),
        .frame = frame,
    };
    memcpy(&ret->key[0], ip + 12, 8);
    ret->key[1] = load16(ip + 4) << 8 | ip[9];
    return (ip[0] & 0xF) == IPV4_SIZE / 4 && ret->len > 0 && ret->at + ret->len <= REASSEMBLY_PAYLOAD &&
           (ret->is_last || ret->len % BLOCK_SIZE == 0);
}

static void clear(struct reassembly_slot *slot)
{
    memset(slot->blocks, 0, sizeof(slot->blocks));
    slot->received = slot->high = slot->total = 0;
}

/* The slot of the fragment's datagram: the one that has begun, a free one, or the oldest, emptied. */
static struct reassembly_slot *find_slot(struct reassembly *reassembly, const struct fragment *fragment,
                                         uint64_t now_ms)
{
    struct reassembly_slot *best = NULL;
    for (unsigned i = 0; i < REASSEMBLY_MAX; i++) {
        struct reassembly_slot *slot = &reassembly->slots[i];
        if (slot->received > 0 && now_ms - slot->since_ms >= REASSEMBLY_MS) {
            clear(slot);
            reassembly->drop_stale++;
        }
        if (slot->received > 0 && memcmp(slot->key, fragment->key, sizeof(slot->key)) == 0)
            return slot;
        if (!best || (best->received > 0 && (slot->received == 0 || slot->since_ms < best->since_ms)))
            best = slot;
    }
    if (best->received > 0) {
        clear(best);
        reassembly->drop_stale++;
    }
    memcpy(best->key, fragment->key, sizeof(best->key));
    best->since_ms = now_ms;
    return best;
}

/* Returns false if some of its blocks have come before. */
static bool mark(struct reassembly_slot *slot, const struct fragment *fragment)
{
    uint32_t end = (fragment->at + fragment->len + BLOCK_SIZE - 1) / BLOCK_SIZE;
    for (uint32_t block = fragment->at / BLOCK_SIZE; block < end; block++) {
        uint8_t bit = (uint8_t)(1U << block % 8);
        if (slot->blocks[block / 8] & bit)
            return false;
        slot->blocks[block / 8] |= bit;
    }
    return true;
}

/* Returns false if the fragment does not fit what has come before. */
static bool put(struct reassembly_slot *slot, const struct fragment *fragment)
{
    uint32_t end = fragment->at + fragment->len;
    if (slot->total > 0 && end > slot->total)
        return false;
    if (fragment->is_last && slot->high > end)
        return false;
    if (!mark(slot, fragment))
        return false;
    if (fragment->is_last)
        slot->total = end;
    if (end > slot->high)
        slot->high = end;
    slot->received += fragment->len;
    if (fragment->at == 0) /* the datagram's header is the first one's */
        memcpy(slot->frame, fragment->frame, REASSEMBLY_HEADER);
    memcpy(slot->frame + REASSEMBLY_HEADER + fragment->at, fragment->frame + REASSEMBLY_HEADER,
           fragment->len);
    return true;
}

static void finish_header(struct reassembly_slot *slot)
{
    uint8_t *ip = slot->frame + ETHER_SIZE;
    store16(ip + 2, IPV4_SIZE + slot->total);
    store16(ip + 6, 0);
    store16(ip + 10, 0);
    uint32_t sum = 0; /* RFC 1071 */
    for (unsigned i = 0; i < IPV4_SIZE; i += 2)
        sum += load16(ip + i);
    sum = (sum & 0xFFFF) + (sum >> 16);
    sum = (sum & 0xFFFF) + (sum >> 16);
    store16(ip + 10, ~sum & 0xFFFF);
}

const uint8_t *reassembly_add(struct reassembly *reassembly, const uint8_t *frame, size_t len,
                              uint64_t now_ms, size_t *ret_len)
{
    struct fragment fragment;
    *ret_len = len;
    if (!is_fragment(frame))
        return frame;
    if (!parse(frame, &fragment)) {
        reassembly->drop_bad++;
        return NULL;
    }
    struct reassembly_slot *slot = find_slot(reassembly, &fragment, now_ms);
    if (!put(slot, &fragment)) {
        clear(slot);
        reassembly->drop_bad++;
        return NULL;
    }
    /* No block came twice, so that as many bytes as there should be are all of them. */
    if (slot->total == 0 || slot->received != slot->total)
        return NULL;
    finish_header(slot);
    *ret_len = REASSEMBLY_HEADER + slot->total;
    clear(slot); /* the frame stays as it is until the slot is used again */
    return slot->frame;
}
