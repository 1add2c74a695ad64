#include "daemon/spawn.h"

#include <errno.h>
#include <signal.h>
#include <spawn.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "daemon/roles.h"

extern char **environ;

/* Not the path it was started by: after an upgrade another build lies there, which speaks another protocol.
 */
static const char self[] = "/proc/self/exe";

static const char *self_program = "";

int spawn_init(const char *program)
{
    self_program = program;
    return access(self, X_OK) < 0 ? -errno : 0;
}

int spawn_executable(char *ret_path, size_t size)
{
    ssize_t len = readlink(self, ret_path, size);
    if (len < 0)
        return -errno;
    if ((size_t)len >= size)
        return -ENAMETOOLONG;
    ret_path[len] = '\0';
    return 0;
}

const char *spawn_program(void)
{
    return self_program;
}

void spawn_restore_name(const char *program)
{
    prctl(PR_SET_NAME, program, 0, 0, 0); /* it is "exe" after /proc/self/exe */
}

static int set_actions(posix_spawn_file_actions_t *actions, int channel_fd)
{
    int r = posix_spawn_file_actions_adddup2(actions, channel_fd, ROLE_CHANNEL_FD);
    return r ? r : posix_spawn_file_actions_addclosefrom_np(actions, ROLE_CHANNEL_FD + 1);
}

static int set_attributes(posix_spawnattr_t *attributes)
{
    sigset_t all, none;
    sigfillset(&all);
    sigemptyset(&none);
    int r = posix_spawnattr_setflags(attributes,
                                     POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETPGROUP);
    r = r ? r : posix_spawnattr_setsigdefault(attributes, &all);
    r = r ? r : posix_spawnattr_setsigmask(attributes, &none);
    return r ? r : posix_spawnattr_setpgroup(attributes, 0);
}

int spawn_self(char *const argv[], int channel_fd, pid_t *ret_pid)
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    int r = posix_spawn_file_actions_init(&actions);
    if (r)
        return -r;
    r = posix_spawnattr_init(&attributes);
    if (r)
        goto destroy_actions;
    r = set_actions(&actions, channel_fd);
    r = r ? r : set_attributes(&attributes);
    r = r ? r : posix_spawn(ret_pid, self, &actions, &attributes, argv, environ);
    posix_spawnattr_destroy(&attributes);
destroy_actions:
    posix_spawn_file_actions_destroy(&actions);
    return -r;
}
