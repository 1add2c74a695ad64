#!/usr/bin/env bash
# tests/darwin/build.sh - builds vmswitchd and vmswitch for macOS, on Linux, and looks at what they need
#
# usage: tests/darwin/build.sh [arm64] [x86_64]     (default: both)
#
# Compiles and links what CMakeLists.txt names for Darwin against Darwin's C headers, warnings as errors, with zig's
# clang from PyPI. Leaves Mach-O executables in build/darwin-ARCH/bin. They are never run here, and the third-party
# libraries in them are stubs: only the public headers are the real ones, copied from this system's packages.
# Every symbol the executables leave undefined must be in libSystem, or in the list of a library or of the
# frameworks in tests/darwin/symbols (tests/darwin/check_symbols.py).
# Needs what "etc/install-deps.sh build test check" installs.
set -euo pipefail

case ${1:-} in -h | --help) sed -n '2,11s/^# \{0,1\}//p' "$0"; exit 0 ;; esac
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
cd "$root"
work=$root/build/darwin
fail() { printf 'tests/darwin/build.sh: error: %s\n' "$*" >&2; exit 1; }

make_venv() {
    cmp -s tests/darwin/requirements.txt "$work/venv/requirements.txt" && return
    python3 -m venv --clear "$work/venv" && "$work/venv/bin/pip" install -q -r tests/darwin/requirements.txt &&
        cp tests/darwin/requirements.txt "$work/venv/requirements.txt" ||
        fail "the Python packages of tests/darwin/requirements.txt could not be installed into $work/venv"
}

# Where a package of this system has a header.
header() { # header PACKAGE NAME
    local folder
    folder=$(pkg-config --variable=includedir "$1") || fail "there is no $1; run: etc/install-deps.sh build"
    folder=${folder:-/usr/include}
    [ -e "$folder/$2" ] || fail "there is no $folder/$2; run: etc/install-deps.sh build"
    printf '%s\n' "$folder/$2"
}

# One library: a copy of its headers, alone in a folder so that no header of Linux is found beside them; a stub that
# exports the names of its list; and a description for pkg-config, with the same flags as its own.
make_library() { # make_library PACKAGE LIST FOLDER HEADER...     FOLDER: of the headers, where an #include begins
    local package=$1 list=$2 folder=$work/include/$2/$3 name found
    shift 3
    mkdir -p "$folder" "$work/lib" "$work/pkgconfig"
    for name in "$@"; do
        found=$(header "$package" "$name")
        cp -RL "$found" "$folder/"
    done
    {
        printf -- "--- !tapi-tbd\ntbd-version: 4\ntargets: [ arm64-macos, x86_64-macos ]\n"
        printf "install-name: '/stub/%s.dylib'\nexports:\n" "$list"
        printf -- "  - targets: [ arm64-macos, x86_64-macos ]\n    symbols: [ %s ]\n...\n" \
            "$(sed -n '/^[a-zA-Z_]/s/^/_/p' "tests/darwin/symbols/$list.txt" | paste -sd ,)"
    } > "$work/lib/lib$list.tbd"
    printf 'Name: %s\nDescription: a stub\nVersion: %s\nCflags: -I%s\nLibs: -L%s -l%s\n' \
        "$package" "$(pkg-config --modversion "$package")" "$folder" "$work/lib" "$list" > "$work/pkgconfig/$package.pc"
}

# glib's sizes are in a header that is made for each system.
make_glib() {
    make_library glib-2.0 glib . glib-2.0/glib.h glib-2.0/glib
    sed -e 's/signed long \(gu*int64;\)/signed long long \1/' -e 's/\(GLIB_SYSDEF_AF_INET6\) .*/\1 30/' \
        "$(pkg-config --variable=libdir glib-2.0)/glib-2.0/include/glibconfig.h" > "$work/include/glib/glibconfig.h"
}

build() { # build ARCH
    local folder=$root/build/darwin-$1 file
    # It would remember what pkg-config said of stubs that are made anew; what no target makes any more is not looked at.
    rm -rf "$folder/CMakeCache.txt" "$folder/bin"
    PKG_CONFIG_LIBDIR=$work/pkgconfig PKG_CONFIG_PATH='' cmake -S . -B "$folder" -G Ninja \
        -DCMAKE_TOOLCHAIN_FILE="$root/tests/darwin/toolchain.cmake" -DZIG="$zig" -DDARWIN_ARCH="$1" -DCMAKE_BUILD_TYPE=RelWithDebInfo ||
        fail "cmake failed"
    cmake --build "$folder" -j "$(getconf _NPROCESSORS_ONLN)" || fail "the build for $1 failed"
    for file in vmswitchd vmswitch socket_vmnet socket_vmnet_client vmnet-helper vmnet-run vmnet-client; do
        [[ $(file -b "$folder/bin/$file") == "Mach-O 64-bit $1 executable"* ]] || fail "$file is no executable for $1"
    done
    # A file for macOS that no target names would never be compiled.
    git ls-files -z --cached --others --exclude-standard -- '*_darwin.c' '*_posix.c' '*_none.c' ':!tests' |
        while IFS= read -r -d '' file; do
            grep -qF "\"file\": \"$root/$file\"" "$folder/compile_commands.json" || fail "no target for macOS has $file"
        done
}

make_venv
zig=$(echo "$work"/venv/lib/python3*/site-packages/ziglang/zig)
[ -x "$zig" ] || fail "the package ziglang has no zig for this machine"
export ZIG_GLOBAL_CACHE_DIR=$work/zig-cache ZIG_LOCAL_CACHE_DIR=$work/zig-cache

rm -rf "$work/include" "$work/lib" "$work/pkgconfig"
make_library libuv libuv . uv.h uv
make_library jansson jansson . jansson.h jansson_config.h
make_library libmicrohttpd libmicrohttpd . microhttpd.h
make_library slirp libslirp . slirp/libslirp.h slirp/libslirp-version.h
make_library libcurl libcurl . curl
make_library cmocka cmocka . cmocka.h
make_glib
printf 'Requires: glib-2.0\n' >> "$work/pkgconfig/slirp.pc"

[ $# -gt 0 ] || set -- arm64 x86_64
for arch in "$@"; do
    build "$arch"
    tests/darwin/check_symbols.py "$arch" || fail "see above"
    printf 'build/darwin-%s/bin: the programs, and every symbol they need is known\n' "$arch"
done
