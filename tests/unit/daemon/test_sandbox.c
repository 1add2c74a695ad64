/* tests/unit/daemon/test_sandbox.c - S09: what a role that was taken over tries, from inside its sandbox
 *
 * Each act is one process, which enters the sandbox as the role does and then tries. It runs as whoever runs
 * the test: as root, nothing but the sandbox is in the way.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/landlock.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "daemon/sandbox.h"

#if defined(__SANITIZE_ADDRESS__)
enum { IS_SANITIZED = 1 };
#else
enum { IS_SANITIZED = 0 };
#endif

enum {
    NETWORK_CALLS_MAX = 45, /* P10 */
    CALLS_END = 480,        /* more numbers than this kernel has */
    PATIENCE_S = 5,         /* of a process that waits for ever: alarm() */
    SETUP_FAILED = 250,     /* exit code; above any errno */
    NOT_DONE = 251,
};

static char folder[PATH_MAX], outside[PATH_MAX];

typedef int act(void); /* 0, or -1 with errno */

/* ---- a process of a role ---- */

static void enter(enum sandbox sandbox)
{
    struct sandbox_state state;
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        _exit(SETUP_FAILED);
    sandbox_enter(sandbox, sandbox == SANDBOX_CONTROL ? folder : NULL, &state);
    if (sandbox_mode() != SANDBOX_OFF && (!state.filters_calls || state.missing[0])) {
        fprintf(stderr, "the sandbox is incomplete: %s\n", state.missing);
        _exit(SETUP_FAILED);
    }
}

/* Returns the status of a process of that role that tries 'its_act'. */
static int status_of(enum sandbox sandbox, act *its_act)
{
    int status = 0;
    fflush(NULL);
    const pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        for (int number = 1; number < NSIG; number++) /* cmocka's handlers would come back into the tests */
            signal(number, SIG_DFL);
        alarm(PATIENCE_S);
        enter(sandbox);
        errno = 0;
        const int r = its_act();
        _exit(r >= 0 ? 0 : errno ? errno : NOT_DONE);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

static bool is_killed(int status)
{
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS;
}

static bool is_refused(int status)
{
    return WIFEXITED(status) && (WEXITSTATUS(status) == EPERM || WEXITSTATUS(status) == EACCES);
}

static bool is_done(int status)
{
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static const char *name_of(enum sandbox sandbox)
{
    return sandbox == SANDBOX_CONTROL   ? "control"
           : sandbox == SANDBOX_NETWORK ? "network"
           : sandbox == SANDBOX_UPLINK  ? "uplink"
                                        : "nat";
}

/* ---- acts ---- */

static int execute(void)
{
    char name[] = "true";
    char *argv[] = {name, NULL}, *environment[] = {NULL};
    return execve("/bin/true", argv, environment);
}

static int execute_at(void)
{
    char name[] = "true";
    char *argv[] = {name, NULL}, *environment[] = {NULL};
    return (int)syscall(SYS_execveat, AT_FDCWD, "/bin/true", argv, environment, 0);
}

static int read_shadow(void)
{
    return open("/etc/shadow", O_RDONLY);
}

static int read_memory_of_root(void)
{
    return open("/proc/1/mem", O_RDONLY);
}

static int read_home(void)
{
    return open(outside, O_RDONLY);
}

static int write_outside(void)
{
    return open(outside, O_WRONLY | O_TRUNC);
}

static int make_outside(void)
{
    char path[PATH_MAX + 8];
    snprintf(path, sizeof(path), "%s.new", outside);
    return open(path, O_WRONLY | O_CREAT, 0600);
}

static int remove_outside(void)
{
    return unlinkat(AT_FDCWD, outside, 0);
}

static int link_outside(void)
{
    char path[PATH_MAX + 8];
    snprintf(path, sizeof(path), "%s.link", outside);
    return symlink(outside, path);
}

static int open_inet(void)
{
    return socket(AF_INET, SOCK_STREAM, 0);
}

static int open_inet6(void)
{
    return socket(AF_INET6, SOCK_DGRAM, 0);
}

static int open_packet(void)
{
    return socket(AF_PACKET, SOCK_RAW, 0);
}

static int open_netlink(void)
{
    return socket(AF_NETLINK, SOCK_RAW, 0);
}

static int open_unix(void)
{
    return socket(AF_UNIX, SOCK_STREAM, 0);
}

static int attach_debugger(void)
{
    return (int)ptrace(PTRACE_SEIZE, getppid(), NULL, NULL);
}

static int be_debugged(void)
{
    return (int)ptrace(PTRACE_TRACEME, 0, NULL, NULL);
}

static int read_anothers_memory(void)
{
    char byte;
    struct iovec local = {.iov_base = &byte, .iov_len = 1}, remote = {.iov_base = folder, .iov_len = 1};
    return (int)process_vm_readv(getpid(), &local, 1, &remote, 1, 0);
}

static int mount_something(void)
{
    return mount("tmpfs", folder, "tmpfs", 0, NULL);
}

static int leave_namespaces(void)
{
    return unshare(CLONE_NEWUSER);
}

static int enter_namespace(void)
{
    return setns(0, 0);
}

static int change_root(void)
{
    return chroot(folder);
}

static int kill_parent(void)
{
    return kill(getppid(), 0);
}

static int kill_init(void)
{
    return kill(1, 0);
}

static int signal_anothers_thread(void)
{
    return (int)syscall(SYS_tgkill, 1, 1, 0);
}

static int start_process(void)
{
    const pid_t pid = fork();
    if (pid == 0)
        _exit(0);
    return pid < 0 ? -1 : 0;
}

static int start_process_elsewhere(void)
{
    const long pid = syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, NULL, NULL, NULL, NULL);
    if (pid == 0)
        _exit(0);
    return pid < 0 ? -1 : 0;
}

static int start_process_newly(void)
{
    return (int)syscall(SYS_clone3, NULL, 0);
}

static int load_bpf(void)
{
    return (int)syscall(SYS_bpf, 0, NULL, 0);
}

static int set_up_uring(void)
{
    return (int)syscall(SYS_io_uring_setup, 1, NULL);
}

static int handle_faults(void)
{
    return (int)syscall(SYS_userfaultfd, 1); /* UFFD_USER_MODE_ONLY */
}

static int measure(void)
{
    return (int)syscall(SYS_perf_event_open, NULL, 0, -1, -1, 0);
}

static int get_key(void)
{
    return (int)syscall(SYS_keyctl, 0, -3, 0);
}

static int load_module(void)
{
    return (int)syscall(SYS_finit_module, 0, "", 0);
}

static int take_descriptor(void)
{
    return (int)syscall(SYS_pidfd_open, getppid(), 0);
}

static int make_code(void)
{
    return mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) ==
                   MAP_FAILED
               ? -1
               : 0;
}

