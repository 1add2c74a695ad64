"""Descriptors passed in over attach.sock and smuggled in elsewhere (D rows)."""
import array
import fcntl
import os
import socket
import struct
import tempfile
import time

import pytest

from switchd import IS_SANITIZED, fds_of, wait_for
from vm import BROADCAST, DatagramVm, Lease, StreamVm, attach, frame, mac


def all_fds(daemon):
    """name -> open descriptors, of every process of the daemon."""
    return {"monitor": fds_of(daemon.pid), **{name: fds_of(pid) for name, pid in daemon.children().items()}}


def settles(daemon, before):
    wait_for(lambda: all_fds(daemon) == before, 15, f"the descriptors being {before} again, not {all_fds(daemon)}")


@pytest.fixture
def quiet(daemon, net):
    """The descriptors of an idle daemon; at the end they have to be the same again."""
    Lease(daemon, b"not JSON\n", []).close()
    time.sleep(0.1)
    before = all_fds(daemon)
    yield before
    settles(daemon, before)


def pair(kind=socket.SOCK_STREAM):
    return socket.socketpair(socket.AF_UNIX, kind)


@pytest.mark.parametrize("kind", ["stream", "datagram"])
def test_a_passed_socket_is_a_port_as_long_as_its_lease(daemon, quiet, kind):
    vm, lease = attach(daemon, "lab", kind, mac(1))
    vm.hello()
    port = wait_for(lambda: daemon.fdb("lab").get(mac(1)))["port"]
    assert port == lease.port
    shown = daemon.port("lab", port)
    assert shown["kind"] == kind and shown["via"] == "fd" and shown["uid"] == os.getuid() and shown["pid"] == os.getpid()
    lease.close()
    wait_for(lambda: port not in daemon.ports("lab"), what="the port being gone")
    vm.close()


def test_a_persistent_port_outlives_its_lease_and_not_its_socket(daemon, quiet):
    vm, lease = attach(daemon, "lab", "stream", mac(1), persist=True)
    lease.close()
    time.sleep(0.2)
    vm.hello()
    wait_for(lambda: mac(1) in daemon.fdb("lab"))
    vm.close()
    wait_for(lambda: daemon.ports("lab") == {}, what="the port being gone")


def test_D02_a_client_that_clears_O_NONBLOCK_stops_nobody(daemon, quiet, bystanders):
    toggles = 1000 if IS_SANITIZED else 10_000
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        ours, theirs = pair(kind)
        lease = Lease(daemon, {"network": "lab"}, [theirs.fileno()])
        assert lease.port
        vm = (StreamVm if kind == socket.SOCK_STREAM else DatagramVm)(ours, mac(1))
        # The same open file description as the switch's.
        flags = fcntl.fcntl(theirs, fcntl.F_GETFL)
        for i in range(toggles):
            fcntl.fcntl(theirs, fcntl.F_SETFL, flags & ~os.O_NONBLOCK if i % 2 else flags | os.O_NONBLOCK)
            if i % 100 == 0:
                vm.hello()
                assert daemon.get("/v1/networks/lab", timeout=2).json["state"] == "up"
        # Blocking, and nothing to read or a full peer: where read() or write() would hang for good.
        fcntl.fcntl(theirs, fcntl.F_SETFL, flags & ~os.O_NONBLOCK)
        assert daemon.get("/v1/networks/lab", timeout=2).json["state"] == "up"
        vm.close()
        theirs.close()
        lease.close()


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
def test_D03_a_socket_whose_peer_has_gone(daemon, quiet, kind):
    ours, theirs = pair(kind)
    ours.close()
    with theirs, Lease(daemon, {"network": "lab"}, [theirs.fileno()]) as lease, StreamVm(daemon.path("lab.stream"), mac(1)) as a:
        assert lease.answer
        # The kernel tells of a datagram socket's lost peer only when something is sent.
        a.hello()
        wait_for(lambda: len(daemon.ports("lab")) == 1, what="one port being left")


@pytest.mark.parametrize("kind", ["stream", "datagram"])
def test_D04_one_socket_is_not_plugged_in_twice(daemon, quiet, kind):
    ours, theirs = pair(socket.SOCK_STREAM if kind == "stream" else socket.SOCK_DGRAM)
    with ours, theirs:
        first = Lease(daemon, {"network": "lab"}, [theirs.fileno()])
        second = Lease(daemon, {"network": "lab"}, [theirs.fileno()])
        assert first.answer["port"] and second.answer["status"] == 409, second.answer
        assert list(daemon.ports("lab")) == [first.answer["port"]]
        second.close()
        first.close()
    settles(daemon, quiet)


