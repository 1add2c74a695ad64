/* api/offer.h - which uplinks this platform has: the only place of api/ that knows the system */
#ifndef API_OFFER_H
#define API_OFFER_H

#include "api/network_spec.h"
#include "io/vmnet_features.h"

/* NULL if there is one here, else a sentence that says why not. */
const char *offer_refusal_of_uplink(enum network_uplink uplink);

/* NULL if this system's vmnet has it, else the name of the oldest system that does: "macOS 26". */
const char *offer_system_of_vmnet(enum vmnet_feature feature);

#endif
