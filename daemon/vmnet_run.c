/* daemon/vmnet_run.c - vmnet-run: a command with a vmnet-helper of its own, in place of vmnet-helper's
 * program
 *
 * usage: vmnet-run [vmnet-helper options] -- COMMAND [ARGUMENT ...]
 *
 * The good path: a pair of datagram sockets -> vmnet-helper starts with one end as descriptor 3 -> its line
 * of JSON is passed on to our standard output, which says that the network is there -> the command starts
 * with the other end as descriptor 4 -> it ends -> SIGTERM to the process group, which the helper is in ->
 * its status is ours.
 *
 * What can go wrong: vmnet-helper is not there or ends before its line: that is said, with its status, and
 * the command is not started (1). It ends later: that is said; the command goes on without its network. A
 * signal: passed to the command, or to the helper while there is no command; then as when the command ends.
 */
#include "daemon/vmnet_run.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

enum {
    FD_HELPER = 3,
    FD_COMMAND = 4,
    FD_OURS_MIN = 10, /* ours lie above those that are given away, so that dup2() always copies */
    SEND_BUFFER = 1024 * 1024,
    RECEIVE_BUFFER = 4 * 1024 * 1024,
    HELPER_END_MS = 5000,
    HELPER_WORDS_MAX = 256,
    RUN_FAILED = 1,
    RUN_CANNOT = 126,
    RUN_NOT_FOUND = 127,
    RUN_SIGNALLED = 128, /* + the signal */
};

#define HELPER_NAME "vmnet-helper"

static const char usage[] =
    "usage: %s [vmnet-helper options] -- COMMAND [ARGUMENT ...]\n\n"
    "Starts vmnet-helper and the command, which gets its network as descriptor 4, a\n"
    "connected datagram socket. The line of JSON on the standard output is\n"
    "vmnet-helper's; the exit status is the command's, 128 + N if signal N ended it.\n";

struct run {
    const char *name; /* ours, for messages */
    char helper[PATH_MAX];
    int ends[2];          /* of the pair: the helper's, the command's */
    int line[2];          /* the helper's standard output until its line has come: ours, the helper's */
    pid_t terminal_group; /* whose the terminal was; 0: not ours */
};

/* What the signal handler works on. */
static volatile sig_atomic_t helper_pid, command_pid, last_signal;

static void complain(const struct run *run, const char *what, const char *why)
{
    fprintf(stderr, "%s: error: %s%s%s\n", run->name, what, why[0] ? ": " : "", why);
}

/* ---- signals ---- */

static void on_signal(int signum, siginfo_t *info, void *context)
{
    (void)context;
    int saved = errno;
    pid_t pid = command_pid > 0 ? command_pid : helper_pid;
    last_signal = signum;
    /* From the terminal it has gone to the whole group already. */
    if (info->si_pid != 0 && pid > 0)
        kill(pid, signum);
    errno = saved;
}

static void catch_signals(void)
{
    static const int caught[] = {SIGTERM, SIGINT, SIGHUP};
    struct sigaction action = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO};
    sigfillset(&action.sa_mask);
    for (size_t i = 0; i < sizeof(caught) / sizeof(caught[0]); i++)
        sigaction(caught[i], &action, NULL);
}

/* ---- the process group ---- */

static void set_foreground(pid_t group)
{
    void (*before)(int) = signal(SIGTTOU, SIG_IGN); /* or asking from behind would stop us */
    tcsetpgrp(STDIN_FILENO, group);
    signal(SIGTTOU, before);
}

/* A group of our own, so that ending it ends nobody else; it takes the terminal along, which the command may
 * want to read. */
static void make_group(struct run *run)
{
    pid_t before = getpgrp();
    run->terminal_group = tcgetpgrp(STDIN_FILENO) == before ? before : 0;
    if (setpgid(0, 0) == 0 && run->terminal_group && run->terminal_group != getpgrp())
        set_foreground(getpgrp());
}

static void leave_terminal(const struct run *run)
{
    if (run->terminal_group && run->terminal_group != getpgrp())
        set_foreground(run->terminal_group);
}

/* ---- the helper ---- */

static bool is_executable(const char *path)
{
    return access(path, X_OK) == 0;
}

