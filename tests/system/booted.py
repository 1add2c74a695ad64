"""A systemd of a test's own, as process 1 of its own namespaces, with nothing to start but the units under test.

/run, /var/lib, /etc and /usr/sbin are private: the machine's own systemd, where there is one, is not touched, and neither are
its users. Whatever is asked of it is asked from outside, through /proc/PID/root and nsenter.
"""
import os
import shutil
import signal
import subprocess
from pathlib import Path

from switchd import BIN, ROOT, Switchd, status_of, wait_for

UNITS = ROOT / "etc" / "systemd" / "system"
PROGRAM = "/lib/systemd/systemd"
# What systemd takes for granted; everything else that a system would start is not there.
TARGETS = ("test", "sysinit", "basic", "shutdown", "sockets", "network", "multi-user", "umount", "local-fs")

BOOT = """set -e
mount --make-rprivate /
mount -t proc proc /proc
if mountpoint -q /sys/fs/cgroup; then umount -R -l /sys/fs/cgroup; fi
mount -t cgroup2 cgroup2 /sys/fs/cgroup
cp -a /etc {folder}/etc
mount --bind {folder}/etc /etc
for path in /run /var/lib /usr/sbin; do mount -t tmpfs -o mode=755 tmpfs $path; done
cp {binary} /usr/sbin/vmswitchd
if [ -e {folder}/dnsmasq ]; then cp {folder}/dnsmasq /usr/sbin/; fi
# As systemd's own rules for udev, which nobody runs here, have it: for everybody.
if [ -e /dev/net/tun ]; then mknod -m 0666 {folder}/tun c 10 200; mount --bind {folder}/tun /dev/net/tun; fi
ip link set lo up
export container=other SYSTEMD_UNIT_PATH={folder}/units
exec {program} --system --unit=test.target --show-status=no --log-target=console --log-level=info
"""


def cgroup2():
    """Where this machine has the hierarchy that systemd needs; None if it cannot be used."""
    for path in (Path("/sys/fs/cgroup/unified"), Path("/sys/fs/cgroup")):
        if (path / "cgroup.controllers").exists() and os.access(path, os.W_OK):
            return path
    return None


def is_possible():
    if os.geteuid() != 0 or not Path(PROGRAM).exists() or not shutil.which("nsenter") or cgroup2() is None:
        return False
    probe = "mount --make-rprivate / && mount -t proc proc /proc && mkdir /tmp/$$.cg && mount -t cgroup2 cgroup2 /tmp/$$.cg; r=$?; " \
            "umount /tmp/$$.cg 2> /dev/null; rmdir /tmp/$$.cg; exit $r"
    return subprocess.run(["unshare", "--mount", "--pid", "--fork", "--cgroup", "sh", "-c", probe], capture_output=True).returncode == 0


class Booted:
    def __init__(self, folder):
        self.folder = Path(folder)
        self.units = self.folder / "units"
        self.units.mkdir()
        for name in TARGETS:
            (self.units / f"{name}.target").write_text(f"[Unit]\nDescription={name}\nDefaultDependencies=no\n")
        for path in UNITS.iterdir():
            shutil.copy(path, self.units)
        # What the journal would have is in a file.
        self.drop_in("log.conf", f"[Service]\nStandardOutput=append:/run/log-of-test\nStandardError=append:/run/log-of-test\n")
        self.log_path = self.folder / "systemd.log"
        if dnsmasq := shutil.which("dnsmasq"):
            shutil.copy(dnsmasq, self.folder / "dnsmasq")  # before its folder is hidden
        self.cgroup = cgroup2() / f"vmswitch-test-{os.getpid()}-{self.folder.name}"

    def drop_in(self, name, text):
        folder = self.units / "vmswitchd.service.d"
        folder.mkdir(exist_ok=True)
        (folder / name).write_text(text)

    def __enter__(self):
        self.cgroup.mkdir()
        script = self.folder / "boot.sh"
        script.write_text(BOOT.format(folder=self.folder, binary=BIN / "vmswitchd", program=PROGRAM))
        join = f"echo $$ > {self.cgroup}/cgroup.procs && exec unshare --mount --pid --fork --kill-child --cgroup --uts --ipc --net bash {script}"
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen(["bash", "-c", join], stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True)
        self.pid = wait_for(self._child, 10, "process 1")
        wait_for(lambda: self.run("systemctl", "is-active", "test.target", check=False).stdout.strip() == "active", 20,
                 f"a booted systemd ({self.log_path.read_text()})")
        etc = ROOT / "etc" / "systemd"
        # The program that makes users is not in /usr/sbin.
        self.run("systemd-sysusers", str(etc / "vmswitch.sysusers"))
        self.run("systemd-tmpfiles", "--create", str(etc / "vmswitch.tmpfiles"))
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGKILL)  # --kill-child: process 1 goes with it, and all others with that
        self.process.wait()
        wait_for(lambda: not (self.cgroup / "cgroup.procs").read_text() and self._remove_cgroups(), 10, "the end of every process")

    def _remove_cgroups(self):
        try:
            for folder, _, _ in os.walk(self.cgroup, topdown=False):
                os.rmdir(folder)
        except OSError:
            return False
        return True

    def _child(self):
        assert self.process.poll() is None, self.log_path.read_text()
        for entry in os.listdir("/proc"):
            if not entry.isdigit():
                continue
            try:
                words = Path(f"/proc/{entry}/cmdline").read_bytes().split(b"\0")
                if words[0] == PROGRAM.encode() and status_of(entry)["PPid"] == str(self.process.pid):
                    return int(entry)
            except OSError:
                continue
        return None

    def run(self, *command, check=True):
        """A command inside."""
        done = subprocess.run(["nsenter", "-t", str(self.pid), "-m", "-p", "-n", "-i", "-u", "-C", *command], capture_output=True, text=True)
        assert not check or done.returncode == 0, f"{command}: {done.stdout}{done.stderr}{self.log()}"
        return done

    def ip(self, *words):
        """ip(8), which lies in the /usr/sbin that is hidden inside."""
        done = subprocess.run(["nsenter", "-t", str(self.pid), "-n", "ip", *words], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def show(self, prop, unit="vmswitchd.service"):
        return self.run("systemctl", "show", "-P", prop, unit).stdout.strip()

    @property
    def root(self):
        return Path(f"/proc/{self.pid}/root")

    def log(self):
        path = self.root / "run" / "log-of-test"
        return path.read_text() if path.exists() else ""

    def configure(self, text):
        (self.root / "etc" / "vmswitch" / "vmswitchd.conf").write_text(text)

    def client(self):
        """Asks the API of the daemon inside, from out here."""
        client = Switchd(self.folder / "client")
        client.runtime = self.root / "run" / "vmswitch"
        return client

    def main_status(self):
        """/proc/PID/status of the daemon inside, as seen inside."""
        pid = self.show("MainPID")
        lines = self.run("cat", f"/proc/{pid}/status").stdout.splitlines()
        return {key: value.strip() for key, value in (line.split(":", 1) for line in lines)}
