/* daemon/dhcp_watch.c - see dhcp_watch.h */
#include "daemon/dhcp_watch.h"

#include <string.h>

#include "switch/mac.h"

enum {
    ETHER_SIZE = 14,
    UDP_SIZE = 8,
    PROTOCOL_UDP = 17,
    PORT_SERVER = 67,
    PORT_CLIENT = 68,
    /* RFC 2131, figure 1 */
    OP_REQUEST = 1,
    OP_REPLY = 2,
    AT_YIADDR = 16,
    AT_CHADDR = 28,
    AT_OPTIONS = 240, /* behind the magic cookie */
    /* RFC 2132 */
    OPTION_PAD = 0,
    OPTION_TYPE = 53,
    OPTION_END = 255,
    TYPE_DISCOVER = 1,
    TYPE_REQUEST = 3,
};

static uint32_t load16(const uint8_t *bytes)
{
    return (uint32_t)bytes[0] << 8 | bytes[1];
}

static uint32_t load32(const uint8_t *bytes)
{
    return load16(bytes) << 16 | load16(bytes + 2);
}

/* Returns the BOOTP message of a UDP frame to 'port', and its length, or NULL. */
static const uint8_t *find_bootp(const uint8_t *frame, size_t len, unsigned port, uint8_t op, size_t *ret_len)
{
    if (len < ETHER_SIZE + 20 || load16(frame + 12) != 0x0800 || frame[ETHER_SIZE + 9] != PROTOCOL_UDP)
        return NULL;
    size_t at = ETHER_SIZE + (size_t)(frame[ETHER_SIZE] & 0xF) * 4;
    if (len < at + UDP_SIZE + AT_OPTIONS || load16(frame + at + 2) != port || frame[at + UDP_SIZE] != op)
        return NULL;
    *ret_len = len - at - UDP_SIZE;
    return frame + at + UDP_SIZE;
}

/* DISCOVER or REQUEST, or an old BOOTP request without a type: what libslirp answers with an address. */
static bool asks_for_an_address(const uint8_t *bootp, size_t len)
{
    size_t at = AT_OPTIONS;
    while (at < len && bootp[at] != OPTION_END) {
        if (bootp[at] == OPTION_PAD) {
            at++;
            continue;
        }
        if (at + 2 >= len)
            break;
        if (bootp[at] == OPTION_TYPE)
            return bootp[at + 2] == TYPE_DISCOVER || bootp[at + 2] == TYPE_REQUEST;
        at += 2 + (size_t)bootp[at + 1];
    }
    return true;
}

static bool holds_a_lease(const struct dhcp_watch *watch, uint64_t client)
{
    for (unsigned i = 0; i < watch->n_leases; i++)
        if (watch->held & 1U << i && watch->holders[i] == client)
            return true;
    return false;
}

void dhcp_watch_init(struct dhcp_watch *watch, uint32_t first, unsigned n_leases)
{
    *watch = (struct dhcp_watch){.first = first, .n_leases = n_leases};
}

bool dhcp_watch_request(struct dhcp_watch *watch, const uint8_t *frame, size_t len, uint64_t now_ms)
{
    size_t bootp_len = 0;
    const uint8_t *bootp = find_bootp(frame, len, PORT_SERVER, OP_REQUEST, &bootp_len);
    if (!bootp || watch->n_leases == 0 || watch->held != (1U << watch->n_leases) - 1)
        return true;
    uint64_t client = mac_load(bootp + AT_CHADDR);
    if (holds_a_lease(watch, client) || !asks_for_an_address(bootp, bootp_len))
        return true;
    if (!watch->is_exhausted) /* not the latest: a guest could make news of every frame */
        watch->starving = client;
    watch->is_exhausted = true;
    watch->since_ms = now_ms;
    return false;
}

bool dhcp_watch_reply(struct dhcp_watch *watch, const uint8_t *frame, size_t len)
{
    size_t bootp_len = 0;
    const uint8_t *bootp = find_bootp(frame, len, PORT_CLIENT, OP_REPLY, &bootp_len);
    if (!bootp)
        return true;
    uint32_t lease = load32(bootp + AT_YIADDR) - watch->first;
    if (lease >= SLIRP_LEASES) /* a refusal: it names no address */
        return true;
    if (lease >= watch->n_leases)
        return false;
    uint64_t client = mac_load(bootp + AT_CHADDR);
    watch->held |= 1U << lease;
    watch->holders[lease] = client;
    if (client == watch->starving)
        watch->is_exhausted = false;
    return true;
}

int64_t dhcp_watch_expire(struct dhcp_watch *watch, uint64_t now_ms)
{
    if (!watch->is_exhausted)
        return -1;
    uint64_t asked_ago_ms = now_ms - watch->since_ms;
    if (asked_ago_ms < DHCP_EXHAUSTED_MS)
        return (int64_t)(DHCP_EXHAUSTED_MS - asked_ago_ms);
    watch->is_exhausted = false;
    return -1;
}
