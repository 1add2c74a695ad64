#!/usr/bin/env python3
"""tests/unit/perf/test_report.py - what the benchmark calls met, missed and unclear, and what it measures for that"""
import json
import sys
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "perf"))
sys.dont_write_bytecode = True

import plan  # noqa: E402
import report  # noqa: E402
import verdicts  # noqa: E402

GOOD = {"lost": 0, "reordered": 0, "corrupt": 0, "foreign": 0, "is_disturbed": False}
TARGETS = {p.stem: json.loads(p.read_text()) for p in (ROOT / "perf" / "targets").glob("*.json")}
MINE = {n: TARGETS[n] for n in ("wire-stream", "wire-stream-1mb", "wire-dgram", "vmswitch-stream", "vmswitch-dgram")}


def runs_of(candidate, test, metric, values, **more):
    return [{"candidate": candidate, "test": test, "repetition": i, "result": {**GOOD, metric: v, **more}} for i, v in enumerate(values)]


def ask(**fields):
    return verdicts.Ask(**{"number": 1, "candidate": "a", "test": "pair-1500", "metric": "pps", "limit": 1.0,
                           "reference": ("wire", "pair-1500"), **fields})


def word(runs, **fields):
    return verdicts.judge(runs, ask(**fields))["verdict"]


class Ratios(unittest.TestCase):
    def test_a_ratio_is_taken_pair_by_pair(self):
        runs = runs_of("a", "pair-1500", "pps", [1, 4, 9]) + runs_of("wire", "pair-1500", "pps", [2, 4, 3])
        self.assertEqual(report.ratio(runs, "pps", "a", "pair-1500", ("wire", "pair-1500")), (1.0, 0.75, 2.0))

    def test_a_machine_that_becomes_slower_does_not_show(self):
        runs = runs_of("a", "pair-1500", "pps", [90, 45, 9]) + runs_of("wire", "pair-1500", "pps", [100, 50, 10])
        self.assertEqual(report.ratio(runs, "pps", "a", "pair-1500", ("wire", "pair-1500")), (0.9, 0.9, 0.9))

    def test_the_more_repetitions_the_surer_the_median(self):
        self.assertEqual(report.interval([1, 2, 3]), (1, 2, 3))
        self.assertEqual(report.interval(range(6)), (0, 2.5, 5))
        self.assertEqual(report.interval(range(15)), (3, 7, 11))  # the table of the sign test: ranks 4 and 12
        self.assertEqual(report.interval(range(40)), (13, 19.5, 26))  # 14 and 27

    def test_disturbed_runs_do_not_count_where_two_others_are_left(self):
        runs = runs_of("a", "pair-1500", "pps", [8, 8, 1]) + runs_of("wire", "pair-1500", "pps", [8, 8, 8])
        runs[2]["result"]["is_disturbed"] = True
        self.assertEqual(report.ratio(runs, "pps", "a", "pair-1500", ("wire", "pair-1500"))[0], 1.0)
        runs[1]["result"]["is_disturbed"] = True
        self.assertLess(report.ratio(runs, "pps", "a", "pair-1500", ("wire", "pair-1500"))[1], 1.0)

    def test_without_a_reference_there_is_no_ratio(self):
        runs = runs_of("a", "pair-1500", "pps", [1])
        self.assertIsNone(report.ratio(runs, "pps", "a", "pair-1500", ("wire", "pair-1500")))
        self.assertIsNone(report.ratio(runs + runs_of("wire", "pair-1500", "pps", [0]), "pps", "a", "pair-1500", ("wire", "pair-1500")))

    def test_the_worst_loss_counts_and_not_the_median(self):
        runs = runs_of("a", "pair-1500", "pps", [1, 1, 1], gbps=1, ns_per_frame=1, machine_ns_per_frame=1, switch_busy=1, own_busy=1)
        runs[1]["result"] = {**runs[1]["result"], "lost": 7}
        row = report.row_of(runs, "a", {}, "pair-1500")
        self.assertEqual((row["lost"], row["reordered"], row["repetitions"]), (7, 0, 3))


