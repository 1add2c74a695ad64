#!/usr/bin/env python3
"""A pretend VM for smoke.sh: plain Python 3.9, as macOS's developer tools bring it.

usage: vm.py pair STREAM STREAM          two VMs on streams hear each other, and only what is for them
       vm.py datagram STREAM DGRAM DIR   one on a stream and one on a port's datagram path; its own socket is made in DIR
       vm.py dhcp STREAM                 asks for an address; prints "ADDRESS SERVER"
       vm.py load STREAM DGRAM DIR       20,000 datagrams to one that reads slowly: what is lost is dropped, not waited for

Exit code 0 if it went so; else 1, with a sentence.
"""
import os
import random
import socket
import struct
import sys
import time

BROADCAST = b"\xff" * 6
SECONDS = 10


def fail(why):
    sys.exit(why)


class Stream:
    def __init__(self, path, mac):
        self.mac, self.buffer = mac, b""
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(SECONDS)
        self.socket.connect(path)

    def send(self, frame):
        self.socket.sendall(struct.pack("!I", len(frame)) + frame)

    def receive(self):
        while len(self.buffer) < 4 or len(self.buffer) < 4 + struct.unpack("!I", self.buffer[:4])[0]:
            piece = self.socket.recv(65536)
            if not piece:
                fail("vmswitchd closed the connection")
            self.buffer += piece
        length = struct.unpack("!I", self.buffer[:4])[0]
        frame, self.buffer = self.buffer[4:4 + length], self.buffer[4 + length:]
        return frame


class Datagram:
    """As vfkit does it: binds, connects, greets."""

    def __init__(self, path, mac, folder):
        self.mac, self.path = mac, os.path.join(folder, "vm-%d.sock" % os.getpid())
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.path)
        os.chmod(self.path, 0o777)  # the network may run as another user
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self.socket.settimeout(SECONDS)
        self.socket.connect(path)
        self.socket.send(b"VFKT")

    def send(self, frame):
        self.socket.send(frame)

    def receive(self):
        return self.socket.recv(65536)

    def close(self):
        os.unlink(self.path)


def mac(number):
    return bytes([0x52, 0x54, 0, 0xfe, random.randrange(256), number])


def frame(to, source, payload, ethertype=0x88B5, size=60):
    return (to + source + struct.pack("!H", ethertype) + payload).ljust(size, b"\0")


def expect(vm, wanted):
    end = time.time() + SECONDS
    while time.time() < end:
        try:
            got = vm.receive()
        except socket.timeout:
            break
        if got == wanted:
            return
        if got[:6] not in (vm.mac, BROADCAST) and not got[0] & 1:
            fail("a frame for another VM came: %s" % got[:14].hex())
    fail("the frame did not arrive within %d s" % SECONDS)


def talk(a, b):
    a.send(frame(BROADCAST, a.mac, b"hello"))
    expect(b, frame(BROADCAST, a.mac, b"hello"))
    b.send(frame(a.mac, b.mac, b"to a"))
    expect(a, frame(a.mac, b.mac, b"to a"))
    for size in (60, 1514):
        a.send(frame(b.mac, a.mac, b"to b", size=size))
        expect(b, frame(b.mac, a.mac, b"to b", size=size))


def load(a, b):
    """'b' reads nothing until 'a' has sent everything: 'a' must not be held up for long."""
    talk(a, b)
    begun = time.time()
    for number in range(20000):
        a.send(frame(b.mac, a.mac, struct.pack("!I", number), size=1514))
    took = time.time() - begun
    b.socket.settimeout(1)
    count = 0
    try:
        while True:
            count += len(b.receive()) == 1514
    except (socket.timeout, OSError):
        pass
    print("%d of 20000 arrived, sent in %.1f s" % (count, took))
    if took > 20 or count == 0:
        fail("the sender was held up, or nothing arrived")


def checksum(data):
    total = sum(struct.unpack("!%dH" % (len(data) // 2), data))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff


def discover(source, transaction):
    options = b"\x63\x82\x53\x63" + b"\x35\x01\x01" + b"\x37\x03\x01\x03\x06" + b"\xff"
    bootp = struct.pack("!BBBBIHH", 1, 1, 6, 0, transaction, 0, 0x8000) + bytes(16) + source + bytes(10) + bytes(192) + options
    udp = struct.pack("!HHHH", 68, 67, 8 + len(bootp), 0) + bootp
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 1, 0, 64, 17, 0, bytes(4), b"\xff" * 4)
    head = head[:10] + struct.pack("!H", checksum(head)) + head[12:]
    return frame(BROADCAST, source, head + udp, 0x0800)


def dhcp(vm):
    transaction = random.randrange(1 << 32)
    vm.socket.settimeout(3)
    for _ in range(4):
        vm.send(discover(vm.mac, transaction))
        end = time.time() + 3
        while time.time() < end:
            try:
                got = vm.receive()
            except socket.timeout:
                break
            if got[12:14] != b"\x08\x00" or got[23] != 17:
                continue
            udp = 14 + (got[14] & 15) * 4
            if got[udp:udp + 4] == struct.pack("!HH", 67, 68) and got[udp + 12:udp + 16] == struct.pack("!I", transaction):
                print(socket.inet_ntoa(got[udp + 24:udp + 28]), socket.inet_ntoa(got[26:30]))
                return
    fail("no answer to DHCP within 12 s")


def main(words):
    if words[:1] == ["pair"] and len(words) == 3:
        talk(Stream(words[1], mac(1)), Stream(words[2], mac(2)))
    elif words[:1] in (["datagram"], ["load"]) and len(words) == 4:
        other = Datagram(words[2], mac(2), words[3])
        try:
            (talk if words[0] == "datagram" else load)(Stream(words[1], mac(1)), other)
        finally:
            other.close()
    elif words[:1] == ["dhcp"] and len(words) == 2:
        dhcp(Stream(words[1], mac(3)))
    else:
        fail(__doc__)


main(sys.argv[1:])
