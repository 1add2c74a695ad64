/* perf/gen.c - the load generator: options in, one run, one JSON object out
 *
 * It owns every port of the run and checks every frame that arrives; see bench.h for the ports, flow.h for
 * the pacing, port.h for the ways to plug in. Exit code 0: the run is good (frames may be lost: read the
 * figures); 1: it could not be carried out, and stderr says why; 2: wrong options.
 */
#include <err.h>
#include <getopt.h>
#include <inttypes.h>
#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "perf/bench.h"
#include "perf/frame.h"

static const char usage[] =
    "usage: vmswitch-gen --port SPEC [options]\n"
    "  --port SPEC        stream:PATH dgram:PATH vfkt:PATH attach-stream:SOCK:NET attach-dgram:SOCK:NET "
    "vde:DIR\n"
    "                     tap:NAME (an interface that is there already); %u is the port's number\n"
    "  --client-dir DIR   where datagram clients bind their own sockets (.)\n"
    "  --sndbuf BYTES     SO_SNDBUF of every port\n"
    "  --frame BYTES      60 to 65536 (1500)\n"
    "  --batch N          frames per send call, 1 to 64 (256 KB worth, 4 to 64); 1 imitates QEMU\n"
    "  --in-flight N      window in frames, 0: open loop (1 MB worth, 16 to 1024)\n"
    "  --fan N            pairs (1); 0 with --latency alone\n"
    "  --bidir            both directions\n"
    "  --flood N          broadcasts from port 0 to N receivers instead of pairs\n"
    "  --latency          one frame bounces between two more ports\n"
    "  --sleepy           with --latency: sleep for the answer, do not spin\n"
    "  --idle N           silent ports\n"
    "  --stuck N          ports that are never read\n"
    "  --aim N            2,000 broadcasts/s and N paced flows at the stuck ports\n"
    "  --warm MS          (200)    --time MS (700)\n"
    "  --watch PID        a process of the switch; repeatable\n"
    "  --count            print how many ports the plan has, and do nothing\n";

enum {
    OPT_PORT = 1,
    OPT_DIR,
    OPT_SNDBUF,
    OPT_FRAME,
    OPT_BATCH,
    OPT_IN_FLIGHT,
    OPT_FAN,
    OPT_BIDIR,
    OPT_FLOOD,
    OPT_LATENCY,
    OPT_SLEEPY,
    OPT_IDLE,
    OPT_STUCK,
    OPT_AIM,
    OPT_WARM,
    OPT_TIME,
    OPT_WATCH,
    OPT_COUNT,
    OPT_HELP
};

static const struct option long_options[] = {
    {"port", required_argument, NULL, OPT_PORT},     {"client-dir", required_argument, NULL, OPT_DIR},
    {"sndbuf", required_argument, NULL, OPT_SNDBUF}, {"frame", required_argument, NULL, OPT_FRAME},
    {"batch", required_argument, NULL, OPT_BATCH},   {"in-flight", required_argument, NULL, OPT_IN_FLIGHT},
    {"fan", required_argument, NULL, OPT_FAN},       {"bidir", no_argument, NULL, OPT_BIDIR},
    {"flood", required_argument, NULL, OPT_FLOOD},   {"latency", no_argument, NULL, OPT_LATENCY},
    {"sleepy", no_argument, NULL, OPT_SLEEPY},       {"idle", required_argument, NULL, OPT_IDLE},
    {"stuck", required_argument, NULL, OPT_STUCK},   {"aim", required_argument, NULL, OPT_AIM},
    {"warm", required_argument, NULL, OPT_WARM},     {"time", required_argument, NULL, OPT_TIME},
    {"watch", required_argument, NULL, OPT_WATCH},   {"count", no_argument, NULL, OPT_COUNT},
    {"help", no_argument, NULL, OPT_HELP},           {NULL, 0, NULL, 0},
};

static unsigned number(const char *text, unsigned min, unsigned max)
{
    char *end;
    unsigned long value = strtoul(text, &end, 10);

    if (*text < '0' || *text > '9' || *end != '\0' || value < min || value > max)
        errx(2, "'%s' is no number from %u to %u", text, min, max);
    return (unsigned)value;
}

static void take_watch(struct plan *plan, const char *text)
{
    if (plan->n_watch == WATCH_MAX)
        errx(2, "more than %d processes to watch", WATCH_MAX);
    plan->watch[plan->n_watch++] = (long)number(text, 1, INT_MAX);
}

/* Options that shape the traffic. Returns false if 'option' is none of them. */
static bool take_traffic(struct plan *plan, int option, const char *text, bool *has_window)
{
    switch (option) {
    case OPT_FRAME:
        plan->frame_size = number(text, FRAME_MIN, FRAME_MAX);
        return true;
    case OPT_BATCH:
        plan->batch = number(text, 1, BATCH_MAX);
        return true;
    case OPT_IN_FLIGHT:
        plan->window = number(text, 0, 1000000);
        *has_window = true;
        return true;
    case OPT_BIDIR:
        plan->is_bidir = true;
        return true;
    case OPT_LATENCY:
        plan->has_latency = true;
        return true;
    case OPT_SLEEPY:
        plan->is_sleepy = true;
        return true;
    default:
        return false;
    }
}

