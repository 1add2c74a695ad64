/* daemon/poll_set.h - the descriptors of one poll(2) call, gathered anew for each */
#ifndef DAEMON_POLL_SET_H
#define DAEMON_POLL_SET_H

#include <poll.h>

enum { POLL_SET_MAX = 1024 + 64 };

struct poll_set {
    unsigned n;
    struct pollfd fds[POLL_SET_MAX];
};

/* Returns the index of the entry, or -1 if the set is full. */
static inline int poll_set_add(struct poll_set *set, int fd, int events)
{
    if (set->n == POLL_SET_MAX)
        return -1;
    set->fds[set->n] = (struct pollfd){.fd = fd, .events = (short)events};
    return (int)set->n++;
}

/* What poll() saw at 'index', 0 for -1. */
static inline int poll_set_seen(const struct poll_set *set, int index)
{
    return index < 0 ? 0 : set->fds[index].revents;
}

#endif
