/* vmswitch, the program itself, against a daemon that this test plays: what it asks, what it prints, how it
 * ends.
 *
 * The path of the program is the first argument. It runs as a child with its output in files, while the test
 * accepts on the sockets it made.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PATIENCE_MS = 10000, TEXT_SIZE = 16384, ARGUMENTS_MAX = 32 };

static const char *program, *manual;
static char folder[64], api_path[96], attach_path[96];
static int api_fd, attach_fd; /* listening */
static int out_fd, err_fd;    /* files */
static pid_t child;
static char out[TEXT_SIZE], err[TEXT_SIZE], request[TEXT_SIZE];

static int listen_at(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);

    memcpy(address.sun_path, path, strlen(path) + 1);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(fd, 4), 0);
    return fd;
}

static int enter(void **state)
{
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/test_cli.XXXXXX");
    if (!mkdtemp(folder))
        return -1;
    snprintf(api_path, sizeof api_path, "%s/api.sock", folder);
    snprintf(attach_path, sizeof attach_path, "%s/attach.sock", folder);
    api_fd = listen_at(api_path);
    attach_fd = listen_at(attach_path);
    setenv("VMSWITCH_SOCKET", api_path, 1);
    child = 0;
    return 0;
}

static int leave(void **state)
{
    char command[128];

    (void)state;
    if (child > 0) {
        kill(child, SIGKILL);
        waitpid(child, NULL, 0);
    }
    close(api_fd);
    close(attach_fd);
    snprintf(command, sizeof command, "rm -rf %s", folder);
    return system(command);
}

/* ---- the program ---- */

/* Starts "vmswitch <line>"; the words of 'line' are separated by single spaces, '~' is an empty word. */
static void start(const char *line)
{
    static char words[1024];
    char *argv[ARGUMENTS_MAX] = {NULL}, *rest = NULL;
    int n = 0;

    snprintf(words, sizeof words, "vmswitch %s", line);
    for (char *word = strtok_r(words, " ", &rest); word && n < ARGUMENTS_MAX - 1;
         word = strtok_r(NULL, " ", &rest))
        argv[n++] = strcmp(word, "~") == 0 ? words + strlen(words) : word;
    char path[128];
    snprintf(path, sizeof path, "%s/out", folder);
    out_fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
    snprintf(path, sizeof path, "%s/err", folder);
    err_fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
    assert_true(out_fd >= 0 && err_fd >= 0);
    child = fork();
    assert_true(child >= 0);
    if (child > 0)
        return;
    dup2(out_fd, STDOUT_FILENO);
    dup2(err_fd, STDERR_FILENO);
    for (int fd = 3; fd < 256; fd++) /* ours, and what the caller of this test left open */
        close(fd);
    execv(program, argv);
    _exit(99);
}

static void read_output(int fd, char *text)
{
    ssize_t len = pread(fd, text, TEXT_SIZE - 1, 0);

    assert_true(len >= 0);
    text[len] = '\0';
    close(fd);
}

