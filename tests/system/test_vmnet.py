"""macOS's vmnet uplink in a whole vmswitchd, with the double of tests/fake-sdk for vmnet and libslirp behind it.

Of the build with VMNET_DOUBLE alone (`tests/run.sh --preset vmnet -k vmnet`); any other skips these.
"""
import os
import signal
import socket
import struct

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
    if how == signal.SIGUSR1:
        wait_for(lambda: "vmnet's interface is gone: failure (1001)" in (uplink_of(daemon)["reason"] or ""), 2, "the reason")
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


def test_a_new_control_takes_the_running_uplink_over(daemon, vm):
    first = pid_of(daemon)
    daemon.expects_failure = True
    os.kill(daemon.children()["control"], signal.SIGKILL)
    wait_for(daemon.is_ready_again, 10, "another control")
    daemon.wait_up("v")
    assert pid_of(daemon) == first
    assert answers(vm)


@pytest.mark.guest
def test_a_qemu_guest_gets_its_address_from_vmnet(daemon):
    create(daemon)
    with Guest(on_stream(daemon.path("v.stream"))).ready() as guest:
        assert guest.dhcp().startswith("192.168.64.")
        guest.ping(HOST)
