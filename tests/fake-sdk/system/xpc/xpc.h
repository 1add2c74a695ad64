/* xpc/xpc.h - the values of XPC that the double has, see fake_xpc.c */
#ifndef XPC_XPC_H
#define XPC_XPC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef void *xpc_object_t;

xpc_object_t xpc_retain(xpc_object_t object);
void xpc_release(xpc_object_t object);

xpc_object_t xpc_dictionary_create(const char *const *keys, xpc_object_t const *values, size_t count);
void xpc_dictionary_set_uint64(xpc_object_t dictionary, const char *key, uint64_t value);
void xpc_dictionary_set_bool(xpc_object_t dictionary, const char *key, bool value);
void xpc_dictionary_set_string(xpc_object_t dictionary, const char *key, const char *value);
void xpc_dictionary_set_uuid(xpc_object_t dictionary, const char *key, const unsigned char uuid[16]);
uint64_t xpc_dictionary_get_uint64(xpc_object_t dictionary, const char *key);           /* 0: none */
bool xpc_dictionary_get_bool(xpc_object_t dictionary, const char *key);                 /* false: none */
const char *xpc_dictionary_get_string(xpc_object_t dictionary, const char *key);        /* NULL: none */
const unsigned char *xpc_dictionary_get_uuid(xpc_object_t dictionary, const char *key); /* NULL: none */

#define XPC_ARRAY_APPEND ((size_t)-1)
xpc_object_t xpc_array_create(xpc_object_t const *objects, size_t count);
void xpc_array_set_string(xpc_object_t array, size_t index, const char *string);
size_t xpc_array_get_count(xpc_object_t array);
const char *xpc_array_get_string(xpc_object_t array, size_t index);

#endif
