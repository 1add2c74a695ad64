"""Bridged networks on Linux: kernel bridges and Open vSwitch, what may be bridged, and what is left behind (nothing)."""
import ctypes
import ipaddress
import itertools
import json
import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from switchd import wait_for
from vm import BROADCAST, StreamVm, frame, mac, raw

pytestmark = pytest.mark.root
_number = itertools.count()


def ip(*words, check=True):
    return subprocess.run(["ip", *words], check=check, capture_output=True, text=True)


def ports_of(bridge):
    return [link["ifname"] for link in json.loads(ip("-j", "link", "show", "master", bridge).stdout or "[]")]


@pytest.fixture
def bridge():
    """A bridge of the host's, which has the address 10.77.0.1."""
    name = f"tbr{os.getpid() % 10000}x{next(_number)}"
    ip("link", "add", name, "type", "bridge")
    ip("addr", "add", "10.77.0.1/24", "dev", name)
    ip("link", "set", name, "up")
    yield name
    ip("link", "del", name)


def start(daemon, allowed=(), networks=(), **more):
    path = daemon.folder / "vmswitchd.conf"
    path.write_text(json.dumps({"networks": list(networks), "bridged_interfaces": list(allowed)}))
    return daemon.start("--config", str(path), **more)


def arp(vm, own, asked):
    """Asks who has an address; the answer's sender, or None."""
    body = bytes.fromhex("0001080006040001") + raw(vm.address) + ipaddress.ip_address(own).packed + bytes(6) + ipaddress.ip_address(asked).packed
    for _ in range(5):
        vm.send(frame(BROADCAST, vm.address, body, ethertype=0x0806))
        deadline = time.monotonic() + 1
        while (one := vm.receive(max(0, deadline - time.monotonic()))) is not None:
            if one[12:14] == b"\x08\x06" and one[20:22] == b"\0\2" and one[28:32] == ipaddress.ip_address(asked).packed:
                return one[22:28].hex(":")
    return None


def test_socket_vmnet_bridges_to_a_bridge(start_front, folder, bridge):
    """As Lima writes it; an interface that is no bridge ends it with 1 and the way to make one."""
    argv = "--vmnet-mode=bridged", f"--vmnet-interface={bridge}", "-p", folder / "p", folder / "s"
    front = start_front("socket_vmnet", *argv, env={"VMSWITCH_UPLINK": ""}).wait_ready()
    assert len(ports_of(bridge)) == 1
    with StreamVm(folder / "s", mac(1)) as vm:
        assert arp(vm, "10.77.0.2", "10.77.0.1") == bridge_mac(bridge)
    assert front.stop() == 0
    wait_for(lambda: ports_of(bridge) == [], what="the TAP being gone from the bridge")
    ip("link", "add", "tv8", "type", "veth", "peer", "name", "tv9")
    try:
        front = start_front("socket_vmnet", "--vmnet-mode=bridged", "--vmnet-interface=tv8", folder / "s", env={"VMSWITCH_UPLINK": ""})
        assert front.process.wait(10) == 1 and "ERROR| the uplink (tap) did not start: tv8 is not a bridge: make one" in front.log()
    finally:
        ip("link", "del", "tv8")


def bridge_mac(name):
    return json.loads(ip("-j", "link", "show", name).stdout)[0]["address"]


def test_a_guest_on_a_bridged_network_reaches_who_is_on_the_bridge(make_daemon, bridge):
    made = start(make_daemon(), [bridge])
    made.create("lan", mode="bridged", interface=bridge)
    uplink = made.network("lan")["uplink"]
    assert uplink["kind"] == "tap" and ports_of(bridge) == [uplink["interface"]]
    with StreamVm(made.path("lan.stream"), mac(1)) as vm:
        assert arp(vm, "10.77.0.2", "10.77.0.1") == bridge_mac(bridge)
    made.ask("DELETE", "/v1/networks/lan")
    wait_for(lambda: ports_of(bridge) == [], what="the TAP being gone from the bridge")


def test_a_configured_network_needs_no_other_permission(make_daemon, bridge):
    made = start(make_daemon(), networks=[{"name": "lan", "mode": "bridged", "interface": bridge, "uplink": "tap"}])
    made.wait_up("lan")
    assert len(ports_of(bridge)) == 1
    assert made.stop() == 0
    assert ports_of(bridge) == []


