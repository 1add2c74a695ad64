/* tests/fake-sdk/fake_xpc.h - the double of XPC: what a test does to it
 *
 * Mach services are unix sockets (SOCK_SEQPACKET, abstract), so that client and service may be two processes.
 * Their names begin with the registry's, which is made from HOME: every test that has a folder of its own as
 * HOME has a launchd of its own.
 *
 * What ends the program: a connection that is used or released before it was resumed, or resumed without a
 * handler; a value of a type that nobody reads; a fd that is none.
 */
#ifndef TESTS_FAKE_SDK_FAKE_XPC_H
#define TESTS_FAKE_SDK_FAKE_XPC_H

#include <stdbool.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <xpc/xpc.h>

bool fake_xpc_has(xpc_object_t dictionary, const char *key);
int fake_xpc_alive(void); /* objects that have not been freed */

int fake_xpc_transactions(void); /* begun and not ended */
/* Cuts this process's client connections, as a service that ends does; the next message connects again. */
void fake_xpc_interrupt(void);

/* How this process's next messages are sent: by itself; by a child of its own, on the same connection; or by
 * itself, with the pid of another life. */
enum fake_xpc_voice { FAKE_VOICE_OWN, FAKE_VOICE_CHILD, FAKE_VOICE_REUSED_PID };
void fake_xpc_speak_as(enum fake_xpc_voice voice);

/* Found by name alone. 'token' has eight numbers; the second is for macOS 26. */
void xpc_dictionary_get_audit_token(xpc_object_t message, uint32_t *token);
void xpc_connection_set_peer_requirement(xpc_connection_t connection, void *requirement);

/* The address of a name in this test's registry. Returns its length. */
socklen_t fake_registry_address(const char *name, struct sockaddr_un *ret_address);

#endif
