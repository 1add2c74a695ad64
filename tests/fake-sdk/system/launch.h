/* tests/fake-sdk/system/launch.h - what we use of launchd: sockets of our property list */
#ifndef TESTS_FAKE_SDK_LAUNCH_H
#define TESTS_FAKE_SDK_LAUNCH_H

#include <stddef.h>

/* Returns 0 and *fds, to be freed, or ENOENT (no socket of that name in the property list), ESRCH (launchd
 * has not started this process), EALREADY (that name was asked for before). */
int launch_activate_socket(const char *name, int **fds, size_t *cnt);

#endif
