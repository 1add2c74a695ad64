#!/usr/bin/env python3
"""perf/run.py - measures the switch from outside, through the sockets a VM would use, against the wire

    perf/run.py [--quick | --full] [--out FILE] [--only NAME,...] [--tests NAME,...]

Builds what is missing, then for each repetition runs every test with every candidate once, in random order, before
any runs again. The switch is started anew for every run and pinned to core 0, the generator to core 1. Figures of
one run are worth something only beside those of the wire of the same run: read the ratios. See perf/README.md.
"""
import argparse
import glob
import http.client
import json
import os
import platform
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

import report

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)
SWITCH_CORE, GENERATOR_CORE = 0, 1
QUIET_BUSY, QUIET_S = 0.35, 0.1
DISTURBED_BUSY = 0.4
RUN_TIMEOUT_S = 30

# name: (family, generator options, {mode: whether it runs})
TESTS = {
    "pair-64": ("pair", ["--frame", "64"], "quick"),
    "pair-1500": ("pair", [], "quick"),
    "pair-64-qemu": ("pair", ["--frame", "64", "--batch", "1"], "default"),
    "pair-1500-qemu": ("pair", ["--batch", "1"], "default"),
    "pair-64-open": ("pair", ["--frame", "64", "--in-flight", "0"], "full"),
    "bidir-1500": ("bidir", ["--bidir"], "default"),
    "fan-2": ("fan", ["--fan", "2"], "full"),
    "fan-4": ("fan", ["--fan", "4"], "default"),
    "fan-8": ("fan", ["--fan", "8"], "full"),
    "rtt-64": ("latency", ["--fan", "0", "--latency", "--frame", "64"], "full"),
    "rtt-1500": ("latency", ["--fan", "0", "--latency"], "quick"),
    "rtt-loaded": ("latency", ["--latency", "--in-flight", "128"], "default"),
    "flood-7": ("flood", ["--flood", "7", "--frame", "64"], "default"),
    "idle-2": ("idle", ["--idle", "2"], "full"),
    "idle-8": ("idle", ["--idle", "8"], "full"),
    "idle-32": ("idle", ["--idle", "32"], "full"),
    "idle-128": ("idle", ["--idle", "128"], "quick"),
    # Warm: a socket buffer of 1 MiB and a queue of 512 frames must be full before a port is stuck.
    # aim-N is stuck-N without the stuck ports: the same aimer sends the same frames, the unicasts to a live sink.
    "aim-2": ("stuck", ["--aim", "2", "--warm", "1500"], "quick"),
    "stuck-2": ("stuck", ["--aim", "2", "--stuck", "2", "--warm", "1500"], "quick"),
    "aim-64": ("stuck", ["--aim", "64", "--warm", "1500"], "quick"),
    "stuck-64": ("stuck", ["--aim", "64", "--stuck", "64", "--warm", "1500"], "quick"),
}
LEVELS = {"quick": 0, "default": 1, "full": 2}
REPETITIONS = {"quick": 3, "default": 5, "full": 15}
# How long to wait for quiet before a run, and how often to repeat one that something else disturbed.
PATIENCE = {"quick": (2, 2), "default": (10, 4), "full": (20, 4)}


class Failed(Exception):
    """This run could not be carried out; the text says why."""


def say(*words):
    print(*words, file=sys.stderr, flush=True)


def build():
    """Configures and builds the release preset; returns its bin folder."""
    for command in (["cmake", "--preset", "release"],
                    ["cmake", "--build", "--preset", "release", "-j2", "--target", "vmswitchd", "vmswitch-gen",
                     "vmswitch-wire"]):
        say("+", *command)
        if subprocess.run(command, cwd=ROOT, stdout=sys.stderr).returncode != 0:
            sys.exit("perf: the build failed; what it needs is in the README")
    return os.path.join(ROOT, "build", "release", "bin")


def machine_busy():
    """Seconds of CPU spent by all cores so far."""
    with open("/proc/stat") as file:
        user, nice, system, _, _, irq, softirq = map(int, file.readline().split()[1:8])
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")


def wait_for_quiet(limit_s):
    end = time.monotonic() + limit_s
    while time.monotonic() < end:
        before = machine_busy()
        time.sleep(QUIET_S)
        if (machine_busy() - before) / QUIET_S < QUIET_BUSY:
            return


def wait_until(condition, what, process, limit_s=5):
    end = time.monotonic() + limit_s
    while not condition():
        if process.poll() is not None:
            raise Failed("the switch ended with %d before %s" % (process.returncode, what))
        if time.monotonic() > end:
            raise Failed("no %s after %d s" % (what, limit_s))
        time.sleep(0.01)


def filled(value, names):
    """'value' with {name} replaced in every string."""
    if isinstance(value, str):
        for name, text in names.items():
            value = value.replace("{%s}" % name, str(text))
        return value
    if isinstance(value, list):
        return [filled(v, names) for v in value]
    return value


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=5)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


