"""Framing and links: what hostile or merely odd bytes do, and what they must not do to others (F rows, T06)."""
import random
import socket
import struct

import pytest

from switchd import wait_for
from vm import BROADCAST, DatagramVm, StreamVm, Traffic, assert_clean, attach, frame, mac

LIMIT = 69632  # a longer announced length closes the connection


@pytest.fixture
def pair(daemon, net):
    """Two stream VMs that know each other."""
    with StreamVm(daemon.path("lab.stream"), mac(1)) as a, StreamVm(daemon.path("lab.stream"), mac(2)) as b:
        a.hello()
        b.hello()
        b.expect(frame(BROADCAST, a.address, b"hello"))
        a.expect(frame(BROADCAST, b.address, b"hello"))
        yield a, b


def good(a, b, text=b"good"):
    return frame(b.address, a.address, text)


def port_of(daemon, address, network="lab"):
    return wait_for(lambda: daemon.fdb(network).get(address), what=f"{address} in the table")["port"]


def drops(daemon, reason, network="lab"):
    return daemon.network(network)["counters"]["drops"][reason]


def open_link(daemon, kind, address, folder):
    """A VM on each kind of link of network lab; returns (vm, what must stay open)."""
    if kind == "stream":
        return StreamVm(daemon.path("lab.stream"), address), None
    if kind == "shared datagram":
        return DatagramVm(daemon.path("lab.dgram"), address, folder), None
    if kind.startswith("passed"):
        return attach(daemon, "lab", kind.split()[1], address)
    name = "p" + address[-2:]
    daemon.ask("PUT", f"/v1/networks/lab/ports/{name}", {})
    if kind == "named stream":
        return StreamVm(daemon.path(f"lab.{name}.stream"), address), None
    path = daemon.path(f"lab.{name}.dgram")
    return DatagramVm(path, address, folder, greets="VFKT" in kind, unconnected="QEMU" in kind), None


