#include "io/vmnet_status_darwin.h"

#include <stddef.h>
#include <stdio.h>
#include <vmnet/vmnet.h>

/* Newer than the oldest SDK that has the rest. */
enum { NOT_AUTHORIZED = 1010 };

static const struct meaning {
    uint32_t status;
    bool may_pass;
    const char *text; /* short: UPLINK_REASON_SIZE */
} meanings[] = {
    {VMNET_STATUS_SILENT, true, "no answer in time; it is tried again. If it stays so, restart the Mac"},
    {VMNET_STATUS_NO_INTERFACE, true,
     "the Mac has no such interface to bridge to; GET /v1/interfaces lists them"},
    {VMNET_STATUS_NO_HANDLE, true,
     "no handle and no reason given, which is a failure (1001); it is tried again"},
    {VMNET_STATUS_NO_BROKER, true, "the network broker is not installed (docs/broker.md)"},
    {VMNET_STATUS_BROKER_REFUSED, true, "the network broker refused; its log says why"},
    {VMNET_STATUS_BROKER_GONE, true,
     "the network broker has ended, and its networks with it; it is asked again"},
    {VMNET_STATUS_BROKER_FOREIGN, true,
     "the network broker is not this executable, as macOS before 26.2 wants: start both again, or update "
     "macOS"},
    {VMNET_STATUS_NO_OBJECTS, false, "this macOS has no network objects; update to macOS 26"},
    /* At boot it fails so until the system's own services run, and so does a subnet that is taken. */
    {VMNET_FAILURE, true,
     "failure (1001): is its subnet in use, or is it too early after boot? It is tried again"},
    {VMNET_MEM_FAILURE, true, "no memory, or no entitlement (1002): run vmswitchd as root or sign it"},
    {VMNET_INVALID_ARGUMENT, false, "invalid argument (1003): change the network's ipv4, mtu or interface"},
    {VMNET_SETUP_INCOMPLETE, true, "the interface is not set up (1004); it is tried again"},
    {VMNET_INVALID_ACCESS, false, "permission denied (1005): vmnet needs root here; start vmswitchd as root"},
    {VMNET_PACKET_TOO_BIG, true, "packet too big (1006): lower the MTU of the guests or raise the network's"},
    {VMNET_BUFFER_EXHAUSTED, true, "out of buffers (1007); it is tried again"},
    {VMNET_TOO_MANY_PACKETS, true, "too many packets at once (1008); it is tried again"},
    {VMNET_SHARING_SERVICE_BUSY, true,
     "sharing is busy (1009): another program or Internet Sharing holds this subnet"},
    {NOT_AUTHORIZED, false,
     "not authorized (1010): run vmswitchd as root, or sign it with vmnet's entitlement"},
};

static const struct meaning *find(uint32_t status)
{
    for (size_t i = 0; i < sizeof(meanings) / sizeof(meanings[0]); i++)
        if (meanings[i].status == status)
            return &meanings[i];
    return NULL;
}

void vmnet_status_describe(const char *what, uint32_t status, char why[UPLINK_REASON_SIZE])
{
    const struct meaning *meaning = find(status);
    if (meaning)
        snprintf(why, UPLINK_REASON_SIZE, "%s: %s", what, meaning->text);
    else
        snprintf(why, UPLINK_REASON_SIZE, "%s: code %u, which no known macOS has; it is tried again", what,
                 status);
}

bool vmnet_status_may_pass(uint32_t status)
{
    const struct meaning *meaning = find(status);
    return !meaning || meaning->may_pass;
}

bool vmnet_status_may_ask_less(uint32_t status)
{
    return status == VMNET_INVALID_ARGUMENT || status == VMNET_FAILURE;
}
