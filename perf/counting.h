/* perf/counting.h - bytes copied and memory taken, counted where the linker puts a count around the calls
 *
 * For programs that are linked with --wrap for memcpy, memmove, malloc, calloc and realloc: calls from our
 * own code are seen, those inside of libraries are not. A copy whose size the compiler knows may be no call,
 * so what is not seen is headers and structs of constant size, never a frame, whose length only its prefix
 * tells.
 */
#ifndef PERF_COUNTING_H
#define PERF_COUNTING_H

#include <stdint.h>

struct counting {
    uint64_t copied_bytes; /* memcpy and memmove */
    uint64_t allocations;
};

extern struct counting counting;

/* Adds to 'sum' what was counted since 'before' was taken. */
void counting_add_since(struct counting *sum, const struct counting *before);

#endif
