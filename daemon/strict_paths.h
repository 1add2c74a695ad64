/* daemon/strict_paths.h - who else could put something in the place of a file of ours?
 *
 * A daemon that root starts is as safe as the folders that lead to it: whoever may write to one of them
 * decides what root runs at the next start. --strict-paths refuses to run then; the service files say it.
 */
#ifndef DAEMON_STRICT_PATHS_H
#define DAEMON_STRICT_PATHS_H

#include <stdbool.h>
#include <stddef.h>

/* Looks at every folder, and every symbolic link, on the way from "/" to the absolute 'path': each must
 * belong to root or to us, and be closed to the writes of others (a group of root's alone does no harm, nor
 * does a folder with the sticky bit, in which everybody keeps what is theirs). The last part is looked at
 * only with 'and_itself'; it need not exist, but what leads to it must. Returns 0, or a negative errno with a
 * sentence that names the folder and the command that helps. */
int strict_paths_check(const char *path, bool and_itself, char *ret_why, size_t why_size);

#endif
