#!/bin/sh
# etc/macos/install.sh - installs vmswitch on this Mac as a service of launchd's; safe to repeat, and that is an upgrade
#
# usage: sudo install.sh [--prefix DIR] [--from DIR] [--socket NETWORK]... [--no-broker] [--dry-run]
#        install.sh --user-agent [the same]
#
#   --prefix DIR      where the programs go; default /opt/vmswitch, for an agent ~/.vmswitch. Every folder that leads to it must
#                     be root's (an agent: or yours), closed to others' writes, and no symbolic link
#   --from DIR        where the programs are; default build/release/bin, or the folder bin beside etc
#   --socket NETWORK  launchd binds NETWORK.stream and NETWORK.dgram, so that VMs may come before vmswitchd has started
#   --user-agent      for you alone, without root: runs while you are logged in. Networks on vmnet need macOS 26
#   --no-broker       without the network broker of macOS 26 (docs/broker.md)
#   --dry-run         say what would be done, and do nothing
#
# As root it makes the user _vmswitch, whom the API and root's networks run as, and the group vmswitch, whose members may use the
# API; whoever called sudo becomes one. /etc/vmswitch is left as it is. uninstall.sh takes everything back.
set -eu
umask 022

program=install
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
# shellcheck source=etc/macos/common.sh
. "$here/common.sh"

prefix='' from='' networks='' is_agent=false with_broker=true dry_run=false
while [ $# -gt 0 ]; do
    case $1 in
    --prefix) prefix=${2:?--prefix needs a folder}; shift ;;
    --from) from=${2:?--from needs a folder}; shift ;;
    --socket)
        case ${2:?--socket needs the name of a network} in
        *[!a-z0-9_-]* | [!a-z0-9]*) fail "--socket: '$2' is no network's name: a-z, 0-9, _ and -" ;;
        esac
        networks="$networks $2"; shift ;;
    --user-agent) is_agent=true ;;
    --no-broker) with_broker=false ;;
    --dry-run) dry_run=true ;;
    -h | --help) sed -n '2,18s/^# \{0,1\}//p' "$0"; exit 0 ;;
    *) fail "unknown option '$1'; see --help" ;;
    esac
    shift
done

# ---- accounts ----

has_record() { dscl . -read "$1" > /dev/null 2>&1; }

# A number that is free for both, among those of services.
free_id() {
    { dscl . -list /Users UniqueID; dscl . -list /Groups PrimaryGroupID; } |
        awk '{ used[$2] = 1 } END { for (id = 300; id < 400; id++) if (!(id in used)) { print id; exit } exit 1 }' ||
        fail "no free number from 300 to 399 for a user"
}

make_group() { # make_group NAME REALNAME
    has_record "/Groups/$1" && return
    id=$(free_id)
    run dscl . -create "/Groups/$1"
    run dscl . -create "/Groups/$1" RealName "$2"
    run dscl . -create "/Groups/$1" Password '*'
    run dscl . -create "/Groups/$1" PrimaryGroupID "$id"
}

gid_of() { dscl . -read "/Groups/$1" PrimaryGroupID 2> /dev/null | awk '{ print $2 }'; }

make_accounts() {
    make_group _vmswitch "vmswitch service"
    make_group vmswitch "vmswitch users"
    if ! has_record /Users/_vmswitch; then
        id=$(free_id)
        run dscl . -create /Users/_vmswitch
        run dscl . -create /Users/_vmswitch RealName "vmswitch service"
        run dscl . -create /Users/_vmswitch Password '*'
        run dscl . -create /Users/_vmswitch UniqueID "$id"
        run dscl . -create /Users/_vmswitch PrimaryGroupID "$(gid_of _vmswitch)"
        run dscl . -create /Users/_vmswitch UserShell /usr/bin/false
        run dscl . -create /Users/_vmswitch NFSHomeDirectory /var/empty
        run dscl . -create /Users/_vmswitch IsHidden 1
    fi
    who=${SUDO_USER:-}
    if [ -n "$who" ] && [ "$who" != root ] &&
        ! dscl . -read /Groups/vmswitch GroupMembership 2> /dev/null | tr ' ' '\n' | grep -qx -- "$who"; then
        run dscl . -append /Groups/vmswitch GroupMembership "$who"
        say "$who is in the group vmswitch now, in what is started from now on: log in again, or open a new terminal"
    fi
}

# ---- files ----

own() { $is_agent || run chown 0:0 "$1"; }

make_folder() { # make_folder PATH: with what leads to it
    [ -d "$1" ] && return
    run mkdir -p -m 0755 "$1"
    own "$1"
}

# Into place by a rename: what runs keeps its old file.
install_program() {
    target=$root$prefix/bin/$1
    run cp "$from/$1" "$target.new"
    own "$target.new"
    run chmod 0755 "$target.new"
    if [ "$1" = vmswitchd ]; then
        if $dry_run; then sh "$here/sign.sh" --dry-run "$target.new"; else sh "$here/sign.sh" "$target.new"; fi
    fi
    run mv -f "$target.new" "$target"
}

