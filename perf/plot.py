#!/usr/bin/env python3
"""perf/plot.py - draws what a run has kept: perf/plot.py RESULT.json DIR

Writes PNG and SVG of: throughput and CPU per frame for sizes of frames, what idle and stuck ports cost, round trips,
TCP. What a run did not measure is left out. The background is opaque, so that a page may be light or dark; colours are
Okabe and Ito's, which colour-blind people can tell apart, and lines have markers as well. Needs matplotlib.
"""
import argparse
import json
import os
import sys
from typing import NamedTuple

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.patheffects import withStroke
from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter, NullLocator

INK, FAINT, PAPER = "#24292f", "#d8dee4", "#ffffff"


class Style(NamedTuple):
    label: str
    colour: str
    marker: str


# In the order they are drawn. Passed descriptors are left out: the same code, the same figures.
STYLES = {
    "wire-stream": Style("wire, stream", "#4d545c", "s"),
    "wire-stream-1mb": Style("wire, stream, 1 MB buffers", "#9aa2ab", "s"),
    "vmswitch-stream": Style("vmswitch, stream", "#0072B2", "o"),
    "wire-dgram": Style("wire, datagram", "#7a828b", "D"),
    "wire-dgram-1mb": Style("wire, datagram, 1 MB buffers", "#c3c9d0", "D"),
    "vmswitch-dgram": Style("vmswitch, datagram", "#56B4E9", "^"),
    "vde": Style("vde_switch", "#E69F00", "v"),
    "bridge": Style("Linux bridge", "#009E73", "P"),
    "ovs": Style("Open vSwitch, user space", "#D55E00", "X"),
    "socket_vmnet": Style("socket_vmnet", "#CC79A7", "*"),
    "vmnet-helper": Style("vmnet-helper", "#F0E442", "h"),
}
STREAMS = ("wire-stream", "wire-stream-1mb", "vmswitch-stream")
PER_FRAME = ("wire-dgram", "wire-dgram-1mb", "vmswitch-dgram", "vde", "bridge", "ovs")

matplotlib.rcParams.update({
    "font.size": 10, "font.family": "sans-serif", "text.color": INK, "axes.labelcolor": INK, "xtick.color": INK, "ytick.color": INK,
    "axes.edgecolor": INK, "axes.titlesize": 10.5, "axes.titleweight": "bold", "axes.spines.top": False, "axes.spines.right": False,
    "axes.axisbelow": True, "grid.color": FAINT, "grid.linewidth": 0.8, "svg.hashsalt": "vmswitch", "svg.fonttype": "path",
    "legend.frameon": False, "legend.fontsize": 9})


class Kept:
    """The rows of a run, by test and candidate."""

    def __init__(self, kept):
        self.rows = {(r["test"], r["candidate"]): r for r in kept["rows"]}
        machine = kept["machine"]
        self.caption = "%s, %s cores; %s; commit %s; medians of %d interleaved repetition%s" % (
            machine["cpu"] or "CPU unknown", machine["cores"], "-".join(machine["system"].split("-")[:2]), machine["commit"],
            kept["repetitions"], "s" if kept["repetitions"] != 1 else "")

    def row(self, test, name):
        return self.rows.get((test, name), {})

    def names(self, tests, among=tuple(STYLES)):
        """Candidates that have a row in one of the tests, in the order of STYLES."""
        return [n for n in STYLES if n in among and any((t, n) in self.rows for t in tests)]


def new_figure(title, kept, height=4.8, panels=1, ratios=None):
    figure = Figure(figsize=(9.0, height), facecolor=PAPER, layout="constrained")
    FigureCanvasAgg(figure)
    figure.get_layout_engine().set(rect=(0.005, 0.01, 0.99, 0.99 - 0.62 / height), w_pad=0.08, h_pad=0.06)
    figure.text(0.012, 1 - 0.12 / height, title, fontsize=12.5, fontweight="bold", va="top")
    figure.text(0.012, 1 - 0.40 / height, kept.caption, fontsize=7.5, color="#656d76", va="top")
    axes = figure.subplots(1, panels, squeeze=False, gridspec_kw={"width_ratios": ratios} if ratios else None)[0]
    return figure, list(axes)


def note(axis, text, point, offset):
    """A figure at a point, readable on top of a bar or a line."""
    axis.annotate(text, point, (0, offset), textcoords="offset points", ha="center", va="bottom", fontsize=7.5,
                  path_effects=[withStroke(linewidth=2, foreground=PAPER)], zorder=5)


