/* daemon/accounts.h - the users and groups that matter to a root daemon */
#ifndef DAEMON_ACCOUNTS_H
#define DAEMON_ACCOUNTS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* The group that may use the API, where it exists. */
#define ACCOUNTS_API_GROUP "vmswitch"

/* Whom control and root's networks run as: 'name', or if it is "" _vmswitch, vmswitch or nobody, the first
 * that exists. Returns 0, or -ENOENT or -EPERM (root is not a service user) and a sentence. */
int accounts_find_service(const char *name, uid_t *ret_uid, gid_t *ret_gid, char *ret_why, size_t why_size);

/* Whom a DHCP server runs as: dnsmasq, which its package makes, or else nobody; false if there is neither. */
bool accounts_find_dhcp(uid_t *ret_uid, gid_t *ret_gid);

/* Returns false if there is no such group. */
bool accounts_find_group(const char *name, gid_t *ret_gid);

#endif
