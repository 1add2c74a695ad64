"""Each way in which vmnet can go wrong, in the real vmswitchd with the double: what is seen of it in health, counters and log.

docs/vmnet.md has the table; the double's knobs are those of tests/fake-sdk/fake_vmnet.h, set while vmswitchd runs.
"""
import json
import struct
import subprocess
import time

import pytest

from fake_mac import HAS_DOUBLE, Panel
from switchd import BIN, wait_for
from vm import BROADCAST, StreamVm, frame, mac

pytestmark = pytest.mark.skipif(not HAS_DOUBLE, reason="needs a build with VMNET_DOUBLE")

ECHO = "5e:00:00:00:00:ec"  # the double sends what is for it back to everybody
REFUSED = 0xBAD0            # the EtherType that script.refusal is for
SPEC = {"mode": "shared", "uplink": "vmnet", "ipv4": None, "sockets": {"mode": "0666"}}


class Mac:
    """A vmswitchd, the panel, and one network called v."""
    def __init__(self, daemon, panel):
        self.daemon, self.panel = daemon, panel
        self.script, self.counts = panel.script, panel.counts

    def start(self, networks=(), bridged=(), options=(), env=None, **script):
        self.panel.set(**script)
        path = self.daemon.folder / "conf"
        path.write_text(json.dumps({"networks": list(networks), "bridged_interfaces": list(bridged)}))
        self.daemon.start("--config", str(path), *options, env={**self.panel.environment(), **(env or {})})
        return self

    def create(self, **fields):
        return self.daemon.ask("PUT", "/v1/networks/v", {**SPEC, **fields})

    def create_up(self, **fields):
        self.create(**fields)
        self.daemon.wait_up("v")

    @property
    def uplink(self):
        return self.daemon.health("v")["uplink"]

    def wait_for_state(self, states, reason="", seconds=10):
        """Health says one of the states, and of the network and its uplink the same reason."""
        def is_so():
            health = self.daemon.health("v")
            return health["state"] in states and health["uplink"]["state"] == health["state"] and reason in (health["reason"] or "")
        wait_for(is_so, seconds, f"{states} with {reason!r}; it is {self.daemon.health('v')}")

    @property
    def counters(self):
        return wait_for(lambda: self.daemon.network("v")["uplink"]["counters"], 5, "the uplink's counters")

    def wait_for_drops(self, **drops):
        """Exactly these in the uplink's counters, and its books balance."""
        wanted = {name: n for name, n in drops.items() if n}
        wait_for(lambda: {name: n for name, n in self.counters["drops"].items() if n} == wanted, 5, f"drops {wanted}; they are {self.counters['drops']}")
        books = self.counters
        out = books["to_host"] + books["to_network"] + books["joined"] + books["waiting"] + sum(books["drops"].values())
        assert books["from_network"] + books["from_host"] == out, books

    @property
    def pid(self):
        return self.daemon.children().get("vmnet v")

    def warnings(self):
        """What the uplink, the network and control complain of; not the monitor, which tells what it thinks of this machine."""
        return [line for line in self.daemon.log().splitlines() if line.split()[1] in ("warn", "error") and line.split()[2] != "monitor:"]

    def vm(self, index=1):
        return StreamVm(self.daemon.path("v.stream"), mac(index))


@pytest.fixture
def on_mac(make_daemon, folder):
    return Mac(make_daemon(), Panel(folder / "panel"))


def numbered(source, number, to=ECHO, ethertype=0x88B5):
    return frame(to, source, b"#%06d" % number, ethertype=ethertype)


def numbers(frames):
    return [int(one[15:21]) for one in frames if one[14:15] == b"#"]


def echoes(vm, first, n, seconds=10):
    """Sends n numbered frames out at once, and returns the numbers that come back until all have, or nothing comes any more."""
    frames = [numbered(vm.address, i) for i in range(first, first + n)]
    vm.send_raw(b"".join(struct.pack("!I", len(one)) + one for one in frames))
    return hear(vm, n, seconds)


def hear(vm, n, seconds=10):
    """The numbers of the next n frames, or of fewer if nothing comes any more."""
    found, deadline = [], time.monotonic() + seconds
    while len(found) < n and time.monotonic() < deadline and (one := vm.receive(2)) is not None:
        found += numbers([one])
    return found


def talk(mac_, what=b"between us"):
    """Two ports of the network reach each other, whatever the uplink does."""
    with mac_.vm(11) as one, mac_.vm(12) as two:
        two.hello()
        said = frame(two.address, one.address, what)
        one.send(said)
        two.expect(said)


# ---- starts ----

