#!/bin/sh
# tests/lib/guest.sh - builds the small Linux guest that the tests and the demo boot under QEMU
#
# usage: tests/lib/guest.sh [FOLDER]          (default: build/guest)
#
# Leaves FOLDER/vmlinuz and FOLDER/initrd.gz: Debian's cloud kernel, taken from its package without installing
# it (no boot loader is touched, no root is needed), and an initramfs with static busybox, the modules a virtio
# network card needs, and the init below. Repeating it costs nothing once both files exist.
#
# What the guest does is told by its kernel command line and its serial console (ttyS0):
#   vmswitch.script=BASE64   runs that shell script, prints "GUEST-EXIT n" and powers off
#   otherwise                prints "GUEST-READY" and reads commands from the console; it does not echo them
# Its card is eth0, up, without an address; `udhcpc -i eth0 -n -q` gets one.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
out=${1:-$here/../../build/guest}
# Part of the name of what is built: a change of this script builds the guest again.
stamp=$(cksum < "$0" | tr ' ' '-')

say() { printf 'guest: %s\n' "$*"; }
fail() { printf 'guest: error: %s\n' "$*" >&2; exit 1; }

mkdir -p "$out"
out=$(cd "$out" && pwd)
if [ -s "$out/vmlinuz" ] && [ -s "$out/initrd.gz" ] && [ "$(cat "$out/stamp" 2>/dev/null)" = "$stamp" ]; then
    exit 0
fi

[ "$(dpkg --print-architecture 2>/dev/null)" = amd64 ] ||
    fail "the test guest is built from Debian's amd64 packages; this machine is not Debian on amd64"
busybox=$(command -v busybox) || fail "busybox is missing; install it with: apt-get install busybox-static"
"$busybox" --list | grep -qx udhcpc && "$busybox" --list | grep -qx httpd ||
    fail "$busybox has no udhcpc or httpd; install the static one with: apt-get install busybox-static"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# apt drops to its own user for a download and must be able to write here.
chmod 0755 "$work"
mkdir -m 0777 "$work/deb"

package=$(apt-cache depends linux-image-cloud-amd64 2>/dev/null | awk '/Depends: linux-image/ {print $2; exit}')
[ -n "$package" ] || fail "no package linux-image-cloud-amd64 is known; run: apt-get update"
say "fetching $package (27 MB, not installed)"
(cd "$work/deb" && apt-get download -qq "$package") ||
    fail "apt-get download $package failed; is the network up, and 'apt-get update' recent?"
dpkg-deb -x "$work"/deb/*.deb "$work/kernel"
version=$(ls "$work/kernel/lib/modules")

say "building the initramfs"
"$busybox" depmod -b "$work/kernel" "$version"
modules=$work/kernel/lib/modules/$version
root=$work/root
mkdir -p "$root/bin" "$root/lib/modules/$version" "$root/proc" "$root/sys" "$root/dev" "$root/etc" "$root/tmp" "$root/www"
# Prints a module's file and those it needs, from modules.dep.
with_dependencies() {
    line=$(grep -E "(^|/)$1\.ko:" "$modules/modules.dep") || fail "the kernel has no module $1"
    printf '%s\n' "$line" | tr -d ':' | tr ' ' '\n' | sed '/^$/d'
}
for module in virtio_pci virtio_net; do
    for file in $(with_dependencies "$module"); do
        mkdir -p "$root/lib/modules/$version/$(dirname "$file")"
        cp "$modules/$file" "$root/lib/modules/$version/$file"
    done
done
"$busybox" depmod -b "$root" "$version"
cp "$busybox" "$root/bin/busybox"

cat > "$root/init" <<'INIT'
#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin HOME=/
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
exec < /dev/ttyS0 > /dev/ttyS0 2>&1
stty -echo -onlcr < /dev/ttyS0
modprobe virtio_pci
modprobe virtio_net
for i in 0 1 2 3 4 5 6 7 8 9; do [ -e /sys/class/net/eth0 ] && break; sleep 0.2; done
ip link set lo up
ip link set eth0 up
for word in $(cat /proc/cmdline); do
    case $word in vmswitch.script=*) script=${word#vmswitch.script=} ;; esac
done
if [ -n "$script" ]; then
    echo "$script" | base64 -d > /tmp/script
    sh /tmp/script
    echo "GUEST-EXIT $?"
    poweroff -f
fi
echo GUEST-READY
# A line at a time rather than an interactive shell: no prompt, no job control, no echo to strip.
while read -r line; do eval "$line"; done
poweroff -f
INIT
mkdir -p "$root/etc/udhcpc"
cat > "$root/etc/udhcpc/default.script" <<'SCRIPT'
#!/bin/sh
[ "$1" = bound ] || [ "$1" = renew ] || exit 0
ip addr flush dev "$interface"
ip addr add "$ip/$mask" dev "$interface"
[ -z "$router" ] || ip route replace default via "${router%% *}"
for server in $dns; do echo "nameserver $server"; done > /etc/resolv.conf
echo "GUEST-ADDRESS $ip"
SCRIPT
# Where Debian's busybox looks for it, and others'.
mkdir -p "$root/usr/share/udhcpc"
ln -s /etc/udhcpc/default.script "$root/usr/share/udhcpc/default.script"
chmod 0755 "$root/init" "$root/etc/udhcpc/default.script"

(cd "$root" && find . | "$busybox" cpio -o -H newc 2>/dev/null | gzip -1) > "$out/initrd.gz.new"
cp "$work/kernel/boot/vmlinuz-$version" "$out/vmlinuz.new"
mv "$out/initrd.gz.new" "$out/initrd.gz"
mv "$out/vmlinuz.new" "$out/vmlinuz"
printf '%s\n' "$stamp" > "$out/stamp"
say "ready: $out/vmlinuz (Linux $version), $out/initrd.gz"
