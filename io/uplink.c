/* io/uplink.c - names and the retry timer of uplinks, see uplink.h */
#include "io/uplink.h"

const char *uplink_kind_name(enum uplink_kind kind)
{
    static const char *const names[] = {"none", "user", "tap", "vmnet"};

    _Static_assert(sizeof names / sizeof *names == UPLINK_N_KINDS, "a name per kind");
    return names[kind];
}

const char *uplink_state_name(enum uplink_state state)
{
    static const char *const names[] = {"starting", "up", "degraded", "failed"};

    _Static_assert(sizeof names / sizeof *names == UPLINK_N_STATES, "a name per state");
    return names[state];
}

const char *uplink_drop_name(enum uplink_drop reason)
{
    static const char *const names[] = {
#define X(id, sentence) #id,
        UPLINK_DROP_REASONS(X)
#undef X
    };
    return names[reason];
}

uint32_t uplink_retry_next(struct uplink_retry *retry, uint64_t was_up_ms)
{
    if (retry->delay_ms == 0 || was_up_ms >= UPLINK_STABLE_MS)
        retry->delay_ms = UPLINK_RETRY_MIN_MS;
    else if (retry->delay_ms * 2 < UPLINK_RETRY_MAX_MS)
        retry->delay_ms *= 2;
    else
        retry->delay_ms = UPLINK_RETRY_MAX_MS;
    return retry->delay_ms;
}
