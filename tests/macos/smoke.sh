#!/usr/bin/env bash
# tests/macos/smoke.sh - what only a Mac can tell: runs there unattended, and says line by line what holds
#
# usage: [sudo] tests/macos/smoke.sh [--bin DIR] [--service] [--bridge INTERFACE] [--help]
#
#   --bin DIR           where vmswitchd and vmswitch are; default build/release/bin
#   --service           also looks at the installed service (launchd); it is only looked at, never changed
#   --bridge INTERFACE  also bridges to it: VMs appear in that network for a moment. Without it, bridging is left out
#
# As root everything is tried; as a user, what needs no root (from macOS 26 on that includes vmnet, if the program is signed:
# etc/macos/sign.sh). Starts a vmswitchd of its own in a folder of its own, and ends it. Takes about a minute.
# Each line is PASS, FAIL or SKIP, the name of the check, and what was seen. The exit code is 0 if nothing failed.
# For bash 3.2, which is the newest that macOS has.
set -uo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
bin=$root/build/release/bin
vm=$root/tests/macos/vm.py
label=io.github.vmswitch.vmswitchd
with_service=false
bridge=''
while [ $# -gt 0 ]; do
    case $1 in
    --bin) bin=${2:?--bin needs a folder}; shift ;;
    --service) with_service=true ;;
    --bridge) bridge=${2:?--bridge needs an interface}; shift ;;
    -h | --help) sed -n '2,14s/^# \{0,1\}//p' "$0"; exit 0 ;;
    *) printf 'smoke: unknown option "%s"; see --help\n' "$1" >&2; exit 2 ;;
    esac
    shift
done

passed=0 failed=0 skipped=0
pass() { passed=$((passed + 1)); printf 'PASS  %-28s %s\n' "$1" "${2:-}"; }
bad() { failed=$((failed + 1)); printf 'FAIL  %-28s %s\n' "$1" "${2:-}"; }
skip() { skipped=$((skipped + 1)); printf 'SKIP  %-28s %s\n' "$1" "${2:-}"; }

# check NAME COMMAND...: passes if the command does; its last line is what was seen.
check() {
    local name=$1 said
    shift
    if said=$("$@" 2>&1); then pass "$name" "$(printf '%s\n' "$said" | tail -1)"; else bad "$name" "$(printf '%s\n' "$said" | tail -1)"; fi
}

