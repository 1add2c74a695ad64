/* tests/lib/pretend_vm.c - many pretend VMs, numbered traffic between them, and a report
 *
 * pretend_vm --dir DIR [--run N] [--mac-base N] [--seconds S] [--quiet-ms MS]
 *            --vm
 * NAME,stream=PATH|datagram=PATH|fd=N[,kind=stream|datagram][,greets][,unconnected][,bytewise][,stall]
 *                     [,read-limit=BYTES][,rcvbuf=N][,sndbuf=N]  ...
 *            --flow FROM,TO|*,rate=FRAMES_A_SECOND,size=BYTES[,count=N]  ...
 *
 * 1 Every VM connects and greets until every VM that reads has heard all others; then "READY" goes to stderr.
 * 2 The flows run for S seconds (0: until "finish" or the end of standard input). Meanwhile standard input
 * takes "stall NAME", "resume NAME", "close NAME", "finish". 3 After the last frame was sent, it reads until
 * nothing came for --quiet-ms, and prints one JSON object. Whatever the traffic showed, the exit code is 0:
 * the reader of the report judges. 1: it could not run.
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/lib/endpoint.h"
#include "tests/lib/traffic.h"

enum {
    VMS_MAX = 300,
    FLOWS_MAX = 600,
    BURST_MAX = 128, /* frames of one flow in one turn */
    HELLO_EVERY_MS = 100,
    HELLO_TIMEOUT_MS = 20000,
    FORGIVE_MS = 50,      /* a sender this far behind its rate starts afresh */
    LATENCY_BUCKETS = 32, /* powers of two of a microsecond */
};

struct vm {
    struct endpoint end;
    char name[40];
    uint8_t mac[6];
    bool was_stalled; /* ever: nothing is expected of it */
    bool has_left;    /* by "close": the switch has not thrown it out */
    bool heard[VMS_MAX];
    unsigned n_heard;
    uint64_t received, hellos, foreign, corrupt, alien, runts;
    uint64_t closed_ms; /* when the switch closed it, since the start; 0: it did not */
    uint64_t resumed_ns, fresh_us, backlog;
};

struct flow {
    unsigned from, to; /* to == VMS_MAX: everybody */
    double rate;
    size_t size;
    uint64_t count; /* 0: no limit */
    double issued;
    uint64_t sent, waits;
    uint64_t received[VMS_MAX], next[VMS_MAX], reordered;
    uint64_t latency[LATENCY_BUCKETS], latency_max_us;
};

static struct vm *vms;
static struct flow *flows;
static unsigned n_vms, n_flows;
static uint32_t run_id = 1;
static unsigned mac_base;
static const char *local_dir = "/tmp";
static double seconds = 1;
static uint64_t quiet_ms = 300;
static uint64_t started_ns, last_frame_ns;
static bool greeting = true, finished;
static const uint8_t everybody[6] = {255, 255, 255, 255, 255, 255};

static void die(const char *what, const char *why)
{
    fprintf(stderr, "pretend_vm: %s: %s\n", what, why);
    exit(1);
}

static uint64_t ms_since(uint64_t then_ns)
{
    return (traffic_now_ns() - then_ns) / 1000000;
}

static unsigned find_vm(const char *name)
{
    for (unsigned i = 0; i < n_vms; i++)
        if (strcmp(vms[i].name, name) == 0)
            return i;
    die(name, "no such VM");
    return 0;
}

/* ---- what came in ---- */

static void note_latency(struct flow *flow, uint64_t us)
{
    unsigned bucket = 0;

    while (bucket + 1 < LATENCY_BUCKETS && us >> bucket)
        bucket++;
    flow->latency[bucket]++;
    if (us > flow->latency_max_us)
        flow->latency_max_us = us;
}

static void on_hello(struct vm *vm, const struct traffic_info *info)
{
    vm->hellos++;
    if (info->from < n_vms && !vm->heard[info->from]) {
        vm->heard[info->from] = true;
        vm->n_heard++;
    }
}

