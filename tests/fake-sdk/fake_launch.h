/* tests/fake-sdk/fake_launch.h - a double of launchd, as far as it gives sockets
 *
 * Who stands behind it is a function, or, where FAKE_LAUNCHD names a unix socket, whoever listens there: it
 * gets "NAME\n" and answers with one line, an errno, and the descriptors. As with launchd, they come when
 * they are asked for, not at the start of the process; without either, nobody has started us. "mach NAME"
 * asks for the job of a Mach service to be started.
 */
#ifndef TESTS_FAKE_SDK_FAKE_LAUNCH_H
#define TESTS_FAKE_SDK_FAKE_LAUNCH_H

#include <stdbool.h>
#include <stddef.h>

enum { FAKE_LAUNCH_FDS_MAX = 8, FAKE_LAUNCH_NAMES_MAX = 256 };

/* Returns 0 and the descriptors, which are the caller's then, or an errno. */
typedef int fake_launch_fn(const char *name, int ret_fds[FAKE_LAUNCH_FDS_MAX], size_t *ret_n);

/* True if launchd has a job for this Mach service, which runs then. */
bool fake_launch_look_up(const char *service);

/* NULL: FAKE_LAUNCHD again. Forgets what was asked for. */
void fake_launch_stand_behind(fake_launch_fn *fn);

#endif
