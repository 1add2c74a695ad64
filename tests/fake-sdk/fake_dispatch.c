/* tests/fake-sdk/fake_dispatch.c - serial queues on threads
 *
 * Each queue has a thread, which runs its blocks in the order they came, one after the other, never on the
 * caller's thread. As on macOS, resuming what is not suspended and releasing the last reference of what is
 * suspended end the program. A queue that is released runs what it still has.
 */
#include "tests/fake-sdk/fake_dispatch.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "tests/fake-sdk/blocks.h"

struct item {
    struct item *next;
    dispatch_block_t block;
};

struct dispatch_queue_s {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct item *first, **end;
    int refs, n_suspended;
    bool is_concurrent;
    char label[64];
};

struct delay {
    dispatch_queue_t queue;
    dispatch_block_t block;
    dispatch_time_t when;
};

static atomic_int n_alive;
static _Thread_local dispatch_queue_t current;

static void misuse(const char *label, const char *what)
{
    fprintf(stderr, "fake-sdk: queue %s: %s\n", label, what);
    abort();
}

static void *start_thread(void *(*run)(void *), void *arg)
{
    pthread_t thread;
    atomic_fetch_add(&n_alive, 1);
    if (pthread_create(&thread, NULL, run, arg) != 0)
        abort();
    pthread_detach(thread);
    return arg;
}

static struct item *take(dispatch_queue_t queue)
{
    pthread_mutex_lock(&queue->lock);
    while (queue->n_suspended > 0 || (!queue->first && queue->refs > 0))
        pthread_cond_wait(&queue->changed, &queue->lock);
    struct item *item = queue->first;
    if (item) {
        queue->first = item->next;
        if (!queue->first)
            queue->end = &queue->first;
    }
    pthread_mutex_unlock(&queue->lock);
    return item;
}

static void *run_queue(void *arg)
{
    dispatch_queue_t queue = arg;
    struct item *item;
    current = queue;
    while ((item = take(queue))) {
        item->block();
        Block_release(item->block);
        free(item);
    }
    pthread_mutex_destroy(&queue->lock);
    pthread_cond_destroy(&queue->changed);
    free(queue);
    atomic_fetch_sub(&n_alive, 1);
    return NULL;
}

dispatch_queue_t dispatch_queue_create(const char *label, dispatch_queue_attr_t attr)
{
    dispatch_queue_t queue = calloc(1, sizeof(*queue));
    if (!queue)
        return NULL;
    pthread_mutex_init(&queue->lock, NULL);
    pthread_cond_init(&queue->changed, NULL);
    queue->end = &queue->first;
    queue->refs = 1;
    queue->is_concurrent = attr == DISPATCH_QUEUE_CONCURRENT;
    snprintf(queue->label, sizeof(queue->label), "%s", label);
    return start_thread(run_queue, queue);
}

void dispatch_retain(dispatch_queue_t queue)
{
    pthread_mutex_lock(&queue->lock);
    queue->refs++;
    pthread_mutex_unlock(&queue->lock);
}

void dispatch_release(dispatch_queue_t queue)
{
    pthread_mutex_lock(&queue->lock);
    if (--queue->refs < 0)
        misuse(queue->label, "released too often");
    if (queue->refs == 0 && queue->n_suspended > 0)
        misuse(queue->label, "released while suspended");
    pthread_cond_broadcast(&queue->changed);
    pthread_mutex_unlock(&queue->lock);
}

void dispatch_async(dispatch_queue_t queue, dispatch_block_t block)
{
    struct item *item = calloc(1, sizeof(*item));
    if (!item)
        abort();
    item->block = Block_copy(block);
    pthread_mutex_lock(&queue->lock);
    *queue->end = item;
    queue->end = &item->next;
    pthread_cond_broadcast(&queue->changed);
    pthread_mutex_unlock(&queue->lock);
}

static dispatch_time_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (dispatch_time_t)now.tv_sec * 1000000000u + (dispatch_time_t)now.tv_nsec;
}

dispatch_time_t dispatch_time(dispatch_time_t when, int64_t delta_ns)
{
    return (when == DISPATCH_TIME_NOW ? now_ns() : when) + (dispatch_time_t)delta_ns;
}

static void *run_delay(void *arg)
{
    struct delay *delay = arg;
    struct timespec until = {.tv_sec = (time_t)(delay->when / 1000000000u),
                             .tv_nsec = (long)(delay->when % 1000000000u)};
    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
    dispatch_async(delay->queue, delay->block);
    Block_release(delay->block);
    dispatch_release(delay->queue);
    free(delay);
    atomic_fetch_sub(&n_alive, 1);
    return NULL;
}

void dispatch_after(dispatch_time_t when, dispatch_queue_t queue, dispatch_block_t block)
{
    struct delay *delay = calloc(1, sizeof(*delay));
    if (!delay)
        abort();
    dispatch_retain(queue);
    *delay = (struct delay){queue, Block_copy(block), when};
    start_thread(run_delay, delay);
}

void dispatch_suspend(dispatch_queue_t queue)
{
    pthread_mutex_lock(&queue->lock);
    queue->n_suspended++;
    pthread_mutex_unlock(&queue->lock);
}

void dispatch_resume(dispatch_queue_t queue)
{
    pthread_mutex_lock(&queue->lock);
    if (--queue->n_suspended < 0)
        misuse(queue->label, "resumed too often");
    pthread_cond_broadcast(&queue->changed);
    pthread_mutex_unlock(&queue->lock);
}

int fake_dispatch_alive(void)
{
    return atomic_load(&n_alive);
}

bool fake_dispatch_is_on(dispatch_queue_t queue)
{
    return current == queue;
}

bool fake_dispatch_is_on_any(void)
{
    return current != NULL;
}

bool fake_dispatch_is_on_concurrent(void)
{
    return current && current->is_concurrent;
}
