/* io/resume.c - see resume.h */
#include "io/resume.h"

#include <sys/mman.h>
#include <unistd.h>

enum { RESUME_TRIM_FROM = 64 * 1024 };

static size_t page_size(void)
{
    return (size_t)sysconf(_SC_PAGESIZE);
}

static size_t in_pages(size_t len)
{
    return (len + page_size() - 1) / page_size() * page_size();
}

/* A partial record, and behind it a whole read: what a source that has to wait can leave untaken. */
static size_t in_size(const struct io_settings *settings)
{
    return FRAME_PREFIX + FRAME_LEN_MAX + io_read_room(settings);
}

struct resume *resume_create(const struct io_settings *settings)
{
    const struct io_limits *limits = &settings->limits;
    size_t in_at = in_pages(sizeof(struct resume));
    size_t ring_at = in_at + in_pages(in_size(settings));
    const uint32_t most = io_queue_size(settings, FRAME_LEN_MAX);
    size_t size = ring_at + in_pages(most);
    /* Not calloc(): a big allocator may touch or keep the pages; these must cost nothing until used. */
    struct resume *resume = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANON, -1, 0);

    if (resume == MAP_FAILED)
        return NULL;
    resume->size = (uint32_t)size;
    resume->in_at = (uint32_t)in_at;
    resume->in_size = (uint32_t)in_size(settings);
    queue_init(&resume->out, (uint32_t)(ring_at - offsetof(struct resume, out)), most, limits->queue_frames);
    return resume;
}

void resume_destroy(struct resume *resume)
{
    if (resume)
        munmap(resume, resume->size);
}

bool resume_is_touched(const struct resume *resume)
{
    return queue_is_touched(&resume->out) || resume->in_touched >= RESUME_TRIM_FROM;
}

void resume_trim(struct resume *resume)
{
    queue_trim(&resume->out);
    if (resume->in_len > 0 || resume->in_touched < RESUME_TRIM_FROM)
        return;
    resume_forget(resume_in(resume), resume->in_touched);
    resume->in_touched = 0;
}

void resume_forget(uint8_t *start, size_t len)
{
    /* Both areas start on a page; what lies behind 'len' in its last page belongs to the same area. */
    (void)madvise(start, in_pages(len), MADV_DONTNEED);
}
