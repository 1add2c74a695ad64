"""macOS's vmnet uplink in a whole vmswitchd, with the double of tests/fake-sdk for vmnet and libslirp behind it.

Of the build with VMNET_DOUBLE alone (`tests/run.sh --preset vmnet -k vmnet`); any other skips these.
"""
import os
import signal
import socket
import struct
import subprocess

import pytest

from guest import Guest, on_stream
from switchd import BUILD, status_of, wait_for
from vm import BROADCAST, StreamVm, frame, mac, raw

CACHE = BUILD / "CMakeCache.txt"
pytestmark = pytest.mark.skipif(not CACHE.exists() or "VMNET_DOUBLE:BOOL=ON" not in CACHE.read_text(),
                                reason="needs a build with VMNET_DOUBLE")

ARP = 0x0806
HOST = "192.168.64.1"  # what the double chooses, as macOS does


def create(daemon, **fields):
    daemon.create("v", **{"mode": "shared", "uplink": "vmnet", "ipv4": None, **fields})


def ask_for(vm, address, own="192.168.64.99"):
    """ARP: who has 'address'?"""
    body = struct.pack("!HHBBH6s4s6s4s", 1, 0x0800, 6, 4, 1, raw(vm.address), socket.inet_aton(own), bytes(6), socket.inet_aton(address))
    vm.send(frame(BROADCAST, vm.address, body, ethertype=ARP))


def answers(vm, address=HOST, seconds=1):
    """True if the host behind vmnet answers this VM."""
    ask_for(vm, address)
    while (one := vm.receive(seconds)) is not None:
        if one[:6] == raw(vm.address) and one[12:14] == struct.pack("!H", ARP) and one[28:32] == socket.inet_aton(address):
            return True
    return False


def uplink_of(daemon):
    return daemon.health("v")["uplink"]


def pid_of(daemon):
    return daemon.children().get("vmnet v")


@pytest.fixture
def vm(daemon):
    create(daemon)
    with StreamVm(daemon.path("v.stream"), mac(1)) as one:
        yield one


@pytest.mark.root
def test_auto_is_vmnet_for_a_shared_network_that_it_can_serve(daemon):
    daemon.create("v", mode="shared")
    assert uplink_of(daemon)["kind"] == "vmnet"
    daemon.create("w", mode="shared", host_loopback=True, ipv4={"gateway": "192.168.107.1"})  # what libslirp alone knows
    assert daemon.health("w")["uplink"]["kind"] == "user"


def test_auto_is_libslirp_where_vmnet_would_not_start(user_daemon):
    user_daemon.create("v", mode="shared")
    assert user_daemon.health("v")["uplink"]["kind"] == "user"


def test_a_vm_reaches_the_host_behind_vmnet(daemon, vm):
    assert uplink_of(daemon)["kind"] == "vmnet" and uplink_of(daemon)["pid"] == pid_of(daemon)
    assert answers(vm)
    assert uplink_of(daemon)["ipv4"] == {"gateway": HOST, "netmask": "255.255.255.0", "dhcp_end": "192.168.64.254"}


@pytest.mark.root
def test_the_process_has_no_privilege_left_once_vmnet_runs(daemon, vm):
    status = status_of(pid_of(daemon))
    owner = str(daemon.network("v")["owner"])
    assert owner != "0" and status["Uid"].split() == [owner] * 4 and "0" not in status["Gid"].split()
    assert int(status["CapPrm"], 16) == int(status["CapEff"], 16) == 0
    assert status["Groups"].split() in ([], [status["Gid"].split()[0]])


@pytest.mark.parametrize("how", [signal.SIGUSR1, signal.SIGKILL], ids=["interface-lost", "process-killed"])
def test_an_uplink_that_goes_comes_back_under_the_same_ports(daemon, vm, how):
    daemon.expects_failure = True
    assert answers(vm)
    before, first = daemon.ports("v"), pid_of(daemon)
    os.kill(first, how)
    reason = "vmnet's interface is gone: failure (1001)" if how == signal.SIGUSR1 else "its process died (Killed)"
    wait_for(lambda: reason in (uplink_of(daemon)["reason"] or ""), 2, "the reason")
    wait_for(lambda: pid_of(daemon) not in (None, first), 10, "another process for the uplink")
    daemon.wait_up("v")
    wait_for(lambda: uplink_of(daemon)["state"] == "up", 10, "the uplink being up again")
    assert daemon.ports("v").keys() == before.keys()
    assert answers(vm)
    macs = {line.rsplit("mac ", 1)[1] for line in daemon.log().splitlines() if " vmnet: host " in line}
    assert len(macs) == 1  # vmnet was asked for the same interface


def test_the_api_bridges_only_what_the_configuration_names(daemon):
    answer = daemon.request("PUT", "/v1/networks/v", {"mode": "bridged", "uplink": "vmnet", "interface": "en7"})
    assert answer.status == 422 and answer.json["field"] == "/interface" and "bridged_interfaces" in answer.text


