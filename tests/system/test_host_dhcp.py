"""Networks of mode host with DHCP (Linux, root): addresses and names by dnsmasq, and no way past the host."""
import ipaddress
import os
import signal
import struct
import subprocess
import time

import pytest

from guest import Guest, on_stream
from kernel_nat import OPEN, dnsmasqs, gateway_mac, ip_frame, lease, lease_and_options, lease_file, nothing_is_left, reaches_world, run, start, tables, tap_of
from switchd import wait_for
from vm import StreamVm, mac, raw

pytestmark = [pytest.mark.root, pytest.mark.usefixtures("nat_tools")]
HOST = {"gateway": "192.168.106.1", "netmask": "255.255.255.0", "dhcp_end": "192.168.106.200", "dhcp": True}


def datagrams(vm, own, until):
    """Those to port 9 that reach the VM, which answers the host's ARP."""
    found, deadline = [], time.monotonic() + 5
    while until not in found and (one := vm.receive(max(0.0, deadline - time.monotonic()))) is not None:
        if one[12:14] == b"\x08\x06" and one[38:42] == ipaddress.ip_address(own).packed:
            vm.send(one[6:12] + raw(vm.address) + bytes.fromhex("08060001080006040002") + raw(vm.address) + one[38:42] + one[22:28] + one[28:32])
        elif one[12:14] == b"\x08\x00" and one[36:38] == b"\0\x09":
            found.append(one[42:42 + struct.unpack("!H", one[38:40])[0] - 8])
    return found


def resolve(vm, gateway, own, server, name):
    """(code, addresses) of dnsmasq's answer to a query for 'name'."""
    question = b"".join(bytes([len(part)]) + part.encode() for part in name.split(".")) + b"\0\0\1\0\1"
    query = struct.pack("!HHHHHH", 77, 0x0100, 1, 0, 0, 0) + question
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        vm.send(ip_frame(vm, gateway, own, server, query, 53))
        while (one := vm.receive(2)) is not None:
            if one[12:14] == b"\x08\x06" and one[38:42] == ipaddress.ip_address(own).packed:
                vm.send(one[6:12] + raw(vm.address) + bytes.fromhex("08060001080006040002") + raw(vm.address) + one[38:42] + one[22:28] + one[28:32])
            elif one[12:14] == b"\x08\x00" and one[23] == 17 and one[34:36] == b"\0\x35":
                body = one[42:42 + struct.unpack("!H", one[38:40])[0] - 8]
                n, at, found = struct.unpack("!H", body[6:8])[0], 12 + len(question), []
                for _ in range(n):
                    length = struct.unpack("!H", body[at + 10:at + 12])[0]
                    found.append(str(ipaddress.ip_address(body[at + 12:at + 12 + length])))
                    at += 12 + length
                return body[3] & 15, found
    return None


def test_a_host_network_has_dhcp_and_no_way_out(make_daemon, world):
    """Though the host forwards, and the world knows the way back: the table drops it."""
    world.inside("ip", "route", "add", "192.168.106.0/24", "via", "203.0.113.1")
    made = start(make_daemon())
    reserved = {**HOST, "reservations": [{"mac": mac(7), "address": "192.168.106.77"}]}
    made.ask("PUT", "/v1/networks/lab", {"mode": "host", "uplink": "tap", "ipv4": reserved, "sockets": OPEN})
    made.wait_up("lab")
    assert made.network("lab")["ipv4"]["dhcp"] is True
    rules = run("nft", "list", "table", "inet", "vmswitch-lab").stdout
    assert rules.count("drop") == 2 and "masquerade" not in rules and "nat" not in rules.replace("vmswitch-lab", ""), rules
    with StreamVm(made.path("lab.stream"), mac(1)) as vm, StreamVm(made.path("lab.stream"), mac(7)) as other:
        address, options = lease_and_options(vm, name="first-guest")
        assert ipaddress.ip_address(address) in ipaddress.ip_network("192.168.106.0/24")
        assert 3 not in options, "no default route"
        assert options[6] == ipaddress.ip_address("192.168.106.1").packed and options[26] == struct.pack("!H", 1500)
        assert lease(other) == "192.168.106.77"
        gateway = gateway_mac(made, "lab")
        assert resolve(vm, gateway, address, "192.168.106.1", "first-guest") == (0, [address])
        assert resolve(vm, gateway, address, "192.168.106.1", "example.com") == (5, []), "REFUSED, so that a guest asks elsewhere"
        assert not reaches_world(world, vm, gateway, address)
        code = "import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.sendto(b'from there', ('{}', 9))"
        world.inside("python3", "-c", code.format(address))
        subprocess.run(["python3", "-c", code.format(address).replace("there", "the host")], check=True)
        assert datagrams(vm, address, until=b"from the host") == [b"from the host"], "nothing of the world's comes in"
    with open(f"/proc/{made.children()['nat lab']}/status") as status:
        assert "CapBnd:\t0000000000000000" in status.read()
    tap = tap_of(made, "lab")
    made.ask("DELETE", "/v1/networks/lab")
    nothing_is_left(tap)
    wait_for(lambda: not lease_file(made).parent.exists() and not (made.runtime / "lab.dhcp").exists(), 3, "its folders being gone")


def test_a_configured_host_network_comes_back_from_every_death(make_daemon):
    """Without ip_forward, which is none of its business."""
    made = start(make_daemon(), lab={"mode": "host", "ipv4": HOST})
    made.wait_up("lab")
    with StreamVm(made.path("lab.stream"), mac(1)) as vm:
        address = lease(vm, asked="192.168.106.150")
        assert address == "192.168.106.150"
    for who in ("nat lab", "network lab", "dnsmasq"):
        victim = next(iter(dnsmasqs())) if who == "dnsmasq" else made.children()[who]
        os.kill(victim, signal.SIGKILL)
        wait_for(lambda: victim not in [*dnsmasqs(), *made.children().values()], what="its end")
        wait_for(lambda: made.health("lab").get("state") == "up" and len(dnsmasqs()) == 1 and "vmswitch-lab" in tables(), 10, "up again")
    with StreamVm(made.path("lab.stream"), mac(1)) as vm:
        assert lease(vm) == address
    tap = tap_of(made, "lab")
    assert made.stop() == 0
    nothing_is_left(tap)


def test_a_host_network_without_dhcp_needs_no_helper(make_daemon):
    made = start(make_daemon(), lab={"mode": "host"})
    made.wait_up("lab")
    assert not dnsmasqs() and "nat lab" not in made.children() and "vmswitch" not in tables()


@pytest.mark.guest
def test_a_guest_of_a_host_network_reaches_the_host_alone(make_daemon, world):
    world.inside("ip", "route", "add", "192.168.106.0/24", "via", "203.0.113.1")
    made = start(make_daemon(), lab={"mode": "host", "ipv4": HOST})
    made.wait_up("lab")
    with Guest(on_stream(made.path("lab.stream"))) as guest:
        address = guest.ready().dhcp()
        assert ipaddress.ip_address(address) in ipaddress.ip_network("192.168.106.0/24")
        guest.ping("192.168.106.1")
        assert guest.run("ip route add default via 192.168.106.1")[0] == 0, "which DHCP did not give it"
        assert guest.run("ping -c 2 -W 2 203.0.113.9", 60)[0] != 0
        assert guest.run("wget -q -T 3 -O - http://203.0.113.9/", 60)[0] != 0
