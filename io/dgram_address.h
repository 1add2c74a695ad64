/* io/dgram_address.h - the name of a datagram client, and whether somebody still lives there
 *
 * A client is known by the path it has bound. Two clients can use the same path one after the other, so the
 * file's identity is kept too: a restarted client has bound a new file.
 */
#ifndef IO_DGRAM_ADDRESS_H
#define IO_DGRAM_ADDRESS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/un.h>

#include "io/batch.h"

enum { DGRAM_PATH_SIZE = sizeof(((struct sockaddr_un *)0)->sun_path) + 1 };

struct dgram_address {
    struct sockaddr_un name;
    socklen_t len;
    char path[DGRAM_PATH_SIZE]; /* the same, ended by a NUL */
    bool has_file;              /* dev, ino and bound_at_ns hold */
    dev_t dev;
    ino_t ino;
    int64_t bound_at_ns; /* a file system may give a number again at once */
};

/* Reads the source of a datagram. Returns false if it has no path: unbound, or an abstract name. */
bool dgram_address_of(struct dgram_address *address, const struct batch_slot *slot);

/* True if the datagram came from 'address'. */
bool dgram_address_is_from(const struct dgram_address *address, const struct batch_slot *slot);

/* Asks the kernel who answers there, without sending anything: a throw-away socket connects.
 * 0: somebody, connected to nobody. -EPERM: somebody, connected to another socket (to ours, say).
 * -ECONNREFUSED: a file nobody has bound any more. -ENOENT: no file. -EACCES: it may not be written.
 * Other errors tell nothing. */
int dgram_address_probe(const struct dgram_address *address);

/* A frame that a live guest drops, for sending makes the kernel say that the other end has gone: to an
 * address nobody has, of a type for local experiments (IEEE 802-2014, 9.2.3). */
enum { DGRAM_QUESTION_LEN = 60 };
void dgram_address_make_question(uint8_t frame[DGRAM_QUESTION_LEN]);

/* Remembers the file at the path. */
void dgram_address_note_file(struct dgram_address *address);

/* True if another file lies there now: the client we knew cannot be reached by it. */
bool dgram_address_is_replaced(const struct dgram_address *address);

/* The last sources that were turned away, so that a flood from some costs little. All zero: none. */
enum { DGRAM_REFUSALS = 8, DGRAM_REFUSAL_MS = 250 };

struct dgram_refusals {
    struct dgram_refusal {
        struct dgram_address address;
        uint64_t at_ms;
        bool is_denied; /* on_denied was told */
    } last[DGRAM_REFUSALS];
    unsigned next; /* the one that is overwritten by another address */
};

/* True if 'slot' comes from a source that was refused just now. */
bool dgram_refusals_hold(const struct dgram_refusals *refusals, const struct batch_slot *slot,
                         uint64_t now_ms);

/* Remembers a refusal. Returns true if it is for the reason "denied" and was not for the same address before,
 * as far as is remembered. */
bool dgram_refusals_note(struct dgram_refusals *refusals, const struct dgram_address *address, bool is_denied,
                         uint64_t now_ms);

#endif
