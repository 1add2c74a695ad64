/* daemon/nat_place.h - where a process nat lives: its user and its folders, before it starts
 *
 * For the processes that keep the privilege: the monitor and a front end's keeper.
 */
#ifndef DAEMON_NAT_PLACE_H
#define DAEMON_NAT_PLACE_H

#include <stddef.h>
#include <sys/types.h>

#include "daemon/message.h"

struct nat_place {
    int dir_fd;    /* the runtime folder: <network>.dhcp is made in it */
    int leases_fd; /* the folder of leases; -1: they are kept in <network>.dhcp */
    uid_t uid;     /* whom it runs as; 0: there is nobody for it */
    gid_t gid;
};

/* Makes the folders, and writes into 'start' whom to run as: neither the network's owner, who could signal
 * it, nor control's user, because a DHCP server reads what guests send. Returns 0, or a negative errno and a
 * sentence: we are not root, or have not the capabilities. */
int nat_place_prepare(const struct nat_place *place, struct child_start *start, char *ret_why,
                      size_t why_size);

#endif
