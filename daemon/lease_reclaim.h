/* daemon/lease_reclaim.h - addresses of guests that went without a word, given back (Linux)
 *
 * A lease is for an hour, and guests that live for seconds would use a subnet up. When three quarters of the
 * addresses are taken, those that run out first are asked for by ARP, and the leases of who does not answer
 * are taken out of dnsmasq's file, for which it is started anew. A guest that answers keeps its address,
 * whatever else.
 */
#ifndef DAEMON_LEASE_RECLAIM_H
#define DAEMON_LEASE_RECLAIM_H

#include <stdbool.h>
#include <stdint.h>

#include "daemon/dhcp_server.h"
#include "daemon/neighbours.h"

enum {
    RECLAIM_POOL_MAX = 4096,      /* addresses; a larger pool is left alone */
    RECLAIM_LOOK_MS = 1000,       /* between looks at a file that changes */
    RECLAIM_PAUSE_MS = 60 * 1000, /* after asking in vain */
};

/* All zero but for inotify_fd, which is -1: not open. */
struct lease_reclaim {
    int inotify_fd;
    unsigned pool;                        /* addresses that there are; 0: no DHCP, or too many */
    unsigned n_used;                      /* when last looked */
    uint64_t look_ms, asked_ms, pause_ms; /* when to look; when was asked; until when not to. 0: not */
    unsigned n_asked;
    uint32_t asked[NEIGHBOURS_MAX];
};

/* The network is (now) so. */
void lease_reclaim_configure(struct lease_reclaim *reclaim, const struct dhcp_server *server,
                             const struct network_spec *spec, uint64_t now_ms);

/* To wait for with POLLIN, -1: nothing; and what to do then. */
int lease_reclaim_fd(const struct lease_reclaim *reclaim);
void lease_reclaim_hear(struct lease_reclaim *reclaim, uint64_t now_ms);

/* Does what is due. Returns how long until the next time, in ms, or -1. */
int64_t lease_reclaim_work(struct lease_reclaim *reclaim, struct dhcp_server *server, const char *tap,
                           uint64_t now_ms);

/* True if every address is taken, by guests that answered when they were asked last. */
bool lease_reclaim_is_exhausted(const struct lease_reclaim *reclaim);

void lease_reclaim_close(struct lease_reclaim *reclaim);

#endif
