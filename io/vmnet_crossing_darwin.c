#include "io/vmnet_crossing_darwin.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static_assert(VMNET_RULE_SLOTS <= 64, "a bit for each");

struct crossing {
    int fds[2]; /* of the pipe: the loop's end, the queues' end */
    dispatch_queue_t work, answers, events;
    void *owned;

    pthread_mutex_t lock; /* of all below */
    unsigned refs;
    bool is_woken; /* a byte is in the pipe */
    bool was_started, is_abandoned;
    bool events_held;
    struct crossing_news news;
};

static int open_pipe(int fds[2])
{
    if (pipe(fds) < 0)
        return -errno;
    for (int i = 0; i < 2; i++) {
        fcntl(fds[i], F_SETFD, FD_CLOEXEC);
        fcntl(fds[i], F_SETFL, O_NONBLOCK);
    }
    return 0;
}

static void release_queue(dispatch_queue_t queue)
{
    if (queue)
        dispatch_release(queue);
}

static void destroy(struct crossing *crossing)
{
    release_queue(crossing->work);
    release_queue(crossing->answers);
    release_queue(crossing->events);
    close(crossing->fds[0]);
    close(crossing->fds[1]);
    pthread_mutex_destroy(&crossing->lock);
    free(crossing->owned);
    free(crossing);
}

int crossing_create(struct crossing **ret_crossing, void *owned)
{
    struct crossing *crossing = calloc(1, sizeof(*crossing));
    if (!crossing)
        return -ENOMEM;
    int r = open_pipe(crossing->fds);
    if (r < 0) {
        free(crossing);
        return r;
    }
    crossing->refs = 1;
    pthread_mutex_init(&crossing->lock, NULL);
    crossing->work = dispatch_queue_create("vmswitch.vmnet.work", DISPATCH_QUEUE_SERIAL);
    crossing->answers = dispatch_queue_create("vmswitch.vmnet.answers", DISPATCH_QUEUE_SERIAL);
    crossing->events = dispatch_queue_create("vmswitch.vmnet.events", DISPATCH_QUEUE_SERIAL);
    if (!crossing->work || !crossing->answers || !crossing->events) {
        destroy(crossing);
        return -ENOMEM;
    }
    crossing->owned = owned; /* not before: on an error it stays the caller's */
    *ret_crossing = crossing;
    return 0;
}

struct crossing *crossing_ref(struct crossing *crossing)
{
    pthread_mutex_lock(&crossing->lock);
    crossing->refs++;
    pthread_mutex_unlock(&crossing->lock);
    return crossing;
}

void crossing_unref(struct crossing *crossing)
{
    pthread_mutex_lock(&crossing->lock);
    const bool is_last = --crossing->refs == 0;
    pthread_mutex_unlock(&crossing->lock);
    if (is_last)
        destroy(crossing);
}

dispatch_queue_t crossing_work(const struct crossing *crossing)
{
    return crossing->work;
}

dispatch_queue_t crossing_answers(const struct crossing *crossing)
{
    return crossing->answers;
}

dispatch_queue_t crossing_events(const struct crossing *crossing)
{
    return crossing->events;
}

/* ---- on a queue ---- */

/* Locked. */
static void tell(struct crossing *crossing, unsigned flag)
{
    crossing->news.flags |= flag;
    if (crossing->is_woken)
        return;
    /* An empty pipe takes one byte. */
    crossing->is_woken = write(crossing->fds[1], "", 1) == 1;
}

bool crossing_tell_started(struct crossing *crossing, uint32_t status, const struct vmnet_facts *facts)
{
    pthread_mutex_lock(&crossing->lock);
    const bool is_first = !crossing->was_started;
    if (is_first) {
        crossing->was_started = true;
        crossing->news.status = status;
        if (facts)
            crossing->news.facts = *facts;
        tell(crossing, CROSSING_STARTED);
    }
    pthread_mutex_unlock(&crossing->lock);
    return is_first;
}

void crossing_tell_event(struct crossing *crossing)
{
    pthread_mutex_lock(&crossing->lock);
    crossing->news.n_events++;
    if (!crossing->is_abandoned && !crossing->events_held) {
        crossing->events_held = true;
        dispatch_suspend(crossing->events); /* takes effect when this block has returned */
    }
    tell(crossing, CROSSING_EVENT);
    pthread_mutex_unlock(&crossing->lock);
}

void crossing_tell_stopped(struct crossing *crossing)
{
    pthread_mutex_lock(&crossing->lock);
    tell(crossing, CROSSING_STOPPED);
    pthread_mutex_unlock(&crossing->lock);
}

void crossing_tell_rule(struct crossing *crossing, unsigned slot, uint32_t status)
{
    pthread_mutex_lock(&crossing->lock);
    crossing->news.rules_answered |= UINT64_C(1) << slot;
    crossing->news.rule_status[slot] = status;
    tell(crossing, CROSSING_RULES);
    pthread_mutex_unlock(&crossing->lock);
}

void crossing_tell_holders(struct crossing *crossing, const struct broker_holders *holders)
{
    pthread_mutex_lock(&crossing->lock);
    crossing->news.holders = *holders;
    tell(crossing, CROSSING_HOLDERS);
    pthread_mutex_unlock(&crossing->lock);
}

void crossing_tell_lost(struct crossing *crossing)
{
    pthread_mutex_lock(&crossing->lock);
    tell(crossing, CROSSING_LOST);
    pthread_mutex_unlock(&crossing->lock);
}

void crossing_set_why(struct crossing *crossing, const char *why)
{
    pthread_mutex_lock(&crossing->lock);
    snprintf(crossing->news.why, sizeof(crossing->news.why), "%s", why);
    pthread_mutex_unlock(&crossing->lock);
}

bool crossing_is_abandoned(struct crossing *crossing)
{
    pthread_mutex_lock(&crossing->lock);
    const bool is_abandoned = crossing->is_abandoned;
    pthread_mutex_unlock(&crossing->lock);
    return is_abandoned;
}

/* ---- on the loop ---- */

int crossing_fd(const struct crossing *crossing)
{
    return crossing->fds[0];
}

void crossing_hear(struct crossing *crossing, struct crossing_news *ret_news)
{
    char byte;
    pthread_mutex_lock(&crossing->lock);
    if (crossing->is_woken && read(crossing->fds[0], &byte, 1) == 1)
        crossing->is_woken = false;
    *ret_news = crossing->news;
    crossing->news.flags = 0;
    crossing->news.n_events = 0;
    crossing->news.rules_answered = 0;
    pthread_mutex_unlock(&crossing->lock);
}

/* Locked. */
static void release_events(struct crossing *crossing)
{
    if (crossing->events_held)
        dispatch_resume(crossing->events);
    crossing->events_held = false;
}

void crossing_release_events(struct crossing *crossing)
{
    pthread_mutex_lock(&crossing->lock);
    release_events(crossing);
    pthread_mutex_unlock(&crossing->lock);
}

void crossing_abandon(struct crossing *crossing)
{
    pthread_mutex_lock(&crossing->lock);
    crossing->is_abandoned = true;
    release_events(crossing);
    pthread_mutex_unlock(&crossing->lock);
}
