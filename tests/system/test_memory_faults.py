"""M06 (P21): the k-th allocation of a process fails, for every k: an error reply or a counted drop; no crash, no leak, no half of an answer."""
import json
import os
import signal
import socket
import time

import pytest

import faulty
from conftest import empty_config
from faulty import Faults, outcome, plan, shape, unplan
from switchd import BIN, IS_DEEP, IS_SANITIZED, fds_of, processes, wait_for
from vm import BROADCAST, DatagramVm, Lease, StreamVm, frame, mac

pytestmark = pytest.mark.skipif(not (BIN / "vmswitchd_faulty").exists(), reason="needs the daemon whose calls fail when a test says so")

# Every one, where a process need not be started for each; every so many else, and under the sanitizers.
STRIDE = 1 if IS_DEEP else 7 if IS_SANITIZED else 1
START_STRIDE = 1 if IS_DEEP else 23 if IS_SANITIZED else 3
K_MAX = 20000


@pytest.fixture
def broken(make_daemon):
    """A running daemon that can be told to fail."""
    faulty.FOLDER.mkdir(exist_ok=True)
    faulty.FOLDER.chmod(0o1777)
    faulty.clear()
    made = make_daemon(binary=BIN / "vmswitchd_faulty")
    made.start(*empty_config(made))
    yield made
    faulty.clear()


def sweep(faults, act, check, takes_some=True):
    """act() with the k-th allocation failing, for every k that it comes to; check(its result, k) each time."""
    for k in range(0, K_MAX, STRIDE):
        faults.arm("memory", k)
        result = act()
        hits = faults.disarm("memory")
        check(result, k)
        if not hits:
            assert k > 0 or not takes_some, "nothing failed: the act takes no memory"
            return
    raise AssertionError("it never came to an end")


def refused(answer):
    """Said so, or hung up: both are an answer to somebody whose request met a shortage of memory."""
    return answer.status == 0 or (answer.status == 503 and (not answer.text or answer.json["status"] == 503))


# ---- control ----

def control_of(daemon):
    pid = daemon.children()["control"]
    return pid, Faults(pid)


def assert_as_before(daemon, pids):
    children = daemon.children()
    assert {role: children.get(role) for role in pids} == pids, daemon.log()[-3000:]


READS = ["/v1", "/v1/health", "/v1/networks", "/v1/networks/lab", "/v1/networks/lab/ports", "/v1/networks/lab/ports/p", "/v1/networks/lab/fdb",
         "/v1/interfaces"]


def test_M06_control_whole_answers_or_none(broken):
    """A list that lacks what had no room would be a lie: each answer is whole, or a refusal."""
    broken.create("lab")
    broken.ask("PUT", "/v1/networks/lab/ports/p", {"static_addresses": [mac(9)]})
    pids = broken.children()
    _, faults = control_of(broken)
    with StreamVm(broken.path("lab.stream"), mac(1)) as vm:
        vm.hello()
        wait_for(lambda: mac(1) in broken.fdb("lab"))
        for path in READS:
            whole = broken.get(path)
            assert whole.status == 200

            def check(answer, k):
                assert refused(answer) or (answer.status == 200 and shape(answer.json) == shape(whole.json)), f"{path}, allocation {k}: {answer}"

            sweep(faults, lambda: outcome(broken, "GET", path), check)
    assert_as_before(broken, pids)


def test_M06_control_a_network_comes_and_goes(broken):
    """POST and DELETE: a network is there, and up, or it is not, and runs nowhere."""
    broken.create("other")
    pids = broken.children()
    pid, faults = control_of(broken)
    spec = {"name": "lab", "mode": "internal", "sockets": {"mode": "0666"}}

    def settle():
        """As before: gone, without a process or a socket."""
        wait_for(lambda: outcome(broken, "DELETE", "/v1/networks/lab").status in (204, 404), what="a DELETE that is heard")
        wait_for(lambda: "network lab" not in broken.children(), what="the end of its process")
        wait_for(lambda: not [name for name in os.listdir(broken.runtime) if name.startswith("lab")], what="its sockets being gone")

    def check_made(answer, k):
        assert refused(answer) or answer.status == 201, f"allocation {k}: {answer}"
        # Also where there was no memory for the words: it is made or it is not.
        wait_for(lambda: broken.health("lab").get("state") in (("up",) if answer.status == 201 else ("up", None)), what=f"all or nothing (allocation {k})")
        settle()

    sweep(faults, lambda: outcome(broken, "POST", "/v1/networks", spec), check_made)

    def check_gone(answer, k):
        assert refused(answer) or answer.status == 204, f"allocation {k}: {answer}"
        settle()
        broken.ask("POST", "/v1/networks", spec)

    broken.ask("POST", "/v1/networks", spec)
    fds = fds_of(pid), fds_of(broken.pid)
    sweep(faults, lambda: outcome(broken, "DELETE", "/v1/networks/lab"), check_gone)
    wait_for(lambda: all(now <= then for now, then in zip((fds_of(pid), fds_of(broken.pid)), fds)), what=f"no more descriptors than {fds}")
    assert_as_before(broken, pids)


