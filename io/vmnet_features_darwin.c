#include "io/vmnet_features.h"

#include "io/system_version_darwin.h"

static const struct row {
    int since;
    const char *system;
} rows[] = {
    [VMNET_VIRTIO_HEADER] = {1504, "macOS 15.4"},
    [VMNET_CALL_LIMITS] = {1500, "macOS 15"},
    [VMNET_SHARED_WITHOUT_DHCP] = {2600, "macOS 26"},
    [VMNET_RESERVATIONS] = {2600, "macOS 26"},
    [VMNET_WITHOUT_NAT44] = {2600, "macOS 26"},
    [VMNET_WITHOUT_NAT66] = {2600, "macOS 26"},
    [VMNET_WITHOUT_DNS_PROXY] = {2600, "macOS 26"},
    [VMNET_WITHOUT_ROUTER_ADVERTISEMENT] = {2600, "macOS 26"},
    [VMNET_EXTERNAL_INTERFACE] = {2600, "macOS 26"},
};

_Static_assert(sizeof(rows) / sizeof(rows[0]) == VMNET_N_FEATURES, "a row for each feature");

bool vmnet_has(enum vmnet_feature feature)
{
    return system_version() >= rows[feature].since;
}

const char *vmnet_feature_system(enum vmnet_feature feature)
{
    return rows[feature].system;
}
