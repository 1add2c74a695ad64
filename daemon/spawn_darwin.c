#include "daemon/spawn.h"

#include <errno.h>
#include <limits.h>
#include <mach-o/dyld.h>
#include <signal.h>
#include <spawn.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

#include "daemon/roles.h"

extern char **environ;

static char self[PATH_MAX];
static const char *self_program = "";

int spawn_init(const char *program)
{
    self_program = program;
    char found[PATH_MAX];
    int r = spawn_executable(found, sizeof(found));
    if (r < 0)
        return r;
    return realpath(found, self) ? 0 : -errno;
}

int spawn_executable(char *ret_path, size_t size)
{
    uint32_t room = (uint32_t)size;
    return _NSGetExecutablePath(ret_path, &room) < 0 ? -ENAMETOOLONG : 0;
}

const char *spawn_program(void)
{
    return self_program;
}

void spawn_restore_name(const char *program)
{
    (void)program;
    /* The executable was started by its own path: the name is right. */
}

static int set_actions(posix_spawn_file_actions_t *actions, int channel_fd)
{
    int r = 0;
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO && !r; fd++)
        r = posix_spawn_file_actions_addinherit_np(actions, fd);
    if (r)
        return r;
    /* dup2() of a descriptor to itself leaves it close-on-exec, and the child would be without a channel. */
    if (channel_fd == ROLE_CHANNEL_FD)
        return posix_spawn_file_actions_addinherit_np(actions, ROLE_CHANNEL_FD);
    return posix_spawn_file_actions_adddup2(actions, channel_fd, ROLE_CHANNEL_FD);
}

static int set_attributes(posix_spawnattr_t *attributes)
{
    sigset_t all, none;
    sigfillset(&all);
    sigemptyset(&none);
    int r = posix_spawnattr_setflags(attributes, POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK |
                                                     POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_CLOEXEC_DEFAULT);
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
