/* tests/fake-sdk/blocks.c - the runtime that clang's -fblocks calls: blocks of the heap
 *
 * The layout and the names are those of clang's documentation ("Block Implementation Specification"). Blocks
 * and plain values can be captured, variables marked __block can't.
 */
#include "tests/fake-sdk/blocks.h"

#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { HAS_HELPERS = 1 << 25, IS_GLOBAL = 1 << 28, FIELD_IS_BLOCK = 7 };

struct descriptor {
    unsigned long reserved, size;
    void (*copy)(void *to, const void *from);
    void (*dispose)(const void *block);
};

struct block {
    void *isa;
    int flags, reserved;
    void (*invoke)(void *block);
    struct descriptor *descriptor;
};

struct heap_block { /* a block lies behind it */
    atomic_uint refs;
    max_align_t align[];
};

void *_NSConcreteStackBlock[32], *_NSConcreteGlobalBlock[32], *_NSConcreteMallocBlock[32];

static atomic_int n_blocks;

static struct heap_block *heap_of(struct block *block)
{
    return (struct heap_block *)(void *)((char *)block - offsetof(struct heap_block, align));
}

void *_Block_copy(const void *arg)
{
    struct block *block = (struct block *)(size_t)arg;
    if (!block || block->flags & IS_GLOBAL)
        return block;
    if (block->isa == _NSConcreteMallocBlock) {
        atomic_fetch_add(&heap_of(block)->refs, 1);
        return block;
    }
    struct heap_block *heap = malloc(offsetof(struct heap_block, align) + block->descriptor->size);
    if (!heap)
        abort();
    struct block *copy = (struct block *)(void *)heap->align;
    atomic_init(&heap->refs, 1);
    memcpy(copy, block, block->descriptor->size);
    copy->isa = _NSConcreteMallocBlock;
    if (block->flags & HAS_HELPERS)
        block->descriptor->copy(copy, block);
    atomic_fetch_add(&n_blocks, 1);
    return copy;
}

void _Block_release(const void *arg)
{
    struct block *block = (struct block *)(size_t)arg;
    if (!block || block->isa != _NSConcreteMallocBlock || atomic_fetch_sub(&heap_of(block)->refs, 1) > 1)
        return;
    if (block->flags & HAS_HELPERS)
        block->descriptor->dispose(block);
    free(heap_of(block));
    atomic_fetch_sub(&n_blocks, 1);
}

void _Block_object_assign(void *to, const void *from, const int flags)
{
    if (flags != FIELD_IS_BLOCK) {
        fprintf(stderr, "fake-sdk: a block captures what it can't (%d)\n", flags);
        abort();
    }
    void *copy = _Block_copy(from);
    memcpy(to, &copy, sizeof(copy));
}

void _Block_object_dispose(const void *object, const int flags)
{
    (void)flags;
    _Block_release(object);
}

int fake_blocks_alive(void)
{
    return atomic_load(&n_blocks);
}
