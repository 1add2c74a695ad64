#!/usr/bin/env python3
"""Stands in for QEMU, vfkit and krunkit where a command line of a document is rehearsed: opens the network card as each of
them does, says hello with the card's address, and ends well when a frame to that address has come.

usage: qemu-system-aarch64 | vfkit | krunkit ...        (by the name it is called; what is no network card is passed over)

Prints one line: the kind of card, and the descriptor's type. Waits for the frame for 10 s.
"""
import os
import re
import select
import socket
import struct
import sys

BROADCAST = b"\xff" * 6
PATIENCE_S = 10


def words(text):
    return dict(word.partition("=")[::2] for word in text.split(","))


def after(argv, option):
    return [argv[i + 1] for i, word in enumerate(argv[:-1]) if word == option]


def own_path(path):
    return os.path.join(os.path.dirname(path), f"vfkit-{os.getpid():x}.sock")


class Card:
    def __init__(self, kind, fd, is_stream, local=None):
        self.kind, self.fd, self.is_stream, self.local = kind, fd, is_stream, local

    def send(self, frame):
        """A frame at a time by write(2), which is all that QEMU's tap does."""
        os.write(self.fd, struct.pack("!I", len(frame)) + frame if self.is_stream else frame)

    def receive(self):
        if not self.is_stream:
            return os.read(self.fd, 65536)
        size, = struct.unpack("!I", self.read_all(4))
        return self.read_all(size)

    def read_all(self, n):
        data = b""
        while len(data) < n and (more := os.read(self.fd, n - len(data))):
            data += more
        return data


def on_fd(kind, number):
    sock = socket.socket(fileno=number)
    is_stream = sock.type == socket.SOCK_STREAM
    sock.setblocking(True)
    return Card(kind, sock.detach(), is_stream)


def on_path(kind, path, is_stream, greets=False):
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM if is_stream else socket.SOCK_DGRAM)
    local = None
    if not is_stream:
        local = own_path(path)
        sock.bind(local)
        os.chmod(local, 0o666)
    sock.connect(path)
    if greets:
        sock.send(b"VFKT")
    return Card(kind, sock.detach(), is_stream, local)


def qemu(argv):
    netdev, device = words(after(argv, "-netdev")[0]), words(after(argv, "-device")[0])
    assert device["netdev"] == netdev["id"], "the card is on another netdev"
    if "tap" in netdev:
        return on_fd("tap", int(netdev["fd"])), device["mac"]
    if "dgram" in netdev:
        return on_fd("dgram", int(netdev["local.str"])), device["mac"]
    assert "stream" in netdev and netdev["server"] == "off" and netdev["addr.type"] == "unix"
    return on_path("stream", netdev["addr.path"], True), device["mac"]


def apple(argv):
    device = words(after(argv, "--device")[0])
    assert "virtio-net" in device
    if "fd" in device:
        return on_fd("fd", int(device["fd"])), device["mac"]
    is_stream = device["type"] == "unixstream"
    return on_path(device["type"], device["path"], is_stream, greets=not is_stream), device["mac"]


def main():
    card, mac = (qemu if "qemu" in os.path.basename(sys.argv[0]) else apple)(sys.argv[1:])
    address = bytes.fromhex(mac.replace(":", ""))
    assert re.fullmatch("([0-9a-f]{2}:){5}[0-9a-f]{2}", mac) and not address[0] & 1
    print(card.kind, "stream" if card.is_stream else "datagram", flush=True)
    try:
        card.send((BROADCAST + address + b"\x88\xb5hello").ljust(60, b"\0"))
        while select.select([card.fd], [], [], PATIENCE_S)[0]:
            if card.receive()[:6] == address:
                return 0
        return 1
    finally:
        if card.local:
            os.unlink(card.local)


if __name__ == "__main__":
    sys.exit(main())
