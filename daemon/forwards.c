/* daemon/forwards.c - see forwards.h */
#include "daemon/forwards.h"

#include <stdio.h>
#include <uv.h>

#include "io/log.h"

static bool is_same(const struct network_forward *a, const struct network_forward *b)
{
    return a->is_udp == b->is_udp && a->host_ip == b->host_ip && a->host_port == b->host_port &&
           a->guest_ip == b->guest_ip && a->guest_port == b->guest_port;
}

static bool is_wanted(const struct network_spec *spec, const struct network_forward *forward)
{
    for (uint32_t i = 0; i < spec->n_forwards; i++)
        if (is_same(&spec->forwards[i], forward))
            return true;
    return false;
}

static bool is_known(const struct forwards *forwards, const struct network_forward *forward)
{
    for (uint32_t i = 0; i < forwards->n; i++)
        if (is_same(&forwards->entries[i].forward, forward))
            return true;
    return false;
}

/* "tcp 127.0.0.1:8080" */
static void format_forward(const struct network_forward *forward, char *text, size_t size)
{
    uint32_t ip = forward->host_ip ? forward->host_ip : 0x7F000001;
    snprintf(text, size, "%s %u.%u.%u.%u:%u", forward->is_udp ? "udp" : "tcp", ip >> 24, ip >> 16 & 0xFF,
             ip >> 8 & 0xFF, ip & 0xFF, (unsigned)forward->host_port);
}

static int bind_one(struct slirp_uplink *uplink, const struct network_forward *forward)
{
    char text[40];
    format_forward(forward, text, sizeof(text));
    int r = slirp_uplink_add_forward(uplink, forward);
    if (r == 0)
        log_info("forward %s: listening", text);
    return r;
}

static void schedule(struct forwards *forwards, uint64_t now_ms)
{
    forwards->retry_at_ms = 0;
    for (uint32_t i = 0; i < forwards->n; i++)
        if (forwards->entries[i].error < 0)
            forwards->retry_at_ms = now_ms + FORWARD_RETRY_MS;
}

static void remove_unwanted(struct forwards *forwards, const struct network_spec *spec,
                            struct slirp_uplink *uplink)
{
    uint32_t n_kept = 0;
    for (uint32_t i = 0; i < forwards->n; i++) {
        if (is_wanted(spec, &forwards->entries[i].forward))
            forwards->entries[n_kept++] = forwards->entries[i];
        else if (forwards->entries[i].error == 0)
            slirp_uplink_remove_forward(uplink, &forwards->entries[i].forward);
    }
    forwards->n = n_kept;
}

void forwards_apply(struct forwards *forwards, const struct network_spec *spec, struct slirp_uplink *uplink,
                    uint64_t now_ms)
{
    remove_unwanted(forwards, spec, uplink);
    for (uint32_t i = 0; i < spec->n_forwards; i++) {
        const struct network_forward *forward = &spec->forwards[i];
        if (is_known(forwards, forward))
            continue;
        forwards->entries[forwards->n].forward = *forward;
        forwards->entries[forwards->n].error = bind_one(uplink, forward);
        forwards->n++;
    }
    schedule(forwards, now_ms);
}

int64_t forwards_retry(struct forwards *forwards, struct slirp_uplink *uplink, uint64_t now_ms)
{
    if (forwards->retry_at_ms == 0)
        return -1;
    if (now_ms < forwards->retry_at_ms)
        return (int64_t)(forwards->retry_at_ms - now_ms);
    for (uint32_t i = 0; i < forwards->n; i++)
        if (forwards->entries[i].error < 0)
            forwards->entries[i].error = bind_one(uplink, &forwards->entries[i].forward);
    schedule(forwards, now_ms);
    return forwards->retry_at_ms ? FORWARD_RETRY_MS : -1;
}

bool forwards_failure(const struct forwards *forwards, char reason[UPLINK_REASON_SIZE])
{
    unsigned n_failed = 0;
    int used = 0;
    for (uint32_t i = 0; i < forwards->n; i++) {
        if (forwards->entries[i].error == 0 || n_failed++ > 0)
            continue;
        char text[40];
        format_forward(&forwards->entries[i].forward, text, sizeof(text));
        used = snprintf(reason, UPLINK_REASON_SIZE, "forward %s: %s", text,
                        uv_strerror(forwards->entries[i].error));
    }
    if (n_failed > 1 && used > 0 && used < UPLINK_REASON_SIZE)
        snprintf(reason + used, UPLINK_REASON_SIZE - (size_t)used, "; %u more failed", n_failed - 1);
    return n_failed > 0;
}