@pytest.mark.parametrize("code, step, state", [
    (1001, "is its subnet in use, or is it too early after boot? It is tried again", "starting"),
    (1002, "run vmswitchd as root or sign it", "starting"),
    (1003, "change the network's ipv4, mtu or interface", "failed"),
    (1004, "it is tried again", "starting"),
    (1005, "start vmswitchd as root", "failed"),
    (1006, "lower the MTU of the guests or raise the network's", "starting"),
    (1007, "it is tried again", "starting"),
    (1008, "it is tried again", "starting"),
    (1009, "another program or Internet Sharing holds this subnet", "starting"),
    (1010, "sign it with vmnet's entitlement", "failed"),
])
def test_each_answer_to_a_start_is_a_sentence_in_health_and_log(on_mac, code, step, state):
    on_mac.start(start="FAKE_START_FAILS", start_status=code).create()
    on_mac.wait_for_state({state}, f"({code})")
    assert step in on_mac.uplink["reason"]
    assert f"uplink is {state}: {on_mac.uplink['reason']}" in on_mac.daemon.log()
    assert on_mac.counters["to_host"] == on_mac.counters["from_host"] == 0
    talk(on_mac)
    starts = on_mac.counts.starts
    on_mac.panel.set(start="FAKE_START_SUCCEEDS")
    if state == "starting":
        on_mac.daemon.wait_up("v", 20)
        assert on_mac.uplink["reason"] is None and "uplink is up" in on_mac.daemon.log()
    else:
        time.sleep(1)
        assert on_mac.counts.starts == starts and on_mac.daemon.health("v")["state"] == "failed"


def test_a_start_that_keeps_failing_is_tried_later_and_later(on_mac):
    on_mac.start(start="FAKE_START_FAILS", start_status=1009).create()
    seen, deadline = set(), time.monotonic() + 4
    while time.monotonic() < deadline:
        seen.add(on_mac.daemon.health("v")["state"])
        time.sleep(0.02)
    assert seen <= {"starting"}
    assert 3 <= on_mac.counts.starts <= 7  # 0.25 s, doubled each time
    assert on_mac.daemon.log().count("uplink is starting") == 1  # nobody reads the same line every few seconds


def test_a_handler_that_comes_late_is_starting_until_then(on_mac):
    on_mac.start(start_delay_ms=1500).create()
    assert on_mac.daemon.health("v")["state"] == "starting" and on_mac.daemon.health("v")["reason"] is None
    talk(on_mac)
    on_mac.daemon.wait_up("v")
    assert on_mac.counts.starts == 1


def test_a_start_that_is_never_answered_ends_at_the_deadline_and_holds_up_nothing(on_mac):
    """The handler never comes (v), or the call itself never returns (w): after 10 s processes that are not in it try again."""
    on_mac.daemon.expects_failure = True
    daemon = on_mac.start(start="FAKE_START_NEVER").daemon
    on_mac.create()
    wait_for(lambda: on_mac.counts.starts == 1, 5, "the start of v")
    on_mac.panel.set(start="FAKE_START_HANGS")
    daemon.ask("PUT", "/v1/networks/w", SPEC)
    wait_for(lambda: on_mac.counts.starts == 2, 5, "the start of w")
    first = {name: daemon.children()[f"vmnet {name}"] for name in "vw"}
    for _ in range(20):
        assert [daemon.health(name)["state"] for name in "vw"] == ["starting"] * 2
    talk(on_mac)
    on_mac.panel.set(start="FAKE_START_SUCCEEDS")
    for name in "vw":
        wait_for(lambda: f"uplink {name}: uplink is starting: vmnet did not start: no answer in time" in daemon.log(), 15, f"the end of {name}'s patience")
        daemon.wait_up(name, 20)
        assert daemon.children()[f"vmnet {name}"] != first[name]


@pytest.mark.parametrize("how, reason, is_new_process", [
    ("FAKE_START_NULL", "no handle and no reason given", True),
    ("FAKE_START_NULL_SAYS", "sharing is busy (1009)", False),
])
def test_a_start_without_a_handle_has_failed(on_mac, how, reason, is_new_process):
    on_mac.daemon.expects_failure = True
    on_mac.start(start=how, start_status=1009).create()
    first = wait_for(lambda: on_mac.pid, 5, "the uplink's process")
    on_mac.wait_for_state({"starting", "degraded"}, reason)
    on_mac.panel.set(start="FAKE_START_SUCCEEDS")
    on_mac.daemon.wait_up("v", 20)
    assert (on_mac.pid != first) == is_new_process
    assert f"uplink is starting: vmnet did not start: {reason}" in on_mac.daemon.log()


