/* daemon/vmnet_helper_vm.h - vmnet-helper's one VM: announced, waited for, plugged in, watched
 *
 * The same for a network of our own and for one of a vmswitchd: these differ in struct helper_vm_ops.
 *
 * Order: the line on standard output, which is silent from then on -> the VM's descriptor, or its first
 * datagram on the socket -> attach() -> until the lease ends (the port has gone), the client has gone, or
 * whoever started us has (--parent-liveness-fd): each is an end with 0.
 */
#ifndef DAEMON_VMNET_HELPER_VM_H
#define DAEMON_VMNET_HELPER_VM_H

#include <jansson.h>
#include <uv.h>

#include "daemon/vmnet_helper_json.h"
#include "daemon/vmnet_helper_options.h"

struct helper_vm;

struct helper_counters {
    uint64_t frames_in, bytes_in, drops_in; /* from the VM */
    uint64_t frames_out, bytes_out, drops_out;
};

struct helper_vm_ops {
    /* Plugs a connected datagram socket in, and takes it. Returns the lease, which is taken back, or -1 with
     * a sentence. */
    int (*attach)(void *ctx, int fd, char *why, size_t why_size);
    /* The port's counters; false: there are none now. */
    bool (*count)(void *ctx, struct helper_counters *ret_counters);
    /* Everything is over. Called once; then helper_vm_close() is expected. */
    void (*end)(void *ctx, int exit_code);
};

/* 'fd' is the bound socket, or -1 where options->fd is the VM's; taken on success. 'options', 'ops' must
 * outlive it. Returns 0, or -1 with a sentence. */
int helper_vm_open(struct helper_vm **ret_vm, uv_loop_t *loop, const struct helper_options *options,
                   const struct helper_facts *facts, int fd, const struct helper_vm_ops *ops, void *ctx,
                   char *why, size_t why_size);

/* Freed on a later turn of the loop; gives up the lease. NULL is fine. */
void helper_vm_close(struct helper_vm *vm);

#endif
