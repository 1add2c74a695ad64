# shellcheck shell=sh disable=SC2034,SC2154 # what whoever reads it has set, and uses
# etc/macos/common.sh - shared by install.sh and uninstall.sh, which read it; POSIX sh, as macOS has it
#
# DESTDIR is for rehearsals: every path is below it, and launchctl, dscl and the others are those of PATH.

label=io.github.vmswitch.vmswitchd
broker_label=io.github.vmswitch.broker
root=${DESTDIR:-}

say() { printf '%s\n' "$program: $*"; }
fail() { printf '%s\n' "$program: error: $*" >&2; exit 1; }

# Runs a command, or says it.
run() {
    if $dry_run; then
        say "would run: $*"
    else
        "$@"
    fi
}

# Who must own what leads to our files, beside root. A rehearsal's folders are whose it is.
wanted_uid() {
    if $is_agent || [ -n "$root" ]; then id -u; else echo 0; fi
}

# The mode, the owner and the group of a file as numbers; ls is the only one of the same words on macOS and elsewhere.
# shellcheck disable=SC2012 # the name is not looked at
facts() { LC_ALL=C ls -ldn "$1" | awk '{ print $1, $3, $4; exit }'; }

# Refuses a file that somebody else could replace: check_one PATH. What is not there is fine.
check_one() {
    [ -e "$1" ] || [ -L "$1" ] || return 0
    # shellcheck disable=SC2046 # three words
    set -- "$1" $(facts "$1")
    case $2 in
    l*) fail "$1 is a symbolic link: name the folder itself" ;;
    ?????w* | ????????w*)
        fail "others may write to $1 (mode $2), and so replace what root runs: chmod go-w $1, or choose another --prefix" ;;
    esac
    # macOS alone has -e, and the mark of such a list may be hidden behind that of an attribute.
    case $(ls -lde "$1" 2> /dev/null) in
    *" allow "*write* | *" allow "*append* | *" allow "*add_* | *" allow "*delete_child* | *" allow "*chown*)
        fail "an access control list lets others write to $1: chmod -N $1, or choose another --prefix" ;;
    esac
    if [ "$3" != 0 ] && [ "$3" != "$(wanted_uid)" ]; then
        fail "$1 belongs to the user $3, who could replace what is run from it: chown root $1, or choose another --prefix"
    fi
}

# The same for every folder that leads to PATH, and PATH itself.
check_way() {
    check_path=${1#"$root"}
    check_done=$root
    case $check_path in /*) ;; *) fail "$1 must be an absolute path" ;; esac
    case /$check_path/ in */../* | */./*) fail "$1 must not have . or .. in it" ;; esac
    [ -n "$root" ] || check_one /
    while [ -n "$check_path" ]; do
        check_path=${check_path#/}
        check_part=${check_path%%/*}
        check_path=${check_path#"$check_part"}
        [ -n "$check_part" ] || continue
        check_done=$check_done/$check_part
        check_one "$check_done"
    done
}

# Where things go; needs $prefix and $is_agent.
set_places() {
    if $is_agent; then
        prefix=${prefix:-$HOME/.vmswitch}
        plists=$root$HOME/Library/LaunchAgents
        domain=gui/$(id -u)
        sources=$here/../launchd/agent
    else
        prefix=${prefix:-/opt/vmswitch}
        plists=$root/Library/LaunchDaemons
        domain=system
        sources=$here/../launchd
    fi
    case $prefix in *[\&\|\<\>\\\"]*) fail "--prefix: one of these is in it: & | < > \\ \"" ;; esac
}

check_user() {
    if $is_agent; then
        [ "$(id -u)" != 0 ] || [ -n "$root" ] || fail "--user-agent is for you, not for root: run it without sudo"
    elif [ "$(id -u)" != 0 ] && ! $dry_run && [ -z "$root" ]; then
        fail "root is needed: sudo $0"
    fi
}

macos_major() { sw_vers -productVersion | cut -d. -f1; }

is_loaded() { launchctl print "$domain/$1" > /dev/null 2>&1; }

# Ends a job and takes it out of launchd, which may take a moment.
unload() {
    $dry_run || is_loaded "$1" || return 0
    run launchctl bootout "$domain/$1" || true
    $dry_run && return 0
    unload_tries=0
    while is_loaded "$1"; do
        unload_tries=$((unload_tries + 1))
        [ $unload_tries -lt 30 ] || fail "launchd does not let go of $1; look at: launchctl print $domain/$1"
        sleep 1
    done
}