@pytest.mark.parametrize("script", [{"start": "FAKE_START_EMPTY"}, {"events_status": 1001}, {"frame_max": 10 ** 7}],
                         ids=["no-dictionary", "no-events", "impossible-frames"])
def test_a_success_that_is_of_no_use_is_a_failure_and_is_stopped(on_mac, script):
    on_mac.start(**script).create()
    on_mac.wait_for_state({"starting"}, "failure (1001)")
    wait_for(lambda: on_mac.counts.starts == on_mac.counts.stops > 0, 5, "what was started being stopped")
    assert "uplink is starting: vmnet did not start: failure (1001)" in on_mac.daemon.log()


def test_a_vmnet_without_offload_is_started_without_and_the_log_says_so(on_mac):
    on_mac.start(has_no_offload=True).create_up()
    assert on_mac.counts.starts == 2 and on_mac.uplink["reason"] is None
    assert "once more without offload" in on_mac.daemon.log() and "no offload, " in on_mac.daemon.log()


@pytest.mark.root
def test_a_subnet_of_the_configuration_that_the_host_reaches_is_named_before_vmnet_is_asked(on_mac):
    """Over the API it is a 409 (test_vmnet.py); a file's network cannot be refused, so it waits, and says for what."""
    subprocess.run(["ip", "route", "add", "10.77.0.0/16", "dev", "lo"], check=True)
    try:
        on_mac.start(networks=[{"name": "v", **SPEC, "ipv4": {"gateway": "10.77.0.1"}}])
        on_mac.wait_for_state({"starting"}, "overlaps 10.77.0.0/16 via lo")
        assert "choose another ipv4.gateway" in on_mac.uplink["reason"] and "overlaps 10.77.0.0/16 via lo" in on_mac.daemon.log()
        assert on_mac.counts.starts == 0
    finally:
        subprocess.run(["ip", "route", "del", "10.77.0.0/16", "dev", "lo"], check=True)
    on_mac.daemon.wait_up("v", 20)


def test_a_network_bridged_to_wifi_runs_with_a_warning_where_one_looks(on_mac):
    on_mac.start(bridged=["en0", "en7"])
    found = {one["name"]: one["type"] for one in on_mac.daemon.ask("GET", "/v1/interfaces")["interfaces"]}
    assert found == {"en0": "wifi", "en7": "ethernet"}

    def cli(*words):
        return subprocess.run([BIN / "vmswitch", "--socket", str(on_mac.daemon.api_path), *words], capture_output=True, text=True, check=True).stdout

    said = cli("create", "v", "--mode", "bridged", "--interface", "en0", "--uplink", "vmnet")
    assert "v: its interface is Wi-Fi" in said and "shared" in said
    on_mac.daemon.wait_up("v")
    warning = on_mac.daemon.network("v")["warning"]
    assert "hardware address" in warning and "wired interface" in warning and on_mac.daemon.health("v")["warning"] == warning
    assert "v: its interface is Wi-Fi" in cli("health") and "v: its interface is Wi-Fi" in cli("networks")
    assert "network v: en0: its interface is Wi-Fi" in on_mac.daemon.log()
    on_mac.create_up(mode="bridged", interface="en7")
    assert on_mac.daemon.network("v")["warning"] is None and on_mac.daemon.health("v")["warning"] is None
    assert "Wi-Fi" not in cli("health")


# ---- packets ----

@pytest.mark.parametrize("estimate", ["FAKE_ESTIMATE_ZERO", "FAKE_ESTIMATE_LOW", "FAKE_ESTIMATE_HUGE"])
def test_an_event_is_a_hint_and_what_is_there_is_read_to_the_end(on_mac, estimate):
    """Coalesced, and whatever they estimate, nothing is left behind; nor is there more than one event too many for each packet."""
    on_mac.start(estimate=estimate).create_up()
    with on_mac.vm() as vm:
        assert echoes(vm, 0, 601) == list(range(601))
        assert echoes(vm, 601, 1) == [601]  # the last read was not a full one
    assert 0 < on_mac.counts.events <= 2 * 602 and on_mac.counts.kernel_drops == 0
    assert on_mac.counters["from_host"] >= 602
    on_mac.wait_for_drops()
    assert on_mac.warnings() == []


