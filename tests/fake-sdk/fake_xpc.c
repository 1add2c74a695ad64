/* tests/fake-sdk/fake_xpc.c - the values
 *
 * Reading as another type than was stored gives nothing, as XPC does it. Using or releasing what has been
 * freed is for AddressSanitizer to find.
 */
#include "tests/fake-sdk/fake_xpc.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/fake-sdk/fake_xpc_internal.h"

const struct _xpc_type_s _xpc_type_dictionary = {"dictionary"}, _xpc_type_array = {"array"},
                         _xpc_type_connection = {"connection"}, _xpc_type_error = {"error"},
                         _xpc_type_bool = {"bool"}, _xpc_type_int64 = {"int64"},
                         _xpc_type_uint64 = {"uint64"}, _xpc_type_string = {"string"},
                         _xpc_type_uuid = {"uuid"}, _xpc_type_data = {"data"}, _xpc_type_fd = {"fd"};

struct _xpc_dictionary_s _xpc_error_connection_invalid = {.object = {.type = &_xpc_type_error}};
struct _xpc_dictionary_s _xpc_error_connection_interrupted = {.object = {.type = &_xpc_type_error}};
struct _xpc_dictionary_s _xpc_error_peer_code_signing_requirement = {.object = {.type = &_xpc_type_error}};

static atomic_int n_alive;

void fake_xpc_misuse(const char *what)
{
    fprintf(stderr, "fake-sdk: xpc: %s\n", what);
    abort();
}

void fake_object_init(struct fake_object *object, xpc_type_t type, void (*destroy)(void *object))
{
    object->type = type;
    object->destroy = destroy;
    atomic_init(&object->refs, 1);
    atomic_fetch_add(&n_alive, 1);
}

static void destroy_value(void *object)
{
    struct _xpc_dictionary_s *value = object;
    for (size_t i = 0; i < value->n; i++) {
        free(value->entries[i].key);
        xpc_release(value->entries[i].value);
    }
    if (value->fd >= 0)
        close(value->fd);
    if (value->remote)
        xpc_release(value->remote);
    free(value->entries);
    free(value->bytes);
    free(value);
}

struct _xpc_dictionary_s *fake_xpc_new(xpc_type_t type)
{
    struct _xpc_dictionary_s *value = calloc(1, sizeof(*value));
    if (!value)
        abort();
    fake_object_init(&value->object, type, destroy_value);
    value->fd = -1;
    return value;
}

xpc_object_t xpc_retain(xpc_object_t object)
{
    struct fake_object *counted = object;
    if (counted->destroy)
        atomic_fetch_add(&counted->refs, 1);
    return object;
}

void xpc_release(xpc_object_t object)
{
    struct fake_object *counted = object;
    if (!counted->destroy || atomic_fetch_sub(&counted->refs, 1) > 1)
        return;
    counted->destroy(object);
    atomic_fetch_sub(&n_alive, 1);
}

xpc_type_t xpc_get_type(xpc_object_t object)
{
    return ((struct fake_object *)object)->type;
}

int fake_xpc_alive(void)
{
    return atomic_load(&n_alive);
}

/* ---- plain values ---- */

static xpc_object_t new_number(xpc_type_t type, uint64_t number)
{
    struct _xpc_dictionary_s *value = fake_xpc_new(type);
    value->number = number;
    return value;
}

static xpc_object_t new_bytes(xpc_type_t type, const void *bytes, size_t len)
{
    struct _xpc_dictionary_s *value = fake_xpc_new(type);
    value->len = len;
    value->bytes = calloc(1, len + 1);
    if (!value->bytes)
        abort();
    if (len > 0)
        memcpy(value->bytes, bytes, len);
    return value;
}

/* ---- dictionaries ---- */

