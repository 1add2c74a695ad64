"""Starting, ending, dying and coming back (R rows, T03, T04, T05, T18, D12, M01, M04)."""
import json
import os
import re
import resource
import signal
import socket
import struct
import subprocess
import time
from pathlib import Path

import pytest

from conftest import empty_config
from switchd import BIN, BUILD, IS_DEEP, IS_SANITIZED, fds_of, processes, status_of, wait_for
from vm import BROADCAST, DatagramVm, Lease, StreamVm, Traffic, assert_clean, attach, frame, mac

SLOW = 5 if IS_SANITIZED else 1


def kill_and_wait(pid):
    """kill -9; returns when the process is gone."""
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: pid not in processes(), what=f"the end of {pid}")


def churn(path, times, how="killed", *more):
    done = subprocess.run([str(BIN / "churn"), "--how", how, "--times", str(times), *more, str(path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def rss_kib(pid):
    return int(status_of(pid)["VmRSS"].split()[0])


# ---- ending ----

def test_SIGTERM_while_it_starts_is_an_orderly_end(make_daemon):
    """At any moment after its first line: exit code 0, and nothing left behind (the fixture looks)."""
    for delay_ms in (0, 1, 2, 4, 8, 16, 32, 64):
        daemon = make_daemon()
        daemon.start(*empty_config(daemon), wait=False)
        wait_for(daemon.log, 10, "its first line")
        time.sleep(delay_ms / 1000)
        assert daemon.stop() == 0


def test_R04_sigterm_under_load(daemon, net, folder):
    path = daemon.path("lab.stream")
    with Traffic(folder, [f"v{i},stream={path}" for i in range(8)], [f"v{i},v{i ^ 1},rate=5000" for i in range(8)]):
        time.sleep(0.5)
        assert daemon.stop() == 0
    assert daemon.leftovers() == []


def test_R04_a_second_sigterm_is_harmless(daemon, net):
    os.kill(daemon.pid, signal.SIGTERM)
    assert daemon.stop() == 0


def test_sigint_ends_it_as_well(daemon, net):
    os.kill(daemon.pid, signal.SIGINT)
    assert daemon.process.wait(10) == 0


def test_T03_sigterm_while_peers_are_stalled(daemon, net, folder):
    path = daemon.path("lab.stream")
    daemon.ask("PUT", "/v1/networks/lab/ports/p1", {})
    with Traffic(folder, [f"a,stream={path}", f"s1,stream={path},stall", f"s2,datagram={daemon.path('lab.p1.dgram')},stall"],
                 ["a,*,rate=2000", "a,s1,rate=500", "a,s2,rate=500"]):
        wait_for(lambda: daemon.network("lab")["counters"]["drops"]["queue_full"], 30, "full queues")
        assert daemon.stop() == 0


def test_all_processes_end_within_a_second_of_the_monitors_death(daemon, net):
    daemon.create("nat", mode="shared", uplink="user")
    daemon.kill()
    wait_for(lambda: not processes(), 1 * SLOW, "the end of every process")
    for path in daemon.runtime.iterdir():  # nobody was left to remove them; R02 has the next daemon do it
        path.unlink()


# ---- coming back ----

def test_T04_stream_clients_reconnect_after_kill_9(make_daemon):
    made = make_daemon()
    made.start()
    made.wait_up("shared")
    before = made.network("shared")
    made.ask("PUT", "/v1/networks/lab", {"mode": "internal", "mtu": 2000, "sockets": {"mode": "0660"}})
    made.ask("PUT", "/v1/networks/lab/ports/db", {"static_addresses": [mac(5)]})
    made.wait_up("lab")
    spec = {key: made.network("lab")[key] for key in ("mode", "mtu", "isolated", "sockets", "forwards", "source")}
    vm = StreamVm(made.path("lab.stream"), mac(1))
    vm.hello()
    made.kill()
    assert vm.wait_closed(3)
    begun = time.monotonic()
    made.start()
    made.wait_up("lab")
    with StreamVm(made.path("lab.stream"), mac(1)) as a, StreamVm(made.path("lab.db.stream"), mac(5)) as db:
        a.hello()
        db.expect(frame(BROADCAST, a.address, b"hello"))
        db.send(frame(a.address, db.address, b"back"))
        a.expect(frame(a.address, db.address, b"back"))
    assert time.monotonic() - begun < 2 * SLOW
    assert {key: made.network("lab")[key] for key in spec} == spec
    assert made.network("shared")["ipv4"] == before["ipv4"]
    vm.close()


def test_T05_a_datagram_client_is_taken_over_from_its_new_path(daemon, net, folder):
    daemon.ask("PUT", "/v1/networks/lab/ports/p1", {})
    with StreamVm(daemon.path("lab.stream"), mac(1)) as a:
        old = DatagramVm(daemon.path("lab.p1.dgram"), mac(2), folder, greets=True)
        old.hello()
        a.expect(frame(BROADCAST, old.address, b"hello"))
        # The old one goes without a word, as a killed VM does; its path stays behind.
        old.socket.close()
        with DatagramVm(daemon.path("lab.p1.dgram"), mac(2), folder, greets=True) as new:
            new.hello()
            a.expect(frame(BROADCAST, new.address, b"hello"))
            a.send(frame(new.address, a.address, b"for the new one"))
            new.expect(frame(new.address, a.address, b"for the new one"))
            assert daemon.fdb("lab")[mac(2)]["port"] == "p1"
        old.close()


def test_T05_datagram_client_after_a_daemon_restart(make_daemon, folder):
    made = make_daemon()
    made.start(*empty_config(made))
    made.create("lab")
    made.ask("PUT", "/v1/networks/lab/ports/p1", {})
    # As QEMU sends: by path, each time.
    with DatagramVm(made.path("lab.p1.dgram"), mac(2), folder, unconnected=True) as vm:
        vm.hello()
        wait_for(lambda: mac(2) in made.fdb("lab"))
        made.kill()
        made.start(*empty_config(made))
        made.wait_up("lab")
        with StreamVm(made.path("lab.stream"), mac(1)) as a:
            vm.hello()
            a.expect(frame(BROADCAST, vm.address, b"hello"))
            a.send(frame(vm.address, a.address, b"hi"))
            vm.expect(frame(vm.address, a.address, b"hi"))


def test_T18_start_and_stop_again_and_again(make_daemon):
    made = make_daemon()
    for _ in range(10 if IS_SANITIZED else 50):
        made.start(*empty_config(made))
        assert made.stop() == 0
        assert made.leftovers() == []


def test_T18_networks_come_and_go_without_a_trace(daemon):
    daemon.create("warm")
    daemon.ask("DELETE", "/v1/networks/warm")
    wait_for(lambda: set(daemon.children()) == {"control"}, what="the process being gone")
    control = daemon.children()["control"]
    counts = lambda: (fds_of(control), fds_of(daemon.pid), len(os.listdir(f"/proc/{control}/task")))
    before = counts()
    for i in range(10 if IS_SANITIZED else 50):
        daemon.create(f"n{i}")
        with StreamVm(daemon.path(f"n{i}.stream"), mac(i)) as vm:
            vm.hello()
        daemon.ask("DELETE", f"/v1/networks/n{i}")
    wait_for(lambda: set(daemon.children()) == {"control"}, what="the processes being gone")
    # Fewer is fine: the first count may have come before the last of "warm" was closed.
    wait_for(lambda: all(now <= then for now, then in zip(counts(), before)), what=f"no more descriptors and threads than {before}")
    assert set(daemon.leftovers()) == {"api.sock", "attach.sock"}


# ---- clients that die ----

@pytest.mark.parametrize("more", [(), ("--reads",)], ids=["writing", "writing and reading"])
def test_R10_R11_killed_in_the_middle_of_a_frame(daemon, net, bystanders, more):
    times = 300 if IS_SANITIZED else 5000
    with StreamVm(daemon.path("lab.stream"), mac(1)) as talker:
        talker.hello()
        churn(daemon.path("lab.stream"), times, "killed", *more)
        wait_for(lambda: len(daemon.ports("lab")) == 3, what="the dead clients' ports being gone")
        assert not [address for address in daemon.fdb("lab") if address.startswith("52:54:00:80")]
    assert daemon.network("lab")["counters"]["drops"]["cut_short"] > 0


def test_R11_killed_while_we_write_to_it(daemon, net, folder, bystanders):
    """Victims that are sent 5,000 frames a second die of SIGKILL; the sender and the pair go on."""
    path = daemon.path("lab.stream")
    for round_number in range(3 if IS_SANITIZED else 15):
        with Traffic(folder, [f"a,stream={path}", *(f"v{i},stream={path}" for i in range(4))],
                     ["a,*,rate=2000,size=1500", *(f"a,v{i},rate=1000" for i in range(4))], run=round_number + 200) as traffic:
            time.sleep(0.15)
            traffic.process.kill()
    wait_for(lambda: len(daemon.ports("lab")) == 2, what="the dead clients' ports being gone")


def test_R12_a_dead_datagram_client_leaves_the_next_one_nothing(daemon, net, folder):
    daemon.ask("PUT", "/v1/networks/lab/ports/p1", {})
    with StreamVm(daemon.path("lab.stream"), mac(1)) as a:
        local = folder / "same.sock"
        old = DatagramVm(daemon.path("lab.p1.dgram"), mac(2), local=local)
        old.hello()
        a.expect(frame(BROADCAST, old.address, b"hello"))
        for i in range(3000):  # the kernel's queue and ours fill: it reads nothing
            a.send(frame(old.address, a.address, b"for the old one", 1500))
        old.close()
        with DatagramVm(daemon.path("lab.p1.dgram"), mac(2), local=local) as new:
            new.hello()
            a.expect(frame(BROADCAST, new.address, b"hello"))
            a.send(frame(new.address, a.address, b"for the new one"))
            before = new.expect(frame(new.address, a.address, b"for the new one"))
            assert frame(new.address, a.address, b"for the old one", 1500) not in before


def test_R13_a_passed_descriptor_lives_as_long_as_its_last_copy(daemon, net):
    ours, theirs = socket.socketpair()
    copy = os.dup(ours.fileno())
    with theirs:
        lease = Lease(daemon, {"network": "lab", "persist": True}, [theirs.fileno()])
    port = lease.port
    lease.close()
    ours.close()
    time.sleep(0.3)
    assert port in daemon.ports("lab")
    assert daemon.request("DELETE", f"/v1/networks/lab/ports/{port}").status == 204
    wait_for(lambda: daemon.ports("lab") == {}, what="the port being gone")
    with socket.socket(fileno=copy) as last:
        last.settimeout(5)
        assert last.recv(10) == b""


# ---- processes that die ----

def test_control_dies_and_no_frame_is_lost(daemon, net, folder):
    daemon.ask("PUT", "/v1/networks/lab/ports/p1", {})
    vm, lease = attach(daemon, "lab", "stream")
    before = daemon.network("lab")
    path = daemon.path("lab.stream")
    rate = 1000 if IS_SANITIZED else 10000
    with Traffic(folder, [f"a,stream={path}", f"b,datagram={daemon.path('lab.p1.dgram')}", f"c,fd={vm.fileno()}"],
                 [f"a,b,rate={rate // 4}", f"b,a,rate={rate // 4}", f"a,c,rate={rate}", f"c,a,rate={rate}"], fds=[vm.fileno()]) as traffic:
        for _ in range(3):
            time.sleep(0.3)
            kill_and_wait(daemon.children()["control"])
            begun = time.monotonic()
            wait_for(daemon.is_ready, 5, "the API being back")
            assert time.monotonic() - begun < 1 * SLOW
            daemon.wait_up("lab")
            # Adopted, not started again.
            assert daemon.network("lab")["pid"] == before["pid"]
            assert lease.port in daemon.ports("lab")
        assert_clean(traffic.finish())
    daemon.create("another")
    lease.close()
    wait_for(lambda: set(daemon.ports("lab")) == {"p1"}, what="the port whose lease has ended being gone")
    vm.close()


def test_R21_a_network_dies_with_streams_in_mid_frame(daemon, net, folder):
    """Clients see the end of file, never garbage; the network is back, with its named ports, and no other noticed."""
    daemon.expects_failure = True
    daemon.create("other")
    daemon.ask("PUT", "/v1/networks/lab/ports/p1", {})
    other = daemon.path("other.stream")
    with Traffic(folder, [f"x,stream={other}", f"y,stream={other}"], ["x,y,rate=5000", "y,x,rate=5000"], run=7) as bystanders:
        for round_number in range(3):
            path = daemon.path("lab.stream")
            with Traffic(folder, [f"a,stream={path}", f"b,stream={path}"], ["a,b,rate=20000", "b,a,rate=20000"], run=round_number) as traffic:
                time.sleep(0.2)
                pid = daemon.network("lab")["pid"]
                kill_and_wait(pid)
                begun = time.monotonic()
                wait_for(lambda: daemon.network("lab")["pid"] not in (None, pid), 10, "the network being back")
                daemon.wait_up("lab")
                report = traffic.finish()
            assert report["corrupt"] == report["foreign"] == report["reordered"] == report["alien"] == 0, report
            assert report["closed"] == 2
            if round_number == 0:
                assert time.monotonic() - begun < 3 * SLOW
        with StreamVm(daemon.path("lab.p1.stream"), mac(1)) as a, StreamVm(daemon.path("lab.stream"), mac(2)) as b:
            a.hello()
            b.expect(frame(BROADCAST, a.address, b"hello"))
        assert_clean(bystanders.finish())


def test_R22_a_network_that_keeps_dying_is_held_back(daemon, net):
    daemon.expects_failure = True
    daemon.expects_sigsys = IS_SANITIZED  # the sanitizer's report of a signal may want more than it is allowed
    daemon.create("other")
    for _ in range(10):
        pid = wait_for(lambda: daemon.children().get("network lab"), 60, "the network's process")
        os.kill(pid, signal.SIGSEGV)
        wait_for(lambda: pid not in processes(), what="its end")
        if daemon.health("lab")["state"] == "failed":
            break
    entry = daemon.health("lab")
    assert entry["state"] in ("degraded", "failed", "starting"), entry
    assert entry["reason"], entry
    assert daemon.network("other")["state"] == "up"
    daemon.wait_up("lab", 60)


@pytest.mark.skipif(not IS_DEEP, reason="takes two minutes; VMSWITCH_TEST_DEEP=1 runs it")
def test_R22_the_back_off_ends_at_30_seconds(daemon, net):
    """A network that dies whenever it comes: each start is later than the last, until one in 30 s; it shows, and ends by itself."""
    daemon.expects_failure = True
    daemon.expects_sigsys = IS_SANITIZED
    daemon.create("other")
    said = lambda: [int(ms) for ms in re.findall(r"network lab: starting again in (\d+) ms", daemon.log())]
    while 30_000 not in said():
        n = len(said())
        os.kill(wait_for(lambda: daemon.children().get("network lab"), 60, "the network's process"), signal.SIGSEGV)
        wait_for(lambda: len(said()) > n, 10, "what control will do about it")
    assert said() == sorted(said()) and max(said()) == 30_000, said()
    assert daemon.health("lab")["reason"] and daemon.network("other")["state"] == "up"
    daemon.wait_up("lab", 60)


def test_R23_an_uplink_dies_and_ports_stay(daemon, folder):
    daemon.expects_failure = True
    daemon.create("nat", mode="shared", uplink="user")
    path = daemon.path("nat.stream")
    with Traffic(folder, [f"a,stream={path}", f"b,stream={path}"], ["a,b,rate=2000", "b,a,rate=2000"]) as traffic:
        pid, uplink = daemon.network("nat")["pid"], daemon.network("nat")["uplink"]["pid"]
        kill_and_wait(uplink)
        wait_for(lambda: daemon.network("nat")["uplink"]["state"] == "up" and daemon.network("nat")["uplink"]["pid"] not in (None, uplink),
                 10, "the uplink being back")
        assert daemon.network("nat")["pid"] == pid
        report = traffic.finish()
    assert_clean(report)
    with StreamVm(path, mac(7)) as vm:
        ask = struct.pack("!HHBBH", 1, 0x800, 6, 4, 1) + bytes.fromhex(mac(7).replace(":", "")) + bytes([192, 168, 105, 50]) + bytes(6) + bytes([192, 168, 105, 1])
        vm.send(frame(BROADCAST, vm.address, ask, 60, 0x806))
        assert wait_for(vm.receive, what="an ARP reply")[12:14] == b"\x08\x06"


def test_a_stopped_client_of_every_kind_does_not_hold_the_end_up(daemon, net, folder):
    path = daemon.path("lab.stream")
    with Traffic(folder, [f"a,stream={path}", f"b,stream={path}"], ["a,b,rate=2000", "b,a,rate=2000"]) as traffic:
        os.kill(traffic.process.pid, signal.SIGSTOP)
        time.sleep(0.2)
        assert daemon.stop() == 0
        os.kill(traffic.process.pid, signal.SIGCONT)


# ---- limits and leaks ----

def test_D12_few_descriptors_then_load(make_daemon, folder):
    """With room for a few dozen descriptors it refuses, burns nothing while it is full, and recovers."""
    made = make_daemon()
    made.start(*empty_config(made), preexec=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64)))
    made.create("lab")
    pid = made.network("lab")["pid"]
    clients = []
    for _ in range(100):
        client = socket.socket(socket.AF_UNIX)
        client.settimeout(2)
        try:
            client.connect(str(made.path("lab.stream")))
        except OSError:
            client.close()
            continue
        clients.append(client)
    time.sleep(0.5)

    def ticks():
        fields = open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()
        return int(fields[11]) + int(fields[12])

    before = ticks()
    time.sleep(2)
    assert (ticks() - before) / os.sysconf("SC_CLK_TCK") <= 0.1 * SLOW
    assert made.network("lab")["state"] == "up"
    for client in clients:
        client.close()
    wait_for(lambda: made.ports("lab") == {}, what="the ports being gone")
    with StreamVm(made.path("lab.stream"), mac(1)) as a, StreamVm(made.path("lab.stream"), mac(2)) as b:
        a.hello()
        b.expect(frame(BROADCAST, a.address, b"hello"))


def test_M01_coming_and_going_leaks_nothing(daemon, net):
    times = 100_000 if IS_DEEP else 500 if IS_SANITIZED else 10_000
    pid = daemon.network("lab")["pid"]
    control = daemon.children()["control"]
    daemon.ask("PUT", "/v1/networks/lab/ports/p1", {})

    def round_of(n):
        churn(daemon.path("lab.stream"), n * 7 // 10, "mixed")
        churn(daemon.path("lab.p1.dgram"), 10, "mixed")  # a death without a word is seen after 250 ms: few
        for i in range(n * 3 // 10):
            vm, lease = attach(daemon, "lab", "stream" if i % 2 else "datagram", mac(i))
            vm.hello()
            vm.close()
            lease.close()
        wait_for(lambda: set(daemon.ports("lab")) == {"p1"}, 30, "every port being gone")

    round_of(min(times // 10, 10_000))
    settled = lambda: (fds_of(pid), fds_of(control), fds_of(daemon.pid))
    time.sleep(0.5)
    before, memory = settled(), rss_kib(pid) + rss_kib(control)
    round_of(times)
    wait_for(lambda: all(now <= then for now, then in zip(settled(), before)), what=f"no more descriptors than {before}")
    assert rss_kib(pid) + rss_kib(control) - memory <= 1024 or IS_SANITIZED


@pytest.mark.skipif(IS_SANITIZED or not (BIN / "vmswitchd_counting").exists(), reason="needs the daemon with the counting malloc")
def test_M04_steady_forwarding_takes_no_memory(make_daemon, folder):
    mallocs = BUILD / "mallocs"
    mallocs.mkdir(exist_ok=True)
    mallocs.chmod(0o1777)
    made = make_daemon(binary=BIN / "vmswitchd_counting")
    made.start(*empty_config(made))
    made.create("lab")
    made.ask("PUT", "/v1/networks/lab/ports/p1", {})
    pid = made.network("lab")["pid"]
    path = made.path("lab.stream")
    vm, lease = attach(made, "lab", "datagram")
    with Traffic(folder, [f"a,stream={path}", f"b,stream={path}", f"c,datagram={made.path('lab.p1.dgram')}", f"d,fd={vm.fileno()},kind=datagram", f"s,stream={path},stall"],
                 ["a,b,rate=10000", "b,a,rate=10000", "a,c,rate=2000", "c,d,rate=2000", "a,*,rate=500"], fds=[vm.fileno()]) as traffic:
        time.sleep(1)
        count = lambda: struct.unpack("Q", (mallocs / str(pid)).read_bytes())[0]
        before = count()
        assert before > 0
        time.sleep(10)
        # Nobody asks anything meanwhile: an API call takes memory, forwarding does not.
        assert count() - before == 0
        traffic.finish()
    vm.close()
    lease.close()
    for path in mallocs.iterdir():
        path.unlink()


def test_a_killed_control_adopts_a_thousand_sockets(make_daemon):
    """Each of them is handed over again: more descriptors than a channel holds at once."""
    made = make_daemon()
    config = made.folder / "vmswitchd.conf"
    networks = [{"name": f"n{i}", "mode": "internal", "ports": [{"name": f"p{k}"} for k in range(250)]} for i in range(4)]
    config.write_text(json.dumps({"networks": networks}))
    made.start("--config", str(config))
    for i in range(4):
        made.wait_up(f"n{i}", 60)
    before = {f"n{i}": made.network(f"n{i}")["pid"] for i in range(4)}
    for _ in range(2):
        kill_and_wait(made.children()["control"])
        wait_for(made.is_ready_again, 10 * SLOW, "the API being back")
        for name, pid in before.items():
            made.wait_up(name, 60)
            assert made.network(name)["pid"] == pid
    assert len(made.ports("n3")) == 250
    assert "broke its channel" not in made.log()


def test_a_network_that_was_deleted_stays_so(daemon, folder):
    """Whatever is asked of it on its way out."""
    daemon.create("lab")
    daemon.ask("PUT", "/v1/networks/lab/ports/p1", {})
    stalled = StreamVm(daemon.path("lab.p1.stream"), mac(1))  # its link drains for 100 ms
    os.kill(daemon.network("lab")["pid"], signal.SIGSTOP)  # and its process for longer
    deleting = subprocess.Popen(["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "--unix-socket", str(daemon.api_path),
                                 "-X", "DELETE", "http://x/v1/networks/lab"], stdout=subprocess.PIPE, text=True)
    time.sleep(0.1)
    for method, path, body in (("PUT", "ports/p2", {}), ("PATCH", "ports/p1", {"isolated": True}), ("DELETE", "ports/p1", None)):
        assert daemon.request(method, f"/v1/networks/lab/{path}", body).status in (404, 409)
    assert deleting.communicate(timeout=10)[0] == "204"
    assert not list((daemon.state / "networks").glob("lab*"))
    kill_and_wait(daemon.children()["control"])
    wait_for(daemon.is_ready_again, 10 * SLOW, "the API being back")
    assert daemon.networks() == []
    stalled.close()


def test_who_hears_that_a_network_is_gone_finds_none_of_its_sockets(daemon):
    for _ in range(100 if not IS_SANITIZED else 20):
        daemon.ask("PUT", "/v1/networks/lab", {"mode": "internal"})
        daemon.ask("DELETE", "/v1/networks/lab")
        assert not [name for name in os.listdir(daemon.runtime) if name.startswith("lab")]


def test_control_dies_while_a_network_stops_and_leaves_no_socket(daemon):
    daemon.create("lab", sockets={"mode": "0666"})
    os.kill(daemon.network("lab")["pid"], signal.SIGSTOP)
    deleting = subprocess.Popen(["curl", "-s", "-o", "/dev/null", "--unix-socket", str(daemon.api_path), "-X", "DELETE",
                                 "http://x/v1/networks/lab"])
    time.sleep(0.1)
    kill_and_wait(daemon.children()["control"])
    deleting.wait(10)
    wait_for(daemon.is_ready_again, 10 * SLOW, "the API being back")
    wait_for(lambda: not any("lab" in name for name in daemon.children()), 10, "the end of the network")
    daemon.create("lab", sockets={"mode": "0600"})
    assert daemon.path("lab.stream").stat().st_mode & 0o777 == 0o600
    daemon.ask("DELETE", "/v1/networks/lab")
    assert not any(name.startswith("lab") for name in os.listdir(daemon.runtime))
