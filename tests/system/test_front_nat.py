"""socket_vmnet and vmnet-helper with VMSWITCH_UPLINK=tap (Linux, root): NAT, DHCP and DNS as a vmswitchd's networks have them."""
import ipaddress
import os
import re
import signal
from pathlib import Path

import pytest

from front import family, leftovers
from guest import Guest, on_stream
from kernel_nat import dnsmasqs, lease, lease_and_options, nothing_is_left, reaches_world, run, tables
from switchd import status_of, wait_for
from vm import StreamVm, mac

pytestmark = [pytest.mark.root, pytest.mark.usefixtures("nat_tools")]
TAP = {"VMSWITCH_UPLINK": "tap"}
FOLDERS = Path("/run/vmswitch-front")


def start(start_front, folder, *argv, **more):
    return start_front("socket_vmnet", *argv, folder / "s", env=TAP, **more).wait_ready()


def tap_of(front):
    return re.search(r"\* interface: (vmsw\d+)", front.log())[1]


def our_folders(front):
    """Of this run: others may run tests on this machine."""
    table = re.findall(r"vmswitch-(sv-\w+|vh-\w+)", tables())
    return [FOLDERS / f"{name}.dhcp" for name in table]


def gateway_of(front):
    return re.search(r"host_mac_address: (\S+)", front.log())[1]


def index_of(interface):
    found = run("ip", "-o", "link", "show", interface, check=False).stdout
    return found.split(":")[0] or None


def test_shared_has_dhcp_and_nat(start_front, folder, world):
    front = start(start_front, folder)
    tap, folders = tap_of(front), our_folders(front)
    assert len(folders) == 1 and folders[0].stat().st_mode & 0o777 == 0o700
    with StreamVm(folder / "s", mac(1)) as vm:
        address = lease(vm)
        assert address and ipaddress.ip_address(address) in ipaddress.ip_network("192.168.105.0/24")
        gateway = gateway_of(front)
        assert reaches_world(world, vm, gateway, address)
        assert not reaches_world(world, vm, gateway, "192.168.107.200"), "a source of another subnet"
    helper, = (pid for role, pid in family(front.pid).items() if role == "nat")
    for pid in (helper, *dnsmasqs()):
        assert "0" not in status_of(pid)["Uid"].split() and int(status_of(pid)["CapEff"], 16) & ~(1 << 10 | 1 << 12) == 0
    assert front.stop() == 0
    nothing_is_left(tap)
    assert not folders[0].exists()


def test_the_addresses_are_the_options(start_front, folder, forwarding):
    front = start(start_front, folder, "--vmnet-gateway=192.168.132.1", "--vmnet-dhcp-end=192.168.132.2", "--vmnet-nat66-prefix=fd00:1::")
    assert "prefix is ignored" in front.log()
    with StreamVm(folder / "s", mac(1)) as vm:
        address, options = lease_and_options(vm)
        assert address == "192.168.132.2" and options[3] == ipaddress.ip_address("192.168.132.1").packed


def test_host_has_dhcp_and_no_way_out(start_front, folder, world):
    world.inside("ip", "route", "add", "192.168.106.0/24", "via", "203.0.113.1")
    front = start(start_front, folder, "--vmnet-mode=host")
    with StreamVm(folder / "s", mac(1)) as vm:
        address, options = lease_and_options(vm)
        assert address.startswith("192.168.106.") and 3 not in options
        assert not reaches_world(world, vm, gateway_of(front), address)


@pytest.mark.parametrize("more", [["--vmnet-disable-dhcp"], ["--vmnet-network-identifier=c2f5a8e0-0b5e-4d3c-9f69-2f8a5d7e9b11"]])
def test_host_without_dhcp_has_none(start_front, folder, more):
    start(start_front, folder, "--vmnet-mode=host", *more)
    assert not dnsmasqs() and "vmswitch-" not in tables()


def test_vmnet_helper_has_them_too(start_front, folder, world):
    helper = start_front("vmnet-helper", f"--socket={folder / 's'}", "--operation-mode=shared", env=TAP)
    wait_for(lambda: helper.alive() and len(dnsmasqs()) == 1 and "vmswitch-vh-" in tables(), what="NAT and DHCP")
    wait_for(lambda: "waiting for client on" in helper.log(), what="it being ready")
    assert helper.stop() == 0
    wait_for(lambda: not dnsmasqs() and "vmswitch-" not in tables(), 3, "nothing left")


@pytest.mark.parametrize("who", ["front", "keeper", "nat"])
def test_kill_9_leaves_nothing_or_is_repaired(start_front, folder, forwarding, who):
    front = start(start_front, folder)
    tap, processes = tap_of(front), {"front": front.pid, **family(front.pid)}
    with StreamVm(folder / "s", mac(1)) as vm:
        address = lease(vm, asked="192.168.105.201")
        os.kill(processes[who], signal.SIGKILL)
        if who == "nat":
            wait_for(lambda: family(front.pid).get("nat") not in (None, processes["nat"]) and len(dnsmasqs()) == 1 and "vmswitch-" in tables(), 10,
                     "another helper")
            assert lease(vm) == address == "192.168.105.201"
            return
    front.process.wait(5)
    nothing_is_left(tap)
    # The keeper would have removed the folder: a later run of the same socket uses it, and does remove it.
    again = start(start_front, folder, log=folder / "again.log")
    with StreamVm(folder / "s", mac(1)) as vm:
        assert lease(vm)
    folders = our_folders(again)
    assert again.stop() == 0 and not folders[0].exists()


def test_a_tap_that_was_removed_comes_back_with_everything(start_front, folder, forwarding):
    front = start(start_front, folder)
    tap, index = tap_of(front), index_of(tap_of(front))
    with StreamVm(folder / "s", mac(1)) as vm:
        address = lease(vm)
        run("ip", "link", "del", tap)
        wait_for(lambda: index_of(tap) not in (None, index), 10, "another TAP")
        assert lease(vm) == address


def test_what_is_missing_is_said_and_ends_it(start_front, folder):
    """As whatever else keeps an uplink from starting."""
    path = Path("/proc/sys/net/ipv4/ip_forward")
    before = path.read_text()
    path.write_text("0")
    try:
        front = start_front("socket_vmnet", folder / "s", env=TAP)
        assert front.process.wait(10) == 1 and "net.ipv4.ip_forward=1" in front.log()
        assert leftovers(folder) == []
    finally:
        path.write_text(before)


def test_a_subnet_that_the_host_has_ends_it_before_anything_is_made(start_front, folder, world):
    run("ip", "route", "add", "192.168.105.128/25", "via", "203.0.113.9")
    try:
        front = start_front("socket_vmnet", folder / "s", env=TAP)
        assert front.process.wait(10) == 1 and "192.168.105.128/25" in front.log()
        assert not dnsmasqs() and "vmswitch-" not in tables()
    finally:
        run("ip", "route", "del", "192.168.105.128/25")


@pytest.mark.guest
def test_a_guest_gets_a_lease_and_reaches_the_world(start_front, folder, world):
    start(start_front, folder)
    with Guest(on_stream(folder / "s")) as guest:
        assert guest.ready().dhcp().startswith("192.168.105.")
        guest.ping("192.168.105.1")
        guest.ping("203.0.113.9")
        assert guest.run("wget -q -O - http://203.0.113.9/") == (0, "203.0.113.1")
