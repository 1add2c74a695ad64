"""vmnet-helper's clients, each by its own conversation: argv, descriptors, order, limits, what it reads and when it stops."""
import json
import os
import re
import signal
import socket
import stat
import subprocess
import time
from pathlib import Path

import pytest
import yaml

from front import Front, leftovers, processes_of
from helpers import (TEN_KEYS, answers_arp, big_tcp, check_types, dhcp_discover, line_of, offered, run, vfkit)
from switchd import EXIT_S, wait_for
from vm import BROADCAST, DatagramVm, StreamVm, frame, mac

USER = {"VMSWITCH_UPLINK": "user"}
ID = "8d6b1f0a-94c5-4f7e-b6a1-2c3d4e5f6071"


@pytest.fixture
def machine(folder):
    path = folder / "machine"
    path.mkdir()
    path.chmod(0o777)
    return path


class Minikube:
    """pkg/drivers/common/vmnet: vfkit's and krunkit's driver."""

    def __init__(self, folder, *options, interface_id=None):
        self.folder = folder
        self.sock, self.pidfile = folder / "vmnet-helper.sock", folder / "vmnet-helper.pid"
        self.options = (["--interface-id", interface_id] if interface_id else []) + list(options)

    @staticmethod
    def needs_sudo():
        """On macOS 26: below 0.9.0."""
        said = run("vmnet-helper", "--version")
        assert said.returncode == 0
        version = yaml.safe_load(said.stdout)["version"]
        numbers = version.removeprefix("v").split(".")
        assert len(numbers) == 3 and all(n.isdigit() for n in numbers), "strict semver, no pre-release"
        return tuple(map(int, numbers)) < (0, 9, 0)

    def start(self):
        """argv exactly; its own group; stderr to a file; one JSON value is decoded, then the pipe is closed."""
        self.front = Front("vmnet-helper", "--socket", self.sock, *self.options, env=USER, log=self.folder / "vmnet-helper.log")
        decoder, text = json.JSONDecoder(), ""
        while True:
            piece = self.front.process.stdout.read1(512)
            assert piece, self.front.log()
            text += piece.decode()
            try:
                facts, _ = decoder.raw_decode(text)
                break
            except json.JSONDecodeError:
                continue
        self.front.process.stdout.close()
        self.pidfile.write_text(str(self.front.pid))
        self.mac = facts["vmnet_mac_address"]
        return self.mac

    def state(self):
        """Running only if the process of the pidfile has the name of the program."""
        try:
            pid = int(self.pidfile.read_text())
            os.kill(pid, 0)
            return Path(f"/proc/{pid}/comm").read_text().strip() == "vmnet-helper"
        except (FileNotFoundError, ProcessLookupError):
            return False

    def stop(self):
        assert self.state()
        os.kill(self.front.pid, signal.SIGTERM)
        assert self.front.process.wait(EXIT_S) == 0
        self.pidfile.unlink()

    def kill(self):
        os.kill(-self.front.pid, signal.SIGKILL)
        self.front.process.wait()


@pytest.mark.parametrize("options", [[], ["--enable-tso", "--enable-checksum-offload"]], ids=["plain", "offload"])
def test_minikube_from_probe_to_kill(machine, folder, options):
    assert not Minikube.needs_sudo()
    one = Minikube(machine, *options)
    for stop in (one.stop, one.kill, one.kill, one.stop):
        address = one.start()
        try:
            assert one.state()
            with vfkit(one.sock, folder, address) as vm:  # the VM starts right after the line
                vm.send(dhcp_discover(address))
                assert offered(vm).startswith("192.168.105.")
                assert one.state(), "SIGPIPE must not matter, the pipe has been closed"
                stop()
            assert not one.state()
        finally:
            one.front.end()
    wait_for(lambda: not processes_of("vmnet-helper"), EXIT_S + 1)
    assert leftovers(machine) == []


