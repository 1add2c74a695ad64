#!/bin/sh
# etc/macos/sign.sh - gives programs an ad-hoc signature with the entitlement that vmnet asks for from macOS 26 on
#
# usage: sign.sh [--dry-run] FILE...
#
# No Apple account is needed. A file that is changed afterwards (strip, install_name_tool, a new build) needs a new signature.
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
entitlements=$here/vmswitch.entitlements
identifier=io.github.vmswitch
say() { printf '%s\n' "sign: $*"; }
fail() { printf '%s\n' "sign: error: $*" >&2; exit 1; }

dry_run=false
case ${1:-} in
-h | --help) sed -n '2,6s/^# \{0,1\}//p' "$0"; exit 0 ;;
--dry-run) dry_run=true; shift ;;
esac
[ $# -gt 0 ] || fail "no file; see --help"
[ -f "$entitlements" ] || fail "$entitlements is missing"

for file in "$@"; do
    name=$(basename -- "$file" .new)
    [ -f "$file" ] || $dry_run || fail "$file does not exist; build it first"
    if $dry_run; then
        say "would run: codesign --force --sign - --identifier $identifier.$name --entitlements $entitlements $file"
        continue
    fi
    codesign --force --sign - --identifier "$identifier.$name" --entitlements "$entitlements" "$file" ||
        fail "$file could not be signed; is Xcode's command line part there? xcode-select --install"
    codesign --verify --strict "$file" || fail "the signature of $file does not hold"
    codesign --display --entitlements - "$file" 2> /dev/null | grep -q com.apple.security.virtualization ||
        fail "$file has no entitlement com.apple.security.virtualization after signing"
done
