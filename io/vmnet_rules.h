/* io/vmnet_rules.h - the port forwards of one vmnet interface: what should be, and what vmnet was asked for
 *
 * How it works
 *   rules_want() says what should be; rules_turn() asks for what differs, one question a rule at a time:
 * removals first, because a rule may take over another's port. An answer comes with rules_answer(). One that
 * failed is asked for again every VMNET_RULE_RETRY_MS; one without an answer after VMNET_RULE_MS has failed,
 * and an answer that comes later counts for what it says.
 *
 * Pure: time and the way to vmnet are arguments. Addresses and ports in host byte order.
 */
#ifndef IO_VMNET_RULES_H
#define IO_VMNET_RULES_H

#include <stdbool.h>
#include <stdint.h>

#include "io/uplink.h"

enum {
    VMNET_RULES_MAX = 32,
    VMNET_RULE_SLOTS = 2 * VMNET_RULES_MAX, /* all of them changed at once: old ones are on their way out */
    VMNET_RULE_MS = 5000,
    VMNET_RULE_RETRY_MS = 2000,
};

struct vmnet_rule {
    bool is_udp;
    uint16_t host_port, guest_port;
    uint32_t guest;
};

enum vmnet_rule_state {
    RULE_NONE,     /* the slot is free */
    RULE_ADDING,   /* -> THERE or FAILED */
    RULE_THERE,    /* -> REMOVING */
    RULE_FAILED,   /* -> ADDING again, or NONE */
    RULE_REMOVING, /* -> NONE, whatever the answer: vmnet has no better one */
};

struct vmnet_rules {
    uint32_t n_wanted;
    struct vmnet_rule wanted[VMNET_RULES_MAX];
    struct vmnet_rule_slot {
        enum vmnet_rule_state state;
        struct vmnet_rule rule;
        uint32_t status; /* FAILED: what vmnet said */
        uint64_t at_ms;  /* when it was asked, or failed */
    } slots[VMNET_RULE_SLOTS];
};

/* Asks vmnet; the answer comes by rules_answer() with the same slot. */
typedef void vmnet_rule_ask(void *ctx, unsigned slot, bool is_add, const struct vmnet_rule *rule);

/* 'n' is at most VMNET_RULES_MAX, and no two have protocol and host port in common. */
void rules_want(struct vmnet_rules *rules, const struct vmnet_rule *wanted, uint32_t n);
/* Returns how long until it is to be called again, in ms, or -1. */
int64_t rules_turn(struct vmnet_rules *rules, uint64_t now_ms, vmnet_rule_ask *ask, void *ctx);
void rules_answer(struct vmnet_rules *rules, unsigned slot, bool is_good, uint32_t status, uint64_t now_ms);

/* Returns false if none has failed; else the first that has, and how many more. */
bool rules_failure(const struct vmnet_rules *rules, const struct vmnet_rule **ret_rule, uint32_t *ret_status,
                   unsigned *ret_n_more);

#endif
