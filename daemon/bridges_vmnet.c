#include "daemon/bridges.h"

#include <assert.h>

#include "io/uplink_vmnet.h"

static_assert((int)BRIDGES_MAX == (int)VMNET_INTERFACES_MAX, "one list goes into the other");

int bridges_list(char ret_names[BRIDGES_MAX][UPLINK_IFNAME_SIZE])
{
    return vmnet_list_interfaces(ret_names);
}
