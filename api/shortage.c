/* api/shortage.c - see shortage.h */
#include "api/shortage.h"

#include <jansson.h>
#include <stdlib.h>

static uint64_t n_failed;

static void *allocate(size_t size)
{
    void *memory = malloc(size);

    n_failed += !memory;
    return memory;
}

void shortage_watch_json(void)
{
    json_set_alloc_funcs(allocate, free);
}

void shortage_note(void)
{
    n_failed++;
}

uint64_t shortage_count(void)
{
    return n_failed;
}
