#include "daemon/lease_reclaim.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "daemon/dhcp_leases.h"
#include "daemon/lease_file.h"
#include "io/log.h"

void lease_reclaim_configure(struct lease_reclaim *reclaim, const struct dhcp_server *server,
                             const struct network_spec *spec, uint64_t now_ms)
{
    const unsigned pool = spec->ipv4.dhcp ? spec->ipv4.dhcp_end - spec->ipv4.gateway : 0;
    reclaim->pool = pool <= RECLAIM_POOL_MAX ? pool : 0;
    reclaim->look_ms = now_ms + RECLAIM_LOOK_MS;
    if (reclaim->inotify_fd >= 0)
        return;
    reclaim->inotify_fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    if (reclaim->inotify_fd < 0 ||
        inotify_add_watch(reclaim->inotify_fd, server->lease_folder, IN_MODIFY) < 0)
        log_warn("leases are not watched, so those of guests that are gone stay for an hour");
}

int lease_reclaim_fd(const struct lease_reclaim *reclaim)
{
    return reclaim->inotify_fd;
}

void lease_reclaim_hear(struct lease_reclaim *reclaim, uint64_t now_ms)
{
    char events[4096];
    while (read(reclaim->inotify_fd, events, sizeof(events)) > 0)
        ; /* that something has changed is all there is to know */
    if (!reclaim->look_ms)
        reclaim->look_ms = now_ms + RECLAIM_LOOK_MS;
}

static void look(struct lease_reclaim *reclaim, const struct dhcp_server *server, const char *tap,
                 uint64_t now_ms)
{
    struct dhcp_lease oldest[NEIGHBOURS_MAX];
    char *text = reclaim->pool ? lease_file_read(server->lease_folder) : NULL;
    reclaim->look_ms = 0;
    if (!text)
        return;
    reclaim->n_used = dhcp_leases_oldest(text, oldest, NEIGHBOURS_MAX);
    free(text);
    if (reclaim->n_used * 4 < reclaim->pool * 3)
        return;
    if (now_ms < reclaim->pause_ms) {
        reclaim->look_ms = reclaim->pause_ms;
        return;
    }
    reclaim->n_asked = reclaim->n_used < NEIGHBOURS_MAX ? reclaim->n_used : NEIGHBOURS_MAX;
    for (unsigned i = 0; i < reclaim->n_asked; i++)
        reclaim->asked[i] = oldest[i].address;
    if (neighbours_ask(tap, reclaim->asked, reclaim->n_asked) == 0)
        reclaim->asked_ms = now_ms;
}

/* Leases of the asked that did not answer go. */
static void give_back(struct lease_reclaim *reclaim, struct dhcp_server *server, const char *tap,
                      uint64_t now_ms)
{
    bool alive[NEIGHBOURS_MAX];
    unsigned n_gone = 0;
    reclaim->asked_ms = 0;
    reclaim->look_ms = now_ms + RECLAIM_LOOK_MS;
    if (neighbours_look(tap, reclaim->asked, reclaim->n_asked, alive) < 0)
        return;
    for (unsigned i = 0; i < reclaim->n_asked; i++)
        if (!alive[i])
            reclaim->asked[n_gone++] = reclaim->asked[i];
    const unsigned n_removed = n_gone ? dhcp_server_drop_leases(server, reclaim->asked, n_gone, now_ms) : 0;
    reclaim->n_used -= n_removed < reclaim->n_used ? n_removed : reclaim->n_used;
    if (n_removed)
        log_info("%u leases of guests that do not answer were given back", n_removed);
    if (n_removed * 8 < reclaim->pool)
        reclaim->pause_ms =
            now_ms + RECLAIM_PAUSE_MS; /* those that are there stay: asking costs each of them a frame */
}

int64_t lease_reclaim_work(struct lease_reclaim *reclaim, struct dhcp_server *server, const char *tap,
                           uint64_t now_ms)
{
    if (reclaim->asked_ms && now_ms >= reclaim->asked_ms + NEIGHBOURS_ANSWER_MS)
        give_back(reclaim, server, tap, now_ms);
    else if (!reclaim->asked_ms && reclaim->look_ms && now_ms >= reclaim->look_ms)
        look(reclaim, server, tap, now_ms);
    const uint64_t due = reclaim->asked_ms ? reclaim->asked_ms + NEIGHBOURS_ANSWER_MS : reclaim->look_ms;
    if (!due)
        return -1;
    return due > now_ms ? (int64_t)(due - now_ms) : 0;
}

bool lease_reclaim_is_exhausted(const struct lease_reclaim *reclaim)
{
    return reclaim->pool && reclaim->n_used >= reclaim->pool && reclaim->pause_ms;
}

void lease_reclaim_close(struct lease_reclaim *reclaim)
{
    if (reclaim->inotify_fd >= 0)
        close(reclaim->inotify_fd);
    reclaim->inotify_fd = -1;
}
