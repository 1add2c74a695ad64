#ifndef TESTS_FAKE_SDK_BLOCKS_H
#define TESTS_FAKE_SDK_BLOCKS_H

extern void *_NSConcreteStackBlock[32], *_NSConcreteGlobalBlock[32], *_NSConcreteMallocBlock[32];

void *_Block_copy(const void *block);
void _Block_release(const void *block);
void _Block_object_assign(void *to, const void *from, const int flags);
void _Block_object_dispose(const void *object, const int flags);

#define Block_copy(block) ((__typeof__(block))_Block_copy((const void *)(block)))
#define Block_release(block) _Block_release((const void *)(block))

/* Blocks on the heap. */
int fake_blocks_alive(void);

#endif