def test_what_can_be_bridged_is_what_vmnet_says(make_daemon):
    daemon = make_daemon()
    config = daemon.folder / "conf"
    config.write_text('{"networks": [], "bridged_interfaces": ["en7"]}')
    daemon.start("--config", str(config))
    found = {one["name"]: one["allowed"] for one in daemon.ask("GET", "/v1/interfaces")["interfaces"]}
    assert found == {"en0": False, "en7": True}


def test_an_interface_that_is_not_there_leaves_ports_talking_to_each_other(make_daemon):
    daemon = make_daemon()
    config = daemon.folder / "conf"
    config.write_text('{"networks": [], "bridged_interfaces": ["en9"]}')
    daemon.start("--config", str(config))
    daemon.ask("PUT", "/v1/networks/v", {"mode": "bridged", "uplink": "vmnet", "interface": "en9", "sockets": {"mode": "0666"}})
    wait_for(lambda: "no such interface to bridge to" in (uplink_of(daemon)["reason"] or ""), 10, "the reason")
    first = pid_of(daemon)
    with StreamVm(daemon.path("v.stream"), mac(1)) as one, StreamVm(daemon.path("v.stream"), mac(2)) as two:
        one.hello()
        two.hello()
        said = frame(two.address, one.address, b"between us")
        one.send(said)
        two.expect(said)
    assert pid_of(daemon) == first  # it tries again by itself


@pytest.mark.parametrize("field, spec", [
    ("/ipv4/dhcp", {"ipv4": {"gateway": "10.1.0.1", "dhcp": False}}),
    ("/ipv4/reservations", {"ipv4": {"gateway": "10.1.0.1", "reservations": [{"mac": mac(1), "address": "10.1.0.9"}]}}),
    ("/vmnet/nat44", {"vmnet": {"nat44": False}}),
    ("/vmnet/external_interface", {"vmnet": {"external_interface": "en7"}}),
], ids=lambda value: value.replace("/", "-") if isinstance(value, str) else "")
def test_what_this_macos_cannot_do_is_refused_when_it_is_asked_for(daemon, field, spec):
    answer = daemon.request("PUT", "/v1/networks/v", {"mode": "shared", "uplink": "vmnet", **spec})
    assert answer.status == 422 and answer.json["field"] == field and "needs macOS 26 or later" in answer.json["detail"]
    assert daemon.request("GET", "/v1/networks/v").status == 404


@pytest.mark.root
def test_a_subnet_that_the_host_reaches_already_is_refused_with_who_has_it(daemon):
    spec = {"mode": "shared", "uplink": "vmnet", "ipv4": {"gateway": "10.77.0.1"}, "sockets": {"mode": "0666"}}
    subprocess.run(["ip", "route", "add", "10.77.0.0/16", "dev", "lo"], check=True)
    try:
        answer = daemon.request("PUT", "/v1/networks/v", spec)
        assert answer.status == 409 and answer.json["field"] == "/ipv4" and "overlaps 10.77.0.0/16 via lo" in answer.json["detail"]
        assert daemon.request("GET", "/v1/networks/v").status == 404
    finally:
        subprocess.run(["ip", "route", "del", "10.77.0.0/16", "dev", "lo"], check=True)
    daemon.ask("PUT", "/v1/networks/v", spec)
    daemon.wait_up("v")
    subprocess.run(["ip", "route", "add", "10.77.0.0/24", "dev", "lo"], check=True)  # as vmnet's own bridge has it
    try:
        daemon.ask("PUT", "/v1/networks/v", {**spec, "mtu": 1400})
    finally:
        subprocess.run(["ip", "route", "del", "10.77.0.0/24", "dev", "lo"], check=True)


def test_a_new_control_takes_the_running_uplink_over(daemon, vm):
    first = pid_of(daemon)
    daemon.expects_failure = True
    os.kill(daemon.children()["control"], signal.SIGKILL)
    wait_for(daemon.is_ready_again, 10, "another control")
    daemon.wait_up("v")
    assert pid_of(daemon) == first
    assert answers(vm)


def fold(data, start=0):
    """The sum of RFC 1071, not complemented."""
    data += bytes(len(data) % 2)
    total = start + sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def pseudo_header(ip, length):
    return ip[12:20] + struct.pack("!HH", 6, length)


def long_segment(to, source, payload):
    """A TCP segment as a VM with offload sends it: header, sum over the pseudo header alone, to be cut at 1448."""
    ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 40 + len(payload), 7, 0x4000, 64, 6, 0, socket.inet_aton("192.168.64.7"), socket.inet_aton("192.168.64.1"))
    ip = ip[:10] + struct.pack("!H", ~fold(ip) & 0xFFFF) + ip[12:]
    tcp = struct.pack("!HHIIHHHH", 1000, 2000, 1, 1, 0x5010, 65535, fold(pseudo_header(ip, 20 + len(payload))), 0)
    return struct.pack("<BBHHHHH", 1, 1, 54, 1448, 34, 16, 1) + raw(to) + raw(source) + struct.pack("!H", 0x0800) + ip + tcp + payload