def test_a_bridge_with_a_card_keeps_its_address(make_daemon, bridge):
    """It takes the lowest of its ports' addresses, and hosts have leases on that."""
    ip("link", "add", "tv4", "address", "f2:00:00:00:00:01", "type", "veth", "peer", "name", "tv5")
    ip("link", "set", "tv4", "master", bridge)
    try:
        before = bridge_mac(bridge)
        made = start(make_daemon(), networks=[{"name": "lan", "mode": "bridged", "interface": bridge}])
        made.wait_up("lan")
        assert len(ports_of(bridge)) == 2 and bridge_mac(bridge) == before
    finally:
        ip("link", "del", "tv4")


def test_only_what_the_configuration_names_can_be_bridged_to(make_daemon, bridge):
    made = start(make_daemon(), ["some-other"])
    answer = made.request("PUT", "/v1/networks/lan", {"mode": "bridged", "interface": bridge})
    assert answer.status == 422 and answer.json["field"] == "/interface" and "bridged_interfaces" in answer.text
    assert ports_of(bridge) == []


def test_what_is_no_bridge_is_refused_with_the_way_to_make_one(make_daemon, bridge):
    ip("link", "add", "tv0", "type", "veth", "peer", "name", "tv1")
    try:
        made = start(make_daemon(), ["tv0", "nothing"])
        answer = made.request("PUT", "/v1/networks/lan", {"mode": "bridged", "interface": "tv0"})
        assert answer.status == 422 and "not a bridge" in answer.text and "type bridge" in answer.json["next_step"], answer
        answer = made.request("PUT", "/v1/networks/lan", {"mode": "bridged", "interface": "nothing"})
        assert answer.status == 422 and "nothing" in answer.json["detail"], answer
        assert made.networks() == []
    finally:
        ip("link", "del", "tv0")


def test_a_bridge_that_comes_later_is_used_then(make_daemon):
    name = f"tbr{os.getpid() % 10000}late"
    made = start(make_daemon(), networks=[{"name": "lan", "mode": "bridged", "interface": name}])
    wait_for(lambda: made.health("lan").get("state") == "degraded", what="degraded")
    assert name in made.health("lan")["reason"]
    ip("link", "add", name, "type", "bridge")
    try:
        made.wait_up("lan", 20)
        assert len(ports_of(name)) == 1
    finally:
        ip("link", "del", name)


def test_a_network_does_not_lower_the_bridges_mtu(make_daemon, bridge):
    made = start(make_daemon(), [bridge])
    made.ask("PUT", "/v1/networks/lan", {"mode": "bridged", "interface": bridge, "mtu": 1400})
    wait_for(lambda: made.health("lan").get("state") == "degraded", what="degraded")
    assert "mtu" in made.health("lan")["reason"] and ports_of(bridge) == []


def test_the_interfaces_are_listed_with_type_and_addresses(make_daemon, bridge):
    made = start(make_daemon(), [bridge])
    listed = {one["name"]: one for one in made.ask("GET", "/v1/interfaces")["interfaces"]}
    assert listed[bridge]["type"] == "bridge" and listed[bridge]["allowed"] and listed[bridge]["up"]
    assert "10.77.0.1/24" in listed[bridge]["addresses"]
    assert "lo" not in listed


def test_wifi_is_listed_as_such_and_refused_with_the_way_out(make_daemon, folder):
    """No radio is here: vmswitchd sees a /sys/class/net in which one of a pair of interfaces has one."""
    cable, radio = f"twc{os.getpid() % 10000}", f"twr{os.getpid() % 10000}"
    (folder / "net" / cable).mkdir(parents=True)
    (folder / "net" / radio / "phy80211").mkdir(parents=True)

    def enter():
        libc = ctypes.CDLL(None, use_errno=True)
        assert libc.unshare(CLONE_NEWNS) == 0
        assert libc.mount(b"none", b"/", None, 0x44000, None) == 0  # MS_REC | MS_PRIVATE
        assert libc.mount(str(folder / "net").encode(), b"/sys/class/net", None, 0x1000, None) == 0  # MS_BIND

    ip("link", "add", cable, "type", "veth", "peer", "name", radio)
    try:
        made = start(make_daemon(), [cable, radio], preexec=enter)
        types = {one["name"]: one["type"] for one in made.ask("GET", "/v1/interfaces")["interfaces"]}
        assert types[cable] == "veth" and types[radio] == "wifi"
        answer = made.request("PUT", "/v1/networks/lan", {"mode": "bridged", "interface": radio})
        assert answer.status == 422 and answer.json["field"] == "/interface" and 'its type is "wifi"' in answer.json["detail"]
        assert "Wi-Fi can't be a port of a bridge" in answer.json["next_step"] and "shared" in answer.json["next_step"]
    finally:
        ip("link", "del", cable)


