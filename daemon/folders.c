#include "daemon/folders.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/message.h"
#include "daemon/privileges.h"
#include "daemon/roles.h"
#include "io/log.h"
#include "io/sockpath.h"

#define DHCP_ENDING ".dhcp"
#define LEASES "leases"
#define NETWORKS "networks" /* daemon/state.c */

enum {
    DYING_MS = 2000,
    DYING_STEP_MS = 20,
    STATE_LEVELS = 2, /* networks/NAME.json */
};

static int fail(int error, const char *path, const char *what, char *why, size_t size)
{
    snprintf(why, size, "%s: %s", path, what);
    return -error;
}

/* Opens a folder that must be owned by one of two users and be closed to others' writes. */
static int open_checked(const char *path, uid_t owner, uid_t other_owner, char *why, size_t size)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) {
        int error = errno;
        bool is_link = lstat(path, &st) == 0 && S_ISLNK(st.st_mode);
        return fail(error, path, is_link ? "is a symbolic link; name the folder itself" : strerror(error),
                    why, size);
    }
    int error = 0;
    if (fstat(fd, &st) < 0)
        error = fail(errno, path, strerror(errno), why, size);
    else if (st.st_uid != owner && st.st_uid != other_owner)
        error = fail(EPERM, path, "belongs to another user; choose another folder", why, size);
    else if (st.st_mode & (S_IWGRP | S_IWOTH))
        error = fail(EPERM, path, "others may write to it: chmod go-w", why, size);
    if (error == 0)
        return fd;
    close(fd);
    return error;
}

static int make(const char *path, mode_t mode, char *why, size_t size)
{
    if (mkdir(path, 0700) == 0)
        return chmod(path, mode) < 0 ? fail(errno, path, strerror(errno), why, size) : 0;
    if (errno == EEXIST)
        return 0;
    return fail(errno, path, strerror(errno), why, size);
}

int folders_open_runtime(const char *path, char *ret_why, size_t why_size)
{
    uid_t uid = geteuid();
    int r = make(path, uid == 0 ? 0755 : 0700, ret_why, why_size);
    return r < 0 ? r : open_checked(path, uid, uid, ret_why, why_size);
}

static bool has_ending(const char *name, const char *ending)
{
    size_t len = strlen(name), ending_len = strlen(ending);
    return len > ending_len && strcmp(name + len - ending_len, ending) == 0;
}

static bool is_ours(const char *name)
{
    return strcmp(name, "api.sock") == 0 || strcmp(name, "attach.sock") == 0 || has_ending(name, ".stream") ||
           has_ending(name, ".dgram");
}

/* Removes a folder and the files in it; whatever else is in it stays, and so does the folder then. */
static void remove_folder(int dir_fd, const char *name)
{
    /* Its owner may enter and change it; root, of a service that may not do everything, may not. */
    if (privileges_can_switch_user() && fchownat(dir_fd, name, geteuid(), (gid_t)-1, AT_SYMLINK_NOFOLLOW) < 0)
        return; /* it is not there */
    int fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    if (!dir) {
        if (fd >= 0)
            close(fd);
        return;
    }
    const struct dirent *entry;
    while ((entry = readdir(dir)))
        if (entry->d_name[0] != '.')
            unlinkat(fd, entry->d_name, 0);
    closedir(dir);
    if (unlinkat(dir_fd, name, AT_REMOVEDIR) < 0)
        log_warn("%s: could not be removed: %s", name, strerror(errno));
}

static void remove_staging(int dir_fd, const char *name)
{
    int fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return;
    unlinkat(fd, "s", 0);
    close(fd);
    unlinkat(dir_fd, name, AT_REMOVEDIR);
}

static bool wait_until_dead(int dir_fd, const char *name, int *budget_ms)
{
    while (sockpath_is_live(dir_fd, name)) {
        if (*budget_ms <= 0)
            return false;
        poll(NULL, 0, DYING_STEP_MS);
        *budget_ms -= DYING_STEP_MS;
    }
    return true;
}

static int remove_stale_socket(int dir_fd, const char *path, const char *name, int *budget_ms, char *why,
                               size_t size)
{
    struct stat st;
    const char *problem = NULL;
    if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return 0; /* its daemon has just removed it */
    if (!S_ISSOCK(st.st_mode))
        problem = "is not a socket but has the name of one of ours; remove it";
    else if (!wait_until_dead(dir_fd, name, budget_ms))
        problem = "another program listens here; stop it, or say --runtime-dir";
    else if (unlinkat(dir_fd, name, 0) < 0 && errno != ENOENT)
        problem = strerror(errno);
    if (!problem)
        return 0;
    snprintf(why, size, "%s/%s: %s", path, name, problem);
    return -EEXIST;
}