/* Waits for its end; fills out and err. Returns its exit code, or 128 and the signal. */
static int finish(void)
{
    int status;

    for (int i = 0; waitpid(child, &status, WNOHANG) == 0; i++) {
        if (i == PATIENCE_MS / 5)
            fail_msg("it does not end");
        usleep(5000);
    }
    child = 0;
    read_output(out_fd, out);
    read_output(err_fd, err);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static int run(const char *line)
{
    start(line);
    return finish();
}

static void expect_text(const char *text, const char *part)
{
    if (!strstr(text, part))
        fail_msg("no '%s' in '%s'", part, text);
}

/* ---- the API ---- */

static int accept_client(int listener)
{
    struct pollfd ready = {.fd = listener, .events = POLLIN};

    if (poll(&ready, 1, PATIENCE_MS) != 1)
        fail_msg("nobody connects");
    return accept(listener, NULL, NULL);
}

/* Reads one request with its body into 'request'. */
static void read_request(int fd)
{
    size_t len = 0, want = 0;

    for (;;) {
        struct pollfd ready = {.fd = fd, .events = POLLIN};
        assert_int_equal(poll(&ready, 1, PATIENCE_MS), 1);
        ssize_t n = recv(fd, request + len, TEXT_SIZE - 1 - len, 0);
        assert_true(n > 0);
        len += (size_t)n;
        request[len] = '\0';
        const char *end = strstr(request, "\r\n\r\n"), *length = strstr(request, "Content-Length: ");
        if (end)
            want = (size_t)(end + 4 - request) + (length ? strtoul(length + 16, NULL, 10) : 0);
        if (end && len >= want)
            return;
    }
}

/* Runs the program once and answers its one request. */
static int ask(const char *line, const char *status, const char *type, const char *body)
{
    char head[256];

    start(line);
    int fd = accept_client(api_fd);
    read_request(fd);
    int n = snprintf(head, sizeof head,
                     "HTTP/1.1 %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\nConnection: close\r\n\r\n",
                     status, type, strlen(body));
    assert_int_equal(send(fd, head, (size_t)n, MSG_NOSIGNAL), n);
    if (*body) /* else it may have gone already */
        assert_int_equal(send(fd, body, strlen(body), MSG_NOSIGNAL), (ssize_t)strlen(body));
    close(fd);
    return finish();
}

static int ask_ok(const char *line, const char *body)
{
    return ask(line, "200 OK", "application/json", body);
}

/* What was asked: the request line, and the body if there is one. */
static void expect_request(const char *line, const char *body)
{
    const char *sent = strstr(request, "\r\n\r\n") + 4;
    size_t len = strlen(line);

    if (strncmp(request, line, len) != 0 || strncmp(request + len, " HTTP/1.1\r\n", 11) != 0)
        fail_msg("expected '%s', got '%.80s'", line, request);
    assert_string_equal(sent, body);
}

/* ---- tables ---- */

static const char networks_json[] =
    "[{\"name\":\"shared\",\"mode\":\"shared\",\"state\":\"up\",\"reason\":null,"
    "\"uplink\":{\"wanted\":\"auto\",\"kind\":\"user\",\"state\":\"up\",\"reason\":null},"
    "\"ipv4\":{\"gateway\":\"192.168.105.1\",\"netmask\":\"255.255.254.0\"},\"mtu\":1500,\"ports\":3,\"pid\":"
    "4711},"
    "{\"name\":\"lab\",\"mode\":\"internal\",\"state\":\"degraded\",\"reason\":\"its process \\u001b[2J "
    "died\","
    "\"uplink\":{\"kind\":\"none\",\"state\":\"up\"},\"ipv4\":null,\"mtu\":9000,\"ports\":0,\"pid\":null}]";

static void networks_are_an_aligned_table(void **state)
{
    (void)state;
    assert_int_equal(ask_ok("networks", networks_json), 0);
    expect_request("GET /v1/networks", "");
    assert_string_equal(out, "NAME    MODE      STATE     UPLINK   SUBNET             MTU  PORTS   PID\n"
                             "shared  shared    up        user up  192.168.105.1/23  1500      3  4711\n"
                             "lab     internal  degraded  none up  -                 9000      0     -\n"
                             "lab: its process ?[2J died\n");
    assert_string_equal(err, "");
}

static void a_list_may_be_a_member(void **state)
{
    (void)state;
    assert_int_equal(ask_ok("networks", "{\"networks\":[{\"name\":\"a\",\"mode\":\"host\"}]}"), 0);
    expect_text(out, "\na     host  -      - -     -         -      -    -\n");
}

static void json_is_passed_through_unchanged(void **state)
{
    (void)state;
    assert_int_equal(ask_ok("--json networks", "{ \"b\":1,\n  \"a\": [ 2.50 ] }"), 0);
    assert_string_equal(out, "{ \"b\":1,\n  \"a\": [ 2.50 ] }\n");
    assert_int_equal(ask_ok("networks --json", "{\"a\":1}\n"), 0);
    assert_string_equal(out, "{\"a\":1}\n");
}

static void ports_show_exact_frames_and_rounded_bytes(void **state)
{
    (void)state;
    assert_int_equal(
        ask_ok(
            "ports shared",
            "[{\"name\":\"vm1\",\"kind\":\"stream\",\"state\":\"up\",\"since\":\"2020-01-01T00:00:00Z\","
            "\"uid\":501,"
            "\"pid\":null,\"addresses\":[\"52:54:00:00:00:01\",\"52:54:00:00:00:02\",\"52:54:00:00:00:03\","
            "\"52:54:00:00:00:04\"],\"frames_in\":1234567,\"bytes_in\":1073741824,\"frames_out\":0,"
            "\"bytes_out\":1023,\"drops\":{\"runt\":2,\"queue_full\":40},\"problem\":\"may not write to its "
            "socket\"},"
            "{\"name\":\"db\",\"kind\":null,\"state\":\"down\",\"drops\":{}}]"),
        0);
    expect_request("GET /v1/networks/shared/ports", "");
    expect_text(out, "NAME  KIND    STATE  ");
    expect_text(out, "  501    -    1234567      1.0G           0       1023     42  "
                     "52:54:00:00:00:01,52:54:00:00:00:02,52:54:00:00:00:03,+1\n");
    expect_text(out, "db    -       down ");
    expect_text(out, "\nvm1: may not write to its socket\n");
    /* 2020 is more than five years ago, and less than fifty. */
    long days = strtol(strstr(out, "stream  up") + 10, NULL, 10);
    assert_in_range(days, 5 * 365, 50 * 365);
}

static void the_forwarding_table_shows_ages(void **state)
{
    (void)state;
    assert_int_equal(
        ask_ok("fdb lab",
               "[{\"mac\":\"52:54:00:00:00:01\",\"port\":\"vm1\",\"age_s\":7,\"static\":false},"
               "{\"mac\":\"52:54:00:00:00:02\",\"port\":\"uplink\",\"age_s\":245,\"static\":false},"
               "{\"mac\":\"52:54:00:00:00:03\",\"port\":\"db\",\"age_s\":0,\"static\":true}]"),
        0);
    expect_request("GET /v1/networks/lab/fdb", "");
    assert_string_equal(out, "MAC                PORT    AGE  TYPE\n"
                             "52:54:00:00:00:01  vm1      7s  learned\n"
                             "52:54:00:00:00:02  uplink   4m  learned\n"
                             "52:54:00:00:00:03  db        -  static\n");
}

static void health_and_interfaces_are_tables(void **state)
{
    (void)state;
    assert_int_equal(
        ask_ok("health", "{\"status\":\"up\",\"networks\":[{\"name\":\"a\",\"state\":\"failed\",\"reason\":"
                         "\"no TAP\",\"uplink\":{\"kind\":\"tap\",\"state\":\"failed\"}}]}"),
        0);
    expect_request("GET /v1/health", "");
    assert_string_equal(out, "NAME  STATE   UPLINK\na     failed  tap failed\na: no TAP\n");
    assert_int_equal(ask_ok("interfaces",
                            "{\"interfaces\":[{\"name\":\"br0\",\"type\":\"bridge\",\"up\":true,"
                            "\"allowed\":false,\"addresses\":[\"10.0.0.1/24\",\"fe80::1/64\"]},"
                            "{\"name\":\"en1\",\"type\":null,\"up\":false,\"allowed\":true}]}"),
                     0);
    expect_request("GET /v1/interfaces", "");
    assert_string_equal(out, "NAME  TYPE    STATE  BRIDGING     ADDRESSES\n"
                             "br0   bridge  up     not allowed  10.0.0.1/24,fe80::1/64\n"
                             "en1   -       down   allowed      -\n");
}

static void version_asks_the_daemon_too(void **state)
{
    (void)state;
    assert_int_equal(ask_ok("version", "{\"version\":\"9.8.7\"}"), 0);
    expect_request("GET /v1", "");
    expect_text(out, "vmswitch ");
    expect_text(out, "\nvmswitchd 9.8.7\n");
    assert_int_equal(run("--version"), 0);
    expect_text(out, "vmswitch ");
}

/* ---- changes ---- */

static void create_sends_what_its_options_say(void **state)
{
    (void)state;
    assert_int_equal(ask("create web --mode shared --uplink=user --mtu 1400 --isolated --gateway 10.1.0.1 "
                         "--netmask 255.255.0.0 "
                         "--dhcp-end 10.1.0.99 --no-dhcp --group staff --socket-mode 0660 --interface br0 "
                         "--offload raw "
                         "--forward tcp:8080:10.1.0.5:80 --forward udp:127.0.0.1:53:10.1.0.6:5353",
                         "201 Created", "application/json",
                         "{\"name\":\"web\",\"sockets\":{\"stream\":\"/run/x/"
                         "web.stream\",\"datagram\":null,\"group\":\"staff\"}}"),
                     0);
    expect_request(
        "POST /v1/networks",
        "{\"name\":\"web\",\"mode\":\"shared\",\"uplink\":\"user\",\"interface\":\"br0\","
        "\"offload\":\"raw\",\"mtu\":1400,"
        "\"ipv4\":{\"gateway\":\"10.1.0.1\",\"netmask\":\"255.255.0.0\",\"dhcp_end\":\"10.1.0.99\","
        "\"dhcp\":false},\"sockets\":{\"group\":\"staff\",\"mode\":\"0660\"},"
        "\"forwards\":[{\"proto\":\"tcp\",\"host\":\"8080\",\"guest\":\"10.1.0.5:80\"},"
        "{\"proto\":\"udp\",\"host\":\"127.0.0.1:53\",\"guest\":\"10.1.0.6:5353\"}],\"isolated\":true}");
    expect_text(request, "\r\nContent-Type: application/json\r\n");
    assert_string_equal(out, "network web created\n  stream    /run/x/web.stream\n");
}

static void create_without_options_sends_a_name(void **state)
{
    (void)state;
    assert_int_equal(ask("create a", "201 Created", "application/json", "{\"name\":\"a\"}"), 0);
    expect_request("POST /v1/networks", "{\"name\":\"a\"}");
}

static void a_json_body_is_the_base_of_create(void **state)
{
    char line[256], path[96];

    (void)state;
    snprintf(path, sizeof path, "%s/body", folder);
    FILE *file = fopen(path, "w");
    fputs("{\"name\": \"x\", \"limits\": {\"fdb_entries\": 100},\n\"ipv4\": {\"gateway\": \"10.0.0.1\"}}",
          file);
    fclose(file);
    snprintf(line, sizeof line, "create a --netmask 255.0.0.0 --json-body %s", path);
    assert_int_equal(ask(line, "201 Created", "application/json", "{\"name\":\"a\"}"), 0);
    expect_request("POST /v1/networks", "{\"name\":\"a\",\"limits\":{\"fdb_entries\":100},"
                                        "\"ipv4\":{\"gateway\":\"10.0.0.1\",\"netmask\":\"255.0.0.0\"}}");
    file = fopen(path, "w");
    fputs("{\n\"a\": 1, \"a\": 2}", file);
    fclose(file);
    assert_int_equal(run(line), 2);
    expect_text(err, "body:2: ");
}

static void ports_are_put_patched_and_deleted(void **state)
{
    static const char answer[] =
        "{\"name\":\"db\",\"sockets\":{\"stream\":\"/r/lab.db.stream\",\"datagram\":\"/r/lab.db.dgram\"}}";

    (void)state;
    assert_int_equal(ask("port add lab db --isolated --link down --offload virtio --static-address "
                         "52:54:00:00:00:01 --static-address "
                         "52:54:00:00:00:02",
                         "201 Created", "application/json", answer),
                     0);
    expect_request("PUT /v1/networks/lab/ports/db",
                   "{\"link\":\"down\",\"offload\":\"virtio\",\"isolated\":true,\"static_addresses\":[\"52:"
                   "54:00:00:00:01\",\"52:54:"
                   "00:00:00:02\"]}");
    assert_string_equal(out, "port db created\n  stream    /r/lab.db.stream\n  datagram  /r/lab.db.dgram\n");
    assert_int_equal(ask_ok("port set lab db --link up --not-isolated", answer), 0);
    expect_request("PATCH /v1/networks/lab/ports/db", "{\"link\":\"up\",\"isolated\":false}");
    expect_text(out, "port db changed\n");
    assert_int_equal(ask("detach lab db", "204 No Content", "text/plain", ""), 0);
    expect_request("DELETE /v1/networks/lab/ports/db", "");
    assert_string_equal(out, "");
}

static void delete_is_silent(void **state)
{
    (void)state;
    assert_int_equal(ask("delete lab", "204 No Content", "text/plain", ""), 0);
    expect_request("DELETE /v1/networks/lab", "");
    assert_string_equal(out, "");
    assert_int_equal(ask("delete lab --json", "204 No Content", "text/plain", ""), 0);
    assert_string_equal(out, "");
}

static void flush_says_how_many(void **state)
{
    (void)state;
    assert_int_equal(ask_ok("fdb lab --flush", "{\"flushed\":12}"), 0);
    expect_request("DELETE /v1/networks/lab/fdb", "");
    assert_string_equal(out, "12 addresses forgotten\n");
}

static void a_name_is_one_part_of_a_path(void **state)
{
    (void)state;
    assert_int_equal(
        ask("delete ../x/y?z", "400 Bad Request", "application/problem+json", "{\"detail\":\"no\"}"), 1);
    expect_request("DELETE /v1/networks/..%2Fx%2Fy%3Fz", "");
    assert_int_equal(ask("delete ..", "400 Bad Request", "application/problem+json", "{\"detail\":\"no\"}"),
                     1);
    expect_request("DELETE /v1/networks/..", "");
}

/* ---- what goes wrong ---- */

static const char conflict[] = "{\"type\":\"about:blank\",\"title\":\"Conflict\",\"status\":409,"
                               "\"detail\":\"There is a network \\\"a\\\"\\u0007.\",\"field\":\"/name\","
                               "\"next_step\":\"Use another name.\"}";

static void a_problem_is_said_with_its_field_and_next_step(void **state)
{
    (void)state;
    assert_int_equal(ask("create a", "409 Conflict", "application/problem+json", conflict), 1);
    assert_string_equal(
        err, "vmswitch: There is a network \"a\"?.\n  field: /name\n  next step: Use another name.\n");
    assert_string_equal(out, "");
    assert_int_equal(
        ask("create a", "500 Internal Server Error", "application/problem+json", "{\"title\":\"Oops\"}"), 1);
    assert_string_equal(err, "vmswitch: Oops\n");
}

static void with_json_a_problem_is_json_on_stderr(void **state)
{
    (void)state;
    assert_int_equal(ask("create a --json", "409 Conflict", "application/problem+json", conflict), 1);
    assert_string_equal(out, "");
    assert_int_equal(strncmp(err, conflict, strlen(conflict)), 0);
}

static void an_answer_that_is_no_json_is_named(void **state)
{
    (void)state;
    assert_int_equal(ask("networks", "200 OK", "text/html", "<html>"), 3);
    expect_text(err, "no JSON");
    assert_int_equal(ask("networks", "502 Bad Gateway", "text/html", "<html>"), 1);
    expect_text(err, "status 502");
}

static void a_daemon_that_is_not_there_is_3(void **state)
{
    (void)state;
    close(api_fd);
    close(attach_fd);
    assert_int_equal(run("networks"), 3);
    expect_text(err, api_path);
    expect_text(err, "Connection refused");
    expect_text(err, "next step: ");
    assert_int_equal(run("run lab -- true"), 3);
    expect_text(err, attach_path);
    unlink(api_path);
    assert_int_equal(run("networks"), 3);
    expect_text(err, "No such file or directory");
    api_fd = listen_at(api_path);
    unlink(attach_path);
    attach_fd = listen_at(attach_path);
}

static void a_daemon_that_hangs_up_is_3(void **state)
{
    (void)state;
    start("networks");
    int fd = accept_client(api_fd);
    read_request(fd);
    close(fd);
    assert_int_equal(finish(), 3);
    expect_text(err, "no answer from vmswitchd");
    start("networks");
    close(accept_client(api_fd));
    assert_int_equal(finish(), 3);
}

static void wrong_usage_is_2_and_asks_nobody(void **state)
{
    static const char *const lines[] = {
        "nonsense",
        "--nonsense",
        "networks extra",
        "networks --mtu 1",
        "create",
        "create a b",
        "create a --mtu",
        "create a --mtu 15x",
        "create a --mtu ~",
        "create a --isolated=yes",
        "create a --forward tcp:80",
        "create a --forward tcp:80:1",
        "create a --forward tcp",
        "create a --json-body /nonexistent",
        "port",
        "port remove a b",
        "port add a",
        "port set a b",
        "networks -- x",
        "networks -x",
        "run a",
        "run a --",
        "run a --kind tcp -- true",
        "run a --fd -1 -- true",
        "run a --fd x -- true",
        "run a --fd 99999999 -- true",
        "--socket ~ networks",
        "--socket",
    };

    (void)state;
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        struct pollfd ready[2] = {{.fd = api_fd, .events = POLLIN}, {.fd = attach_fd, .events = POLLIN}};
        int code = run(lines[i]);
        if (code != 2 || strncmp(err, "vmswitch: ", 10) != 0 || *out)
            fail_msg("'%s' ended with %d, said '%s'", lines[i], code, err);
        assert_int_equal(poll(ready, 2, 0), 0);
    }
}

