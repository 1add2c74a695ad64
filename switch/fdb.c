/* switch/fdb.c - the forwarding database: which address lives at which port
 *
 * How it works
 *   Three tables, allocated once: the entries, the heads of the hash chains, and for every count n the
 *   ports that have n learned entries. At the default capacity they take about 450 KiB. An entry is on
 *   one hash chain and, if learned, in its port's list by last use, or, if static, in its port's list of
 *   static ones; a free one is in one of the two lists of free entries.
 *
 * What is always true
 *   A port's list of learned entries is in order of last use, to the millisecond: a use within the same
 *   millisecond does not reorder it, which keeps most learning down to one look-up.
 *   A port with n > 0 learned entries is in by_count[n]; n_most is the largest such n, else 0. Counts
 *   change by one, so n_most does too and finding the port that holds most needs no search.
 *
 *   An address has one entry, learned or static. 'generation' counts the changes of who has which: what was
 *   found at one generation holds as long as it lasts.
 *
 * When it is full
 *   fdb.h says who gives up an entry. Among VM ports with equally many it is the one that has had so many
 *   for longest, which is never the port that has just grown. (Open vSwitch's mac-learning.c evicts by
 *   port for the same reason.)
 */
#include "switch/fdb.h"

#include <stdlib.h>
#include <string.h>

#include "switch/mac.h"

struct fdb_entry {
    uint64_t mac;
    uint64_t used_ms; /* last seen as a source; not used by static ones */
    struct port *port;
    struct fdb_entry *next_in_chain; /* of equal hash, or free */
    struct fdb_entry **in_chain;     /* the pointer that points here, so that it can be taken out */
    struct fdb_entry *older, *newer; /* neighbours in the port's list */
    bool is_used;
    bool is_static; /* by its place in the array: constant */
};

/* Ports with equally many learned entries: the uplink, then VMs, longest so first. */
struct equals {
    struct port *first, *last;
};

struct fdb {
    struct fdb_options options;
    struct fdb_entry *entries; /* capacity learned ones, then FDB_STATIC_MAX static ones */
    struct fdb_entry **chains; /* n_chains of them, a power of two */
    struct equals *by_count;   /* [0, capacity] */
    size_t n_chains;
    uint32_t n_most;
    struct fdb_entry *free_learned, *free_static;

    uint64_t generation; /* from 1 */
    uint32_t n_learned, n_static;
    uint64_t n_moves;
    uint64_t n_evictions;
    struct fdb_flap flap;
};

static uint64_t rotate(uint64_t x, unsigned bits)
{
    return x << bits | x >> (64 - bits);
}

static void sip_round(uint64_t v[4])
{
    v[0] += v[1];
    v[2] += v[3];
    v[1] = rotate(v[1], 13) ^ v[0];
    v[3] = rotate(v[3], 16) ^ v[2];
    v[0] = rotate(v[0], 32);
    v[2] += v[1];
    v[0] += v[3];
    v[1] = rotate(v[1], 17) ^ v[2];
    v[3] = rotate(v[3], 21) ^ v[0];
    v[2] = rotate(v[2], 32);
}

/* SipHash-1-3 (Aumasson and Bernstein, 2012; 1-3 as the Linux kernel's and Rust's hash tables use it) of
 * the six bytes of 'mac': one block, so four rounds. */
