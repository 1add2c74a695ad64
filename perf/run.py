#!/usr/bin/env python3
"""perf/run.py - measures the switch from outside, through the sockets a VM would use, side by side with others

    perf/run.py [--quick | --targets | --full] [--only NAME,...] [--tests NAME,...] [--repeat N] [--out FILE] [--plot DIR]

Builds what is missing, then for each repetition runs every test with every candidate once, in random order, before
any runs again, and what is compared close together; each switch is started anew for every run. Figures of one run are worth something only beside those of
the wire of the same run: read the ratios. The tests of TCP (tcp-*, host-*) need root, and are left out without.
perf/run.sh also installs what is needed. See perf/README.md.
"""
import argparse
import glob
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from typing import NamedTuple

import frames
import guests
import machine
import memory
import plan
import report
import tcp
import verdicts
from switch import Failed, say

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)
KINDS = {"frames": frames, "tcp": tcp, "host": tcp, "guests": guests, "memory": memory}
PROGRAMS = {"tcp": ("iperf3", "ping", "ip", "nsenter", "unshare"), "guests": ("qemu-system-x86_64", "busybox")}
PROGRAMS["host"] = PROGRAMS["tcp"]


class Setting(NamedTuple):
    """How to measure, the same for all runs."""
    binaries: str
    nice: int
    mode: plan.Mode


def build():
    """Configures and builds the release preset; returns its bin folder."""
    for command in (["cmake", "--preset", "release"],
                    ["cmake", "--build", "--preset", "release", "-j2", "--target", "vmswitchd", "vmswitch-gen", "vmswitch-wire",
                     "vmswitch-tapvm"]):
        say("+", *command)
        if subprocess.run(command, cwd=ROOT, stdout=sys.stderr).returncode != 0:
            sys.exit("perf: the build failed; what it needs is in the README")
    return os.path.join(ROOT, "build", "release", "bin")


def names_of_targets():
    return sorted((os.path.basename(p)[:-5] for p in glob.glob(os.path.join(HERE, "targets", "*.json"))),
                  key=lambda n: (not n.startswith("wire"), not n.startswith("vmswitch"), n))


def why_not(target, binaries):
    """Why a candidate cannot run here, or None."""
    if target.get("platform", sys.platform) != sys.platform:
        return "for %s%s" % (target["platform"], ", untested" if target.get("is_untested") else "")
    if target.get("namespace") and os.geteuid() != 0:
        return "needs root"
    for program in target.get("programs", []) + target.get("command", [])[:1]:
        program = program.replace("{bin}", binaries).replace("{here}", HERE)
        if shutil.which(program) is None:
            return "there is no %s" % program
    return None


def read_targets(binaries, only):
    """All candidates that can run here, by name: the wires first. With 'only', those and the wires they are compared with."""
    targets = {}
    for name in names_of_targets():
        with open(os.path.join(HERE, "targets", name + ".json")) as file:
            target = json.load(file)
        reason = why_not(target, binaries)
        if reason is None:
            targets[name] = target
        elif not only or name in only:
            say("perf: %s is left out: %s" % (name, reason))
    if not only:
        return targets
    wires = {targets[n].get("wire") for n in only if n in targets}
    wires |= {w + "-1mb" for w in wires if w}
    return {n: t for n, t in targets.items() if n in only or n in wires}


def can_run(test):
    """Whether this machine and user can run a test; says so if not."""
    kind = plan.TESTS[test].kind
    if kind in plan.NEEDS_ROOT and os.geteuid() != 0:
        say("perf: %s is left out: it makes network namespaces and needs root" % test)
        return False
    missing = [p for p in PROGRAMS.get(kind, ()) if shutil.which(p) is None]
    if missing:
        say("perf: %s is left out: there is no %s (perf/run.sh installs it)" % (test, ", ".join(missing)))
    return not missing


def prepare_guests():
    """Builds the small Linux that the guests boot. Returns False, having said why, if that is not possible."""
    done = subprocess.run([os.path.join(ROOT, "tests", "lib", "guest.sh"), os.path.join(ROOT, "build", "guest")], stdout=sys.stderr)
    return done.returncode == 0


def pairs_of(targets, tests, only_needed):
    """What one repetition consists of: (test, candidate)."""
    wanted = [(t, n) for t in tests for n, target in targets.items() if plan.is_for(plan.TESTS[t], target)]
    if only_needed:
        needed = verdicts.needed(targets)
        wanted = [(t, n) for t, n in wanted if (n, t) in needed]
    return wanted


class Series:
    """All runs of all repetitions, and what came of them."""

    def __init__(self, targets, setting):
        self.targets, self.setting = targets, setting
        self.runs, self.failures = [], []
        self.done = self.total = 0
        self.started = time.monotonic()

    def one(self, test, name, repetition):
        kind = KINDS[plan.TESTS[test].kind]
        self.done += 1
        left_s = (time.monotonic() - self.started) / max(1, self.done - 1) * (self.total - self.done + 1)
        left = "%4d s left" % left_s if self.done > 5 else ""
        head = "[%d/%d%s] %-18s %-14s" % (self.done, self.total, left and ", " + left, name, test)
        key = {"candidate": name, "test": test, "repetition": repetition}
        try:
            result = kind.measure(self.targets[name], plan.TESTS[test], self.setting)
        except (Failed, OSError, subprocess.CalledProcessError) as failure:
            say(head, "FAILED:", str(failure)[:300])
            self.failures.append({**key, "why": str(failure)})
            return
        say(head, kind.summary(result) + ("  disturbed" if result["is_disturbed"] else ""))
        self.runs.append({**key, "result": result})

    def all(self, pairs, repetitions):
        batches = [[(t, n) for t, n in pairs if not plan.TESTS[t].repeat or i < plan.TESTS[t].repeat] for i in range(repetitions)]
        self.total = sum(len(b) for b in batches)
        for repetition, batch in enumerate(batches):
            for test, name in plan.shuffled(batch):
                self.one(test, name, repetition)


