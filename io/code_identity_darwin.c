#include "io/code_identity_darwin.h"

#include <dlfcn.h>
#include <string.h>
#include <unistd.h>

#include "io/system_version_darwin.h"

enum { VERSION_ANY_EXECUTABLE = 2602, CS_OPS_CDHASH = 5, CDHASH_SIZE = 20 };

/* Of audit_token_t's eight numbers. */
enum { TOKEN_EUID = 1, TOKEN_PID = 5, TOKEN_PID_VERSION = 7, TOKEN_SIZE = 8 };
struct token {
    uint32_t values[TOKEN_SIZE];
};

/* libSystem has it, no public header. */
int csops(pid_t pid, unsigned int ops, void *address, size_t size);

/* Into a pointer to a function, which a void * is not. */
static bool find(const char *name, void *ret_function)
{
    void *found = dlsym(RTLD_DEFAULT, name);
    memcpy(ret_function, &found, sizeof(found));
    return found != NULL;
}

/* ---- which process ---- */

struct sender sender_of(xpc_object_t message, xpc_connection_t connection)
{
    void (*get_token)(xpc_object_t message, struct token * ret_token);
    struct token token = {{0}};
    if (!find("xpc_dictionary_get_audit_token", &get_token))
        return (struct sender){.pid = xpc_connection_get_pid(connection),
                               .uid = xpc_connection_get_euid(connection)};
    get_token(message, &token);
    return (struct sender){.pid = (pid_t)token.values[TOKEN_PID],
                           .uid = (uid_t)token.values[TOKEN_EUID],
                           .version = token.values[TOKEN_PID_VERSION]};
}

bool sender_is_same(const struct sender *a, const struct sender *b)
{
    return a->pid == b->pid && a->version == b->version;
}

/* ---- which executable ---- */

/* To be released; NULL: the system can't make one. */
static void *requirement_of_own(void)
{
    uint8_t hash[CDHASH_SIZE];
    void *(*create)(xpc_object_t lwcr, void **ret_error);
    if (!find("xpc_peer_requirement_create_lwcr", &create) ||
        csops(getpid(), CS_OPS_CDHASH, hash, sizeof(hash)) < 0)
        return NULL;
    xpc_object_t lwcr = xpc_dictionary_create(NULL, NULL, 0);
    xpc_dictionary_set_data(lwcr, "cdhash", hash, sizeof(hash));
    void *requirement = create(lwcr, NULL);
    xpc_release(lwcr);
    return requirement;
}

bool code_must_be_own(void)
{
    return system_version() < VERSION_ANY_EXECUTABLE;
}

bool code_is_own(xpc_object_t message)
{
    bool (*match)(void *requirement, xpc_object_t message, void **ret_error);
    const bool can_match = find("xpc_peer_requirement_match_received_message", &match);
    void *requirement = can_match ? requirement_of_own() : NULL;
    const bool is_own = requirement && match(requirement, message, NULL);
    if (requirement)
        xpc_release(requirement);
    return is_own;
}

bool code_require_own(xpc_connection_t connection)
{
    void (*set)(xpc_connection_t connection, void *requirement);
    const bool can_set = find("xpc_connection_set_peer_requirement", &set);
    void *requirement = can_set ? requirement_of_own() : NULL;
    if (!requirement)
        return false;
    set(connection, requirement);
    xpc_release(requirement);
    return true;
}
