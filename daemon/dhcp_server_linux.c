#include "daemon/dhcp_server.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/dhcp_leases.h"
#include "daemon/lease_file.h"
#include "daemon/privileges.h"
#include "daemon/text_file.h"
#include "io/log.h"

enum { PATH_SIZE = MESSAGE_PATH_SIZE + 96, CHILD_FAILED = 127 };

const char *dhcp_server_program(void)
{
    static const char *const places[] = {"/usr/sbin/dnsmasq", "/usr/local/sbin/dnsmasq", "/usr/bin/dnsmasq"};
    for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++)
        if (access(places[i], X_OK) == 0)
            return places[i];
    return NULL;
}

/* ---- its words ---- */

static void take_line(struct dhcp_server *server, uint64_t now_ms)
{
    char shown[4 * DHCP_LINE_SIZE];
    server->line[server->line_len] = '\0';
    server->line_len = 0;
    /* "dnsmasq: failed to ...", "dnsmasq-dhcp[4711]: DHCP, ...": the log has a name of its own. */
    const char *said = strstr(server->line, ": ");
    said = said ? said + 2 : server->line;
    if (!said[0])
        return;
    memmove(server->last_line, said, strlen(said) + 1);
    if (now_ms - server->lines_since_ms >= DHCP_LINES_MS) {
        if (server->n_unsaid)
            log_info("dnsmasq: %u more lines were left out", server->n_unsaid);
        server->lines_since_ms = now_ms;
        server->n_lines = server->n_unsaid = 0;
    }
    if (server->n_lines++ < DHCP_LINES_MAX)
        log_info("dnsmasq: %s", log_escape(said, shown, sizeof(shown)));
    else
        server->n_unsaid++;
}

static void close_log(struct dhcp_server *server)
{
    if (server->log_fd >= 0)
        close(server->log_fd);
    server->log_fd = -1;
}

void dhcp_server_hear(struct dhcp_server *server, uint64_t now_ms)
{
    char bytes[4096];
    const ssize_t n = server->log_fd < 0 ? -1 : read(server->log_fd, bytes, sizeof(bytes));
    if (n == 0)
        close_log(server); /* or poll() would tell of it for ever */
    for (ssize_t i = 0; i < n; i++) {
        if (bytes[i] == '\n')
            take_line(server, now_ms);
        else if (server->line_len < sizeof(server->line) - 1)
            server->line[server->line_len++] = bytes[i]; /* the rest of a long one is left out */
    }
}

int dhcp_server_log_fd(const struct dhcp_server *server)
{
    return server->pid ? server->log_fd : -1;
}

/* ---- its process ---- */

static void retry_later(struct dhcp_server *server, uint64_t now_ms)
{
    const uint64_t was_up_ms = server->started_ms ? now_ms - server->started_ms : 0;
    server->due_ms = now_ms + uplink_retry_next(&server->retry, was_up_ms);
}

/* In the new process, which has one thread and nothing to lose: what posix_spawn() has no words for. */
static _Noreturn void become(const struct dhcp_server *server, const char *program, pid_t parent, int output)
{
    char config[PATH_SIZE], leases[PATH_SIZE], hosts[PATH_SIZE];
    char name[] = "dnsmasq", foreground[] = "--keep-in-foreground",
         no_pid[] = "--pid-file=", log[] = "--log-facility=-", path[] = "PATH=/usr/sbin:/usr/bin:/sbin:/bin";
    char *const argv[] = {name, foreground, no_pid, log, config, leases, hosts, NULL};
    char *const environment[] = {path, NULL};
    sigset_t none;
    snprintf(config, sizeof(config), "--conf-file=%s/dnsmasq.conf", server->folder);
    snprintf(leases, sizeof(leases), "--dhcp-leasefile=%s/" LEASE_FILE, server->lease_folder);
    snprintf(hosts, sizeof(hosts), "--dhcp-hostsfile=%s/hosts", server->folder);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    for (int number = 1; number < NSIG; number++)
        signal(number, SIG_DFL);
    int null = open("/dev/null", O_RDWR);
    if (null < 0 || dup2(null, 0) < 0 || dup2(output, 1) < 0 || dup2(output, 2) < 0 ||
        close_range(3, ~0U, 0) < 0 || setpgid(0, 0) < 0 || privileges_hand_on() < 0 ||
        prctl(PR_SET_PDEATHSIG, SIGTERM, 0, 0, 0) < 0 || getppid() != parent)
        _exit(CHILD_FAILED);
    execve(program, argv, environment);
    _exit(CHILD_FAILED);
}

static int spawn(struct dhcp_server *server, const char *program)
{
    int pipes[2], pidfd = -1;
    if (pipe2(pipes, O_CLOEXEC | O_NONBLOCK) < 0)
        return -errno;
    const pid_t parent = getpid();
    const pid_t pid = fork();
    if (pid == 0)
        become(server, program, parent, pipes[1]);
    int r = pid < 0 ? -errno : 0;
    close(pipes[1]);
    if (r == 0 && (pidfd = pidfd_open(pid, 0)) < 0) {
        r = -errno;
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
    }
    if (r < 0) {
        close(pipes[0]);
        return r;
    }
    server->pid = pid;
    server->pidfd = pidfd;
    server->log_fd = pipes[0];
    server->line_len = 0;
    server->last_line[0] = '\0';
    return 0;
}

