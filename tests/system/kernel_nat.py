"""What tests of networks by the host's kernel share: a world behind the host, a pretend VM's DHCP, and a look at what is there."""
import ctypes
import ipaddress
import itertools
import json
import os
import struct
import subprocess
import time
from pathlib import Path

from switchd import wait_for
from vm import BROADCAST, raw

_number = itertools.count()
SUBNET = {"gateway": "192.168.105.1", "netmask": "255.255.255.0", "dhcp_end": "192.168.105.254"}
OPEN = {"mode": "0666"}


def run(*words, check=True, **more):
    return subprocess.run(words, check=check, capture_output=True, text=True, **more)


def tables():
    return run("nft", "list", "tables").stdout


def dnsmasqs():
    """Those that run in this namespace."""
    found = {}
    ours = os.readlink("/proc/self/ns/net")
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if (path / "comm").read_text().strip() == "dnsmasq" and os.readlink(path / "ns/net") == ours:
                found[int(path.name)] = (path / "cmdline").read_text().split("\0")
        except OSError:
            continue
    return found


class World:
    """A namespace behind the host, 203.0.113.9, that knows nothing of the networks; it has an HTTP server of who asks."""

    code = ("import socketserver\n"
            "class H(socketserver.BaseRequestHandler):\n"
            "    def handle(self):\n"
            "        self.request.recv(999)\n"
            "        self.request.sendall(b'HTTP/1.0 200 OK\\r\\n\\r\\n' + self.client_address[0].encode() + b'\\n')\n"
            "socketserver.TCPServer.allow_reuse_address = True\n"
            "s = socketserver.ThreadingTCPServer(('203.0.113.9', 80), H)\n"
            "print('ready', flush=True)\n"
            "s.serve_forever()\n")

    def __init__(self):
        number = f"{os.getpid() % 10000}x{next(_number)}"
        self.name, self.here = f"vmsw-world-{number}", f"tw{number}"
        self.holder = subprocess.Popen(["unshare", "--net", "sh", "-c", "echo ready; exec sleep infinity"], stdout=subprocess.PIPE, text=True)
        assert self.holder.stdout.readline() == "ready\n"
        run("ip", "link", "add", self.here, "type", "veth", "peer", "name", "eth0", "netns", str(self.holder.pid))
        run("ip", "addr", "add", "203.0.113.1/24", "dev", self.here)
        run("ip", "link", "set", self.here, "up")
        self.inside("ip", "addr", "add", "203.0.113.9/24", "dev", "eth0")
        self.inside("ip", "link", "set", "eth0", "up")
        self.inside("ip", "link", "set", "lo", "up")
        self.server = subprocess.Popen([*self.prefix(), "python3", "-c", self.code], stdout=subprocess.PIPE, text=True)
        assert self.server.stdout.readline() == "ready\n"

    def prefix(self):
        return ["nsenter", f"--net=/proc/{self.holder.pid}/ns/net"]

    def inside(self, *words, **more):
        return run(*self.prefix(), *words, **more)

    def close(self):
        for process in (self.server, self.holder):
            process.kill()
            process.wait()
        run("ip", "link", "del", self.here, check=False)


def checksum(data):
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def dhcp_frame(vm, kind, xid, *, asked=None, server=None, name=None):
    options = bytes([53, 1, kind])
    if name:
        options += bytes([12, len(name)]) + name.encode()
    if asked:
        options += bytes([50, 4]) + asked
    if server:
        options += bytes([54, 4]) + server
    body = struct.pack("!BBBBIHH", 1, 1, 6, 0, xid, 0, 0) + bytes(16) + raw(vm.address) + bytes(10 + 192)
    body += bytes.fromhex("63825363") + options + b"\xff"
    udp = struct.pack("!HHHH", 68, 67, 8 + len(body), 0) + body
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 0, 0, 64, 17, 0, bytes(4), b"\xff" * 4)
    head = head[:10] + struct.pack("!H", checksum(head)) + head[12:]
    return raw(BROADCAST) + raw(vm.address) + b"\x08\x00" + head + udp


def dhcp_answer(vm, xid, kind, seconds):
    """(address, server) of the answer of that kind; None if none comes in time; False if it was refused."""
    deadline = time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 0:
        one = vm.receive(left)
        if one is None or one[12:14] != b"\x08\x00" or one[23] != 17 or one[36:38] != b"\0\x44":
            continue
        body = one[42:]
        if struct.unpack("!I", body[4:8])[0] != xid:
            continue
        options, at = {}, 240
        while at < len(body) and body[at] != 255:
            options[body[at]] = body[at + 2:at + 2 + body[at + 1]]
            at += 2 + body[at + 1]
        if options.get(53) == b"\x06":
            return False
        if options.get(53) == bytes([kind]):
            return body[16:20], options.get(54), options
    return None


def lease(vm, seconds=10, *, asked=None, name=None):
    """An address by DHCP, as text; None if there is none. 'asked': which one it would like."""
    found = lease_and_options(vm, seconds, asked, name)
    return found and found[0]


