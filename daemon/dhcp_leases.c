#include "daemon/dhcp_leases.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "api/address.h"

/* Reads the line at 'line'. Returns where the next one begins, NULL: there is none. */
static const char *read_line(const char *line, struct dhcp_lease *ret_lease, bool *ret_is_lease)
{
    char address[IPV4_TEXT_SIZE];
    char *rest = NULL;
    const char *end = strchr(line, '\n');
    *ret_is_lease = false;
    if (!end)
        return NULL;
    ret_lease->expiry = strtoull(line, &rest, 10);
    /* The number's reader skips the end of an empty line. */
    const char *mac = rest < end && *rest == ' ' ? rest + 1 : end;
    const char *ip = memchr(mac, ' ', (size_t)(end - mac));
    const size_t len = ip ? strcspn(ip + 1, " \n") : 0;
    if (len > 0 && len < sizeof(address)) {
        memcpy(address, ip + 1, len);
        address[len] = '\0';
        *ret_is_lease = ipv4_parse(address, &ret_lease->address);
    }
    return end + 1;
}

static void insert(struct dhcp_lease *leases, unsigned *n, unsigned max, struct dhcp_lease lease)
{
    unsigned at = *n;
    if (at == max && (at == 0 || leases[at - 1].expiry <= lease.expiry))
        return;
    at = at < max ? at : at - 1;
    for (; at > 0 && leases[at - 1].expiry > lease.expiry; at--)
        leases[at] = leases[at - 1];
    leases[at] = lease;
    *n += *n < max;
}

unsigned dhcp_leases_oldest(const char *text, struct dhcp_lease *leases, unsigned max)
{
    struct dhcp_lease lease;
    unsigned n = 0, n_all = 0;
    bool is_lease;
    for (const char *line = text; (line = read_line(line, &lease, &is_lease));) {
        n_all += is_lease;
        if (is_lease)
            insert(leases, &n, max, lease);
    }
    return n_all;
}

/* Takes out the leases that are unwanted. */
static unsigned take_out(char *text, bool (*is_unwanted)(const void *ctx, uint32_t address), const void *ctx)
{
    struct dhcp_lease lease;
    unsigned n_removed = 0;
    bool is_lease;
    char *to = text;
    const char *next;
    for (const char *line = text; (next = read_line(line, &lease, &is_lease)); line = next) {
        const bool is_gone = is_lease && is_unwanted(ctx, lease.address);
        n_removed += is_gone;
        if (is_gone)
            continue;
        memmove(to, line, (size_t)(next - line));
        to += next - line;
    }
    *to = '\0';
    return n_removed;
}

struct addresses {
    const uint32_t *addresses;
    unsigned n;
};

static bool is_among(const void *ctx, uint32_t address)
{
    const struct addresses *among = ctx;
    for (unsigned i = 0; i < among->n; i++)
        if (among->addresses[i] == address)
            return true;
    return false;
}

unsigned dhcp_leases_remove(char *text, const uint32_t *addresses, unsigned n)
{
    const struct addresses among = {.addresses = addresses, .n = n};
    return take_out(text, is_among, &among);
}

struct subnet {
    uint32_t address, netmask;
};

static bool is_outside(const void *ctx, uint32_t address)
{
    const struct subnet *subnet = ctx;
    return ((address ^ subnet->address) & subnet->netmask) != 0;
}

unsigned dhcp_leases_keep_subnet(char *text, uint32_t address, uint32_t netmask)
{
    const struct subnet subnet = {.address = address, .netmask = netmask};
    return take_out(text, is_outside, &subnet);
}

enum { LEASE_WORDS = 5, LEASE_LINE_MAX = 2048 };

static bool is_printable(const char *line, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (line[i] < ' ' || line[i] > '~')
            return false;
    return len > 0 && len <= LEASE_LINE_MAX;
}

/* Words are parted by one space each. */
static bool has_five_words(const char *line, size_t len)
{
    unsigned n_spaces = 0;
    for (size_t i = 0; i < len; i++) {
        if (line[i] != ' ')
            continue;
        if (i == 0 || i + 1 == len || line[i + 1] == ' ')
            return false;
        n_spaces++;
    }
    return n_spaces == LEASE_WORDS - 1;
}

static bool is_whole(const char *line, size_t len)
{
    const size_t number = strspn(line, "0123456789");
    if (!is_printable(line, len) || !has_five_words(line, len) || number == 0 || line[number] != ' ')
        return false;
    /* "52:54:00:12:34:56", or "20-80:00:..." of other kinds than Ethernet. */
    const size_t mac = strspn(line + number + 1, "0123456789abcdefABCDEF:-");
    return mac > 0 && line[number + 1 + mac] == ' ';
}

unsigned dhcp_leases_keep_valid(char *text)
{
    struct dhcp_lease lease;
    unsigned n_bad = 0;
    bool is_lease;
    char *to = text;
    const char *line = text, *next;
    for (; (next = read_line(line, &lease, &is_lease)); line = next) {
        const size_t len = (size_t)(next - line);
        if (!is_lease || !is_whole(line, len - 1)) {
            n_bad++;
            continue;
        }
        memmove(to, line, len);
        to += len;
    }
    n_bad += *line != '\0';
    *to = '\0';
    return n_bad;
}