static const char *const commands[] = {"networks",   "create", "delete",   "ports",  "port add",
                                       "port set",   "reload", "detach",   "fdb",    "health",
                                       "interfaces", "run",    "complete", "version"};
enum { N_COMMANDS = sizeof commands / sizeof commands[0] };

static void every_command_has_help(void **state)
{
    char line[64];

    (void)state;
    assert_int_equal(run("--help"), 0);
    for (size_t i = 0; i < N_COMMANDS; i++) {
        snprintf(line, sizeof line, "\n  %s ", commands[i]);
        expect_text(out, line);
    }
    for (size_t i = 0; i < N_COMMANDS; i++) {
        snprintf(line, sizeof line, "%s --help", commands[i]);
        assert_int_equal(run(line), 0);
        snprintf(line, sizeof line, "usage: vmswitch %s", commands[i]);
        expect_text(out, line);
        expect_text(out, "\n  --json ");
    }
}

static size_t count_lines(const char *text, const char *start)
{
    size_t n = 0;

    for (const char *at = text; (at = strstr(at, start)); at++)
        n += at == text || at[-1] == '\n';
    return n;
}

/* Both ways: what --help says is in the page, and the page has no more. */
static void the_manual_page_has_the_commands_and_options_of_help(void **state)
{
    static char page[4 * TEXT_SIZE];
    char line[128];
    size_t n_options = 4; /* those of every command */

    (void)state;
    FILE *file = fopen(manual, "r");
    assert_non_null(file);
    page[fread(page, 1, sizeof page - 1, file)] = '\0';
    fclose(file);
    assert_int_equal(run("--help"), 0);
    assert_int_equal(count_lines(out, "  ") - 4, N_COMMANDS);
    for (size_t i = 0; i < N_COMMANDS; i++) {
        snprintf(line, sizeof line, ".It Cm %s%s", commands[i], strcmp(commands[i], "ports") == 0 ? " " : "");
        assert_int_equal(count_lines(page, line), 1);
        snprintf(line, sizeof line, "%s --help", commands[i]);
        assert_int_equal(run(line), 0);
        n_options += count_lines(out, "  --") - 4;
        for (const char *at = out; (at = strstr(at, "\n  --")); at++) {
            snprintf(line, sizeof line, ".It Fl -%.*s", (int)strcspn(at + 5, " "), at + 5);
            if (count_lines(page, line) == 0)
                fail_msg("the page has no '%s'", line);
        }
    }
    assert_int_equal(count_lines(page, ".It Fl -"), n_options);
}