static int make_data_code(void)
{
    void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return mprotect(page, 4096, PROT_READ | PROT_EXEC);
}

static int become_root(void)
{
    return setuid(0);
}

static int change_anothers_limit(void)
{
    return (int)syscall(SYS_prlimit64, 1, 7, NULL, NULL);
}

static int write_terminal(void)
{
    return ioctl(STDIN_FILENO, TIOCSTI, "x");
}

static int go_32_bit(void)
{
#if defined(__x86_64__)
    long r;
    __asm__ volatile("int $0x80" : "=a"(r) : "a"(20L) : "memory"); /* getpid */
    return 0;
#else
    return kill(1, 0);
#endif
}

enum {
    NET = 1 << SANDBOX_NETWORK,
    UP = 1 << SANDBOX_UPLINK,
    CTL = 1 << SANDBOX_CONTROL,
    NAT = 1 << SANDBOX_NAT,
    ALL = NET | UP | CTL,
};

/* What must not be done by whom. 'too_wide': the sanitizers need that call themselves. */
static const struct {
    const char *what;
    act *its_act;
    int by;
    bool too_wide;
} forbidden[] = {
    {"execve", execute, ALL, false},
    {"execveat", execute_at, ALL, false},
    {"open of /etc/shadow", read_shadow, NET, true},
    {"open of /proc/1/mem", read_memory_of_root, ALL, true},
    {"open of a file elsewhere", read_home, ALL, true},
    {"open for writing elsewhere", write_outside, ALL, false},
    {"a new file elsewhere", make_outside, ALL, false},
    {"unlink elsewhere", remove_outside, ALL, false},
    {"symlink", link_outside, ALL, false},
    {"socket(AF_INET)", open_inet, NET | CTL, false},
    {"socket(AF_INET6)", open_inet6, NET | CTL, false},
    {"socket(AF_PACKET)", open_packet, ALL | NAT, false},
    {"socket(AF_NETLINK)", open_netlink, NET | UP, false},
    {"socket(AF_UNIX)", open_unix, UP, false},
    {"ptrace of the parent", attach_debugger, ALL | NAT, true},
    {"ptrace(TRACEME)", be_debugged, ALL | NAT, true},
    {"process_vm_readv", read_anothers_memory, ALL | NAT, true},
    {"mount", mount_something, ALL | NAT, false},
    {"unshare", leave_namespaces, ALL | NAT, false},
    {"setns", enter_namespace, ALL | NAT, false},
    {"chroot", change_root, ALL | NAT, false},
    {"kill of the parent", kill_parent, ALL, false},
    {"kill of process 1", kill_init, ALL, false},
    {"tgkill of process 1", signal_anothers_thread, ALL, true},
    {"fork", start_process, ALL, true},
    {"clone with a user namespace", start_process_elsewhere, ALL | NAT, true},
    {"clone3", start_process_newly, ALL, true},
    {"bpf", load_bpf, ALL | NAT, false},
    {"io_uring_setup", set_up_uring, ALL | NAT, false},
    {"userfaultfd", handle_faults, ALL | NAT, false},
    {"perf_event_open", measure, ALL | NAT, false},
    {"keyctl", get_key, ALL | NAT, false},
    {"finit_module", load_module, ALL | NAT, false},
    {"pidfd_open", take_descriptor, ALL, false},
    {"mmap of writable code", make_code, ALL, true},
    {"mprotect of data to code", make_data_code, ALL, true},
    {"setuid", become_root, ALL | NAT, false},
    {"prlimit64 of another", change_anothers_limit, ALL, true},
    {"ioctl(TIOCSTI)", write_terminal, ALL, false},
    {"a system call of 32 bits", go_32_bit, ALL | NAT, false},
};