/* Beside the path we were called by (Homebrew links both programs into one folder), else beside ourselves. */
static int find_helper(struct run *run, const char *called)
{
    char self[PATH_MAX - sizeof(HELPER_NAME)];
    const char *slash = strrchr(called, '/');
    int n =
        slash ? snprintf(run->helper, sizeof(run->helper), "%.*s/" HELPER_NAME, (int)(slash - called), called)
              : -1;
    if (n > 0 && (size_t)n < sizeof(run->helper) && is_executable(run->helper))
        return 0;
    int r = vmnet_run_self(self, sizeof(self));
    if (r < 0) {
        complain(run, "the folder of this program cannot be found", strerror(-r));
        return -1;
    }
    slash = strrchr(self, '/');
    snprintf(run->helper, sizeof(run->helper), "%.*s/" HELPER_NAME, slash ? (int)(slash - self) : 0, self);
    if (is_executable(run->helper))
        return 0;
    complain(run, run->helper, "cannot be executed: install vmnet-helper beside vmnet-run");
    return -1;
}

static int move_up(int fds[2])
{
    for (int i = 0; i < 2; i++) {
        int fd = fcntl(fds[i], F_DUPFD_CLOEXEC, FD_OURS_MIN);
        if (fd < 0)
            return -1;
        close(fds[i]);
        fds[i] = fd;
    }
    return 0;
}

static int make_sockets(struct run *run)
{
    int send_buffer = SEND_BUFFER, receive_buffer = RECEIVE_BUFFER;
    if (socketpair(AF_UNIX, SOCK_DGRAM, 0, run->ends) < 0 || move_up(run->ends) < 0 || pipe(run->line) < 0 ||
        move_up(run->line) < 0) {
        complain(run, "cannot make a socket", strerror(errno));
        return -1;
    }
    /* Smaller ones are slower, not wrong. */
    setsockopt(run->ends[1], SOL_SOCKET, SO_SNDBUF, &send_buffer, sizeof(send_buffer));
    setsockopt(run->ends[1], SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof(receive_buffer));
    return 0;
}

/* Starts 'argv' with our descriptor 'from' as its 'to', and its standard output into 'out' (-1: ours).
 * Returns 0 and the pid, or an errno. */