def put(api, path, body):
    connection = UnixConnection(api)
    try:
        connection.request("PUT", path, json.dumps(body), {"Content-Type": "application/json"})
        answer = connection.getresponse()
        text = answer.read().decode(errors="replace")
    except OSError as error:
        raise Failed("PUT %s: %s" % (path, error)) from error
    finally:
        connection.close()
    if answer.status >= 300:
        raise Failed("PUT %s: %d %s" % (path, answer.status, text.strip()))


def tree(pid):
    """'pid' and all processes below it."""
    children = {}
    for path in glob.glob("/proc/[0-9]*/stat"):
        try:
            with open(path) as file:
                text = file.read()
        except OSError:
            continue
        parent = int(text.rpartition(")")[2].split()[1])
        children.setdefault(parent, []).append(int(text.split(" ", 1)[0]))
    found = [pid]
    for one in found:
        found += children.get(one, [])
    return found


def pinned(core, nice):
    def prepare():
        os.sched_setaffinity(0, {core})
        os.nice(nice)
    return prepare


class Switch:
    """A candidate, started anew in a folder of its own; a context manager."""

    def __init__(self, target, binaries, n_ports, nice):
        self.target, self.n_ports, self.nice = target, n_ports, nice
        self.dir = tempfile.mkdtemp(prefix="vmperf.", dir="/tmp")  # short: a socket's path holds 107 bytes
        self.clients = os.path.join(self.dir, "vm")
        os.mkdir(self.clients)
        for path in (self.dir, self.clients):
            os.chmod(path, 0o755)  # as root the switch drops to another user, who must reach the clients
        self.names = {"bin": binaries, "dir": self.dir, "ports": n_ports, "last_port": n_ports - 1}
        self.process = None

    def __enter__(self):
        try:
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def start(self):
        self.log = open(os.path.join(self.dir, "log"), "w+")
        # A pipe on stdin: vde_switch ends when it reads end of file.
        self.process = subprocess.Popen(filled(self.target["command"], self.names), stdin=subprocess.PIPE,
                                        stdout=self.log, stderr=self.log, cwd=self.dir, preexec_fn=pinned(SWITCH_CORE, self.nice))
        ready = filled(self.target["ready"], self.names)
        wait_until(lambda: os.path.exists(ready), ready, self.process)
        api = filled(self.target.get("api", ""), self.names)
        for step in self.target.get("setup", []):
            put(api, step["path"], step["body"])
        step = self.target.get("setup_port")
        for i in range(self.n_ports if step else 0):
            put(api, filled(step["path"], {"port": i}), step["body"])
        kind, _, path = self.port().partition(":")
        path = path.replace("%u", str(self.n_ports - 1)).split(":")[0]
        if kind != "vde":
            wait_until(lambda: os.path.exists(path), path, self.process)

    def port(self):
        return filled(self.target["port"], self.names)

    def last_words(self):
        self.log.flush()
        self.log.seek(0)
        return self.log.read()[-2000:].strip()

    def __exit__(self, *_):
        if self.process is not None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(3)
            except subprocess.TimeoutExpired:
                say("  the switch did not end within 3 s of SIGTERM: killed")
                self.process.kill()
                self.process.wait()
            self.process.stdin.close()
            self.log.close()
        shutil.rmtree(self.dir, ignore_errors=True)


def measure_once(target, binaries, options, wait_s, nice):
    generator = os.path.join(binaries, "vmswitch-gen")
    n_ports = int(subprocess.run([generator, "--count"] + options, check=True, capture_output=True, text=True).stdout)
    with Switch(target, binaries, n_ports, nice) as switch:
        wait_for_quiet(wait_s)
        command = [generator, "--port", switch.port(), "--client-dir", switch.clients] + options
        for pid in tree(switch.process.pid):
            command += ["--watch", str(pid)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=RUN_TIMEOUT_S,
                                  preexec_fn=pinned(GENERATOR_CORE, switch.nice))
        except subprocess.TimeoutExpired as error:
            raise Failed("the generator hung for %d s" % RUN_TIMEOUT_S) from error
        if done.returncode != 0:
            raise Failed("%s; the switch says: %s" % (done.stderr.strip(), switch.last_words() or "nothing"))
    return json.loads(done.stdout)


def measure(target, binaries, options, patience, nice):
    """The least disturbed of a few runs."""
    wait_s, tries = patience
    best = None
    for _ in range(tries):
        result = measure_once(target, binaries, options, wait_s, nice)
        result["other_busy"] = max(0.0, result["machine_busy"] - result["switch_busy"] - result["own_busy"])
        result["is_disturbed"] = result["other_busy"] > DISTURBED_BUSY
        if best is None or result["other_busy"] < best["other_busy"]:
            best = result
        if not best["is_disturbed"]:
            break
    return best


def read_targets(binaries, only):
    """All candidates that can run here, by name: the wires first."""
    targets = {}
    names = sorted((os.path.basename(p)[:-5] for p in glob.glob(os.path.join(HERE, "targets", "*.json"))),
                   key=lambda n: (not n.startswith("wire"), n == "vde", n))
    for name in names:
        with open(os.path.join(HERE, "targets", name + ".json")) as file:
            target = json.load(file)
        if only and name not in only and not name.startswith("wire"):
            continue
        program = target["command"][0].replace("{bin}", binaries)
        if shutil.which(program) is None:
            say("perf: no %s: %s is left out" % (program, name))
            continue
        targets[name] = target
    used = {t.get("wire") for t in targets.values()} | set(only)
    return {n: t for n, t in targets.items() if not only or not n.startswith("wire") or n in used}


