"""The Debian package: what lintian says of it, and its life: installed, started, upgraded, removed, purged.

The life is lived in a copy of this machine's root, an overlay in a mount namespace of its own, with the real dpkg and
maintainer scripts. systemd does not run there; a stand-in for systemctl starts and stops what the unit says.
"""
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from conftest import ROOT

ENVIRONMENT = {**os.environ, "SOURCE_DATE_EPOCH": "1767225600"}

# Keeps one process, vmswitchd.service; what is enabled is the real one's.
SYSTEMCTL = r"""#!/bin/sh
case $* in *--root=*) exec systemctl.real "$@" ;; esac # what is enabled at the next boot
echo "$*" >> /systemctl.log
action=
for word in "$@"; do
    case $word in
    -*) ;;
    *) action=$word; break ;;
    esac
done
# Nobody waits for it here, so its end is to be a zombie.
alive() { [ -f /service.pid ] && grep -q "^State:.[^Z]" "/proc/$(cat /service.pid)/status" 2> /dev/null; }
stop() {
    alive || return 0
    kill -TERM "$(cat /service.pid)"
    while alive; do sleep 0.02; done
}
start() {
    alive && return 0
    program=$(sed -n 's/^ExecStart=//p' /usr/lib/systemd/system/vmswitchd.service)
    # RuntimeDirectory, StateDirectory
    mkdir -p -m 755 /run/vmswitch; mkdir -p -m 700 /var/lib/vmswitch
    setsid sh -c 'echo $$ > /service.pid; exec '"$program"' > /service.log 2>&1 < /dev/null' &
    for try in $(seq 500); do [ ! -S /run/vmswitch/api.sock ] || break; sleep 0.02; done
}
case $action in
is-enabled) exec systemctl.real --root=/ "$@" ;;
is-active) alive ;;
start) case "$*" in *vmswitchd.service*) start ;; esac ;;
restart) case "$*" in *vmswitchd.service*) stop; start ;; esac ;;
stop) case "$*" in *vmswitchd.service*) stop ;; esac ;;
esac
"""


def package(build, folder, *options):
    """Makes a package; returns its path."""
    subprocess.run(["cpack", "--config", str(build / "CPackConfig.cmake"), "-B", str(folder), *options], check=True, timeout=300,
                   capture_output=True, env=ENVIRONMENT)
    return next(folder.glob("*.deb"))


@pytest.fixture(scope="module")
def deb(build, tmp_path_factory):
    return package(build, tmp_path_factory.mktemp("deb"))


@pytest.fixture(scope="module")
def newer_deb(build, tmp_path_factory):
    return package(build, tmp_path_factory.mktemp("newer"), "-D", "CPACK_DEBIAN_PACKAGE_RELEASE=2")


def test_the_same_build_makes_the_same_bytes(build, deb, tmp_path):
    assert package(build, tmp_path).read_bytes() == deb.read_bytes()


@pytest.mark.skipif(not shutil.which("lintian"), reason="there is no lintian; etc/install-deps.sh package installs it")
def test_lintian_finds_no_error(deb):
    done = subprocess.run(["lintian", "--allow-root", "--fail-on", "error", "--profile", "debian", str(deb)], capture_output=True, text=True,
                          timeout=300, check=False)
    assert done.returncode == 0, done.stdout
    # Not for upload to Debian, so there is no bug to close; whoever adds another exception says why here.
    warnings = [line for line in done.stdout.splitlines() if line[:3] in ("W: ", "E: ") and "initial-upload-closes-no-bugs" not in line]
    assert warnings == []


def test_the_changelog_has_this_version(deb):
    version = subprocess.run(["dpkg-deb", "--field", str(deb), "Version"], check=True, capture_output=True, text=True).stdout.strip()
    assert (ROOT / "etc/debian/changelog").read_text().startswith(f"vmswitch ({version}) ")


