/* tests/lib/malloc_count.c - counts a process's allocations where a test can read them
 *
 * Linked into vmswitchd_counting, a vmswitchd that differs in nothing else: the definitions here take the
 * place of the C library's for the program and every library it uses. Each process keeps its count in the
 * file MALLOC_COUNT_DIR/<pid>, mapped at the first call.
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *old, size_t size);

static uint64_t fallback;
static uint64_t *volatile count = &fallback;

static void __attribute__((constructor)) map_count(void)
{
    char path[256];
    int fd;
    void *page;

    snprintf(path, sizeof(path), "%s/%d", MALLOC_COUNT_DIR, (int)getpid());
    fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (fd < 0)
        return;
    if (ftruncate(fd, sizeof(uint64_t)) == 0) {
        page = mmap(NULL, sizeof(uint64_t), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (page != MAP_FAILED)
            count = page;
    }
    close(fd);
}

void *malloc(size_t size)
{
    ++*count;
    return __libc_malloc(size);
}

void *calloc(size_t n, size_t size)
{
    ++*count;
    return __libc_calloc(n, size);
}

void *realloc(void *old, size_t size)
{
    ++*count;
    return __libc_realloc(old, size);
}
