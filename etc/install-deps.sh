#!/usr/bin/env bash
# etc/install-deps.sh - installs the packages that are missing, and nothing else
#
# usage: etc/install-deps.sh [build] [demo] [test] [check] [package] [perf]      (default: build)
#
# build: what compiling needs. demo: QEMU and busybox. test: what tests/run.sh needs. check: the static checks of .ci/run.
# package: what the stage "package" of .ci/run needs: the shells of the completions, and what looks over sudoers files,
# manual pages, Debian packages and the formula. perf: what perf/run.sh measures with, and the switches it compares with.
# Debian and its relatives use apt-get, with sudo unless root; macOS uses Homebrew, as you. Says what it
# installs before it does; with everything there it says nothing and needs no privilege.
set -eu

say() { printf '%s: %s\n' "$(basename "$0")" "$*"; }
fail() { say "error: $*" >&2; exit 1; }

case ${1:-} in -h | --help) sed -n '2,10s/^# \{0,1\}//p' "$0"; exit 0 ;; esac
[ $# -gt 0 ] || set -- build

debian_packages() {
    case $1 in
    build) echo build-essential cmake ninja-build pkg-config libuv1-dev libjansson-dev libmicrohttpd-dev libslirp-dev libglib2.0-dev \
        libcurl4-openssl-dev libnftables-dev libseccomp-dev libcmocka-dev curl ;;
    demo) echo qemu-system-x86 busybox-static curl ca-certificates ;;
    test) echo qemu-system-x86 busybox-static curl ca-certificates iproute2 nftables dnsmasq-base util-linux procps python3 python3-venv python3-yaml systemd \
        $(command -v go > /dev/null || echo golang-go) ;; # for etc/examples
    check) echo clang libclang-rt-14-dev clang-tidy clang-format cppcheck file llvm shellcheck valgrind strace ;; # the runtime of Debian 12's clang, 14
    package) echo sudo zsh fish man-db mandoc lintian ruby file git dpkg-dev systemd dnsmasq-base nftables xz-utils ;;
    perf) echo iperf3 iputils-ping iproute2 util-linux ethtool vde2 openvswitch-switch qemu-system-x86 busybox-static curl ca-certificates git \
        python3 python3-venv ;;
    *) fail "unknown set '$1'; see --help" ;;
    esac
}

brew_packages() {
    case $1 in
    build) echo libuv jansson libmicrohttpd libslirp cmake ninja pkg-config cmocka ;;
    demo) fail "the demo boots Linux guests with QEMU and is for Linux; run etc/quickstart.sh without --demo" ;;
    test) echo python3 ;;
    check) echo llvm cppcheck ;;
    perf) fail "perf/ measures on Linux" ;;
    *) fail "unknown set '$1'; see --help" ;;
    esac
}

install_debian() {
    local missing=() package
    for package in $(for set in "$@"; do debian_packages "$set"; done | tr ' ' '\n' | sort -u); do
        [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing+=("$package")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    local as_root=()
    if [ "$(id -u)" != 0 ]; then
        command -v sudo > /dev/null || fail "missing: ${missing[*]}. There is no sudo; as root, run: apt-get install ${missing[*]}"
        as_root=(sudo)
    fi
    say "installing with apt-get${as_root:+ (sudo)}: ${missing[*]}"
    "${as_root[@]}" apt-get update -qq || say "apt-get update failed; trying with the package lists as they are"
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" > /dev/null ||
        fail "apt-get install failed; see above, then run it by hand: apt-get install ${missing[*]}"
}

install_brew() {
    command -v brew > /dev/null || fail "Homebrew is missing; get it from https://brew.sh and run this again"
    xcode-select -p > /dev/null 2>&1 || fail "the compiler is missing; run: xcode-select --install"
    local missing=() package
    for package in $(for set in "$@"; do brew_packages "$set"; done | tr ' ' '\n' | sort -u); do
        brew list --versions "$package" > /dev/null 2>&1 || missing+=("$package")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    say "installing with brew: ${missing[*]}"
    brew install --quiet "${missing[@]}" || fail "brew install failed; see above"
}

case $(uname -s) in
Darwin) install_brew "$@" ;;
Linux)
    command -v apt-get > /dev/null ||
        fail "this Linux has no apt-get; install what Debian calls: $(for set in "$@"; do debian_packages "$set"; done | tr '\n' ' ')"
    install_debian "$@"
    ;;
*) fail "vmswitch runs on Linux and macOS; this is $(uname -s)" ;;
esac