static uint64_t hash_mac(const uint64_t seed[2], uint64_t mac)
{
    const uint64_t block = UINT64_C(6) << 56 | mac;
    uint64_t v[4] = {
        seed[0] ^ UINT64_C(0x736f6d6570736575),
        seed[1] ^ UINT64_C(0x646f72616e646f6d),
        seed[0] ^ UINT64_C(0x6c7967656e657261),
        seed[1] ^ UINT64_C(0x7465646279746573),
    };

    v[3] ^= block;
    sip_round(v);
    v[0] ^= block;
    v[2] ^= 0xFF;
    sip_round(v);
    sip_round(v);
    sip_round(v);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

static struct fdb_entry **chain_of(const struct fdb *fdb, uint64_t mac)
{
    return &fdb->chains[hash_mac(fdb->options.seed, mac) & (fdb->n_chains - 1)];
}

static struct fdb_entry *lookup(const struct fdb *fdb, uint64_t mac)
{
    struct fdb_entry *entry = *chain_of(fdb, mac);

    while (entry && entry->mac != mac)
        entry = entry->next_in_chain;
    return entry;
}

/* --- chains and lists --- */

static struct fdb_entry *take_free(struct fdb_entry **free_list)
{
    struct fdb_entry *entry = *free_list;

    if (entry)
        *free_list = entry->next_in_chain;
    return entry;
}

static void give_back(struct fdb_entry **free_list, struct fdb_entry *entry)
{
    entry->is_used = false;
    entry->next_in_chain = *free_list;
    *free_list = entry;
}

static void hash_insert(struct fdb *fdb, struct fdb_entry *entry)
{
    fdb->generation++;
    entry->in_chain = chain_of(fdb, entry->mac);
    entry->next_in_chain = *entry->in_chain;
    *entry->in_chain = entry;
    if (entry->next_in_chain)
        entry->next_in_chain->in_chain = &entry->next_in_chain;
}

static void hash_remove(struct fdb *fdb, struct fdb_entry *entry)
{
    fdb->generation++;
    *entry->in_chain = entry->next_in_chain;
    if (entry->next_in_chain)
        entry->next_in_chain->in_chain = entry->in_chain;
}

static void list_append(struct port *port, struct fdb_entry *entry)
{
    entry->older = port->fdb.newest;
    entry->newer = NULL;
    if (entry->older)
        entry->older->newer = entry;
    else
        port->fdb.oldest = entry;
    port->fdb.newest = entry;
}

static void list_remove(struct port *port, struct fdb_entry *entry)
{
    if (entry->older)
        entry->older->newer = entry->newer;
    else
        port->fdb.oldest = entry->newer;
    if (entry->newer)
        entry->newer->older = entry->older;
    else
        port->fdb.newest = entry->older;
}

static void equals_remove(struct equals *equals, struct port *port)
{
    if (port->fdb.prev_equal)
        port->fdb.prev_equal->fdb.next_equal = port->fdb.next_equal;
    else
        equals->first = port->fdb.next_equal;
    if (port->fdb.next_equal)
        port->fdb.next_equal->fdb.prev_equal = port->fdb.prev_equal;
    else
        equals->last = port->fdb.prev_equal;
}

/* Puts the uplink first and a VM port last. */
static void equals_insert(struct equals *equals, struct port *port)
{
    port->fdb.prev_equal = port->role == PORT_UPLINK ? NULL : equals->last;
    port->fdb.next_equal = port->role == PORT_UPLINK ? equals->first : NULL;
    if (port->fdb.prev_equal)
        port->fdb.prev_equal->fdb.next_equal = port;
    else
        equals->first = port;
    if (port->fdb.next_equal)
        port->fdb.next_equal->fdb.prev_equal = port;
    else
        equals->last = port;
}

/* 'n' is one more or one less than the port has had. */
static void set_n_learned(struct fdb *fdb, struct port *port, uint32_t n)
{
    if (port->fdb.n_learned > 0)
        equals_remove(&fdb->by_count[port->fdb.n_learned], port);
    port->fdb.n_learned = n;
    if (n > 0)
        equals_insert(&fdb->by_count[n], port);

    if (n > fdb->n_most)
        fdb->n_most = n;
    else if (fdb->n_most > 0 && !fdb->by_count[fdb->n_most].first)
        fdb->n_most--;
}

/* --- learned entries --- */

static void remove_learned(struct fdb *fdb, struct fdb_entry *entry)
{
    struct port *port = entry->port;

    hash_remove(fdb, entry);
    list_remove(port, entry);
    set_n_learned(fdb, port, port->fdb.n_learned - 1);
    fdb->n_learned--;
    give_back(&fdb->free_learned, entry);
}

/* Makes room for one more entry of 'port'. Without room (a limit of 0) there is nobody to take from, and
 * add_learned() finds none. */
static void make_room(struct fdb *fdb, const struct port *port)
{
    struct fdb_entry *victim = NULL;

    if (port->fdb.n_learned >= port->fdb.limit)
        victim = port->fdb.oldest;
    else if (!fdb->free_learned && fdb->n_most > 0)
        victim = fdb->by_count[fdb->n_most].first->fdb.oldest;
    if (victim) {
        remove_learned(fdb, victim);
        fdb->n_evictions++;
    }
}

static void add_learned(struct fdb *fdb, uint64_t mac, struct port *port, uint64_t now_ms)
{
    make_room(fdb, port);
    if (port->fdb.n_learned >= port->fdb.limit)
        return;
    struct fdb_entry *entry = take_free(&fdb->free_learned);
    if (!entry)
        return;

    entry->mac = mac;
    entry->used_ms = now_ms;
    entry->port = port;
    entry->is_used = true;
    hash_insert(fdb, entry);
    list_append(port, entry);
    set_n_learned(fdb, port, port->fdb.n_learned + 1);
    fdb->n_learned++;
}

/* 'mac' is learned at 'port', and the last that was. */
static bool is_last_speaker(const struct port *port, uint64_t mac)
{
    return port->fdb.newest && port->fdb.newest->mac == mac;
}

/* Whether the port of 'entry' keeps it against 'claimant'. */
static bool is_kept(const struct fdb *fdb, const struct fdb_entry *entry, const struct port *claimant,
                    uint64_t now_ms)
{
    if (!port_is_up(entry->port))
        return false;
    /* A host's bridge may reflect what a guest has sent: the guest must stay reachable. */
    if (claimant->role == PORT_UPLINK)
        return true;
    return now_ms - entry->used_ms < fdb->options.hold_ms;
}

static void note_flap(struct fdb *fdb, const struct fdb_entry *entry, const struct port *claimant,
                      uint64_t now_ms)
{
    fdb->flap.count++;
    fdb->flap.mac = entry->mac;
    fdb->flap.at_ms = now_ms;
    memcpy(fdb->flap.port, entry->port->name, sizeof(fdb->flap.port));
    memcpy(fdb->flap.claimed, claimant->name, sizeof(fdb->flap.claimed));
}

void fdb_learn(struct fdb *fdb, uint64_t mac, struct port *port, uint64_t now_ms)
{
    /* Mostly the one who spoke here last speaks again. */
    struct fdb_entry *entry = is_last_speaker(port, mac) ? port->fdb.newest : lookup(fdb, mac);

    if (!entry) {
        add_learned(fdb, mac, port, now_ms);
    } else if (entry->is_static) {
        return;
    } else if (entry->port == port) {
        if (entry->used_ms == now_ms)
            return;
        entry->used_ms = now_ms;
        if (entry->newer) {
            list_remove(port, entry);
            list_append(port, entry);
        }
    } else if (is_kept(fdb, entry, port, now_ms)) {
        note_flap(fdb, entry, port, now_ms);
    } else {
        remove_learned(fdb, entry);
        add_learned(fdb, mac, port, now_ms);
        fdb->n_moves++;
    }
}

uint64_t fdb_age(struct fdb *fdb, uint64_t now_ms)
{
    uint64_t soonest = 0;

    /* One look at every port that has entries, and one at every entry that goes. Upwards, because a port
     * that loses entries goes to a count already visited. */
    for (uint32_t n = 1; n <= fdb->n_most; n++) {
        struct port *next = NULL;
        for (struct port *port = fdb->by_count[n].first; port; port = next) {
            next = port->fdb.next_equal;
            while (port->fdb.oldest && now_ms - port->fdb.oldest->used_ms >= fdb->options.age_ms)
                remove_learned(fdb, port->fdb.oldest);
            if (port->fdb.oldest) {
                uint64_t left = fdb->options.age_ms - (now_ms - port->fdb.oldest->used_ms);

                soonest = soonest == 0 || left < soonest ? left : soonest;
            }
        }
    }
    return soonest;
}

uint32_t fdb_flush(struct fdb *fdb)
{
    uint32_t n = fdb->n_learned;

    while (fdb->n_most > 0)
        remove_learned(fdb, fdb->by_count[fdb->n_most].first->fdb.oldest);
    return n;
}

/* --- static entries --- */

static void link_static(struct port *port, struct fdb_entry *entry)
{
    entry->port = port;
    entry->older = NULL;
    entry->newer = port->fdb.statics;
    if (entry->newer)
        entry->newer->older = entry;
    port->fdb.statics = entry;
}

static void unlink_static(struct fdb_entry *entry)
{
    if (entry->older)
        entry->older->newer = entry->newer;
    else
        entry->port->fdb.statics = entry->newer;
    if (entry->newer)
        entry->newer->older = entry->older;
}

static void remove_static(struct fdb *fdb, struct fdb_entry *entry)
{
    hash_remove(fdb, entry);
    unlink_static(entry);
    give_back(&fdb->free_static, entry);
    fdb->n_static--;
}

bool fdb_add_static(struct fdb *fdb, uint64_t mac, struct port *port)
{
    if (mac == 0 || mac_is_group(mac))
        return false;

    struct fdb_entry *entry = lookup(fdb, mac);
    if (entry && entry->is_static) {
        unlink_static(entry);
        link_static(port, entry);
        fdb->generation++;
        return true;
    }
    if (!fdb->free_static)
        return false;
    if (entry)
        remove_learned(fdb, entry);
    entry = take_free(&fdb->free_static);
    fdb->n_static++;
    entry->mac = mac;
    entry->is_used = true;
    hash_insert(fdb, entry);
    link_static(port, entry);
    return true;
}

void fdb_remove_static(struct fdb *fdb, uint64_t mac)
{
    struct fdb_entry *entry = lookup(fdb, mac);

    if (entry && entry->is_static)
        remove_static(fdb, entry);
}

void fdb_remove_statics(struct fdb *fdb, struct port *port)
{
    while (port->fdb.statics)
        remove_static(fdb, port->fdb.statics);
}

/* --- the rest --- */

struct fdb *fdb_create(const struct fdb_options *options)
{
    struct fdb *fdb = calloc(1, sizeof(*fdb));
    if (!fdb)
        return NULL;

    size_t n_entries = (size_t)options->capacity + FDB_STATIC_MAX;
    fdb->options = *options;
    fdb->generation = 1;
    fdb->n_chains = 1;
    while (fdb->n_chains < n_entries)
        fdb->n_chains *= 2;
    fdb->entries = calloc(n_entries, sizeof(*fdb->entries));
    fdb->chains = calloc(fdb->n_chains, sizeof(struct fdb_entry *));
    fdb->by_count = calloc((size_t)options->capacity + 1, sizeof(*fdb->by_count));
    if (!fdb->entries || !fdb->chains || !fdb->by_count) {
        fdb_destroy(fdb);
        return NULL;
    }

    /* From the end, so that low ones are used first and few entries touch little memory. */
    for (size_t i = n_entries; i-- > 0;) {
        struct fdb_entry *entry = &fdb->entries[i];
        entry->is_static = i >= options->capacity;
        give_back(entry->is_static ? &fdb->free_static : &fdb->free_learned, entry);
    }
    return fdb;
}

void fdb_destroy(struct fdb *fdb)
{
    if (!fdb)
        return;
    free(fdb->by_count);
    free(fdb->chains);
    free(fdb->entries);
    free(fdb);
}

void fdb_add_port(struct fdb *fdb, struct port *port)
{
    memset(&port->fdb, 0, sizeof(port->fdb));
    port->fdb.limit = port->role == PORT_UPLINK ? fdb->options.uplink_limit : fdb->options.port_limit;
}

void fdb_forget_port(struct fdb *fdb, struct port *port)
{
    while (port->fdb.oldest)
        remove_learned(fdb, port->fdb.oldest);
    fdb_remove_statics(fdb, port);
}

struct port *fdb_find(const struct fdb *fdb, uint64_t mac)
{
    const struct fdb_entry *entry = lookup(fdb, mac);

    return entry ? entry->port : NULL;
}

struct port *fdb_find_for(const struct fdb *fdb, struct port *from, uint64_t mac)
{
    if (from->fdb.found.generation != fdb->generation || from->fdb.found.mac != mac) {
        from->fdb.found.port = fdb_find(fdb, mac);
        from->fdb.found.mac = mac;
        from->fdb.found.generation = fdb->generation;
    }
    return from->fdb.found.port;
}

bool fdb_is_static_elsewhere(const struct fdb *fdb, uint64_t mac, const struct port *port)
{
    if (is_last_speaker(port, mac))
        return false;
    const struct fdb_entry *entry = lookup(fdb, mac);

    return entry && entry->is_static && entry->port != port;
}

void fdb_visit(const struct fdb *fdb, uint64_t now_ms, void (*visit)(const struct fdb_view *, void *ctx),
               void *ctx)
{
    for (size_t i = 0; i < (size_t)fdb->options.capacity + FDB_STATIC_MAX; i++) {
        const struct fdb_entry *entry = &fdb->entries[i];
        if (!entry->is_used)
            continue;
        struct fdb_view view = {
            .mac = entry->mac,
            .port = entry->port,
            .age_ms = entry->is_static ? 0 : now_ms - entry->used_ms,
            .is_static = entry->is_static,
        };
        visit(&view, ctx);
    }
}

uint32_t fdb_n_entries(const struct fdb *fdb)
{
    return fdb->n_learned + fdb->n_static;
}

uint32_t fdb_n_learned(const struct fdb *fdb)
{
    return fdb->n_learned;
}

uint64_t fdb_n_moves(const struct fdb *fdb)
{
    return fdb->n_moves;
}

uint64_t fdb_n_evictions(const struct fdb *fdb)
{
    return fdb->n_evictions;
}

const struct fdb_flap *fdb_last_flap(const struct fdb *fdb)
{
    return &fdb->flap;
}
