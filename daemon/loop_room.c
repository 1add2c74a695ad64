#include "daemon/loop_room.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

struct room {
    uv_poll_t poll;
    int fd;
};

static void on_closed(uv_handle_t *handle)
{
    struct room *room = handle->data;
    close(room->fd);
    free(room);
}

static void on_event(uv_poll_t *poll, int status, int events)
{
    (void)poll;
    (void)status;
    (void)events;
}

static int highest_fd(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur >= LOOP_ROOM_FDS)
        return LOOP_ROOM_FDS - 1;
    return (int)limit.rlim_cur - 1;
}

/* The table is as long as the highest number that was ever watched. */
static int make_room(uv_loop_t *loop, int fd)
{
    struct room *room = calloc(1, sizeof(*room));
    int r = UV_ENOMEM;
    if (!room)
        return r;
    room->fd = fcntl(fd, F_DUPFD_CLOEXEC, highest_fd());
    r = room->fd < 0 ? UV_EMFILE : uv_poll_init(loop, &room->poll, room->fd);
    if (r < 0) {
        if (room->fd >= 0)
            close(room->fd);
        free(room);
        return r;
    }
    room->poll.data = room;
    uv_poll_start(&room->poll, UV_READABLE, on_event);
    uv_close((uv_handle_t *)&room->poll, on_closed);
    return 0;
}

int loop_room_open(uv_loop_t *ret_loop, int fd)
{
    int r = uv_loop_init(ret_loop);
    if (r < 0)
        return r;
    r = make_room(ret_loop, fd);
    if (r < 0)
        uv_loop_close(ret_loop);
    return r;
}
