#include "daemon/ovs.h"

#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "io/log.h"

#define MARK "external_ids:vmswitchd=yes"
#define DATABASE "/var/run/openvswitch/db.sock" /* where ovs-vsctl looks for it */

enum { OUTPUT_SIZE = 16 * 1024, WORDS_MAX = 12 };

/* False once it is known that there is nothing of ours. */
static bool may_have_ports = true;

static const char *find_tool(void)
{
    static const char *const places[] = {"/usr/bin/ovs-vsctl", "/usr/local/bin/ovs-vsctl"};
    for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++)
        if (access(places[i], X_OK) == 0)
            return places[i];
    return NULL;
}

/* Starts it with its output on 'output_fd' (-1: nowhere), its errors on 'errors_fd'. */
static int spawn(const char *tool, char *const argv[], int output_fd, int errors_fd, pid_t *ret_pid)
{
    static char *const environment[] = {NULL};
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t all, none;
    sigfillset(&all);
    sigemptyset(&none);
    int r = posix_spawn_file_actions_init(&actions);
    if (r)
        return -r;
    r = posix_spawnattr_init(&attributes);
    if (r == 0) {
        posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK);
        posix_spawnattr_setsigdefault(&attributes, &all);
        posix_spawnattr_setsigmask(&attributes, &none);
        r = posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
        if (r == 0 && output_fd >= 0)
            r = posix_spawn_file_actions_adddup2(&actions, output_fd, 1);
        else if (r == 0)
            r = posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
        r = r ? r : posix_spawn_file_actions_adddup2(&actions, errors_fd, 2);
        r = r ? r : posix_spawn_file_actions_addclosefrom_np(&actions, 3);
        r = r ? r : posix_spawn(ret_pid, tool, &actions, &attributes, argv, environment);
        posix_spawnattr_destroy(&attributes);
    }
    posix_spawn_file_actions_destroy(&actions);
    return -r;
}

/* Its output up to 'size', the rest unread. */
static void read_output(int fd, char *output, size_t size)
{
    size_t len = 0;
    while (len + 1 < size) {
        ssize_t n = read(fd, output + len, size - 1 - len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break;
        len += (size_t)n;
    }
    output[len] = '\0';
}

/* As lines of our log: it may be JSON, or the journal's. */
static void log_errors(int fd)
{
    char text[1024];
    char *rest = NULL;
    read_output(fd, text, sizeof(text));
    for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest))
        log_info("ovs-vsctl: %s", line);
}

static int wait_for(pid_t pid)
{
    int status = 0;
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            return -errno;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -ETIMEDOUT;
}

static int run_tool(const char *tool, char *const argv[], char *output, size_t size)
{
    int pipes[2] = {-1, -1}, errors[2];
    pid_t pid = 0;
    if (pipe2(errors, O_CLOEXEC) < 0)
        return -errno;
    if (output && pipe2(pipes, O_CLOEXEC) < 0) {
        int error = errno;
        close(errors[0]);
        close(errors[1]);
        return -error;
    }
    int r = spawn(tool, argv, pipes[1], errors[1], &pid);
    close(errors[1]);
    if (output)
        close(pipes[1]);
    if (r == 0 && output)
        read_output(pipes[0], output, size);
    if (r == 0)
        log_errors(errors[0]);
    close(errors[0]);
    if (output)
        close(pipes[0]);
    return r < 0 ? r : wait_for(pid);
}

/* Runs "ovs-vsctl WORD..." (ends with NULL). Returns its exit code or a negative errno. */
static int run(const char *const words[], char *output, size_t size)
{
    char timeout[32], name[] = "ovs-vsctl";
    char copies[WORDS_MAX][64];
    char *argv[WORDS_MAX + 3] = {name, timeout};
    const char *tool = find_tool();
    if (!tool)
        return -ENOENT;
    snprintf(timeout, sizeof(timeout), "--timeout=%d", OVS_SECONDS); /* it ends itself by SIGALRM */
    for (int i = 0; i < WORDS_MAX && words[i]; i++) {
        snprintf(copies[i], sizeof(copies[i]), "%s", words[i]);
        argv[i + 2] = copies[i];
    }
    return run_tool(tool, argv, output, size);
}

bool ovs_has_bridge(const char *bridge)
{
    const char *const words[] = {"--no-wait", "br-exists", bridge, NULL};
    return run(words, NULL, 0) == 0;
}

int ovs_add_port(const char *bridge, const char *interface, char *ret_why, size_t why_size)
{
    const char *const words[] = {"--may-exist", "add-port",  bridge,    interface, "--",
                                 "set",         "Interface", interface, MARK,      NULL};
    may_have_ports = true;
    /* Waits until the switch has it: until then the host itself would answer on it. */
    int r = run(words, NULL, 0);
    if (r == 0)
        return 0;
    snprintf(ret_why, why_size, "ovs-vsctl add-port %s %s failed (%s); the log says more", bridge, interface,
             r < 0 ? strerror(-r) : "refused");
    return r < 0 ? r : -EIO;
}

void ovs_remove_stale(void)
{
    const char *const find[] = {"--no-wait", "--bare", "--columns=name", "find", "Interface", MARK, NULL};
    char output[OUTPUT_SIZE];
    /* Not asked where nobody answers: the monitor waits for it, at the end of each network. */
    if (!may_have_ports || access(DATABASE, F_OK) < 0 || run(find, output, sizeof(output)) != 0)
        return;
    may_have_ports = false;
    char *rest = NULL;
    for (const char *name = strtok_r(output, "\n", &rest); name; name = strtok_r(NULL, "\n", &rest)) {
        const char *const del[] = {"--no-wait", "--if-exists", "del-port", name, NULL};
        if (if_nametoindex(name) != 0 || run(del, NULL, 0) != 0)
            may_have_ports = true; /* lives, or could not be removed yet */
        else
            log_info("removed the port %s from its Open vSwitch bridge: its interface is gone", name);
    }
}
