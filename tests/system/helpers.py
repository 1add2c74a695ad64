"""vmnet-helper as its clients run it."""
import json
import os
import selectors
import struct
import subprocess
import time

from switchd import BIN
from vm import BROADCAST, DatagramVm, frame, raw

TEN_KEYS = {"vmnet_subnet_mask": str, "vmnet_mtu": int, "vmnet_end_address": str, "vmnet_start_address": str,
            "vmnet_interface_id": str, "vmnet_max_packet_size": int, "vmnet_nat66_prefix": str, "vmnet_mac_address": str,
            "vmnet_read_max_packets": int, "vmnet_write_max_packets": int}
NET_KEYS = {"net_ipv4_subnet": str, "net_ipv4_mask": str, "net_ipv6_prefix": str, "net_ipv6_prefix_len": int}


def read_until(file, mark, seconds):
    """What comes from an unbuffered pipe up to 'mark', which must come within so many seconds."""
    text = b""
    deadline = time.monotonic() + seconds
    with selectors.DefaultSelector() as selector:
        selector.register(file, selectors.EVENT_READ)
        while mark not in text:
            left = deadline - time.monotonic()
            assert left > 0 and selector.select(left), f"no {mark!r} within {seconds} s, but {text!r}"
            piece = os.read(file.fileno(), 65536)
            assert piece, f"the end, and no {mark!r}, but {text!r}"
            text += piece
    return text


def line_of(front, seconds=3):
    """The one line of JSON; then the pipe is closed, as minikube and vibe do."""
    said = read_until(front.process.stdout, b"\n", seconds)
    front.process.stdout.close()
    assert said.count(b"\n") == 1 and said.endswith(b"\n"), said
    return json.loads(said)


def check_types(facts, keys):
    assert set(facts) == set(keys), facts
    for key, kind in keys.items():
        assert type(facts[key]) is kind, (key, facts[key])


def vfkit(path, folder, address, magic=True):
    """Binds in a folder of its own, connects, says VFKT."""
    return DatagramVm(path, address, folder=folder, greets=magic)


def run(program, *argv, env=None, **more):
    """Runs one to its end, without a network from elsewhere."""
    environment = {"PATH": os.environ["PATH"], "VMSWITCH_UPLINK": "none", **(env or {})}
    return subprocess.run([str(BIN / program), *map(str, argv)], capture_output=True, text=True, env=environment,
                          stdin=subprocess.DEVNULL, timeout=20, **more)


# ---- a guest's words, by hand ----

def ip_bytes(address):
    return bytes(map(int, address.split(".")))


def checksum(data):
    total = sum(int.from_bytes(data[i:i + 2].ljust(2, b"\0"), "big") for i in range(0, len(data), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def ipv4(source, target, protocol, payload):
    header = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(payload), 1, 0x4000, 64, protocol, 0, ip_bytes(source), ip_bytes(target))
    return header[:10] + checksum(header).to_bytes(2, "big") + header[12:] + payload


def dhcp_discover(address):
    """A frame that asks for an address for the guest 'address'."""
    message = struct.pack("!BBBBIHH16x6s202x4s", 1, 1, 6, 0, 0x1234, 0, 0x8000, raw(address), b"\x63\x82\x53\x63") + bytes([53, 1, 1, 255])
    udp = struct.pack("!HHHH", 68, 67, 8 + len(message), 0) + message
    return frame(BROADCAST, address, ipv4("0.0.0.0", "255.255.255.255", 17, udp), ethertype=0x0800)


def offered(vm, seconds=5):
    """The address of the DHCP offer that comes to 'vm'."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        one = vm.receive(deadline - time.monotonic())
        if one and one[12:14] == b"\x08\x00" and one[23] == 17 and one[34:38] == b"\x00\x43\x00\x44":
            assert one[70:76] == raw(vm.address), "an offer for another guest"
            return ".".join(map(str, one[58:62]))
    raise AssertionError("no DHCP offer")


def arp_request(address, own, wanted):
    return frame(BROADCAST, address, struct.pack("!HHBBH6s4s6s4s", 1, 0x800, 6, 4, 1, raw(address), ip_bytes(own), b"\0" * 6,
                                                 ip_bytes(wanted)), ethertype=0x0806)


def answers_arp(vm, wanted, own, seconds=5):
    """True if somebody says that it has the address 'wanted'."""
    vm.send(arp_request(vm.address, own, wanted))
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        one = vm.receive(deadline - time.monotonic())
        if one and one[12:14] == b"\x08\x06" and one[20:22] == b"\0\2" and one[28:32] == ip_bytes(wanted):
            return True
    return False


def big_tcp(to, source, size):
    """A TCP packet that is to be cut, its checksum unfinished, as a guest with TSO sends it."""
    source_ip, target_ip = "10.0.0.1", "10.0.0.2"
    payload = bytes(i % 251 for i in range(size))
    tcp = struct.pack("!HHIIBBHHH", 1000, 2000, 1, 1, 0x50, 0x18, 1000, 0, 0)
    pseudo = ip_bytes(source_ip) + ip_bytes(target_ip) + struct.pack("!HH", 6, len(tcp) + size)
    partial = ~checksum(pseudo) & 0xFFFF
    tcp = tcp[:16] + partial.to_bytes(2, "big") + tcp[18:]
    return frame(to, source, ipv4(source_ip, target_ip, 6, tcp + payload), ethertype=0x0800), payload
