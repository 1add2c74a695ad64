"""D14 (P21): system calls that fail as they do where the system is short, in each role: a refusal or a wait, no exit, no spin, and all is well afterwards."""
import errno
import os
import signal
import struct
import time

import pytest

import faulty
from conftest import empty_config
from faulty import Faults, outcome
from switchd import BIN, IS_SANITIZED, wait_for
from vm import BROADCAST, DatagramVm, StreamVm, frame, mac

pytestmark = pytest.mark.skipif(not (BIN / "vmswitchd_faulty").exists(), reason="needs the daemon whose calls fail when a test says so")

EVER = 1 << 40
SHORTAGES = ["ENFILE", "EMFILE", "ENOBUFS", "ENOMEM"]
WAKES_A_SECOND = 60  # a listener that waits looks every 100 ms; each API call of the test is a few


@pytest.fixture
def broken(make_daemon):
    faulty.FOLDER.mkdir(exist_ok=True)
    faulty.FOLDER.chmod(0o1777)
    faulty.clear()
    made = make_daemon(binary=BIN / "vmswitchd_faulty")
    made.start(*empty_config(made))
    made.create("lab")
    yield made
    faulty.clear()


@pytest.fixture
def pair(broken):
    """Two VMs of the network that have to hear each other whatever happens."""
    with StreamVm(broken.path("lab.stream"), mac(1)) as a, StreamVm(broken.path("lab.stream"), mac(2)) as b:
        a.hello()
        b.expect(frame(BROADCAST, a.address, b"hello"))
        b.hello()
        a.expect(frame(BROADCAST, b.address, b"hello"))
        yield a, b


def talk(pair):
    a, b = pair
    a.send(frame(b.address, a.address, b"there"))
    b.expect(frame(b.address, a.address, b"there"))
    b.send(frame(a.address, b.address, b"back"))
    a.expect(frame(a.address, b.address, b"back"))


def processes_of(daemon):
    return {"monitor": daemon.pid, **daemon.children()}


def refused(answer):
    return answer.status == 0 or answer.status == 503


# ---- who comes in ----

@pytest.mark.parametrize("error", [*SHORTAGES, "EPROTOTYPE", "ECONNABORTED", "EINTR"])
def test_D14_accept_in_a_network(broken, pair, error):
    """A client waits in the backlog, others talk, nothing spins; it is served when the shortage is over."""
    before = processes_of(broken)
    faults = Faults(before["network lab"])
    # These two say nothing about the next call: they come a few times, not for ever.
    lasts = error not in ("EINTR", "ECONNABORTED")
    faults.arm("accept", n=EVER if lasts else 40, error=getattr(errno, error))
    with StreamVm(broken.path("lab.stream"), mac(3)) as late:
        late.hello()
        if lasts:
            talk(pair)
            wakes = faults.calls("wait")
            time.sleep(1)
            assert faults.calls("wait") - wakes <= WAKES_A_SECOND
            assert 0 < faults.hits("accept") <= 50
            assert len(broken.ports("lab")) == 2
        faults.disarm("accept") if lasts else None
        pair[0].expect(frame(BROADCAST, late.address, b"hello"))
        pair[1].expect(frame(BROADCAST, late.address, b"hello"))
    assert faults.hits("accept") > 0
    talk(pair)
    assert processes_of(broken) == before


@pytest.mark.parametrize("error", [*SHORTAGES, "EPROTOTYPE"])
def test_D14_accept_in_control(broken, pair, error):
    """The API and attach.sock: the same."""
    before = processes_of(broken)
    faults = Faults(before["control"])
    faults.arm("accept", n=EVER, error=getattr(errno, error))
    with StreamVm(broken.path("api.sock")) as client:
        client.send_raw(b"GET /v1 HTTP/1.1\r\nHost: x\r\n\r\n")
        wakes = faults.calls("wait")
        time.sleep(1)
        assert faults.calls("wait") - wakes <= WAKES_A_SECOND and 0 < faults.hits("accept") <= 50
        talk(pair)
        faults.disarm("accept")
        client.socket.settimeout(5)
        assert client.socket.recv(12) == b"HTTP/1.1 200"
    assert processes_of(broken) == before


# ---- frames ----

LOSSLESS = {"EINTR": None, "EAGAIN": None, "ENOBUFS": None, "ENOMEM": None}


