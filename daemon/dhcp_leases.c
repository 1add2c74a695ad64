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

unsigned dhcp_leases_remove(char *text, const uint32_t *addresses, unsigned n)
{
    struct dhcp_lease lease;
    unsigned n_removed = 0;
    bool is_lease;
    char *to = text;
    const char *next;
    for (const char *line = text; (next = read_line(line, &lease, &is_lease)); line = next) {
        bool is_gone = false;
        for (unsigned i = 0; is_lease && i < n && !is_gone; i++)
            is_gone = addresses[i] == lease.address;
        n_removed += is_gone;
        if (is_gone)
            continue;
        memmove(to, line, (size_t)(next - line));
        to += next - line;
    }
    *to = '\0';
    return n_removed;
}