work=$(mktemp -d /tmp/vmsw-smoke.XXXXXX) || exit 1
chmod 0755 "$work"
runtime=$work/run
daemon=''
# shellcheck disable=SC2329 # called by the trap
clean_up() {
    if [ -n "$daemon" ] && kill -0 "$daemon" 2> /dev/null; then
        kill -TERM "$daemon"
        wait "$daemon" 2> /dev/null
    fi
    rm -rf "$work"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

is_root() { [ "$(id -u)" = 0 ]; }
macos_major() { sw_vers -productVersion 2> /dev/null | cut -d. -f1; }
api() { # api METHOD PATH [BODY]
    curl -sS --fail-with-body --max-time 30 --unix-socket "$runtime/api.sock" -X "$1" ${3:+-H 'Content-Type: application/json' --data "$3"} "http://localhost$2"
}
# The value of a field of an answer on stdin: field NAME... (a path)
field() { python3 -c 'import json, sys
value = json.load(sys.stdin)
for name in sys.argv[1:]:
    value = value[int(name)] if isinstance(value, list) else value.get(name)
print("" if value is None else value)' "$@"; }
state_of() { api GET "/v1/networks/$1" | field state; }
reason_of() { api GET "/v1/networks/$1" | field reason; }
wait_up() { # wait_up NETWORK SECONDS: prints how it ended
    local end=$((SECONDS + $2)) state=''
    while [ $SECONDS -lt "$end" ]; do
        state=$(state_of "$1")
        [ "$state" != up ] || { printf 'up\n'; return 0; }
        [ "$state" != failed ] || break
        sleep 0.3
    done
    printf '%s: %s\n' "$state" "$(reason_of "$1")"
    return 1
}
mode_of() { LC_ALL=C ls -ld "$1" | cut -c1-10; }
is_up() { api GET /v1 > /dev/null 2>&1; }

# ---- what is here ----

printf 'system: %s %s, %s; user %s; programs: %s\n' "$(uname -s)" "$(sw_vers -productVersion 2> /dev/null || uname -r)" "$(uname -m)" "$(id -un)" "$bin"
for name in vmswitchd vmswitch; do
    [ -x "$bin/$name" ] || { bad programs "there is no $bin/$name: build it, or say --bin"; printf '0 passed, 1 failed, 0 skipped\n'; exit 1; }
done
check programs "$bin/vmswitchd" --version
python3 -c 'import sys; sys.exit(sys.version_info < (3, 8))' 2> /dev/null || {
    bad python "python3 is needed: xcode-select --install"
    printf '%d passed, %d failed, %d skipped\n' "$passed" "$failed" "$skipped"
    exit 1
}

has_entitlement=false
if command -v codesign > /dev/null; then
    check signature codesign --verify --strict "$bin/vmswitchd"
    if codesign --display --entitlements - "$bin/vmswitchd" 2> /dev/null | grep -q com.apple.security.virtualization; then
        has_entitlement=true
        pass entitlement com.apple.security.virtualization
    elif is_root; then
        skip entitlement "not signed for vmnet without root: etc/macos/sign.sh"
    else
        bad entitlement "sign it: etc/macos/sign.sh $bin/vmswitchd"
    fi
else
    skip signature "no codesign here"
fi

# ---- a daemon of our own ----

config=$work/vmswitchd.conf
if [ -n "$bridge" ]; then printf '{"networks": [], "bridged_interfaces": ["%s"]}\n' "$bridge" > "$config"; else printf '{"networks": []}\n' > "$config"; fi
start_daemon() {
    "$bin/vmswitchd" --runtime-dir "$runtime" --state-dir "$work/state" --config "$config" 2>> "$work/log" &
    daemon=$!
    local end=$((SECONDS + 15))
    until is_up; do
        kill -0 "$daemon" 2> /dev/null && [ $SECONDS -lt $end ] || { tail -1 "$work/log"; return 1; }
        sleep 0.1
    done
}
begun=$SECONDS
if start_daemon > "$work/said"; then
    pass start "the API answers within $((SECONDS - begun + 1)) s"
else
    bad start "$(cat "$work/said")"
    printf '%d passed, %d failed, %d skipped\n' "$passed" "$failed" "$skipped"
    exit 1
fi
if [ "$(mode_of "$runtime/api.sock" | cut -c8-10)" = --- ]; then pass api-is-private "$(mode_of "$runtime/api.sock")"; else bad api-is-private "$(mode_of "$runtime/api.sock")"; fi

"$bin/vmswitchd" --runtime-dir "$runtime" --state-dir "$work/state" --config "$config" 2> /dev/null
code=$?
if [ $code = 4 ]; then pass second-daemon "refused, exit code 4"; else bad second-daemon "exit code $code, not 4"; fi

mkdir -m 0777 "$work/open" && chmod 0777 "$work/open"
"$bin/vmswitchd" --strict-paths --runtime-dir "$work/open/run" --state-dir "$work/state2" --config "$config" 2> "$work/said"
code=$?
if [ $code = 1 ] && grep -q -e --strict-paths "$work/said"; then pass strict-paths "refused, the folder is named"; else bad strict-paths "exit code $code: $(tail -1 "$work/said")"; fi

# ---- switching ----

lab() { api PUT /v1/networks/lab '{"mode": "internal", "sockets": {"mode": "0666"}}' > /dev/null && api PUT /v1/networks/lab/ports/p1 '{}' > /dev/null && api PUT /v1/networks/lab/ports/p2 '{}' > /dev/null && wait_up lab 10; }
check internal lab
check streams python3 "$vm" pair "$runtime/lab.stream" "$runtime/lab.stream"
check datagrams python3 "$vm" datagram "$runtime/lab.stream" "$runtime/lab.p1.dgram" "$work"
# A full datagram socket says ENOBUFS on macOS, and nothing tells when there is room again.
check datagram-backpressure python3 "$vm" load "$runtime/lab.stream" "$runtime/lab.p2.dgram" "$work"
passed_fd() { "$bin/vmswitch" --socket "$runtime/api.sock" run lab --kind datagram -- python3 -c 'import socket; s = socket.socket(fileno=4); s.send(b"\xff" * 6 + b"RT\0\0\0\1" + b"\x88\xb5" + bytes(46)); print("sent")'; }
check passed-descriptor passed_fd

nat() { api PUT /v1/networks/nat '{"mode": "shared", "uplink": "user", "sockets": {"mode": "0666"}}' > /dev/null && wait_up nat 10; }
check user-nat nat
check user-nat-dhcp python3 "$vm" dhcp "$runtime/nat.stream"

# ---- vmnet ----

interfaces() { api GET /v1/interfaces | python3 -c 'import json, sys; found = json.load(sys.stdin)["interfaces"]; print(", ".join(str(one.get("name")) for one in found)); sys.exit(not found)'; }
major=$(macos_major)
why=''
if [ -z "$major" ]; then
    major=0
    [ -n "${SMOKE_HAS_VMNET:-}" ] || why="this is no Mac" # a rehearsal against a double of vmnet says so
elif ! is_root && [ "$major" -lt 26 ]; then
    why="needs root before macOS 26"
elif ! is_root && ! $has_entitlement; then
    why="needs root, or the entitlement (etc/macos/sign.sh)"
fi

vmnet_network() { # vmnet_network NAME MODE [MORE]
    api PUT "/v1/networks/$1" "{\"mode\": \"$2\", \"uplink\": \"vmnet\", \"ipv4\": null, \"sockets\": {\"mode\": \"0666\"}${3:-}}" > /dev/null && wait_up "$1" 40
}
# Wi-Fi is what networksetup says is Wi-Fi.
interfaces_wifi() {
    local theirs ours
    theirs=$(networksetup -listallhardwareports | awk '/^Hardware Port: Wi-Fi/ { getline; print $2 }' | sort | xargs)
    ours=$(api GET /v1/interfaces | python3 -c 'import json, sys; print(*sorted(one["name"] for one in json.load(sys.stdin)["interfaces"] if one["type"] == "wifi"))')
    printf 'networksetup: %s; GET /v1/interfaces: %s\n' "${theirs:-none}" "${ours:-none}"
    [ "$theirs" = "$ours" ]
}
# An address beside that of an interface, if one has any.
taken_address() { api GET /v1/interfaces | python3 -c 'import ipaddress, json, sys
found = [ipaddress.ip_interface(text) for one in json.load(sys.stdin)["interfaces"] for text in one["addresses"]]
found = [str(one.network[1]) for one in found if one.version == 4 and one.network.prefixlen < 31]
print(*found[:1])'; }
subnet_conflict() { # subnet_conflict ADDRESS
    local answer
    answer=$(api PUT /v1/networks/vtaken "{\"mode\": \"shared\", \"uplink\": \"vmnet\", \"ipv4\": {\"gateway\": \"$1\"}}")
    printf '%s\n' "$answer" | field detail
    [ "$(printf '%s\n' "$answer" | field status)" = 409 ]
}
facts_of() { api GET "/v1/networks/$1" | python3 -c 'import json, sys; print(json.dumps(json.load(sys.stdin)["uplink"]))'; }
if [ -n "$why" ]; then
    for name in interfaces interfaces-wifi subnet-conflict vmnet-shared vmnet-shared-dhcp vmnet-reopen vmnet-host vmnet-host-dhcp vmnet-bridged; do skip $name "$why"; done
else
    check interfaces interfaces
    if command -v networksetup > /dev/null; then check interfaces-wifi interfaces_wifi; else skip interfaces-wifi "no networksetup"; fi
    taken=$(taken_address)
    if [ -n "$taken" ]; then check subnet-conflict subnet_conflict "$taken"; else skip subnet-conflict "no interface has an IPv4 address"; fi
    for mode in shared host; do
        check vmnet-$mode vmnet_network v$mode $mode
        if [ "$(state_of v$mode)" = up ]; then
            printf '      %s\n' "$(facts_of v$mode)"
            check vmnet-$mode-dhcp python3 "$vm" dhcp "$runtime/v$mode.stream"
        else
            skip vmnet-$mode-dhcp "the network is not up"
        fi
    done
    # Its process is killed: the network says so and comes back, and VMs keep their ports.
    reopen() {
        local pid
        pid=$(api GET /v1/networks/vshared | field uplink pid)
        [ -n "$pid" ] && [ "$pid" != 0 ] || { echo "the uplink has no process of its own"; return 0; }
        kill -KILL "$pid" || return 1
        local end=$((SECONDS + 40))
        until [ "$(api GET /v1/networks/vshared | field uplink pid)" != "$pid" ]; do [ $SECONDS -lt $end ] || return 1; sleep 0.2; done
        wait_up vshared 40
    }
    if ! is_root; then skip vmnet-reopen "the uplink's process is not ours to kill"; else check vmnet-reopen reopen; fi
    if [ -n "$bridge" ]; then
        check vmnet-bridged vmnet_network vbridged bridged ", \"interface\": \"$bridge\""
        check vmnet-bridged-dhcp python3 "$vm" dhcp "$runtime/vbridged.stream"
    else
        skip vmnet-bridged "say --bridge INTERFACE"
    fi
fi

# ---- crashes, and the end ----

control_of() { pgrep -P "$daemon" -f -- --role=control; }
control_dies() {
    local before after end
    before=$(control_of)
    [ -n "$before" ] || { echo "no process has the role control"; return 1; }
    kill -KILL "$before" || return 1
    end=$((SECONDS + 10))
    until after=$(control_of) && [ "$after" != "$before" ] && is_up; do [ $SECONDS -lt $end ] || return 1; sleep 0.1; done
    python3 "$vm" pair "$runtime/lab.stream" "$runtime/lab.stream" && echo "the API is back, VMs talk"
}
check control-dies control_dies
ends() {
    local begun_ms ended_ms code
    begun_ms=$(python3 -c 'import time; print(int(time.time() * 1000))')
    kill -TERM "$daemon"
    wait "$daemon"
    code=$?
    ended_ms=$(python3 -c 'import time; print(int(time.time() * 1000))')
    printf 'exit code %d after %d ms\n' $code $((ended_ms - begun_ms))
    [ $code = 0 ] && [ $((ended_ms - begun_ms)) -lt "${SMOKE_END_MS:-2000}" ]
}
# Not in a subshell: only our own child can be waited for.
if ends > "$work/said"; then pass sigterm "$(cat "$work/said")"; else bad sigterm "$(cat "$work/said")"; fi
daemon=''
left=$(find "$runtime" -type s | head -3)
if [ -z "$left" ]; then pass nothing-left; else bad nothing-left "$left"; fi

# ---- the service ----

service_socket() { # service_socket FOLDER: bound by launchd, or by vmswitchd where launchd could not
    if grep -q "api: the service manager's socket is used" "$1" 2> /dev/null; then echo "launchd's socket is used"; else echo "not launchd's: see $1"; return 1; fi
}
if ! $with_service; then
    skip service "say --service"
elif ! command -v launchctl > /dev/null; then
    skip service "no launchctl here"
else
    if is_root; then domain=system; folder=/var/run/vmswitch; log=/var/log/vmswitchd.log; else domain=gui/$(id -u); folder=/tmp/vmswitch-$(id -u); log=$HOME/Library/Logs/vmswitchd.log; fi
    # A rehearsal has them elsewhere.
    folder=${SMOKE_SERVICE_FOLDER:-$folder} log=${SMOKE_SERVICE_LOG:-$log}
    running() { launchctl print "$domain/$label" | grep -E 'state = running'; }
    check service-runs running
    answers() { curl -sS --fail --max-time 10 --unix-socket "$folder/api.sock" http://localhost/v1 | field version; }
    check service-answers answers
    # Right after a restart of the Mac this shows whether launchd makes the folder of a socket.
    check service-socket service_socket "$log"
    if [ "${major:-0}" -ge 26 ]; then
        known() { launchctl print "$domain/io.github.vmswitch.broker" | grep -m 1 -E 'state ='; }
        check service-broker known
    else
        skip service-broker "needs macOS 26"
    fi
fi

printf '%d passed, %d failed, %d skipped\n' "$passed" "$failed" "$skipped"
[ "$failed" = 0 ]
