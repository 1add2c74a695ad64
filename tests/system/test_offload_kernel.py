"""What switch/offload.h makes of a frame, byte for byte against what a kernel makes of it.

A bridge joins two TAPs. One takes frames with a virtio_net_hdr; the other offers no offload, so the kernel has to
finish what it sends there: addresses and hop limits stay as they are, checksums and segments are its own.
"""
import array
import ctypes
import errno
import fcntl
import os
import random
import select
import struct
import subprocess
import sys
from dataclasses import dataclass

import pytest

from switchd import BIN

pytestmark = [pytest.mark.root, pytest.mark.skipif(sys.platform != "linux", reason="compares with a Linux kernel")]

TUNSETIFF, TUNSETOFFLOAD, TUNSETVNETLE = 0x400454CA, 0x400454D0, 0x400454DC
IFF_TAP, IFF_NO_PI, IFF_VNET_HDR = 0x0002, 0x1000, 0x4000
CLONE_NEWNET = 0x40000000
NEEDS_CSUM, GSO_TCPV4, GSO_TCPV6, GSO_UDP_L4, GSO_ECN = 1, 1, 4, 5, 0x80
FIN, PSH, ACK, URG, ECE, CWR = 0x01, 0x08, 0x10, 0x20, 0x40, 0x80
TIMESTAMPS = b"\x01\x01\x08\x0a" + struct.pack("!II", 123456, 654321)


def checked(result):
    if result != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def open_tap(name, flags):
    fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TAP | IFF_NO_PI | flags))
    return fd


def run_ip(words):
    subprocess.run(["ip", *words.split()], check=True, capture_output=True, text=True)


class Kernel:
    """A network namespace with a bridge between two TAPs. It ends when their descriptors are closed."""

    def __init__(self):
        libc = ctypes.CDLL(None, use_errno=True)
        with open("/proc/thread-self/ns/net") as home:
            checked(libc.unshare(CLONE_NEWNET))
            try:
                self.build()
            finally:
                checked(libc.setns(home.fileno(), CLONE_NEWNET))

    def build(self):
        # No neighbour discovery of the kernel's own between the frames that are compared.
        for name in ("default", "all"):
            path = f"/proc/sys/net/ipv6/conf/{name}/disable_ipv6"
            if os.path.exists(path):
                with open(path, "w") as file:
                    file.write("1")
        try:
            run_ip("link add br0 type bridge mcast_snooping 0")
        except subprocess.CalledProcessError as error:
            pytest.skip(f"this kernel makes no bridge: {error.stderr.strip()}")
        self.sender = open_tap("in0", IFF_VNET_HDR)
        self.receiver = open_tap("out0", 0)
        fcntl.ioctl(self.sender, TUNSETVNETLE, array.array("i", [1]))
        fcntl.ioctl(self.receiver, TUNSETOFFLOAD, 0)
        for name in ("in0", "out0"):
            run_ip(f"link set {name} master br0 txqueuelen 2000 up")
        run_ip("link set br0 up")

    def close(self):
        os.close(self.sender)
        os.close(self.receiver)

    def finish(self, header, frame):
        """Returns what comes out, in order."""
        os.write(self.sender, header + frame)
        frames = []
        while select.select([self.receiver], [], [], 0.5 if not frames else 0.05)[0]:
            frames.append(os.read(self.receiver, 70000))
        return frames


@pytest.fixture(scope="module")
def kernel():
    made = Kernel()
    yield made
    made.close()


def ours(header, frame, *words):
    done = subprocess.run([BIN / "finish_frame", *words], input=header + frame, capture_output=True, timeout=20)
    assert done.returncode == 0, (done.returncode, done.stderr)
    return [bytes.fromhex(line) for line in done.stdout.decode().split()]


def ones_sum(data):
    data = bytes(data) + b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


