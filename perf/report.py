"""perf/report.py - medians, ratios with their spread, targets met or missed, a table

A ratio is the candidate's median over its reference's median, from the same interleaved run; the spread is the
quartiles of the ratios taken pair by pair (same repetition). Of lost, reordered and corrupt frames the worst of all
repetitions counts, never the median. Runs that something else disturbed are left out of medians and ratios wherever
there are at least two others: on a machine that others work on, they tell how busy those were.
"""
import statistics

CHECKS = ("lost", "reordered", "corrupt", "foreign")


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


def ratio(runs, what, candidate, test, reference):
    """(median / median, lower quartile, upper quartile of the pairs), or None if there is nothing to compare."""
    a, b = fit(of(runs, candidate, test)), fit(of(runs, *reference))
    if not a or not b:
        return None
    pairs = [a[i][what] / b[i][what] for i in a if i in b and b[i].get(what)]
    if not pairs:  # no repetition in which both were left alone
        pairs = [x[what] / y[what] for x in a.values() for y in b.values() if y.get(what)]
    low, _, high = quartiles(pairs)
    middle = statistics.median(r[what] for r in a.values()) / statistics.median(r[what] for r in b.values())
    return middle, low, high


def rows(runs, targets, tests):
    """One row per test and candidate, in the order of 'tests' and 'targets'."""
    for test in tests:
        for name, target in targets.items():
            results = list(of(runs, name, test).values())
            if not results:
                continue
            latency = "rtt_p50_us" in results[0]
            row = {"test": test, "candidate": name, "repetitions": len(results)}
            for what in ("pps", "gbps", "ns_per_frame", "switch_busy", "own_busy") + (
                    ("rtt_p50_us", "rtt_p99_us") if latency else ()):
                row[what] = statistics.median(r[what] for r in fit(of(runs, name, test)).values())
            for what in CHECKS:
                row[what] = max(r[what] for r in results)
            row["disturbed"] = sum(r["is_disturbed"] for r in results)
            wire = target.get("wire")
            if wire:
                row["pps_to_wire"] = ratio(runs, "pps", name, test, (wire, test))
                row["ns_to_wire"] = ratio(runs, "ns_per_frame", name, test, (wire, test))
                if latency:
                    row["rtt_to_wire"] = ratio(runs, "rtt_p50_us", name, test, (wire, test))
            yield row


def spread(value):
    return "" if value is None else "%.2f [%.2f %.2f]" % value


def table(all_rows):
    """The rows as text."""
    head = ("test", "candidate", "pps", "Gbit/s", "of wire [q1 q3]", "ns/frame", "of wire [q1 q3]", "busy sw/gen",
            "rtt p50/p99 us", "lost/reord/corrupt/foreign", "disturbed")
    lines = [head]
    for r in all_rows:
        lines.append((
            r["test"], r["candidate"], "%.0fk" % (r["pps"] / 1e3), "%.2f" % r["gbps"], spread(r.get("pps_to_wire")),
            "%.0f" % r["ns_per_frame"], spread(r.get("ns_to_wire")), "%.2f/%.2f" % (r["switch_busy"], r["own_busy"]),
            "%.0f/%.0f" % (r["rtt_p50_us"], r["rtt_p99_us"]) if "rtt_p50_us" in r else "",
            "/".join(str(r[c]) for c in CHECKS), "%d of %d" % (r["disturbed"], r["repetitions"])))
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    out = ["  ".join(cell.ljust(w) for cell, w in zip(line, widths)).rstrip() for line in lines]
    return "\n".join([out[0], "-" * len(out[0])] + out[1:])


def judge(runs, name, test, reference, limit, must_not_lose):
    """One target: throughput of (name, test) over the reference's is at least 'limit', and no frame was lost."""
    value = ratio(runs, "pps", name, test, reference)
    if value is None:
        return None
    lost = max(r["lost"] + r["reordered"] + r["corrupt"] for r in of(runs, name, test).values())
    is_met = value[0] >= limit and (lost == 0 or not must_not_lose)
    return {"candidate": name, "test": test, "reference": "%s %s" % reference, "limit": limit, "ratio": value[0],
            "q1": value[1], "q3": value[2], "damaged": lost, "must_not_lose": must_not_lose, "is_met": is_met,
            "is_in_noise": value[1] < limit <= value[2]}


def verdicts(runs, targets):
    """The project's targets that this run can say something about."""
    asked = []
    for name, target in targets.items():
        if not name.startswith("vmswitch"):
            continue
        asked.append((name, "pair-1500", (target["wire"], "pair-1500"), 0.9, False))
        asked.append((name, "idle-128", (name, "pair-1500"), 0.95, True))
        for n in (2, 64):
            asked.append((name, "stuck-%d" % n, (name, "aim-%d" % n), 0.95, True))
    return [v for v in (judge(runs, *a) for a in asked) if v]


def verdict_lines(all_verdicts):
    """Unclear: the limit lies within the spread; more repetitions, or a quieter machine, would tell."""
    for v in all_verdicts:
        is_damaged = v["must_not_lose"] and v["damaged"] > 0
        word = "unclear" if v["is_in_noise"] and not is_damaged else "met" if v["is_met"] else "MISSED"
        yield "%-7s %-18s %-9s >= %.2f of %-28s: %.2f [%.2f %.2f]%s" % (
            word, v["candidate"], v["test"], v["limit"], v["reference"], v["ratio"], v["q1"],
            v["q3"], ", %d frames lost or damaged" % v["damaged"] if is_damaged else "")