@pytest.mark.parametrize("error", LOSSLESS)
@pytest.mark.parametrize("call", ["send", "sendmsg", "sendmmsg"])
def test_D14_a_frame_that_does_not_go_out_at_once_goes_later(broken, pair, folder, call, error):
    """Queued, and tried again."""
    broken.ask("PUT", "/v1/networks/lab/ports/p", {})
    before = processes_of(broken)
    faults = Faults(before["network lab"])
    a, b = pair
    with DatagramVm(broken.path("lab.p.dgram"), mac(3), folder) as datagram:
        datagram.hello()
        a.expect(frame(BROADCAST, datagram.address, b"hello"))
        b.expect(frame(BROADCAST, datagram.address, b"hello"))
        faults.arm(call, n=5, error=getattr(errno, error))
        numbers = [frame(BROADCAST, a.address, b"number %d" % i) for i in range(20)]
        # What b gets of them is not in one piece, where another's frames lie in between.
        between = frame(datagram.address, a.address, b"between") if call == "sendmsg" else b""
        a.send_raw(b"".join(struct.pack("!I", len(one)) + one for number in numbers for one in (number, between) if one))
        for one in (b, datagram):
            for number in numbers:
                assert set(one.expect(number)) <= {between}
        assert faults.disarm(call) > 0
        assert not any(broken.network("lab")["counters"]["drops"].values())
    talk(pair)
    assert processes_of(broken) == before


@pytest.mark.parametrize("error", ["ENOBUFS", "ENOMEM"])
def test_D14_a_port_without_buffers_for_long_costs_itself_and_no_spin(broken, pair, folder, error):
    """H03's like, for a VM: the queue is bounded, what is over it is counted, and the retries are few."""
    broken.ask("PUT", "/v1/networks/lab/ports/p", {})
    before = processes_of(broken)
    faults = Faults(before["network lab"])
    a, b = pair
    with DatagramVm(broken.path("lab.p.dgram"), mac(3), folder) as datagram:
        datagram.hello()
        a.expect(frame(BROADCAST, datagram.address, b"hello"))
        b.expect(frame(BROADCAST, datagram.address, b"hello"))
        faults.arm("sendmmsg", n=EVER, error=getattr(errno, error))
        for i in range(2000):
            a.send(frame(datagram.address, a.address, b"%d" % i, 1500))
            if i % 100 == 0:
                talk(pair)
        wait_for(lambda: broken.port("lab", "p")["drops"]["queue_full"], what="drops at the port")
        wakes, calls = faults.calls("wait"), faults.calls("sendmmsg")
        time.sleep(1)
        # Nothing comes for it any more: what it does now are retries, each later than the last (1 to 10 ms).
        assert faults.calls("sendmmsg") - calls <= 200 and faults.calls("wait") - wakes <= 260
        faults.disarm("sendmmsg")
        assert datagram.receive() is not None
        port = broken.port("lab", "p")
        assert port["queued"] <= 512
    talk(pair)
    assert processes_of(broken) == before


@pytest.mark.parametrize("error", ["EINTR", "ENOMEM", "ENOBUFS", "EPROTOTYPE", "ECONNRESET"])
@pytest.mark.parametrize("call", ["recv", "recvmmsg"])
def test_D14_reading_fails(broken, folder, call, error):
    """At worst that client is closed; a call that was interrupted costs nothing."""
    broken.ask("PUT", "/v1/networks/lab/ports/p", {})
    before = processes_of(broken)
    faults = Faults(before["network lab"])
    with StreamVm(broken.path("lab.stream"), mac(1)) as other:
        other.hello()
        vm = StreamVm(broken.path("lab.stream"), mac(2)) if call == "recv" else DatagramVm(broken.path("lab.p.dgram"), mac(2), folder)
        with vm:
            vm.hello()
            other.expect(frame(BROADCAST, vm.address, b"hello"))
            faults.arm(call, n=1, error=getattr(errno, error))
            vm.send(frame(BROADCAST, vm.address, b"one"))
            wait_for(lambda: faults.hits(call), what="a call that fails")
            if error == "EINTR":
                other.expect(frame(BROADCAST, vm.address, b"one"))
        faults.disarm(call)
        with StreamVm(broken.path("lab.stream"), mac(3)) as next_one:
            next_one.hello()
            other.expect(frame(BROADCAST, next_one.address, b"hello"))
    assert processes_of(broken) == before


# ---- what the processes say to each other, and the files and sockets they make ----

REQUESTS = [("PUT", "/v1/networks/new", {"mode": "internal", "sockets": {"mode": "0666"}}), ("GET", "/v1/networks/new", None),
            ("PUT", "/v1/networks/new/ports/p", {}), ("GET", "/v1/networks/lab/ports", None), ("POST", "/v1/reload", None),
            ("DELETE", "/v1/networks/new/ports/p", None), ("DELETE", "/v1/networks/new", None)]
CALLS = [(call, error) for call in ("recvmsg", "sendmsg") for error in ("EINTR", "ENOBUFS", "ENOMEM", "ETOOMANYREFS") if (call, error) != ("recvmsg", "ETOOMANYREFS")] + \
        [(call, error) for call in ("socket", "socketpair", "openat", "connect") for error in ("ENFILE", "EMFILE", "ENOBUFS", "ENOMEM")]


