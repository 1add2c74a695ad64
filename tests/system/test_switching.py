"""Who gets a frame, and who must not (L rows, T09, T10, T12)."""
import struct
import time

import pytest

from switchd import IS_SANITIZED, wait_for
from vm import BROADCAST, StreamVm, Traffic, assert_clean, frame, mac, raw


def plug(daemon, index, network="lab"):
    return StreamVm(daemon.path(f"{network}.stream"), mac(index))


def learn(*vms):
    """Every VM says hello, and hears the others."""
    for one in vms:
        one.hello()
        for other in vms:
            if other is not one:
                other.expect(frame(BROADCAST, one.address, b"hello"))


def port_of(daemon, address, network="lab"):
    return wait_for(lambda: daemon.fdb(network).get(address), what=f"{address} in the table")["port"]


def test_known_unicast_goes_to_one_port_and_no_other(daemon, net):
    with plug(daemon, 1) as a, plug(daemon, 2) as b, plug(daemon, 3) as c:
        learn(a, b, c)
        for i in range(100):
            a.send(frame(b.address, a.address, struct.pack("!I", i)))
        for i in range(100):
            assert b.receive() == frame(b.address, a.address, struct.pack("!I", i))
        assert c.receive_all() == []
        a.send(frame(mac(77), a.address, b"unknown"))
        assert b.receive() == c.receive() == frame(mac(77), a.address, b"unknown")
        assert a.receive_all(0.1) == []


def test_L01_random_source_addresses_harm_nobody_else(daemon, net, folder):
    count = 20_000 if IS_SANITIZED else 300_000
    with plug(daemon, 1) as a, plug(daemon, 2) as b, plug(daemon, 3) as x:
        learn(a, b, x)
        x_port = port_of(daemon, x.address)
        path = daemon.path("lab.stream")
        with Traffic(folder, [f"t1,stream={path}", f"t2,stream={path}"], ["t1,t2,rate=1000", "t2,t1,rate=1000"], run=5, mac_base=5) as traffic:
            for start in range(0, count, 500):
                # To a known port, so that the flood is of addresses and not of copies.
                x.send_raw(b"".join(struct.pack("!I", 60) + frame(a.address, "02:" + bytes.hex(struct.pack("!BI", 0, i * 2654435761 & 0xFFFFFFFF), ":"))
                                    for i in range(start, start + 500)))
                a.receive_all(0)
            report = traffic.finish()
        assert_clean(report)
        x_frames = [f for f in x.receive_all(0.2) if f[12:14] == b"\x88\xb5" and raw(mac(1, 5))[:4] == f[:4]]
        assert x_frames == []
        table = daemon.fdb("lab")
        ports = [entry["port"] for entry in table.values()]
        assert ports.count(x_port) <= 256
        assert a.address in table and b.address in table
        assert daemon.port("lab", x_port)["state"] == "up"


def test_L11_sources_that_cannot_be_are_dropped(daemon, net):
    with plug(daemon, 1) as a, plug(daemon, 2) as b:
        learn(a, b)
        bad = [BROADCAST, "01:00:5e:00:00:fb", "33:33:00:00:00:01", "00:00:00:00:00:00"]
        for source in bad:
            a.send(frame(b.address, source, b"bad"))
        a.send(frame(b.address, a.address, b"good"))
        assert b.expect(frame(b.address, a.address, b"good")) == []
        assert daemon.network("lab")["counters"]["drops"]["bad_source"] == len(bad)
        assert set(daemon.fdb("lab")) == {a.address, b.address}


def test_L11_the_uplinks_own_address_as_a_source(daemon):
    daemon.create("nat", mode="shared", uplink="user")
    with plug(daemon, 1, "nat") as a, plug(daemon, 2, "nat") as b:
        a.hello()
        b.hello()
        gateway = wait_for(lambda: [e["mac"] for e in daemon.fdb("nat").values() if e["static"] and e["port"] == "uplink"],
                           what="the uplink's address in the table")[0]
        a.send(frame(b.address, gateway, b"I am the gateway"))
        a.send(frame(b.address, a.address, b"good"))
        assert frame(b.address, gateway, b"I am the gateway") not in b.expect(frame(b.address, a.address, b"good"))
        assert daemon.network("nat")["counters"]["drops"]["uplink_source"] == 1
        assert daemon.fdb("nat")[gateway]["port"] == "uplink"


