#!/usr/bin/env python3
"""tests/counters/check.py - what a frame costs, by counters that noise cannot move, against limits.json

usage: tests/counters/check.py [--update] [--no-build] [--only WORD]

Runs build/release/bin/vmswitch-steady, the frame path in one process, for each case of limits.json and counts for the
turns after its warm-up:
  instructions per frame     callgrind, all that the network does, libuv and libc included
  system calls per turn      strace, by name, between marks; futex (a lock that somebody waits for) must not be among them
  bytes copied, allocations  counted in the program itself (perf/counting.h)

A frame is not copied: 0 bytes where a read ends with a record. Where it does not ("torn": half of each burst's last record
comes later), what there is of a record is copied out of the shared buffer and in front of the next read; of a long one not: that
stays where it is. A frame that is
cut into segments has the first 64 bytes of each copied, headers and 10 bytes; its payload is not.

More than the limit fails: instructions by more than the margin, the others at all. Fewer are reported; then --update writes
the table anew, and the commit says why. Instructions hold for the compiler, machine and libuv that the table names; with
others they are reported and not compared. The exit code is 0 if nothing is over its limit.
"""
import argparse
import collections
import json
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TABLE = Path(__file__).with_name("limits.json")
BUILD = ROOT / "build" / "release"
PROGRAM = BUILD / "bin" / "vmswitch-steady"
TURNS = 20
TOP = 12  # functions shown where instructions are over the limit
# Without a vDSO clock, asking for the time is a system call; that is the machine's doing.
CLOCK = {"clock_gettime", "gettimeofday"}


def fail(text):
    sys.exit(f"tests/counters/check.py: error: {text}")


