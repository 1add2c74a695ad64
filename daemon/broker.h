/* daemon/broker.h - the network broker: keeps macOS 26's network objects, and hands them out
 *
 * A job of launchd's own, "vmswitchd --broker", under the Mach service BROKER_SERVICE. It alone makes network
 * objects: a network lives as long as the process that made it, so it is to be one that no crash of a switch
 * takes along. Whoever wants to be on a network (our own uplinks, programs on Virtualization.framework) asks
 * here by name. docs/broker.md says what is spoken.
 */
#ifndef DAEMON_BROKER_H
#define DAEMON_BROKER_H

#include <stdbool.h>

#include "daemon/options.h"

enum {
    BROKER_IDLE_S = 120, /* without a network it ends after that; launchd starts it again when it is asked */
    BROKER_EXIT_TIMEOUT_S = 20, /* launchd's ExitTimeOut: from SIGTERM to SIGKILL */
    BROKER_EXIT_RESERVE_S = 2,  /* of that, for the end itself */
};

/* On this system. */
bool broker_exists(void);

/* Runs until nothing is in use for a while, or a signal ends it. The paths in 'options' have been completed.
 * Returns an exit code (daemon/roles.h). */
int broker_main(const struct options *options);

#endif
