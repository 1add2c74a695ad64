/* daemon/privileges.h - giving them up, for good */
#ifndef DAEMON_PRIVILEGES_H
#define DAEMON_PRIVILEGES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Root, or on Linux whoever has the capabilities to become others and to give files away: who can start roles
 * as other users. */
bool privileges_can_switch_user(void);

/* Ends a process of ours that runs as 'uid', by becoming that user for the moment where nothing else allows
 * it: so that whoever may switch users needs no privilege for this. */
void privileges_kill(pid_t pid, uint32_t uid);

/* As root, or one who can switch users: becomes 'uid' and 'gid' (neither may be 0) with no other group. As
 * anybody: gives up every capability and the right to gain any by an exec, then checks that none can be had
 * again. Returns 0, or a negative errno with a sentence in 'ret_why': the process must not go on then, some
 * of it may have been done. */
int privileges_drop(uint32_t uid, uint32_t gid, char *ret_why, size_t why_size);

/* Linux. The same for the role nat, which keeps two: to change the rules of its host's network
 * (CAP_NET_ADMIN), and to let a server have ports below 1024 (CAP_NET_BIND_SERVICE). */
int privileges_drop_to_nat(uint32_t uid, uint32_t gid, char *ret_why, size_t why_size);

/* Whether this process, which is root, can have a role nat: a service's sandbox may have taken what that
 * keeps. */
bool privileges_can_nat(void);

/* Linux. In a process of the role nat that is about to execute its server: hands both on. Returns 0 or -1. */
int privileges_hand_on(void);

#endif