def test_L21_two_networks_with_the_same_addresses(daemon, net, folder):
    daemon.create("two")
    runs = []
    for run, network in ((1, "lab"), (2, "two")):
        path = daemon.path(f"{network}.stream")
        runs.append(Traffic(folder, [f"a,stream={path}", f"b,stream={path}"], ["a,b,rate=2000", "b,a,rate=2000", "a,*,rate=500"],
                            run=run, mac_base=1, seconds=2))
    tables = [daemon.fdb("lab"), daemon.fdb("two")]
    assert set(tables[0]) == set(tables[1]) and len(tables[0]) == 2
    for traffic in runs:
        with traffic:
            report = traffic.wait()
        assert_clean(report)
        assert report["alien"] == 0


def test_T09_an_address_moves_at_once_when_its_old_port_is_gone(daemon, net):
    with plug(daemon, 1) as a:
        b = plug(daemon, 2)
        learn(a, b)
        old = port_of(daemon, b.address)
        b.close()
        wait_for(lambda: b.address not in daemon.fdb("lab"), what="the entry being gone")
        with plug(daemon, 2) as b2:
            learn(a, b2)
            assert port_of(daemon, b2.address) != old
            a.send(frame(b2.address, a.address, b"first"))
            b2.expect(frame(b2.address, a.address, b"first"))


def test_T09_L09_an_address_on_two_live_ports_is_held_and_the_flap_is_told(daemon, net):
    with plug(daemon, 1) as a, plug(daemon, 2) as victim, plug(daemon, 3) as thief:
        learn(a, victim, thief)
        at, thief_port = port_of(daemon, victim.address), port_of(daemon, thief.address)
        begun = time.monotonic()
        thief.send(frame(a.address, victim.address, b"I am the victim"))
        a.expect(frame(a.address, victim.address, b"I am the victim"))
        a.send(frame(victim.address, a.address, b"for the victim"))
        victim.expect(frame(victim.address, a.address, b"for the victim"))
        assert time.monotonic() - begun < 3
        assert port_of(daemon, victim.address) == at
        assert frame(victim.address, a.address, b"for the victim") not in thief.receive_all(0.1)
        flaps = daemon.network("lab")["fdb"]["flaps"]
        assert flaps["count"] == 1
        assert flaps["last"]["mac"] == victim.address
        assert {flaps["last"]["port"], flaps["last"]["claimed_by"]} == {at, thief_port}


def test_T10_the_uplink_does_not_take_over_a_local_address(daemon, folder):
    """libslirp answers ARP; an uplink that echoes a VM's own source is played in the unit tests of switch/.
    Here: a local address stays local while the uplink speaks."""
    daemon.create("nat", mode="shared", uplink="user")
    with plug(daemon, 1, "nat") as a:
        a.hello()
        at = port_of(daemon, a.address, "nat")
        gateway = "192.168.105.1"
        ask = struct.pack("!HHBBH", 1, 0x800, 6, 4, 1) + raw(a.address) + bytes([192, 168, 105, 50]) + bytes(6) + bytes(map(int, gateway.split(".")))
        for _ in range(20):
            a.send(frame(BROADCAST, a.address, ask, 60, 0x806))
            assert wait_for(a.receive, what="an ARP reply")[12:14] == b"\x08\x06"
        assert port_of(daemon, a.address, "nat") == at


T12 = {
    "mDNS": frame("01:00:5e:00:00:fb", mac(1), b"mdns", 200, 0x800),
    "IPv6 ND": frame("33:33:ff:00:00:02", mac(1), b"nd", 86, 0x86DD),
    "DHCP": frame(BROADCAST, mac(1), b"dhcp", 342, 0x800),
    "802.1Q multicast": frame("01:00:5e:00:00:01", mac(1), struct.pack("!HH", 7, 0x800) + b"tagged", 200, 0x8100),
    "AppleTalk": frame("09:00:07:ff:ff:ff", mac(1), b"at", 100, 0x809B),
}


