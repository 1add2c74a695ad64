#!/usr/bin/env bash
# etc/quickstart.sh - from a clone to a running switch, in one command
#
# usage: etc/quickstart.sh [--demo] [--help]
#
# Installs what is missing (it says what, and asks sudo where it must), builds into build/release, and runs
# vmswitchd in the foreground as you, with the network "shared": NAT, DHCP and DNS without any privilege.
# Ctrl-C ends it. Safe to repeat.
#
#   --demo   (Linux) instead boots two small QEMU guests on a private "shared", one on a stream and one on a
#            datagram; shows each getting its address, one pinging the other, and this host reaching a web
#            server in a guest through a forward; then cleans up. Takes a minute or two.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
build=$root/build/release

step() { printf '\n==> %s\n' "$*"; }
say() { printf '    %s\n' "$*"; }
fail() { printf '\nquickstart: error: %s\n' "$*" >&2; exit 1; }

is_demo=false
for word in "$@"; do
    case $word in
    --demo) is_demo=true ;;
    -h | --help) sed -n '2,13s/^# \{0,1\}//p' "$0"; exit 0 ;;
    *) fail "unknown option '$word'; see --help" ;;
    esac
done

build_it() {
    step "1 Looking for what the build needs"
    "$root/etc/install-deps.sh" build "$@" || fail "not everything could be installed; see above"
    say "all there"
    step "2 Building into build/release"
    cd "$root" && mkdir -p build
    # A folder configured before keeps its generator.
    local generator=()
    [ -f "$build/CMakeCache.txt" ] || generator=(-G Ninja)
    cmake --preset release ${generator[@]+"${generator[@]}"} > "$root/build/release.log" 2>&1 ||
        { tail -20 "$root/build/release.log" >&2; fail "cmake failed; the whole log is build/release.log"; }
    cmake --build "$build" -j "$(getconf _NPROCESSORS_ONLN)" --target vmswitchd vmswitch > "$root/build/release.log" 2>&1 ||
        { tail -40 "$root/build/release.log" >&2; fail "the build failed; the whole log is build/release.log"; }
    say "$("$build/bin/vmswitchd" --version)"
}

# Waits for a command to succeed: wait_for SECONDS WHAT COMMAND...
wait_for() {
    local seconds=$1 what=$2
    shift 2
    local end=$((SECONDS + seconds))
    until "$@" > /dev/null 2>&1; do
        [ -z "${daemon:-}" ] || kill -0 "$daemon" 2> /dev/null || fail "vmswitchd has ended; its log is above${log:+, and: $(tail -5 "$log")}"
        [ $SECONDS -lt $end ] || fail "$what did not happen within $seconds s${log:+; vmswitchd said: $(tail -5 "$log")}"
        sleep 0.2
    done
}

api() { # api METHOD PATH [BODY]: prints the answer, fails on an error
    curl --silent --show-error --fail-with-body --max-time 10 --unix-socket "$runtime/api.sock" -X "$1" \
        ${3:+-H 'Content-Type: application/json' --data "$3"} "http://localhost$2"
}

is_up() { api GET /v1/health | tr -d ' \n' | grep -q '"name":"shared","state":"up"'; }

# ---- the daemon in the foreground ----

runtime_dir() { # as vmswitchd chooses it
    if [ "$(id -u)" = 0 ]; then
        [ "$(uname -s)" = Darwin ] && echo /var/run/vmswitch || echo /run/vmswitch
    elif [ -n "${XDG_RUNTIME_DIR:-}" ]; then
        echo "$XDG_RUNTIME_DIR/vmswitch"
    else
        echo "/tmp/vmswitch-$(id -u)"
    fi
}

run_it() {
    runtime=$(runtime_dir)
    step "3 Starting vmswitchd (Ctrl-C ends it)"
    # A shell gives a background process no Ctrl-C; the trap hands it on.
    "$build/bin/vmswitchd" --runtime-dir "$runtime" &
    daemon=$!
    trap 'kill -TERM "$daemon" 2> /dev/null' INT TERM EXIT
    wait_for 20 "an answer of the API" api GET /v1
    # It may have been another daemon that answered: ours then says so and ends.
    sleep 0.3
    kill -0 "$daemon" 2> /dev/null || { wait "$daemon" || fail "vmswitchd did not start; see above"; }
    cat << TEXT

vmswitchd runs. In another terminal:

  list the ports of the network "shared"
    curl --unix-socket $runtime/api.sock http://localhost/v1/networks/shared/ports

  plug in a VM (DHCP gives it an address and the way out)
    qemu-system-x86_64 -m 1G -drive file=DISK.qcow2 \\
      -netdev stream,id=n0,server=off,addr.type=unix,addr.path=$runtime/shared.stream \\
      -device virtio-net-pci,netdev=n0,mac=52:54:00:00:00:01

  the same with the command line tool
    $build/bin/vmswitch --socket $runtime/api.sock ports shared

  stop: Ctrl-C here, or  kill $daemon

TEXT
    local code=0
    wait "$daemon" || code=$?
    # The trap ends a wait early; this one is for the daemon's own end.
    if kill -0 "$daemon" 2> /dev/null; then code=0; wait "$daemon" || code=$?; fi
    trap - INT TERM EXIT
    exit "$code"
}

# ---- the demo ----

qemus=()
work=
daemon=

clean_up() {
    local pid
    for pid in ${qemus[@]+"${qemus[@]}"} $daemon; do kill "$pid" 2> /dev/null || true; done
    for pid in ${qemus[@]+"${qemus[@]}"} $daemon; do wait "$pid" 2> /dev/null || true; done
    [ -z "$work" ] || rm -rf "$work"
}