def read_first_line(path):
    try:
        with open(path) as file:
            return file.readline().strip()
    except OSError:
        return None


def machine():
    """What the figures were measured on."""
    model = None
    with open("/proc/cpuinfo") as file:
        for line in file:
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True)
    return {"system": platform.platform(), "cpu": model, "cores": os.cpu_count(),
            "wmem_default": read_first_line("/proc/sys/net/core/wmem_default"),
            "wmem_max": read_first_line("/proc/sys/net/core/wmem_max"),
            "max_dgram_qlen": read_first_line("/proc/sys/net/unix/max_dgram_qlen"),
            "commit": commit.stdout.strip(), "user": os.geteuid()}


def run_all(targets, tests, repetitions, binaries, patience, nice):
    runs, failures = [], []
    total = repetitions * sum(TESTS[t][0] in target["tests"] for t in tests for target in targets.values())
    done, started = 0, time.monotonic()
    for repetition in range(repetitions):
        plan = [(t, n) for t in tests for n, target in targets.items() if TESTS[t][0] in target["tests"]]
        random.shuffle(plan)
        for test, name in plan:
            done += 1
            left_s = (time.monotonic() - started) / done * (total - done)
            head = "[%d/%d, %d s left] %-18s %-14s" % (done, total, left_s, name, test)
            try:
                result = measure(targets[name], binaries, TESTS[test][1], patience, nice)
            except Failed as failure:
                say(head, "FAILED:", failure)
                failures.append({"candidate": name, "test": test, "repetition": repetition, "why": str(failure)})
                continue
            say(head, "%8.0fk pps %6.0f ns/frame%s%s" % (
                result["pps"] / 1e3, result["ns_per_frame"],
                "  lost %d" % result["lost"] if result["lost"] else "", "  disturbed" if result["is_disturbed"] else ""))
            runs.append({"candidate": name, "test": test, "repetition": repetition, "result": result})
    return runs, failures


def options():
    parser = argparse.ArgumentParser(description="Measures vmswitchd against the wire.")
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--quick", action="store_true", help="the tests the targets need, 3 repetitions: about 5 minutes")
    mode.add_argument("--full", action="store_true", help="all tests, 15 repetitions: hours")
    parser.add_argument("--out", help="where the JSON goes (build/perf-results/DATE.json)")
    parser.add_argument("--only", default="", help="candidates, by name: " + ", ".join(
        sorted(os.path.basename(p)[:-5] for p in glob.glob(os.path.join(HERE, "targets", "*.json")))))
    parser.add_argument("--tests", default="", help="tests, by name: " + ", ".join(TESTS))
    parser.add_argument("--repeat", type=int, help="repetitions")
    parser.add_argument("--bin", help="use the programs in this folder, build nothing")
    parser.add_argument("--nice", type=int, default=0, help="below 0: of use on a machine that others work on (root)")
    return parser.parse_args()


def main():
    args = options()
    if os.cpu_count() < 2:
        sys.exit("perf: needs two cores, one for the switch and one for the generator")
    mode = "quick" if args.quick else "full" if args.full else "default"
    binaries = os.path.abspath(args.bin) if args.bin else build()
    wanted = [t for t in args.tests.split(",") if t]
    for test in wanted:
        if test not in TESTS:
            sys.exit("perf: no test '%s'; there are %s" % (test, ", ".join(TESTS)))
    tests = wanted or [t for t, (_, _, level) in TESTS.items() if LEVELS[level] <= LEVELS[mode]]
    targets = read_targets(binaries, [n for n in args.only.split(",") if n])
    repetitions = args.repeat or REPETITIONS[mode]
    out = args.out or os.path.join(ROOT, "build", "perf-results", time.strftime("%Y%m%d-%H%M%S") + ".json")
    runs, failures = run_all(targets, tests, repetitions, binaries, PATIENCE[mode], args.nice)
    rows = list(report.rows(runs, targets, tests))
    verdicts = report.verdicts(runs, targets)
    os.makedirs(os.path.dirname(os.path.abspath(out)), exist_ok=True)
    with open(out, "w") as file:
        json.dump({"when": time.strftime("%Y-%m-%dT%H:%M:%S%z"), "mode": mode, "nice": args.nice, "repetitions": repetitions,
                   "machine": machine(), "rows": rows, "targets": verdicts, "failures": failures, "runs": runs},
                  file, indent=1)
    print(report.table(rows))
    print()
    for line in report.verdict_lines(verdicts):
        print(line)
    if failures:
        print("%d runs failed; the first: %s" % (len(failures), failures[0]))
    print("kept in", os.path.relpath(out))
    return 0


if __name__ == "__main__":
    sys.exit(main())
