#include "api/offer.h"

#include <stddef.h>

const char *offer_refusal_of_uplink(enum network_uplink uplink)
{
    return uplink == WANT_VMNET ? "vmnet exists on macOS only" : NULL;
}

const char *offer_system_of_vmnet(enum vmnet_feature feature)
{
    (void)feature;
    return "macOS"; /* never asked: there is no such uplink */
}
