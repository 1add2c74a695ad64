/* daemon/environment.h - whatever started us: nothing of it is kept but what is named here
 *
 * Kept: stdin, stdout and stderr (/dev/null where one is closed), the resource limits except RLIMIT_NOFILE,
 * and of the variables HOME, LANG, TZ, ASAN_OPTIONS, UBSAN_OPTIONS and LSAN_OPTIONS. PATH is fixed. Gone:
 * other descriptors, other variables (LD_*, Malloc*, ...), blocked and ignored signals, the umask (077), the
 * current folder ("/").
 */
#ifndef DAEMON_ENVIRONMENT_H
#define DAEMON_ENVIRONMENT_H

#include <stddef.h>

enum {
    ENVIRONMENT_FDS_MAX = 65536, /* 64 networks of 256 ports with two sockets each are 32,896 */
};

/* Call it first, after the options (whose defaults come from the environment) and before anything is opened.
 * The descriptors in 'kept' stay open. Returns 0 or a negative errno (no /dev/null). */
int environment_reset(const int *kept, size_t n_kept);

/* The same, but for the current folder, which stays. */
int environment_isolate(const int *kept, size_t n_kept);

#endif
