/* daemon/vmnet_run.h - vmnet-run: what differs by system */
#ifndef DAEMON_VMNET_RUN_H
#define DAEMON_VMNET_RUN_H

#include <stdbool.h>
#include <stddef.h>

/* True where vmnet-helper gets its interface only as root: it is started with sudo then. */
bool vmnet_run_needs_sudo(void);

/* The path of this executable, symbolic links resolved. Returns 0 or a negative errno. */
int vmnet_run_self(char *path, size_t size);

#endif