static int start(char *const argv[], int from, int to, int out, pid_t *ret_pid)
{
    posix_spawn_file_actions_t actions;
    int r = posix_spawn_file_actions_init(&actions);
    if (r)
        return r;
    r = posix_spawn_file_actions_adddup2(&actions, from, to);
    if (r == 0 && out >= 0)
        r = posix_spawn_file_actions_adddup2(&actions, out, STDOUT_FILENO);
    r = r ? r : posix_spawnp(ret_pid, argv[0], &actions, NULL, argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    return r;
}

static int start_helper(struct run *run, char **options, int n_options)
{
    static char sudo[] = "sudo", plain[] = "--non-interactive", closing[] = "--close-from=4", fd[] = "--fd=3";
    char *words[HELPER_WORDS_MAX + 8];
    int n = 0;
    pid_t pid;
    if (n_options > HELPER_WORDS_MAX) {
        complain(run, "there are too many options", "");
        return -1;
    }
    if (vmnet_run_needs_sudo()) {
        words[n++] = sudo;
        words[n++] = plain;
        words[n++] = closing;
    }
    words[n++] = run->helper;
    words[n++] = fd;
    for (int i = 0; i < n_options; i++)
        words[n++] = options[i];
    words[n] = NULL;
    int r = start(words, run->ends[0], FD_HELPER, run->line[1], &pid);
    if (r) {
        complain(run, words[0], strerror(r));
        return -1;
    }
    helper_pid = pid;
    close(run->line[1]);
    run->line[1] = -1;
    close(run->ends[0]); /* the helper's alone now: it sees when the command has gone */
    run->ends[0] = -1;
    return 0;
}

/* Passes the helper's line on. Returns true once it is whole; false: it ended without one. */
static bool pass_line(struct run *run)
{
    char text[4096];
    bool is_whole = false;
    while (!is_whole) {
        ssize_t n = read(run->line[0], text, sizeof(text));
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break;
        is_whole = memchr(text, '\n', (size_t)n) != NULL;
        fwrite(text, 1, (size_t)n, stdout);
    }
    fflush(stdout);
    close(run->line[0]);
    run->line[0] = -1;
    return is_whole;
}

static void describe(int status, char *text, size_t size)
{
    if (WIFSIGNALED(status))
        snprintf(text, size, "signal %d ended it", WTERMSIG(status));
    else
        snprintf(text, size, "it ended with status %d", WEXITSTATUS(status));
}

/* ---- waiting ---- */

static int status_of(int status)
{
    return WIFSIGNALED(status) ? RUN_SIGNALLED + WTERMSIG(status) : WEXITSTATUS(status);
}

/* Until the command ends; what is said of a helper that ends before it. Returns the command's status. */
static int wait_for_command(const struct run *run)
{
    for (;;) {
        int status;
        char how[64];
        pid_t pid = waitpid(-1, &status, 0);
        if (pid < 0 && errno != EINTR)
            return RUN_FAILED << 8;
        if (pid > 0 && pid == command_pid)
            return status;
        if (pid <= 0 || pid != helper_pid)
            continue;
        helper_pid = 0;
        describe(status, how, sizeof(how));
        if (status != 0)
            complain(run, "vmnet-helper is gone, and the command has no network any more", how);
    }
}

/* Gives it HELPER_END_MS, then kills it. */
static void wait_for_helper(const struct run *run)
{
    static const struct timespec step = {.tv_nsec = 10 * 1000 * 1000};
    for (int waited_ms = 0; helper_pid > 0; waited_ms += 10) {
        int status;
        pid_t pid = waitpid(helper_pid, &status, WNOHANG);
        if (pid == helper_pid || (pid < 0 && errno == ECHILD))
            return;
        if (waited_ms == HELPER_END_MS) {
            complain(run, "vmnet-helper does not end: killed", "");
            kill(helper_pid, SIGKILL);
        }
        if (waited_ms > 2 * HELPER_END_MS)
            return; /* sudo's, and not ours to kill */
        nanosleep(&step, NULL);
    }
}

/* The helper ended, or was ended, before it had a network. */
static int report_no_helper(const struct run *run)
{
    int status = 0;
    char how[64];
    while (waitpid(helper_pid, &status, 0) < 0 && errno == EINTR)
        continue;
    if (last_signal)
        return RUN_SIGNALLED + last_signal;
    describe(status, how, sizeof(how));
    complain(run, "vmnet-helper did not start, so the command was not either", how);
    return RUN_FAILED;
}

static int run_command(const struct run *run, char **command)
{
    pid_t pid;
    int r = start(command, run->ends[1], FD_COMMAND, -1, &pid);
    if (r) {
        complain(run, command[0], strerror(r));
        return r == ENOENT ? RUN_NOT_FOUND : RUN_CANNOT;
    }
    command_pid = pid;
    if (last_signal)
        kill(pid, last_signal); /* it came while there was nobody to pass it to */
    close(run->ends[1]);
    return status_of(wait_for_command(run));
}

/* What is left of the group, the helper above all. */
static void end_group(void)
{
    signal(SIGTERM, SIG_IGN);
    kill(0, SIGTERM);
}

static int run_all(struct run *run, char **options, int n_options, char **command)
{
    if (make_sockets(run) < 0 || start_helper(run, options, n_options) < 0)
        return RUN_FAILED;
    if (!pass_line(run))
        return report_no_helper(run);
    int code = run_command(run, command);
    command_pid = 0;
    end_group();
    wait_for_helper(run);
    return code;
}

int main(int argc, char **argv)
{
    const char *slash = argc > 0 ? strrchr(argv[0], '/') : NULL;
    struct run run = {.name = slash ? slash + 1 : "vmnet-run", .ends = {-1, -1}, .line = {-1, -1}};
    int n_options = 0;
    while (n_options + 1 < argc && strcmp(argv[n_options + 1], "--") != 0) {
        const char *option = argv[++n_options];
        if (strcmp(option, "--help") == 0 || strcmp(option, "-h") == 0) {
            printf(usage, run.name);
            return fflush(stdout) == 0 ? 0 : RUN_FAILED;
        }
    }
    if (n_options + 2 >= argc) {
        fprintf(stderr, usage, run.name);
        return RUN_FAILED;
    }
    if (find_helper(&run, argv[0]) < 0)
        return RUN_FAILED;
    make_group(&run);
    catch_signals();
    int code = run_all(&run, argv + 1, n_options, argv + n_options + 2);
    leave_terminal(&run);
    return code;
}
