#include "daemon/paths.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* An absolute folder named by the environment, or NULL: the XDG base directory specification has relative
 * ones ignored. */
static const char *folder_of(const char *variable)
{
    const char *value = getenv(variable);
    return value && value[0] == '/' ? value : NULL;
}

static bool put(char path[MESSAGE_PATH_SIZE], const char *folder, const char *rest)
{
    int len = snprintf(path, MESSAGE_PATH_SIZE, "%s%s", folder, rest);
    return len > 0 && len < MESSAGE_PATH_SIZE;
}

static bool default_runtime_dir(char path[MESSAGE_PATH_SIZE], uid_t uid)
{
    const char *runtime = folder_of("XDG_RUNTIME_DIR");
    if (uid == 0)
        return put(path, paths_root_runtime_dir(), "");
    if (runtime)
        return put(path, runtime, "/vmswitch");
    /* Not $TMPDIR: on macOS it is so long that little is left of a socket's 103 bytes. */
    return snprintf(path, MESSAGE_PATH_SIZE, "/tmp/vmswitch-%lu", (unsigned long)uid) > 0;
}

/* "<variable>/vmswitch<rest>", or "<home>/<otherwise>/vmswitch<rest>". */
static bool default_in_home(char path[MESSAGE_PATH_SIZE], const char *variable, const char *otherwise,
                            const char *rest)
{
    const char *folder = folder_of(variable);
    const char *home = folder_of("HOME");
    char below[64];
    if (folder)
        snprintf(below, sizeof(below), "/vmswitch%s", rest);
    else
        snprintf(below, sizeof(below), "/%s/vmswitch%s", otherwise, rest);
    return (folder || home) && put(path, folder ? folder : home, below);
}

static bool make_absolute(char path[MESSAGE_PATH_SIZE])
{
    char given[MESSAGE_PATH_SIZE], here[MESSAGE_PATH_SIZE];
    if (path[0] == '/' || path[0] == '\0')
        return true;
    memcpy(given, path, sizeof(given));
    if (!getcwd(here, sizeof(here)))
        return false;
    int len = snprintf(path, MESSAGE_PATH_SIZE, "%s/%s", strcmp(here, "/") == 0 ? "" : here, given);
    return len > 0 && len < MESSAGE_PATH_SIZE;
}

int paths_complete(struct options *options, uid_t uid, char *ret_why, size_t why_size)
{
    if (!options->runtime_dir[0] && !default_runtime_dir(options->runtime_dir, uid)) {
        snprintf(ret_why, why_size,
                 "no place for the sockets: $XDG_RUNTIME_DIR is too long; say --runtime-dir");
        return -ENAMETOOLONG;
    }
    if (!options->state_dir[0] &&
        !(uid == 0 ? put(options->state_dir, "/var/lib/vmswitch", "")
                   : default_in_home(options->state_dir, "XDG_STATE_HOME", ".local/state", ""))) {
        snprintf(ret_why, why_size, "no place for the state: $HOME is not set; say --state-dir");
        return -ENOENT;
    }
    if (!(uid == 0
              ? put(options->config_default, "/etc/vmswitch/vmswitchd.conf", "")
              : default_in_home(options->config_default, "XDG_CONFIG_HOME", ".config", "/vmswitchd.conf")))
        options->config_default[0] = '\0';
    if (!options->config_path[0] && options->config_default[0] && access(options->config_default, F_OK) == 0)
        memcpy(options->config_path, options->config_default, sizeof(options->config_path));
    if (!make_absolute(options->runtime_dir) || !make_absolute(options->state_dir) ||
        !make_absolute(options->config_path)) {
        snprintf(ret_why, why_size, "a path is too long, or the current folder is gone");
        return -ENAMETOOLONG;
    }
    return 0;
}