def test_minikube_1_38_1_takes_the_lines_address_for_the_guest_and_its_lease(machine, folder):
    one = Minikube(machine, interface_id=ID)
    seen = set()
    for _ in range(2):
        address = one.start()
        try:
            with vfkit(one.sock, folder, address) as vm:
                vm.send(dhcp_discover(address))
                seen.add((address, offered(vm)))
            assert one.front.process.wait(EXIT_S + 2) == 0
        finally:
            one.front.end()
    assert len(seen) == 1


def test_20_frames_of_any_other_address_work_too(start_front, machine):
    helper = start_front("vmnet-helper", "--socket", machine / "s", "-i", ID, env=USER)
    address = line_of(helper)["vmnet_mac_address"]
    with vfkit(machine / "s", machine, address) as vm:
        for guest in (address, mac(7), mac(8)):
            vm.address = guest
            assert answers_arp(vm, "192.168.105.1", "192.168.105.77")


def test_krunkit_sends_a_frame_first(start_front, machine, folder):
    """libkrun's unixgram: binds $TMPDIR/krun-net-PID-N.sock, connects, no magic."""
    helper = start_front("vmnet-helper", "--socket", machine / "s", env=USER)
    line_of(helper)
    tmp = folder / "tmp"
    tmp.mkdir()
    tmp.chmod(0o777)
    with DatagramVm(machine / "s", mac(1), local=tmp / f"krun-net-{os.getpid()}-0.sock") as vm:
        vm.send(dhcp_discover(mac(1)))
        assert offered(vm).startswith("192.168.105."), "the first datagram was a frame, and was kept"


def test_anylinuxfs_waits_for_the_file_and_reads_all_ten_keys(start_front, folder):
    """A /30; --socket in /tmp; serde's struct; SIGTERM and wait."""
    path = folder / "vfkit-1a2b3c4d.sock"
    folder.chmod(0o777)
    helper = start_front("vmnet-helper", "--socket", path, "--enable-tso", "--enable-checksum-offload", "--start-address=172.27.1.1",
                         "--end-address=172.27.1.2", "--subnet-mask=255.255.255.252", "--operation-mode=shared", env=USER)
    wait_for(lambda: path.exists() and stat.S_ISSOCK(path.stat().st_mode), 3)
    facts = line_of(helper)
    check_types(facts, TEN_KEYS)
    assert facts["vmnet_start_address"] == "172.27.1.1" and facts["vmnet_max_packet_size"] == 65550
    with vfkit(path, folder, mac(1), magic=False) as vm:
        vm.send(dhcp_discover(mac(1)))
        assert offered(vm) == "172.27.1.2"
        assert answers_arp(vm, "172.27.1.1", "172.27.1.2")
        assert helper.stop() == 0
    assert not path.exists()


def test_renode_reads_stderr_to_its_line_then_never_again(start_front, machine):
    """First datagram: one byte. Last: none at all. Then SIGTERM."""
    path = machine / "s"
    helper = start_front("vmnet-helper", f"--socket={path}", "--operation-mode=host", "--start-address=192.168.127.1",
                         "--end-address=192.168.127.254", "--subnet-mask=255.255.255.0", stderr=subprocess.PIPE)
    for line in iter(helper.process.stderr.readline, b""):
        if b"waiting for client on" in line:
            assert line == f'INFO  [main] waiting for client on "{path}"\n'.encode()
            break
    else:
        raise AssertionError("the line did not come")
    with DatagramVm(path, mac(1), folder=machine) as vm:
        vm.send(b"\0")
        vm.send(frame(BROADCAST, mac(1)))
        vm.send(b"")
        time.sleep(0.1)
        assert helper.process.poll() in (None, 0)
        helper.process.terminate()
        assert helper.process.wait(EXIT_S) == 0
    helper.process.stderr.close()