CHANGES = [("PUT", "/v1/networks/lab", {"mode": "internal", "sockets": {"mode": "0666"}, "isolated": True}),
           ("PUT", "/v1/networks/lab/ports/q", {"isolated": True}),
           ("PATCH", "/v1/networks/lab/ports/q", {"link": "down"}),
           ("DELETE", "/v1/networks/lab/fdb", None),
           ("DELETE", "/v1/networks/lab/ports/q", None),
           ("POST", "/v1/reload", None)]


def test_M06_control_changes_while_a_network_runs(broken):
    """Each is done or refused; the network's process and its clients do not notice."""
    broken.create("lab")
    pids = broken.children()
    _, faults = control_of(broken)
    with StreamVm(broken.path("lab.stream"), mac(1)) as a, StreamVm(broken.path("lab.stream"), mac(2)) as b:
        for method, path, body in CHANGES:
            def act():
                return outcome(broken, method, path, body)

            def check(answer, k):
                assert refused(answer) or answer.status in (200, 201, 204), f"{method} {path}, allocation {k}: {answer}"
                broken.ask("PUT", "/v1/networks/lab", {"mode": "internal", "sockets": {"mode": "0666"}})
                if path.endswith("ports/q") and method == "PUT":
                    broken.request("DELETE", path)
                    wait_for(lambda: "q" not in broken.ports("lab") and not broken.path("lab.q.stream").exists(), what="the port being gone")
                elif path.endswith("ports/q"):
                    broken.ask("PUT", path, {})
                a.hello()
                b.expect(frame(BROADCAST, a.address, b"hello"))

            if path.endswith("ports/q") and method != "PUT":
                broken.ask("PUT", path, {})
            sweep(faults, act, check)
    assert_as_before(broken, pids)


def test_M06_control_a_change_that_needs_a_restart(broken):
    """The network is as it was or as was wanted, and up; its state file says the same."""
    broken.create("lab", mtu=2000)
    control = {"control": broken.children()["control"]}
    _, faults = control_of(broken)
    spec = {"mode": "internal", "sockets": {"mode": "0666"}}

    def check(answer, k):
        assert refused(answer) or answer.status == 200, f"allocation {k}: {answer}"
        broken.wait_up("lab", 30)
        is_now = broken.network("lab")["mtu"]
        assert is_now in (2000, 3000) and (answer.status != 200 or is_now == 3000), f"allocation {k}: {answer}, {is_now}"
        assert json.loads((broken.state / "networks" / "lab.json").read_text())["network"]["mtu"] == is_now
        broken.ask("PUT", "/v1/networks/lab", {**spec, "mtu": 2000})
        broken.wait_up("lab", 30)

    sweep(faults, lambda: outcome(broken, "PUT", "/v1/networks/lab", {**spec, "mtu": 3000}), check)
    assert_as_before(broken, control)


class NoLease:
    """Of a connection that was closed before the line could be sent."""
    answer, status, waited = {}, None, False

    def close(self):
        pass