static void expect_complete(const char *words, const char *answer)
{
    char line[256];

    snprintf(line, sizeof line, "complete -- %s", words);
    assert_int_equal(run(line), 0);
    assert_string_equal(out, answer);
    assert_string_equal(err, "");
}

static void what_can_come_next_is_commands_options_and_values(void **state)
{
    (void)state;
    expect_complete("ne", "networks\tlist the networks\n");
    expect_complete("po", "ports\tlist the ports of a network\nport\tnamed ports\n");
    expect_complete("port ~", "add\tmake a named port, or set it anew\nset\tchange a port\n");
    expect_complete("fdb lab --f", "--flush\tforget what was learned instead of printing it\n");
    expect_complete("fdb lab --js", "--json\tprint the API's JSON unchanged; a problem goes to stderr\n");
    expect_complete("create x --mode s", "shared\t\n");
    expect_complete("create x --mode=s", "--mode=shared\t\n");
    expect_complete("create x --mode = s", "shared\t\n");
    expect_complete("create x --mode =", "shared\t\nhost\t\nbridged\t\ninternal\t\n");
    expect_complete("create x --json-body ~", ":files\n");
    expect_complete("create ~", "");
    expect_complete("create x --no-dhcp --offload v", "virtio\t\n");
    expect_complete("run lab ~", "--\tthe command follows\n");
    expect_complete("run lab -- ls -", ":command\n");
    expect_complete("nonsense ~", "");
    expect_complete("port add a b c d e ~", "");
    expect_complete("create x --nonsense", "");
}