def test_ec1_passes_any_descriptor_and_reads_eight_keys(start_front):
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    helper = start_front("vmnet-helper", "--fd", theirs.fileno(), "--interface-id", ID, "--verbose", pass_fds=[theirs.fileno()], env=USER)
    theirs.close()
    facts = line_of(helper)
    assert {"vmnet_start_address", "vmnet_end_address", "vmnet_subnet_mask", "vmnet_mac_address", "vmnet_mtu", "vmnet_interface_id",
            "vmnet_max_packet_size", "vmnet_nat66_prefix"} <= set(facts)
    assert facts["vmnet_interface_id"].lower() == ID
    with DatagramVm(ours, mac(1)) as vm:
        vm.send(dhcp_discover(mac(1)))
        assert offered(vm).startswith("192.168.105.")


def test_apple_container_passes_standard_input(start_front):
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    helper = start_front("vmnet-helper", "--fd", "0", stdin=theirs, env=USER)
    theirs.close()
    line_of(helper)
    with DatagramVm(ours, mac(1)) as vm:
        vm.send(dhcp_discover(mac(1)))
        assert offered(vm).startswith("192.168.105.")
        assert helper.stop() == 0
        with pytest.raises(ConnectionError):
            vm.send(b"x" * 60)  # nobody kept a copy of it


def test_container_runtime_krun_waits_for_the_file_and_kills_after_a_second(start_front, machine):
    """stdout and stderr in one log file; SIGTERM, then SIGKILL after 1 s, which is not needed."""
    log = machine / "vmnet.log"
    path = machine / "net.sock"
    with open(log, "wb") as both:
        helper = start_front("vmnet-helper", "--socket", path, "--operation-mode", "shared", "--enable-isolation",
                             "--start-address", "192.168.64.1", "--end-address", "192.168.64.100", "--subnet-mask", "255.255.255.0",
                             stdout=both, stderr=both, env=USER)
    wait_for(path.exists, 30)
    with vfkit(path, machine, mac(1)) as vm:
        vm.send(dhcp_discover(mac(1)))
        assert offered(vm).startswith("192.168.64."), "isolated, and reaches the uplink"
        helper.process.terminate()
        assert helper.process.wait(EXIT_S) == 0
    lines = [line for line in log.read_text().splitlines() if line.startswith("{")]
    assert len(lines) == 1 and json.loads(lines[0])["vmnet_end_address"] == "192.168.64.100"
    # And if it is killed all the same, the next one starts.
    for _ in range(2):
        helper = start_front("vmnet-helper", "--socket", path)
        line_of(helper)
        helper.process.kill()
        helper.process.wait()
    wait_for(lambda: not processes_of("vmnet-helper"), EXIT_S + 1)


def test_24_offload_is_of_its_port_alone_and_others_get_1514(start_front, user_daemon, machine):
    """minikube --vmnet-offloading, anylinuxfs: beside VMs that know nothing of it."""
    user_daemon.create("lab")
    env = {"VMSWITCH_JOIN": "lab", "VMSWITCH_SOCKET": str(user_daemon.api_path)}
    for name, more in (("big", ["--enable-tso", "--enable-checksum-offload"]), ("small", [])):
        line_of(start_front("vmnet-helper", "--socket", machine / name, *more, env=env))
    with vfkit(machine / "big", machine, mac(1)) as big, vfkit(machine / "small", machine, mac(2)) as small, \
            StreamVm(user_daemon.path("lab.stream"), mac(3)) as stream:
        wait_for(lambda: len(user_daemon.ports("lab")) == 3)
        for vm in (small, stream):
            vm.hello()
            wait_for(lambda: vm.address in user_daemon.fdb("lab"))
        for vm in (small, stream):
            packet, payload = big_tcp(vm.address, mac(1), 20000)
            assert len(packet) > 20000
            big.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
            big.send(packet)
            got = b""
            while len(got) < len(payload):
                one = vm.receive()
                assert one is not None, "not all of it came"
                if one[12:14] == b"\x08\x00":
                    assert len(one) <= 1514
                    got += one[54:]
            assert got == payload


