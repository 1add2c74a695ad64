/* api/offer.h - which modes and uplinks this platform has: the only place of api/ that knows the system */
#ifndef API_OFFER_H
#define API_OFFER_H

#include "api/network_spec.h"

/* NULL if there is one here, else a sentence that says why not. */
const char *offer_refusal_of_mode(enum network_mode mode);
const char *offer_refusal_of_uplink(enum network_uplink uplink);

#endif
