/* daemon/privileges.h - giving them up, for good */
#ifndef DAEMON_PRIVILEGES_H
#define DAEMON_PRIVILEGES_H

#include <stddef.h>
#include <stdint.h>

/* As root: becomes 'uid' and 'gid' (neither may be 0) with no other group. As anybody: gives up every
 * capability and the right to gain any by an exec, then checks that none can be had again. Returns 0, or a
 * negative errno with a sentence in 'ret_why': the process must not go on then, some of it may have been
 * done. */
int privileges_drop(uint32_t uid, uint32_t gid, char *ret_why, size_t why_size);

#endif