def lease_and_options(vm, seconds=10, asked=None, name=None):
    wish = asked and ipaddress.ip_address(asked).packed
    deadline = time.monotonic() + seconds
    xid = next(_number) + 0x5000
    while time.monotonic() < deadline:
        vm.send(dhcp_frame(vm, 1, xid, asked=wish, name=name))
        offer = dhcp_answer(vm, xid, 2, 2)
        if not offer:
            continue
        vm.send(dhcp_frame(vm, 3, xid, asked=offer[0], server=offer[1], name=name))
        ack = dhcp_answer(vm, xid, 5, 2)
        if ack:
            return str(ipaddress.ip_address(ack[0])), ack[2]
    return None


def start(daemon, preexec=None, **networks):
    """A daemon with shared networks by TAP in its configuration: name -> more fields."""
    path = daemon.folder / "vmswitchd.conf"
    path.write_text(json.dumps({"networks": [{"name": name, "mode": "shared", "uplink": "tap", "sockets": OPEN, **more} for name, more in networks.items()]}))
    daemon.start("--config", str(path), preexec=preexec)
    return daemon


def tap_of(daemon, network):
    return daemon.network(network)["uplink"]["interface"]


CURL = ("curl", "-s", "--max-time", "3")


def fetch(host, port):
    answer = run(*CURL, f"http://{host}:{port}/", check=False)
    return answer.stdout.strip() if answer.returncode == 0 else None


def arp_reply_of(vm, address, sender):
    """Answers the host's ARP for 'sender'; True once it has asked."""
    del address
    deadline = time.monotonic() + 3
    while (one := vm.receive(max(0.0, deadline - time.monotonic()))) is not None:
        if one[12:14] == b"\x08\x06" and one[38:42] == ipaddress.ip_address(sender).packed:
            vm.send(one[6:12] + raw(vm.address) + bytes.fromhex("08060001080006040002") + raw(vm.address) + one[38:42] + one[22:28] + one[28:32])
            return True
    return False


def ip_frame(vm, to, source, destination, payload=b"spoken", port=4711):
    udp = struct.pack("!HHHH", 4000, port, 8 + len(payload), 0) + payload
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 0, 0, 64, 17, 0, ipaddress.ip_address(source).packed, ipaddress.ip_address(destination).packed)
    head = head[:10] + struct.pack("!H", checksum(head)) + head[12:]
    return (raw(to) + raw(vm.address) + b"\x08\x00" + head + udp).ljust(60, b"\0")


def reaches_world(world, vm, gateway, source):
    """Whether the world hears a datagram with that source, from the host's address."""
    code = ("import socket\ns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\ns.bind(('203.0.113.9', 4711))\ns.settimeout(2)\nprint('ready', flush=True)\n"
            "try:\n    print(s.recvfrom(99)[1][0])\nexcept TimeoutError:\n    print('none')\n")
    with subprocess.Popen([*world.prefix(), "python3", "-c", code], stdout=subprocess.PIPE, text=True) as listener:
        assert listener.stdout.readline() == "ready\n"
        while listener.poll() is None:
            vm.send(ip_frame(vm, gateway, source, "203.0.113.9"))
            time.sleep(0.05)
        heard = listener.stdout.readline().strip()
    assert heard in ("none", "203.0.113.1"), heard
    return heard != "none"


def nothing_is_left(tap):
    wait_for(lambda: not dnsmasqs(), 3, "the end of dnsmasq")
    wait_for(lambda: "vmswitch" not in tables(), 3, "the rules being gone")
    assert run("ip", "link", "show", tap, check=False).returncode != 0


def answer_arp(vm, address, stop):
    while not stop.is_set():
        one = vm.receive(0.2)
        if one and one[12:14] == b"\x08\x06" and one[38:42] == ipaddress.ip_address(address).packed:
            vm.send(one[6:12] + raw(vm.address) + bytes.fromhex("08060001080006040002") + raw(vm.address) + one[38:42] + one[22:28] + one[28:32])


def gateway_mac(made, network):
    return json.loads(run("ip", "-j", "link", "show", tap_of(made, network)).stdout)[0]["address"]


def lease_file(daemon, network="lab"):
    return daemon.state / "leases" / network / "leases"


# ---- programs and libraries that are not there ----

def instead_of(path, what):
    """For Switchd.start(preexec=): it and its children see 'what' where 'path' is, until put_back(daemon, path)."""
    def enter():
        libc = ctypes.CDLL(None, use_errno=True)
        assert libc.unshare(0x20000) == 0  # CLONE_NEWNS
        assert libc.mount(b"none", b"/", None, 0x44000, None) == 0  # MS_REC | MS_PRIVATE
        assert libc.mount(str(what).encode(), str(path).encode(), None, 0x1000, None) == 0  # MS_BIND
    return enter


def put_back(daemon, path):
    run("nsenter", f"--mount=/proc/{daemon.pid}/ns/mnt", "umount", str(path))
