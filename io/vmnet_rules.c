#include "io/vmnet_rules.h"

#include <string.h>

#include "io/vmnet_status_darwin.h"

static bool has_same_port(const struct vmnet_rule *a, const struct vmnet_rule *b)
{
    return a->is_udp == b->is_udp && a->host_port == b->host_port;
}

static bool is_same(const struct vmnet_rule *a, const struct vmnet_rule *b)
{
    return has_same_port(a, b) && a->guest == b->guest && a->guest_port == b->guest_port;
}

static bool is_wanted(const struct vmnet_rules *rules, const struct vmnet_rule *rule)
{
    for (uint32_t i = 0; i < rules->n_wanted; i++)
        if (is_same(&rules->wanted[i], rule))
            return true;
    return false;
}

void rules_want(struct vmnet_rules *rules, const struct vmnet_rule *wanted, uint32_t n)
{
    rules->n_wanted = n < VMNET_RULES_MAX ? n : VMNET_RULES_MAX;
    memcpy(rules->wanted, wanted, rules->n_wanted * sizeof(*wanted));
}

static void remove_unwanted(struct vmnet_rules *rules, uint64_t now_ms, vmnet_rule_ask *ask, void *ctx)
{
    for (unsigned i = 0; i < VMNET_RULE_SLOTS; i++) {
        struct vmnet_rule_slot *slot = &rules->slots[i];
        if (slot->state == RULE_NONE || is_wanted(rules, &slot->rule))
            continue;
        if (slot->state == RULE_FAILED) {
            slot->state = RULE_NONE;
        } else if (slot->state == RULE_THERE) {
            slot->state = RULE_REMOVING;
            slot->at_ms = now_ms;
            ask(ctx, i, false, &slot->rule);
        }
    }
}

static void add(struct vmnet_rules *rules, unsigned i, uint64_t now_ms, vmnet_rule_ask *ask, void *ctx)
{
    rules->slots[i].state = RULE_ADDING;
    rules->slots[i].at_ms = now_ms;
    ask(ctx, i, true, &rules->slots[i].rule);
}

/* Its slot, or another that holds its port; a free one if there is neither; NULL if there is none. */
static struct vmnet_rule_slot *find_slot(struct vmnet_rules *rules, const struct vmnet_rule *rule)
{
    struct vmnet_rule_slot *free_slot = NULL;
    for (unsigned i = 0; i < VMNET_RULE_SLOTS; i++) {
        struct vmnet_rule_slot *slot = &rules->slots[i];
        if (slot->state != RULE_NONE && has_same_port(&slot->rule, rule))
            return slot;
        if (slot->state == RULE_NONE && !free_slot)
            free_slot = slot;
    }
    return free_slot;
}

static void add_wanted(struct vmnet_rules *rules, uint64_t now_ms, vmnet_rule_ask *ask, void *ctx)
{
    for (uint32_t i = 0; i < rules->n_wanted; i++) {
        struct vmnet_rule_slot *slot = find_slot(rules, &rules->wanted[i]);
        if (!slot || slot->state == RULE_ADDING || slot->state == RULE_THERE || slot->state == RULE_REMOVING)
            continue; /* it is there, on its way, or its port is not free yet */
        if (slot->state == RULE_FAILED && now_ms - slot->at_ms < VMNET_RULE_RETRY_MS)
            continue;
        slot->rule = rules->wanted[i];
        add(rules, (unsigned)(slot - rules->slots), now_ms, ask, ctx);
    }
}

/* Ends what was never answered. Returns when the next thing is due. */
static int64_t look_at_time(struct vmnet_rules *rules, uint64_t now_ms)
{
    int64_t wait_ms = -1;
    for (unsigned i = 0; i < VMNET_RULE_SLOTS; i++) {
        struct vmnet_rule_slot *slot = &rules->slots[i];
        const bool is_asked = slot->state == RULE_ADDING || slot->state == RULE_REMOVING;
        if (is_asked && now_ms - slot->at_ms >= VMNET_RULE_MS)
            rules_answer(rules, i, false, VMNET_STATUS_SILENT, now_ms);
        if (slot->state == RULE_NONE || slot->state == RULE_THERE)
            continue;
        const int64_t left_ms = (int64_t)(slot->state == RULE_FAILED ? VMNET_RULE_RETRY_MS : VMNET_RULE_MS) -
                                (int64_t)(now_ms - slot->at_ms);
        if (wait_ms < 0 || left_ms < wait_ms)
            wait_ms = left_ms > 0 ? left_ms : 0;
    }
    return wait_ms;
}

int64_t rules_turn(struct vmnet_rules *rules, uint64_t now_ms, vmnet_rule_ask *ask, void *ctx)
{
    remove_unwanted(rules, now_ms, ask, ctx);
    add_wanted(rules, now_ms, ask, ctx);
    return look_at_time(rules, now_ms);
}

void rules_answer(struct vmnet_rules *rules, unsigned slot, bool is_good, uint32_t status, uint64_t now_ms)
{
    struct vmnet_rule_slot *at = &rules->slots[slot];
    if (at->state == RULE_REMOVING) {
        at->state = RULE_NONE;
    } else if (at->state == RULE_ADDING || at->state == RULE_FAILED) {
        at->state = is_good ? RULE_THERE : RULE_FAILED;
        at->status = status;
        at->at_ms = now_ms;
    }
}

bool rules_failure(const struct vmnet_rules *rules, const struct vmnet_rule **ret_rule, uint32_t *ret_status,
                   unsigned *ret_n_more)
{
    unsigned n = 0;
    for (unsigned i = 0; i < VMNET_RULE_SLOTS; i++) {
        const struct vmnet_rule_slot *slot = &rules->slots[i];
        if (slot->state != RULE_FAILED || !is_wanted(rules, &slot->rule) || n++ > 0)
            continue;
        *ret_rule = &slot->rule;
        *ret_status = slot->status;
    }
    *ret_n_more = n > 0 ? n - 1 : 0;
    return n > 0;
}
