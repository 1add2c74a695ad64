/* tests/fake-sdk/fake_xpc_internal.h - what the files of the double of XPC share */
#ifndef TESTS_FAKE_SDK_FAKE_XPC_INTERNAL_H
#define TESTS_FAKE_SDK_FAKE_XPC_INTERNAL_H

#include <stdatomic.h>
#include <sys/types.h>
#include <xpc/xpc.h>

struct _xpc_type_s {
    const char *name;
};

struct fake_object { /* every object begins with it */
    xpc_type_t type;
    atomic_int refs;
    void (*destroy)(void *object); /* NULL: a global, which is not counted */
};

struct fake_entry {
    char *key; /* NULL: of an array */
    xpc_object_t value;
};

struct _xpc_dictionary_s { /* any value */
    struct fake_object object;
    uint64_t number; /* bool, int64, uint64 */
    int fd;          /* fd */
    size_t len;      /* string, uuid, data */
    uint8_t *bytes;  /* likewise; a string with its end */
    size_t n;        /* dictionary, array */
    struct fake_entry *entries;
    xpc_connection_t remote; /* a message that came: from there; retained */
    uint32_t reply_id;       /* and the reply that it wants, or is; 0: none */
    struct fake_sender {     /* likewise: who sent it, as the kernel says */
        pid_t pid;
        uid_t uid;
        gid_t gid;
        uint32_t version; /* of the pid: when its process began, and what a test adds */
    } sender;
};

struct _xpc_dictionary_s *fake_xpc_new(xpc_type_t type);
void fake_object_init(struct fake_object *object, xpc_type_t type, void (*destroy)(void *object));
_Noreturn void fake_xpc_misuse(const char *what);

/* fake_xpc_wire.c: a value as bytes and descriptors, and back. */
enum { FAKE_WIRE_BYTES = 64 * 1024, FAKE_WIRE_FDS = 8 };
struct fake_wire {
    size_t len, at;
    unsigned n_fds, fds_at;
    uint8_t bytes[FAKE_WIRE_BYTES];
    int fds[FAKE_WIRE_FDS]; /* encoding borrows them, decoding takes them */
};
void fake_wire_encode(struct fake_wire *wire, xpc_object_t object);
xpc_object_t fake_wire_decode(struct fake_wire *wire);

#endif