static void note_fresh(struct vm *vm, const struct traffic_info *info)
{
    if (!vm->resumed_ns || vm->fresh_us)
        return;
    if (info->sent_ns < vm->resumed_ns)
        vm->backlog++;
    else
        vm->fresh_us = (traffic_now_ns() - vm->resumed_ns) / 1000 + 1;
}

static void on_numbered(struct vm *vm, unsigned index, const uint8_t *frame, const struct traffic_info *info)
{
    struct flow *flow;

    if (info->flow >= n_flows || (memcmp(frame, vm->mac, 6) != 0 && memcmp(frame, everybody, 6) != 0)) {
        vm->foreign++;
        return;
    }
    flow = &flows[info->flow];
    if (flow->to != index && flow->to != VMS_MAX) {
        vm->foreign++;
        return;
    }
    note_fresh(vm, info);
    flow->received[index]++;
    if (info->number < flow->next[index])
        flow->reordered++;
    else
        flow->next[index] = info->number + 1;
    note_latency(flow, (traffic_now_ns() - info->sent_ns) / 1000);
}

static void on_frame(void *ctx, const uint8_t *frame, size_t len)
{
    struct vm *vm = ctx;
    struct traffic_info info;

    vm->received++;
    last_frame_ns = traffic_now_ns();
    if (len < 14)
        vm->runts++;
    switch (traffic_check(frame, len, run_id, &info)) {
    case TRAFFIC_ALIEN:
        vm->alien++;
        return;
    case TRAFFIC_CORRUPT:
        vm->corrupt++;
        return;
    case TRAFFIC_GOOD:
        break;
    }
    if (info.flow == TRAFFIC_FLOW_HELLO)
        on_hello(vm, &info);
    else
        on_numbered(vm, (unsigned)(vm - vms), frame, &info);
}

/* ---- what goes out ---- */

static bool send_one(struct flow *flow)
{
    static uint8_t frame[TRAFFIC_FRAME_MAX];
    struct vm *from = &vms[flow->from];
    const struct traffic_info info = {.run = run_id,
                                      .flow = (uint16_t)(flow - flows),
                                      .from = (uint16_t)flow->from,
                                      .number = flow->sent,
                                      .sent_ns = traffic_now_ns()};

    if (from->end.fd < 0 || from->end.out_at < from->end.out_len)
        return false;
    traffic_build(frame, flow->size, flow->to == VMS_MAX ? everybody : vms[flow->to].mac, from->mac, &info);
    if (!endpoint_send(&from->end, frame, flow->size))
        return false;
    flow->sent++;
    return true;
}

static void run_flow(struct flow *flow, double elapsed_s)
{
    double due = flow->rate * elapsed_s;

    for (int i = 0; i < BURST_MAX && flow->issued + 1 <= due; i++) {
        if (flow->count && flow->sent >= flow->count)
            return;
        if (!send_one(flow)) {
            flow->waits++;
            break;
        }
        flow->issued++;
    }
    if (due - flow->issued > flow->rate * (double)FORGIVE_MS / 1000 + 1)
        flow->issued = due;
}

static void hello_round(void)
{
    uint8_t frame[64];

    for (unsigned i = 0; i < n_vms; i++) {
        const struct traffic_info info = {
            .run = run_id, .flow = TRAFFIC_FLOW_HELLO, .from = (uint16_t)i, .sent_ns = traffic_now_ns()};

        traffic_build(frame, sizeof(frame), everybody, vms[i].mac, &info);
        endpoint_send(&vms[i].end, frame, sizeof(frame));
    }
}

/* ---- the loop ---- */

static void command(char *line)
{
    char *verb = strtok(line, " \n"), *name = strtok(NULL, " \n");
    struct vm *vm = name ? &vms[find_vm(name)] : NULL;

    if (verb && strcmp(verb, "finish") == 0) {
        finished = true;
    } else if (!verb || !vm) {
        die("standard input", "want stall|resume|close NAME, or finish");
    } else if (strcmp(verb, "stall") == 0) {
        vm->end.options.stall = vm->was_stalled = true;
    } else if (strcmp(verb, "resume") == 0) {
        vm->end.options.stall = false;
        vm->resumed_ns = traffic_now_ns();
    } else if (strcmp(verb, "close") == 0) {
        vm->was_stalled = vm->has_left = true;
        endpoint_close(&vm->end);
    }
}

