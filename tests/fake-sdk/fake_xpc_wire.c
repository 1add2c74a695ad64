/* tests/fake-sdk/fake_xpc_wire.c - a value on its way to another process
 *
 * A byte for the type, then a number, or a length and bytes, or a count and the elements. Both ends are this
 * file: what does not fit, or makes no sense, ends the program.
 */
#include <stdlib.h>
#include <string.h>

#include "tests/fake-sdk/fake_xpc_internal.h"

static const xpc_type_t types[] = {XPC_TYPE_DICTIONARY, XPC_TYPE_ARRAY,  XPC_TYPE_BOOL,
                                   XPC_TYPE_INT64,      XPC_TYPE_UINT64, XPC_TYPE_STRING,
                                   XPC_TYPE_UUID,       XPC_TYPE_DATA,   XPC_TYPE_FD};
enum { N_TYPES = sizeof(types) / sizeof(types[0]) };

static void put(struct fake_wire *wire, const void *bytes, size_t len)
{
    if (len > sizeof(wire->bytes) - wire->len)
        fake_xpc_misuse("a message that is too large");
    memcpy(wire->bytes + wire->len, bytes, len);
    wire->len += len;
}

static void get(struct fake_wire *wire, void *bytes, size_t len)
{
    if (len > wire->len - wire->at)
        fake_xpc_misuse("a message that was cut");
    memcpy(bytes, wire->bytes + wire->at, len);
    wire->at += len;
}

static void put_block(struct fake_wire *wire, const void *bytes, size_t len)
{
    put(wire, &len, sizeof(len));
    put(wire, bytes, len);
}

/* With a 0 behind it; to be freed. */
static uint8_t *get_block(struct fake_wire *wire, size_t *ret_len)
{
    size_t len;
    get(wire, &len, sizeof(len));
    uint8_t *bytes = len < sizeof(wire->bytes) ? calloc(1, len + 1) : NULL;
    if (!bytes)
        fake_xpc_misuse("a length that makes no sense");
    get(wire, bytes, len);
    *ret_len = len;
    return bytes;
}

static uint8_t type_number(xpc_type_t type)
{
    for (unsigned i = 0; i < N_TYPES; i++)
        if (types[i] == type)
            return (uint8_t)i;
    fake_xpc_misuse("a value that can't be sent");
}

static bool is_container(xpc_type_t type)
{
    return type == XPC_TYPE_DICTIONARY || type == XPC_TYPE_ARRAY;
}

static bool has_bytes(xpc_type_t type)
{
    return type == XPC_TYPE_STRING || type == XPC_TYPE_UUID || type == XPC_TYPE_DATA;
}

void fake_wire_encode(struct fake_wire *wire, xpc_object_t object)
{
    const struct _xpc_dictionary_s *value = object;
    const xpc_type_t type = value->object.type;
    const uint8_t number = type_number(type);
    put(wire, &number, 1);
    if (has_bytes(type)) {
        put_block(wire, value->bytes, value->len);
    } else if (type == XPC_TYPE_FD) {
        if (wire->n_fds == FAKE_WIRE_FDS)
            fake_xpc_misuse("too many descriptors");
        wire->fds[wire->n_fds++] = value->fd;
    } else if (!is_container(type)) {
        put(wire, &value->number, sizeof(value->number));
    } else {
        put(wire, &value->n, sizeof(value->n));
        for (size_t i = 0; i < value->n; i++) {
            const char *key = value->entries[i].key ? value->entries[i].key : "";
            put_block(wire, key, strlen(key));
            fake_wire_encode(wire, value->entries[i].value);
        }
    }
}

static void decode_elements(struct fake_wire *wire, struct _xpc_dictionary_s *value)
{
    size_t n, len;
    get(wire, &n, sizeof(n));
    for (; n > 0; n--) {
        char *key = (char *)get_block(wire, &len);
        xpc_object_t element = fake_wire_decode(wire);
        if (value->object.type == XPC_TYPE_DICTIONARY)
            xpc_dictionary_set_value(value, key, element);
        else
            xpc_array_append_value(value, element);
        xpc_release(element);
        free(key);
    }
}

xpc_object_t fake_wire_decode(struct fake_wire *wire)
{
    uint8_t number;
    get(wire, &number, 1);
    if (number >= N_TYPES)
        fake_xpc_misuse("a type that is none");
    struct _xpc_dictionary_s *value = fake_xpc_new(types[number]);
    if (has_bytes(types[number])) {
        value->bytes = get_block(wire, &value->len);
    } else if (types[number] == XPC_TYPE_FD) {
        if (wire->fds_at == wire->n_fds)
            fake_xpc_misuse("a descriptor that did not come");
        value->fd = wire->fds[wire->fds_at++];
    } else if (!is_container(types[number])) {
        get(wire, &value->number, sizeof(value->number));
    } else {
        decode_elements(wire, value);
    }
    return value;
}
