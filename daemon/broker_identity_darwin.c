/* daemon/broker_identity_darwin.c - is the other side this executable?
 *
 * macOS 26.0 and 26.1 end a process that starts an interface on a network which another executable made.
 * From 26.2 on anybody with the entitlement may. The check is by the hash of the code's directory: an
 * executable that was signed ad hoc has no other identity.
 */
#include "daemon/broker_internal_darwin.h"

#include <dlfcn.h>
#include <string.h>
#include <unistd.h>

#include "io/system_version_darwin.h"

enum { VERSION_ANY_EXECUTABLE = 2602, CS_OPS_CDHASH = 5, CDHASH_SIZE = 20 };

/* libSystem has it, no public header. */
int csops(pid_t pid, unsigned int ops, void *address, size_t size);

static void *requirement_of_own(void)
{
    uint8_t hash[CDHASH_SIZE];
    void *(*create)(xpc_object_t lwcr, void **ret_error);
    void *function = dlsym(RTLD_DEFAULT, "xpc_peer_requirement_create_lwcr");
    memcpy(&create, &function, sizeof(create));
    if (!create || csops(getpid(), CS_OPS_CDHASH, hash, sizeof(hash)) < 0)
        return NULL;
    xpc_object_t lwcr = xpc_dictionary_create(NULL, NULL, 0);
    xpc_dictionary_set_data(lwcr, "cdhash", hash, sizeof(hash));
    void *requirement = create(lwcr, NULL);
    xpc_release(lwcr);
    return requirement;
}

static bool is_own_executable(xpc_object_t message)
{
    bool (*match)(void *requirement, xpc_object_t message, void **ret_error);
    void *function = dlsym(RTLD_DEFAULT, "xpc_peer_requirement_match_received_message");
    void *requirement = requirement_of_own();
    memcpy(&match, &function, sizeof(match));
    const bool is_own = match && requirement && match(requirement, message, NULL);
    if (requirement)
        xpc_release(requirement);
    return is_own;
}

bool client_is_foreign(xpc_object_t message)
{
    return system_version() < VERSION_ANY_EXECUTABLE && !is_own_executable(message);
}
