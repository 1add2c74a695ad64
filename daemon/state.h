/* daemon/state.h - the networks and named ports that were made over the API, kept over a restart
 *
 * How it works
 *   One file a network, <state>/networks/<name>.json:
 *     {"network": spec, "owner": {"uid": 1000, "gid": 1000}, "ports": [port spec, ...]}
 *   A change is written whole to <name>.json.tmp, synced, renamed over the old one, and the folder synced.
 *
 * What is always true
 *   When state_save() has returned 0 the network comes back after a crash at any byte of any later write, and
 * the old or the new version is read, never a mixture. Only the control role writes, under the folder's lock.
 * Folders are 0700, files 0600; no symlink is followed below the state folder.
 *
 * When it fails
 *   A full disk leaves the old version. A file that does not hold what it should is set aside as
 * <name>.json.damaged for a person to look at, and costs no other network.
 *
 * Calls wait for the disk (some milliseconds): not for a network process.
 */
#ifndef DAEMON_STATE_H
#define DAEMON_STATE_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "api/network_spec.h"

enum {
    STATE_FILE_MAX = 1024 * 1024, /* bytes; 256 ports with 8 addresses each are 100 KiB */
    STATE_WHY_SIZE = 1024,
};

struct state;

struct state_network { /* borrowed, both ways */
    const struct network_spec *spec;
    uid_t uid; /* of the owner */
    gid_t gid;
    const struct port_spec *ports;
    uint32_t n_ports;
};

/* Opens the folder 'dir', which is made with its parents if it is not there, and locks it: one daemon has it
 * until it closes or dies. The folder must belong to us or root and be writable by nobody else. Returns 0, or
 * a negative errno
 * (-EWOULDBLOCK: another daemon has it) with a sentence in ret_why. */
int state_open(struct state **ret_state, const char *dir, char *ret_why, size_t why_size);

/* NULL is fine. */
void state_close(struct state *state);

/* Keeps 'network' as it is from now on. Returns 0, or a negative errno with a sentence: then a restart finds
 * the version before, or, if only the last sync failed, perhaps this one. */
int state_save(struct state *state, const struct state_network *network, char *ret_why, size_t why_size);

/* Forgets the network; one that is not there is no error. Returns as state_save(). */
int state_remove(struct state *state, const char *name, char *ret_why, size_t why_size);

struct state_visitor;

/* Visits the network 'name', if there is one. Returns 0, or a negative errno if it cannot be read now. */
int state_load_one(struct state *state, const char *name, const struct state_visitor *visitor, void *ctx);

struct state_visitor {
    void (*on_network)(void *ctx, const struct state_network *network);
    /* A file that was not loaded, in no way an error of the whole: 'why' is a sentence that names it and says
     * whether it was set aside. */
    void (*on_damaged)(void *ctx, const char *file, const char *why);
};

/* Visits every network in the order of their names, and removes what interrupted writes left behind. Returns
 * 0, or a negative errno with a sentence if the folder, or a file in it, cannot be read now (memory is short,
 * there are no descriptors): some networks may have been visited, and no file was touched. */
int state_load_all(struct state *state, const struct state_visitor *visitor, void *ctx, char *ret_why,
                   size_t why_size);

#endif
