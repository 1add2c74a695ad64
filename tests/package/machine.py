"""A machine of a test's own: a copy of this one's root (an overlay), and in it, if wanted, a real systemd as process 1.

Nothing of what happens there reaches this machine: it has its own mounts, processes, network, and branch of the control
groups. What this machine would start by itself is not started there; the journal and what a test installs are.
"""
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).resolve().parents[1] / "system"))
from booted import PROGRAM, cgroup2  # noqa: E402
from switchd import wait_for  # noqa: E402

# The upper layer is a tmpfs: an overlay cannot be the upper layer of another. It outlives each boot.
KEEP = """mount --make-rprivate / && mount -t tmpfs tmpfs {folder} && mkdir {folder}/upper {folder}/work {folder}/root && echo ready
exec sleep 3600
"""

MOUNT = """set -e
mount --make-rprivate /
cd {folder}/root
mount -t overlay overlay -o lowerdir=/,upperdir={folder}/upper,workdir={folder}/work .
cd {folder}/root
mount -t proc proc proc
mount -t sysfs sysfs sys
mount -t tmpfs -o mode=755 tmpfs dev
for node in null zero full random urandom tty; do touch dev/$node; mount --bind /dev/$node dev/$node; done
# As systemd's own rules for udev, which nobody runs here, have it: for everybody.
if [ -c /dev/net/tun ]; then mkdir dev/net; mknod -m 0666 dev/net/tun c 10 200; fi
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=0666 devpts dev/pts
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
mount -t tmpfs -o mode=1777 tmpfs dev/shm
mount -t tmpfs -o mode=755 tmpfs run
mount -t tmpfs -o mode=1777 tmpfs tmp
pivot_root . mnt
cd /
umount -l /mnt
ip link set lo up
"""

# Policies against starting services are a container's, not a machine's. Of units that are started by themselves those of the
# journal and of temporary files remain. The index of all manual pages is not made anew for ours.
PREPARE = """rm -f /usr/sbin/policy-rc.d /etc/fstab /var/lib/man-db/auto-update
rm -rf /etc/systemd/system/*.wants /etc/systemd/system/*.requires /etc/rc?.d /usr/lib/systemd/system-generators
find /usr/lib/systemd/system/*.wants \\( -type l -o -type f \\) ! -name systemd-journald.s* ! -name systemd-journald-dev-log.socket \\
    ! -name systemd-tmpfiles-setup.service -delete
"""

BOOT = """mount -t cgroup2 cgroup2 /sys/fs/cgroup
export container=other
exec {program} --system --unit=multi-user.target --show-status=no --log-target=console --log-level=info
"""


def can_boot():
    return os.geteuid() == 0 and Path(PROGRAM).exists() and cgroup2() is not None


