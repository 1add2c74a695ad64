/* tests/fake-sdk/fake_rules.c - the double's port forwards of an interface, by both generations of calls */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "tests/fake-sdk/blocks.h"
#include "tests/fake-sdk/fake_dispatch.h"
#include "tests/fake-sdk/fake_panel.h"
#include "tests/fake-sdk/fake_vmnet.h"
#include "tests/fake-sdk/fake_vmnet_internal.h"

typedef vmnet_interface_completion_handler_t done_t;

static struct fake_rule rules[FAKE_RULES_MAX];
static unsigned n_rules;
static fake_rule_changed *changed;
static done_t late; /* the handler of a call that was not answered yet */

/* ---- locked ---- */

static int find(uint8_t protocol, uint16_t external_port)
{
    for (unsigned i = 0; i < n_rules; i++)
        if (rules[i].protocol == protocol && rules[i].external_port == external_port)
            return (int)i;
    return -1;
}

static vmnet_return_t put(const struct fake_rule *rule)
{
    const vmnet_return_t refusal = fake_vmnet_script()->rule_refusal;
    if (refusal && rule->external_port == 99)
        return refusal;
    if (find(rule->protocol, rule->external_port) >= 0 || n_rules == FAKE_RULES_MAX)
        return VMNET_FAILURE;
    rules[n_rules++] = *rule;
    fake_panel()->counts.n_rules++;
    return VMNET_SUCCESS;
}

static vmnet_return_t take(struct fake_rule *rule)
{
    const int i = find(rule->protocol, rule->external_port);
    if (i < 0)
        return VMNET_FAILURE;
    *rule = rules[i];
    rules[i] = rules[--n_rules];
    fake_panel()->counts.n_rules--;
    return VMNET_SUCCESS;
}

/* ---- the calls ---- */

/* Takes the handler. */
static void answer_on_a_queue(done_t done, vmnet_return_t answer)
{
    dispatch_queue_t queue = dispatch_queue_create("fake.vmnet.rules", DISPATCH_QUEUE_SERIAL);
    dispatch_async(queue, ^{
      done(answer);
      Block_release(done);
    });
    dispatch_release(queue);
}

static void keep_late(done_t done)
{
    fake_vmnet_answer_rule(VMNET_FAILURE); /* there is room for one */
    fake_vmnet_lock();
    late = Block_copy(done);
    fake_vmnet_unlock();
}

void fake_vmnet_answer_rule(vmnet_return_t status)
{
    fake_vmnet_lock();
    done_t done = late;
    late = NULL;
    fake_vmnet_unlock();
    if (done)
        answer_on_a_queue(done, status);
}

static vmnet_return_t change(interface_ref interface, struct fake_rule rule, bool is_add, done_t done)
{
    if (!fake_dispatch_is_on_any())
        fake_vmnet_misuse("a port forwarding rule on the loop");
    fake_vmnet_lock();
    vmnet_return_t asked = fake_vmnet_rules_refusal(interface);
    const bool is_silent = fake_vmnet_script()->rules_never;
    vmnet_return_t answer = asked;
    if (asked == VMNET_SUCCESS && !is_silent)
        answer = is_add ? put(&rule) : take(&rule);
    fake_rule_changed *told = answer == VMNET_SUCCESS ? changed : NULL;
    fake_vmnet_unlock();
    if (asked != VMNET_SUCCESS)
        return asked;
    if (is_silent)
        keep_late(done);
    else if (told)
        told(&rule, is_add);
    if (!is_silent)
        answer_on_a_queue(Block_copy(done), answer);
    return VMNET_SUCCESS;
}

static vmnet_return_t add(interface_ref interface, uint8_t protocol, uint16_t external_port, uint8_t family,
                          const void *address, uint16_t internal_port, done_t done)
{
    struct in_addr in;
    if (family != AF_INET)
        return VMNET_INVALID_ARGUMENT;
    memcpy(&in, address, sizeof(in));
    return change(interface, (struct fake_rule){protocol, external_port, internal_port, ntohl(in.s_addr)},
                  true, done);
}

static vmnet_return_t remove_rule(interface_ref interface, uint8_t protocol, uint16_t external_port,
                                  uint8_t family, done_t done)
{
    if (family != AF_INET)
        return VMNET_INVALID_ARGUMENT;
    return change(interface, (struct fake_rule){protocol, external_port, 0, 0}, false, done);
}

static vmnet_return_t add_ipv4(interface_ref interface, uint8_t protocol, uint16_t external_port,
                               struct in_addr in, uint16_t internal_port, done_t done)
{
    return add(interface, protocol, external_port, AF_INET, &in, internal_port, done);
}

static vmnet_return_t remove_ipv4(interface_ref interface, uint8_t protocol, uint16_t external_port,
                                  done_t done)
{
    return remove_rule(interface, protocol, external_port, AF_INET, done);
}

void *fake_rules_find(const char *symbol)
{
    static const struct {
        const char *symbol;
        void (*function)(void);
        bool is_ipv4;
    } calls[] = {
        {"vmnet_interface_add_ip_port_forwarding_rule", (void (*)(void))add, false},
        {"vmnet_interface_remove_ip_port_forwarding_rule", (void (*)(void))remove_rule, false},
        {"vmnet_interface_add_port_forwarding_rule", (void (*)(void))add_ipv4, true},
        {"vmnet_interface_remove_port_forwarding_rule", (void (*)(void))remove_ipv4, true},
    };
    for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++)
        if (strcmp(calls[i].symbol, symbol) == 0)
            return calls[i].is_ipv4 == fake_vmnet_script()->rules_ipv4_only
                       ? *(void *const *)&calls[i].function
                       : NULL;
    return NULL;
}

/* ---- what a test does ---- */

void fake_rules_forget(void)
{
    n_rules = 0;
}

unsigned fake_vmnet_rules(struct fake_rule ret_rules[FAKE_RULES_MAX])
{
    fake_vmnet_lock();
    const unsigned n = n_rules;
    memcpy(ret_rules, rules, n * sizeof(rules[0]));
    fake_vmnet_unlock();
    return n;
}

void fake_vmnet_on_rule(fake_rule_changed *on_rule)
{
    fake_vmnet_lock();
    changed = on_rule;
    fake_vmnet_unlock();
}