static void S09_what_is_forbidden_kills_or_is_refused(void **state)
{
    static const enum sandbox sandboxes[] = {SANDBOX_CONTROL, SANDBOX_NETWORK, SANDBOX_UPLINK, SANDBOX_NAT};
    (void)state;
    for (size_t r = 0; r < sizeof(sandboxes) / sizeof(sandboxes[0]); r++) {
        for (size_t i = 0; i < sizeof(forbidden) / sizeof(forbidden[0]); i++) {
            if (!(forbidden[i].by & 1 << sandboxes[r]) || (IS_SANITIZED && forbidden[i].too_wide))
                continue;
            const int status = status_of(sandboxes[r], forbidden[i].its_act);
            if (!is_killed(status) && !is_refused(status))
                fail_msg("%s: %s: status %#x", name_of(sandboxes[r]), forbidden[i].what, (unsigned)status);
        }
    }
}

/* ---- what must go on working ---- */

static int live(void)
{
    char *memory = malloc(8 << 20);
    if (!memory)
        return -1;
    memset(memory, 1, 8 << 20);
    char *more = realloc(memory, 16 << 20);
    struct stat st;
    (void)stat(folder, &st);
    free(more ? more : memory);
    return more ? 0 : -1;
}

static int end_badly(void)
{
    signal(SIGABRT, SIG_DFL);
    abort();
}

static int keep_state(void)
{
    char a[PATH_MAX + 8], b[PATH_MAX + 8], sub[PATH_MAX + 8];
    snprintf(a, sizeof(a), "%s/a", folder);
    snprintf(b, sizeof(b), "%s/b", folder);
    snprintf(sub, sizeof(sub), "%s/sub", folder);
    const int fd = open(a, O_WRONLY | O_CREAT | O_EXCL, 0600);
    if (fd < 0 || write(fd, "x", 1) != 1 || fsync(fd) < 0)
        return -1;
    close(fd);
    return renameat(AT_FDCWD, a, AT_FDCWD, b) < 0 || unlinkat(AT_FDCWD, b, 0) < 0 || mkdir(sub, 0700) < 0 ? -1
                                                                                                          : 0;
}

static int read_users(void)
{
    return open("/etc/passwd", O_RDONLY);
}

static int read_resolver(void)
{
    const int fd = open("/etc/resolv.conf", O_RDONLY);
    return fd < 0 && errno == ENOENT ? 0 : fd;
}