static void read_commands(void)
{
    static char text[4096];
    static size_t len;
    ssize_t n = read(STDIN_FILENO, text + len, sizeof(text) - 1 - len);
    char *end;

    if (n <= 0) {
        finished = true;
        return;
    }
    len += (size_t)n;
    text[len] = '\0';
    while ((end = strchr(text, '\n'))) {
        *end = '\0';
        command(text);
        len -= (size_t)(end + 1 - text);
        memmove(text, end + 1, len + 1);
    }
}

/* One turn: waits up to 1 ms for something to read or room to write, and does it. */
static void turn(bool takes_commands)
{
    static struct pollfd polls[VMS_MAX + 1];

    for (unsigned i = 0; i < n_vms; i++) {
        const struct endpoint *end = &vms[i].end;
        short events =
            (short)((endpoint_wants_read(end) ? POLLIN : 0) | (endpoint_wants_write(end) ? POLLOUT : 0));

        polls[i] = (struct pollfd){.fd = events ? end->fd : -1, .events = events};
    }
    polls[n_vms] = (struct pollfd){.fd = takes_commands ? STDIN_FILENO : -1, .events = POLLIN};
    poll(polls, n_vms + 1, 1);
    for (unsigned i = 0; i < n_vms; i++) {
        endpoint_flush(&vms[i].end);
        if (polls[i].revents)
            endpoint_read(&vms[i].end, on_frame, &vms[i]);
        if (vms[i].end.fd < 0 && !vms[i].has_left && !vms[i].closed_ms)
            vms[i].closed_ms = ms_since(started_ns) + 1;
    }
    if (polls[n_vms].revents)
        read_commands();
}

static bool all_greeted(void)
{
    for (unsigned i = 0; i < n_vms; i++)
        if (endpoint_wants_read(&vms[i].end) && !vms[i].end.options.read_limit && vms[i].n_heard < n_vms - 1)
            return false;
    return true;
}

static void greet(void)
{
    uint64_t begun = traffic_now_ns(), last = 0;

    while (!all_greeted()) {
        if (ms_since(begun) > HELLO_TIMEOUT_MS)
            die("greeting", "not every VM has heard all others within 20 s");
        if (!last || ms_since(last) >= HELLO_EVERY_MS) {
            hello_round();
            last = traffic_now_ns();
        }
        turn(false);
    }
    greeting = false;
    fprintf(stderr, "READY\n");
}

static void run(void)
{
    started_ns = traffic_now_ns();
    while (!finished && !(seconds > 0 && (double)ms_since(started_ns) >= seconds * 1000)) {
        double elapsed_s = (double)(traffic_now_ns() - started_ns) / 1e9;

        for (unsigned i = 0; i < n_flows; i++)
            run_flow(&flows[i], elapsed_s);
        turn(true);
    }
    last_frame_ns = traffic_now_ns();
    while (ms_since(last_frame_ns) < quiet_ms)
        turn(false);
}

/* ---- the report ---- */

static uint64_t percentile_us(const struct flow *flow, double share)
{
    uint64_t total = 0, below = 0;

    for (int i = 0; i < LATENCY_BUCKETS; i++)
        total += flow->latency[i];
    for (int i = 0; i < LATENCY_BUCKETS; i++) {
        below += flow->latency[i];
        if ((double)below >= share * (double)total)
            return (uint64_t)1 << i;
    }
    return 0;
}

/* Only of receivers that were there, and read, all the time. */
static uint64_t lost(const struct flow *flow)
{
    uint64_t sum = 0;

    for (unsigned i = 0; i < n_vms; i++) {
        bool is_meant = flow->to == i || (flow->to == VMS_MAX && flow->from != i);

        if (is_meant && !vms[i].was_stalled && flow->received[i] < flow->sent)
            sum += flow->sent - flow->received[i];
    }
    return sum;
}