static void what_can_come_next_knows_the_daemons_names(void **state)
{
    (void)state;
    assert_int_equal(ask_ok("complete -- ports s", "{\"networks\":[{\"name\":\"shared\",\"mode\":\"shared\"},"
                                                   "{\"name\":\"lab\",\"mode\":\"internal\"},{},7]}"),
                     0);
    expect_request("GET /v1/networks", "");
    assert_string_equal(out, "shared\tshared\n");
    assert_int_equal(
        ask_ok("complete -- detach --json lab ~", "{\"ports\":[{\"name\":\"db\",\"state\":\"up\"}]}"), 0);
    expect_request("GET /v1/networks/lab/ports", "");
    assert_string_equal(out, "db\tup\n");
    assert_int_equal(
        ask_ok("complete -- run lab --port=d", "{\"ports\":[{\"name\":\"db\",\"state\":\"up\"}]}"), 0);
    expect_request("GET /v1/networks/lab/ports", "");
    assert_string_equal(out, "--port=db\tup\n");
    assert_int_equal(ask_ok("complete -- reload --restart-network ~", "{\"networks\":[{\"name\":\"lab\"}]}"),
                     0);
    expect_request("GET /v1/networks", "");
    assert_string_equal(out, "lab\t\n");
    assert_int_equal(ask_ok("complete -- create x --interface ~", "{\"interfaces\":[{\"name\":\"en0\"}]}"),
                     0);
    expect_request("GET /v1/interfaces", "");
    assert_string_equal(out, "en0\t\n");
    expect_complete("ports --socket /nonexistent/api.sock ~", ""); /* and no complaint */
}