socket_entry() { # socket_entry NAME TYPE FILE: mode 0660 for a group, 0600 for one user
    printf '    <key>%s</key>\n    <dict>\n      <key>SockFamily</key>\n      <string>Unix</string>\n' "$1"
    printf '      <key>SockType</key>\n      <string>%s</string>\n      <key>SockPathName</key>\n      <string>%s</string>\n' "$2" "$3"
    if $is_agent; then
        printf '      <key>SockPathMode</key>\n      <integer>384</integer>\n    </dict>\n'
    else
        printf '      <key>SockPathMode</key>\n      <integer>432</integer>\n      <key>SockPathOwner</key>\n      <integer>0</integer>\n'
        printf '      <key>SockPathGroup</key>\n      <integer>%s</integer>\n    </dict>\n' "$group"
    fi
}

runtime_folder() { if $is_agent; then echo "/tmp/vmswitch-$(id -u)"; else echo /var/run/vmswitch; fi; }

# The property list with everything filled in, on stdout.
fill_plist() {
    entries=
    for network in $networks; do
        entries="$entries$(socket_entry "$network.stream" stream "$(runtime_folder)/$network.stream"; echo .)"
        entries="${entries%.}$(socket_entry "$network.dgram" dgram "$(runtime_folder)/$network.dgram"; echo .)"
        entries=${entries%.}
    done
    sed -e "s|@PREFIX@|$prefix|g" -e "s|@HOME@|${HOME:-}|g" -e "s|@RUNTIME@|$(runtime_folder)|g" \
        -e "s|<integer>0</integer><!-- the group vmswitch -->|<integer>$group</integer>|" "$1" |
        while IFS= read -r line; do
            case $line in
            *'<!-- networks -->'*) printf '%s' "$entries" ;;
            *) printf '%s\n' "$line" ;;
            esac
        done
}

install_plist() { # install_plist LABEL
    target=$plists/$1.plist
    if $dry_run; then
        say "would write $target"
        return
    fi
    fill_plist "$sources/$1.plist" > "$target.new"
    own "$target.new"
    chmod 0644 "$target.new"
    ! command -v plutil > /dev/null || plutil -lint -s "$target.new" || fail "$target.new is no property list: this is a bug of vmswitch"
    mv -f "$target.new" "$target"
}

# launchd opens the log as the job's user, who may make no file there.
make_broker_log() {
    $is_agent && return
    log=$root/private/var/log/vmswitch-broker.log
    run touch "$log"
    run chown _vmswitch "$log"
    run chmod 0640 "$log"
}

# ---- launchd ----

load() {
    run launchctl enable "$domain/$1"
    tries=0
    # Just taken out, launchd may say that it is still busy with the old one.
    until run launchctl bootstrap "$domain" "$plists/$1.plist"; do
        tries=$((tries + 1))
        [ $tries -lt 10 ] || fail "launchd does not take $plists/$1.plist; look at: log show --last 1m --predicate 'process == \"launchd\"'"
        sleep 1
    done
}

wait_for_api() {
    socket=$(runtime_folder)/api.sock
    if $dry_run || [ -n "$root" ]; then return; fi
    tries=0
    until curl -sf --max-time 5 --unix-socket "$socket" http://localhost/v1 > /dev/null; do
        tries=$((tries + 1))
        [ $tries -lt 20 ] || fail "vmswitchd does not answer at $socket; it says why in the log: $1"
        sleep 1
    done
}

# ---- the whole ----

check_user
set_places
major=$(macos_major)
[ "$major" -ge 26 ] || with_broker=false
if $is_agent && [ "$major" -lt 26 ]; then
    say "without root, macOS $major has no vmnet: networks of the modes internal and shared (user-mode NAT) work"
fi
if [ -z "$from" ]; then
    for from in "$here/../../build/release/bin" "$here/../../bin"; do [ ! -x "$from/vmswitchd" ] || break; done
fi
for name in vmswitchd vmswitch; do
    [ -x "$from/$name" ] || fail "there is no $from/$name; build it (cmake --preset release && cmake --build build/release), or say --from"
done
check_way "$root$prefix/bin/vmswitchd"
check_way "$plists"
$is_agent || check_way "$root/private/etc/vmswitch"

group=0
if ! $is_agent; then
    make_accounts
    group=$(gid_of vmswitch)
    group=${group:-0}
    make_folder "$root/private/etc/vmswitch"
fi
make_folder "$root$prefix"
make_folder "$root$prefix/bin"
make_folder "$plists"
! $is_agent || make_folder "$root$HOME/Library/Logs"
install_program vmswitchd
install_program vmswitch
unload $broker_label
unload $label
install_plist $label
load $label
if $with_broker; then
    install_plist $broker_label
    make_broker_log
    load $broker_label
else
    run rm -f "$plists/$broker_label.plist"
fi

if $is_agent; then log=$HOME/Library/Logs/vmswitchd.log; else log=/var/log/vmswitchd.log; fi
wait_for_api "$log"
say "done. The API: $(runtime_folder)/api.sock. The log: $log"
say "next: $prefix/bin/vmswitch networks; docs/macos.md has the first VM, and what to look at when something does not work"
