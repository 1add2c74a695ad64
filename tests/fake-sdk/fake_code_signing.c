#include "tests/fake-sdk/fake_code_signing.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "tests/fake-sdk/fake_xpc_internal.h"

enum { CS_OPS_CDHASH = 5 };

static atomic_int match;

bool fake_cdhash(pid_t pid, uint8_t ret_hash[FAKE_CDHASH_SIZE])
{
    char path[64];
    struct stat st;
    snprintf(path, sizeof(path), "/proc/%ld/exe", (long)pid);
    memset(ret_hash, 0xCD, FAKE_CDHASH_SIZE);
    if (stat(path, &st) < 0)
        return false;
    memcpy(ret_hash, &st.st_dev, sizeof(st.st_dev));
    memcpy(ret_hash + 8, &st.st_ino, sizeof(st.st_ino));
    return true;
}

int csops(pid_t pid, unsigned int ops, void *address, size_t size)
{
    if (ops == CS_OPS_CDHASH && size == FAKE_CDHASH_SIZE && fake_cdhash(pid, address))
        return 0;
    errno = EINVAL;
    return -1;
}

void fake_code_signing_set(enum fake_match new_match)
{
    atomic_store(&match, (int)new_match);
}

void *xpc_peer_requirement_create_lwcr(xpc_object_t lwcr, void **ret_error)
{
    size_t len = 0;
    (void)ret_error;
    if (!xpc_dictionary_get_data(lwcr, "cdhash", &len) || len != FAKE_CDHASH_SIZE)
        return NULL;
    return xpc_retain(lwcr);
}

bool xpc_peer_requirement_match_received_message(void *requirement, xpc_object_t message, void **ret_error)
{
    uint8_t hash[FAKE_CDHASH_SIZE];
    const struct fake_sender *sender = &((const struct _xpc_dictionary_s *)message)->sender;
    (void)ret_error;
    if (!xpc_dictionary_get_remote_connection(message))
        fake_xpc_misuse("a requirement is matched with what is no received message");
    if (atomic_load(&match) != FAKE_MATCH_REAL)
        return atomic_load(&match) == FAKE_MATCH_ALL;
    return fake_cdhash(sender->pid, hash) &&
           memcmp(hash, xpc_dictionary_get_data(requirement, "cdhash", NULL), sizeof(hash)) == 0;
}