@pytest.mark.parametrize("count", [0, 2, 3, 16, 100, 253])
def test_D06_any_number_of_descriptors_but_one_is_refused(daemon, quiet, count):
    ours, theirs = pair()
    with ours, theirs, Lease(daemon, {"network": "lab"}, [theirs.fileno()] * count) as lease:
        assert 400 <= lease.status < 500, lease.answer
        assert lease.answer["detail"] and lease.answer["next_step"]
    assert daemon.ports("lab") == {}


def odd_descriptors():
    read_end, write_end = os.pipe()
    os.close(write_end)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(tempfile.mktemp(prefix="odd", dir="/tmp"))
    listener.listen()
    seqpacket = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)[0]
    return {"a pipe": read_end, "a file": os.open("/etc/hostname", os.O_RDONLY), "/dev/null": os.open("/dev/null", os.O_RDWR),
            "a listener": listener.detach(), "an unconnected stream": socket.socket(socket.AF_UNIX).detach(),
            "an unconnected datagram": socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).detach(),
            "TCP": socket.socket(socket.AF_INET).detach(), "seqpacket": seqpacket.detach()}


def test_only_connected_unix_sockets_are_taken(daemon, quiet):
    for what, fd in odd_descriptors().items():
        with Lease(daemon, {"network": "lab"}, [fd]) as lease:
            assert 400 <= lease.status < 500, f"{what}: {lease.answer}"
            assert lease.answer["detail"], what
        os.close(fd)
    ours, theirs = pair(socket.SOCK_DGRAM)
    with ours, theirs, Lease(daemon, {"network": "lab", "kind": "stream"}, [theirs.fileno()]) as lease:
        assert 400 <= lease.status < 500, "a datagram socket is no stream"
    assert daemon.ports("lab") == {}


@pytest.mark.parametrize("line", [b"\n", b"{}\n", b"[]\n", b'{"network":1}\n', b'{"network":"nosuch"}\n', b'{"network":"lab","x":1}\n',
                                  b'{"network":"lab","network":"lab"}\n', b'{"network":"../lab"}\n', b'{"network":"lab","port":"a/b"}\n',
                                  b'{"network":"lab","port":"nosuch"}\n', b'{"network":"lab","persist":"yes"}\n', b"x" * 70000 + b"\n", b"\xff\xfe\n"])
def test_lines_that_are_refused_say_why(daemon, quiet, line):
    ours, theirs = pair()
    with ours, theirs, Lease(daemon, line, [theirs.fileno()]) as lease:
        assert 400 <= lease.status < 500, lease.answer
        assert lease.answer["detail"]
    assert daemon.ports("lab") == {}


@pytest.mark.parametrize("kind", ["stream", "datagram"])
def test_D07_descriptors_on_data_sockets_are_closed(daemon, quiet, kind):
    count = 1000 if IS_SANITIZED else 10_000
    vm, lease = attach(daemon, "lab", kind, mac(1))
    before = {**quiet, "network lab": quiet["network lab"] + 2}  # the data socket and the lease
    settles(daemon, before)  # control closes its copies a turn after the answer
    ours, theirs = pair()
    control = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [ours.fileno(), theirs.fileno()] * 8))]
    data = frame(BROADCAST, mac(1), b"with descriptors")
    data = struct.pack("!I", len(data)) + data if kind == "stream" else data
    for _ in range(count):
        vm.socket.sendmsg([data], control)
    wait_for(lambda: daemon.network("lab")["counters"]["frames_in"] == count, 60, "every frame having come")
    settles(daemon, before)
    for one in (ours, theirs, vm, lease):
        one.close()


def test_D10_descriptors_sent_and_the_client_dies_before_the_line(daemon, quiet):
    ours, theirs = pair()
    control = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [theirs.fileno()]))]
    for text in (b"{", b'{"network":"lab"', b'{"network":"lab"}'):
        for _ in range(30):
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(str(daemon.path("attach.sock")))
                client.sendmsg([text], control)
    ours.close()
    theirs.close()
    settles(daemon, quiet)


def test_D10_a_client_that_never_ends_its_line_is_closed_within_ten_seconds(daemon, quiet):
    ours, theirs = pair()
    control = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [theirs.fileno()]))]
    with ours, theirs, socket.socket(socket.AF_UNIX) as client:
        client.connect(str(daemon.path("attach.sock")))
        client.sendmsg([b"{"], control)
        client.settimeout(15)
        while client.recv(4096):
            pass
    settles(daemon, quiet)
