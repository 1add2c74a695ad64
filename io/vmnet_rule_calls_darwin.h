/* io/vmnet_rule_calls_darwin.h - vmnet's calls for the port forwards of an interface that runs
 *
 * By name: those for any address came with macOS 11 and 12, and took the place of those for IPv4, which may
 * go.
 */
#ifndef IO_VMNET_RULE_CALLS_DARWIN_H
#define IO_VMNET_RULE_CALLS_DARWIN_H

#include <dispatch/dispatch.h>
#include <vmnet/vmnet.h>

#include "io/vmnet_rules.h"

typedef void (^vmnet_rule_done)(vmnet_return_t status);

/* Each returns VMNET_SUCCESS, and 'done' is called, on a queue of vmnet's, with what came of it; or another
 * status, and it is not. May block. */
vmnet_return_t vmnet_rule_add(interface_ref interface, const struct vmnet_rule *rule, vmnet_rule_done done);
vmnet_return_t vmnet_rule_remove(interface_ref interface, const struct vmnet_rule *rule,
                                 vmnet_rule_done done);

#endif
