/* daemon/dhcp_watch.h - what libslirp's DHCP server does not tell: who holds its leases, and who gets none
 *
 * How it works
 *   libslirp has SLIRP_LEASES addresses, from one start, never takes one back and answers nothing once they
 *   are gone. The watch reads its replies and so knows the holders. When all are taken, the request of a
 *   client that holds none is kept from libslirp (which would only lose a buffer over it) and remembered: the
 *   table is exhausted from then on, until that client is answered or nobody asked in vain for
 *   DHCP_EXHAUSTED_MS.
 *   It also keeps libslirp inside the configured range: replies that offer an address behind it are dropped.
 *
 * Pure: frames, times and limits are arguments. Frames passed guest_frame_check() or come from libslirp.
 */
#ifndef DAEMON_DHCP_WATCH_H
#define DAEMON_DHCP_WATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    SLIRP_LEASES = 16, /* NB_BOOTP_CLIENTS, libslirp src/bootp.h */
    /* The longest pause of a client that still asks: dhclient waits 5 minutes between rounds (dhclient.conf,
     * "retry"); and one more. */
    DHCP_EXHAUSTED_MS = 6 * 60 * 1000,
};

struct dhcp_watch {
    uint32_t first;    /* address of lease 0, host byte order */
    unsigned n_leases; /* that lie in the configured range */
    unsigned held;     /* bit i: lease i is taken */
    uint64_t holders[SLIRP_LEASES];

    bool is_exhausted;
    uint64_t starving; /* the first client that got nothing */
    uint64_t since_ms; /* when one last asked in vain */
};

/* 'n_leases' is at most SLIRP_LEASES; 0: DHCP is off, which is no exhaustion, and no offer goes out. */
void dhcp_watch_init(struct dhcp_watch *watch, uint32_t first, unsigned n_leases);

/* A guest's frame. Returns false if libslirp must not see it: nothing is left for this client. */
bool dhcp_watch_request(struct dhcp_watch *watch, const uint8_t *frame, size_t len, uint64_t now_ms);

/* A frame of libslirp's. Returns false if it must not go out: it offers an address behind the range. */
bool dhcp_watch_reply(struct dhcp_watch *watch, const uint8_t *frame, size_t len);

/* Ends an exhaustion that nobody suffers from any more. Returns the time until it would, in ms, or -1. */
int64_t dhcp_watch_expire(struct dhcp_watch *watch, uint64_t now_ms);

#endif
