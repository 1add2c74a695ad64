#!/usr/bin/env python3
"""Checks the rules of docs/architecture.md on who may include whom, and where platform #ifdefs may stand.

usage: tests/layering/check.py        (from anywhere; prints each violation, exits 1 if there is one)
"""
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LAYERS = {
    "switch": {"folders": {"switch"}, "libraries": set()},
    "io": {"folders": {"switch", "io"}, "libraries": {"uv.h", "slirp/libslirp.h", "libslirp.h", "pcap.h", "pcap/pcap.h"}},
    # Beside the log: who asks, what an uplink is called, and the plumbing of the socket it accepts on.
    "api": {"folders": {"switch", "api"},
            "files": {"io/log.h", "io/peer.h", "io/uplink.h", "io/broker_client.h", "io/listener.h", "io/settings.h", "io/socket.h",
                      "io/vmnet_features.h"},
            "libraries": {"uv.h", "jansson.h", "microhttpd.h"}},
    "daemon": {"folders": {"switch", "io", "api", "daemon"},
               "libraries": {"uv.h", "jansson.h", "curl/curl.h", "slirp/libslirp.h", "libslirp.h", "seccomp.h"}},
}
LIBRARIES = {"uv.h", "jansson.h", "microhttpd.h", "curl/curl.h", "slirp/libslirp.h", "libslirp.h", "pcap.h", "pcap/pcap.h", "seccomp.h"}
# What a pure layer may use of the C library: no clock, file, socket or process.
PURE_HEADERS = {"assert.h", "inttypes.h", "limits.h", "stdalign.h", "stdbool.h", "stddef.h", "stdint.h", "stdio.h", "stdlib.h",
                "string.h", "stdarg.h", "ctype.h"}
PURE_FORBIDDEN = re.compile(r"\b(malloc|calloc|realloc|free|time|clock_gettime|rand|random|printf|fprintf|open|read|write|socket)\s*\(")
PURE_ALLOCATORS = {"create", "destroy", "init", "deinit"}  # of functions: memory is taken there and nowhere else
PLATFORM = re.compile(r"^\s*#\s*(?:if|ifdef|ifndef|elif)\b.*\b(__linux__|__APPLE__|__FreeBSD__|_WIN32|__MACH__|TARGET_OS_\w+)\b")
PLATFORM_FILES = ("_linux", "_darwin", "_posix", "_none")
# One loop, one thread for each process: where another thread's words reach it is one file each.
THREADS = re.compile(r"\b(pthread_\w+|uv_async_\w+|uv_queue_work|uv_thread_\w+)\s*\(|\batomic_")
CROSSINGS = {"io/vmnet_crossing_darwin.c",  # vmnet's queues and the uplink's loop
             "daemon/broker_darwin.c",      # the broker's one queue and its signals
             "daemon/control_interfaces.c"}  # a question that may block, on libuv's pool
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')


def check_include(path, layer, kind, name):
    rule = LAYERS[layer]
    if kind == '"':
        folder = name.split("/")[0]
        if folder not in rule["folders"] and name not in rule.get("files", set()):
            return f'{layer}/ must not include "{name}"'
        if not (ROOT / name).exists():
            return f'"{name}" is not written from the root'
    elif name in LIBRARIES and name not in rule["libraries"]:
        return f"{layer}/ must not include <{name}>"
    elif layer == "switch" and name not in PURE_HEADERS:
        return f"switch/ is pure C and must not include <{name}>"
    return None


def check_own_header(path, includes):
    own = path.relative_to(ROOT).with_suffix(".h")
    internal = str(own.with_name(own.stem + "_internal.h"))
    if path.suffix == ".c" and (ROOT / own).exists() and (not includes or includes[0] not in (str(own), internal)):
        return f'its own header "{own}" must come first'
    return None


def check_pure(path, lines):
    """switch/ takes memory when a lan or a table is made, and nowhere else."""
    function = ""
    for number, line in enumerate(lines, 1):
        if re.match(r"^[a-z_].*\(", line) and not line.rstrip().endswith(";"):
            function = re.split(r"[ *(]", line.split("(")[0].rstrip())[-1]
        match = PURE_FORBIDDEN.search(line.split("/*")[0].split('"')[0])
        if not match or line[:1] not in (" ", "\t"):
            continue
        is_memory = match[1] in ("malloc", "calloc", "realloc", "free")
        if not (is_memory and any(word in function.split("_") for word in PURE_ALLOCATORS)):
            yield number, f"switch/ must not call {match[1]}() in {function}()"


def check(path):
    layer = path.relative_to(ROOT).parts[0]
    lines = path.read_text().splitlines()
    includes = []
    for number, line in enumerate(lines, 1):
        if match := INCLUDE.match(line):
            if match[1] == '"':
                includes.append(match[2])
            if problem := check_include(path, layer, *match.groups()):
                yield number, problem
        if (match := THREADS.search(line)) and str(path.relative_to(ROOT)) not in CROSSINGS:
            yield number, f"{match[0].rstrip('(')}: threads meet in {', '.join(sorted(CROSSINGS))} alone"
        if PLATFORM.match(line) and not path.stem.endswith(PLATFORM_FILES):
            yield number, f"platform #ifdefs belong into files ending in {', '.join(PLATFORM_FILES)}"
    if problem := check_own_header(path, includes):
        yield 1, problem
    if layer == "switch" and path.suffix == ".c":
        yield from check_pure(path, lines)


def main():
    bad = files = 0
    for layer in LAYERS:
        for path in sorted((ROOT / layer).rglob("*.[ch]")):
            files += 1
            for number, problem in check(path):
                bad += 1
                print(f"{path.relative_to(ROOT)}:{number}: {problem}")
    print(f"layering: {files} files, {bad} violations")
    return 1 if bad or not files else 0


if __name__ == "__main__":
    sys.exit(main())
