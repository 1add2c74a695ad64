#include "daemon/keeper_files.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "io/log.h"

enum {
    RETRY_MS = 10,
    PID_TEXT_MAX = 32, /* "4194304\n" and what others may put around it */
};

static int refuse(int error, char *why, size_t size, const char *what, const char *path, const char *hint)
{
    snprintf(why, size, "%s: %s: %s%s", what, path, strerror(error), hint);
    return -error;
}

/* ---- names ---- */

/* Opens the folder of 'path' and keeps the name in it. 'path' is relative to the current folder. */
static int open_folder(struct kept_file *file, const char *path, const char *what, char *why, size_t size)
{
    char dir[MESSAGE_PATH_SIZE];
    const char *slash = strrchr(path, '/');
    snprintf(file->name, sizeof(file->name), "%s", slash ? slash + 1 : path);
    snprintf(dir, sizeof(dir), "%.*s", slash ? (int)(slash - path) + 1 : 1, slash ? path : ".");
    if (!file->name[0])
        return refuse(EISDIR, why, size, what, path, "; name a file in it");
    file->dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return file->dir_fd < 0 ? refuse(errno, why, size, what, path, "; is its folder there?") : 0;
}

static void remember(struct kept_file *file, const struct stat *st)
{
    file->id = (struct sockpath_id){.dev = st->st_dev, .ino = st->st_ino};
}

static bool is_still(const struct kept_file *file, struct stat *st)
{
    return fstatat(file->dir_fd, file->name, st, AT_SYMLINK_NOFOLLOW) == 0 && st->st_dev == file->id.dev &&
           st->st_ino == file->id.ino;
}

static void close_file(struct kept_file *file)
{
    if (file->fd >= 0)
        close(file->fd);
    file->fd = -1;
}

/* ---- locks ---- */

/* Locks what 'file' is open on. Returns 0, -EWOULDBLOCK if another has it, -EINPROGRESS if the name is
 * another file's by now, -EEXIST if it is no plain file. The file is closed on error. */
static int lock_open_file(struct kept_file *file)
{
    struct stat st;
    int r = fstat(file->fd, &st) < 0 ? -errno : !S_ISREG(st.st_mode) ? -EEXIST : 0;
    if (r == 0 && flock(file->fd, LOCK_EX | LOCK_NB) < 0)
        r = errno == EWOULDBLOCK ? -EWOULDBLOCK : -errno;
    if (r == 0) {
        remember(file, &st);
        r = is_still(file, &st) ? 0 : -EINPROGRESS;
    }
    if (r < 0)
        close_file(file);
    return r;
}

static int try_lock(struct kept_file *lock)
{
    /* O_NONBLOCK: a FIFO in the way must not stop us. */
    lock->fd = openat(lock->dir_fd, lock->name, O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0600);
    return lock->fd < 0 ? -errno : lock_open_file(lock);
}

/* What a killed one left holds a pid and nothing else; anything else is not ours to remove. */
static bool holds_a_pid(int fd)
{
    char text[PID_TEXT_MAX + 1];
    ssize_t n = pread(fd, text, sizeof(text), 0);
    if (n < 0 || n > PID_TEXT_MAX)
        return false;
    for (ssize_t i = 0; i < n; i++) {
        if (!strchr("0123456789 \t\r\n", text[i]) || !text[i])
            return false;
    }
    return true;
}

