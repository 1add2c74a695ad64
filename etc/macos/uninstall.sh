#!/bin/sh
# etc/macos/uninstall.sh - takes back what install.sh did; safe to repeat
#
# usage: sudo uninstall.sh [--prefix DIR] [--purge] [--dry-run]
#        uninstall.sh --user-agent [the same]
#
#   --prefix DIR   where the programs are; default /opt/vmswitch, for an agent ~/.vmswitch
#   --purge        also the configuration, networks made over the API, logs, and (root's) the user _vmswitch and the group vmswitch
#   --dry-run      say what would be done, and do nothing
#
# VMs that are plugged in lose their link. Every folder that leads to what is removed must be as install.sh wants it.
set -eu

program=uninstall
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
# shellcheck source=etc/macos/common.sh
. "$here/common.sh"

prefix='' is_agent=false purge=false dry_run=false
while [ $# -gt 0 ]; do
    case $1 in
    --prefix) prefix=${2:?--prefix needs a folder}; shift ;;
    --user-agent) is_agent=true ;;
    --purge) purge=true ;;
    --dry-run) dry_run=true ;;
    -h | --help) sed -n '2,11s/^# \{0,1\}//p' "$0"; exit 0 ;;
    *) fail "unknown option '$1'; see --help" ;;
    esac
    shift
done

remove() {
    for path in "$@"; do
        if [ -e "$path" ] || [ -L "$path" ]; then run rm -f "$path"; fi
    done
}

remove_empty() { for path in "$@"; do [ ! -d "$path" ] || $dry_run || rmdir "$path" 2> /dev/null || say "$path is not empty: it stays"; done; }

delete_record() { ! dscl . -read "$1" > /dev/null 2>&1 || run dscl . -delete "$1"; }

check_user
set_places
# What is removed is what install.sh made: not a file of somebody else's that a changed way leads to.
check_way "$root$prefix/bin/vmswitchd"
check_way "$plists"
if $purge; then
    if $is_agent; then check_way "$root$HOME/.local/state" && check_way "$root$HOME/.config"; else check_way "$root/private/etc/vmswitch" && check_way "$root/private/var/lib"; fi
fi
unload $broker_label
unload $label
remove "$plists/$label.plist" "$plists/$broker_label.plist"
remove "$root$prefix/bin/vmswitchd" "$root$prefix/bin/vmswitch"
remove_empty "$root$prefix/bin" "$root$prefix"

if $purge && $is_agent; then
    run rm -rf "$root$HOME/.local/state/vmswitch" "$root$HOME/.config/vmswitch"
    remove "$root$HOME/Library/Logs/vmswitchd.log" "$root$HOME/Library/Logs/vmswitch-broker.log"
elif $purge; then
    run rm -rf "$root/private/etc/vmswitch" "$root/private/var/lib/vmswitch" "$root/private/var/run/vmswitch"
    remove "$root/private/var/log/vmswitchd.log" "$root/private/var/log/vmswitch-broker.log"
    delete_record /Users/_vmswitch
    delete_record /Groups/_vmswitch
    delete_record /Groups/vmswitch
else
    say "the configuration and networks made over the API are kept; --purge removes them"
fi
say "done"