def options():
    parser = argparse.ArgumentParser(description="Measures vmswitchd beside the wire and other switches.",
                                     epilog="Exit code: 0 measured (whether the targets are met is in the output), 1 nothing could be "
                                     "measured, 2 wrong options, 130 interrupted (what was measured is kept).")
    mode = parser.add_mutually_exclusive_group()
    for name in ("quick", "targets", "full"):
        mode.add_argument("--" + name, action="store_true", help=plan.MODES[name].help)
    parser.add_argument("--out", help="where the JSON goes (build/perf-results/DATE.json)")
    parser.add_argument("--plot", metavar="DIR", help="also draw the figures, as PNG and SVG, into DIR (needs matplotlib)")
    parser.add_argument("--only", default="", help="candidates, by name: " + ", ".join(names_of_targets()))
    parser.add_argument("--tests", default="", help="tests, by name: " + ", ".join(plan.TESTS))
    parser.add_argument("--repeat", type=int, help="repetitions")
    parser.add_argument("--bin", help="use the programs in this folder, build nothing")
    parser.add_argument("--nice", type=int, default=0, help="below 0: of use on a machine that others work on (root)")
    args = parser.parse_args()
    args.only = [n for n in args.only.split(",") if n]
    args.tests = [t for t in args.tests.split(",") if t]
    for what, given, known in (("candidate", args.only, names_of_targets()), ("test", args.tests, plan.TESTS)):
        for name in given:
            if name not in known:
                parser.error("no %s '%s'; there are %s" % (what, name, ", ".join(known)))
    args.mode = next((n for n in ("quick", "targets", "full") if getattr(args, n)), "default")
    if args.plot:
        try:
            import plot  # noqa: F401 - now, not after an hour of measuring
        except ImportError as error:
            parser.error("--plot: %s; perf/run.sh installs it" % error)
    return args


def keep(args, series, tests, repetitions):
    """Writes the JSON, prints tables and verdicts."""
    out = args.out or os.path.join(ROOT, "build", "perf-results", time.strftime("%Y%m%d-%H%M%S") + ".json")
    kept = {"when": time.strftime("%Y-%m-%dT%H:%M:%S%z"), "mode": args.mode, "nice": args.nice, "repetitions": repetitions,
            "machine": machine.facts(ROOT), "rows": list(report.rows(series.runs, series.targets, tests)),
            "targets": verdicts.verdicts(series.runs, series.targets), "failures": series.failures,
            "what": {n: t["what"] for n, t in series.targets.items()}, "runs": series.runs}
    os.makedirs(os.path.dirname(os.path.abspath(out)), exist_ok=True)
    with open(out, "w") as file:
        json.dump(kept, file, indent=1)
    print(report.tables(kept["rows"]), *verdicts.lines(kept["targets"]), sep="\n")
    if series.failures:
        print("%d runs failed; the first: %s" % (len(series.failures), series.failures[0]))
    print("kept in", os.path.relpath(out))
    if args.plot and kept["rows"]:
        import plot
        for path in plot.draw(kept, args.plot):
            print("drawn:", os.path.relpath(path))


def interrupt_once(number, frame):
    """Everything is taken down, which a second signal must not interrupt: sudo passes on what its child has got already."""
    for other in (signal.SIGINT, signal.SIGTERM):
        signal.signal(other, signal.SIG_IGN)
    signal.default_int_handler(number, frame)


def main():
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, interrupt_once)
    args = options()
    if os.cpu_count() < 2:
        sys.exit("perf: needs two cores, one for the switch and one for the generator")
    mode = plan.MODES[args.mode]
    binaries = os.path.abspath(args.bin) if args.bin else build()
    only = args.only or (list(verdicts.MAIN) if args.mode == "targets" else [])
    targets = read_targets(binaries, only)
    tests = [t for t in args.tests or plan.TESTS if args.tests or plan.LEVELS[plan.TESTS[t].level] <= mode.level]
    pairs = pairs_of(targets, tests, args.mode == "targets")
    runnable = {t: can_run(t) for t in dict.fromkeys(t for t, _ in pairs)}
    if runnable.get("guests"):
        runnable["guests"] = prepare_guests()
    pairs = [(t, n) for t, n in pairs if runnable[t]]
    repetitions = args.repeat or mode.repetitions
    series = Series(targets, Setting(binaries, args.nice, mode))
    code = 0
    try:
        series.all(pairs, repetitions)
    except KeyboardInterrupt:
        say("perf: interrupted; what was measured is kept")
        code = 130
    if not series.runs:
        say("perf: nothing was measured")
        return code or 1
    keep(args, series, tests, repetitions)
    return code


if __name__ == "__main__":
    sys.exit(main())