/* Removes a pidfile that nobody holds. */
static int try_clear(struct kept_file *pidfile)
{
    pidfile->fd = openat(pidfile->dir_fd, pidfile->name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (pidfile->fd < 0)
        return errno == ENOENT ? 0 : -errno;
    int r = lock_open_file(pidfile);
    if (r == 0 && !holds_a_pid(pidfile->fd))
        r = -EEXIST;
    if (r == 0 && unlinkat(pidfile->dir_fd, pidfile->name, 0) < 0)
        r = -errno;
    close_file(pidfile);
    return r;
}

/* One that is ending lets go within a moment. */
static int try_for_a_while(int (*try)(struct kept_file *), struct kept_file *file)
{
    int r = try(file);
    for (int waited = 0; (r == -EWOULDBLOCK || r == -EINPROGRESS) && waited < KEEPER_LOCK_WAIT_MS;
         waited += RETRY_MS) {
        poll(NULL, 0, RETRY_MS);
        r = try(file);
    }
    return r == -EINPROGRESS ? -EWOULDBLOCK : r;
}

static int clear_pidfile(struct keeper_files *files, const char *path, char *why, size_t size)
{
    if (!path[0])
        return 0;
    int r = open_folder(&files->pidfile, path, "Failed to open pidfile", why, size);
    if (r < 0)
        return r;
    r = try_for_a_while(try_clear, &files->pidfile);
    if (r == -EWOULDBLOCK)
        return refuse(EAGAIN, why, size, "Failed to open pidfile", path, "; another one runs, stop it first");
    if (r == -EEXIST)
        return refuse(EEXIST, why, size, "Failed to open pidfile", path,
                      "; it holds no pid, so it stays; remove it");
    return r < 0 ? refuse(-r, why, size, "Failed to open pidfile", path, "") : 0;
}

/* ---- the socket ---- */

/* As bind() says it when something is in its way. */
static int check_place(const struct keeper_files *files, const char *path, char *why, size_t size)
{
    struct stat st;
    if (fstatat(files->lock.dir_fd, files->socket.name, &st, AT_SYMLINK_NOFOLLOW) < 0 || S_ISSOCK(st.st_mode))
        return 0;
    snprintf(why, size, "bind: %s: %s is not a socket, so it stays", strerror(EADDRINUSE), path);
    return -EADDRINUSE;
}

static int take_lock(struct keeper_files *files, const char *path, char *why, size_t size)
{
    struct kept_file *lock = &files->lock;
    int r = open_folder(lock, path, "bind", why, size);
    if (r < 0)
        return r;
    files->socket.dir_fd = lock->dir_fd;
    memcpy(files->socket.name, lock->name, sizeof(lock->name));
    r = check_place(files, path, why, size);
    if (r < 0)
        return r;
    if (strlen(lock->name) + sizeof(".lock") > sizeof(lock->name))
        return refuse(ENAMETOOLONG, why, size, "bind", path, "");
    memcpy(lock->name + strlen(lock->name), ".lock", sizeof(".lock"));
    r = try_for_a_while(try_lock, lock);
    if (r == -EWOULDBLOCK)
        snprintf(why, size, "bind: %s: another one has the socket %s; stop it first", strerror(EADDRINUSE),
                 path);
    else if (r < 0)
        refuse(-r, why, size, "bind: the lock of the socket", path, "");
    return r;
}

static int make_socket(struct keeper_files *files, const struct keep_order *order, char *why, size_t size)
{
    char dir[MESSAGE_PATH_SIZE], problem[MESSAGE_WHY_SIZE];
    const struct sockpath want = {.type = order->kind == SOCKET_STREAM ? SOCK_STREAM : SOCK_DGRAM,
                                  .mode = (mode_t)(order->mode & 0777),
                                  .uid = (uid_t)order->uid,
                                  .gid = (gid_t)order->gid};
    const size_t dir_len = strlen(order->socket_path) - strlen(files->socket.name);
    snprintf(dir, sizeof(dir), "%.*s", dir_len > 1 ? (int)dir_len - 1 : (int)dir_len, order->socket_path);
    int fd = sockpath_make(files->socket.dir_fd, dir, files->socket.name, &want, &files->socket.id, problem,
                           sizeof(problem));
    if (fd < 0) {
        snprintf(why, size, "bind: %s (%s)", strerror(fd == -EEXIST ? EADDRINUSE : -fd), problem);
        return fd;
    }
    files->has_socket = true;
    return fd;
}

int keeper_files_take(struct keeper_files *files, const struct keep_order *order, int *ret_fd, char *ret_why,
                      size_t why_size)
{
    *files = (struct keeper_files){.lock = {.dir_fd = -1, .fd = -1},
                                   .socket = {.dir_fd = -1, .fd = -1},
                                   .pidfile = {.dir_fd = -1, .fd = -1}};
    *ret_fd = -1;
    int r = clear_pidfile(files, order->pidfile, ret_why, why_size);
    if (r < 0 || !order->socket_path[0])
        return r;
    r = take_lock(files, order->socket_path, ret_why, why_size);
    if (r == 0)
        r = *ret_fd = make_socket(files, order, ret_why, why_size);
    return r < 0 ? r : 0;
}

/* ---- the pidfile ---- */

/* Writes it whole under the temporary name. Returns 0 or a negative errno. */
static int write_pidfile(struct kept_file *pidfile, const char *temporary, pid_t pid)
{
    char text[PID_TEXT_MAX];
    struct stat st;
    pidfile->fd =
        openat(pidfile->dir_fd, temporary, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (pidfile->fd < 0)
        return -errno;
    const int len = snprintf(text, sizeof(text), "%ld\n", (long)pid);
    errno = EIO; /* of a write that is short */
    /* For everyone to read, whatever the umask. */
    if (flock(pidfile->fd, LOCK_EX | LOCK_NB) < 0 || write(pidfile->fd, text, (size_t)len) != len ||
        fchmod(pidfile->fd, 0644) < 0 || fstat(pidfile->fd, &st) < 0)
        return -errno;
    remember(pidfile, &st);
    return 0;
}

int keeper_files_publish(struct keeper_files *files, pid_t pid, char *ret_why, size_t why_size)
{
    struct kept_file *pidfile = &files->pidfile;
    char temporary[64];
    if (!pidfile->name[0])
        return 0;
    snprintf(temporary, sizeof(temporary), ".pid-%ld", (long)pid);
    unlinkat(pidfile->dir_fd, temporary, 0); /* of one that had our pid and was killed at the wrong moment */
    int r = write_pidfile(pidfile, temporary, pid);
    /* Unlike rename(), this does not replace what another has put there since we looked. */
    if (r == 0 && linkat(pidfile->dir_fd, temporary, pidfile->dir_fd, pidfile->name, 0) < 0)
        r = -errno;
    unlinkat(pidfile->dir_fd, temporary, 0);
    if (r < 0)
        snprintf(ret_why, why_size, "Failed to open pidfile: %s: %s", pidfile->name, strerror(-r));
    return r;
}

/* ---- the end ---- */

static void remove_file(struct kept_file *file)
{
    struct stat st;
    if (file->fd >= 0 && is_still(file, &st))
        unlinkat(file->dir_fd, file->name, 0);
    close_file(file);
}

void keeper_files_remove_socket(struct keeper_files *files)
{
    if (files->has_socket)
        sockpath_remove(files->socket.dir_fd, files->socket.name, &files->socket.id);
    files->has_socket = false;
}

void keeper_files_remove(struct keeper_files *files)
{
    keeper_files_remove_socket(files);
    remove_file(&files->lock);
    remove_file(&files->pidfile);
    if (files->lock.dir_fd >= 0)
        close(files->lock.dir_fd);
    if (files->pidfile.dir_fd >= 0)
        close(files->pidfile.dir_fd);
    files->lock.dir_fd = files->pidfile.dir_fd = -1;
}
