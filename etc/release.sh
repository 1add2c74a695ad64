#!/usr/bin/env bash
# release.sh - makes the release archive: the same commit gives the same bytes, on every machine
#
# usage: etc/release.sh [--out DIR] [--commit COMMIT]      (default: build/release-archive, HEAD)
#
# Writes into DIR
#   vmswitch-VERSION.tar.gz          the sources of COMMIT, as git has them
#   vmswitch-VERSION.spdx.json       what is in it, under which licence, and what it is built with (SPDX 2.3)
#   vmswitch-VERSION.rb              the formula for Homebrew, with this archive's address and sum
#   vmswitch-VERSION.SHA256SUMS      of all three; check with: sha256sum -c
# Only what is committed goes in; every time in them is the commit's.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
out=$root/build/release-archive
commit=HEAD
fail() { printf 'release.sh: error: %s\n' "$*" >&2; exit 1; }
while [ $# -gt 0 ]; do
    case $1 in
    --out) out=${2:?--out needs a folder}; shift ;;
    --commit) commit=${2:?--commit needs a name of git}; shift ;;
    -h | --help) sed -n '2,11s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit 0 ;;
    *) fail "unknown option '$1'; see --help" ;;
    esac
    shift
done

cd "$root"
commit=$(git rev-parse --verify --quiet "$commit^{commit}") || fail "git knows no such commit"
version=$(git show "$commit:CMakeLists.txt" | sed -n 's/^project(vmswitch VERSION \([0-9.]*\) .*/\1/p')
[ -n "$version" ] || fail "CMakeLists.txt of $commit has no version"
name=vmswitch-$version
mkdir -p "$out"
out=$(cd "$out" && pwd)

# Nothing of this user's git, and no compressor's name or time.
git -c core.autocrlf=false -c tar.umask=0022 archive --format=tar --prefix="$name/" "$commit" | gzip -9n > "$out/$name.tar.gz.new"
python3 etc/sbom.py "$out/$name.tar.gz.new" "$name" "$commit" "$(git show --no-patch --format=%ct "$commit")" > "$out/$name.spdx.json.new"
mv "$out/$name.tar.gz.new" "$out/$name.tar.gz"
mv "$out/$name.spdx.json.new" "$out/$name.spdx.json"
sums() { if command -v sha256sum > /dev/null; then sha256sum "$@"; else shasum -a 256 "$@"; fi; }
formula=$(git show "$commit:etc/homebrew/vmswitch.rb")
cd "$out"
sum=$(sums "$name.tar.gz")
printf '%s\n' "$formula" | sed -e 1d -e "s|/download/[^\"]*\"|/download/v$version/$name.tar.gz\"|" -e "s|^  sha256 .*|  sha256 \"${sum%% *}\"|" > "$name.rb"
sums "$name.tar.gz" "$name.spdx.json" "$name.rb" > "$name.SHA256SUMS"
cat "$name.SHA256SUMS"
