#!/usr/bin/env bash
# tests/run.sh - installs what the tests need, builds, and runs everything
#
# usage: tests/run.sh [--preset debug|release|asan|vmnet] [--unit] [--system] [-k EXPR] [--help]
#
#   --preset P   what to build and test: debug (default), release, asan, or vmnet (with a double of macOS's)
#   --unit       only the unit tests      --system   only the system tests
#   -k EXPR      only the system tests whose name fits (pytest's -k); other words after it go to pytest as well
#
# VMSWITCH_TEST_DEEP=1 runs scenarios in full that are cut short else, for some hours (docs/testing.md).
#
# The system tests run in a network namespace of their own, with nothing in it but the loopback: as root in
# a plain one; as an ordinary user in a user namespace, where those that need root are skipped.
# Ends with one line "N passed, N failed, N skipped"; the exit code is 0 only if nothing failed.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
preset=debug
unit=true
system=true
pytest_words=()
while [ $# -gt 0 ]; do
    case $1 in
    --preset) preset=${2:?--preset needs a name}; shift ;;
    --unit) system=false ;;
    --system) unit=false ;;
    -k) pytest_words+=(-k "${2:?-k needs an expression}"); unit=false; shift ;;
    -h | --help) sed -n '2,15s/^# \{0,1\}//p' "$0"; exit 0 ;;
    *) pytest_words+=("$1") ;;
    esac
    shift
done

build=$root/build/$preset
results=$build/results
step() { printf '\n==> %s\n' "$*"; }
fail() { printf 'tests/run.sh: error: %s\n' "$*" >&2; exit 1; }

make_venv() {
    if [ ! -x build/venv/bin/pytest ] || ! cmp -s tests/requirements.txt build/venv/requirements.txt; then
        python3 -m venv build/venv && build/venv/bin/pip install -q -r tests/requirements.txt &&
            cp tests/requirements.txt build/venv/requirements.txt ||
            fail "the Python packages of tests/requirements.txt could not be installed into build/venv"
    fi
}

cd "$root"
step "Looking for what the tests need"
etc/install-deps.sh build test || fail "not everything could be installed; see above"

step "Building $preset"
generator=()
[ -f "$build/CMakeCache.txt" ] || generator=(-G Ninja)
mkdir -p "$results"
make_venv # also runs the comparison of etc/openapi.yaml with the code, which reads YAML
cmake --preset "$preset" -DPython3_EXECUTABLE="$root/build/venv/bin/python3" ${generator[@]+"${generator[@]}"} > "$results/build.log" 2>&1 ||
    { tail -20 "$results/build.log"; fail "cmake failed"; }
targets=(all)
# Daemons for the tests only: one whose calls fail when a test says so, and one with a counting malloc, which is not for
# the sanitizers, who bring their own.
if [ "$(uname -s)" = Linux ] && [[ $preset != vmnet* ]]; then targets+=(vmswitchd_faulty); fi
if [ "$(uname -s)" = Linux ] && [[ $preset != asan && $preset != vmnet* ]]; then targets+=(vmswitchd_counting); fi
cmake --build "$build" -j "$(getconf _NPROCESSORS_ONLN)" --target "${targets[@]}" > "$results/build.log" 2>&1 ||
    { tail -60 "$results/build.log"; fail "the build failed; the whole log is $results/build.log"; }

rm -f "$results"/*.xml
failed=0
if $unit; then
    step "Unit tests ($preset)"
    (cd "$build" && ctest --output-on-failure --timeout 120 -j 2 --output-junit "$results/unit.xml") || failed=1
fi

system_tests() {
    step "System tests ($preset)"
    [ "$(uname -s)" != Linux ] || tests/lib/guest.sh build/guest || fail "the guest for QEMU could not be made; see above"
    local pytest=(build/venv/bin/pytest tests/system -p no:cacheprovider -q --durations=8 --junitxml "$results/system.xml" -rfE)
    export VMSWITCH_PRESET=$preset PYTHONDONTWRITEBYTECODE=1
    local inside='ip link set lo up && exec "$@"'
    if [ "$(uname -s)" != Linux ]; then
        printf 'Not Linux: the tests that need a network namespace, root or a QEMU guest are left out.\n'
        "${pytest[@]}" -m "not root and not guest" ${pytest_words[@]+"${pytest_words[@]}"}
    elif [ "$(id -u)" = 0 ]; then
        # A long path of folders only root may enter would hide the programs from the users they run as.
        unshare --net sh -c "$inside" sh "${pytest[@]}" ${pytest_words[@]+"${pytest_words[@]}"}
    elif unshare --user --map-current-user --net true 2> /dev/null; then
        printf 'Not root: the tests that need it are skipped; "sudo tests/run.sh" runs them too.\n'
        unshare --user --map-current-user --net --keep-caps sh -c "ip link set lo up && exec setpriv --inh-caps=-all --ambient-caps=-all \"\$@\"" \
            sh "${pytest[@]}" ${pytest_words[@]+"${pytest_words[@]}"}
    else
        fail "this user may not make a network namespace; run: sudo tests/run.sh --system"
    fi
}
if $system; then
    system_tests || failed=1
fi

# One line for everything. A unit test program counts as one test for each of its cmocka tests.
python3 - "$results" "$failed" << 'PYTHON'
import re, sys, xml.etree.ElementTree as xml
from pathlib import Path
results, code = Path(sys.argv[1]), int(sys.argv[2])
passed = failed = skipped = 0
for path in sorted(results.glob("*.xml")):
    for case in xml.parse(path).getroot().iter("testcase"):
        out = "".join(case.itertext())
        ok, bad, no = (sum(map(int, re.findall(rf"\[  {word} *\] (\d+) test\(s\)(?!,)", out))) for word in ("PASSED", "FAILED", "SKIPPED"))
        is_bad = any(case.find(tag) is not None for tag in ("failure", "error")) or case.get("status") == "fail"
        is_skipped = case.find("skipped") is not None
        if path.name == "unit.xml" and ok + bad + no:
            passed, failed, skipped = passed + ok, failed + max(bad, int(is_bad)), skipped + no
        else:
            passed, failed, skipped = passed + (not is_bad and not is_skipped), failed + is_bad, skipped + is_skipped
if code and not failed:
    failed = 1
print(f"\n{passed} passed, {failed} failed, {skipped} skipped")
sys.exit(1 if failed else 0)
PYTHON