def test_each_kind_of_interface_is_listed_with_its_state(make_daemon, bridge):
    """... and addresses of both families; only what the configuration names is allowed."""
    ip("link", "add", "tv6", "type", "veth", "peer", "name", "tv7")
    ip("tuntap", "add", "ttap", "mode", "tap")
    try:
        ip("addr", "add", "fd00:77::1/64", "dev", bridge, "nodad")
        ip("link", "set", "tv6", "up")
        made = start(make_daemon(), [bridge])
        listed = {one["name"]: one for one in made.ask("GET", "/v1/interfaces")["interfaces"]}
        assert {name: listed[name]["type"] for name in (bridge, "tv6", "tv7", "ttap")} == {
            bridge: "bridge", "tv6": "veth", "tv7": "veth", "ttap": "tap"}
        assert listed["tv6"]["up"] and not listed["tv7"]["up"] and not listed["ttap"]["up"]
        assert {"10.77.0.1/24", "fd00:77::1/64"} <= set(listed[bridge]["addresses"])
        assert [name for name, one in listed.items() if one["allowed"]] == [bridge]
    finally:
        for name in ("tv6", "ttap"):
            ip("link", "del", name)


def test_a_killed_daemon_leaves_no_port_on_the_bridge(make_daemon, bridge):
    ip("link", "add", "tv2", "type", "veth", "peer", "name", "tv3")
    ip("link", "set", "tv2", "master", bridge)
    try:
        made = start(make_daemon(), networks=[{"name": "lan", "mode": "bridged", "interface": bridge}])
        made.wait_up("lan")
        assert len(ports_of(bridge)) == 2
        made.kill()
        wait_for(lambda: ports_of(bridge) == ["tv2"], what="ours being gone, and theirs not")
        made.start("--config", str(made.folder / "vmswitchd.conf"))
        made.wait_up("lan")
        assert len(ports_of(bridge)) == 2
    finally:
        ip("link", "del", "tv2")


def test_a_crashed_network_is_on_the_bridge_again(make_daemon, bridge):
    made = start(make_daemon(), networks=[{"name": "lan", "mode": "bridged", "interface": bridge}])
    made.wait_up("lan")
    os.kill(made.network("lan")["pid"], 9)
    wait_for(lambda: "pid" in made.network("lan") and made.health("lan").get("state") != "up", what="the crash being seen")
    made.wait_up("lan")
    assert len(ports_of(bridge)) == 1


def test_an_ordinary_user_is_told_what_works_without_root(user_daemon):
    answer = user_daemon.request("PUT", "/v1/networks/lan", {"mode": "bridged", "interface": "br0"})
    assert answer.status == 422 and "user" in answer.json["detail"] and "root" in answer.json["detail"], answer


# ---- Open vSwitch ----

CLONE_NEWNS = 0x20000


class Ovs:
    """An Open vSwitch of our own, in a mount namespace where its folder is where ovs-vsctl looks for it."""

    def __init__(self, folder):
        self.folder = folder / "ovs"
        self.folder.mkdir()
        schema = Path("/usr/share/openvswitch/vswitch.ovsschema")
        subprocess.run(["ovsdb-tool", "create", str(self.folder / "conf.db"), str(schema)], check=True)
        run = {"preexec_fn": self.enter, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "start_new_session": True}
        place = "/run/openvswitch"
        self.processes = [subprocess.Popen(["ovsdb-server", str(self.folder / "conf.db"), f"--remote=punix:{place}/db.sock", "--no-chdir"], **run)]
        wait_for(lambda: (self.folder / "db.sock").exists(), what="ovsdb-server")
        self.vsctl("--no-wait", "init")
        self.processes.append(subprocess.Popen(["ovs-vswitchd", f"unix:{place}/db.sock", "--no-chdir"], **run))

    def enter(self):
        """In a child: a mount namespace in which its folder is Open vSwitch's."""
        libc = ctypes.CDLL(None, use_errno=True)
        assert libc.unshare(CLONE_NEWNS) == 0
        assert libc.mount(b"none", b"/", None, 0x44000, None) == 0  # MS_REC | MS_PRIVATE
        assert libc.mount(str(self.folder).encode(), b"/run/openvswitch", None, 0x1000, None) == 0  # MS_BIND

    def vsctl(self, *words):
        return subprocess.run(["ovs-vsctl", "--timeout=10", *words], preexec_fn=self.enter, check=True, capture_output=True, text=True).stdout.split()

    def close(self):
        for process in reversed(self.processes):
            process.terminate()
            process.wait(10)


@pytest.fixture
def ovs(folder):
    if not all(map(shutil.which, ("ovs-vsctl", "ovs-vswitchd", "ovsdb-server", "ovsdb-tool"))):
        pytest.skip("Open vSwitch is not installed (etc/install-deps.sh perf has it)")
    Path("/run/openvswitch").mkdir(exist_ok=True)
    made = Ovs(folder)
    try:
        yield made
    finally:
        made.close()