static struct fake_entry *find(const struct _xpc_dictionary_s *dictionary, const char *key)
{
    for (size_t i = 0; i < dictionary->n; i++)
        if (dictionary->entries[i].key && strcmp(dictionary->entries[i].key, key) == 0)
            return &dictionary->entries[i];
    return NULL;
}

static struct fake_entry *append(struct _xpc_dictionary_s *to)
{
    to->entries = realloc(to->entries, (to->n + 1) * sizeof(*to->entries));
    if (!to->entries)
        abort();
    to->entries[to->n] = (struct fake_entry){.key = NULL};
    return &to->entries[to->n++];
}

/* Takes the value's reference. */
static void put(xpc_object_t dictionary, const char *key, xpc_object_t value)
{
    struct fake_entry *entry = find(dictionary, key);
    if (entry) {
        xpc_release(entry->value);
    } else {
        entry = append(dictionary);
        entry->key = strdup(key);
    }
    entry->value = value;
}

static const struct _xpc_dictionary_s *get(xpc_object_t dictionary, const char *key, xpc_type_t type)
{
    const struct fake_entry *entry = find(dictionary, key);
    return entry && xpc_get_type(entry->value) == type ? entry->value : NULL;
}

bool fake_xpc_has(xpc_object_t dictionary, const char *key)
{
    return find(dictionary, key) != NULL;
}

xpc_object_t xpc_dictionary_create(const char *const *keys, xpc_object_t const *values, size_t count)
{
    struct _xpc_dictionary_s *dictionary = fake_xpc_new(XPC_TYPE_DICTIONARY);
    for (size_t i = 0; i < count; i++)
        xpc_dictionary_set_value(dictionary, keys[i], values[i]);
    return dictionary;
}

xpc_object_t xpc_dictionary_create_reply(xpc_object_t original)
{
    const struct _xpc_dictionary_s *message = original;
    if (!message->remote || !message->reply_id)
        return NULL;
    struct _xpc_dictionary_s *reply = fake_xpc_new(XPC_TYPE_DICTIONARY);
    reply->reply_id = message->reply_id;
    return reply;
}

void xpc_dictionary_set_value(xpc_object_t dictionary, const char *key, xpc_object_t value)
{
    put(dictionary, key, xpc_retain(value));
}

void xpc_dictionary_set_uint64(xpc_object_t dictionary, const char *key, uint64_t value)
{
    put(dictionary, key, new_number(XPC_TYPE_UINT64, value));
}

void xpc_dictionary_set_int64(xpc_object_t dictionary, const char *key, int64_t value)
{
    put(dictionary, key, new_number(XPC_TYPE_INT64, (uint64_t)value));
}

void xpc_dictionary_set_bool(xpc_object_t dictionary, const char *key, bool value)
{
    put(dictionary, key, new_number(XPC_TYPE_BOOL, value));
}

void xpc_dictionary_set_string(xpc_object_t dictionary, const char *key, const char *value)
{
    put(dictionary, key, new_bytes(XPC_TYPE_STRING, value, strlen(value)));
}

void xpc_dictionary_set_uuid(xpc_object_t dictionary, const char *key, const unsigned char uuid[16])
{
    put(dictionary, key, new_bytes(XPC_TYPE_UUID, uuid, 16));
}

void xpc_dictionary_set_data(xpc_object_t dictionary, const char *key, const void *bytes, size_t length)
{
    put(dictionary, key, new_bytes(XPC_TYPE_DATA, bytes, length));
}

void xpc_dictionary_set_fd(xpc_object_t dictionary, const char *key, int fd)
{
    struct _xpc_dictionary_s *value = fake_xpc_new(XPC_TYPE_FD);
    value->fd = dup(fd);
    if (value->fd < 0)
        fake_xpc_misuse("a descriptor that is none");
    put(dictionary, key, value);
}

xpc_object_t xpc_dictionary_get_value(xpc_object_t dictionary, const char *key)
{
    const struct fake_entry *entry = find(dictionary, key);
    return entry ? entry->value : NULL;
}

