#include "api/offer.h"

#include <stddef.h>

const char *offer_refusal_of_uplink(enum network_uplink uplink)
{
    return uplink == WANT_TAP ? "TAP devices exist on Linux only" : NULL;
}

const char *offer_system_of_vmnet(enum vmnet_feature feature)
{
    return vmnet_has(feature) ? NULL : vmnet_feature_system(feature);
}
