#include "io/sockpath.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static const char staged_name[] = "s"; /* of the one socket in the staging folder */

/* A socket on its way into place. */
struct staging {
    int dir_fd;
    char name[32]; /* of the staging folder in dir_fd; "" once it is gone */
    int fd;        /* the staging folder */
    int old_cwd;
};

size_t sockpath_len_max(void)
{
    return sizeof(((struct sockaddr_un *)NULL)->sun_path) - 1;
}

static int fail(int error, char *why, size_t size, const char *dir, const char *name, const char *what)
{
    snprintf(why, size, "%s/%s: %s", dir, name, what);
    return -error;
}

static void fill_address(struct sockaddr_un *address, const char *name)
{
    *address = (struct sockaddr_un){.sun_family = AF_UNIX};
    strncpy(address->sun_path, name, sizeof(address->sun_path) - 1);
}

static int open_socket(int type)
{
    int fd = socket(AF_UNIX, type, 0);
    if (fd < 0)
        return -errno;
    fcntl(fd, F_SETFD, FD_CLOEXEC);
    return fd;
}

/* A unix address has no "at" form: a short relative name in the right current folder is the portable one, and
 * the folder is then the very one that was checked. */
static int enter(int dir_fd)
{
    int old_cwd = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (old_cwd < 0)
        return -errno;
    if (fchdir(dir_fd) < 0) {
        int error = errno;
        close(old_cwd);
        return -error;
    }
    return old_cwd;
}

/* Best effort: the folder we came from may be one that this user cannot enter again; the monitor's is "/". */
static void leave(int old_cwd)
{
    if (fchdir(old_cwd) < 0 && chdir("/") < 0)
        (void)0;
    close(old_cwd);
}

bool sockpath_is_live(int dir_fd, const char *name)
{
    static const int types[] = {SOCK_STREAM, SOCK_DGRAM};
    bool is_dead = false;
    struct sockaddr_un address;
    fill_address(&address, name);
    int old_cwd = enter(dir_fd);
    for (int i = 0; i < 2 && !is_dead && old_cwd >= 0; i++) {
        int fd = open_socket(types[i]);
        if (fd < 0)
            continue;
        fcntl(fd, F_SETFL, O_NONBLOCK);
        /* EPROTOTYPE (the other type), EAGAIN (backlog full), EPERM (connected elsewhere): somebody is there.
         */
        is_dead = connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0 &&
                  (errno == ECONNREFUSED || errno == ENOENT);
        close(fd);
    }
    if (old_cwd >= 0)
        leave(old_cwd);
    return !is_dead;
}

/* Only a dead socket gives way: rename() would replace anything but a folder. */
static int check_place(int dir_fd, const char *dir, const char *name, char *why, size_t size)
{
    struct stat st;
    if (strlen(dir) + 1 + strlen(name) > sockpath_len_max()) {
        snprintf(why, size,
                 "%s/%s: a socket's path has at most %zu bytes here; choose a shorter folder or name", dir,
                 name, sockpath_len_max());
        return -ENAMETOOLONG;
    }
    if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT ? 0 : fail(errno, why, size, dir, name, strerror(errno));
    if (S_ISLNK(st.st_mode))
        return fail(EEXIST, why, size, dir, name, "a symbolic link is in the way; remove it");
    if (!S_ISSOCK(st.st_mode))
        return fail(EEXIST, why, size, dir, name, "something that is not a socket is in the way; remove it");
    if (sockpath_is_live(dir_fd, name))
        return fail(EADDRINUSE, why, size, dir, name, "another program listens here; stop it");
    return 0;
}