int folders_remove_stale(int dir_fd, const char *path, struct activation *activation, char *ret_why,
                         size_t why_size)
{
    int budget_ms = DYING_MS;
    int r = 0;
    int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    if (!dir) {
        r = fail(errno, path, strerror(errno), ret_why, why_size);
        if (fd >= 0)
            close(fd);
        return r;
    }
    const struct dirent *entry;
    while (r == 0 && (entry = readdir(dir))) {
        if (strncmp(entry->d_name, SOCKPATH_STAGING, strlen(SOCKPATH_STAGING)) == 0)
            remove_staging(dir_fd, entry->d_name);
        else if (has_ending(entry->d_name, DHCP_ENDING))
            remove_folder(dir_fd, entry->d_name);
        else if (is_ours(entry->d_name) && !activation_has_file(activation, dir_fd, entry->d_name))
            r = remove_stale_socket(dir_fd, path, entry->d_name, &budget_ms, ret_why, why_size);
    }
    closedir(dir);
    return r;
}

/* Makes the folders above the last. Root's let the service user pass. */
static int make_parents(const char *path, char *why, size_t size)
{
    char part[MESSAGE_PATH_SIZE];
    int r = 0;
    for (const char *slash = strchr(path + 1, '/'); slash && r == 0; slash = strchr(slash + 1, '/')) {
        snprintf(part, sizeof(part), "%.*s", (int)(slash - path), path);
        r = make(part, geteuid() == 0 ? 0755 : 0700, why, size);
    }
    return r;
}

/* systemd gives a StateDirectory= that was another user's (unprivileged.conf, or a vmswitchd of before), and
 * all that is in it, to root, and what control keeps is the service user's. Only what is root's and has no
 * other name is given: whoever that user is gets nothing but what lies here. What is in a folder comes first,
 * because afterwards even root may not be allowed in. */
static void give_contents(int dir_fd, uid_t uid, gid_t gid, int levels)
{
    struct stat st;
    int copy = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = copy >= 0 ? fdopendir(copy) : NULL;
    if (!dir) {
        if (copy >= 0)
            close(copy);
        return;
    }
    const struct dirent *entry;
    while ((entry = readdir(dir))) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0 ||
            (levels == STATE_LEVELS && strcmp(entry->d_name, LEASES) == 0))
            continue;
        int fd = openat(dir_fd, entry->d_name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
        if (fd < 0)
            continue;
        if (fstat(fd, &st) == 0 && S_ISDIR(st.st_mode) && levels > 1)
            give_contents(fd, uid, gid, levels - 1);
        if (st.st_uid == geteuid() && (S_ISDIR(st.st_mode) || (S_ISREG(st.st_mode) && st.st_nlink == 1)) &&
            fchown(fd, uid, gid) < 0)
            log_warn("%s in the state folder cannot be given to the service user: %s", entry->d_name,
                     strerror(errno));
        close(fd);
    }
    closedir(dir);
}

