/* daemon/monitor.h - the process that keeps the privilege
 *
 * How it works
 *   Takes the lock, makes the folders, binds the API's sockets, starts control, and then does what control
 * asks (daemon/orders.h) and tells it whose process has ended. A plain poll loop: no libuv, no JSON, no byte
 * of a client, no descriptor but sockets, pipes and files of ours.
 *
 * What is always true
 *   Control may die at any time: it is started again (100 ms, doubled up to 30 s, from 100 ms again after it
 * was up for 10 s), and gets the running processes and the same sockets. Every process we started ends when
 * its channel does, so with us at the latest.
 *
 *   Control, and each one after it, has the configuration that was last found to be good: a copy, whatever
 * has become of the file. SIGHUP tells control to ask for the file as it is now.
 *
 * When it ends
 *   On SIGTERM or SIGINT within 1 s: sockets unlinked at once, processes told to go, killed after 700
 * ms; at a second signal killed at once.
 */
#ifndef DAEMON_MONITOR_H
#define DAEMON_MONITOR_H

#include "daemon/activation.h"
#include "daemon/notify.h"
#include "daemon/options.h"

enum {
    MONITOR_RETRY_MIN_MS = 100,
    MONITOR_RETRY_MAX_MS = 30 * 1000,
    MONITOR_STABLE_MS = 10 * 1000,
    MONITOR_END_MS = 700,       /* for the roles to end by themselves */
    MONITOR_END_KILLED_MS = 200 /* for the kernel to end those that were killed */
};

/* Runs until a signal ends it. The environment has been reset and the paths in 'options' completed;
 * 'activation' and 'notify' were taken before. Returns an exit code (daemon/roles.h). */
int monitor_main(const struct options *options, struct activation *activation, const struct notify *notify);

#endif
