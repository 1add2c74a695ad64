"""The Debian package: what lintian says of it, and its life: installed, started, upgraded, removed, purged, installed again.

The life is lived in a copy of this machine's root (machine.py), with the real apt, dpkg and maintainer scripts, under a real
systemd that was booted for it.
"""
import re
import shutil
import subprocess

import pytest

from conftest import ROOT, needs_boot, package
from machine import wait_for
from vm import BROADCAST, StreamVm, frame, mac


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


# A VM at descriptor 3, as "vmswitch run" hands it over: says hello, and ends when it is answered.
GUEST = """
import os, struct
os.write(3, struct.pack("!I", 60) + bytes.fromhex("ffffffffffff" "525400aa0002" "88b5").ljust(60, b"\\0"))
buffer = b""
while b"welcome" not in buffer:
    piece = os.read(3, 4096)
    assert piece, "the switch has closed"
    buffer += piece
"""


def passes_frames(machine, network):
    """A VM on the network's socket and one that alice plugs in with "vmswitch run" hear each other."""
    with StreamVm(machine.path(f"/run/vmswitch/{network}.stream"), mac(1)) as vm:
        guest = subprocess.Popen(machine.command("runuser", "-u", "alice", "--", "vmswitch", "run", network, "--", "python3", "-c", GUEST),
                                 stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        vm.expect(frame(BROADCAST, mac(2)), 20)
        vm.send(frame(mac(2), mac(1), b"welcome"))
        said, _ = guest.communicate(timeout=20)
        assert guest.returncode == 0, said


def is_quiet(machine):
    """Nothing was worth a warning."""
    assert machine.journal("--priority=warning") == []
    assert machine.show("Result") == "success" and machine.show("NRestarts") == "0"


@needs_boot
def test_installs_starts_upgrades_removes_and_purges_cleanly(booted, deb, newer_deb):
    machine = booted
    before = machine.files()

    # Installed: started by systemd, which has its sockets and has heard that it is ready.
    machine.install(deb)
    assert machine.sh("id -un _vmswitch").strip() == "_vmswitch"
    units = ("vmswitchd.service", "vmswitchd.socket", "vmswitchd-attach.socket")
    for unit in units:
        assert machine.sh(f"systemctl is-enabled {unit}").strip() == "enabled" and machine.show("ActiveState", unit) == "active", unit
    assert machine.show("Type") == "notify" and machine.show("StatusText") == "1 of 1 networks up"
    assert machine.sh("dpkg --verify vmswitch") == ""
    assert "vmswitch 0.1.0" in machine.sh("vmswitch version")
    assert machine.api("GET", "/v1")["privileged"] is True
    is_quiet(machine)

    # Used: by those in the group, and by nobody else.
    machine.sh("usermod --append --groups vmswitch alice")
    assert re.search(r"^shared +up", machine.sh("vmswitch health", user="alice"), re.M)
    assert "add you to the group vmswitch" in machine.sh("! vmswitch health", user="mallory")
    passes_frames(machine, "shared")
    machine.api("PUT", "/v1/networks/lab", '{"mode": "internal", "sockets": {"group": "vmswitch", "mode": "0660"}}')
    machine.api("PUT", "/v1/networks/out", '{"mode": "host", "uplink": "tap", "ipv4": {"gateway": "192.168.77.1"}}')
    # As the unit says how.
    enable = re.search(r"^#   (systemctl stop .*)", machine.sh("cat /usr/lib/systemd/system/vmswitchd-stream@.socket"), re.M)[1]
    machine.sh(enable)
    assert machine.show("ActiveState", "vmswitchd-stream@lab.socket") == "active"
    assert "vmsw" in machine.sh("ip link")

    # Upgraded: another process, the same sockets, everything that was made is there, and the administrator's edit.
    first = machine.show("MainPID")
    inode = machine.path("/run/vmswitch/api.sock").stat().st_ino
    machine.sh("sed -i 's/bridged_interfaces.: .*/bridged_interfaces\": [\"br7\"]/' /etc/vmswitch/vmswitchd.conf")
    assert "br7" in machine.sh("cat /etc/vmswitch/vmswitchd.conf")
    machine.install(newer_deb)
    assert machine.sh("dpkg-query --show --showformat '${Version}' vmswitch").endswith("-2")
    assert machine.show("ActiveState") == "active" and machine.show("MainPID") != first
    assert machine.path("/run/vmswitch/api.sock").stat().st_ino == inode
    wait_for(lambda: machine.show("StatusText") == "3 of 3 networks up", 20, "every network")
    assert set(machine.networks()) == {"lab", "out", "shared"}
    assert "br7" in machine.sh("cat /etc/vmswitch/vmswitchd.conf")
    passes_frames(machine, "shared")
    is_quiet(machine)

    # Removed: stopped, and nothing is there but what a purge is for.
    machine.uninstall("remove")
    assert machine.show("ActiveState") in ("inactive", "failed")
    assert "vmswitch" not in machine.sh("ps -eo stat=,comm= | grep -v ^Z")
    assert machine.sh("ls /run/vmswitch").split() == ["vmswitchd.lock"] and "vmsw" not in machine.sh("ip link")
    assert sorted(machine.sh("ls /var/lib/vmswitch/networks").split()) == ["lab.json", "out.json"]
    assert "br7" in machine.sh("cat /etc/vmswitch/vmswitchd.conf")
    assert machine.sh("systemctl start vmswitchd.service", check=False) == ""

    # Installed again: as it was.
    machine.install(newer_deb)
    wait_for(lambda: machine.show("StatusText") == "3 of 3 networks up", 20, "every network")
    assert set(machine.networks()) == {"lab", "out", "shared"}

    # Purged: nothing is left, but the accounts.
    machine.uninstall("purge")
    assert machine.files() == before
    assert machine.sh("ls /run/vmswitch", check=False) == ""
    assert "vmswitch" not in machine.sh("ps -eo stat=,comm= | grep -v ^Z")
    assert "vmsw" not in machine.sh("ip link") and "vmswitch" not in machine.sh("nft list tables")
    assert "vmswitch" not in machine.sh("systemctl list-units --all --no-legend 'vmswitch*'")
    assert machine.sh("id -un _vmswitch") and machine.sh("getent group vmswitch")
    machine.install(deb)
    assert set(machine.networks()) == {"shared"}


@needs_boot
def test_it_starts_when_the_machine_does(booted, deb):
    """Also after a crash of the machine, which leaves nothing of /run."""
    machine = booted
    machine.install(deb)
    machine.api("PUT", "/v1/networks/lab", '{"mode": "internal"}')
    machine.power_off()
    machine.boot()
    assert machine.show("ActiveState") == "active" and machine.show("StatusText") == "2 of 2 networks up"
    assert set(machine.networks()) == {"lab", "shared"}
    is_quiet(machine)


@needs_boot
def test_what_an_administrator_disabled_stays_disabled(booted, deb, newer_deb):
    machine = booted
    machine.install(deb)
    machine.sh("systemctl disable --now --quiet vmswitchd.service vmswitchd.socket vmswitchd-attach.socket")
    machine.install(newer_deb)
    assert machine.sh("systemctl is-enabled vmswitchd.service", check=False).strip() == "disabled"
    assert machine.show("ActiveState") == "inactive"
    assert machine.sh("ls /run/vmswitch/api.sock", check=False) == ""


@needs_boot
def test_a_configuration_that_was_there_before_is_kept(booted, deb):
    """Of "cmake --install": dpkg asks, and keeps it where nobody answers."""
    machine = booted
    machine.sh("mkdir /etc/vmswitch; echo '{}' > /etc/vmswitch/vmswitchd.conf")
    machine.install(deb)
    assert machine.sh("cat /etc/vmswitch/vmswitchd.conf") == "{}\n"
    assert machine.networks() == {}


@pytest.mark.root
def test_a_machine_without_a_running_systemd_installs_too(machine, deb):
    """In a container or a chroot: enabled for the next boot, nothing started."""
    machine.chroot()
    before = machine.files()
    machine.install(deb)
    assert machine.sh("systemctl is-enabled vmswitchd.service vmswitchd.socket").split() == ["enabled", "enabled"]
    assert machine.sh("ls /run/vmswitch", check=False) == ""
    machine.uninstall("purge")
    assert machine.files() == before


@pytest.mark.root
def test_an_administrator_puts_the_drop_ins_in_place_and_switches_back(machine, deb):
    """From the package to /opt with the real root, folders and sudo: what docs/minikube.md and docs/lima.md say."""
    machine.chroot()
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
