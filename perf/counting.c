/* perf/counting.c - see counting.h */
#include "perf/counting.h"

#include <stddef.h>

struct counting counting;

void *__real_memcpy(void *to, const void *from, size_t len);
void *__real_memmove(void *to, const void *from, size_t len);
void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *old, size_t size);
void *__wrap_memcpy(void *to, const void *from, size_t len);
void *__wrap_memmove(void *to, const void *from, size_t len);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *old, size_t size);

void counting_add_since(struct counting *sum, const struct counting *before)
{
    sum->copied_bytes += counting.copied_bytes - before->copied_bytes;
    sum->allocations += counting.allocations - before->allocations;
}

void *__wrap_memcpy(void *to, const void *from, size_t len)
{
    counting.copied_bytes += len;
    return __real_memcpy(to, from, len);
}

void *__wrap_memmove(void *to, const void *from, size_t len)
{
    counting.copied_bytes += len;
    return __real_memmove(to, from, len);
}

void *__wrap_malloc(size_t size)
{
    counting.allocations++;
    return __real_malloc(size);
}

void *__wrap_calloc(size_t n, size_t size)
{
    counting.allocations++;
    return __real_calloc(n, size);
}

void *__wrap_realloc(void *old, size_t size)
{
    counting.allocations++;
    return __real_realloc(old, size);
}