static int staging_open(struct staging *staging, int dir_fd)
{
    struct stat st;
    int r;
    *staging = (struct staging){.dir_fd = dir_fd, .fd = -1, .old_cwd = -1};
    /* One process makes them one at a time; the pid keeps two that share a folder apart. */
    snprintf(staging->name, sizeof(staging->name), SOCKPATH_STAGING "%ld", (long)getpid());
    mode_t old_mask = umask(077); /* 0777 would lock us out of it, too */
    r = mkdirat(dir_fd, staging->name, 0700) < 0 ? -errno : 0;
    umask(old_mask);
    if (r < 0) {
        staging->name[0] = '\0';
        return r;
    }
    staging->fd = openat(dir_fd, staging->name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (staging->fd < 0)
        return -errno;
    /* In a folder that is another user's, it may have been swapped for one in which that user can do as he
     * likes. */
    if (fstat(staging->fd, &st) < 0 || st.st_uid != geteuid() || (st.st_mode & 0777) != 0700)
        return -EPERM;
    staging->old_cwd = enter(staging->fd);
    return staging->old_cwd < 0 ? staging->old_cwd : 0;
}

/* Leaves nothing of it behind. */
static void staging_close(struct staging *staging)
{
    if (staging->old_cwd >= 0)
        leave(staging->old_cwd);
    if (staging->fd >= 0) {
        unlinkat(staging->fd, staged_name, 0);
        close(staging->fd);
    }
    if (staging->name[0])
        unlinkat(staging->dir_fd, staging->name, AT_REMOVEDIR);
}

/* Binds in the staging folder, which is the current one, and makes it all that was wanted. Returns the
 * socket. */
static int bind_staged(const struct staging *staging, const struct sockpath *want, struct sockpath_id *ret_id,
                       const char **ret_step)
{
    struct sockaddr_un address;
    struct stat st;
    int fd = open_socket(want->type);
    *ret_step = "socket";
    if (fd < 0)
        return fd;
    fill_address(&address, staged_name);
    if (*ret_step = "bind", bind(fd, (const struct sockaddr *)&address, sizeof(address)) < 0)
        goto close_fd;
    /* The mode while it is ours: root without CAP_FOWNER may change no other's. A change of owner clears
     * set-id bits alone, which it has not, and nobody else can reach it here. */
    if (*ret_step = "set the mode of", fchmodat(staging->fd, staged_name, want->mode & 0777, 0) < 0)
        goto close_fd;
    if (*ret_step = "set the owner and group of",
        fchownat(staging->fd, staged_name, want->uid, want->gid, AT_SYMLINK_NOFOLLOW) < 0)
        goto close_fd;
    /* Before it has its name: whoever sees it can connect. */
    if (*ret_step = "listen on", want->type == SOCK_STREAM && listen(fd, SOMAXCONN) < 0)
        goto close_fd;
    if (*ret_step = "look at", fstatat(staging->fd, staged_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        goto close_fd;
    *ret_id = (struct sockpath_id){.dev = st.st_dev, .ino = st.st_ino};
    return fd;
close_fd:;
    int error = errno;
    close(fd);
    return -error;
}

int sockpath_make(int dir_fd, const char *dir, const char *name, const struct sockpath *want,
                  struct sockpath_id *ret_id, char *ret_why, size_t why_size)
{
    const char *step = "make a folder for";
    struct staging staging;
    int r = check_place(dir_fd, dir, name, ret_why, why_size);
    if (r < 0)
        return r;
    int fd = -1;
    r = staging_open(&staging, dir_fd);
    if (r == 0)
        r = fd = bind_staged(&staging, want, ret_id, &step);
    if (r >= 0 && (step = "put in place", renameat(staging.fd, staged_name, dir_fd, name) < 0))
        r = -errno;
    staging_close(&staging);
    if (r >= 0)
        return fd;
    if (fd >= 0)
        close(fd);
    snprintf(ret_why, why_size, "%s/%s: cannot %s it: %s", dir, name, step, strerror(-r));
    return r;
}

void sockpath_remove(int dir_fd, const char *name, const struct sockpath_id *id)
{
    struct stat st;
    /* Between the two calls only we and root can change the folder. */
    if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISSOCK(st.st_mode) &&
        st.st_dev == id->dev && st.st_ino == id->ino)
        unlinkat(dir_fd, name, 0);
}