/* Options that say how many ports there are. */
static bool take_ports(struct plan *plan, int option, const char *text)
{
    switch (option) {
    case OPT_FAN:
        plan->fan = number(text, 0, 64);
        return true;
    case OPT_FLOOD:
        plan->flood = number(text, 1, 512);
        return true;
    case OPT_IDLE:
        plan->idle = number(text, 0, 4096);
        return true;
    case OPT_STUCK:
        plan->stuck = number(text, 0, 512);
        return true;
    case OPT_AIM:
        plan->aim = number(text, 0, 512);
        return true;
    default:
        return false;
    }
}

/* How and how long. */
static bool take_setting(struct plan *plan, int option, const char *text)
{
    switch (option) {
    case OPT_PORT:
        plan->setup.spec = text;
        return true;
    case OPT_DIR:
        plan->setup.client_dir = text;
        return true;
    case OPT_SNDBUF:
        plan->setup.sndbuf = (int)number(text, 0, INT_MAX);
        return true;
    case OPT_WARM:
        plan->warm_ms = number(text, 1, 60000);
        return true;
    case OPT_TIME:
        plan->window_ms = number(text, 1, 600000);
        return true;
    case OPT_WATCH:
        take_watch(plan, text);
        return true;
    default:
        return false;
    }
}

static unsigned clamp(size_t value, unsigned min, unsigned max)
{
    return value < min ? min : value > max ? max : (unsigned)value;
}

/* Returns true if the run is wanted, false if only the number of ports is. */
static bool options_read(struct plan *plan, int argc, char **argv)
{
    bool has_window = false, is_count = false;
    int option;

    while ((option = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
        if (option == OPT_HELP) {
            fputs(usage, stdout);
            exit(0);
        }
        if (option == OPT_COUNT)
            is_count = true;
        else if (!take_traffic(plan, option, optarg, &has_window) && !take_ports(plan, option, optarg) &&
                 !take_setting(plan, option, optarg)) {
            fputs(usage, stderr);
            exit(2);
        }
    }
    if (optind != argc || (plan->setup.spec == NULL && !is_count)) {
        fputs(usage, stderr);
        exit(2);
    }
    if (plan->batch == 0)
        plan->batch = clamp(256 * 1024 / plan->frame_size, 4, BATCH_MAX);
    if (!has_window)
        plan->window = clamp(1024 * 1024 / plan->frame_size, 16, 1024);
    return !is_count;
}

static double per(uint64_t what, double divisor)
{
    return divisor > 0 ? (double)what / divisor : 0;
}

static void print(const struct plan *plan, const struct result *r)
{
    json_t *out = json_pack("{s:I, s:i, s:I, s:i, s:f, s:I}", "frame", (json_int_t)plan->frame_size, "batch",
                            (int)plan->batch, "in_flight", (json_int_t)plan->window, "ports",
                            (int)plan_ports(plan), "seconds", r->seconds, "frames", (json_int_t)r->frames);
    json_t *rates = json_pack(
        "{s:f, s:f, s:f, s:f, s:f, s:f}", "pps", per(r->frames, r->seconds), "gbps",
        per(r->frames, r->seconds) * (double)plan->frame_size * 8e-9, "ns_per_frame",
        per(r->switch_ns, (double)r->frames), "switch_busy", per(r->switch_ns, r->seconds * 1e9), "own_busy",
        per(r->own_ns, r->seconds * 1e9), "machine_busy", per(r->machine_ns, r->seconds * 1e9));
    json_t *checks = json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "sent", (json_int_t)r->sent,
                               "lost", (json_int_t)r->lost, "reordered", (json_int_t)r->reordered, "corrupt",
                               (json_int_t)r->corrupt, "foreign", (json_int_t)r->foreign, "alien",
                               (json_int_t)r->alien, "reopened", (json_int_t)r->reopened, "aim_sent",
                               (json_int_t)r->aim_sent, "aim_lost", (json_int_t)r->aim_lost);

    if (out == NULL || rates == NULL || checks == NULL)
        errx(1, "json_pack");
    json_object_update(out, rates);
    json_object_update(out, checks);
    if (plan->has_latency) {
        json_object_set_new(out, "rtts", json_integer((json_int_t)r->n_rtts));
        json_object_set_new(out, "rtt_p50_us", json_real(r->rtt_p50_us));
        json_object_set_new(out, "rtt_p99_us", json_real(r->rtt_p99_us));
        json_object_set_new(out, "rtt_p999_us", json_real(r->rtt_p999_us));
        json_object_set_new(out, "rtt_max_us", json_real(r->rtt_max_us));
    }
    json_dumpf(out, stdout, JSON_COMPACT | JSON_PRESERVE_ORDER | JSON_REAL_PRECISION(8));
    putchar('\n');
    json_decref(checks);
    json_decref(rates);
    json_decref(out);
}

int main(int argc, char **argv)
{
    struct plan plan = {
        .setup = {.client_dir = "."}, .frame_size = 1500, .fan = 1, .warm_ms = 200, .window_ms = 700};
    struct rlimit files;
    struct result result;

    if (!options_read(&plan, argc, argv)) {
        printf("%u\n", plan_ports(&plan));
        return 0;
    }
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
    bench_run(&plan, &result);
    print(&plan, &result);
    return 0;
}