/* Who runs DHCP servers passes through it to folders of his own. */
static int open_leases(int state_fd, const char *path, char *why, size_t size)
{
    struct stat st;
    if (mkdirat(state_fd, LEASES, 0700) < 0 && errno != EEXIST)
        return fail(errno, path, "a folder for leases cannot be made in it", why, size);
    int fd = openat(state_fd, LEASES, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return fail(errno, path, LEASES " in it is in the way, and is no folder: remove it", why, size);
    if (fstat(fd, &st) == 0 && st.st_uid == geteuid() && fchmod(fd, 0711) == 0)
        return fd;
    close(fd);
    return fail(EPERM, path, LEASES " in it belongs to another user: remove it", why, size);
}

/* Root's folder stays root's, and what the service user keeps lies in one of its own. A folder that is not
 * the unit's user's is given to that user by systemd (StateDirectory=), with all that is in it, at each start
 * and at each reload, while control and DHCP servers use it. */
static int share_state(int fd, const char *path, uid_t uid, gid_t gid, int *ret_leases_fd, char *why,
                       size_t size)
{
    /* In this order: a service that may not do everything may change only what it owns. */
    if (fchown(fd, geteuid(), getegid()) < 0 || fchmod(fd, 0711) < 0)
        return fail(errno, path, strerror(errno), why, size);
    if (mkdirat(fd, NETWORKS, 0700) < 0 && errno != EEXIST)
        return fail(errno, path, "a folder for networks cannot be made in it", why, size);
    if (nat_role_exists()) {
        *ret_leases_fd = open_leases(fd, path, why, size);
        if (*ret_leases_fd < 0)
            return *ret_leases_fd;
    }
    give_contents(fd, uid, gid, STATE_LEVELS);
    return 0;
}

int folders_make_state(const char *path, uid_t uid, gid_t gid, int *ret_leases_fd, char *ret_why,
                       size_t why_size)
{
    *ret_leases_fd = -1;
    int r = make_parents(path, ret_why, why_size);
    r = r < 0 ? r : make(path, 0700, ret_why, why_size);
    int fd = r < 0 ? r : open_checked(path, geteuid(), uid, ret_why, why_size);
    if (fd < 0)
        return fd;
    if (privileges_can_switch_user())
        r = share_state(fd, path, uid, gid, ret_leases_fd, ret_why, why_size);
    else if (fchmod(fd, 0700) < 0)
        r = fail(errno, path, strerror(errno), ret_why, why_size);
    close(fd);
    return r;
}

int folders_make_dhcp(int dir_fd, const char *network, uid_t uid, gid_t gid, char *ret_why, size_t why_size)
{
    char name[NETWORK_NAME_SIZE + sizeof(DHCP_ENDING)];
    struct stat st;
    snprintf(name, sizeof(name), "%s" DHCP_ENDING, network);
    if (mkdirat(dir_fd, name, 0700) < 0 && errno != EEXIST)
        return fail(errno, name, strerror(errno), ret_why, why_size);
    if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISDIR(st.st_mode))
        return fail(ENOTDIR, name, "is in the way, and is no folder: remove it", ret_why, why_size);
    if (fchownat(dir_fd, name, uid, gid, AT_SYMLINK_NOFOLLOW) < 0)
        return fail(errno, name, strerror(errno), ret_why, why_size);
    return 0;
}

void folders_remove_dhcp(int dir_fd, const char *network)
{
    char name[NETWORK_NAME_SIZE + sizeof(DHCP_ENDING)];
    if (network) {
        snprintf(name, sizeof(name), "%s" DHCP_ENDING, network);
        remove_folder(dir_fd, name);
        return;
    }
    int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    const struct dirent *entry;
    while (dir && (entry = readdir(dir)))
        if (has_ending(entry->d_name, DHCP_ENDING))
            remove_folder(dir_fd, entry->d_name);
    if (dir)
        closedir(dir);
    else if (fd >= 0)
        close(fd);
}

int folders_make_leases(int leases_fd, const char *network, uid_t uid, gid_t gid, char *ret_why,
                        size_t why_size)
{
    if (mkdirat(leases_fd, network, 0700) < 0 && errno != EEXIST)
        return fail(errno, LEASES, strerror(errno), ret_why, why_size);
    int fd = openat(leases_fd, network, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 && errno == EACCES)
        return 0; /* its user's already, and a service that may not do everything may not look */
    if (fd < 0)
        return fail(errno, network, "is in the way in the folder of leases, and is no folder: remove it",
                    ret_why, why_size);
    give_contents(fd, uid, gid, 1); /* what the service manager has made root's */
    const int r = fchown(fd, uid, gid) < 0 ? fail(errno, network, strerror(errno), ret_why, why_size) : 0;
    close(fd);
    return r;
}

void folders_remove_leases(int leases_fd, const char *network)
{
    remove_folder(leases_fd, network);
}

static bool is_among(const struct network_names *names, const char *name)
{
    for (uint32_t i = 0; i < names->n; i++)
        if (strcmp(names->names[i], name) == 0)
            return true;
    return false;
}

void folders_remove_other_leases(int leases_fd, const struct network_names *keep)
{
    int fd = openat(leases_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    const struct dirent *entry;
    while (dir && (entry = readdir(dir)))
        if (entry->d_name[0] != '.' && !is_among(keep, entry->d_name))
            remove_folder(leases_fd, entry->d_name);
    if (dir)
        closedir(dir);
    else if (fd >= 0)
        close(fd);
}
