/* daemon/vmnet_helper.h - vmnet-helper: what its files share
 *
 * vmnet_helper.c          understands the command line, and chooses
 * vmnet_helper_own.c      a network of its own (daemon/front.h)
 * vmnet_helper_join.c     a port in a network of a running vmswitchd, by passing it the VM's socket
 * vmnet_helper_socket.c   its socket
 * vmnet_helper_vm.h       the VM, the same for both
 */
#ifndef DAEMON_VMNET_HELPER_H
#define DAEMON_VMNET_HELPER_H

#include <stddef.h>

#include "daemon/keeper_files.h"
#include "daemon/vmnet_helper_json.h"
#include "daemon/vmnet_helper_options.h"

#define HELPER_PROGRAM "vmnet-helper"

enum { HELPER_SOCKET_MODE = 0600, HELPER_SAY_SIZE = 512 };

/* What both say of the VM: its id (made, if none was given), its address, sizes. Returns 0, or -1 with a
 * sentence. */
int helper_facts_begin(struct helper_facts *facts, const struct helper_options *options, char *why,
                       size_t size);

/* Who called us, if that is not who we are: by sudo its user, by setuid the real one. Nothing is done for him
 * that he could not do himself, but for the network. Returns false if there is nobody else: an ordinary user,
 * or root itself. */
bool helper_find_caller(uint32_t *ret_uid, uint32_t *ret_gid);

/* The VM's socket, of --socket: locked, so that a second one says so, bound, private. What a killed one left
 * is in nobody's way. */
struct helper_socket {
    struct keeper_files files;
    bool is_taken;
};
/* Returns the socket, or -1 with a sentence; helper_socket_remove() is due in both cases. 'path' is absolute
 * or of the current folder. */
int helper_socket_make(struct helper_socket *made, const char *path, char *why, size_t size);
void helper_socket_remove(struct helper_socket *made);

/* Each runs to the end and returns the exit code. 'uplink' is VMSWITCH_UPLINK's value, or NULL. */
int helper_run_own(const struct helper_options *options, const char *uplink);
int helper_run_joined(const struct helper_options *options, const char *network);

#endif
