/* tests/lib/churn.c - clients that come and go in every rude way there is
 *
 * churn --how killed|closed|mixed --times N [--seed N] [--reads] STREAM_PATH|DATAGRAM_PATH.dgram
 *
 * "killed": a child connects, sends frames, and dies by SIGKILL after a random number of bytes, most often in
 * the middle of a frame. "closed": the same by close(). "mixed": either, and some that never say a word.
 * Every client has a source address of its own, so that the switch's table can be looked at for what was
 * left behind. Prints one JSON object. Exit 1: a client could not connect within 5 s.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/lib/traffic.h"

enum { FRAMES = 8, FRAME = 700, CONNECT_TRIES = 500 };

struct client {
    const char *path,
        *local; /* where it binds, if it is a datagram client: a VM that comes back to its place */
    bool is_stream, is_killed, reads;
    unsigned index;
    size_t bytes; /* it sends before it goes */
};

static void nap_ms(long ms)
{
    nanosleep(&(struct timespec){.tv_nsec = ms * 1000000}, NULL);
}

static int connect_to(const struct client *client)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX}, local = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, client->is_stream ? SOCK_STREAM : SOCK_DGRAM, 0);

    snprintf(address.sun_path, sizeof(address.sun_path), "%s", client->path);
    if (fd >= 0 && !client->is_stream) {
        snprintf(local.sun_path, sizeof(local.sun_path), "%s", client->local);
        unlink(local.sun_path);
        if (bind(fd, (struct sockaddr *)&local, sizeof(local)) < 0)
            return -1;
    }
    for (int i = 0; fd >= 0 && i < CONNECT_TRIES; i++) {
        if (connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0)
            return fd;
        nap_ms(10);
    }
    return -1;
}

/* The bytes of FRAMES frames as they go over a stream. */
static size_t make_stream(uint8_t *out, unsigned index)
{
    static const uint8_t everybody[6] = {255, 255, 255, 255, 255, 255};
    uint8_t mac[6];
    size_t at = 0;

    traffic_mac(mac, 0x80 + (index >> 16), index & 0xffff);
    for (unsigned i = 0; i < FRAMES; i++) {
        const struct traffic_info info = {.run = 0x6b696c6c, .number = i};
        uint32_t len = htonl(FRAME);

        memcpy(out + at, &len, 4);
        traffic_build(out + at + 4, FRAME, everybody, mac, &info);
        at += 4 + FRAME;
    }
    return at;
}

static void send_bytes(const struct client *client, int fd, const uint8_t *stream)
{
    if (client->is_stream) {
        if (client->bytes)
            send(fd, stream, client->bytes, MSG_NOSIGNAL);
        return;
    }
    for (size_t at = 0; at < client->bytes; at += 4 + FRAME)
        send(fd, stream + at + 4, FRAME, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static bool live_and_go(const struct client *client)
{
    static uint8_t stream[FRAMES * (4 + FRAME)];
    uint8_t scrap[4096];
    int fd = connect_to(client);

    if (fd < 0)
        return false;
    make_stream(stream, client->index);
    send_bytes(client, fd, stream);
    if (client->reads)
        recv(fd, scrap, sizeof(scrap), MSG_DONTWAIT);
    if (client->is_killed)
        raise(SIGKILL);
    close(fd);
    return true;
}

static bool run_client(const struct client *client)
{
    int status;
    pid_t pid;

    if (!client->is_killed)
        return live_and_go(client);
    pid = fork();
    if (pid == 0)
        _exit(live_and_go(client) ? 0 : 1);
    if (pid < 0 || waitpid(pid, &status, 0) != pid)
        return false;
    return WIFSIGNALED(status);
}

struct plan {
    const char *how;
    unsigned times, seed;
};

/* False: wrong usage. */
static bool read_options(int argc, char **argv, struct plan *plan, struct client *client)
{
    static const struct option options[] = {{"how", required_argument, NULL, 'h'},
                                            {"times", required_argument, NULL, 't'},
                                            {"seed", required_argument, NULL, 's'},
                                            {"reads", no_argument, NULL, 'r'},
                                            {NULL, 0, NULL, 0}};
    int c;

    while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (c == 'h')
            plan->how = optarg;
        else if (c == 't')
            plan->times = (unsigned)strtoul(optarg, NULL, 10);
        else if (c == 's')
            plan->seed = (unsigned)strtoul(optarg, NULL, 10);
        else if (c == 'r')
            client->reads = true;
        else
            return false;
    }
    if (optind >= argc)
        return false;
    client->path = argv[optind];
    client->is_stream = !strstr(client->path, ".dgram");
    return true;
}

int main(int argc, char **argv)
{
    struct client client = {.is_killed = true};
    struct plan plan = {.how = "killed", .times = 100, .seed = 1};
    char local[64];

    snprintf(local, sizeof(local), "/tmp/churn-%d.client", (int)getpid());
    client.local = local;
    if (!read_options(argc, argv, &plan, &client))
        return 1;
    bool is_mixed = strcmp(plan.how, "mixed") == 0;
    umask(0); /* the switch may run as another user and must be able to answer our datagram sockets */
    srandom(plan.seed);
    for (unsigned i = 0; i < plan.times; i++) {
        client.index = i;
        client.is_killed = strcmp(plan.how, "killed") == 0 || (is_mixed && random() % 2);
        client.bytes = (size_t)random() % (FRAMES * (4 + FRAME) + 1);
        if (is_mixed && random() % 8 == 0)
            client.bytes = 0;
        if (!run_client(&client)) {
            fprintf(stderr, "churn: client %u of %u: %s\n", i, plan.times, strerror(errno));
            return 1;
        }
    }
    unlink(local);
    printf("{\"clients\":%u,\"seed\":%u}\n", plan.times, plan.seed);
    return 0;
}
