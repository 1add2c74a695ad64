#include "api/offer.h"

#include <stddef.h>

const char *offer_refusal_of_mode(enum network_mode mode)
{
    switch (mode) {
    case MODE_HOST:
        return "host networks are not available on macOS yet";
    case MODE_BRIDGED:
        return "bridged networks are not available on macOS yet";
    default:
        return NULL;
    }
}

const char *offer_refusal_of_uplink(enum network_uplink uplink)
{
    switch (uplink) {
    case WANT_VMNET:
        return "vmnet is not available yet";
    case WANT_TAP:
        return "TAP devices exist on Linux only";
    default:
        return NULL;
    }
}