static void an_option_names_the_socket_over_the_environment(void **state)
{
    char line[160];

    (void)state;
    setenv("VMSWITCH_SOCKET", "/nonexistent/api.sock", 1);
    snprintf(line, sizeof line, "--socket %s health", api_path);
    assert_int_equal(ask_ok(line, "[]"), 0);
    assert_int_equal(run("health"), 3);
    expect_text(err, "/nonexistent/api.sock");
}

static void the_own_folder_is_the_default_socket(void **state)
{
    char own[96], path[128];

    (void)state;
    if (geteuid() == 0)
        skip(); /* root's is the system's */
    unsetenv("VMSWITCH_SOCKET");
    setenv("XDG_RUNTIME_DIR", folder, 1);
    snprintf(own, sizeof own, "%s/vmswitch", folder);
    assert_int_equal(mkdir(own, 0700), 0);
    snprintf(path, sizeof path, "%s/api.sock", own);
    close(api_fd);
    api_fd = listen_at(path);
    assert_int_equal(ask_ok("health", "[]"), 0);
}

/* ---- run ---- */

struct attached {
    int lease, data;
    char line[512];
};

/* Takes what "run" sends: the line, and exactly one descriptor. */
static struct attached accept_attach(void)
{
    struct attached attached = {.data = -1};
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(4 * sizeof(int))];
    } control;
    struct iovec iov = {attached.line, sizeof attached.line - 1};
    struct msghdr message = {.msg_iov = &iov,
                             .msg_iovlen = 1,
                             .msg_control = control.space,
                             .msg_controllen = sizeof control.space};

    attached.lease = accept_client(attach_fd);
    assert_true(recvmsg(attached.lease, &message, 0) > 0);
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    assert_non_null(header);
    assert_int_equal(header->cmsg_type, SCM_RIGHTS);
    assert_int_equal(header->cmsg_len, CMSG_LEN(sizeof(int)));
    assert_null(CMSG_NXTHDR(&message, header));
    memcpy(&attached.data, CMSG_DATA(header), sizeof(int));
    return attached;
}

