/* daemon/landlock_linux.c - the files of each sandbox, by Landlock
 *
 * A network reaches none: all it has was passed to it. What is opened before stays open.
 *
 * The kernel's interface has grown; what a version does not know is left out, which its number tells. Sizes
 * and bits are written out here, because the headers we are built with may be older than the kernel.
 */
#include "daemon/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/landlock.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* struct landlock_ruleset_attr of Linux 6.12, of which older kernels take the beginning. */
struct ruleset {
    uint64_t files;
    uint64_t net;
    uint64_t scoped;
};

enum {
    ABI_TRUNCATE = 3,
    ABI_NET = 4,
    ABI_IOCTL = 5,
    ABI_SCOPED = 6,

    ACCESS_TRUNCATE = 1 << 14,
    ACCESS_IOCTL = 1 << 15,
    ACCESS_NET_ALL = 1 << 0 | 1 << 1, /* to bind and to connect TCP */
    SCOPED_ALL = 1 << 0 | 1 << 1,     /* abstract unix sockets, signals: of this sandbox only */
};

static const uint64_t read_access = LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR;
static const uint64_t write_access = LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR |
                                     LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_REMOVE_FILE |
                                     LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_MAKE_DIR |
                                     ACCESS_TRUNCATE;

/* What may be read: the C library's random numbers and time zone; for control, what it knows users and groups
 * from; for the uplink, the host's resolver. */
static const char *const read_by_all[] = {"/dev/null", "/dev/urandom", "/etc/localtime",
                                          "/usr/share/zoneinfo"};
static const char *const read_by_control[] = {
    "/etc", "/usr", "/run/systemd/userdb", "/run/userdb", "/var/lib/extrausers", "/var/lib/sss"};
static const char resolver[] = "/etc/resolv.conf";

static uint64_t files_of(int abi)
{
    const uint64_t first = ((uint64_t)LANDLOCK_ACCESS_FS_MAKE_SYM << 1) - 1; /* and all before it */
    return first | (abi >= 2 ? LANDLOCK_ACCESS_FS_REFER : 0) | (abi >= ABI_TRUNCATE ? ACCESS_TRUNCATE : 0) |
           (abi >= ABI_IOCTL ? ACCESS_IOCTL : 0);
}

static struct ruleset everything(int abi, enum sandbox sandbox)
{
    return (struct ruleset){.files = files_of(abi),
                            /* libslirp's sockets are the guests' */
                            .net = abi >= ABI_NET && sandbox != SANDBOX_UPLINK ? ACCESS_NET_ALL : 0,
                            .scoped = abi >= ABI_SCOPED ? SCOPED_ALL : 0};
}

static size_t size_for(int abi)
{
    return abi >= ABI_SCOPED ? sizeof(struct ruleset)
           : abi >= ABI_NET  ? offsetof(struct ruleset, scoped)
                             : offsetof(struct ruleset, net);
}

/* What is not there needs no permission. */
static int allow(int ruleset, const struct ruleset *handled, const char *path, uint64_t access)
{
    struct stat st;
    const int fd = open(path, O_PATH | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT || errno == EACCES || errno == ENOTDIR ? 0 : -errno;
    if (fstat(fd, &st) == 0 && !S_ISDIR(st.st_mode)) /* the rest is of folders only */
        access &= LANDLOCK_ACCESS_FS_READ_FILE;
    const struct landlock_path_beneath_attr rule = {.allowed_access = access & handled->files,
                                                    .parent_fd = fd};
    const long r = syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0);
    const int error = errno;
    close(fd);
    return r < 0 ? -error : 0;
}

static int allow_each(int ruleset, const struct ruleset *handled, const char *const *paths, size_t n)
{
    int r = 0;
    for (size_t i = 0; i < n && r == 0; i++)
        r = allow(ruleset, handled, paths[i], read_access);
    return r;
}

/* Whoever changes it puts another file in its place: its folder, and the one that a link leads to. */
static int allow_resolver(int ruleset, const struct ruleset *handled)
{
    char path[PATH_MAX];
    int r = allow(ruleset, handled, "/etc", read_access);
    if (r < 0 || !realpath(resolver, path))
        return r;
    char *slash = strrchr(path, '/');
    if (slash == path)
        return 0;
    *slash = '\0';
    return allow(ruleset, handled, path, read_access);
}

static int allow_role(int ruleset, const struct ruleset *handled, enum sandbox sandbox, const char *folder)
{
    int r = 0;
    if (sandbox != SANDBOX_NETWORK && sandbox != SANDBOX_FRONT)
        r = allow_each(ruleset, handled, read_by_all, sizeof(read_by_all) / sizeof(read_by_all[0]));
    if (r == 0 && sandbox == SANDBOX_CONTROL)
        r = allow_each(ruleset, handled, read_by_control,
                       sizeof(read_by_control) / sizeof(read_by_control[0]));
    if (r == 0 && sandbox == SANDBOX_UPLINK)
        r = allow_resolver(ruleset, handled);
    if (r == 0 && folder)
        r = allow(ruleset, handled, folder, write_access);
#if defined(__SANITIZE_ADDRESS__)
    if (r == 0) /* its reports read the program and what is mapped */
        r = allow(ruleset, handled, "/", read_access);
#endif
    return r;
}

static int confine(int abi, enum sandbox sandbox, const char *folder)
{
    const struct ruleset handled = everything(abi, sandbox);
    const int ruleset = (int)syscall(SYS_landlock_create_ruleset, &handled, size_for(abi), 0);
    if (ruleset < 0)
        return -errno;
    int r = allow_role(ruleset, &handled, sandbox, folder);
    if (r == 0 && syscall(SYS_landlock_restrict_self, ruleset, 0) < 0)
        r = -errno;
    close(ruleset);
    return r;
}

int sandbox_confine_files(enum sandbox sandbox, const char *folder, char *ret_why, size_t why_size)
{
    if (sandbox == SANDBOX_NAT) /* its server is another program, which has files of its own */
        return -1;
    const int abi = (int)syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
    const int r = abi < 0 ? -errno : confine(abi, sandbox, folder);
    if (r == 0)
        return 0;
    snprintf(ret_why, why_size, "no Landlock: %s", strerror(-r));
    return -1;
}
