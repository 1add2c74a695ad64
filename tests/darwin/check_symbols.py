#!/usr/bin/env python3
"""Checks what the executables for macOS leave undefined, see tests/darwin/build.sh.

usage: tests/darwin/check_symbols.py arm64|x86_64        (after build.sh has built them)

Each name must be exported by libSystem, or be in the list of the library that the linker found it in, or in
frameworks.txt. Each name of a library's list must be declared by that library's header and be used: a list says what
we use, not what we might. Prints each violation, with objects that use the name; exits 1 if there is one.
"""
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LISTS = ROOT / "tests/darwin/symbols"
MADE = ROOT / "build/darwin"  # by build.sh: the compiler, the headers
FRAMEWORKS = "frameworks"
USERS_SHOWN = 4
LOADER = {"dyld_stub_binder"}  # zig's linker wants it, no source does
# libSystem.tbd says arm64e where a library has one slice for all of Apple's processors.
TARGETS = {"arm64": {"arm64-macos", "arm64e-macos"}, "x86_64": {"x86_64-macos"}}

SECTION = re.compile(r"- targets:\s*\[([^]]*)\]((?:\s+[a-z-]+:\s*\[[^]]*\])+)")
NAMES = re.compile(r"\bsymbols:\s*\[([^]]*)\]")  # weak- and thread-local- ones as well
UNDEFINED = re.compile(r"^\s*\(undefined\)(?: weak)? external (\S+)(?: \(from (\S+)\))?")


def words(text):
    return {word.strip().strip("'\"") for word in text.split(",")}


def exports_of_libsystem(arch):
    """The libraries that it re-exports are documents of the same file; what those re-export by name counts too."""
    text = next(MADE.glob("venv/lib/python3*/site-packages/ziglang/lib/libc/darwin/libSystem.tbd")).read_text()
    names = set()
    for targets, body in SECTION.findall(text):
        if words(targets) & TARGETS[arch]:
            for symbols in NAMES.findall(body):
                names |= words(symbols)
    return names


def lists():
    return {path.stem: {line for line in path.read_text().splitlines() if line and not line.startswith("#")}
            for path in LISTS.glob("*.txt")}


def undefined_of(executable):
    """Yields each name as the linker has it, and the library it was found in, or None."""
    run = subprocess.run(["llvm-nm", "-m", "-u", executable], check=True, capture_output=True, text=True)
    for line in run.stdout.splitlines():
        match = UNDEFINED.match(line)
        if not match:
            sys.exit(f"{executable.name}: llvm-nm says what this does not understand: {line}")
        yield match[1], match[2]


def users_of(name, folder):
    objects = sorted(path for path in folder.rglob("*.o") if "CompilerIdC" not in path.parts)
    run = subprocess.run(["llvm-nm", "-A", "-u", *objects], check=True, capture_output=True, text=True)
    users = [line.split(": ")[0].removeprefix(f"{folder}/") for line in run.stdout.splitlines() if line.endswith(f": {name}")]
    more = f" and {len(users) - USERS_SHOWN} more" if len(users) > USERS_SHOWN else ""
    return ", ".join(users[:USERS_SHOWN]) + more or "no object"


def check_lists(listed, used):
    for library, names in listed.items():
        text = "\n".join(path.read_text(errors="replace") for path in (MADE / "include" / library).rglob("*.h"))
        for name in sorted(names):
            if library != FRAMEWORKS and not re.search(rf"\b{re.escape(name)}\s*\)?\s*\(", text):
                yield f"symbols/{library}.txt: {name} is not declared by the headers of {library}"
            if (library, name) not in used:
                yield f"symbols/{library}.txt: {name} is used by no executable"


def check(arch):
    folder = ROOT / f"build/darwin-{arch}"
    libsystem = exports_of_libsystem(arch) | LOADER
    listed = lists()
    used = set()
    unknown = {}  # a name: the executables
    for path in sorted((folder / "bin").iterdir()):
        for name, library in undefined_of(path):
            plain = name.removeprefix("_")
            if library == "libSystem":
                is_known = name in libsystem
            else:
                library = library or FRAMEWORKS
                is_known = plain in listed.get(library, ())
                used.add((library, plain))
            if not is_known:
                unknown.setdefault(name, []).append(path.name)
    for name, executables in unknown.items():
        yield f"unknown symbol {name.removeprefix('_')} in {', '.join(executables)}: used by {users_of(name, folder)}"
    yield from check_lists(listed, used)


def main():
    if len(sys.argv) != 2 or sys.argv[1] not in TARGETS:
        sys.exit(__doc__)
    problems = list(check(sys.argv[1]))
    for problem in problems:
        print(problem)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