static void answer(const struct attached *attached, const char *line)
{
    assert_int_equal(send(attached->lease, line, strlen(line), MSG_NOSIGNAL), (ssize_t)strlen(line));
}

static void forget(struct attached *attached)
{
    close(attached->lease);
    close(attached->data);
}

static void expect_readable(int fd, const char *text)
{
    struct pollfd ready = {.fd = fd, .events = POLLIN};
    char got[64] = "";

    assert_int_equal(poll(&ready, 1, PATIENCE_MS), 1);
    ssize_t n = recv(fd, got, sizeof got - 1, 0);
    assert_int_equal(n, (ssize_t)strlen(text));
    assert_string_equal(got, text);
}

static const char plugged[] = "{\"network\":\"lab\",\"port\":\"vm-1\"}\n";

static int type_of(int fd)
{
    int type = 0;
    socklen_t size = sizeof type;

    assert_int_equal(getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size), 0);
    return type;
}

static void a_command_gets_a_stream_on_3(void **state)
{
    (void)state;
    start("run lab -- sh -c printf${IFS}hello>&3");
    struct attached attached = accept_attach();
    assert_string_equal(attached.line, "{\"network\":\"lab\",\"kind\":\"stream\",\"persist\":false}\n");
    assert_int_equal(type_of(attached.data), SOCK_STREAM);
    answer(&attached, plugged);
    expect_readable(attached.data, "hello");
    expect_readable(attached.data, ""); /* the command was the last to have the other end */
    expect_readable(attached.lease, "");
    assert_int_equal(finish(), 0);
    assert_string_equal(out, "");
    assert_string_equal(err, "");
    forget(&attached);
}

static void a_command_gets_datagrams_on_4(void **state)
{
    (void)state;
    start("run lab --kind datagram --port db --persist --offload raw -- sh -c printf${IFS}hello>&4");
    struct attached attached = accept_attach();
    assert_string_equal(attached.line,
                        "{\"network\":\"lab\",\"kind\":\"datagram\",\"persist\":true,\"port\":\"db\","
                        "\"offload\":\"raw\"}\n");
    assert_int_equal(type_of(attached.data), SOCK_DGRAM);
    answer(&attached, plugged);
    expect_readable(attached.data, "hello");
    assert_int_equal(finish(), 0);
    forget(&attached);
}

static void any_number_can_be_asked_for(void **state)
{
    static const char *const numbers[] = {"0", "1", "5", "10", "11", "200"};
    char line[128];

    (void)state;
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        /* bash for two digits and more: a plain sh need not know them. */
        snprintf(line, sizeof line, "run lab --fd %s -- %s -c printf${IFS}hello>&%s", numbers[i],
                 strlen(numbers[i]) == 1 ? "sh" : "bash", numbers[i]);
        start(line);
        struct attached attached = accept_attach();
        answer(&attached, plugged);
        expect_readable(attached.data, "hello");
        expect_readable(attached.lease, "");
        assert_int_equal(finish(), 0);
        forget(&attached);
    }
}

/* Its descriptors are 0, 1, 2, the link, the lease, and the one ls reads them with. */
static void a_command_inherits_the_link_and_the_lease_alone(void **state)
{
    (void)state;
    start("run lab -- ls /dev/fd/");
    struct attached attached = accept_attach();
    answer(&attached, plugged);
    assert_int_equal(finish(), 0);
    assert_string_equal(out, "0\n1\n10\n2\n3\n4\n");
    forget(&attached);
}

static void killing_the_command_ends_the_lease(void **state)
{
    (void)state;
    start("run lab -- sleep 100");
    struct attached attached = accept_attach();
    answer(&attached, plugged);
    struct pollfd ready = {.fd = attached.lease, .events = POLLIN};
    assert_int_equal(poll(&ready, 1, 200), 0); /* held as long as it lives */
    kill(child, SIGKILL);
    expect_readable(attached.lease, "");
    assert_int_equal(finish(), 128 + SIGKILL);
    forget(&attached);
}