@pytest.mark.parametrize("options,dropped", [([], 1), (["--enable-tso"], 0), (["--enable-checksum-offload"], 0)], ids=["off", "tso", "checksum"])
def test_24_long_frames_are_taken_only_where_that_was_asked_for(start_front, machine, options, dropped):
    helper = start_front("vmnet-helper", "--socket", machine / "s", "--stats-interval=1", *options, env=USER)
    line_of(helper)
    with vfkit(machine / "s", machine, mac(1)) as vm:
        assert answers_arp(vm, "192.168.105.1", "192.168.105.9")
        vm.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        vm.send(big_tcp("52:55:c0:a8:69:01", mac(1), 20000)[0])
        stats = json.loads(wait_for(lambda: re.search(r"\[stats\] (.*\"vm\":{\"packets\":2,.*)", helper.log()))[1])
        assert stats["vm"]["drops"] == dropped, stats


@pytest.mark.root
def test_25_host_mode_on_a_tap_has_the_hosts_address(start_front, machine):
    helper = start_front("vmnet-helper", "--socket", machine / "s", "--operation-mode=host", "--start-address=192.168.219.1",
                         "--end-address=192.168.219.50", "--subnet-mask=255.255.255.0", env={"VMSWITCH_UPLINK": "tap"})
    facts = line_of(helper)
    check_types(facts, TEN_KEYS)
    assert facts["vmnet_end_address"] == "192.168.219.50"
    shown = subprocess.run(["ip", "-o", "addr"], capture_output=True, text=True, check=True).stdout
    assert "192.168.219.1/24" in shown
    with vfkit(machine / "s", machine, mac(1)) as vm:
        assert answers_arp(vm, "192.168.219.1", "192.168.219.9"), "the host itself"
    assert helper.process.wait(EXIT_S + 2) == 0
    assert "192.168.219.1/24" not in subprocess.run(["ip", "-o", "addr"], capture_output=True, text=True, check=True).stdout


@pytest.mark.root
def test_25_bridged_mode_puts_the_vm_into_the_hosts_bridge(start_front, machine):
    """Six keys; vibe asks for the list of interfaces first."""
    subprocess.run(["ip", "link", "add", "vmsw-hbr0", "type", "bridge"], check=True)
    try:
        subprocess.run(["ip", "addr", "add", "192.168.218.1/24", "dev", "vmsw-hbr0"], check=True)
        subprocess.run(["ip", "link", "set", "vmsw-hbr0", "up"], check=True)
        assert run("vmnet-helper", "--list-shared-interfaces").stdout.splitlines() == ["vmsw-hbr0"]
        helper = start_front("vmnet-helper", "--socket", machine / "s", "--operation-mode=bridged", "--shared-interface=vmsw-hbr0",
                             env={"VMSWITCH_UPLINK": "tap"})
        facts = line_of(helper)
        check_types(facts, {key: kind for key, kind in TEN_KEYS.items() if key not in (
            "vmnet_subnet_mask", "vmnet_start_address", "vmnet_end_address", "vmnet_nat66_prefix")})
        with vfkit(machine / "s", machine, mac(1)) as vm:
            assert answers_arp(vm, "192.168.218.1", "192.168.218.9"), "the host, by its bridge"
        assert helper.process.wait(EXIT_S + 2) == 0
    finally:
        subprocess.run(["ip", "link", "del", "vmsw-hbr0"], check=True)


def test_25_part_of_a_subnet_can_be_given_out(start_front, machine):
    helper = start_front("vmnet-helper", "--socket", machine / "s", "--start-address=10.3.0.1", "--end-address=10.3.0.3",
                         "--subnet-mask=255.255.0.0", env=USER)
    line_of(helper)
    with vfkit(machine / "s", machine, mac(1)) as vm:
        vm.send(dhcp_discover(mac(1)))
        assert offered(vm) == "10.3.0.3"