def test_a_guest_reaches_who_is_on_an_open_vswitch_bridge(make_daemon, ovs):
    ovs.vsctl("add-br", "tovs0", "--", "set", "bridge", "tovs0", "datapath_type=netdev", 'other_config:hwaddr="52:54:00:ff:00:01"')
    ip("addr", "add", "10.78.0.1/24", "dev", "tovs0")
    ip("link", "set", "tovs0", "up")
    made = start(make_daemon(), ["tovs0"], preexec=ovs.enter)
    made.create("lan", mode="bridged", interface="tovs0")
    assert ovs.vsctl("list-ports", "tovs0") == [made.network("lan")["uplink"]["interface"]]
    with StreamVm(made.path("lan.stream"), mac(1)) as vm:
        assert arp(vm, "10.78.0.2", "10.78.0.1") == bridge_mac("tovs0")
    made.ask("DELETE", "/v1/networks/lan")
    wait_for(lambda: ovs.vsctl("list-ports", "tovs0") == [], what="the port being gone from Open vSwitch's database")


def test_a_crashed_network_is_on_its_open_vswitch_bridge_once(make_daemon, ovs):
    ovs.vsctl("add-br", "tovs2", "--", "set", "bridge", "tovs2", "datapath_type=netdev", 'other_config:hwaddr="52:54:00:ff:00:02"')
    ip("addr", "add", "10.79.0.1/24", "dev", "tovs2")
    ip("link", "set", "tovs2", "up")
    made = start(make_daemon(), ["tovs2"], preexec=ovs.enter)
    made.create("lan", mode="bridged", interface="tovs2")
    pid = made.network("lan")["pid"]
    os.kill(pid, 9)
    wait_for(lambda: made.network("lan").get("pid") not in (pid, None, 0), what="another process")
    made.wait_up("lan")
    assert ovs.vsctl("list-ports", "tovs2") == [made.network("lan")["uplink"]["interface"]]
    with StreamVm(made.path("lan.stream"), mac(1)) as vm:
        assert arp(vm, "10.79.0.2", "10.79.0.1") == bridge_mac("tovs2")


def test_a_killed_daemons_port_leaves_open_vswitch_when_the_next_starts(make_daemon, ovs):
    ovs.vsctl("add-br", "tovs1", "--", "set", "bridge", "tovs1", "datapath_type=netdev")
    ovs.vsctl("add-port", "tovs1", "theirs", "--", "set", "Interface", "theirs", "type=internal")
    made = start(make_daemon(), ["tovs1"], preexec=ovs.enter)
    made.create("lan", mode="bridged", interface="tovs1")
    name = made.network("lan")["uplink"]["interface"]
    made.kill()
    wait_for(lambda: ip("link", "show", name, check=False).returncode != 0, what="the TAP's end")
    assert sorted(ovs.vsctl("list-ports", "tovs1")) == sorted(["theirs", name])
    (made.state / "networks" / "lan.json").unlink(missing_ok=True)
    for path in made.state.rglob("lan*"):
        path.unlink()
    made.start("--config", str(made.folder / "vmswitchd.conf"), preexec=ovs.enter)
    wait_for(lambda: ovs.vsctl("list-ports", "tovs1") == ["theirs"], what="the leftover being gone, and theirs not")


def test_a_reload_that_names_another_bridge_lets_networks_have_it(make_daemon, bridge):
    """... and one that runs loses no frame and no port by it."""
    internal = {"name": "quiet", "mode": "internal", "sockets": {"mode": "0666"}}
    daemon = start(make_daemon(), networks=[internal])
    daemon.wait_up("quiet")
    a, b = (StreamVm(daemon.path("quiet.stream"), mac(i)) for i in (1, 2))
    daemon.ask("PUT", "/v1/networks/lab", {"mode": "bridged", "interface": bridge}, expect=(422,))
    (daemon.folder / "vmswitchd.conf").write_text(json.dumps({"networks": [internal], "bridged_interfaces": [bridge]}))
    control = daemon.children()["control"]
    assert daemon.ask("POST", "/v1/reload")["settings"] == ["/bridged_interfaces"]
    wait_for(lambda: daemon.children().get("control", control) != control and daemon.is_ready_again(), 10, "the new control")
    daemon.create("lab", mode="bridged", interface=bridge)
    wait_for(lambda: len(ports_of(bridge)) == 1, 10, "a port of the bridge")
    a.send(frame(BROADCAST, a.address, b"still here"))
    assert b.receive(5)
