/* switch/fdb.h - the forwarding database: which address lives at which port
 *
 * How it works
 *   A fixed array of entries, reached through a keyed hash, so that a guest cannot choose addresses that
 *   collide. Each port keeps its learned entries in order of last use, so ageing and eviction look only
 *   at the oldest. Everything is O(1) in ports and entries, except ageing, which is O(expired).
 *
 * When it is full
 *   A port at its own limit gives up its oldest entry. A full table takes the oldest entry of the port
 *   that holds most (the uplink before a VM where two hold equally many): one guest that invents
 *   addresses cannot push out its neighbours', which is a security feature. Static entries are neither
 *   counted nor evicted.
 *
 * When an address turns up elsewhere
 *   It moves at once if its old port is down or has been silent with it for hold_ms; else the old port
 *   keeps it and the attempt is counted as a flap with both ports named. The uplink never takes over the
 *   address of a VM port that is up. A static entry never moves.
 */
#ifndef SWITCH_FDB_H
#define SWITCH_FDB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "switch/port.h"

struct fdb;

struct fdb_options {
    uint64_t seed[2];      /* random, secret */
    uint32_t capacity;     /* learned entries; static ones have FDB_STATIC_MAX places beside them */
    uint32_t port_limit;   /* learned entries of a VM port */
    uint32_t uplink_limit; /* learned entries of the uplink */
    uint64_t age_ms;       /* an entry unused for so long is forgotten */
    uint64_t hold_ms;      /* how long a port that is alive keeps its address against another */
};

enum {
    FDB_CAPACITY = 4096,
    FDB_PORT_LIMIT = 256,
    FDB_UPLINK_LIMIT = 2048,
    FDB_AGE_MS = 300 * 1000, /* IEEE 802.1Q-2018, table 8-6 */
    FDB_HOLD_MS = 3 * 1000,  /* VDE 3 s, Open vSwitch 5 s */
    FDB_STATIC_MAX = 1024,
};

/* An entry as others see it. */
struct fdb_view {
    uint64_t mac;
    const struct port *port;
    uint64_t age_ms; /* since it was last used as a source; 0 for a static one */
    bool is_static;
};

/* The last attempt of a port to use an address that another port kept. */
struct fdb_flap {
    uint64_t count; /* over the table's life */
    uint64_t mac;
    char port[PORT_NAME_SIZE];    /* where the address stayed */
    char claimed[PORT_NAME_SIZE]; /* where it turned up */
    uint64_t at_ms;
};

/* Returns NULL if memory is short. The only allocation; fdb_destroy(NULL) is fine. */
struct fdb *fdb_create(const struct fdb_options *options);
void fdb_destroy(struct fdb *fdb);

/* Makes 'port' known with an empty set of entries, by its role's limit; fdb_forget_port() undoes it. */
void fdb_add_port(struct fdb *fdb, struct port *port);

/* Learns that 'mac', not a group address and not zero, was seen as a source at 'port'. Never fails. */
void fdb_learn(struct fdb *fdb, uint64_t mac, struct port *port, uint64_t now_ms);

/* Returns the port of 'mac', or NULL if unknown. */
struct port *fdb_find(const struct fdb *fdb, uint64_t mac);

/* The same; remembers the answer in 'from', which asks again and again, until the table changes. */
struct port *fdb_find_for(const struct fdb *fdb, struct port *from, uint64_t mac);

/* True if 'mac' is a static entry at 'port' / at any port other than 'port'. */
bool fdb_is_static_elsewhere(const struct fdb *fdb, uint64_t mac, const struct port *port);

/* Adds or re-points a static entry; a learned one for the same address gives way. Returns false if all
 * FDB_STATIC_MAX places are taken or 'mac' is a group address or zero. */
bool fdb_add_static(struct fdb *fdb, uint64_t mac, struct port *port);
void fdb_remove_static(struct fdb *fdb, uint64_t mac);
void fdb_remove_statics(struct fdb *fdb, struct port *port); /* all of one port */

/* Forgets learned entries not used since now_ms - age_ms. Returns in how many ms the next may be due, at the
 * soonest; 0: none is left. What is learned later is due later. */
uint64_t fdb_age(struct fdb *fdb, uint64_t now_ms);

/* Forgets all learned entries of all ports; returns how many. */
uint32_t fdb_flush(struct fdb *fdb);

/* Forgets everything about 'port', static entries too. */
void fdb_forget_port(struct fdb *fdb, struct port *port);

/* Calls 'visit' for every entry, in no order. 'visit' must not change the table. */
void fdb_visit(const struct fdb *fdb, uint64_t now_ms, void (*visit)(const struct fdb_view *, void *ctx),
               void *ctx);

uint32_t fdb_n_entries(const struct fdb *fdb); /* learned and static */
uint32_t fdb_n_learned(const struct fdb *fdb);
uint64_t fdb_n_moves(const struct fdb *fdb);     /* addresses that moved from one port to another */
uint64_t fdb_n_evictions(const struct fdb *fdb); /* entries given up because of a limit */
const struct fdb_flap *fdb_last_flap(const struct fdb *fdb);

#endif