@pytest.mark.parametrize("role", ["monitor", "control", "network lab"])
def test_D14_each_call_of_each_request(broken, pair, role):
    """The first, second, third... call of a kind fails, once: the request is done or refused, every process lives, and it can be asked again."""
    before = processes_of(broken)
    faults = Faults(before[role])
    hits = set()
    for call, error in CALLS:
        for k in (0, 1, 2, 4, 8) if not IS_SANITIZED else (0, 2):
            faults.arm(call, k, error=getattr(errno, error))
            for method, path, body in REQUESTS:
                answer = outcome(broken, method, path, body)
                what = f"{role}: {call} {k} {error}: {method} {path}: {answer}"
                assert refused(answer) or answer.status in (200, 201, 204, 404) or (answer.status == 422 and path == "/v1/reload"), what
                if error == "EINTR":  # nobody notices
                    assert answer.status in (200, 201, 204), what
            if faults.disarm(call):
                hits.add((call, error))
            wait_for(lambda: outcome(broken, "DELETE", "/v1/networks/new").status in (204, 404), what="a DELETE that is heard")
            wait_for(lambda: processes_of(broken) == before, what=f"{role}: {call} {k} {error}: the same processes {before}")
        talk(pair)
    print(role, sorted(hits))
    assert {call for call, _ in hits} >= {"monitor": {"recvmsg", "sendmsg", "socket", "socketpair", "openat"}, "control": {"recvmsg", "sendmsg", "openat"},
                                         "network lab": {"recvmsg", "sendmsg"}}[role]


@pytest.mark.parametrize("role", ["monitor", "control"])
@pytest.mark.parametrize("call", ["openat", "socket", "socketpair"])
@pytest.mark.parametrize("error", ["ENFILE", "ENOMEM"])
def test_D14_as_long_as_it_lasts(broken, pair, role, call, error):
    """Every call fails for a second: requests are refused, nothing spins, nobody ends; then all of them work."""
    before = processes_of(broken)
    faults = Faults(before[role])
    faults.arm(call, n=EVER, error=getattr(errno, error))
    for method, path, body in REQUESTS:
        answer = outcome(broken, method, path, body)
        assert refused(answer) or answer.status in (200, 201, 204, 404) or (answer.status == 422 and path == "/v1/reload"), answer
    wakes = faults.calls("wait")
    time.sleep(0.5)
    assert faults.calls("wait") - wakes <= WAKES_A_SECOND
    talk(pair)
    faults.disarm(call)
    wait_for(lambda: outcome(broken, "DELETE", "/v1/networks/new").status in (204, 404), what="a DELETE that is heard")
    for method, path, body in REQUESTS:
        broken.ask(method, path, body)
    wait_for(lambda: processes_of(broken) == before, what="the same processes")


@pytest.mark.parametrize("error", ["ENFILE", "ENOBUFS", "ENOMEM", "ETOOMANYREFS", "EINTR"])
def test_D14_in_an_uplink(broken, error):
    """The process of libslirp: at worst it is another one, and the ports of its network stay."""
    broken.create("nat", mode="shared", uplink="user")
    before = processes_of(broken)
    with StreamVm(broken.path("nat.stream"), mac(1)) as a, StreamVm(broken.path("nat.stream"), mac(2)) as b:
        a.hello()
        b.expect(frame(BROADCAST, a.address, b"hello"))
        for call in ("recvmsg", "sendmsg", "socket", "recv", "send"):
            faults = Faults(broken.children()["uplink nat"])
            faults.arm(call, n=1, error=getattr(errno, error))
            for _ in range(3):
                broken.get("/v1/networks/nat")
                a.hello()
                b.expect(frame(BROADCAST, a.address, b"hello"))
            faults.disarm(call)
            wait_for(lambda: broken.network("nat")["uplink"]["state"] == "up", what=f"the uplink ({call})")
        b.hello()
        a.expect(frame(BROADCAST, b.address, b"hello"))
    after = processes_of(broken)
    assert {role: pid for role, pid in after.items() if role != "uplink nat"} == {role: pid for role, pid in before.items() if role != "uplink nat"}


def test_D14_control_starts_where_there_are_no_files(broken):
    """A control that follows another while openat() fails: it ends, and the next one finds every network again."""
    before = processes_of(broken)
    faulty.plan("control", "openat", 0, EVER, errno.ENFILE)
    ends = broken.log().count("monitor: control, pid")
    os.kill(before["control"], signal.SIGKILL)
    wait_for(lambda: broken.log().count("monitor: control, pid") > ends + 1, what="a control that cannot start")
    faulty.unplan("control")
    wait_for(broken.is_ready_again, 30, "the API being back")
    assert broken.networks() == ["lab"]
    broken.wait_up("lab")
    assert processes_of(broken)["network lab"] == before["network lab"]