@pytest.mark.parametrize("what", T12)
def test_T12_group_frames_reach_everybody_unchanged(daemon, net, what):
    with plug(daemon, 1) as a, plug(daemon, 2) as b, plug(daemon, 3) as c:
        learn(a, b, c)
        a.send(T12[what])
        b.expect(T12[what])
        c.expect(T12[what])
        assert a.receive_all(0.1) == []


def test_T12_reserved_addresses_are_not_forwarded(daemon, net):
    with plug(daemon, 1) as a, plug(daemon, 2) as b:
        learn(a, b)
        for last in range(16):
            a.send(frame(f"01:80:c2:00:00:{last:02x}", a.address, b"bpdu"))
        a.send(frame(BROADCAST, a.address, b"end"))
        assert b.expect(frame(BROADCAST, a.address, b"end")) == []
        assert daemon.network("lab")["counters"]["drops"]["reserved"] == 16


def test_L20_isolated_ports_reach_the_uplink_and_not_each_other(daemon):
    daemon.create("nat", mode="shared", uplink="user", isolated=True)
    with plug(daemon, 1, "nat") as a, plug(daemon, 2, "nat") as b:
        a.hello()
        b.hello()
        port_of(daemon, a.address, "nat"), port_of(daemon, b.address, "nat")
        a.send(frame(b.address, a.address, b"unicast"))
        a.send(frame(BROADCAST, a.address, b"broadcast"))
        assert [f for f in b.receive_all(0.3) if raw(a.address) == f[6:12]] == []
        ask = struct.pack("!HHBBH", 1, 0x800, 6, 4, 1) + raw(a.address) + bytes([192, 168, 105, 50]) + bytes(6) + bytes([192, 168, 105, 1])
        a.send(frame(BROADCAST, a.address, ask, 60, 0x806))
        assert wait_for(a.receive, what="an ARP reply")[12:14] == b"\x08\x06"


def test_static_addresses_belong_to_their_named_port(daemon, net):
    daemon.ask("PUT", "/v1/networks/lab/ports/db", {"static_addresses": [mac(5)]})
    assert daemon.fdb("lab")[mac(5)] == {"mac": mac(5), "port": "db", "age_s": 0, "static": True}
    with plug(daemon, 1) as a, plug(daemon, 2) as b:
        learn(a, b)
        a.send(frame(mac(5), a.address, b"nobody there"))
        assert b.receive_all(0.2) == []
        assert daemon.network("lab")["counters"]["drops"]["link_down"] >= 1
        with StreamVm(daemon.path("lab.db.stream"), mac(5)) as db:
            a.send(frame(mac(5), a.address, b"hello db"))
            db.expect(frame(mac(5), a.address, b"hello db"))


def test_the_table_can_be_flushed_and_a_link_set_down(daemon, net):
    with plug(daemon, 1) as a, plug(daemon, 2) as b:
        learn(a, b)
        assert len(daemon.fdb("lab")) == 2
        daemon.ask("DELETE", "/v1/networks/lab/fdb")
        assert daemon.fdb("lab") == {}
        learn(a, b)
        name = port_of(daemon, b.address)
        daemon.ask("PATCH", f"/v1/networks/lab/ports/{name}", {"link": "down"})
        assert daemon.port("lab", name)["link"] == "down"
        a.send(frame(b.address, a.address, b"down"))
        assert b.receive_all(0.2) == []
        daemon.ask("PATCH", f"/v1/networks/lab/ports/{name}", {"link": "up"})
        a.send(frame(b.address, a.address, b"up"))
        b.expect(frame(b.address, a.address, b"up"))
        daemon.ask("DELETE", f"/v1/networks/lab/ports/{name}")
        assert b.wait_closed()