def test_events_with_nothing_behind_them_cost_a_look_and_no_spinning(on_mac):
    on_mac.start().create_up()
    time.sleep(0.2)
    before = on_mac.counts.reads
    for i in range(50):
        on_mac.panel.set(n_spurious=i + 1)
        time.sleep(0.005)
    time.sleep(0.2)
    at_rest = on_mac.counts.reads
    assert 1 <= at_rest - before <= 3 * 50
    time.sleep(1)
    assert on_mac.counts.reads == at_rest
    assert on_mac.uplink["state"] == "up" and on_mac.warnings() == []
    with on_mac.vm() as vm:
        assert echoes(vm, 0, 5) == list(range(5))


def test_calls_are_as_large_as_the_limits_and_never_larger(on_mac):
    on_mac.start(packets_max=8).create_up()
    assert "3 in a read, 8 in a write" in on_mac.daemon.log()
    with on_mac.vm() as vm:
        assert echoes(vm, 0, 200) == list(range(200))
        assert on_mac.counts.batch_max == 8
        on_mac.panel.set(packets_max=2)  # less than it said: 1008 for each call that is larger
        assert echoes(vm, 1000, 200) == list(range(1000, 1200))
    assert on_mac.uplink["state"] == "up"
    on_mac.wait_for_drops()
    assert on_mac.warnings() == []


def test_a_vmnet_without_room_for_a_moment_loses_nothing(on_mac):
    on_mac.start().create_up()
    with on_mac.vm() as vm:
        vm.hello()
        on_mac.panel.set(n_full=2)
        assert echoes(vm, 0, 50) == list(range(50))
    assert on_mac.script.n_full == 0 and on_mac.uplink["state"] == "up"
    on_mac.wait_for_drops()
    assert on_mac.warnings() == []


def test_a_vmnet_that_stays_without_room_drops_and_counts_and_recovers(on_mac):
    on_mac.start(options=("--log-level", "debug")).create_up()
    on_mac.daemon.expects_failure = True
    with on_mac.vm() as vm:
        assert echoes(vm, 0, 1) == [0]
        writes = on_mac.counts.writes
        on_mac.panel.set(n_full=10 ** 9)
        for i in range(1, 101):
            vm.send(numbered(vm.address, i))
        on_mac.wait_for_drops(host_full=100)
        assert on_mac.counts.writes - writes <= 3 * 100  # three tries for a batch, and no spinning
        at_rest = on_mac.counts.writes
        time.sleep(0.5)
        assert on_mac.counts.writes == at_rest and on_mac.uplink["state"] == "up"
        on_mac.panel.set(n_full=0)
        assert echoes(vm, 200, 5) == list(range(200, 205))
    assert on_mac.warnings() == []
    on_mac.daemon.ask("DELETE", "/v1/networks/v")
    assert "dropped: full 100, refused 0" in on_mac.daemon.log()


def test_a_partial_batch_is_continued_in_order(on_mac):
    on_mac.start(partial=3).create_up()
    with on_mac.vm() as vm:
        assert echoes(vm, 0, 300) == list(range(300))
    on_mac.wait_for_drops()
    assert on_mac.uplink["state"] == "up" and on_mac.warnings() == []


@pytest.mark.parametrize("code", [code for code in range(1001, 1011) if code != 1007])  # which is said of a batch: see above
def test_a_frame_that_is_refused_is_dropped_alone_and_closes_nothing(on_mac, code):
    on_mac.start().create_up()
    first = on_mac.pid
    with on_mac.vm() as vm:
        assert echoes(vm, 0, 1) == [0]
        on_mac.panel.set(refusal=code)
        for i in range(1, 31):
            vm.send(numbered(vm.address, i, ethertype=REFUSED if i % 3 == 0 else 0x88B5))
        assert hear(vm, 20) == [i for i in range(1, 31) if i % 3]
        on_mac.wait_for_drops(refused=10)
        assert vm.receive(0.2) is None and not vm.is_closed
    assert on_mac.uplink["state"] == "up" and on_mac.pid == first and on_mac.warnings() == []


def test_packets_that_are_no_frames_are_counted_and_the_next_are_read(on_mac):
    """Shorter than a header, and longer than the room that was given: a length that nobody may believe."""
    on_mac.start().create_up()
    on_mac.panel.set(n_runts=7)
    on_mac.wait_for_drops(from_host_bad=7)
    with on_mac.vm() as vm:
        on_mac.panel.set(n_lies=2)
        assert len(echoes(vm, 0, 50, 3)) == 48
        on_mac.wait_for_drops(from_host_bad=9)
        assert echoes(vm, 100, 5) == list(range(100, 105))
    assert on_mac.uplink["state"] == "up" and on_mac.warnings() == []


# ---- the interface goes ----

def macs_in(log):
    return {line.rsplit("mac ", 1)[1] for line in log.splitlines() if " vmnet: host " in line}


