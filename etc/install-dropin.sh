#!/usr/bin/env bash
# install-dropin.sh - puts vmswitch's socket_vmnet or vmnet-helper where Lima, minikube and colima look, and takes it away
#
# usage: install-dropin.sh [OPTION...] install|uninstall|status socket_vmnet|vmnet-helper|colima
#
#   socket_vmnet   socket_vmnet and socket_vmnet_client in /opt/socket_vmnet/bin (Lima, minikube)
#   vmnet-helper   vmnet-helper, vmnet-run and vmnet-client in /opt/vmnet-helper/bin (minikube and others)
#   colima         socket_vmnet and socket_vmnet_client in /opt/colima/bin
#
#   --from DIR     where the programs are (default: beside this script, its libexec folder, or build/release/bin)
#   --to DIR       another folder than the one above
#   --bundle DIR   instead: the copy in an application's bundle that a VM manager compares with (Rancher Desktop, Finch); as
#                  whoever owns that folder, not as root, and only those programs that the bundle has
#   --sudoers      also a file in sudoers.d, checked with visudo, so that administrators need no password
#   --dry-run      say what would be done
#   --root DIR     take DIR for /, as packages and tests do
#
# Run it as root. What is replaced is kept beside the new file as NAME.before-vmswitch, and "uninstall" puts it back.
# root will run these files: they are refused a folder that anybody else could change, or reach by a symlink.
set -euo pipefail
umask 022

self=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
manifest=.vmswitch-installed
root= from= to= bundle=false sudoers=false dry_run=false action= layout=

say() { printf '%s\n' "$*"; }
fail() { printf 'install-dropin.sh: error: %s\n' "$*" >&2; exit 1; }
run() { if $dry_run; then say "would run: $*"; else "$@"; fi; }

while [ $# -gt 0 ]; do
    case $1 in
    --from) from=${2:?--from needs a folder}; shift ;;
    --to) to=${2:?--to needs a folder}; shift ;;
    --bundle) to=${2:?--bundle needs a folder} bundle=true; shift ;;
    --root) root=${2:?--root needs a folder}; shift ;;
    --sudoers) sudoers=true ;;
    --dry-run) dry_run=true ;;
    -h | --help) sed -n '2,20s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit 0 ;;
    install | uninstall | status) action=$1 ;;
    socket_vmnet | colima) layout=$1 programs="socket_vmnet socket_vmnet_client" ;;
    vmnet-helper) layout=$1 programs="vmnet-helper vmnet-run vmnet-client" ;;
    *) fail "what is '$1'? See --help" ;;
    esac
    shift
done
[ -n "$action" ] && [ -n "$layout" ] || fail "say what to do, and with what; see --help"
[ -n "$to" ] || to=/opt/$layout/bin
case $to/ in
[!/]* | *//* | */./* | */../*) fail "--to needs a whole path without '//', '.' and '..', not '$to'" ;;
esac

# ---- who may change a folder ----

# The owner that a folder must have: root, or in --root DIR whoever plays root there.
owner=0
[ -z "$root" ] || owner=$(id -u)
[ -n "$root" ] || [ "$(id -u)" = 0 ] || $bundle || $dry_run || [ "$action" = status ] || fail "only root can do that; run: sudo $0 $action $layout"

# check_folder PATH: that nobody but root can put something else there.
check_folder() {
    local listed uid
    [ ! -L "$1" ] || fail "$1 is a symlink, so what is run as root could be exchanged; make it a folder, or say --to with its target"
    [ -d "$1" ] || fail "$1 is no folder; move it away"
    listed=$(ls -ldn "$1")
    # shellcheck disable=SC2086 # the fields of ls
    uid=$(set -- $listed && echo "$3")
    [ "$uid" = "$owner" ] || fail "$1 belongs to uid $uid, who could exchange what is run as root; run: sudo chown root $1"
    case $listed in
    ?????w* | ????????w*) fail "$1 can be written by its group or by everybody; run: sudo chmod go-w $1" ;;
    esac
}