def try_attach(daemon, kind="stream"):
    """(VM, lease) of a passed descriptor, whatever was answered."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM if kind == "stream" else socket.SOCK_DGRAM)
    with theirs:
        try:
            begun = time.monotonic()
            lease = Lease(daemon, {"network": "lab", "kind": kind}, [theirs.fileno()])
            lease.waited = lease.answer == {} and time.monotonic() - begun >= 5
        except ConnectionError:
            lease = NoLease()
    return (StreamVm if kind == "stream" else DatagramVm)(ours, mac(7)), lease


def detach(daemon, vm, lease):
    vm.close()
    lease.close()
    wait_for(lambda: not [name for name in daemon.ports("lab") if name.startswith("fd-")], what="the port being gone")


def test_M06_control_attaches_or_says_why_not(broken):
    broken.create("lab")
    pids = broken.children()
    pid, faults = control_of(broken)
    vm, lease = try_attach(broken)
    detach(broken, vm, lease)
    fds = fds_of(pid)

    def check(result, k):
        vm, lease = result
        assert lease.answer == {} or lease.status == 503 or "port" in lease.answer, f"allocation {k}: {lease.answer}"
        assert not lease.waited, f"allocation {k}: neither an answer nor an end"
        detach(broken, vm, lease)

    sweep(faults, lambda: try_attach(broken), check)
    wait_for(lambda: fds_of(pid) <= fds, what="no descriptor left behind")
    assert_as_before(broken, pids)


# ---- a network ----

def test_M06_network_attach_forward_detach(broken, folder):
    """Clients of every kind come, speak and go; two others talk throughout, and lose nothing."""
    broken.create("lab")
    broken.ask("PUT", "/v1/networks/lab/ports/p", {})
    pids = broken.children()
    pid = pids["network lab"]
    faults = Faults(pid)

    def passed(kind):
        return lambda: try_attach(broken, kind)

    def stream():
        return StreamVm(broken.path("lab.stream"), mac(7)), None

    def named():
        return StreamVm(broken.path("lab.p.stream"), mac(7)), None

    def datagram():
        return DatagramVm(broken.path("lab.p.dgram"), mac(7), folder), None

    def shared():
        return DatagramVm(broken.path("lab.dgram"), mac(7), folder, unconnected=True), None

    with StreamVm(broken.path("lab.stream"), mac(1)) as a, StreamVm(broken.path("lab.stream"), mac(2)) as b:
        a.hello()
        b.expect(frame(BROADCAST, a.address, b"hello"))
        for come in (passed("stream"), passed("datagram"), stream, named, datagram, shared):
            def act():
                vm, lease = come()
                for _ in range(2):
                    try:
                        vm.hello()
                    except OSError:
                        break
                    # What it does with the frame is done when the answer to a later question is there.
                    outcome(broken, "GET", "/v1/networks/lab/ports")
                try:
                    vm.close()
                finally:
                    if lease:
                        lease.close()
                return lease.answer if lease else {}

            def check(answer, k):
                assert answer == {} or answer.get("status") == 503 or "port" in answer, f"allocation {k}: {answer}"
                a.send(frame(b.address, a.address, b"still"))
                b.expect(frame(b.address, a.address, b"still"))
                a.receive_all(0)
                wait_for(lambda: set(broken.ports("lab")) <= {"p", "stream-1", "stream-2"} and not broken.port("lab", "p")["state"] == "up",
                         what=f"its port being gone or down (allocation {k})")
                left, right = broken.sums("lab")
                assert left == right

            act()
            check({}, -1)
            b.hello()
            fds = fds_of(pid)
            sweep(faults, act, check, takes_some=come is not datagram)  # whose memory is its port's
            wait_for(lambda: fds_of(pid) <= fds, what=f"no more descriptors than {fds}")
    assert_as_before(broken, pids)


# ---- the monitor ----

def test_M06_monitor(broken):
    """Processes, sockets, a reload: refused or done, and the monitor lives. Control's death is its to mend as well."""
    broken.create("other")
    others = {"network other": broken.children()["network other"]}
    faults = Faults(broken.pid)
    spec = {"mode": "internal", "sockets": {"mode": "0666"}}

    def settle():
        wait_for(lambda: outcome(broken, "DELETE", "/v1/networks/lab").status in (204, 404), what="a DELETE that is heard")
        wait_for(lambda: "network lab" not in broken.children(), what="the end of its process")
        wait_for(lambda: not [name for name in os.listdir(broken.runtime) if name.startswith("lab")], what="its sockets being gone")

    def check_made(answer, k):
        assert refused(answer) or answer.status in (200, 201), f"allocation {k}: {answer}"
        settle()

    def check_changed(answer, k):
        assert refused(answer) or answer.status in (200, 201), f"allocation {k}: {answer}"
        broken.request("DELETE", "/v1/networks/lab/ports/p")
        broken.wait_up("lab")

    sweep(faults, lambda: outcome(broken, "PUT", "/v1/networks/lab", spec), check_made)
    broken.ask("PUT", "/v1/networks/lab", spec)
    sweep(faults, lambda: outcome(broken, "PUT", "/v1/networks/lab/ports/p", {}), check_changed)
    sweep(faults, lambda: outcome(broken, "POST", "/v1/reload"), check_changed, takes_some=False)

    def kill_control():
        control = broken.children()["control"]
        os.kill(control, signal.SIGKILL)
        wait_for(lambda: broken.children().get("control", control) != control, 40, "another control")
        wait_for(broken.is_ready_again, 30, "the API being back")

    def check_adopted(_, k):
        assert_as_before(broken, others)
        broken.wait_up("lab")

    for k in (0, 1, 2):  # each death lets the monitor wait longer
        faults.arm("memory", k)
        check_adopted(kill_control(), k)
        faults.disarm("memory")


# ---- starts ----

def failing_starts(broken, role):
    """Every process of that role fails its k-th allocation, for every k."""
    for k in range(0, K_MAX, START_STRIDE):
        plan(role, "memory", k)
        yield k
        unplan(role)
        if not sum(Faults(pid).forget() for pid in faulty.pids()):
            assert k > 0
            return
    raise AssertionError("it never came to an end")


