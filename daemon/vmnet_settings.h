/* daemon/vmnet_settings.h - a network as wanted, in vmnet's words */
#ifndef DAEMON_VMNET_SETTINGS_H
#define DAEMON_VMNET_SETTINGS_H

#include "api/network_spec.h"
#include "io/uplink_vmnet.h"

/* 'spec' has one of the modes that vmnet has. May ask the system for its id, which takes a moment. */
void vmnet_settings_of(const struct network_spec *spec, struct vmnet_settings *ret_settings);

/* Its forwards. Returns how many. */
uint32_t vmnet_rules_of(const struct network_spec *spec, struct vmnet_rule ret_rules[VMNET_RULES_MAX]);

#endif
