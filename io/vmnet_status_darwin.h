/* io/vmnet_status_darwin.h - what each answer of vmnet means to whoever reads it */
#ifndef IO_VMNET_STATUS_DARWIN_H
#define IO_VMNET_STATUS_DARWIN_H

#include <stdbool.h>
#include <stdint.h>

#include "io/uplink.h"

/* Not vmnet's own. */
enum {
    VMNET_STATUS_SILENT = 1,       /* it said nothing in time */
    VMNET_STATUS_NO_INTERFACE = 2, /* there is none of that name to bridge to */
    VMNET_STATUS_NO_HANDLE = 3,    /* a start without a handle, whose handler has said nothing */
    VMNET_STATUS_NO_OBJECTS = 4,   /* no network objects before macOS 26 */
    VMNET_STATUS_NO_BROKER = 5,    /* launchd has no job of its name, or it is another vmswitchd's */
    VMNET_STATUS_BROKER_REFUSED = 6,
    VMNET_STATUS_BROKER_GONE = 7,    /* it ended, and its networks with it */
    VMNET_STATUS_BROKER_FOREIGN = 8, /* it is another executable, on a macOS where that matters */
};

/* A sentence with a next step: 'what' failed ("vmnet did not start"), with 'status'. */
void vmnet_status_describe(const char *what, uint32_t status, char why[UPLINK_REASON_SIZE]);

/* False if trying again is pointless until somebody changes something. */
bool vmnet_status_may_pass(uint32_t status);

/* True if what was asked for may be what was refused. */
bool vmnet_status_may_ask_less(uint32_t status);

#endif
