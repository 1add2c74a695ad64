"""S12: what a role that was taken over could say to the monitor. Its channel is borrowed with pidfd_getfd()."""
import ctypes
import os
import random
import socket
import struct
import time

import pytest

from switchd import processes, status_of, wait_for
from vm import Traffic, assert_clean

pytestmark = pytest.mark.root

PIDFD_OPEN, PIDFD_GETFD = 434, 438  # Linux 5.6, the same on every architecture
CHANNEL_FD = 3  # of every role
MAGIC = b"wsmv"


def channel_of(pid):
    """The socket on which a role talks to the monitor."""
    libc = ctypes.CDLL(None, use_errno=True)
    pidfd = libc.syscall(PIDFD_OPEN, pid, 0)
    assert pidfd >= 0, os.strerror(ctypes.get_errno())
    fd = libc.syscall(PIDFD_GETFD, pidfd, CHANNEL_FD, 0)
    os.close(pidfd)
    assert fd >= 0, os.strerror(ctypes.get_errno())
    return socket.socket(fileno=fd)


def message(kind, payload, size=None, magic=MAGIC, flags=0):
    return struct.pack("<IIHH", len(payload) if size is None else size, 1, kind, flags) + magic + payload


def name(text, size=33):
    return text.encode().ljust(size, b"\0")


def garbage():
    random.seed(12)
    noise = lambda n: bytes(random.randrange(256) for _ in range(n))
    yield "noise", noise(300)
    yield "a huge length", message(1, b"", 0xFFFFFFFF)
    yield "just too long", message(1, b"", 65536)
    yield "no such type", message(999, b"")
    yield "a descriptor that did not come", message(9, noise(40), flags=1)
    yield "another magic", message(9, noise(40), magic=b"xxxx")
    for kind in range(1, 24):
        yield f"type {kind}, odd size", message(kind, noise(7))
        for size in (36, 40, 44, 48, 68, 104, 112, 116, 120, 264):  # sizes the real requests have, with nonsense in them
            yield f"type {kind}, {size} bytes of noise", message(kind, noise(size))
            yield f"type {kind}, {size} bytes of a path", message(kind, name("../../etc/evil", size))


def tree(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.name != "log")


def test_S12_nonsense_on_the_channel_of_control(daemon, net, folder):
    """The monitor refuses, lives, and gives the network another control; the network never stops."""
    daemon.expects_failure = True
    before, network_pid = tree(folder), daemon.network("lab")["pid"]
    links = sorted(os.listdir("/sys/class/net"))
    path = daemon.path("lab.stream")
    cases = list(garbage())
    with Traffic(folder, [f"a,stream={path}", f"b,stream={path}"], ["a,b,rate=1000", "b,a,rate=1000"]) as traffic:
        # Control is started again after each broken channel, with a growing wait: a few cases.
        for label, data in random.Random(12).sample(cases, 3) + cases[:2]:
            control = wait_for(lambda: daemon.children().get("control"), 60, "control")
            wait_for(daemon.is_ready, 60, "the API")
            with channel_of(control) as channel:
                channel.send(data, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
            time.sleep(0.05)
            assert daemon.process.poll() is None, f"the monitor died of {label}"
        wait_for(daemon.is_ready, 60, "the API")
        daemon.wait_up("lab", 30)
        assert daemon.network("lab")["pid"] == network_pid
        assert_clean(traffic.finish())
    assert tree(folder) == before
    assert sorted(os.listdir("/sys/class/net")) == links
    assert all(status_of(pid)["Uid"].split()[0] != "0" for pid in processes() if pid != daemon.pid)


def test_S12_nonsense_on_the_channel_of_a_network(daemon, net, folder):
    """A network has nothing to ask of the monitor: whatever it says ends it, and only it."""
    daemon.expects_failure = True
    daemon.create("other")
    before = tree(folder)
    other = daemon.network("other")["pid"]
    for _, data in random.Random(7).sample(list(garbage()), 3):
        pid = wait_for(lambda: daemon.children().get("network lab"), 60, "the network")
        with channel_of(pid) as channel:
            channel.send(data, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
        time.sleep(0.1)
        assert daemon.process.poll() is None
    daemon.wait_up("lab", 60)
    assert daemon.network("other")["pid"] == other
    assert tree(folder) == before
