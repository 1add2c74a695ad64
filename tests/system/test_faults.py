"""Faults around the daemon rather than in its clients: files, signals, clocks, stopped processes, many at once (rows of R, S, M, A, D)."""
import mmap
import os
import pwd
import re
import resource
import signal
import socket
import subprocess
import threading
import time

import pytest

from conftest import empty_config
from switchd import IS_DEEP, IS_SANITIZED, ROOT, fds_of, processes, status_of, wait_for
from test_lifecycle import rss_kib
from test_privileges import as_user
from vm import BROADCAST, Lease, StreamVm, frame, mac

SLOW = 5 if IS_SANITIZED else 1
STRANGER = pwd.getpwnam("daemon")


# ---- processes ----

def test_R25_a_network_that_was_stopped_goes_on(daemon, bystanders, folder):
    """SIGSTOP for 5 s: it shows as unresponsive, nobody else notices, and it goes on where it was."""
    daemon.create("frozen")
    pid = daemon.network("frozen")["pid"]
    with StreamVm(daemon.path("frozen.stream"), mac(1)) as a, StreamVm(daemon.path("frozen.stream"), mac(2)) as b:
        a.hello()
        b.expect(frame(BROADCAST, a.address, b"hello"))
        os.kill(pid, signal.SIGSTOP)
        begun = time.monotonic()
        wait_for(lambda: daemon.health("frozen")["state"] == "unresponsive", what="a network that does not answer")
        a.send(frame(b.address, a.address, b"while it slept"))
        assert daemon.request("PUT", "/v1/networks/frozen/ports/p", {}).status == 503
        time.sleep(max(0, begun + 5 - time.monotonic()))
        os.kill(pid, signal.SIGCONT)
        b.expect(frame(b.address, a.address, b"while it slept"))
        daemon.wait_up("frozen")
        assert daemon.network("frozen")["pid"] == pid
    daemon.ask("PUT", "/v1/networks/frozen/ports/p", {})
    assert "p" in daemon.ports("frozen")


def test_R25_a_control_that_was_stopped_goes_on(daemon, bystanders):
    control = daemon.children()["control"]
    os.kill(control, signal.SIGSTOP)
    with StreamVm(daemon.path("lab.stream"), mac(1)) as vm:  # VMs come all the same
        vm.hello()
        time.sleep(2)
        os.kill(control, signal.SIGCONT)
        wait_for(lambda: mac(1) in daemon.fdb("lab"), what="the VM that came meanwhile")
    assert daemon.children()["control"] == control


def test_R31_64_networks_of_4_clients_are_back_after_a_restart(make_daemon):
    """Clients that reconnect every 500 ms: all forward again 1.5 s after the API answers."""
    made = make_daemon()
    n = 64 if not IS_SANITIZED else 8
    made.start(*empty_config(made))
    for i in range(n):
        made.ask("PUT", f"/v1/networks/n{i}", {"mode": "internal", "sockets": {"mode": "0666"}})
    assert made.stop() == 0
    made.start(*empty_config(made), wait=False)
    made.wait_ready(10 * SLOW)
    ready = time.monotonic()
    waiting = [(i, k) for i in range(n) for k in range(4)]
    vms = {}
    while waiting:
        again = []
        for i, k in waiting:
            try:
                vms[i, k] = StreamVm(made.path(f"n{i}.stream"), mac(4 * i + k))
            except (FileNotFoundError, ConnectionError):
                again.append((i, k))
        waiting = again
        if waiting:
            assert time.monotonic() < ready + 30
            time.sleep(0.5)
    for i in range(n):
        vms[i, 0].hello()
    for i in range(n):
        for k in range(1, 4):
            vms[i, k].expect(frame(BROADCAST, vms[i, 0].address, b"hello"))
    took = time.monotonic() - ready
    for vm in vms.values():
        vm.close()
    # The promise is for a machine of its own: a busy one is given time, and a hang is still found.
    assert took < (1.5 if IS_DEEP else 1.5 * 10 * SLOW), f"{took:.1f} s"


# ---- memory ----