static uint64_t received(const struct flow *flow)
{
    uint64_t sum = 0;

    for (unsigned i = 0; i < n_vms; i++)
        sum += flow->received[i];
    return sum;
}

static void report_vm(const struct vm *vm)
{
    printf("\"%s\":{\"received\":%" PRIu64 ",\"hellos\":%" PRIu64 ",\"foreign\":%" PRIu64
           ",\"corrupt\":%" PRIu64 ",\"alien\":%" PRIu64 ",\"runts\":%" PRIu64 ",\"closed_ms\":%" PRIu64
           ",\"fresh_us\":%" PRIu64 ",\"backlog\":%" PRIu64 "}",
           vm->name, vm->received, vm->hellos, vm->foreign, vm->corrupt, vm->alien, vm->runts, vm->closed_ms,
           vm->fresh_us, vm->backlog);
}

static void report_flow(const struct flow *flow)
{
    printf("{\"from\":\"%s\",\"to\":\"%s\",\"sent\":%" PRIu64 ",\"received\":%" PRIu64 ",\"lost\":%" PRIu64
           ",\"reordered\":%" PRIu64 ",\"waits\":%" PRIu64 ",\"p50_us\":%" PRIu64 ",\"p99_us\":%" PRIu64
           ",\"max_us\":%" PRIu64 "}",
           vms[flow->from].name, flow->to == VMS_MAX ? "*" : vms[flow->to].name, flow->sent, received(flow),
           lost(flow), flow->reordered, flow->waits, percentile_us(flow, 0.5), percentile_us(flow, 0.99),
           flow->latency_max_us);
}

static void report(void)
{
    uint64_t sent = 0, all_lost = 0, reordered = 0, corrupt = 0, foreign = 0, alien = 0, closed = 0;

    printf("{\"vms\":{");
    for (unsigned i = 0; i < n_vms; i++) {
        printf("%s", i ? "," : "");
        report_vm(&vms[i]);
        corrupt += vms[i].corrupt;
        foreign += vms[i].foreign;
        alien += vms[i].alien;
        closed += vms[i].closed_ms != 0;
    }
    printf("},\"flows\":[");
    for (unsigned i = 0; i < n_flows; i++) {
        printf("%s", i ? "," : "");
        report_flow(&flows[i]);
        sent += flows[i].sent;
        all_lost += lost(&flows[i]);
        reordered += flows[i].reordered;
    }
    printf("],\"sent\":%" PRIu64 ",\"lost\":%" PRIu64 ",\"reordered\":%" PRIu64 ",\"corrupt\":%" PRIu64
           ",\"foreign\":%" PRIu64 ",\"alien\":%" PRIu64 ",\"closed\":%" PRIu64 "}\n",
           sent, all_lost, reordered, corrupt, foreign, alien, closed);
}

/* ---- options ---- */

static const char *value_of(const char *word, const char *key)
{
    size_t len = strlen(key);

    return strncmp(word, key, len) == 0 && word[len] == '=' ? word + len + 1 : NULL;
}

static void vm_word(struct endpoint_options *options, const char *word)
{
    const char *value;

    if ((value = value_of(word, "stream"))) {
        options->path = value;
        options->is_stream = true;
    } else if ((value = value_of(word, "datagram"))) {
        options->path = value;
    } else if ((value = value_of(word, "fd"))) {
        options->fd = atoi(value);
        options->is_stream = true;
    } else if ((value = value_of(word, "kind"))) {
        options->is_stream = strcmp(value, "stream") == 0;
    } else if ((value = value_of(word, "read-limit"))) {
        options->read_limit = strtoull(value, NULL, 10);
    } else if ((value = value_of(word, "rcvbuf"))) {
        options->rcvbuf = atoi(value);
    } else if ((value = value_of(word, "sndbuf"))) {
        options->sndbuf = atoi(value);
    } else if (strcmp(word, "greets") == 0) {
        options->greets = true;
    } else if (strcmp(word, "unconnected") == 0) {
        options->unconnected = true;
    } else if (strcmp(word, "bytewise") == 0) {
        options->bytewise = true;
    } else if (strcmp(word, "stall") == 0) {
        options->stall = true;
    } else {
        die(word, "is no option of a VM");
    }
}