def pieces_of(vm, source, header=0):
    """[(frame length, payload)] of the TCP frames from 'source', by their sequence numbers; sums are right where no header says else."""
    found = {}
    while (one := vm.receive(1)) is not None:
        flags, bare = one[0] if header else 0, one[header:]
        if bare[6:12] != raw(source):
            continue
        ip, segment = bare[14:34], bare[34:14 + struct.unpack("!H", bare[16:18])[0]]
        assert fold(ip) == 0xFFFF
        assert flags & 1 or fold(pseudo_header(ip, len(segment)) + segment) == 0xFFFF
        found[struct.unpack("!I", segment[4:8])[0]] = (len(bare), segment[20:])
    return [found[sequence] for sequence in sorted(found)]


@pytest.mark.parametrize("keys", [{}, {"virtio_header": False}, {"tso": False}, {"tso": False, "checksum_offload": False, "virtio_header": False}],
                         ids=["virtio-header", "bare-frames", "without-tso", "plain"])
def test_a_frame_of_64_kib_from_vmnet_is_whole_for_who_offloads_and_cut_for_the_others(daemon, keys):
    """The double's echo sends a VM's own long segment back to all."""
    create(daemon, vmnet=keys or None)
    payload = bytes(range(256)) * 250
    echo = "5e:00:00:00:00:ec"
    daemon.ask("PUT", "/v1/networks/v/ports/big", {"offload": "virtio"})
    daemon.wait_up("v")
    with StreamVm(daemon.path("v.big.stream"), mac(1)) as big, StreamVm(daemon.path("v.stream"), mac(2)) as plain:
        plain.hello()
        big.send(long_segment(echo, big.address, payload))
        whole, cut = pieces_of(big, echo, header=12), pieces_of(plain, echo)
    assert b"".join(data for _, data in cut) == payload and all(length <= 1514 for length, _ in cut)
    assert len(cut) == (44 if keys == {"virtio_header": False} else 45)  # without a header: as long as the MTU allows
    assert b"".join(data for _, data in whole) == payload and len(whole) == (45 if "tso" in keys else 1)
    assert daemon.network("v")["counters"]["drops"]["bad_offload"] == 0


def syn_to(vm, address, port):
    """True once the host opens a connection to that port of the guest, which answers who it is."""
    while (one := vm.receive(2)) is not None:
        if one[12:14] == struct.pack("!H", ARP) and one[38:42] == socket.inet_aton(address):
            body = struct.pack("!HHBBH", 1, 0x0800, 6, 4, 2) + raw(vm.address) + socket.inet_aton(address) + one[22:32]
            vm.send(frame(":".join(f"{byte:02x}" for byte in one[6:12]), vm.address, body, ethertype=ARP))
        elif one[12:14] == b"\x08\x00" and one[23] == 6 and one[36:38] == struct.pack("!H", port):
            return True
    return False


def test_forwards_are_vmnets_and_change_while_it_runs(daemon):
    def forwards(host, guest):
        return [{"proto": "tcp", "host": f"0.0.0.0:{host}", "guest": f"192.168.105.5:{guest}"}]

    spec = {"mode": "shared", "uplink": "vmnet", "sockets": {"mode": "0666"}}
    daemon.ask("PUT", "/v1/networks/v", {**spec, "forwards": forwards(8081, 81)})
    daemon.wait_up("v")
    first = pid_of(daemon)
    with StreamVm(daemon.path("v.stream"), mac(1)) as vm:
        vm.hello()
        for host, guest in ((8081, 81), (8082, 82)):
            daemon.ask("PUT", "/v1/networks/v", {**spec, "forwards": forwards(host, guest)})
            wait_for(lambda: socket.socket().connect_ex(("127.0.0.1", host)) == 0, 5, "the forward")
            assert syn_to(vm, "192.168.105.5", guest)
        assert socket.socket().connect_ex(("127.0.0.1", 8081)) != 0
    assert pid_of(daemon) == first


def test_a_macos_without_the_header_gets_bare_frames(make_daemon):
    daemon = make_daemon()
    daemon.start(env={"FAKE_MACOS_VERSION": "14.7"})
    create(daemon)
    with StreamVm(daemon.path("v.stream"), mac(1)) as vm:
        assert answers(vm)
    assert "frames of up to 65550 bytes, checksum offload, 3 in a read, 200 in a write" in daemon.log()


@pytest.mark.guest
def test_a_qemu_guest_gets_its_address_from_vmnet(daemon):
    create(daemon)
    with Guest(on_stream(daemon.path("v.stream"))).ready() as guest:
        assert guest.dhcp().startswith("192.168.64.")
        guest.ping(HOST)