def test_M02_networks_that_come_and_go_leave_nothing(daemon):
    """Some with a port, a client and a restart for another MTU."""
    times = 10_000 if IS_DEEP else 150 if not IS_SANITIZED else 30

    def one(i):
        name = f"n{i % 7}"
        daemon.ask("PUT", f"/v1/networks/{name}", {"mode": "internal", "mtu": 1500 + i % 3})
        if i % 3 == 0:
            daemon.ask("PUT", f"/v1/networks/{name}/ports/p", {})
            with StreamVm(daemon.path(f"{name}.p.stream"), mac(i)) as vm:
                vm.hello()
                daemon.ask("PUT", f"/v1/networks/{name}", {"mode": "internal", "mtu": 2000})
        daemon.ask("DELETE", f"/v1/networks/{name}")

    for i in range(min(times // 5, 100)):
        one(i)
    pids = {"monitor": daemon.pid, "control": daemon.children()["control"]}
    fds, rss = ({name: count(pid) for name, pid in pids.items()} for count in (fds_of, rss_kib))
    files = sorted(os.listdir(daemon.runtime))
    for i in range(times):
        one(i)
    wait_for(lambda: list(daemon.children()) == ["control"], what="the end of every network")
    assert sorted(os.listdir(daemon.runtime)) == files and not any((daemon.state / "networks").iterdir())
    # The connection of the last answer may still be closing; or was, when they were counted before.
    wait_for(lambda: all(fds_of(pid) <= fds[name] for name, pid in pids.items()), what=f"no more descriptors than {fds}")
    if not IS_SANITIZED:
        assert all(rss_kib(pid) - rss[name] <= 1024 for name, pid in pids.items())


def test_M08_signals_that_interrupt_harm_nothing(daemon, bystanders):
    """SIGCHLD at every process, as fast as it goes, while networks come and go: each system call may end in EINTR."""
    stop = threading.Event()

    def storm():
        while not stop.is_set():
            try:
                for pid in [daemon.pid, *daemon.children().values()]:
                    for _ in range(200):
                        os.kill(pid, signal.SIGCHLD)
            except OSError:  # one has ended meanwhile
                pass

    thread = threading.Thread(target=storm)
    thread.start()
    try:
        for i in range(30):
            daemon.ask("PUT", "/v1/networks/n", {"mode": "internal", "mtu": 1500 + i % 2})
            daemon.ask("PUT", "/v1/networks/n/ports/p", {})
            if i % 3 == 2:
                daemon.ask("DELETE", "/v1/networks/n")
    finally:
        stop.set()
        thread.join()


def test_M09_nothing_is_decided_by_the_wall_clock():
    """A jump of it cannot age addresses or fire timers: only what is shown to people reads it."""
    shows = {"io/log.c", "api/views.c", "daemon/cli_tables.c", "daemon/lock.c", "daemon/vmnet_helper_vm.c"}
    reads = re.compile(r"CLOCK_REALTIME|\bgettimeofday\(|\btime\((NULL|0|&)|uv_gettimeofday|uv_clock_gettime")
    found = {str(path.relative_to(ROOT)) for folder in ("switch", "io", "api", "daemon") for path in (ROOT / folder).rglob("*.c")
             if reads.search(path.read_text())}
    assert found <= shows, found - shows


# ---- files ----

def fill_up(folder):
    fill = os.open(folder / "fill", os.O_WRONLY | os.O_CREAT)
    try:
        while True:
            os.write(fill, b"x" * 1024)
    except OSError:
        os.close(fill)


@pytest.mark.root
def test_S06_a_full_state_folder_is_a_clear_error_and_changes_nothing(make_daemon, folder):
    made = make_daemon()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k,mode=755", "none", str(made.state)], check=True)
    try:
        made.start(*empty_config(made))
        made.create("lab")
        with StreamVm(made.path("lab.stream"), mac(1)) as a, StreamVm(made.path("lab.stream"), mac(2)) as b:
            fill_up(made.state)
            for method, path, body in (("PUT", "/v1/networks/lab", {"mode": "internal", "isolated": True}),
                                       ("PUT", "/v1/networks/lab/ports/p", {}), ("PUT", "/v1/networks/other", {"mode": "internal"})):
                answer = made.request(method, path, body)
                assert answer.status == 503 and "state folder" in answer.json["detail"] and "disk space" in answer.json["next_step"], answer
            assert "No space left on device" in made.log()
            assert made.networks() == ["lab"] and not made.network("lab")["isolated"] and "p" not in made.ports("lab")
            a.hello()
            b.expect(frame(BROADCAST, a.address, b"hello"))
            (made.state / "fill").unlink()
            made.ask("PUT", "/v1/networks/lab/ports/p", {})
        assert made.stop() == 0
    finally:
        subprocess.run(["umount", "-l", str(made.state)], check=True)


@pytest.mark.root
def test_S06_a_full_runtime_folder_is_a_clear_error_and_changes_nothing(make_daemon):
    """What runs goes on; a new socket is refused with the reason; a reload too, which needs a place for its copy."""
    made = make_daemon()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k,nr_inodes=20,mode=755", "none", str(made.runtime)], check=True)
    try:
        made.start(*empty_config(made))
        made.create("lab")
        with StreamVm(made.path("lab.stream"), mac(1)) as a, StreamVm(made.path("lab.stream"), mac(2)) as b:
            for i in range(20):
                try:
                    (made.runtime / f"fill{i}").touch()
                except OSError:
                    break
            answer = made.request("PUT", "/v1/networks/other", {"mode": "internal"})
            assert answer.status == 503 and "No space left on device" in answer.json["detail"], answer
            answer = made.request("POST", "/v1/reload")
            assert answer.status == 422 and "No space left on device" in answer.json["detail"], answer
            assert made.networks() == ["lab"]
            a.hello()
            b.expect(frame(BROADCAST, a.address, b"hello"))
            for path in made.runtime.glob("fill*"):
                path.unlink()
            made.ask("POST", "/v1/reload")
        made.create("other")
        assert made.stop() == 0
    finally:
        subprocess.run(["umount", "-l", str(made.runtime)], check=True)


def count_of(swaps):
    return int.from_bytes(swaps[:8], "little")


def race(paths, points, swaps, wanted):
    """Swaps links under the names, 'wanted' times and then no more. Never returns."""
    n = 0
    while True:
        for path in paths:
            for point in points:
                try:
                    os.symlink(point, f"{path}.link")
                    os.rename(f"{path}.link", path)
                    n += 1
                    os.unlink(path)
                except OSError:
                    pass
        swaps[:8] = n.to_bytes(8, "little")
        if n >= wanted:
            signal.pause()


def test_S02_a_racer_in_the_runtime_folder_leads_nowhere(make_daemon):
    """The daemon's own user swaps links under the names of its sockets while they are made and removed: what the links
    point to, and their folder, stay untouched. (The folder is closed to everybody else.)"""
    made = make_daemon()
    outside = made.folder / "outside"
    outside.mkdir()
    target = outside / "target"
    target.write_text("precious")
    made.start(*empty_config(made))
    before = (target.stat(), outside.stat().st_mtime_ns, sorted(os.listdir(outside)))
    wanted = 1_000_000 if IS_DEEP else 20_000
    swaps = mmap.mmap(-1, 8)  # how many there were, for both processes
    racer = os.fork()
    if racer == 0:
        race([made.runtime / name for name in ("r.stream", "r.dgram", "r.p.stream")], (target, outside / "new"), swaps, wanted)
    rounds = 0
    try:
        while rounds < 60 or count_of(swaps) < wanted:
            status = made.request("PUT", "/v1/networks/r", {"mode": "internal"}).status
            assert status in (200, 201, 422, 503), status
            made.request("PUT", "/v1/networks/r/ports/p", {})
            made.request("DELETE", "/v1/networks/r")
            rounds += 1
    finally:
        os.kill(racer, signal.SIGKILL)
        os.waitpid(racer, 0)
    for name in os.listdir(made.runtime):
        if (made.runtime / name).is_symlink():
            (made.runtime / name).unlink()
    after = (target.stat(), outside.stat().st_mtime_ns, sorted(os.listdir(outside)))
    assert (after[0].st_mode, after[0].st_uid, after[0].st_mtime_ns, after[1:]) == \
        (before[0].st_mode, before[0].st_uid, before[0].st_mtime_ns, before[1:])
    assert target.read_text() == "precious"


# ---- who may ----

def silent(path, n, seconds):
    """Connects n times without a word; returns how many were still open at the end."""
    clients = []
    for _ in range(n):
        client = socket.socket(socket.AF_UNIX)
        client.settimeout(1)
        try:
            client.connect(str(path))
        except OSError:
            continue
        clients.append(client)
    time.sleep(seconds)
    n_open = 0
    for client in clients:
        client.setblocking(False)
        try:
            n_open += client.recv(4096) != b"" and False
        except BlockingIOError:
            n_open += 1
        except OSError:
            pass
    return n_open, clients


@pytest.mark.root
def test_D11_one_uid_that_says_nothing_keeps_nobody_out(daemon, net):
    """Many silent connections of one uid: no more than its share stay open, and root and another uid attach meanwhile."""
    ready_r, ready_w = os.pipe()
    go_r, go_w = os.pipe()

    def crowd():
        """5,000, from five processes: none has descriptors for all of them."""
        tell_r, tell_w = os.pipe()
        stay_r, stay_w = os.pipe()
        children = []
        for _ in range(5):
            children.append(os.fork())
            if children[-1] == 0:
                resource.setrlimit(resource.RLIMIT_NOFILE, (1100, 1100))
                n_open, clients = silent(daemon.path("attach.sock"), 1000, 0.3)
                os.write(tell_w, b"%d\n" % n_open)
                os.close(stay_w)
                os.read(stay_r, 1)
                os._exit(0)
        told = b""
        while told.count(b"\n") < 5:
            told += os.read(tell_r, 100)
        n_open = sum(map(int, told.split()))
        os.write(ready_w, b"%d\n" % n_open)
        os.read(go_r, 1)
        os.close(stay_w)
        for child in children:
            os.waitpid(child, 0)
        return 0 < n_open <= 16

    result = []
    thread = threading.Thread(target=lambda: result.append(as_user(STRANGER.pw_uid, STRANGER.pw_gid, crowd)))
    thread.start()
    assert 0 < int(os.read(ready_r, 16)) <= 16
    control = daemon.children()["control"]
    assert fds_of(control) < 100
    ours, theirs = socket.socketpair()
    with theirs:
        assert Lease(daemon, {"network": "lab"}, [theirs.fileno()]).port  # root
    other = pwd.getpwnam("nobody")

    def another():
        mine, passed = socket.socketpair()
        return Lease(daemon, {"network": "lab"}, [passed.fileno()]).status == 403  # is heard, and refused for another reason

    assert as_user(other.pw_uid, other.pw_gid, another) == 0
    os.write(go_w, b"x")
    thread.join()
    assert result == [0]
    ours.close()


@pytest.mark.root
def test_A01_200_clients_of_one_byte_a_second(daemon):
    """Of another uid, which may use the API here: root is answered at once, and each of them is closed after 5 s."""
    daemon.api_path.chmod(0o666)
    ready_r, ready_w = os.pipe()

    def drip():
        begun = time.monotonic()
        clients = []
        for _ in range(200):
            client = socket.socket(socket.AF_UNIX)
            client.connect(str(daemon.api_path))
            client.setblocking(False)
            clients.append(client)
        os.write(ready_w, b"x")
        text = b"GET /v1 HTTP/1.1\r\nHost: x\r\n\r\n"
        for i in range(9):
            for client in list(clients):
                try:
                    client.send(text[i:i + 1])
                    if client.recv(4096) == b"":
                        clients.remove(client)
                except BlockingIOError:
                    pass
                except OSError:
                    clients.remove(client)
            if not clients:
                break
            time.sleep(1)
        return not clients and 4 <= time.monotonic() - begun <= 9

    result = []
    thread = threading.Thread(target=lambda: result.append(as_user(STRANGER.pw_uid, STRANGER.pw_gid, drip)))
    thread.start()
    os.read(ready_r, 1)
    took = []
    while thread.is_alive():
        begun = time.monotonic()
        assert daemon.get("/v1/health", timeout=2).status == 200
        took.append(time.monotonic() - begun)
        time.sleep(0.02)
    thread.join()
    assert result == [0]
    # The promise is 100 ms; a machine that is shared gets slack, and a wait for one of them would show as seconds.
    assert len(took) > 20 and sorted(took)[int(len(took) * 0.99)] <= (0.1 if IS_DEEP else 0.5 * SLOW), sorted(took)[-5:]


@pytest.mark.root
def test_A21_A22_who_may_do_what(make_daemon):
    """Every route by root, the daemon's user, a stranger: the socket's mode is the gate, for what is the stranger's own network too."""
    made = make_daemon()
    config = made.folder / "vmswitchd.conf"
    config.write_text('{"networks": [{"name": "theirs", "mode": "internal", "user": "daemon", "ports": [{"name": "p"}]}]}\n')
    made.start("--config", str(config))
    made.wait_up("theirs")
    routes = [("GET", "/v1"), ("GET", "/v1/health"), ("GET", "/v1/networks"), ("GET", "/v1/networks/theirs"), ("GET", "/v1/networks/theirs/ports"),
              ("GET", "/v1/networks/theirs/ports/p"), ("PATCH", "/v1/networks/theirs/ports/p"), ("DELETE", "/v1/networks/theirs/ports/p"),
              ("DELETE", "/v1/networks/theirs/fdb"), ("PUT", "/v1/networks/new"), ("DELETE", "/v1/networks/theirs"), ("POST", "/v1/reload"),
              ("GET", "/v1/interfaces")]

    def reaches_none():
        for method, path in routes:
            try:
                made.request(method, path, {} if method in ("PUT", "POST", "PATCH") else None)
            except PermissionError:
                continue
            return False
        return True

    for user in ("daemon", "nobody"):  # the owner of a network has its sockets, not the API
        who = pwd.getpwnam(user)
        assert as_user(who.pw_uid, who.pw_gid, reaches_none) == 0, user
    audited = 0
    for method, path in routes:
        made.request(method, path, {"link": "up"} if method == "PATCH" else {} if method in ("PUT", "POST") else None)
        audited += method != "GET"
    assert len(re.findall(r"audit: uid 0: (PUT|PATCH|POST|DELETE) ", made.log())) == audited


@pytest.mark.root
def test_A24_a_peer_of_another_user_namespace_is_refused(daemon, net):
    """Whoever the kernel can only call 65534 has no right, whatever uid it has where it is."""
    script = ("import sys; sys.path.insert(0, sys.argv[1]); import socket, types\n"
              "from vm import Lease\n"
              "daemon = types.SimpleNamespace(path=lambda name: f'{sys.argv[2]}/{name}')\n"
              "ours, theirs = socket.socketpair()\n"
              "print(Lease(daemon, {'network': 'lab'}, [theirs.fileno()]).answer)\n"
              "client = socket.socket(socket.AF_UNIX)\n"
              "try:\n    client.connect(f'{sys.argv[2]}/api.sock')\nexcept PermissionError:\n    print('closed')\n")
    who = [f"--reuid={STRANGER.pw_uid}", f"--regid={STRANGER.pw_gid}", "--clear-groups"]
    probe = subprocess.run(["setpriv", *who, "unshare", "--user", "true"], capture_output=True)
    if probe.returncode:
        pytest.skip("this system makes no user namespaces for users")
    said = subprocess.run(["setpriv", *who, "unshare", "--user", "--map-root-user", "python3", "-c", script, str(ROOT / "tests" / "system"),
                           str(daemon.runtime)], capture_output=True, text=True)
    assert "'status': 403" in said.stdout and "closed" in said.stdout, said
    assert f"attach by uid {STRANGER.pw_uid} refused: 403" in daemon.log()  # the kernel says who it is outside


def test_A16_no_network_leads_to_the_api(daemon):
    """No process of the daemon listens on anything but unix sockets, on whatever network kind."""
    daemon.create("inner")
    daemon.create("nat", mode="shared", uplink="user")
    inodes = {os.readlink(f"/proc/{pid}/fd/{fd}") for pid in processes() for fd in os.listdir(f"/proc/{pid}/fd")
              if os.path.exists(f"/proc/{pid}/fd/{fd}")}
    for table in ("tcp", "tcp6", "udp", "udp6"):
        for line in open(f"/proc/net/{table}").read().splitlines()[1:]:
            assert f"socket:[{line.split()[9]}]" not in inodes, line
