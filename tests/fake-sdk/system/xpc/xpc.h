/* xpc/xpc.h - the values and the connections of XPC that the double has, see fake_xpc.c,
 * fake_xpc_connection.c */
#ifndef XPC_XPC_H
#define XPC_XPC_H

#include <dispatch/dispatch.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

typedef void *xpc_object_t;
typedef const struct _xpc_type_s *xpc_type_t;
typedef struct _xpc_connection_s *xpc_connection_t;
typedef void (^xpc_handler_t)(xpc_object_t object);

extern const struct _xpc_type_s _xpc_type_dictionary, _xpc_type_array, _xpc_type_connection, _xpc_type_error,
    _xpc_type_bool, _xpc_type_int64, _xpc_type_uint64, _xpc_type_string, _xpc_type_uuid, _xpc_type_data,
    _xpc_type_fd;
#define XPC_TYPE_DICTIONARY (&_xpc_type_dictionary)
#define XPC_TYPE_ARRAY (&_xpc_type_array)
#define XPC_TYPE_CONNECTION (&_xpc_type_connection)
#define XPC_TYPE_ERROR (&_xpc_type_error)
#define XPC_TYPE_BOOL (&_xpc_type_bool)
#define XPC_TYPE_INT64 (&_xpc_type_int64)
#define XPC_TYPE_UINT64 (&_xpc_type_uint64)
#define XPC_TYPE_STRING (&_xpc_type_string)
#define XPC_TYPE_UUID (&_xpc_type_uuid)
#define XPC_TYPE_DATA (&_xpc_type_data)
#define XPC_TYPE_FD (&_xpc_type_fd)

extern struct _xpc_dictionary_s _xpc_error_connection_invalid, _xpc_error_connection_interrupted,
    _xpc_error_peer_code_signing_requirement;
#define XPC_ERROR_CONNECTION_INVALID ((xpc_object_t)&_xpc_error_connection_invalid)
#define XPC_ERROR_CONNECTION_INTERRUPTED ((xpc_object_t)&_xpc_error_connection_interrupted)
#define XPC_ERROR_PEER_CODE_SIGNING_REQUIREMENT ((xpc_object_t)&_xpc_error_peer_code_signing_requirement)

xpc_object_t xpc_retain(xpc_object_t object);
void xpc_release(xpc_object_t object);
xpc_type_t xpc_get_type(xpc_object_t object);

xpc_object_t xpc_dictionary_create(const char *const *keys, xpc_object_t const *values, size_t count);
/* NULL: the message wants no reply. */
xpc_object_t xpc_dictionary_create_reply(xpc_object_t original);
void xpc_dictionary_set_value(xpc_object_t dictionary, const char *key, xpc_object_t value);
void xpc_dictionary_set_uint64(xpc_object_t dictionary, const char *key, uint64_t value);
void xpc_dictionary_set_int64(xpc_object_t dictionary, const char *key, int64_t value);
void xpc_dictionary_set_bool(xpc_object_t dictionary, const char *key, bool value);
void xpc_dictionary_set_string(xpc_object_t dictionary, const char *key, const char *value);
void xpc_dictionary_set_uuid(xpc_object_t dictionary, const char *key, const unsigned char uuid[16]);
void xpc_dictionary_set_data(xpc_object_t dictionary, const char *key, const void *bytes, size_t length);
void xpc_dictionary_set_fd(xpc_object_t dictionary, const char *key, int fd);           /* a copy */
xpc_object_t xpc_dictionary_get_value(xpc_object_t dictionary, const char *key);        /* NULL: none */
uint64_t xpc_dictionary_get_uint64(xpc_object_t dictionary, const char *key);           /* 0: none */
int64_t xpc_dictionary_get_int64(xpc_object_t dictionary, const char *key);             /* 0: none */
bool xpc_dictionary_get_bool(xpc_object_t dictionary, const char *key);                 /* false: none */
const char *xpc_dictionary_get_string(xpc_object_t dictionary, const char *key);        /* NULL: none */
const unsigned char *xpc_dictionary_get_uuid(xpc_object_t dictionary, const char *key); /* NULL: none */
const void *xpc_dictionary_get_data(xpc_object_t dictionary, const char *key, size_t *length);
int xpc_dictionary_dup_fd(xpc_object_t dictionary, const char *key); /* -1: none */
size_t xpc_dictionary_get_count(xpc_object_t dictionary);
bool xpc_dictionary_apply(xpc_object_t dictionary, bool (^applier)(const char *key, xpc_object_t value));
xpc_connection_t xpc_dictionary_get_remote_connection(xpc_object_t dictionary);

#define XPC_ARRAY_APPEND ((size_t)-1)
xpc_object_t xpc_array_create(xpc_object_t const *objects, size_t count);
void xpc_array_append_value(xpc_object_t array, xpc_object_t value);
void xpc_array_set_string(xpc_object_t array, size_t index, const char *string);
size_t xpc_array_get_count(xpc_object_t array);
xpc_object_t xpc_array_get_value(xpc_object_t array, size_t index);
const char *xpc_array_get_string(xpc_object_t array, size_t index);

#define XPC_CONNECTION_MACH_SERVICE_LISTENER (1 << 0)
#define XPC_CONNECTION_MACH_SERVICE_PRIVILEGED (1 << 1)
xpc_connection_t xpc_connection_create_mach_service(const char *name, dispatch_queue_t queue, uint64_t flags);
void xpc_connection_set_event_handler(xpc_connection_t connection, xpc_handler_t handler);
void xpc_connection_set_target_queue(xpc_connection_t connection, dispatch_queue_t queue);
void xpc_connection_resume(xpc_connection_t connection);
void xpc_connection_cancel(xpc_connection_t connection);
void xpc_connection_send_message(xpc_connection_t connection, xpc_object_t message);
void xpc_connection_send_message_with_reply(xpc_connection_t connection, xpc_object_t message,
                                            dispatch_queue_t queue, xpc_handler_t handler);
xpc_object_t xpc_connection_send_message_with_reply_sync(xpc_connection_t connection, xpc_object_t message);
pid_t xpc_connection_get_pid(xpc_connection_t connection);
uid_t xpc_connection_get_euid(xpc_connection_t connection);
gid_t xpc_connection_get_egid(xpc_connection_t connection);

void xpc_transaction_begin(void);
void xpc_transaction_end(void);

#endif
