"""perf/report.py - medians, ratios with their spread, and the tables

A ratio is taken pair by pair (same repetition, in which the two ran close together); the median of these stands for all,
their quartiles are the spread, and how sure the median is says interval(). Of lost, reordered and corrupt frames the worst of all
repetitions counts, never the median. Runs that something else disturbed are left out of medians and ratios wherever
there are at least two others: on a machine that others work on, they tell how busy those were.
"""
import math
import statistics

from plan import TESTS

CHECKS = ("lost", "reordered", "corrupt", "foreign")
MEDIANS = {
    "frames": ("pps", "gbps", "ns_per_frame", "machine_ns_per_frame", "switch_busy", "own_busy", "rtt_p50_us", "rtt_p99_us",
               "rtt_p999_us"),
    "tcp": ("gbps", "retransmits", "ns_per_kb", "switch_busy", "ping_p50_us", "ping_p99_us"),
    "guests": ("gbps", "ns_per_kb", "switch_busy"),
    "memory": ("daemon_kb", "daemon_rss_kb", "network_kb", "network_rss_kb", "port_kb", "port_rss_kb"),
}
MEDIANS["host"] = MEDIANS["tcp"]
RATIOS = {"frames": ("pps", "ns_per_frame", "rtt_p50_us", "rtt_p99_us"), "tcp": ("gbps", "ns_per_kb"), "guests": ("gbps",)}


def of(runs, candidate, test):
    """The runs of one candidate in one test, by repetition."""
    return {r["repetition"]: r["result"] for r in runs if (r["candidate"], r["test"]) == (candidate, test)}


def fit(results):
    """Those of the results that nothing disturbed; all, if fewer than two are left."""
    good = {i: r for i, r in results.items() if not r["is_disturbed"]}
    return good if len(good) >= 2 else results


def quartiles(values):
    values = sorted(values)
    if len(values) < 2:
        return values[0], values[0], values[0]
    q1, q2, q3 = statistics.quantiles(values, n=4, method="inclusive")
    return q1, q2, q3


def interval(values):
    """(low, median, high): between low and high the true median lies with 95 per cent, by how many of the values fall to
    either side of it (the sign test, which asks nothing of their distribution). Of fewer than 6 values, all of them."""
    values = sorted(values)
    n, k, below = len(values), 0, 0.5 ** len(values)
    while below <= 0.025 and k < n // 2:
        k += 1
        below += math.comb(n, k) * 0.5 ** n
    k = max(k - 1, 0)
    return values[k], statistics.median(values), values[n - 1 - k]


def ratios(runs, what, candidate, test, reference):
    """The ratios, repetition by repetition; [] if there is nothing to compare."""
    a = {i: r for i, r in fit(of(runs, candidate, test)).items() if what in r}
    b = {i: r for i, r in fit(of(runs, *reference)).items() if r.get(what)}
    pairs = [a[i][what] / b[i][what] for i in a if i in b]
    return pairs or [x[what] / y[what] for x in a.values() for y in b.values()]  # no repetition left both alone


def ratio(runs, what, candidate, test, reference):
    """(median, lower quartile, upper quartile) of the ratios; None if there is nothing to compare."""
    pairs = ratios(runs, what, candidate, test, reference)
    if not pairs:
        return None
    low, middle, high = quartiles(pairs)
    return middle, low, high


def row_of(runs, name, target, test):
    results = list(of(runs, name, test).values())
    kind = TESTS[test].kind
    row = {"kind": kind, "test": test, "candidate": name, "repetitions": len(results),
           "disturbed": sum(r["is_disturbed"] for r in results)}
    for what in MEDIANS[kind]:
        values = [r[what] for r in fit(of(runs, name, test)).values() if what in r]
        if values:
            row[what] = statistics.median(values)
    for what in CHECKS + ("drops",):
        values = [r[what] for r in results if r.get(what) is not None]
        if values:
            row[what] = max(values)
    for what in RATIOS.get(kind, ()):
        value = ratio(runs, what, name, test, (target.get("wire"), test))
        if value and row.get(what):  # what runs in its callers' time has no CPU of its own to compare
            row[what + "_to_wire"] = value
    return row


def rows(runs, targets, tests):
    """One row per test and candidate, in the order of 'tests' and 'targets'."""
    for test in tests:
        for name, target in targets.items():
            if of(runs, name, test):
                yield row_of(runs, name, target, test)


def spread(value):
    return "" if value is None else "%.2f [%.2f %.2f]" % tuple(value)


def frames_cells(r):
    rtt = "%.0f/%.0f/%.0f" % (r["rtt_p50_us"], r["rtt_p99_us"], r["rtt_p999_us"]) if "rtt_p50_us" in r else ""
    return ("%.0fk" % (r["pps"] / 1e3), "%.2f" % r["gbps"], spread(r.get("pps_to_wire")),
            "%.0f" % r["ns_per_frame"] if r["ns_per_frame"] else "-", spread(r.get("ns_per_frame_to_wire")),
            "%.0f" % r["machine_ns_per_frame"], "%.2f/%.2f" % (r["switch_busy"], r["own_busy"]), rtt,
            "/".join(str(r[c]) for c in CHECKS))


def tcp_cells(r):
    return ("%.2f" % r["gbps"], spread(r.get("gbps_to_wire")), "%.0f" % r["retransmits"], str(r.get("drops", "?")),
            "%.0f" % r["ns_per_kb"] if r["ns_per_kb"] else "-", "%.2f" % r["switch_busy"],
            "%.0f/%.0f" % (r["ping_p50_us"], r["ping_p99_us"]))


def guests_cells(r):
    return ("%.0f" % (r["gbps"] * 1e3), spread(r.get("gbps_to_wire")), str(r.get("drops", "?")), "%.2f" % r["switch_busy"])


def memory_cells(r):
    return tuple("%.2f (%.2f)" % (r[what + "_kb"] / scale, r[what + "_rss_kb"] / scale)
                 for what, scale in (("daemon", 1e3), ("network", 1e3), ("port", 1)))


TABLES = (
    (("frames",), ("pps", "Gbit/s", "of wire [q1 q3]", "ns/frame", "of wire [q1 q3]", "machine ns", "busy sw/gen",
                   "rtt p50/p99/p99.9 us", "lost/reord/corrupt/foreign"), frames_cells),
    (("tcp", "host"), ("Gbit/s", "of wire [q1 q3]", "retransmits", "switch drops", "switch ns/KB", "busy sw", "ping p50/p99 us"),
     tcp_cells),
    (("guests",), ("Mbit/s between guests", "of wire [q1 q3]", "switch drops", "busy sw"), guests_cells),
    (("memory",), ("daemon MB (rss)", "a network MB (rss)", "an idle port KB (rss)"), memory_cells),
)


def aligned(lines):
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    out = ["  ".join(cell.ljust(w) for cell, w in zip(line, widths)).rstrip() for line in lines]
    return "\n".join([out[0], "-" * len(out[0])] + out[1:])


def tables(all_rows):
    """The rows as text: a table for each kind of test."""
    out = []
    for kinds, head, cells in TABLES:
        lines = [(r["test"], r["candidate"]) + cells(r) + ("%d of %d" % (r["disturbed"], r["repetitions"]),)
                 for r in all_rows if r["kind"] in kinds]
        if lines:
            out.append(aligned([("test", "candidate") + head + ("disturbed",)] + lines))
    return "\n\n".join(out)