class Machine:
    def __init__(self, folder):
        self.folder = Path(folder)
        self.cgroup = None
        self.process = None
        self.has_run = False
        self.keeper = subprocess.Popen(["unshare", "--mount", "sh", "-c", KEEP.format(folder=folder)], stdout=subprocess.PIPE, text=True,
                                       start_new_session=True)
        if self.keeper.stdout.readline() != "ready\n":
            self.end()
            pytest.skip("this machine gives no mount namespace")

    def boot(self):
        """With systemd, until it has started everything; again after power_off()."""
        cgroup = cgroup2() / f"vmswitch-test-{os.getpid()}-{self.folder.name}"
        cgroup.mkdir()
        self.cgroup = cgroup
        self._begin(BOOT.format(program=PROGRAM), f"echo $$ > {cgroup}/cgroup.procs")
        self._until(lambda: self.sh("systemctl is-active multi-user.target || true").strip() == "active", "a booted systemd")
        return self

    def chroot(self):
        """Without systemd, as in a container that is being made."""
        self._begin("touch /run/is-ready\nexec sleep 3600\n")
        self._until(self.path("/run/is-ready").exists, "the root")
        return self

    def _begin(self, script, before="true"):
        script_path = self.folder / "begin.sh"
        if not self.has_run:
            script = PREPARE + script
        self.has_run = True
        inside = f"cat > {script_path} && {before} && exec unshare --mount --pid --fork --kill-child --cgroup --uts --ipc --net bash {script_path}"
        with open(self.folder / "console", "ab") as console:
            self.process = subprocess.Popen(["nsenter", "--target", str(self.keeper.pid), "--mount", "bash", "-c", inside], stdin=subprocess.PIPE,
                                            stdout=console, stderr=console, start_new_session=True)
        self.process.stdin.write((MOUNT.format(folder=self.folder) + script).encode())
        self.process.stdin.close()
        self.pid = self._until(self._child, "process 1")
        self._until(self._has_begun, "the new root")

    def _until(self, condition, what):
        try:
            return wait_for(condition, 30, what)
        except AssertionError as failure:
            raise AssertionError(f"{failure}\n{self.console()}") from None

    def _child(self):
        assert self.process.poll() is None, self.console()
        if Path(f"/proc/{self.process.pid}/comm").read_text() != "unshare\n":
            return None  # the shell in front of it has children as well
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return int(children[0]) if children else None

    def _has_begun(self):
        """Its shell has become what it ends as."""
        assert self.process.poll() is None, self.console()
        return Path(f"/proc/{self.pid}/comm").read_text().strip() in ("systemd", "sleep")

    def console(self):
        return (self.folder / "console").read_text()

    def power_off(self):
        """As pulling the plug: process 1 is killed, and all others with it."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None
        if self.cgroup is not None:
            wait_for(self._remove_cgroups, 10, "the end of every process")
            self.cgroup = None

    def _remove_cgroups(self):
        try:
            for folder, _, _ in os.walk(self.cgroup, topdown=False):
                os.rmdir(folder)
        except OSError:
            return False
        return True

    def end(self):
        self.power_off()
        self.keeper.kill()
        self.keeper.wait()
        self.keeper.stdout.close()

    def command(self, *words):
        return ["nsenter", "--target", str(self.pid), "--mount", "--pid", "--net", "--ipc", "--uts", "--cgroup", *words]

    def sh(self, text, stdin=b"", check=True, user=None):
        """What a script inside says; "" if it failed and may."""
        words = ["runuser", "-u", user, "--", "sh", "-ec", text] if user else ["sh", "-ec", text]
        done = subprocess.run(self.command(*words), input=stdin, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=120, check=False,
                              env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C"})
        said = done.stdout.decode()
        assert not check or done.returncode == 0, f"{text}: {done.returncode}\n{said}\n{self.console()}"
        return said if done.returncode == 0 or "is-enabled" in text else ""

    def path(self, inside):
        """Where a file inside is seen from out here."""
        return Path(f"/proc/{self.pid}/root") / inside.lstrip("/")

    def install(self, deb):
        """As the README says: apt, from a file; what it depends on is there. A question of dpkg's is answered by Return."""
        self.sh("cat > /tmp/new.deb", stdin=deb.read_bytes())
        return self.sh("apt-get install --yes --quiet -o Dpkg::Use-Pty=0 /tmp/new.deb", stdin=b"\n")

    def uninstall(self, how):
        return self.sh(f"apt-get {how} --yes --quiet -o Dpkg::Use-Pty=0 vmswitch")

    def api(self, method, path, body=""):
        data = f"--data '{body}'" if body else ""
        return json.loads(self.sh(f"curl -sS --max-time 20 --unix-socket /run/vmswitch/api.sock -X {method} {data} http://x{path}"))

    def networks(self):
        return {network["name"]: network for network in self.api("GET", "/v1/networks")["networks"]}

    def show(self, prop, unit="vmswitchd.service"):
        return self.sh(f"systemctl show -P {prop} {unit}").strip()

    def journal(self, *options):
        """The entries of the service, oldest first."""
        said = self.sh(f"journalctl --no-pager -q -u vmswitchd -o json {' '.join(options)}")
        return [json.loads(line) for line in said.splitlines()]

    def files(self):
        """Every file but those that dpkg and the accounts change for good."""
        found = self.sh("find /etc /usr /var /opt -xdev | sort").splitlines()
        return {path for path in found if not path.startswith(("/var/lib/dpkg", "/var/lib/apt", "/var/lib/sudo", "/var/lib/systemd", "/var/log", "/var/tmp",
                                                               "/etc/group", "/etc/gshadow", "/etc/passwd", "/etc/shadow", "/etc/subuid",
                                                               "/etc/subgid", "/etc/.pwd.lock", "/var/cache"))}
