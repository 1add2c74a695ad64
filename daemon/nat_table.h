/* daemon/nat_table.h - rules in the kernel, by libnftables (Linux) */
#ifndef DAEMON_NAT_TABLE_H
#define DAEMON_NAT_TABLE_H

#include <stddef.h>

struct nat_table;

/* Returns NULL with a sentence if the library is not installed, or memory or descriptors are short. What it
 * owns in the kernel goes with it, or with the process. */
struct nat_table *nat_table_create(char *ret_why, size_t why_size);
void nat_table_destroy(struct nat_table *table); /* NULL is fine */

/* Runs a text of daemon/nat_rules.h as one transaction: all of it, or nothing. Needs CAP_NET_ADMIN. Returns
 * 0, or -EIO and a sentence; the log has the rest. */
int nat_table_apply(struct nat_table *table, const char *text, char *ret_why, size_t why_size);

#endif
