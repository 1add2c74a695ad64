/* daemon/sandbox.h - what a role may still do once it has started
 *
 * The good path: a role that has nothing left to open calls sandbox_enter() before it hears its first
 * message. From then on it can make the system calls of a short list and no other, and reach no file but
 * those it needs, whoever has taken it over. Nothing of it can be undone.
 *
 * What can go wrong: the kernel, or the container that we are in, has no such thing. Then the role goes on
 * without, which is in the state that is returned: the other walls (another user, no capability) stand.
 */
#ifndef DAEMON_SANDBOX_H
#define DAEMON_SANDBOX_H

#include <stdbool.h>
#include <stddef.h>

enum sandbox {
    SANDBOX_CONTROL,
    SANDBOX_NETWORK,
    SANDBOX_UPLINK, /* of the kind user */
    SANDBOX_NAT,
    SANDBOX_FRONT, /* a stand-alone program that opens no file: a network that talks to its uplink */
};

enum sandbox_mode {
    SANDBOX_ON,
    SANDBOX_LOG, /* what it would have stopped is done, and told in the kernel's log; files are not confined
                  */
    SANDBOX_OFF,
    SANDBOX_N_MODES,
};

enum { SANDBOX_MISSING_SIZE = 160 };

struct sandbox_state {
    bool filters_calls; /* or logs them */
    bool confines_files;
    char missing[SANDBOX_MISSING_SIZE]; /* what is not there, and why; "": nothing, or it was not wanted */
};

/* Returns false if 'name' is no mode. Names: on, log, off. */
bool sandbox_mode_parse(const char *name, enum sandbox_mode *ret_mode);
const char *sandbox_mode_name(enum sandbox_mode mode);

/* Of this process; on, if nothing else was said. */
void sandbox_set_mode(enum sandbox_mode mode);
enum sandbox_mode sandbox_mode(void);

/* For good, in this process and in those it starts. 'folder', an
 * absolute path: where the role may write; NULL: nowhere. Needs privileges_drop(), of which no_new_privs is.
 */
void sandbox_enter(enum sandbox sandbox, const char *folder, struct sandbox_state *ret_state);

/* Of the platform, for sandbox_enter(). 0, or -1 with the reason: nothing has changed then. */
int sandbox_filter_calls(enum sandbox sandbox, enum sandbox_mode mode, char *ret_why, size_t why_size);
int sandbox_confine_files(enum sandbox sandbox, const char *folder, char *ret_why, size_t why_size);

#endif