uint64_t xpc_dictionary_get_uint64(xpc_object_t dictionary, const char *key)
{
    const struct _xpc_dictionary_s *value = get(dictionary, key, XPC_TYPE_UINT64);
    return value ? value->number : 0;
}

int64_t xpc_dictionary_get_int64(xpc_object_t dictionary, const char *key)
{
    const struct _xpc_dictionary_s *value = get(dictionary, key, XPC_TYPE_INT64);
    return value ? (int64_t)value->number : 0;
}

bool xpc_dictionary_get_bool(xpc_object_t dictionary, const char *key)
{
    const struct _xpc_dictionary_s *value = get(dictionary, key, XPC_TYPE_BOOL);
    return value && value->number;
}

const char *xpc_dictionary_get_string(xpc_object_t dictionary, const char *key)
{
    const struct _xpc_dictionary_s *value = get(dictionary, key, XPC_TYPE_STRING);
    return value ? (const char *)value->bytes : NULL;
}

const unsigned char *xpc_dictionary_get_uuid(xpc_object_t dictionary, const char *key)
{
    const struct _xpc_dictionary_s *value = get(dictionary, key, XPC_TYPE_UUID);
    return value ? value->bytes : NULL;
}

const void *xpc_dictionary_get_data(xpc_object_t dictionary, const char *key, size_t *length)
{
    const struct _xpc_dictionary_s *value = get(dictionary, key, XPC_TYPE_DATA);
    if (value && length)
        *length = value->len;
    return value ? value->bytes : NULL;
}

int xpc_dictionary_dup_fd(xpc_object_t dictionary, const char *key)
{
    const struct _xpc_dictionary_s *value = get(dictionary, key, XPC_TYPE_FD);
    return value ? dup(value->fd) : -1;
}

size_t xpc_dictionary_get_count(xpc_object_t dictionary)
{
    return ((struct _xpc_dictionary_s *)dictionary)->n;
}

bool xpc_dictionary_apply(xpc_object_t dictionary, bool (^applier)(const char *key, xpc_object_t value))
{
    const struct _xpc_dictionary_s *all = dictionary;
    for (size_t i = 0; i < all->n; i++)
        if (!applier(all->entries[i].key, all->entries[i].value))
            return false;
    return true;
}

xpc_connection_t xpc_dictionary_get_remote_connection(xpc_object_t dictionary)
{
    return ((struct _xpc_dictionary_s *)dictionary)->remote;
}

/* ---- arrays ---- */

xpc_object_t xpc_array_create(xpc_object_t const *objects, size_t count)
{
    xpc_object_t array = fake_xpc_new(XPC_TYPE_ARRAY);
    for (size_t i = 0; i < count; i++)
        xpc_array_append_value(array, objects[i]);
    return array;
}

void xpc_array_append_value(xpc_object_t array, xpc_object_t value)
{
    append(array)->value = xpc_retain(value);
}

void xpc_array_set_string(xpc_object_t array, size_t index, const char *string)
{
    if (index != XPC_ARRAY_APPEND)
        abort();
    append(array)->value = new_bytes(XPC_TYPE_STRING, string, strlen(string));
}

size_t xpc_array_get_count(xpc_object_t array)
{
    return ((struct _xpc_dictionary_s *)array)->n;
}

xpc_object_t xpc_array_get_value(xpc_object_t array, size_t index)
{
    const struct _xpc_dictionary_s *all = array;
    if (index >= all->n)
        fake_xpc_misuse("an index that the array does not have");
    return all->entries[index].value;
}

const char *xpc_array_get_string(xpc_object_t array, size_t index)
{
    const struct _xpc_dictionary_s *all = array;
    if (index >= all->n || xpc_get_type(all->entries[index].value) != XPC_TYPE_STRING)
        return NULL;
    return (const char *)((struct _xpc_dictionary_s *)all->entries[index].value)->bytes;
}
