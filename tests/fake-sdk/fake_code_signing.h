/* tests/fake-sdk/fake_code_signing.h - the double of what tells one executable from another */
#ifndef TESTS_FAKE_SDK_FAKE_CODE_SIGNING_H
#define TESTS_FAKE_SDK_FAKE_CODE_SIGNING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <xpc/xpc.h>

enum { FAKE_CDHASH_SIZE = 20 };

/* Derived from the file that the process executes. Returns false if it can't be told. */
bool fake_cdhash(pid_t pid, uint8_t ret_hash[FAKE_CDHASH_SIZE]);

/* From here on every peer matches, none does, or (the default) its executable decides. */
enum fake_match { FAKE_MATCH_REAL, FAKE_MATCH_ALL, FAKE_MATCH_NONE };
void fake_code_signing_set(enum fake_match match);

/* Found by name alone: macOS 26. */
void *xpc_peer_requirement_create_lwcr(xpc_object_t lwcr, void **ret_error);
bool xpc_peer_requirement_match_received_message(void *requirement, xpc_object_t message, void **ret_error);

/* Not in a public header, exported all the same. */
int csops(pid_t pid, unsigned int ops, void *address, size_t size);

#endif