KINDS = ["stream", "named stream", "named datagram", "named datagram VFKT", "named datagram QEMU", "shared datagram",
         "passed stream", "passed datagram"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_frame_passes_unchanged_both_ways(daemon, net, folder, kind):
    with StreamVm(daemon.path("lab.stream"), mac(1)) as a:
        b, lease = open_link(daemon, kind, mac(2), folder)
        with b:
            b.hello()
            a.expect(frame(BROADCAST, b.address, b"hello"))
            a.hello()
            b.expect(frame(BROADCAST, a.address, b"hello"))
            for size in (14, 60, 1514):
                there, back = frame(b.address, a.address, b"t" * 9, size)[:size], frame(a.address, b.address, b"b" * 9, size)[:size]
                a.send(there)
                b.expect(there)
                b.send(back)
                a.expect(back)
            port = daemon.port("lab", port_of(daemon, b.address))
            assert port["state"] == "up" and b.address in port["addresses"]
            assert port["kind"] == ("stream" if "stream" in kind else "datagram")
            if lease:
                lease.close()


@pytest.mark.parametrize("kind", KINDS)
def test_numbered_traffic_on_every_kind_of_link_loses_nothing(daemon, net, folder, kind):
    words, lease, fds = None, None, ()
    if kind.startswith("passed"):
        vm, lease = attach(daemon, "lab", kind.split()[1])
        fds = (vm.fileno(),)
        words = f"fd={vm.fileno()},kind={kind.split()[1]}"
    elif "named" in kind:
        daemon.ask("PUT", "/v1/networks/lab/ports/p1", {})
        words = f"stream={daemon.path('lab.p1.stream')}" if "stream" in kind else f"datagram={daemon.path('lab.p1.dgram')}"
        words += ",greets" if "VFKT" in kind else ",unconnected" if "QEMU" in kind else ""
    else:
        words = f"stream={daemon.path('lab.stream')}" if kind == "stream" else f"datagram={daemon.path('lab.dgram')}"
    # A shared path has one kernel queue of 10 for all its clients: slower, and documented as such.
    rate = 1000 if "shared" in kind or "QEMU" in kind else 5000
    with Traffic(folder, [f"a,{words}", f"b,stream={daemon.path('lab.stream')}"],
                 [f"a,b,rate={rate}", f"b,a,rate={rate}", f"a,*,rate=100,size=60"], seconds=1.5, fds=fds) as traffic:
        assert_clean(traffic.wait())
    if lease:
        lease.close()


@pytest.mark.parametrize("length", [0xFFFFFFFF, 0x80000000, LIMIT + 1])
def test_F01_an_impossible_length_closes_that_connection_alone(daemon, net, pair, bystanders, length):
    a, b = pair
    with StreamVm(daemon.path("lab.stream"), mac(3)) as bad:
        bad.hello()
        a.expect(frame(BROADCAST, bad.address, b"hello"))
        bad.send_raw(struct.pack("!I", length))
        assert bad.wait_closed()
    assert drops(daemon, "bad_length") == 1
    a.send(good(a, b))
    b.expect(good(a, b))


def test_F02_runts_are_skipped_and_counted(daemon, pair):
    a, b = pair
    for length in range(14):
        a.send(b"\x01" * length)
    a.send(good(a, b))
    b.expect(good(a, b))
    assert drops(daemon, "runt") == 14
    assert daemon.port("lab", port_of(daemon, a.address))["drops"]["runt"] == 14


def test_F03_oversize_frames_are_skipped_and_counted(daemon, pair):
    a, b = pair
    sizes = (1519, 2000, 9000, 65535, LIMIT)
    for size in sizes:
        a.send(frame(b.address, a.address, size=size))
    a.send(good(a, b))
    b.expect(good(a, b))
    assert drops(daemon, "oversize") == len(sizes)


def test_F03_a_tag_is_worth_four_bytes(daemon, pair):
    a, b = pair
    tagged = frame(b.address, a.address, b"\x00\x07\x88\xb5", 1518, ethertype=0x8100)
    a.send(tagged)
    b.expect(tagged)
    a.send(frame(b.address, a.address, size=1515))
    a.send(good(a, b))
    b.expect(good(a, b))
    assert drops(daemon, "oversize") == 1


def test_F05_one_byte_per_millisecond(daemon, net, folder, bystanders):
    path = daemon.path("lab.stream")
    with Traffic(folder, [f"a,stream={path},bytewise", f"b,stream={path}"], ["a,b,rate=1,count=1,size=1514"],
                 seconds=4) as traffic:
        report = traffic.wait()
    assert report["sent"] >= 1
    assert_clean(report)


def test_F06_every_split_point_of_a_burst_of_three(daemon, pair):
    a, b = pair
    burst = [frame(b.address, a.address, bytes([65 + i]) * size, size) for i, size in enumerate((60, 300, 1140))]
    stream = b"".join(struct.pack("!I", len(one)) + one for one in burst)
    for at in range(1, len(stream)):
        a.send_raw(stream[:at])
        a.send_raw(stream[at:])
        for one in burst:
            assert b.receive() == one, f"split at {at}"


def test_F06_random_chunks(daemon, pair):
    a, b = pair
    random.seed(6)
    burst = [frame(b.address, a.address, struct.pack("!I", i), random.randint(14 + 4, 1514)) for i in range(300)]
    stream = b"".join(struct.pack("!I", len(one)) + one for one in burst)
    at = 0
    while at < len(stream):
        size = random.choice((1, 2, 3, 4, 5, 17, 1000, 4000))
        a.send_raw(stream[at:at + size])
        at += size
    for one in burst:
        assert b.receive() == one


def test_F07_a_short_frame_carries_nothing_of_a_longer_one(daemon, pair):
    a, b = pair
    canary = frame(b.address, a.address, b"CANARY" * 250, 1514)
    for size in range(14, 61):
        a.send(canary)
        short = frame(b.address, a.address)[:14] + b"\x11" * (size - 14)
        a.send(short)
        assert b.receive() == canary
        assert b.receive() == short


@pytest.mark.parametrize("kind", ["named datagram", "shared datagram", "passed datagram"])
def test_F09_odd_datagrams_are_dropped_and_counted(daemon, net, folder, kind):
    with StreamVm(daemon.path("lab.stream"), mac(1)) as a:
        b, lease = open_link(daemon, kind, mac(2), folder)
        with b:
            b.hello()
            a.expect(frame(BROADCAST, b.address, b"hello"))
            b.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
            for size in (0, 1, 13, 1519, LIMIT + 1):
                b.send(b"\x02" * size)
            b.send(good(b, a))
            a.expect(good(b, a))
            assert drops(daemon, "runt") == 3
            assert drops(daemon, "oversize") == 2
            assert daemon.port("lab", port_of(daemon, b.address))["state"] == "up"
        if lease:
            lease.close()


@pytest.mark.parametrize("text", [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
                                  b"hello, is this a shell?\n"], ids=["HTTP", "TLS", "text"])
def test_F10_a_client_of_another_protocol_is_closed(daemon, net, bystanders, text):
    with StreamVm(daemon.path("lab.stream")) as stranger:
        stranger.send_raw(text.ljust(64, b"."))
        assert stranger.wait_closed()
    assert drops(daemon, "bad_length") == 1
    lines = [line for line in daemon.log().splitlines() if "length" in line and "69632" in line]
    assert len(lines) == 1, lines


@pytest.mark.parametrize("length,fate", [(0, "runt"), (1, "runt"), (13, "runt"), (14, None), (1514, None),
                                         (1515, "oversize"), (65535, "oversize"), (65537, "oversize"), (0xFFFFFFFF, "bad_length")])
@pytest.mark.parametrize("pieces", ["whole", "header 1+3", "single bytes"])
def test_T06_lengths_whole_and_in_pieces(daemon, pair, length, fate, pieces):
    a, b = pair
    with StreamVm(daemon.path("lab.stream"), mac(3)) as c:
        c.hello()
        b.expect(frame(BROADCAST, c.address, b"hello"))
        body = frame(b.address, c.address, b"body", 70000)[:length if length < 70000 else 60]
        data = struct.pack("!I", length) + body
        if pieces == "whole":
            c.send_raw(data)
        else:
            cut = 1 if pieces == "header 1+3" else 60
            try:
                for at in range(cut):
                    c.send_raw(data[at:at + 1])
                c.send_raw(data[cut:])
            except ConnectionError:
                assert fate == "bad_length"
        if fate == "bad_length":
            assert c.wait_closed()
        else:
            if fate is None:
                b.expect(body)
            c.send(good(c, b))
            b.expect(good(c, b))
        if fate:
            assert drops(daemon, fate) == 1
    a.send(good(a, b))
    b.expect(good(a, b))