def bars(axis, groups, series, value_of, spread_of=None, text_of=None):
    """Vertical bars: a group for each of 'groups' (label, test), in it a bar for each of 'series' that has a value."""
    width = 0.84 / max(1, len(series))
    for g, (_, test) in enumerate(groups):
        present = [n for n in series if value_of(test, n)]
        for i, name in enumerate(present):
            value, low_high = value_of(test, name), spread_of(test, name) if spread_of else None
            has_spread = low_high and low_high[0] != low_high[1]
            error = [[max(0, value - low_high[0])], [max(0, low_high[1] - value)]] if has_spread else None
            x = g + (i - (len(present) - 1) / 2) * width
            axis.bar(x, value, width * 0.92, color=STYLES[name].colour, yerr=error, error_kw={"ecolor": INK, "elinewidth": 0.9, "capsize": 2})
            if text_of:
                note(axis, text_of(value), (x, max(value, low_high[1] if has_spread else value)), 2)
    axis.set_xticks(range(len(groups)), [label for label, _ in groups])
    axis.set_xlim(-0.55, len(groups) - 0.45)
    axis.tick_params(axis="x", length=0)
    axis.grid(axis="y")


def legend_below(figure, names, has_lines=False):
    handles = [Line2D([], [], color=STYLES[n].colour, marker=STYLES[n].marker, linewidth=2, label=STYLES[n].label) if has_lines
               else Patch(color=STYLES[n].colour, label=STYLES[n].label) for n in names]
    figure.legend(handles=handles, loc="outside lower center", ncols=min(4, len(names)), columnspacing=1.6,
                  handlelength=2 if has_lines else 1.1)


SIZES = [("64", "pair-64"), ("1500", "pair-1500"), ("9000", "pair-9000"), ("65000", "pair-65000")]


def two_panels(kept, title, label, value_of, draw, groups=SIZES):
    """Streams on the left, what takes a frame per datagram or call on the right."""
    tests = [t for _, t in groups]
    groups = [g for g in groups if kept.names([g[1]])]
    sides = [(head, [n for n in kept.names(tests, among) if any(value_of(t, n) for t in tests)])
             for head, among in (("Streams", STREAMS), ("A frame per datagram or call", PER_FRAME))]
    sides = [(head, names) for head, names in sides if names]
    if not sides:
        return None
    figure, axes = new_figure(title, kept, panels=len(sides), ratios=[max(3, len(names)) for _, names in sides])
    for axis, (head, names) in zip(axes, sides):
        axis.set_title(head, loc="left")
        draw(axis, groups, names)
        axis.set_xlabel("bytes per frame")
    axes[0].set_ylabel(label)
    legend_below(figure, [n for _, names in sides for n in names])
    return figure


def throughput(kept):
    def ratio_of(test, name):
        if name in ("wire-stream", "wire-dgram"):
            return 1.0 if kept.row(test, name) else None
        return (kept.row(test, name).get("pps_to_wire") or (None,))[0]

    def spread_of(test, name):
        value = kept.row(test, name).get("pps_to_wire")
        return value[1:3] if value else None

    def draw(axis, groups, names):
        names = [n for n in names if n not in ("wire-stream", "wire-dgram")]
        bars(axis, groups, names, ratio_of, spread_of, lambda v: "%.2f" % v)
        axis.axhline(1, color=INK, linewidth=1.1)
        axis.set_ylim(bottom=0)

    return two_panels(kept, "Throughput of one pair: the wire, which switches nothing, is 1", "frames per second, relative to the wire",
                      lambda t, n: ratio_of(t, n) if n not in ("wire-stream", "wire-dgram") else None, draw)


def compact(value):
    return "%.0f" % value if value < 1000 else "%.2gk" % (value / 1000) if value < 9950 else "%.0fk" % (value / 1000)


def cpu(kept):
    def value_of(test, name):
        return kept.row(test, name).get("ns_per_frame")

    def draw(axis, groups, names):
        axis.set_yscale("log")
        bars(axis, groups, names, value_of, None, compact)
        axis.yaxis.set_major_formatter(FuncFormatter(lambda v, _: compact(v)))
        axis.yaxis.set_minor_formatter(NullFormatter())
        axis.margins(y=0.12)

    return two_panels(kept, "CPU that the switch spends per frame (less is better)", "ns per frame, logarithmic", value_of, draw)


IDLE = (2, 8, 32, 128)