@dataclass
class Shape:
    """A packet as a sender with offload makes it."""
    version: int = 4
    protocol: str = "tcp"
    payload: int = 10000
    gso_size: int = 1400  # 0: only the checksum is left to do
    flags: int = ACK
    ecn: bool = False
    tcp_options: bytes = b""
    ip_options: bytes = b""  # or IPv6 extension headers, whose first is a hop-by-hop header
    tags: tuple = ()
    ident: int = 0x1234
    sequence: int = 1000
    fragment_bits: int = 0x4000

    def transport(self):
        payload = random.Random(self.payload).randbytes(self.payload)
        if self.protocol == "udp":
            return struct.pack("!HHHH", 1000, 2000, 8 + len(payload), 0) + payload, 6
        data_offset = (20 + len(self.tcp_options)) // 4 << 4
        return struct.pack("!HHIIBBHHH", 1000, 2000, self.sequence, 77, data_offset, self.flags, 500, 0,
                           5 if self.flags & URG else 0) + self.tcp_options + payload, 16

    def ip(self, length):
        """The header, and what of it belongs to the pseudo-header."""
        number = 6 if self.protocol == "tcp" else 17
        if self.version == 6:
            addresses = bytes.fromhex("fd000000000000000000000000000001" "fd000000000000000000000000000002")
            options = bytes([number]) + self.ip_options[1:] if self.ip_options else b""
            return struct.pack("!IHBB", 0x60300000, len(options) + length, 0 if options else number, 64) + addresses + options, \
                addresses + struct.pack("!II", length, number)
        header_length = 20 + len(self.ip_options)
        addresses = bytes([10, 0, 0, 1, 10, 0, 0, 2])
        start = struct.pack("!BBHHHBB", 0x40 | header_length // 4, 2, header_length + length, self.ident,
                            self.fragment_bits, 64, number)
        checksum = ~ones_sum(start + addresses + self.ip_options) & 0xFFFF
        return start + struct.pack("!H", checksum) + addresses + self.ip_options, addresses + struct.pack("!HH", number, length)

    def build(self):
        """(virtio_net_hdr, frame)"""
        transport, field = self.transport()
        ip, pseudo = self.ip(len(transport))
        ether = bytes.fromhex("525400000002" "525400000001")
        for i, tag in enumerate(self.tags):
            ether += struct.pack("!HH", 0x88A8 if len(self.tags) == 2 and i == 0 else 0x8100, tag)
        ether += struct.pack("!H", 0x0800 if self.version == 4 else 0x86DD)
        transport = transport[:field] + struct.pack("!H", ones_sum(pseudo)) + transport[field + 2:]
        start = len(ether) + len(ip)
        gso_type = 0
        if self.gso_size:
            gso_type = GSO_UDP_L4 if self.protocol == "udp" else GSO_TCPV4 if self.version == 4 else GSO_TCPV6
            gso_type |= GSO_ECN if self.ecn else 0
        header = struct.pack("<BBHHHH", NEEDS_CSUM, gso_type, start + field + 4, self.gso_size, start, field)
        return header, ether + ip + transport