def test_M06_start_of_a_network(broken):
    """A network whose process cannot start is refused, or made by the next process."""
    others = {role: broken.children()[role] for role in ("control",)}
    spec = {"mode": "internal", "sockets": {"mode": "0666"}}
    for k in failing_starts(broken, "network"):
        answer = outcome(broken, "PUT", "/v1/networks/lab", spec)
        assert refused(answer) or answer.status in (200, 201), f"allocation {k}: {answer}"
        unplan("network")
        wait_for(lambda: outcome(broken, "DELETE", "/v1/networks/lab").status in (204, 404), what="a DELETE that is heard")
        wait_for(lambda: "network lab" not in broken.children(), what="the end of its process")
    assert_as_before(broken, others)


@pytest.mark.parametrize("role", ["monitor", "control"])
def test_M06_start_of_the_daemon(make_daemon, role):
    """It starts, whole, or says why not, ends with 1, and leaves nothing behind; what is in the state folder is never touched."""
    faulty.FOLDER.mkdir(exist_ok=True)
    faulty.FOLDER.chmod(0o1777)
    made = make_daemon(binary=BIN / "vmswitchd_faulty")
    config = made.folder / "vmswitchd.conf"
    config.write_text('{"networks": [{"name": "filed", "mode": "internal", "isolated": true, "ports": [{"name": "p"}]}]}')
    made.start("--config", str(config))
    made.create("kept", mtu=2000)
    made.ask("PUT", "/v1/networks/kept/ports/q", {"static_addresses": [mac(5)]})
    assert made.stop() == 0
    kept = {path.name: path.read_text() for path in (made.state / "networks").iterdir()}
    crashes = 0
    for k in range(0, K_MAX, START_STRIDE):
        faulty.clear()
        plan(role, "memory", k)
        made.log_path.unlink()
        made.start("--config", str(config), wait=False)
        # libuv ends a process that cannot make its first loop: the monitor starts another.
        wait_for(lambda: made.process.poll() is not None or any(word in made.log() for word in ("ready: API", "ended by signal 6")), what="a start or an end")
        unplan(role)
        wait_for(lambda: made.process.poll() is not None or "ready: API" in made.log(), what="a start or an end")
        hits = sum(Faults(pid).disarm("memory") for pid in faulty.pids())
        if made.process.poll() is None:
            for name in ("filed", "kept"):
                made.wait_up(name, 30)
            assert made.network("filed")["isolated"] and "p" in made.ports("filed"), f"allocation {k}"
            assert made.network("kept")["mtu"] == 2000 and mac(5) in made.fdb("kept"), f"allocation {k}"
            assert made.stop() == 0
        elif made.process.returncode in (-signal.SIGSEGV, -signal.SIGABRT, 127) and role == "monitor" and made.log().count("\n") < 2:
            crashes += 1  # in getpwnam() and the dynamic linker: glibc 2.36 cannot do without the memory for nsswitch.conf and thread-local data
        else:
            assert made.process.returncode == 1 and "error" in made.log(), f"allocation {k}: {made.process.returncode}\n{made.log()}"
        wait_for(lambda: not processes(), 3, "the end of every process of ours")
        assert made.leftovers() == [], f"allocation {k}"
        assert {path.name: path.read_text() for path in (made.state / "networks").iterdir()} == kept, f"allocation {k}"
        if not hits:
            break
    assert k > 0 and crashes < 20
    faulty.clear()


def test_M06_start_of_a_control_that_adopts(make_daemon):
    """One that cannot is followed by one that can; the network that runs is not touched. (A few: each lets the monitor wait longer.)"""
    faulty.FOLDER.mkdir(exist_ok=True)
    faulty.FOLDER.chmod(0o1777)
    faulty.clear()
    made = make_daemon(binary=BIN / "vmswitchd_faulty")
    made.start(*empty_config(made))
    made.create("lab", mtu=2000)
    others = {"network lab": made.children()["network lab"]}
    for k in (40, 75, 110):
        plan("control", "memory", k)
        ends, starts = made.log().count("monitor: control, pid"), made.log().count("ready: API")
        os.kill(made.children()["control"], signal.SIGKILL)
        wait_for(lambda: made.log().count("monitor: control, pid") > ends + 1 or made.log().count("ready: API") > starts, 30, "another control")
        unplan("control")
        wait_for(made.is_ready_again, 30, "the API being back")
        made.wait_up("lab", 30)
        assert made.network("lab")["mtu"] == 2000 and made.network("lab")["source"] == "api", f"allocation {k}"
        assert_as_before(made, others)
        assert [path.name for path in (made.state / "networks").iterdir()] == ["lab.json"], f"allocation {k}"
    faulty.clear()
