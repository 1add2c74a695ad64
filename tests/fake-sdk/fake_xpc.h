#ifndef TESTS_FAKE_SDK_FAKE_XPC_H
#define TESTS_FAKE_SDK_FAKE_XPC_H

#include <stdbool.h>
#include <xpc/xpc.h>

bool fake_xpc_has(xpc_object_t dictionary, const char *key);
int fake_xpc_alive(void); /* objects that have not been freed */

#endif
