/* io/code_identity_darwin.h - who is at the other end of an XPC connection: which process, which executable
 *
 * Which process: the audit token of a message, which the kernel writes. A pid alone is no name: it may belong
 * to another process by the time it is looked at, and what the connection itself says is of whoever spoke
 * last. Which executable: the hash of its code's directory, because one that was signed ad hoc has no other
 * identity. Everything that came after the oldest macOS, or is in no public header, is looked up by name.
 */
#ifndef IO_CODE_IDENTITY_DARWIN_H
#define IO_CODE_IDENTITY_DARWIN_H

#include <stdbool.h>
#include <sys/types.h>
#include <xpc/xpc.h>

struct sender {
    pid_t pid;
    uid_t uid;        /* effective */
    uint32_t version; /* of the pid, which an exec and a new process change; 0: not known */
};

/* Of a message that was received. Where the system does not say, what the connection says. */
struct sender sender_of(xpc_object_t message, xpc_connection_t connection);
/* True if both are one process; what user it is may have changed. */
bool sender_is_same(const struct sender *a, const struct sender *b);

/* True on macOS 26.0 and 26.1, which end a process that starts an interface on a network that another
 * executable made. From 26.2 on any may that has the entitlement. */
bool code_must_be_own(void);
/* True if a message that was received comes from this executable. */
bool code_is_own(xpc_object_t message);
/* Lets the connection, which was not resumed yet, hear nothing but this executable: what another one replies
 * is XPC_ERROR_PEER_CODE_SIGNING_REQUIREMENT. Not for a listener, which would drop others' requests without
 * an answer. Returns false if the system can't; then code_is_own() tells. */
bool code_require_own(xpc_connection_t connection);

#endif
