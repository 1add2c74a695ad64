"""perf/verdicts.py - the project's targets: which runs each is made of, and whether it is met

Unclear is a target whose limit the true median may lie on either side of (report.interval): more repetitions, or a quieter
machine, would tell. A frame
that is lost where none may be, or a drop by the switch between two live ports, is a miss whatever the rest says.
"""
import statistics
from typing import NamedTuple

from plan import TESTS, is_for
from report import fit, interval, of, ratios

# What "--targets" measures: the two ways to plug in that most use. The others run the same code.
MAIN = ("vmswitch-stream", "vmswitch-dgram")
TITLES = {1: "stream, one pair", 2: "datagram, one pair", 3: "idle and stuck ports", 4: "TCP", 5: "mixed offload",
          6: "round trips", 8: "memory (MB, MB, KB)"}


class Ask(NamedTuple):
    number: int  # of the target
    candidate: str
    test: str
    metric: str
    limit: float
    reference: tuple = None  # (candidate, test) of what it is divided by; None: the figure itself
    is_at_most: bool = False
    is_lossless: bool = False  # no frame lost, reordered or damaged
    is_dropless: bool = False  # the switch's own counters show no drop
    scale: float = 1.0


def asks_of_pair(name, target):
    wire = target["wire"]
    if target["transport"] == "datagram":
        for test in ("pair-64", "pair-1500", "pair-65000"):
            yield Ask(2, name, test, "pps", 0.98, (wire, test))
        return
    for test, limit in (("pair-64", 1.15), ("pair-1500", 1.0), ("pair-65000", 1.0)):
        yield Ask(1, name, test, "ns_per_frame", limit, (wire, test), is_at_most=True)
    for test in ("pair-1500", "pair-65000"):
        yield Ask(1, name, test, "pps", 1.0, (wire, test))
        yield Ask(1, name, test, "pps", 0.9, (wire + "-1mb", test))


def asks(name, target):
    """All targets of one candidate."""
    wire = target["wire"]
    yield from asks_of_pair(name, target)
    yield Ask(3, name, "idle-128", "pps", 0.98, (name, "pair-1500"), is_lossless=True)
    for n in (2, 64):
        yield Ask(3, name, "stuck-%d" % n, "pps", 0.95, (name, "aim-%d" % n), is_lossless=True)
    for test in ("tcp-1500", "tcp-64k"):
        yield Ask(4, name, test, "gbps", 0.98, (wire, test), is_dropless=True)
    for test in ("tcp-mixed", "tcp-mixed-back"):
        yield Ask(5, name, test, "gbps", 0.9, (name, "tcp-1500"))
    for metric in ("rtt_p50_us", "rtt_p99_us"):
        yield Ask(6, name, "rtt-1500", metric, 1.05, (wire, "rtt-1500"), is_at_most=True)
    yield Ask(6, name, "rtt-loaded", "rtt_p50_us", 60 if target["transport"] == "stream" else 250, is_at_most=True)
    for metric, limit, scale in (("daemon_kb", 8, 1e3), ("network_kb", 4, 1e3), ("port_kb", 64, 1)):
        yield Ask(8, name, "memory", metric, limit, is_at_most=True, scale=scale)


def all_asks(targets):
    for name, target in targets.items():
        if name.startswith("vmswitch"):
            yield from (a for a in asks(name, target) if is_for(TESTS[a.test], target))


def needed(targets):
    """The (candidate, test) pairs that the verdicts are made of."""
    pairs = set()
    for a in all_asks(targets):
        pairs.add((a.candidate, a.test))
        if a.reference:
            pairs.add(a.reference)
    return {(name, test) for name, test in pairs if name in targets and is_for(TESTS[test], targets[name])}


def figure(runs, a):
    """(low, median, high) of the ratio, or of the figure itself, as interval() has it; None if it was not measured."""
    if a.reference:
        values = ratios(runs, a.metric, a.candidate, a.test, a.reference)
    else:
        values = [r[a.metric] / a.scale for r in fit(of(runs, a.candidate, a.test)).values() if a.metric in r]
    return interval(values) if values else None


def damage_of(runs, a):
    """(frames lost or damaged, frames the switch dropped), each where the target allows none; of the worst repetition."""
    results = of(runs, a.candidate, a.test).values()
    lost = max(r["lost"] + r["reordered"] + r["corrupt"] for r in results) if a.is_lossless else 0
    dropped = max(r.get("drops") or 0 for r in results) if a.is_dropless else 0
    return lost, dropped


def judge(runs, a):
    value = figure(runs, a)
    if value is None:
        return None
    low, middle, high = value
    lost, dropped = damage_of(runs, a)
    is_good = middle <= a.limit if a.is_at_most else middle >= a.limit
    if lost or dropped:
        word = "MISSED"
    elif low < a.limit < high:
        word = "unclear"
    else:
        word = "met" if is_good else "MISSED"
    return {**a._asdict(), "value": middle, "low": low, "high": high, "lost": lost, "dropped": dropped, "verdict": word}


def verdicts(runs, targets):
    """The targets that these runs can say something about."""
    found = [v for v in (judge(runs, a) for a in all_asks(targets)) if v]
    return sorted(found, key=lambda v: v["number"])


def line(v):
    of_what = "of %s" % v["reference"][0] if v["reference"] and v["reference"][1] == v["test"] else \
        "of its %s" % v["reference"][1] if v["reference"] else ""
    text = "  %-7s  %-18s %-14s %-12s %.2f [%.2f %.2f], %s %g %s" % (
        v["verdict"], v["candidate"], v["test"], v["metric"], v["value"], v["low"], v["high"],
        "at most" if v["is_at_most"] else "at least", v["limit"], of_what)
    text = text.rstrip()
    if v["lost"]:
        text += ", %d frames lost or damaged" % v["lost"]
    if v["dropped"]:
        text += ", %d frames dropped by the switch" % v["dropped"]
    return text


def lines(all_verdicts):
    """The verdicts as text, target by target."""
    number = None
    for v in all_verdicts:
        if v["number"] != number:
            number = v["number"]
            yield "target %d: %s" % (number, TITLES[number])
        yield line(v)
    words = [v["verdict"] for v in all_verdicts]
    if words:
        yield "%d met, %d missed, %d unclear" % tuple(words.count(w) for w in ("met", "MISSED", "unclear"))