class Verdicts(unittest.TestCase):
    def setUp(self):
        self.wire = runs_of("wire", "pair-1500", "pps", [100] * 5)

    def test_at_least(self):
        self.assertEqual(word(self.wire + runs_of("a", "pair-1500", "pps", [101] * 5)), "met")
        self.assertEqual(word(self.wire + runs_of("a", "pair-1500", "pps", [100] * 5)), "met")
        self.assertEqual(word(self.wire + runs_of("a", "pair-1500", "pps", [99] * 5)), "MISSED")

    def test_at_most(self):
        self.assertEqual(word(self.wire + runs_of("a", "pair-1500", "pps", [99] * 5), is_at_most=True), "met")
        self.assertEqual(word(self.wire + runs_of("a", "pair-1500", "pps", [101] * 5), is_at_most=True), "MISSED")

    def test_a_limit_that_the_median_may_be_on_either_side_of_is_unclear(self):
        self.assertEqual(word(self.wire + runs_of("a", "pair-1500", "pps", [97, 98, 99, 103, 104])), "unclear")
        self.assertEqual(word(self.wire + runs_of("a", "pair-1500", "pps", [97, 98, 101, 103, 104])), "unclear")

    def test_one_lost_frame_is_a_miss_where_none_may_be(self):
        runs = self.wire + runs_of("a", "pair-1500", "pps", [200] * 5)
        runs[-1]["result"] = {**runs[-1]["result"], "lost": 1}
        self.assertEqual(word(runs), "met")
        self.assertEqual(word(runs, is_lossless=True), "MISSED")

    def test_the_switchs_own_drops_are_a_miss_and_its_silence_is_none(self):
        runs = self.wire + runs_of("a", "pair-1500", "pps", [200] * 5, drops=None)
        self.assertEqual(word(runs, is_dropless=True), "met")
        runs[-1]["result"] = {**runs[-1]["result"], "drops": 3}
        judged = verdicts.judge(runs, ask(is_dropless=True))
        self.assertEqual((judged["verdict"], judged["dropped"]), ("MISSED", 3))
        self.assertIn("3 frames dropped by the switch", verdicts.line(judged))

    def test_a_figure_without_a_reference_is_judged_itself(self):
        runs = runs_of("a", "memory", "daemon_kb", [7000])
        fields = {"test": "memory", "metric": "daemon_kb", "limit": 8, "reference": None, "is_at_most": True, "scale": 1e3}
        self.assertEqual(word(runs, **fields), "met")
        self.assertEqual(word(runs_of("a", "memory", "daemon_kb", [9000]), **fields), "MISSED")

    def test_what_was_not_measured_is_not_judged(self):
        self.assertIsNone(verdicts.judge(self.wire, ask()))
        self.assertEqual(verdicts.verdicts(self.wire, MINE), [])


class Targets(unittest.TestCase):
    def test_every_target_is_asked_of_both_transports(self):
        asked = {(a.candidate, a.number) for a in verdicts.all_asks(MINE)}
        self.assertEqual({n for c, n in asked if c == "vmswitch-stream"}, {1, 3, 4, 5, 6, 8})
        self.assertEqual({n for c, n in asked if c == "vmswitch-dgram"}, {2, 3, 4, 5, 6})

    def test_what_is_needed_has_both_sides_of_every_ratio(self):
        needed = verdicts.needed(MINE)
        for a in verdicts.all_asks(MINE):
            self.assertIn((a.candidate, a.test), needed)
            self.assertTrue(a.reference is None or a.reference in needed, a)

    def test_every_candidate_names_families_and_a_wire_that_exist(self):
        families = {t.family for t in plan.TESTS.values()}
        for name, target in TARGETS.items():
            self.assertLessEqual(set(target["tests"]), families, name)
            self.assertIn(target.get("wire", "wire-stream"), TARGETS, name)
            self.assertTrue(target["what"], name)

    def test_a_candidate_that_truncates_is_spared_large_frames(self):
        self.assertFalse(plan.is_for(plan.TESTS["pair-9000"], TARGETS["vde"]))
        self.assertTrue(plan.is_for(plan.TESTS["pair-1500"], TARGETS["vde"]))


class Order(unittest.TestCase):
    def test_what_is_compared_runs_close_together(self):
        pairs = [(t, n) for t in plan.TESTS for n in MINE]
        order = plan.shuffled(pairs)
        self.assertEqual(sorted(order), sorted(pairs))
        of_group = [plan.TESTS[t].beside or t for t, _ in order]
        self.assertEqual(sum(a != b for a, b in zip(of_group, of_group[1:])), len(set(of_group)) - 1)

    def test_every_ratio_is_of_runs_that_are_close_together(self):
        for a in verdicts.all_asks(MINE):
            if a.reference:
                self.assertEqual(*(plan.TESTS[t].beside or t for t in (a.test, a.reference[1])))


class Text(unittest.TestCase):
    def test_tables_and_verdicts_come_out_as_lines(self):
        more = {"gbps": 1.0, "ns_per_frame": 0, "machine_ns_per_frame": 9, "switch_busy": 0, "own_busy": 1}
        runs = runs_of("wire-stream", "pair-1500", "pps", [100] * 3, **more) + runs_of("vmswitch-stream", "pair-1500", "pps", [90] * 3, **more)
        rows = list(report.rows(runs, MINE, plan.TESTS))
        self.assertEqual([r["candidate"] for r in rows], ["wire-stream", "vmswitch-stream"])
        self.assertIn("0.90 [0.90 0.90]", report.tables(rows))
        self.assertEqual(list(verdicts.lines(verdicts.verdicts(runs, MINE)))[-1], "0 met, 1 missed, 0 unclear")


if __name__ == "__main__":
    unittest.main()