static void add_vm(char *text)
{
    struct endpoint_options options = {.fd = -1};
    struct vm *vm = &vms[n_vms];
    char *name = strtok(text, ",");

    if (n_vms == VMS_MAX || !name)
        die("--vm", "too many, or no name");
    for (char *word = strtok(NULL, ","); word; word = strtok(NULL, ","))
        vm_word(&options, word);
    snprintf(vm->name, sizeof(vm->name), "%s", name);
    vm->was_stalled = options.stall || options.read_limit;
    vm->end.options = options;
    n_vms++;
}

static void add_flow(char *text)
{
    struct flow *flow = &flows[n_flows];
    char *from = strtok(text, ","), *to = strtok(NULL, ",");

    if (n_flows == FLOWS_MAX || !from || !to)
        die("--flow", "too many, or not FROM,TO");
    *flow = (struct flow){.rate = 1000, .size = 1514};
    flow->from = find_vm(from);
    flow->to = strcmp(to, "*") == 0 ? VMS_MAX : find_vm(to);
    for (char *word = strtok(NULL, ","); word; word = strtok(NULL, ",")) {
        const char *value;

        if ((value = value_of(word, "rate")))
            flow->rate = atof(value);
        else if ((value = value_of(word, "size")))
            flow->size = strtoul(value, NULL, 10);
        else if ((value = value_of(word, "count")))
            flow->count = strtoull(value, NULL, 10);
        else
            die(word, "is no option of a flow");
    }
    if (flow->size < TRAFFIC_HEADER || flow->size > TRAFFIC_FRAME_MAX)
        die("--flow", "size must be from 50 to 69632");
    n_flows++;
}

static void parse(int argc, char **argv)
{
    static const struct option options[] = {
        {"vm", required_argument, NULL, 'v'},      {"flow", required_argument, NULL, 'f'},
        {"run", required_argument, NULL, 'r'},     {"mac-base", required_argument, NULL, 'm'},
        {"seconds", required_argument, NULL, 's'}, {"quiet-ms", required_argument, NULL, 'q'},
        {"dir", required_argument, NULL, 'd'},     {NULL, 0, NULL, 0}};
    int c;

    while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (c) {
        case 'v':
            add_vm(optarg);
            break;
        case 'f':
            add_flow(optarg);
            break;
        case 'r':
            run_id = (uint32_t)strtoul(optarg, NULL, 10);
            break;
        case 'm':
            mac_base = (unsigned)strtoul(optarg, NULL, 10);
            break;
        case 's':
            seconds = atof(optarg);
            break;
        case 'q':
            quiet_ms = strtoull(optarg, NULL, 10);
            break;
        case 'd':
            local_dir = optarg;
            break;
        default:
            exit(1);
        }
    }
}

int main(int argc, char **argv)
{
    vms = calloc(VMS_MAX, sizeof(*vms));
    flows = calloc(FLOWS_MAX, sizeof(*flows));
    if (!vms || !flows)
        die("memory", strerror(ENOMEM));
    started_ns = traffic_now_ns();
    umask(0); /* the switch may run as another user and must be able to answer our datagram sockets */
    parse(argc, argv);
    for (unsigned i = 0; i < n_vms; i++) {
        char name[80];
        struct endpoint_options options = vms[i].end.options;
        int r;

        traffic_mac(vms[i].mac, mac_base, i);
        snprintf(name, sizeof(name), "%u-%s", run_id, vms[i].name);
        r = endpoint_open(&vms[i].end, &options, local_dir, name);
        if (r < 0)
            die(vms[i].name, strerror(-r));
    }
    greet();
    run();
    report();
    for (unsigned i = 0; i < n_vms; i++)
        endpoint_close(&vms[i].end);
    free(vms);
    free(flows);
    return 0;
}
