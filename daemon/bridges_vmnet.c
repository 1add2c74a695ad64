#include "daemon/bridges.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "daemon/interface_kind.h"
#include "io/uplink_vmnet.h"

static_assert((int)BRIDGES_MAX >= (int)VMNET_INTERFACES_MAX, "one list goes into the other");

static const char *type_of(const char *name)
{
    static const char *const types[] = {
        [INTERFACE_KIND_UNKNOWN] = "", [INTERFACE_KIND_WIRED] = "ethernet", [INTERFACE_KIND_WIFI] = "wifi"};
    return types[interface_kind(name)];
}

int bridges_list(struct bridge ret_bridges[BRIDGES_MAX])
{
    char names[VMNET_INTERFACES_MAX][UPLINK_IFNAME_SIZE];
    const int n = vmnet_list_interfaces(names);
    for (int i = 0; i < n; i++) {
        snprintf(ret_bridges[i].type, sizeof(ret_bridges[i].type), "%s", type_of(names[i]));
        memcpy(ret_bridges[i].name, names[i], sizeof(names[i]));
    }
    return n;
}