# check_parents PATH: PATH, if it is there, and every folder above it, outermost first.
check_parents() {
    local at=$root rest=${1#/}
    [ -n "$root" ] || check_folder /
    while [ -n "$rest" ]; do
        at=$at/${rest%%/*}
        case $rest in */*) rest=${rest#*/} ;; *) rest= ;; esac
        [ -e "$at" ] || [ -L "$at" ] || return 0
        check_folder "$at"
    done
}

# check_place: the folder is one that nobody could use to have root run or write something else.
check_place() {
    if ! $bundle; then
        check_parents "$to"
        return
    fi
    # What its owner may change anyway, root must not write to: he could have put a symlink in the way.
    owner=$(id -u)
    [ -d "$folder" ] || fail "there is no folder $to; find it: find /Applications -name socket_vmnet -type f"
    check_folder "$folder"
}

# choose_programs: in a bundle, those that are there.
choose_programs() {
    local program there=
    $bundle || return 0
    for program in $programs; do [ ! -f "$folder/$program" ] || there="$there $program"; done
    [ -n "$there" ] || fail "there is none of these in $to: $programs"
    programs=${there# }
}

# ---- one program ----

sum_of() { cksum < "$1"; }
is_ours() { # is_ours NAME: what lies there is what we have put there
    [ -f "$folder/$1" ] && [ ! -L "$folder/$1" ] && [ -f "$folder/$manifest" ] && grep -qxF "$1 $(sum_of "$folder/$1")" "$folder/$manifest"
}

record() { printf '%s %s\n' "$1" "$(sum_of "$from/$1")"; }

put() { # put FROM TO MODE: whole or not at all, also while the old one runs
    run cp "$1" "$2.new.$$"
    [ "$(id -u)" != 0 ] || run chown 0:0 "$2.new.$$"
    run chmod "$3" "$2.new.$$"
    run mv -f "$2.new.$$" "$2"
}

find_programs() {
    local program
    [ -n "$from" ] || for from in "$self" "$self/../../libexec/vmswitch" "$self/../libexec" "$self/../build/release/bin"; do
        [ ! -x "$from/${programs%% *}" ] || break
    done
    for program in $programs; do
        [ -f "$from/$program" ] && [ -x "$from/$program" ] || fail "there is no program $from/$program; build it, or say --from"
    done
    "$from/${programs%% *}" --version > /dev/null 2>&1 || fail "$from/${programs%% *} --version does not work here; nothing was changed"
}

install_programs() {
    local program
    find_programs
    check_place
    choose_programs
    run mkdir -p "$folder"
    for program in $programs; do
        if ! is_ours "$program" && { [ -e "$folder/$program" ] || [ -L "$folder/$program" ]; }; then
            say "keeping $to/$program as $program.before-vmswitch"
            # A copy, so that there is no moment without a program.
            run rm -f "$folder/$program.before-vmswitch"
            run cp -pP "$folder/$program" "$folder/$program.before-vmswitch"
        fi
        # First what it will be, then the file: who is killed between them never takes ours for the former one.
        $dry_run || record "$program" >> "$folder/$manifest"
        put "$from/$program" "$folder/$program" 755
        say "installed $to/$program"
    done
    $dry_run || for program in $programs; do record "$program"; done > "$folder/$manifest"
}

uninstall_programs() {
    local program left=false
    check_place
    choose_programs
    for program in $programs; do
        if ! is_ours "$program"; then
            [ ! -e "$folder/$program" ] || { say "left $to/$program alone: it is not what was installed"; left=true; }
        elif [ -e "$folder/$program.before-vmswitch" ] || [ -L "$folder/$program.before-vmswitch" ]; then
            run mv -f "$folder/$program.before-vmswitch" "$folder/$program"
            say "put the former $to/$program back"
        else
            run rm -f "$folder/$program"
            say "removed $to/$program"
        fi
    done
    run rm -f "$folder/$manifest"
    $left || $dry_run || $bundle || rmdir "$folder" "$(dirname "$folder")" 2> /dev/null || true
}

status_of_programs() {
    local program
    for program in $programs; do
        if is_ours "$program"; then say "$to/$program: of vmswitch"
        elif [ -e "$folder/$program" ]; then say "$to/$program: of somebody else"
        else say "$to/$program: not there"; fi
    done
}

# ---- sudoers ----

install_sudoers() {
    local source=
    for source in "$self/sudoers.d" "$self/../share/vmswitch/sudoers.d"; do [ ! -d "$source" ] || break; done
    [ -f "$source/$layout" ] || fail "there is no sudoers file for $layout (colima and Lima write their own)"
    [ "$to" = "/opt/$layout/bin" ] || fail "the sudoers file is for /opt/$layout/bin; with --to write one of your own"
    visudo -cqf "$source/$layout" || fail "visudo does not like $source/$layout; nothing was changed"
    check_parents "$sudoers_folder"
    run mkdir -p "$root$sudoers_folder"
    put "$source/$layout" "$root$sudoers_folder/vmswitch-$layout" 440
    say "installed $sudoers_folder/vmswitch-$layout"
}

sudoers_folder=/etc/sudoers.d
[ "$(uname -s)" != Darwin ] || sudoers_folder=/private/etc/sudoers.d # /etc is a symlink there
folder=$root$to
case $action in
status) status_of_programs ;;
install)
    ! $sudoers || ! $bundle || fail "--sudoers is not for a bundle"
    ! $sudoers || install_sudoers
    install_programs
    if $bundle; then say "To switch back: $self/install-dropin.sh uninstall $layout --bundle '$to'"
    else say "To switch back: sudo $self/install-dropin.sh uninstall $layout$([ "$to" = "/opt/$layout/bin" ] || echo " --to $to")"; fi
    ;;
uninstall)
    uninstall_programs
    run rm -f "$root$sudoers_folder/vmswitch-$layout"
    ;;
esac