# boot NUMBER NETDEV: a guest with a console at $work/gNUMBER.in and its words in $work/gNUMBER.log
boot() {
    local number=$1 netdev=$2
    mkfifo "$work/g$number.in" "$work/g$number.out"
    cat "$work/g$number.out" > "$work/g$number.log" &
    # umask 0: as root, the network runs as another user and must be able to answer QEMU's datagram socket.
    (umask 0 && exec qemu-system-x86_64 -accel tcg -cpu max -m 128 -nodefaults -no-user-config -display none -no-reboot \
        -kernel "$root/build/guest/vmlinuz" -initrd "$root/build/guest/initrd.gz" -append "console=ttyS0 quiet panic=-1" \
        -chardev "pipe,id=c0,path=$work/g$number" -serial chardev:c0 -netdev "$netdev" \
        -device "virtio-net-pci,netdev=n0,mac=52:54:00:00:00:0$number,romfile=") 2> "$work/qemu$number.log" &
    qemus+=($!)
}

guest_says() { grep -q "$2" "$work/g$1.log"; } # guest_says NUMBER PATTERN

tell() { printf '%s\n' "$2" > "$work/g$1.in"; } # tell NUMBER COMMAND

address_of() { sed -n 's/.*GUEST-ADDRESS \([0-9.]*\).*/\1/p' "$work/g$1.log" | tail -1 | tr -d '\r'; }

free_port() {
    local port
    for port in $(seq 18080 18180); do
        (exec 9<> "/dev/tcp/127.0.0.1/$port") 2> /dev/null || { echo "$port"; return; }
    done
    fail "no free TCP port from 18080 to 18180 on 127.0.0.1"
}

demo() {
    [ "$(uname -s)" = Linux ] || fail "--demo boots Linux guests with QEMU and is for Linux; run it without --demo"
    build_it demo
    step "3 Getting a guest: Debian's cloud kernel and busybox (not installed, only used)"
    "$root/tests/lib/guest.sh" "$root/build/guest" || fail "the guest could not be made; see above"
    say "build/guest"

    step "4 Starting vmswitchd in a folder of its own"
    trap clean_up EXIT
    trap 'exit 130' INT TERM
    work=$(mktemp -d /tmp/vmswitch-demo.XXXXXX)
    chmod 0711 "$work"
    runtime=$work/run
    log=$work/log
    # No configuration of this machine: the embedded default, "shared" on user-mode NAT.
    HOME=$work XDG_CONFIG_HOME=$work "$build/bin/vmswitchd" --runtime-dir "$runtime" --state-dir "$work/state" 2> "$log" &
    daemon=$!
    wait_for 20 "an answer of the API" api GET /v1
    wait_for 20 "network shared being up" is_up
    say "network shared is up"

    step "5 Booting two guests: 1 on a stream, 2 on a datagram (a named port)"
    api PUT /v1/networks/shared/ports/guest2 '{}' > /dev/null || fail "the port guest2 could not be made"
    boot 1 "stream,id=n0,server=off,addr.type=unix,addr.path=$runtime/shared.stream"
    boot 2 "dgram,id=n0,local.type=unix,local.path=$work/guest2.sock,remote.type=unix,remote.path=$runtime/shared.guest2.dgram"
    wait_for 120 "guest 1 being up" guest_says 1 GUEST-READY
    wait_for 120 "guest 2 being up" guest_says 2 GUEST-READY
    say "both are up"

    step "6 Each asks DHCP for an address"
    for number in 1 2; do
        tell "$number" "udhcpc -i eth0 -n -q -t 10"
        wait_for 60 "guest $number having an address" guest_says "$number" GUEST-ADDRESS
        say "guest $number has $(address_of "$number")"
    done

    step "7 Guest 1 pings guest 2"
    tell 1 "ping -c 3 $(address_of 2); echo PING-DONE"
    wait_for 60 "the end of the ping" guest_says 1 PING-DONE
    grep -E 'bytes from|packet loss' "$work/g1.log" | tr -d '\r' | sed 's/^/    /'
    guest_says 1 '3 packets received' || fail "not every ping was answered"

    step "8 This host reaches a web server in guest 2 through a forward"
    local port
    port=$(free_port)
    tell 2 "echo 'Greetings from guest 2' > /www/index.html; httpd -p 8080 -h /www; echo HTTPD-UP"
    wait_for 30 "the guest's web server" guest_says 2 HTTPD-UP
    api PUT /v1/networks/shared "{\"mode\": \"shared\", \"forwards\": [{\"proto\": \"tcp\", \"host\": \"127.0.0.1:$port\", \"guest\": \"$(address_of 2):8080\"}]}" > /dev/null ||
        fail "the forward could not be set"
    wait_for 20 "an answer through the forward" curl --silent --fail --max-time 3 "http://127.0.0.1:$port/"
    say "curl http://127.0.0.1:$port/  ->  $(curl --silent --fail --max-time 5 "http://127.0.0.1:$port/")"

    step "9 What the switch has seen (GET /v1/networks/shared/fdb)"
    api GET /v1/networks/shared/fdb | sed 's/^/    /'

    step "10 Cleaning up"
    tell 1 "poweroff -f"
    tell 2 "poweroff -f"
    kill -TERM "$daemon"
    local code=0
    wait "$daemon" || code=$?
    daemon=
    [ "$code" = 0 ] || fail "vmswitchd ended with $code: $(tail -5 "$log")"
    say "vmswitchd ended, its sockets are gone"
    printf '\nThe demo worked.\n'
}

if $is_demo; then
    demo
else
    build_it
    run_it
fi
