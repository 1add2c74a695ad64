/* io/vmnet_features.h - what vmnet can do on some macOS and not on an older one
 *
 * One table: a feature, and the first version that has it. What every macOS that this program runs on (13)
 * can do is not in it. Implemented by vmnet_features_darwin.c.
 */
#ifndef IO_VMNET_FEATURES_H
#define IO_VMNET_FEATURES_H

#include <stdbool.h>

enum vmnet_feature {
    VMNET_VIRTIO_HEADER, /* frames with a virtio-net header, and what is left to do with them in it */
    VMNET_CALL_LIMITS,   /* an interface says how many packets one call takes */
    /* Those of a network object, by which a shared or host network is made from macOS 26 on: */
    VMNET_SHARED_WITHOUT_DHCP,
    VMNET_RESERVATIONS,
    VMNET_WITHOUT_NAT44,
    VMNET_WITHOUT_NAT66,
    VMNET_WITHOUT_DNS_PROXY,
    VMNET_WITHOUT_ROUTER_ADVERTISEMENT,
    VMNET_EXTERNAL_INTERFACE,
    VMNET_N_FEATURES
};

/* True if the running system has it. */
bool vmnet_has(enum vmnet_feature feature);

/* "macOS 26"; a static string. */
const char *vmnet_feature_system(enum vmnet_feature feature);

#endif
