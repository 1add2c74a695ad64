"""What the daemon costs while nothing happens: memory that stays resident, and wake-ups.

Memory is what its processes would hold if nobody else ran: each one's private pages, and those that they share (the
program, the libraries) once, as /proc/PID/smaps tells. That is more than their Pss, which other programs' use of the
same libraries makes smaller, and less than the sum of their RSS, which counts each library once a process.

A wake-up is a voluntary context switch of any thread: the process slept and was woken. The kernel counts them itself.
"""
import contextlib
import os
import re
import time

import pytest

import switchd
from front import family
from switchd import IS_SANITIZED, wait_for
from vm import DatagramVm, StreamVm, mac

pytestmark = pytest.mark.skipif(IS_SANITIZED, reason="sanitizers keep shadow memory and threads of their own")

DAEMON_KIB, NETWORK_KIB, PORT_KIB = 8 << 10, 4 << 10, 64
N_PORTS = 100
WATCH_S = 5
MAPPING = re.compile(r"^[0-9a-f]+-[0-9a-f]+ \S+ ([0-9a-f]+) (\S+) (\d+)")


def pids_of(daemon):
    return {"monitor": daemon.pid, **daemon.children()}


def resident_kib(pids):
    private, shared = 0, {}
    for pid in pids:
        mapping = None
        for line in open(f"/proc/{pid}/smaps", encoding="utf-8"):
            if found := MAPPING.match(line):
                mapping = found.groups()
            elif line.startswith("Private_"):
                private += int(line.split()[1])
            elif line.startswith("Shared_"):
                # Of one mapping there are two lines, clean and dirty; of one file, one mapping in each process.
                shared[mapping, pid, line.split(":")[0]] = int(line.split()[1])
    once = {}
    for (mapping, pid, _), kib in shared.items():
        once.setdefault(mapping, {}).setdefault(pid, 0)
        once[mapping][pid] += kib
    return private + sum(max(by_pid.values()) for by_pid in once.values())


def settled_kib(daemon):
    """The figure once it does not change any more."""
    last = [None]

    def is_settled():
        time.sleep(0.2)
        now = resident_kib(pids_of(daemon).values())
        last.append(now)
        return last[-2] is not None and abs(now - last[-2]) <= 8

    wait_for(is_settled, 20, "memory that stays as it is")
    return last[-1]


def wakeups(pids):
    return {name: sum(int(re.search(r"^voluntary_ctxt_switches:\s*(\d+)", open(f"/proc/{pid}/task/{task}/status").read(), re.M)[1])
                      for task in os.listdir(f"/proc/{pid}/task")) for name, pid in pids.items()}


def watched(daemon):
    return watched_pids(pids_of(daemon))


def watched_pids(pids):
    """How often each process wakes up in WATCH_S."""
    time.sleep(2)  # what the last call to the API left to do
    before = wakeups(pids)
    time.sleep(WATCH_S)
    after = wakeups(pids)
    return {name: after[name] - before[name] for name in pids}


def say(capsys, text):
    with capsys.disabled():
        print(f"\n  {text}", end="")


@pytest.mark.parametrize("kind", ["stream", "datagram"])
def test_memory_of_an_idle_daemon_a_network_and_an_idle_port(daemon, folder, capsys, kind):
    bare = settled_kib(daemon)
    daemon.create("lab")
    one = settled_kib(daemon)
    for name in ("lab2", "lab3", "lab4"):
        daemon.create(name)
    four = settled_kib(daemon)
    with contextlib.ExitStack() as stack:
        for i in range(N_PORTS):
            if kind == "datagram":
                daemon.ask("PUT", f"/v1/networks/lab/ports/p{i}", {})
                vm = DatagramVm(daemon.path(f"lab.p{i}.dgram"), mac(i), folder)
            else:
                vm = StreamVm(daemon.path("lab.stream"), mac(i))
            stack.enter_context(vm).hello()
        wait_for(lambda: len(daemon.fdb("lab")) == N_PORTS, what="every port being known")
        full = settled_kib(daemon)
    say(capsys, f"{switchd.BUILD.name}: daemon {bare} KiB, first network {one - bare}, each further one {(four - one) / 3:.0f}, "
                f"a {kind} port {(full - four) / N_PORTS:.1f}")
    assert bare <= DAEMON_KIB
    assert one - bare <= NETWORK_KIB
    assert four - one <= 3 * NETWORK_KIB
    assert full - four <= N_PORTS * PORT_KIB


def test_a_daemon_and_its_networks_wake_up_for_nothing(daemon):
    assert set(watched(daemon).values()) == {0}
    daemon.create("lab")
    daemon.ask("PUT", "/v1/networks/lab/ports/p1", {})
    assert set(watched(daemon).values()) == {0}


@pytest.mark.parametrize("forwards", [[], [{"proto": "tcp", "host": "127.0.0.1:18080", "guest": "192.168.105.5:80"}]])
def test_an_unused_user_uplink_sleeps(daemon, forwards):
    daemon.create("shared", mode="shared", uplink="user", forwards=forwards)
    counts = watched(daemon)
    # A listening socket is a connection to libslirp, for which it asks twice a second.
    assert counts.pop("uplink shared") <= (2 * (WATCH_S + 1) if forwards else 0), counts
    assert set(counts.values()) == {0}, counts


def test_an_idle_socket_vmnet_sleeps(start_front, folder):
    front = start_front("socket_vmnet", folder / "s", env={"VMSWITCH_UPLINK": "user"}).wait_ready()
    with StreamVm(folder / "s", mac(1)) as a, StreamVm(folder / "s", mac(2)) as b:
        a.hello(), b.hello()
        wait_for(lambda: family(front.pid).get("uplink"), 5, "the uplink")
        time.sleep(3)  # libslirp is asked once a second for so long
        counts = watched_pids({"front": front.pid, **family(front.pid)})
        assert len(counts) == 3 and set(counts.values()) == {0}, counts


def test_idle_clients_wake_the_network_only_to_ask_for_datagram_clients(daemon, net, folder):
    """250 ms is how soon another client gets a path whose client has died; the kernel tells of no such death."""
    with contextlib.ExitStack() as stack:
        for i in range(3):
            stack.enter_context(StreamVm(daemon.path("lab.stream"), mac(i))).hello()
        shared = stack.enter_context(DatagramVm(daemon.path("lab.dgram"), mac(10), folder))
        shared.hello()
        wait_for(lambda: len(daemon.fdb("lab")) == 4, what="every port being known")
        counts = watched(daemon)
        # The shared path asks for its clients every 5 s.
        assert counts.pop("network lab") <= 2, counts
        assert set(counts.values()) == {0}
        for i in range(20):
            daemon.ask("PUT", f"/v1/networks/lab/ports/p{i}", {})
            stack.enter_context(DatagramVm(daemon.path(f"lab.p{i}.dgram"), mac(20 + i), folder)).hello()
        wait_for(lambda: len(daemon.fdb("lab")) == 24, what="every port being known")
        counts = watched(daemon)
        # One timer for all: 4 a second however many there are, and the shared path's.
        assert counts.pop("network lab") <= 4 * (WATCH_S + 1) + 2, counts
        assert set(counts.values()) == {0}
        for vm in ("p0", "p19"):
            assert daemon.port("lab", vm)["state"] == "up"