static void start(struct dhcp_server *server, uint64_t now_ms)
{
    const char *program = dhcp_server_program();
    int r = program ? text_file_write(server->folder, "dnsmasq.conf", server->config) : 0;
    r = r < 0 ? r : program ? text_file_write(server->folder, "hosts", server->hosts) : 0;
    if (program)
        lease_file_mend(server->lease_folder, server->address, server->netmask);
    r = r < 0 ? r : program ? spawn(server, program) : -ENOENT;
    if (r == 0) {
        server->started_ms = now_ms;
        server->due_ms = now_ms + DHCP_SETTLED_MS;
        return;
    }
    if (program)
        snprintf(server->failure, sizeof(server->failure), "DHCP and DNS: cannot start %s: %s", program,
                 strerror(-r));
    else
        snprintf(server->failure, sizeof(server->failure),
                 "DHCP and DNS: dnsmasq is not installed: install it (Debian: dnsmasq-base)");
    server->started_ms = 0;
    retry_later(server, now_ms);
}

void dhcp_server_stop(struct dhcp_server *server)
{
    server->is_wanted = false;
    server->due_ms = 0;
    if (!server->pid)
        return;
    /* It may be in the middle of writing its leases. */
    kill(server->pid, SIGTERM);
    struct pollfd fd = {.fd = server->pidfd, .events = POLLIN};
    poll(&fd, 1, DHCP_STOP_MS);
    kill(-server->pid, SIGKILL); /* and those it has for DNS over TCP */
    kill(server->pid, SIGKILL);  /* if it had no group of its own yet */
    while (waitpid(server->pid, NULL, 0) < 0 && errno == EINTR)
        ;
    close(server->pidfd);
    close_log(server);
    server->pid = 0;
}

unsigned dhcp_server_drop_leases(struct dhcp_server *server, const uint32_t *addresses, unsigned n,
                                 uint64_t now_ms)
{
    unsigned n_removed = 0;
    dhcp_server_stop(server); /* or it would write its own again */
    char *text = lease_file_read(server->lease_folder);
    if (text) {
        n_removed = dhcp_leases_remove(text, addresses, n);
        if (lease_file_write(server->lease_folder, text) < 0)
            n_removed = 0;
        free(text);
    }
    server->is_wanted = true;
    start(server, now_ms);
    return n_removed;
}

void dhcp_server_configure(struct dhcp_server *server, const struct network_spec *spec, const char *tap,
                           bool is_new_tap, uint64_t now_ms)
{
    char config[DHCP_CONFIG_SIZE], hosts[DHCP_HOSTS_SIZE];
    if (dhcp_config_write(spec, tap, config, sizeof(config)) < 0 ||
        dhcp_config_write_hosts(spec, hosts, sizeof(hosts)) < 0)
        return; /* cannot be: the sizes are those of the largest */
    const bool is_same = !is_new_tap && server->is_wanted && strcmp(config, server->config) == 0;
    const bool has_same_hosts = strcmp(hosts, server->hosts) == 0;
    memcpy(server->config, config, sizeof(config));
    memcpy(server->hosts, hosts, sizeof(hosts));
    server->address = spec->ipv4.gateway;
    server->netmask = spec->ipv4.netmask;
    if (is_same && has_same_hosts)
        return;
    if (is_same && server->pid && text_file_write(server->folder, "hosts", hosts) == 0) {
        kill(server->pid, SIGHUP); /* it reads its hosts again */
        return;
    }
    dhcp_server_stop(server);
    server->is_wanted = true;
    server->failure[0] = '\0';
    start(server, now_ms);
}

int dhcp_server_fd(const struct dhcp_server *server)
{
    return server->pid ? server->pidfd : -1;
}

void dhcp_server_reap(struct dhcp_server *server, uint64_t now_ms)
{
    int status = 0;
    if (!server->pid || waitpid(server->pid, &status, WNOHANG) != server->pid)
        return;
    dhcp_server_hear(server, now_ms); /* why */
    close(server->pidfd);
    close_log(server);
    kill(-server->pid, SIGKILL); /* what it left */
    server->pid = 0;
    if (WIFSIGNALED(status))
        snprintf(server->failure, sizeof(server->failure),
                 "DHCP and DNS: dnsmasq died (%s); it is started again", strsignal(WTERMSIG(status)));
    else
        snprintf(server->failure, sizeof(server->failure),
                 "DHCP and DNS: dnsmasq ended (exit code %d): %.80s", WEXITSTATUS(status),
                 server->last_line[0] ? server->last_line : "it said nothing");
    retry_later(server, now_ms);
}

int64_t dhcp_server_work(struct dhcp_server *server, uint64_t now_ms)
{
    if (server->due_ms && server->due_ms <= now_ms) {
        server->due_ms = 0;
        if (server->pid)
            server->failure[0] = '\0'; /* it has settled */
        else if (server->is_wanted)
            start(server, now_ms);
    }
    if (!server->due_ms)
        return -1;
    return server->due_ms > now_ms ? (int64_t)(server->due_ms - now_ms) : 0;
}

enum uplink_state dhcp_server_state(const struct dhcp_server *server, char reason[UPLINK_REASON_SIZE])
{
    if (server->failure[0]) {
        memcpy(reason, server->failure, UPLINK_REASON_SIZE);
        return UPLINK_DEGRADED;
    }
    return server->pid && !server->due_ms ? UPLINK_UP : UPLINK_STARTING;
}