class Machine:
    """A copy of this machine's root, thrown away with its processes at the end."""

    def __init__(self, folder):
        self.root = folder / "root"
        # The upper layer is a tmpfs: an overlay cannot be the upper layer of another.
        script = (f"mount -t tmpfs tmpfs {folder} && mkdir {folder}/upper {folder}/work {folder}/root && "
                  f"mount -t overlay overlay -o lowerdir=/,upperdir={folder}/upper,workdir={folder}/work {folder}/root && "
                  f"mount -t proc proc {folder}/root/proc && mount --rbind /dev {folder}/root/dev && "
                  f"mount -t tmpfs tmpfs {folder}/root/run && mount -t tmpfs tmpfs {folder}/root/tmp && "
                  "echo ready && exec sleep 3600")
        self.process = subprocess.Popen(["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", script],
                                        stdout=subprocess.PIPE, text=True, start_new_session=True)
        said = self.process.stdout.readline()
        if said != "ready\n":
            self.end()
            pytest.skip("this machine gives no overlay in a mount namespace")
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        self.pid = children[0]
        self.sh("mkdir -p /run/systemd/system; rm -f /usr/sbin/policy-rc.d; mv /usr/bin/systemctl /usr/bin/systemctl.real")
        self.sh("cat > /usr/bin/systemctl; chmod 755 /usr/bin/systemctl", stdin=SYSTEMCTL.encode())

    def end(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()

    def sh(self, text, stdin=b"", check=True):
        done = subprocess.run(["nsenter", "--target", self.pid, "--mount", "--pid", "chroot", str(self.root), "sh", "-ec", text], input=stdin,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=120, check=False,
                              env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C"})
        said = done.stdout.decode()
        assert not check or done.returncode == 0, f"{text}: {done.returncode}\n{said}"
        return said if done.returncode == 0 or "is-enabled" in text else ""

    def install(self, deb):
        self.sh("cat > /tmp/new.deb", stdin=deb.read_bytes())
        self.sh("dpkg --install /tmp/new.deb")

    def uninstall(self, how):
        self.sh(f"dpkg --{how} vmswitch")

    def api(self, method, path, body=""):
        data = f"--data '{body}'" if body else ""
        return json.loads(self.sh(f"curl -sS --max-time 10 --unix-socket /run/vmswitch/api.sock -X {method} {data} http://x{path}"))

    def files(self):
        """Every file but those that dpkg and the accounts change for good."""
        found = self.sh("find /etc /usr /var /opt -xdev | sort").splitlines()
        return {path for path in found if not path.startswith(("/var/lib/dpkg", "/var/lib/sudo", "/var/log", "/etc/group", "/etc/gshadow", "/etc/passwd",
                                                               "/etc/shadow", "/etc/subuid", "/etc/subgid", "/etc/.pwd.lock", "/var/cache"))}


@pytest.fixture
def machine(tmp_path):
    made = Machine(tmp_path)
    yield made
    made.end()


@pytest.mark.root
def test_installs_starts_upgrades_and_purges_cleanly(machine, deb, newer_deb):
    before = machine.files()

    machine.install(deb)
    assert machine.sh("id -un _vmswitch").strip() == "_vmswitch"
    assert machine.sh("getent group vmswitch")
    assert machine.api("GET", "/v1")["privileged"] is True
    assert machine.sh("systemctl.real --root=/ is-enabled vmswitchd.service vmswitchd.socket").split() == ["enabled", "enabled"]
    assert machine.sh("dpkg --verify vmswitch") == ""
    assert "vmswitch 0.1.0" in machine.sh("vmswitch version")
    machine.api("PUT", "/v1/networks/lab", '{"mode": "internal"}')
    machine.sh("systemctl.real --root=/ enable vmswitchd-stream@lab.socket")
    first = machine.sh("cat /service.pid")

    machine.install(newer_deb)
    assert machine.sh("cat /service.pid") != first  # the new one runs
    assert {network["name"] for network in machine.api("GET", "/v1/networks")["networks"]} == {"lab", "shared"}

    machine.uninstall("remove")
    assert machine.sh("ls /run/vmswitch/api.sock", check=False) == ""
    assert machine.sh("ls /var/lib/vmswitch/networks").split() == ["lab.json"]  # a purge is what forgets
    machine.install(newer_deb)
    assert "lab" in {network["name"] for network in machine.api("GET", "/v1/networks")["networks"]}

    machine.uninstall("purge")
    assert machine.files() == before
    assert machine.sh("ls /run/vmswitch", check=False) == ""
    assert "vmswitchd" not in machine.sh("ps -eo stat=,comm= | grep -v ^Z || true")


@pytest.mark.root
def test_what_an_administrator_disabled_stays_disabled(machine, deb, newer_deb):
    machine.install(deb)
    machine.sh("systemctl.real --root=/ disable vmswitchd.service vmswitchd.socket vmswitchd-attach.socket; systemctl stop vmswitchd.service")
    machine.sh("echo '{}' > /etc/vmswitch/vmswitchd.conf")
    machine.install(newer_deb)
    assert machine.sh("systemctl.real --root=/ is-enabled vmswitchd.service", check=False).strip() == "disabled"
    assert machine.sh("ls /run/vmswitch/api.sock", check=False) == ""
    machine.uninstall("purge")
    assert machine.sh("cat /etc/vmswitch/vmswitchd.conf") == "{}\n"  # the administrator's


@pytest.mark.root
def test_a_machine_without_a_running_systemd_installs_too(machine, deb):
    """In a container or a chroot: enabled for the next boot, nothing started."""
    machine.sh("rm -r /run/systemd/system; rm -f /systemctl.log")
    machine.install(deb)
    assert machine.sh("cat /systemctl.log", check=False) == ""
    assert machine.sh("ls /run/vmswitch/api.sock", check=False) == ""
    machine.uninstall("purge")


@pytest.mark.root
def test_an_administrator_puts_the_drop_ins_in_place_and_switches_back(machine, deb):
    """From the package to /opt with the real root, folders and sudo: what docs/minikube.md and docs/lima.md say."""
    machine.sh("groupadd admin; useradd --groups admin tester")
    machine.install(deb)
    before = machine.files()
    for layout in ("vmnet-helper --sudoers", "socket_vmnet --sudoers", "colima"):
        machine.sh(f"/usr/share/vmswitch/install-dropin.sh install {layout}")
    # As Lima checks (drop-in 1): real files of root's, below folders of root's that nobody else can write.
    for path in ("/opt", "/opt/socket_vmnet", "/opt/socket_vmnet/bin", "/opt/socket_vmnet/bin/socket_vmnet"):
        kind, mode, owner = machine.sh(f"stat -c '%F:%a:%u' {path}").strip().split(":")
        assert kind in ("directory", "regular file") and mode == "755" and owner == "0", path
    # As minikube asks: without a password, and without a privilege of its own.
    said = machine.sh("su tester -c 'sudo --non-interactive /opt/vmnet-helper/bin/vmnet-helper --version'")
    assert said.startswith("version: v")
    # As vmnet-run does, with a descriptor; and nothing else.
    assert machine.sh("su tester -c 'sudo --non-interactive --close-from=4 /opt/vmnet-helper/bin/vmnet-helper --version'") == said
    assert machine.sh("su tester -c 'sudo --non-interactive id -u'", check=False) == ""
    for layout in ("vmnet-helper", "socket_vmnet", "colima"):
        machine.sh(f"/usr/share/vmswitch/install-dropin.sh uninstall {layout}")
    assert machine.files() == before
    assert machine.sh("su tester -c 'sudo --non-interactive /usr/libexec/vmswitch/vmnet-helper --version'", check=False) == ""
