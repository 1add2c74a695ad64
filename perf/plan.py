"""perf/plan.py - the tests: what each one runs, in which mode, and what a candidate must be able to do for it

kind: frames (the generator), tcp (two stand-in VMs), host (one of them and the host's TAP), guests (QEMU), memory.
A candidate takes part in the families that its file names.
"""
import random
from typing import NamedTuple


class Test(NamedTuple):
    kind: str
    family: str
    level: str  # the smallest mode that runs it
    options: tuple = ()  # the generator's
    mtu: int = 1500  # of the network
    frame: int = 1514  # bytes of the largest frame it sends
    ends: tuple = ()  # offload of each stand-in VM; the first is iperf3's client
    reverse: bool = False  # iperf3's server sends
    repeat: int = 0  # at most so many repetitions; 0: as all others
    beside: str = ""  # the test whose figures it is divided by, other than the wire's in the same test


def frames(family, level, *options, **more):
    return Test("frames", family, level, options, **more)


JUMBO = {"mtu": 9000, "frame": 9000}
HUGE = {"mtu": 65521, "frame": 65000}

TESTS = {
    "pair-64": frames("pair", "quick", "--frame", "64"),
    "pair-1500": frames("pair", "quick"),
    "pair-9000": frames("pair", "default", "--frame", "9000", **JUMBO),
    "pair-65000": frames("pair", "quick", "--frame", "65000", **HUGE),
    "pair-64-qemu": frames("pair", "default", "--frame", "64", "--batch", "1"),
    "pair-1500-qemu": frames("pair", "default", "--batch", "1"),
    "pair-64-open": frames("pair", "full", "--frame", "64", "--in-flight", "0"),
    "bidir-1500": frames("bidir", "default", "--bidir"),
    "fan-2": frames("fan", "full", "--fan", "2"),
    "fan-4": frames("fan", "default", "--fan", "4"),
    "fan-8": frames("fan", "full", "--fan", "8"),
    "rtt-64": frames("latency", "full", "--fan", "0", "--latency", "--frame", "64"),
    "rtt-1500": frames("latency", "quick", "--fan", "0", "--latency"),
    "rtt-loaded": frames("latency", "quick", "--latency", "--in-flight", "128"),
    "flood-7": frames("flood", "default", "--flood", "7", "--frame", "64"),
    "idle-2": frames("idle", "default", "--idle", "2", beside="pair-1500"),
    "idle-8": frames("idle", "default", "--idle", "8", beside="pair-1500"),
    "idle-32": frames("idle", "default", "--idle", "32", beside="pair-1500"),
    "idle-128": frames("idle", "quick", "--idle", "128", beside="pair-1500"),
    # Warm: a socket buffer of 1 MiB and a queue of 512 frames must be full before a port is stuck.
    # aim-N is stuck-N without the stuck ports: the same aimer sends the same frames, the unicasts to a live sink.
    "aim-2": frames("stuck", "quick", "--aim", "2", "--warm", "1500"),
    "stuck-2": frames("stuck", "quick", "--aim", "2", "--stuck", "2", "--warm", "1500", beside="aim-2"),
    "aim-64": frames("stuck", "quick", "--aim", "64", "--warm", "1500"),
    "stuck-64": frames("stuck", "quick", "--aim", "64", "--stuck", "64", "--warm", "1500", beside="aim-64"),
    "tcp-1500": Test("tcp", "tcp", "quick", ends=("off", "off")),
    "tcp-64k": Test("tcp", "tcp-64k", "quick", frame=65550, ends=("raw", "raw")),
    "tcp-64k-virtio": Test("tcp", "tcp-virtio", "default", frame=65562, ends=("virtio", "virtio")),
    "tcp-mixed": Test("tcp", "tcp-mixed", "quick", frame=65550, ends=("raw", "off"), beside="tcp-1500"),
    "tcp-mixed-back": Test("tcp", "tcp-mixed", "quick", frame=65550, ends=("raw", "off"), reverse=True, beside="tcp-1500"),
    "host-to-vm": Test("host", "host", "default", ends=("off",)),
    "vm-to-host": Test("host", "host", "default", ends=("off",), reverse=True),
    "host-to-vm-64k": Test("host", "host-offload", "default", frame=65550, ends=("raw",)),
    "vm-to-host-64k": Test("host", "host-offload", "default", frame=65550, ends=("raw",), reverse=True),
    "guests": Test("guests", "guests", "default", repeat=3),
    "memory": Test("memory", "memory", "quick", repeat=1),
}

NEEDS_ROOT = ("tcp", "host")


class Mode(NamedTuple):
    help: str
    level: int
    repetitions: int
    quiet_s: float  # how long to wait for quiet before a run
    tries: int  # how often to repeat one that something else disturbed
    window_ms: int
    tcp_s: int


LEVELS = {"quick": 0, "default": 1, "full": 2}
MODES = {
    "quick": Mode("what the targets need, 3 repetitions", 0, 3, 2, 2, 500, 1),
    "targets": Mode("only the runs the verdicts are made of, 15 repetitions", 2, 15, 5, 3, 500, 1),
    "default": Mode("most tests, 5 repetitions", 1, 5, 10, 4, 700, 2),
    "full": Mode("all tests, 15 repetitions", 2, 15, 20, 4, 700, 2),
}


def shuffled(pairs):
    """The (test, candidate) pairs of one repetition, in random order; those that are compared follow one another, because
    over minutes a machine becomes faster and slower by more than what is to be seen."""
    groups = {}
    for test, name in pairs:
        groups.setdefault(TESTS[test].beside or test, []).append((test, name))
    order = list(groups.values())
    random.shuffle(order)
    for group in order:
        random.shuffle(group)
    return [pair for group in order for pair in group]


def is_for(test, target):
    """Whether a candidate takes part in a test."""
    return test.family in target["tests"] and test.frame <= target.get("frame_max", 1 << 17)
