/* daemon/broker_settings_darwin.h - a network of ours as one of macOS 26's */
#ifndef DAEMON_BROKER_SETTINGS_DARWIN_H
#define DAEMON_BROKER_SETTINGS_DARWIN_H

#include <jansson.h>

#include "api/network_spec.h"
#include "io/vmnet_network_darwin.h"

/* Returns 0, or -EINVAL and what a network object can't be, by the field: such a network stays with vmnet's
 * classic interface. */
int broker_settings(const struct network_spec *spec, struct network_settings *ret_settings,
                    char why[UPLINK_REASON_SIZE]);

/* What the network really has, in the words of Lima's field Configuration and two more. NULL if memory is
 * short. */
json_t *broker_configuration(const struct network_settings *settings, const struct uplink_subnet *subnet,
                             const uint8_t prefix[16], bool is_isolated);

#endif
