/* daemon/paths.h - where things are when the command line does not say */
#ifndef DAEMON_PATHS_H
#define DAEMON_PATHS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "daemon/options.h"

/* Fills the paths that were not given, from the environment and 'uid', and makes all of them absolute.
 * Call it before the environment is cleared and the folder left. config_path stays "" if it was not given and
 * the default does not exist. Returns 0 or a negative errno and a sentence in 'ret_why'. */
int paths_complete(struct options *options, uid_t uid, char *ret_why, size_t why_size);

/* Of a daemon that is root; the platform's. */
const char *paths_root_runtime_dir(void);

/* True for a group that has no member but root, as the system is delivered; the platform's. */
bool paths_group_is_roots(gid_t gid);

#endif