IP_OPTIONS = {4: b"\x94\x04\x00\x00\x01\x01\x01\x00", 6: b"\0\0\x05\x02\0\0\x01\0"}  # router alert, and padding
TCP = {
    "plain": {},
    "odd payload": {"payload": 9999, "gso_size": 1447},
    "exact multiple": {"payload": 14000, "flags": ACK | PSH},
    "psh": {"flags": ACK | PSH},
    "fin psh": {"flags": ACK | FIN | PSH},
    "fin psh cwr, ecn": {"flags": ACK | FIN | PSH | CWR | ECE, "ecn": True},
    "cwr without ecn": {"flags": ACK | CWR},
    "urg": {"flags": ACK | URG},
    "tcp options": {"tcp_options": TIMESTAMPS, "gso_size": 1448, "flags": ACK | PSH},
    "most tcp options": {"tcp_options": b"\x01" * 40, "gso_size": 100},
    "ip options": {"ip_options": True, "tcp_options": TIMESTAMPS},
    "numbers wrap": {"ident": 0xFFFE, "sequence": 0xFFFFF000},
    "may be fragmented": {"fragment_bits": 0},
    "longest": {"payload": 65400, "gso_size": 1460, "flags": ACK | PSH},
    "smallest segments": {"payload": 2000, "gso_size": 48, "flags": ACK | FIN},
    "short last": {"payload": 1401},
    "one segment": {"payload": 1400, "flags": ACK | FIN | PSH | CWR},
    "tag": {"tags": (5,), "flags": ACK | PSH},
    "two tags": {"tags": (7, 5), "tcp_options": TIMESTAMPS, "flags": ACK | PSH},
    "checksum only": {"payload": 1001, "gso_size": 0, "flags": ACK | PSH | CWR},
    "tag, checksum only": {"payload": 1001, "gso_size": 0, "tags": (5,)},
}
UDP = {
    "plain": {},
    "odd payload": {"payload": 9999, "gso_size": 1199},
    "exact multiple": {"payload": 14000},
    "ip options": {"ip_options": True},
    "numbers wrap": {"ident": 0xFFFE},
    "short last": {"payload": 1401},
    "small segments": {"payload": 100, "gso_size": 3},
    "one segment": {"payload": 1400},
    "tag": {"tags": (5,)},
    "two tags": {"tags": (7, 5)},
    "checksum only": {"payload": 1001, "gso_size": 0},
}
CASES = [pytest.param(version, protocol, name, id=f"{protocol}{version}-{name}")
         for version in (4, 6) for protocol, cases in (("tcp", TCP), ("udp", UDP)) for name in cases]


def shape_of(version, protocol, name):
    fields = dict((TCP if protocol == "tcp" else UDP)[name])
    if fields.get("ip_options"):
        fields["ip_options"] = IP_OPTIONS[version]
    return Shape(version=version, protocol=protocol, **fields)


@pytest.mark.parametrize("version, protocol, name", CASES)
def test_frames_are_finished_as_the_kernel_does_it(kernel, version, protocol, name):
    shape = shape_of(version, protocol, name)
    header, frame = shape.build()
    try:
        expected = kernel.finish(header, frame)
    except OSError as error:
        if protocol == "udp" and shape.gso_size and error.errno == errno.EINVAL:
            pytest.skip("this kernel does not cut UDP")
        raise
    n_segments = -(-shape.payload // shape.gso_size) if shape.gso_size else 1
    assert len(expected) == n_segments, "the kernel did not make what the test asks for"
    made = ours(header, frame)
    assert [len(one) for one in made] == [len(one) for one in expected]
    for i, (one, wanted) in enumerate(zip(made, expected)):
        assert one.hex() == wanted.hex(), f"segment {i}"


@pytest.mark.parametrize("version", [4, 6])
def test_a_long_frame_without_a_descriptor_is_cut_as_the_kernel_cuts_it(kernel, version):
    mss = 1500 - (20 if version == 4 else 40) - 32
    header, frame = Shape(version=version, tcp_options=TIMESTAMPS, payload=30000, gso_size=mss, flags=ACK | PSH).build()
    expected = kernel.finish(header, frame)
    assert len(expected) == -(-30000 // mss)
    assert ours(b"", frame, "--infer", "1500") == expected


def test_what_the_kernel_refuses_is_refused(kernel):
    """Not the other way round: a TAP believes more than the switch does."""
    header, frame = Shape().build()
    wrong = {
        "segments of nothing": header[:4] + b"\0\0" + header[6:],
        "no such type": header[:1] + b"\x07" + header[2:],
        "checksum past the end": header[:6] + struct.pack("<H", len(frame)) + header[8:],
    }
    for name, spoilt in wrong.items():
        with pytest.raises(OSError):
            kernel.finish(spoilt, frame)
        done = subprocess.run([BIN / "finish_frame"], input=spoilt + frame, capture_output=True, timeout=20)
        assert done.returncode == 1, name