def output_of(*command, **more):
    done = subprocess.run(command, capture_output=True, text=True, check=False, **more)
    if done.returncode != 0:
        fail(f"{' '.join(map(str, command))}: exit code {done.returncode}\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.stdout


def build():
    if not (BUILD / "CMakeCache.txt").exists():
        output_of("cmake", "--preset", "release", *(["-G", "Ninja"] if shutil.which("ninja") else []), cwd=ROOT)
    output_of("cmake", "--build", str(BUILD), "--target", "vmswitch-steady", cwd=ROOT)


def environment():
    """What instruction counts depend on, beside the code."""
    cache = (BUILD / "CMakeCache.txt").read_text()
    of = lambda name: (re.search(rf"^{name}:\w+=(.*)$", cache, re.M) or ["", ""])[1]
    compiler = of("CMAKE_C_COMPILER")
    is_clang = "clang" in output_of(compiler, "--version").lower()
    return {"compiler": f"{'clang' if is_clang else 'gcc'} {output_of(compiler, '-dumpversion').split('.')[0].strip()}",
            "machine": output_of(compiler, "-dumpmachine").strip(),
            "flags": " ".join(f"{of('CMAKE_C_FLAGS')} {of('CMAKE_C_FLAGS_' + of('CMAKE_BUILD_TYPE').upper())}".split()),
            "libuv": output_of("pkg-config", "--modversion", "libuv").strip()}


def count_instructions(options, folder):
    """(all of them, [(function, own)]) in TURNS turns."""
    out = folder / "callgrind"
    output_of("valgrind", "--tool=callgrind", "--collect-atstart=no", "--toggle-collect=forward*", f"--callgrind-out-file={out}",
              str(PROGRAM), *options, "--turns", str(TURNS))
    functions = collections.Counter()  # what is inlined from elsewhere has lines of its own
    for line in output_of("callgrind_annotate", "--threshold=100", str(out)).splitlines():
        if found := re.match(r"^\s*([\d,]+) \([\d .]+%\)\s+\S+?:(\S+)", line):
            functions[found[2]] += int(found[1].replace(",", ""))
    total = re.search(r"^(?:totals|summary): (\d+)", out.read_text(), re.M)
    if not total or int(total[1]) == 0:
        fail(f"callgrind has counted nothing for {' '.join(options)}")
    return int(total[1]), functions.most_common(TOP)


def count_calls(options, folder):
    """name -> calls in TURNS turns."""
    out = folder / "strace"
    output_of("strace", "-f", "-qq", "-o", str(out), str(PROGRAM), *options, "--turns", str(TURNS), "--marks")
    calls, marks = collections.Counter(), 0
    for line in out.read_text(errors="replace").splitlines():
        name = re.match(r"^\d+\s+(\w+)\(", line)
        if name and name[1] == "getppid":
            marks += 1
        elif name and marks % 2 == 1 and name[1] not in CLOCK:
            calls[name[1]] += 1
    if marks % 2 or marks < 2 * TURNS:
        fail(f"{marks} marks in the trace, {2 * TURNS} expected")
    return dict(calls)


def whole(number):
    return int(number) if number == int(number) else number


def measure(options):
    with tempfile.TemporaryDirectory(prefix="vmsw-counters-") as folder:
        instructions, functions = count_instructions(options, Path(folder))
        calls = count_calls(options, Path(folder))
    said = json.loads(output_of(str(PROGRAM), *options, "--turns", str(TURNS)))
    if said["allocations_before"] == 0:
        fail("the counter of allocations does not count")
    frames = said["frames"]
    return {"instructions": round(instructions / frames, 2), "calls_per_turn": {name: whole(n / TURNS) for name, n in sorted(calls.items())},
            "copied_bytes": whole(said["copied_bytes"] / frames), "allocations": said["allocations"],
            "frames_per_turn": frames // TURNS, "functions": [(name, own / frames) for name, own in functions]}


def compare(case, got, margin, is_comparable):
    """(what is over the limit, what is under it)"""
    over, under = [], []
    for what in ("copied_bytes", "allocations"):
        if got[what] != case[what]:
            (over if got[what] > case[what] else under).append(f"{what} {got[what]:g}, limit {case[what]}")
    for name in sorted(set(got["calls_per_turn"]) | set(case["calls_per_turn"])):
        now, limit = got["calls_per_turn"].get(name, 0), case["calls_per_turn"].get(name, 0)
        if now != limit:
            (over if now > limit else under).append(f"{name} {now:g} a turn, limit {limit:g}")
    if "futex" in got["calls_per_turn"]:
        over.append("futex: the frame path waits for a lock")
    if is_comparable and abs(got["instructions"] - case["instructions"]) > margin * case["instructions"]:
        more = got["instructions"] > case["instructions"]
        (over if more else under).append(f"{got['instructions']:g} instructions a frame, limit {case['instructions']:g} + {margin:.0%}")
    return over, under


def show(name, got):
    calls = sum(got["calls_per_turn"].values())
    print(f"{name:28} {got['instructions']:10.1f} {calls / got['frames_per_turn']:10.4f} {got['copied_bytes']:9.0f} {got['allocations']:6d}   "
          + " ".join(f"{call} {n:g}" for call, n in got["calls_per_turn"].items()), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--update", action="store_true", help="write what is counted into limits.json")
    parser.add_argument("--no-build", action="store_true", help="take build/release as it is")
    parser.add_argument("--only", default="", metavar="WORD", help="only the cases with WORD in their name")
    words = parser.parse_args()
    for tool in ("valgrind", "callgrind_annotate", "strace"):
        if not shutil.which(tool):
            fail(f"{tool} is missing; run etc/install-deps.sh check")
    if not words.no_build:
        build()
    table = json.loads(TABLE.read_text())
    here = environment()
    is_comparable = all(table["holds_for"][key] == here[key] for key in here)
    print(f"{'case':28} {'instr/fr.':>10} {'calls/fr.':>10} {'copied/fr':>9} {'alloc.':>6}   system calls a turn")
    failed = False
    for name, case in table["cases"].items():
        if words.only not in name:
            continue
        got = measure(case["options"].split())
        show(name, got)
        if words.update:
            case.update({key: got[key] for key in ("instructions", "calls_per_turn", "copied_bytes", "allocations")})
            continue
        over, under = compare(case, got, table["margin"], is_comparable)
        for text in over:
            print(f"    OVER: {text}")
        for text in under:
            print(f"    under: {text}; --update if that is meant to stay")
        if any("instructions" in text for text in over):
            for function, own in got["functions"]:
                print(f"      {own:10.1f}  {function}")
        failed = failed or bool(over)
    if words.update:
        table["holds_for"] = here
        TABLE.write_text(json.dumps(table, indent=2) + "\n")
        print(f"written to {TABLE.relative_to(ROOT)}; the commit says why")
    elif not is_comparable:
        print(f"note: instructions were not compared; the table holds for {table['holds_for']}, this is {here}")
    print("counters: " + ("FAILED" if failed else "written" if words.update else "nothing is over its limit"))
    sys.exit(failed)


if __name__ == "__main__":
    main()