def degradation(kept):
    tests = ["idle-%d" % n for n in IDLE]
    names = [n for n in kept.names(tests) if kept.row("pair-1500", n)]
    if not names:
        return None
    figure, (axis, stuck_axis) = new_figure("Ports that do nothing should cost nothing", kept, panels=2, ratios=[3, 2])
    for name in names:
        alone = kept.row("pair-1500", name)["pps"]
        points = [(1, 1.0)] + [(n, kept.row("idle-%d" % n, name)["pps"] / alone) for n in IDLE if kept.row("idle-%d" % n, name)]
        style = STYLES[name]
        axis.plot(*zip(*points), color=style.colour, marker=style.marker, markersize=6.5, linewidth=2)
    axis.set_xscale("log", base=2)
    axis.xaxis.set_major_locator(FixedLocator((1,) + IDLE))
    axis.xaxis.set_minor_locator(NullLocator())
    axis.xaxis.set_major_formatter(FuncFormatter(lambda v, _: "0" if v == 1 else "%d" % v))
    axis.set_ylim(0, max(1.15, axis.get_ylim()[1]))
    axis.set_title("Idle ports", loc="left")
    axis.set_xlabel("idle ports beside one busy pair")
    axis.set_ylabel("frames per second, relative to\nthe same switch without them")
    axis.grid()

    def value_of(test, name):
        base = kept.row(test.replace("stuck", "aim"), name)
        return kept.row(test, name)["pps"] / base["pps"] if base and kept.row(test, name) else None

    groups = [("2", "stuck-2"), ("64", "stuck-64")]
    bars(stuck_axis, groups, [n for n in names if any(value_of(t, n) for _, t in groups)], value_of, None, lambda v: "%.2f" % v)
    stuck_axis.axhline(1, color=INK, linewidth=1.1)
    stuck_axis.set_ylim(0, max(1.15, stuck_axis.get_ylim()[1]))
    stuck_axis.set_title("Hung VMs that frames are aimed at", loc="left")
    stuck_axis.set_xlabel("ports that are never read")
    legend_below(figure, names, has_lines=True)
    return figure


def round_trips(kept):
    panels = [(t, head) for t, head in (("rtt-1500", "Alone"), ("rtt-loaded", "Beside a pair at full speed")) if kept.names([t])]
    if not panels:
        return None
    names = [n for n in kept.names([t for t, _ in panels])][::-1]
    figure, axes = new_figure("Round trips of one frame of 1500 bytes (less is better)", kept, panels=len(panels), height=1.9 + 0.38 * len(names))
    for axis, (test, head) in zip(axes, panels):
        for y, name in enumerate(names):
            row = kept.row(test, name)
            if not row:
                continue
            p50, p99, p999 = row["rtt_p50_us"], row["rtt_p99_us"], row["rtt_p999_us"]
            colour = STYLES[name].colour
            axis.plot([p50, p999], [y, y], color=colour, linewidth=1.2)
            axis.plot([p50, p99], [y, y], color=colour, linewidth=4.5, solid_capstyle="butt")
            axis.plot(p50, y, "o", color=colour, markersize=9, markeredgecolor=PAPER)
            note(axis, "%.0f" % p50, (p50, y), 6)
        axis.set_xscale("log")
        axis.xaxis.set_major_formatter(FuncFormatter(lambda v, _: "%g" % v))
        axis.xaxis.set_minor_formatter(NullFormatter())
        axis.set_yticks(range(len(names)), [STYLES[n].label for n in names] if axis is axes[0] else [""] * len(names))
        axis.set_ylim(-0.6, len(names) - 0.35)
        axis.tick_params(axis="y", length=0)
        axis.set_title(head, loc="left")
        axis.set_xlabel("us: dot p50, thick to p99, thin to p99.9")
        axis.grid(axis="x")
    return figure


TCP = [("1500 B frames,\nno offload", "tcp-1500"), ("64 KiB frames,\noffload", "tcp-64k"), ("offload port\nto plain port", "tcp-mixed"),
       ("plain port\nto offload port", "tcp-mixed-back")]


def tcp(kept):
    groups = [g for g in TCP if kept.names([g[1]])]
    names = [n for n in kept.names([t for _, t in groups]) if not n.endswith("-1mb")]
    if not names:
        return None
    figure, (axis,) = new_figure("TCP through two ports: iperf3, one stream (more is better)", kept)
    bars(axis, groups, names, lambda t, n: kept.row(t, n).get("gbps"), None, lambda v: "%.1f" % v)
    axis.set_ylabel("Gbit/s")
    legend_below(figure, names)
    return figure


FIGURES = {"throughput": throughput, "cpu": cpu, "degradation": degradation, "rtt": round_trips, "tcp": tcp}


def draw(kept, folder):
    """Writes all figures that the run has rows for; yields the paths."""
    os.makedirs(folder, exist_ok=True)
    rows = Kept(kept)
    for name, make in FIGURES.items():
        figure = make(rows)
        if figure is None:
            continue
        for suffix, more in (("png", {"dpi": 150}), ("svg", {"metadata": {"Date": None}})):
            path = os.path.join(folder, "%s.%s" % (name, suffix))
            figure.savefig(path, **more)
            yield path


def main():
    parser = argparse.ArgumentParser(description="Draws what perf/run.py has kept, as PNG and SVG.")
    parser.add_argument("result", help="the JSON")
    parser.add_argument("folder", help="where the figures go")
    args = parser.parse_args()
    with open(args.result) as file:
        kept = json.load(file)
    paths = list(draw(kept, args.folder))
    print(*paths, sep="\n")
    return 0 if paths else 1


if __name__ == "__main__":
    sys.exit(main())
