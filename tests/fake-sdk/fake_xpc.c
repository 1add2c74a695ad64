/* tests/fake-sdk/fake_xpc.c - dictionaries of plain values and arrays of strings
 *
 * Reading as another type than was stored gives nothing, as XPC does it. Using or releasing what has been
 * freed is for AddressSanitizer to find.
 */
#include "tests/fake-sdk/fake_xpc.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xpc/xpc.h>

enum { ENTRIES_MAX = 32, TEXT_SIZE = 64 };
enum type { TYPE_UINT64, TYPE_BOOL, TYPE_STRING, TYPE_UUID };

struct entry {
    char key[TEXT_SIZE];
    enum type type;
    uint64_t number;
    char text[TEXT_SIZE];
    unsigned char uuid[16];
};

struct object {
    atomic_int refs;
    size_t n;
    struct entry entries[ENTRIES_MAX];
};

static atomic_int n_alive;

static struct object *create(void)
{
    struct object *object = calloc(1, sizeof(*object));
    if (!object)
        abort();
    atomic_init(&object->refs, 1);
    atomic_fetch_add(&n_alive, 1);
    return object;
}

xpc_object_t xpc_retain(xpc_object_t object)
{
    atomic_fetch_add(&((struct object *)object)->refs, 1);
    return object;
}

void xpc_release(xpc_object_t object)
{
    if (atomic_fetch_sub(&((struct object *)object)->refs, 1) > 1)
        return;
    free(object);
    atomic_fetch_sub(&n_alive, 1);
}

int fake_xpc_alive(void)
{
    return atomic_load(&n_alive);
}

static struct entry *find(struct object *object, const char *key)
{
    for (size_t i = 0; i < object->n; i++)
        if (strcmp(object->entries[i].key, key) == 0)
            return &object->entries[i];
    return NULL;
}

static struct entry *set(struct object *object, const char *key, enum type type)
{
    struct entry *entry = find(object, key);
    if (!entry && object->n == ENTRIES_MAX)
        abort();
    if (!entry)
        entry = &object->entries[object->n++];
    *entry = (struct entry){.type = type};
    snprintf(entry->key, sizeof(entry->key), "%s", key);
    return entry;
}

static const struct entry *get(xpc_object_t object, const char *key, enum type type)
{
    const struct entry *entry = find(object, key);
    return entry && entry->type == type ? entry : NULL;
}

bool fake_xpc_has(xpc_object_t dictionary, const char *key)
{
    return find(dictionary, key) != NULL;
}

/* ---- dictionaries ---- */

xpc_object_t xpc_dictionary_create(const char *const *keys, xpc_object_t const *values, size_t count)
{
    (void)keys;
    (void)values;
    if (count > 0)
        abort(); /* nobody needs it */
    return create();
}

void xpc_dictionary_set_uint64(xpc_object_t dictionary, const char *key, uint64_t value)
{
    set(dictionary, key, TYPE_UINT64)->number = value;
}

void xpc_dictionary_set_bool(xpc_object_t dictionary, const char *key, bool value)
{
    set(dictionary, key, TYPE_BOOL)->number = value;
}

void xpc_dictionary_set_string(xpc_object_t dictionary, const char *key, const char *value)
{
    struct entry *entry = set(dictionary, key, TYPE_STRING);
    snprintf(entry->text, sizeof(entry->text), "%s", value);
}

void xpc_dictionary_set_uuid(xpc_object_t dictionary, const char *key, const unsigned char uuid[16])
{
    memcpy(set(dictionary, key, TYPE_UUID)->uuid, uuid, 16);
}

uint64_t xpc_dictionary_get_uint64(xpc_object_t dictionary, const char *key)
{
    const struct entry *entry = get(dictionary, key, TYPE_UINT64);
    return entry ? entry->number : 0;
}

bool xpc_dictionary_get_bool(xpc_object_t dictionary, const char *key)
{
    const struct entry *entry = get(dictionary, key, TYPE_BOOL);
    return entry && entry->number;
}

const char *xpc_dictionary_get_string(xpc_object_t dictionary, const char *key)
{
    const struct entry *entry = get(dictionary, key, TYPE_STRING);
    return entry ? entry->text : NULL;
}

const unsigned char *xpc_dictionary_get_uuid(xpc_object_t dictionary, const char *key)
{
    const struct entry *entry = get(dictionary, key, TYPE_UUID);
    return entry ? entry->uuid : NULL;
}

/* ---- arrays ---- */

xpc_object_t xpc_array_create(xpc_object_t const *objects, size_t count)
{
    return xpc_dictionary_create(NULL, objects, count);
}

void xpc_array_set_string(xpc_object_t array, size_t index, const char *string)
{
    char key[TEXT_SIZE];
    if (index != XPC_ARRAY_APPEND)
        abort();
    snprintf(key, sizeof(key), "%zu", ((struct object *)array)->n);
    xpc_dictionary_set_string(array, key, string);
}

size_t xpc_array_get_count(xpc_object_t array)
{
    return ((struct object *)array)->n;
}

const char *xpc_array_get_string(xpc_object_t array, size_t index)
{
    const struct object *object = array;
    return index < object->n ? object->entries[index].text : NULL;
}