static void what_a_role_needs_works(void **state)
{
    (void)state;
    assert_true(is_done(status_of(SANDBOX_NETWORK, live)));
    assert_true(is_done(status_of(SANDBOX_NETWORK, open_unix)));
    assert_true(is_done(status_of(SANDBOX_UPLINK, open_inet)));
    assert_true(is_done(status_of(SANDBOX_UPLINK, open_inet6)));
    assert_true(is_done(status_of(SANDBOX_UPLINK, read_resolver)));
    assert_true(is_done(status_of(SANDBOX_CONTROL, read_users)));
    assert_true(is_done(status_of(SANDBOX_CONTROL, open_netlink)));
    assert_true(is_done(status_of(SANDBOX_CONTROL, keep_state)));
}

static void abort_is_still_an_abort(void **state)
{
    (void)state;
    if (IS_SANITIZED)
        skip();
    const int status = status_of(SANDBOX_NETWORK, end_badly);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

/* ---- how many calls there are ---- */

static long number_to_try;

static int try_number(void)
{
    syscall(number_to_try, -1L, -1L, -1L, -1L, -1L, -1L);
    return 0;
}

/* Those that depend on an argument, with nonsense in it. */
static bool depends_on_argument(long number)
{
    return number == SYS_socket || number == SYS_ioctl || number == SYS_mmap || number == SYS_tgkill;
}

/* x86_64: trampolines of its probes, which no filter sees. */
static bool is_the_kernels(long number)
{
    enum { URETPROBE = 335, UPROBE = 336 };
    return number == URETPROBE || number == UPROBE;
}

static void S09_a_network_can_make_few_system_calls(void **state)
{
    unsigned n = 0;
    (void)state;
    if (IS_SANITIZED)
        skip();
    for (number_to_try = 0; number_to_try < CALLS_END; number_to_try++) {
        const int status = status_of(SANDBOX_NETWORK, try_number);
        n += depends_on_argument(number_to_try) ||
             (!is_killed(status) && number_to_try != SYS_openat && !is_the_kernels(number_to_try));
    }
    print_message("a network can make %u system calls\n", n);
    assert_true(n > 10 && n <= NETWORK_CALLS_MAX);
}

/* ---- modes ---- */

static int be_nosy(void)
{
    return getppid() > 0 ? 0 : -1;
}

static void what_log_would_have_stopped_is_done(void **state)
{
    (void)state;
    if (!IS_SANITIZED)
        assert_true(is_killed(status_of(SANDBOX_NETWORK, execute)));
    sandbox_set_mode(SANDBOX_LOG);
    assert_true(is_done(status_of(SANDBOX_NETWORK, execute)));
    assert_true(is_done(status_of(SANDBOX_NETWORK, be_nosy)));
    sandbox_set_mode(SANDBOX_OFF);
    assert_true(is_done(status_of(SANDBOX_NETWORK, execute)));
    sandbox_set_mode(SANDBOX_ON);
}

/* ---- the whole ---- */

static int set_up(void **state)
{
    char dir[] = "/tmp/vmsw-sandbox-XXXXXX";
    (void)state;
    if (!mkdtemp(dir))
        return -1;
    snprintf(folder, sizeof(folder), "%s/state", dir);
    snprintf(outside, sizeof(outside), "%s/outside", dir);
    const int fd = open(outside, O_WRONLY | O_CREAT, 0666);
    if (fd < 0 || mkdir(folder, 0700) < 0)
        return -1;
    close(fd);
    return 0;
}

static int tear_down(void **state)
{
    char path[PATH_MAX + 8];
    (void)state;
    snprintf(path, sizeof(path), "%s/sub", folder);
    rmdir(path);
    rmdir(folder);
    unlink(outside);
    *strrchr(outside, '/') = '\0';
    return rmdir(outside);
}

/* Where there is no seccomp or Landlock, there is nothing to test. */
static bool is_possible(void)
{
    return prctl(PR_GET_SECCOMP, 0, 0, 0, 0) >= 0 &&
           syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION) > 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(S09_what_is_forbidden_kills_or_is_refused),
        cmocka_unit_test(what_a_role_needs_works),
        cmocka_unit_test(abort_is_still_an_abort),
        cmocka_unit_test(S09_a_network_can_make_few_system_calls),
        cmocka_unit_test(what_log_would_have_stopped_is_done),
    };
    if (!is_possible()) {
        puts("skipped: this kernel has no seccomp or no Landlock");
        return 77;
    }
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
