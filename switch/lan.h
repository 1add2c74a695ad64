/* switch/lan.h - one broadcast domain: its ports, its forwarding database, and the way of a frame
 *
 * (`switch` is a C keyword, hence the name.) Pure: no sockets, no clock, no log, no allocation after
 * lan_create(). Time is an argument in milliseconds and never goes back.
 */
#ifndef SWITCH_LAN_H
#define SWITCH_LAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "switch/fdb.h"
#include "switch/frame.h"
#include "switch/port.h"

enum {
    LAN_BATCH_MAX = 256, /* frames of one lan_receive(); half of a port's queue of 512 */
    LAN_MTU_DEFAULT = 1500,
    LAN_MTU_MIN = 576, /* RFC 791: what every IPv4 host takes */
    LAN_MTU_MAX = 65535,
};

struct lan_options {
    struct fdb_options fdb;
    uint32_t mtu;  /* bytes of payload; frames may be mtu + 14, tagged mtu + 18 */
    bool isolated; /* every VM port is */
};

enum lan_verdict {
    LAN_TAKEN, /* every frame was delivered, queued or dropped, and counted */
    LAN_WAIT,  /* nothing was taken or counted: a destination pushes back; offer the same frames later */
};

/* Returns NULL if memory is short. */
struct lan *lan_create(const struct lan_options *options);

/* All ports must have left. lan_destroy(NULL) is fine. */
void lan_destroy(struct lan *lan);

/* Joins 'port', whose memory stays the caller's and must stay put until lan_leave(). At most one port of a
 * lan is the uplink. */
void lan_join(struct lan *lan, struct port *port);

/* Forgets the port's addresses and adds its counters to those of the ports that have left. The port's
 * link must be unplugged. */
void lan_leave(struct lan *lan, struct port *port);

/* Takes n rows, borrowed until it returns, that came in by 'from' and have at most LAN_BATCH_MAX frames. Each
 * of these has FRAME_LEN_MIN <= len <= FRAME_LEN_MAX, and a true descriptor (switch/offload.h); runts and
 * false ones are the link's to drop. A frame whose checksum is open may be finished in place. With 'may_wait'
 * the call may return LAN_WAIT where a known destination pushes back; without it, frames for a full port are
 * dropped. */
enum lan_verdict lan_receive(struct lan *lan, struct port *from, struct frame *rows, size_t n, bool may_wait,
                             uint64_t now_ms);

/* Ages the forwarding database. Returns in how many ms there may be something to do again; 0: not before
 * something has been learned, and then after the age of an entry. */
uint64_t lan_tick(struct lan *lan, uint64_t now_ms);

/* Changes what may change while frames flow. */
void lan_set_isolated(struct lan *lan, bool isolated);

/* Adds up all ports, those that have left included; *ret_queued (may be NULL) = frames in queues now. */
void lan_totals(const struct lan *lan, struct counters *ret_totals, uint64_t *ret_queued);

/* The forwarding database, for snapshots and static entries. */
struct fdb *lan_fdb(struct lan *lan);

/* Iterates: lan_next_port(lan, NULL) is the first, NULL comes after the last. */
struct port *lan_next_port(const struct lan *lan, const struct port *port);

uint32_t lan_mtu(const struct lan *lan);

#endif
