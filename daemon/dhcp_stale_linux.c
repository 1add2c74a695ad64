/* daemon/dhcp_stale_linux.c - DHCP servers that outlived their daemon
 *
 * They end with the process nat, and that with its monitor; but one that was stopped, or is caught in the
 * kernel, hears of it late, and has the network's DNS port until then. It is known by whom it runs as and by
 * its configuration, which is in our runtime folder; whoever holds that folder's lock has none of his own
 * yet.
 */
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/dhcp_server.h"
#include "io/log.h"

enum { COMMAND_MAX = 4096 };

/* "--conf-file=<runtime>/<network>.dhcp/dnsmasq.conf" is among its words. */
static bool has_config_in(const char *command, size_t len, const char *runtime_dir)
{
    char prefix[MESSAGE_PATH_SIZE + 32];
    const int n = snprintf(prefix, sizeof(prefix), "--conf-file=%s/", runtime_dir);
    static const char ending[] = ".dhcp/dnsmasq.conf";
    for (size_t at = 0; at < len; at += strlen(command + at) + 1) {
        const char *word = command + at;
        const size_t word_len = strlen(word);
        if (strncmp(word, prefix, (size_t)n) == 0 && word_len > sizeof(ending) - 1 &&
            strcmp(word + word_len - (sizeof(ending) - 1), ending) == 0)
            return true;
    }
    return false;
}

static bool is_ours(const char *pid, const char *runtime_dir, uint32_t uid)
{
    char path[64], command[COMMAND_MAX + 1];
    struct stat st;
    snprintf(path, sizeof(path), "/proc/%.20s/cmdline", pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    const bool is_its = fstat(fd, &st) == 0 && st.st_uid == uid;
    const ssize_t n = is_its ? read(fd, command, COMMAND_MAX) : -1;
    close(fd);
    if (n <= 0)
        return false;
    command[n] = '\0';
    return has_config_in(command, (size_t)n, runtime_dir);
}

/* By descriptor: what is looked at is what is killed. */
static void end_if_ours(const char *pid, const char *runtime_dir, uint32_t uid)
{
    if (!is_ours(pid, runtime_dir, uid))
        return;
    int fd = pidfd_open((pid_t)strtol(pid, NULL, 10), 0);
    if (fd < 0)
        return;
    if (is_ours(pid, runtime_dir, uid) && pidfd_send_signal(fd, SIGKILL, NULL, 0) == 0)
        log_warn("a DHCP server of a daemon that was killed was still there, pid %s: it is killed", pid);
    close(fd);
}

void dhcp_server_end_stale(const char *runtime_dir, uint32_t uid)
{
    DIR *dir = opendir("/proc");
    const struct dirent *entry;
    while (dir && (entry = readdir(dir)))
        if (entry->d_name[0] >= '1' && entry->d_name[0] <= '9')
            end_if_ours(entry->d_name, runtime_dir, uid);
    if (dir)
        closedir(dir);
}
