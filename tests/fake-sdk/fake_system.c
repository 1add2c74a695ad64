/* tests/fake-sdk/fake_system.c - which Mac the double is
 *
 * FAKE_MACOS_VERSION ("15.4", which is also the default) says which macOS it runs. vmswitchd gives its roles
 * a clean environment: so that all of them are on one Mac, the variables that begin with FAKE_ are taken at
 * the start of the process, and given on to what it spawns.
 */
#include "tests/fake-sdk/fake_system.h"

#include <errno.h>
#include <gethostuuid.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysctl.h>

enum { VARIABLES_MAX = 16, ENVIRONMENT_MAX = 64 };

extern char **environ;

static char *variables[VARIABLES_MAX];
static unsigned n_variables;

__attribute__((constructor)) static void keep_variables(void)
{
    for (char **one = environ; *one && n_variables < VARIABLES_MAX; one++)
        if (strncmp(*one, "FAKE_", 5) == 0)
            variables[n_variables++] = strdup(*one);
}

static const char *variable(const char *name)
{
    const size_t len = strlen(name);
    for (unsigned i = 0; i < n_variables; i++)
        if (strncmp(variables[i], name, len) == 0 && variables[i][len] == '=')
            return variables[i] + len + 1;
    return NULL;
}

static const char *version(void)
{
    const char *text = variable("FAKE_MACOS_VERSION");
    return text ? text : "15.4";
}

int fake_system_version(void)
{
    char *end;
    const long major = strtol(version(), &end, 10);
    return (int)(major * 100 + (*end == '.' ? strtol(end + 1, NULL, 10) : 0));
}

int __real_posix_spawn(pid_t *pid, const char *path, const posix_spawn_file_actions_t *actions,
                       const posix_spawnattr_t *attributes, char *const argv[], char *const env[]);
int __wrap_posix_spawn(pid_t *pid, const char *path, const posix_spawn_file_actions_t *actions,
                       const posix_spawnattr_t *attributes, char *const argv[], char *const env[]);
int __wrap_posix_spawn(pid_t *pid, const char *path, const posix_spawn_file_actions_t *actions,
                       const posix_spawnattr_t *attributes, char *const argv[], char *const env[])
{
    char *all[ENVIRONMENT_MAX + VARIABLES_MAX + 1];
    unsigned n = 0;
    for (; *env && n < ENVIRONMENT_MAX; env++)
        all[n++] = *env;
    for (unsigned i = 0; i < n_variables; i++)
        all[n++] = variables[i];
    all[n] = NULL;
    return __real_posix_spawn(pid, path, actions, attributes, argv, all);
}

int sysctlbyname(const char *name, void *value, size_t *size, const void *new_value, size_t new_size)
{
    (void)new_value;
    (void)new_size;
    if (strcmp(name, "kern.osproductversion") != 0) {
        errno = ENOENT;
        return -1;
    }
    snprintf(value, *size, "%s", version());
    *size = strlen(value) + 1;
    return 0;
}

int gethostuuid(unsigned char uuid[16], const struct timespec *wait)
{
    (void)wait;
    memset(uuid, 0x42, 16);
    return 0;
}