static void the_exit_code_is_the_commands(void **state)
{
    (void)state;
    start("run lab -- sh -c exit${IFS}42");
    struct attached attached = accept_attach();
    answer(&attached, plugged);
    assert_int_equal(finish(), 42);
    forget(&attached);
}

static void a_command_that_is_not_there_is_127(void **state)
{
    (void)state;
    start("run lab -- /nonexistent/command");
    struct attached attached = accept_attach();
    answer(&attached, plugged);
    assert_int_equal(finish(), 127);
    expect_text(err, "cannot run /nonexistent/command");
    expect_readable(attached.lease, "");
    forget(&attached);
    start("run lab -- /etc/passwd");
    attached = accept_attach();
    answer(&attached, plugged);
    assert_int_equal(finish(), 126);
    forget(&attached);
}

static void a_refusal_runs_nothing(void **state)
{
    (void)state;
    start("run lab -- echo ran");
    struct attached attached = accept_attach();
    answer(&attached, "{\"status\":403,\"title\":\"Forbidden\",\"detail\":\"uid 7 may not attach.\","
                      "\"next_step\":\"Ask.\"}\n");
    assert_int_equal(finish(), 1);
    assert_string_equal(out, "");
    assert_string_equal(err, "vmswitch: uid 7 may not attach.\n  next step: Ask.\n");
    forget(&attached);
}

static void an_answer_in_pieces_is_one_answer(void **state)
{
    (void)state;
    start("run lab -- echo ran");
    struct attached attached = accept_attach();
    for (const char *byte = plugged; *byte; byte++) {
        char piece[2] = {*byte, '\0'};
        answer(&attached, piece);
        usleep(1000);
    }
    assert_int_equal(finish(), 0);
    assert_string_equal(out, "ran\n");
    forget(&attached);
}

static void no_answer_or_nonsense_is_3(void **state)
{
    char long_line[6000];

    (void)state;
    start("run lab -- echo ran");
    struct attached attached = accept_attach();
    forget(&attached);
    assert_int_equal(finish(), 3);
    expect_text(err, "it closed the connection");
    start("run lab -- echo ran");
    attached = accept_attach();
    answer(&attached, "[]\n");
    assert_int_equal(finish(), 3);
    forget(&attached);
    start("run lab -- echo ran");
    attached = accept_attach();
    memset(long_line, 'x', sizeof long_line);
    send(attached.lease, long_line, sizeof long_line, MSG_NOSIGNAL);
    assert_int_equal(finish(), 3);
    assert_string_equal(out, "");
    forget(&attached);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, enter, leave)

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        TEST(networks_are_an_aligned_table),
        TEST(a_list_may_be_a_member),
        TEST(json_is_passed_through_unchanged),
        TEST(ports_show_exact_frames_and_rounded_bytes),
        TEST(the_forwarding_table_shows_ages),
        TEST(health_and_interfaces_are_tables),
        TEST(version_asks_the_daemon_too),
        TEST(create_sends_what_its_options_say),
        TEST(create_without_options_sends_a_name),
        TEST(a_json_body_is_the_base_of_create),
        TEST(ports_are_put_patched_and_deleted),
        TEST(delete_is_silent),
        TEST(flush_says_how_many),
        TEST(a_name_is_one_part_of_a_path),
        TEST(a_problem_is_said_with_its_field_and_next_step),
        TEST(with_json_a_problem_is_json_on_stderr),
        TEST(an_answer_that_is_no_json_is_named),
        TEST(a_daemon_that_is_not_there_is_3),
        TEST(a_daemon_that_hangs_up_is_3),
        TEST(wrong_usage_is_2_and_asks_nobody),
        TEST(every_command_has_help),
        TEST(the_manual_page_has_the_commands_and_options_of_help),
        TEST(what_can_come_next_is_commands_options_and_values),
        TEST(what_can_come_next_knows_the_daemons_names),
        TEST(an_option_names_the_socket_over_the_environment),
        TEST(the_own_folder_is_the_default_socket),
        TEST(a_command_gets_a_stream_on_3),
        TEST(a_command_gets_datagrams_on_4),
        TEST(any_number_can_be_asked_for),
        TEST(a_command_inherits_the_link_and_the_lease_alone),
        TEST(killing_the_command_ends_the_lease),
        TEST(the_exit_code_is_the_commands),
        TEST(a_command_that_is_not_there_is_127),
        TEST(a_refusal_runs_nothing),
        TEST(an_answer_in_pieces_is_one_answer),
        TEST(no_answer_or_nonsense_is_3),
    };

    if (argc != 3) {
        fprintf(stderr, "usage: %s VMSWITCH VMSWITCH.1\n", argv[0]);
        return 2;
    }
    program = argv[1];
    manual = argv[2];
    return cmocka_run_group_tests(tests, NULL, NULL);
}
