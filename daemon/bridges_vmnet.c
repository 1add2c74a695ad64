#include "daemon/bridges.h"

#include <assert.h>
#include <string.h>

#include "io/uplink_vmnet.h"

static_assert((int)BRIDGES_MAX >= (int)VMNET_INTERFACES_MAX, "one list goes into the other");

int bridges_list(struct bridge ret_bridges[BRIDGES_MAX])
{
    char names[VMNET_INTERFACES_MAX][UPLINK_IFNAME_SIZE];
    const int n = vmnet_list_interfaces(names);
    for (int i = 0; i < n; i++) {
        ret_bridges[i] = (struct bridge){.type = ""};
        memcpy(ret_bridges[i].name, names[i], sizeof(names[i]));
    }
    return n;
}
