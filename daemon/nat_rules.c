#include "daemon/nat_rules.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

#include "api/address.h"

enum { LOOPBACK = 127 };

struct writer {
    char *text;
    size_t size, len;
};

__attribute__((format(printf, 2, 3))) static void put(struct writer *writer, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    const size_t left = writer->len < writer->size ? writer->size - writer->len : 0;
    const int n = vsnprintf(left ? writer->text + writer->len : NULL, left, format, args);
    va_end(args);
    writer->len += n > 0 ? (size_t)n : 0;
}

static const char *protocol(const struct network_forward *forward)
{
    return forward->is_udp ? "udp" : "tcp";
}

static void put_dnat(struct writer *writer, const struct network_forward *forward)
{
    char host[IPV4_TEXT_SIZE], guest[IPV4_TEXT_SIZE];
    ipv4_format(forward->host_ip, host);
    ipv4_format(forward->guest_ip, guest);
    put(writer, "  ip daddr %s %s dport %u dnat ip to %s:%u\n", host, protocol(forward),
        (unsigned)forward->host_port, guest, (unsigned)forward->guest_port);
}

static bool is_loopback(const struct network_forward *forward)
{
    return forward->host_ip >> 24 == LOOPBACK;
}

/* What is not for the loopback comes from everywhere. */
static void put_forwards(struct writer *writer, const struct nat_plan *plan)
{
    put(writer, " chain prerouting {\n  type nat hook prerouting priority dstnat;\n");
    for (uint32_t i = 0; i < plan->n_forwards; i++)
        if (!is_loopback(&plan->forwards[i]))
            put_dnat(writer, &plan->forwards[i]);
    put(writer, " }\n chain output {\n  type nat hook output priority -100;\n");
    for (uint32_t i = 0; i < plan->n_forwards; i++)
        put_dnat(writer, &plan->forwards[i]);
    put(writer, " }\n");
}

static void put_loopback(struct writer *writer, const struct nat_plan *plan, const char *gateway)
{
    char host[IPV4_TEXT_SIZE];
    put(writer, " chain loopback_out {\n  type filter hook output priority raw;\n");
    for (uint32_t i = 0; i < plan->n_forwards; i++) {
        const struct network_forward *forward = &plan->forwards[i];
        ipv4_format(forward->host_ip, host);
        if (is_loopback(forward))
            put(writer, "  ip saddr 127.0.0.1 ip daddr %s %s dport %u ip saddr set %s\n", host,
                protocol(forward), (unsigned)forward->host_port, gateway);
    }
    put(writer, " }\n chain loopback_back {\n  type filter hook input priority 200;\n");
    for (uint32_t i = 0; i < plan->n_forwards; i++) {
        const struct network_forward *forward = &plan->forwards[i];
        ipv4_format(forward->host_ip, host);
        if (is_loopback(forward))
            put(writer,
                "  iifname \"%s\" ct status dnat ip saddr %s ip daddr %s %s sport %u ip daddr set "
                "127.0.0.1\n",
                plan->tap, host, gateway, protocol(forward), (unsigned)forward->host_port);
    }
    put(writer, " }\n");
}

static void put_guests(struct writer *writer, const struct nat_plan *plan)
{
    char subnet[IPV4_TEXT_SIZE];
    unsigned prefix = 0;
    for (uint32_t mask = plan->netmask; mask; mask <<= 1)
        prefix++;
    ipv4_format(plan->gateway & plan->netmask, subnet);
    put(writer, " chain postrouting {\n  type nat hook postrouting priority srcnat;\n");
    put(writer, "  ip saddr %s/%u oifname != \"%s\" masquerade\n", subnet, prefix, plan->tap);
    /* A guest at a forward to another: the answer has to come back by us. */
    put(writer, "  ip saddr %s/%u oifname \"%s\" ct status dnat masquerade\n }\n", subnet, prefix, plan->tap);
    put(writer, " chain forward {\n  type filter hook forward priority filter;\n");
    put(writer, "  iifname \"%s\" meta nfproto ipv6 drop\n", plan->tap);
    put(writer, "  iifname \"%s\" ip saddr != %s/%u drop\n", plan->tap, subnet, prefix);
    put(writer, "  oifname \"%s\" ct state established,related accept\n", plan->tap);
    put(writer, "  oifname \"%s\" ct status dnat accept\n  oifname \"%s\" drop\n }\n", plan->tap, plan->tap);
}

static void put_host_only(struct writer *writer, const struct nat_plan *plan)
{
    put(writer, " chain forward {\n  type filter hook forward priority filter;\n");
    put(writer, "  iifname \"%s\" drop\n  oifname \"%s\" drop\n }\n", plan->tap, plan->tap);
}

int nat_rules_write(const struct nat_plan *plan, char *text, size_t size)
{
    struct writer writer = {.text = text, .size = size};
    char gateway[IPV4_TEXT_SIZE];
    ipv4_format(plan->gateway, gateway);
    /* Made first, so that there is one to delete. */
    put(&writer, "table inet " NAT_TABLE_PREFIX "%s { flags owner; }\n", plan->network);
    put(&writer, "delete table inet " NAT_TABLE_PREFIX "%s\n", plan->network);
    put(&writer, "table inet " NAT_TABLE_PREFIX "%s {\n flags owner;\n", plan->network);
    if (plan->is_host_only) {
        put_host_only(&writer, plan);
    } else {
        put_forwards(&writer, plan);
        put_loopback(&writer, plan, gateway);
        put_guests(&writer, plan);
    }
    put(&writer, "}\n");
    return writer.len < size ? 0 : -ENOBUFS;
}