def test_a_mac_that_sleeps_gets_its_uplink_back_under_the_same_ports_and_id(on_mac):
    on_mac.daemon.expects_failure = True
    on_mac.start().create_up()
    first = on_mac.pid
    with on_mac.vm() as vm:
        assert echoes(vm, 0, 5) == list(range(5))
        ports = on_mac.daemon.ports("v").keys()
        starts, reads, writes = on_mac.counts.starts, on_mac.counts.reads, on_mac.counts.writes
        on_mac.panel.set(gone=1001)
        on_mac.wait_for_state({"degraded", "starting"}, "failure (1001)")
        deadline = time.monotonic() + 4
        while time.monotonic() < deadline:
            assert on_mac.daemon.health("v")["state"] in ("degraded", "starting")
            vm.send(numbered(vm.address, 7))
            time.sleep(0.05)
        assert on_mac.counts.starts - starts <= 12  # later and later; twice each, for the start without offload
        assert on_mac.counts.reads - reads <= 3 and on_mac.counts.writes - writes <= 3
        talk(on_mac)
        on_mac.panel.set(gone=0)
        on_mac.daemon.wait_up("v", 20)
        assert on_mac.daemon.ports("v").keys() >= ports and not vm.is_closed
        assert echoes(vm, 100, 5) == list(range(100, 105))
    assert on_mac.pid != first and len(macs_in(on_mac.daemon.log())) == 1
    assert "uplink is degraded: vmnet's interface is gone: failure (1001)" in on_mac.daemon.log()
    # What the guest sent meanwhile is the uplink port's, or its queue's, to count: daemon.check() adds all up.
    assert on_mac.daemon.network("v")["counters"]["drops"]["link_down"] > 0


def test_an_adapter_that_is_unplugged_is_named_and_bridged_again_once_it_is_back(on_mac):
    on_mac.daemon.expects_failure = True
    on_mac.start(bridged=["en7"]).create_up(mode="bridged", interface="en7")
    with on_mac.vm() as vm:
        vm.hello()
        starts = on_mac.counts.starts
        on_mac.panel.set(is_unplugged=True, gone=1001)
        on_mac.wait_for_state({"degraded", "starting"}, "the Mac has no such interface to bridge to; GET /v1/interfaces lists them")
        assert [one["name"] for one in on_mac.daemon.ask("GET", "/v1/interfaces")["interfaces"]] == ["en0"]
        time.sleep(2)
        assert on_mac.counts.starts == starts  # vmnet is not asked for what it does not have
        talk(on_mac)
        on_mac.panel.set(is_unplugged=False, gone=0)
        on_mac.daemon.wait_up("v", 20)
        assert not vm.is_closed and on_mac.counts.starts == starts + 1
    assert "no such interface to bridge to" in on_mac.daemon.log()


def test_a_stop_that_is_never_answered_holds_up_no_end(on_mac):
    """daemon.stop() asserts that SIGTERM ends everything within a second."""
    on_mac.start(stop="FAKE_STOP_NEVER").create_up()
    on_mac.daemon.ask("DELETE", "/v1/networks/v")
    on_mac.create_up()
    assert on_mac.daemon.stop() == 0
    assert on_mac.warnings() == []


# ---- forwards ----

FORWARDS = [{"proto": "tcp", "host": "0.0.0.0:99", "guest": "192.168.105.5:80"}]


def test_a_forward_that_vmnet_refuses_is_named_and_tried_again(on_mac):
    on_mac.start(rule_refusal=1001).create(ipv4={"gateway": "192.168.105.1"}, forwards=FORWARDS)
    on_mac.wait_for_state({"degraded"}, "forward tcp port 99: vmnet answered 1001; is the port taken on this Mac? It is tried again")
    assert "uplink is degraded: forward tcp port 99" in on_mac.daemon.log()
    talk(on_mac)
    with on_mac.vm() as vm:
        assert echoes(vm, 0, 5) == list(range(5))
    on_mac.panel.set(rule_refusal=0)
    on_mac.daemon.wait_up("v")


def test_a_forward_that_vmnet_never_answers_is_named_and_holds_up_nothing(on_mac):
    on_mac.start(rules_never=True).create(ipv4={"gateway": "192.168.105.1"}, forwards=FORWARDS)
    on_mac.daemon.wait_up("v")
    with on_mac.vm() as vm:
        assert echoes(vm, 0, 5) == list(range(5))
    on_mac.wait_for_state({"degraded"}, "forward tcp port 99", 10)
    assert "uplink is degraded: forward tcp port 99" in on_mac.daemon.log()
