"""How systemd passes sockets, and what it is told (daemon/activation_linux.c, daemon/notify.h).

What holds for launchd's sockets as well is in test_activation_contract.py.
"""
import os
import shutil
import signal
import socket
import subprocess
import time

import pytest

from activator import Activator, Notified
from conftest import empty_config
from switchd import BIN, BUILD, IS_SANITIZED, processes, wait_for
from test_activation_contract import end, lab_config, managed
from vm import BROADCAST, StreamVm, frame, mac

CACHE = BUILD / "CMakeCache.txt"
pytestmark = pytest.mark.skipif(CACHE.exists() and "VMNET_DOUBLE:BOOL=ON" in CACHE.read_text(),
                                reason="with VMNET_DOUBLE the sockets are launchd's: test_vmnet_service.py")


def test_what_no_network_wants_is_said(make_daemon):
    daemon = make_daemon()
    with Activator(daemon) as manager:
        manager.bind_all("lab.stream")
        manager.start(*empty_config(daemon))
        wait_for(lambda: "lab.stream: no such network uses the service manager's socket" in daemon.log(), 10, "a warning")
        end(daemon)


def test_variables_for_another_process_are_not_ours(make_daemon):
    daemon = make_daemon()
    with Activator(daemon) as manager:
        manager.bind("api", daemon.folder / "other.sock")
        manager.start(*empty_config(daemon), pid="1")
        assert "service manager" not in daemon.log()
        end(daemon)


def test_what_is_inherited_goes_to_nobody(managed):
    daemon = managed.daemon
    managed.start(*lab_config(daemon))
    daemon.wait_up("lab")
    for pid in daemon.children().values():
        environment = open(f"/proc/{pid}/environ", "rb").read()
        assert b"LISTEN" not in environment and b"NOTIFY" not in environment
    end(daemon)


def test_an_unknown_name_is_said_and_its_socket_closed(make_daemon):
    daemon = make_daemon()
    with Activator(daemon) as manager:
        manager.bind_all("api")
        for name in ("shared", "UP.stream", ".stream", "lab.p1.stream", "api.sock"):
            manager.bind(name, daemon.folder / f"u{len(manager.sockets)}")
        manager.start(*empty_config(daemon))
        for name in list(manager.sockets)[1:]:
            assert f"a socket called '{name}', which is none of api, attach" in daemon.log()
        held = {os.readlink(f"/proc/{daemon.pid}/fd/{fd}") for fd in os.listdir(f"/proc/{daemon.pid}/fd")}
        for name, (sock, _) in manager.sockets.items():
            assert (f"socket:[{os.fstat(sock.fileno()).st_ino}]" in held) == (name == "api")
        end(daemon)


def refused(manager, why, **more):
    daemon = manager.daemon
    manager.start(*empty_config(daemon), wait=False, **more)
    assert daemon.process.wait(10) == 1
    assert why in daemon.log(), daemon.log()


def test_a_socket_that_is_not_what_its_name_says_is_refused(make_daemon, folder):
    daemon = make_daemon()
    with Activator(daemon) as manager, socket.socket(socket.AF_UNIX) as abstract, socket.socket() as tcp:
        path = lambda: folder / f"s{len(manager.sockets)}"
        manager.bind("dgram", path(), kind=socket.SOCK_DGRAM)
        manager.bind("silent", path(), listens=False)
        manager.bind("good", path())
        good = manager.sockets["good"][0].fileno()
        one = lambda name: [manager.sockets[name][0].fileno()]
        refused(manager, "the socket 'api' of the service manager must be a stream socket", fds=one("dgram"), names="api")
        refused(manager, "'lab.dgram' of the service manager must be a datagram socket", fds=one("good"), names="lab.dgram")
        refused(manager, "'attach' of the service manager does not listen", fds=one("silent"), names="attach")
        refused(manager, "is passed twice", fds=[good, good], names="api:api")
        refused(manager, "has no name; set FileDescriptorName=", fds=[good, good], names="api")
        refused(manager, "has no name; set FileDescriptorName=", fds=[good], names="")
        abstract.bind("\0vmswitch-test-%d" % os.getpid())
        abstract.listen()
        refused(manager, "is not a unix socket with a path", fds=[abstract.fileno()], names="api")
        refused(manager, "is not a unix socket with a path", fds=[tcp.fileno()], names="api")
        with open("/dev/null") as null:
            refused(manager, "is not a socket", fds=[null.fileno()], names="api")
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(manager.sockets["good"][1]))
            accepted, _ = manager.sockets["good"][0].accept()
            with accepted:
                refused(manager, "is connected; pass the listening socket itself", fds=[accepted.fileno()], names="api")
        refused(manager, "LISTEN_FDS is no number", fds=[], env={"LISTEN_FDS": "99999"})
        refused(manager, "LISTEN_FDS is no number", fds=[], env={"LISTEN_FDS": "x"})


# ---- what the service manager is told ----

@pytest.mark.parametrize("kind", ["path", "abstract"])
def test_ready_when_every_network_is_up(make_daemon, folder, kind):
    daemon = make_daemon()
    with Notified(str(folder / "notify") if kind == "path" else b"\0vmswitch-notify-%d" % os.getpid()) as notified:
        begun = time.monotonic()
        daemon.start(*lab_config(daemon, {"name": "nat", "mode": "shared", "uplink": "user"}), wait=False,
                     env={"NOTIFY_SOCKET": notified.variable})
        assert notified.hear() == {"READY": "1", "STATUS": "2 of 2 networks up"}
        assert daemon.health("nat")["state"] == daemon.health("lab")["state"] == "up"
        assert IS_SANITIZED or time.monotonic() - begun < 5
        # A control that takes over is no second start.
        os.kill(daemon.children()["control"], 9)
        assert notified.hear() == {"STATUS": "2 of 2 networks up"}
        wait_for(daemon.is_ready_again, what="the API being back")
        end(daemon)
        assert notified.hear() == {"STOPPING": "1", "STATUS": "ending"}
        assert notified.hear(0.1) is None


def test_ready_with_a_network_that_says_why_not(make_daemon, folder):
    daemon = make_daemon()
    broken = {"name": "broken", "mode": "internal", "sockets": {"group": "no-such-group"}}
    with Notified(str(folder / "notify")) as notified:
        daemon.start(*lab_config(daemon, broken), wait=False, env={"NOTIFY_SOCKET": notified.variable})
        assert notified.hear() == {"READY": "1", "STATUS": "1 of 2 networks up; not up: broken"}
        assert "no-such-group" in daemon.health("broken")["reason"]
        assert daemon.stop() == 0  # a network that never ran has no counters to add up


def test_a_reload_is_told_from_beginning_to_end(make_daemon, folder):
    daemon = make_daemon()
    with Notified(str(folder / "notify")) as notified:
        options = lab_config(daemon)
        daemon.start(*options, wait=False, env={"NOTIFY_SOCKET": notified.variable})
        assert notified.hear() == {"READY": "1", "STATUS": "1 of 1 networks up"}
        for more, status in (([{"name": "two", "mode": "internal"}], "2 of 2 networks up"), ([], "1 of 1 networks up")):
            lab_config(daemon, *more)
            before = time.monotonic_ns() // 1000
            os.kill(daemon.pid, signal.SIGHUP)
            began = notified.hear()
            assert began["RELOADING"] == "1" and before <= int(began["MONOTONIC_USEC"]) <= time.monotonic_ns() // 1000
            assert notified.hear() == {"READY": "1", "STATUS": status}
        (daemon.folder / "vmswitchd.conf").write_text("{")  # refused: as it was
        os.kill(daemon.pid, signal.SIGHUP)
        assert notified.hear()["RELOADING"] == "1"
        assert notified.hear() == {"READY": "1", "STATUS": "1 of 1 networks up"}
        lab_config(daemon, {"name": "two", "mode": "internal"})
        daemon.ask("POST", "/v1/reload", {})  # nobody outside asked: how it is now, and no more
        assert notified.hear() == {"STATUS": "2 of 2 networks up"}
        end(daemon)


def test_not_ready_where_it_does_not_start(make_daemon, folder):
    daemon = make_daemon()
    (daemon.folder / "bad.conf").write_text("{")
    with Notified(str(folder / "notify")) as notified:
        daemon.start("--config", str(daemon.folder / "bad.conf"), wait=False, env={"NOTIFY_SOCKET": notified.variable})
        assert daemon.process.wait(10) == 3
        while (message := notified.hear(0.1)) is not None:
            assert "READY" not in message


def test_a_service_manager_that_cannot_hear_stops_nothing(make_daemon, folder):
    daemon = make_daemon()
    daemon.start(*empty_config(daemon), env={"NOTIFY_SOCKET": str(folder / "nobody-there")})
    wait_for(lambda: "the service manager could not be told" in daemon.log(), what="a warning")
    end(daemon)
    daemon.start(*empty_config(daemon), env={"NOTIFY_SOCKET": "relative"})
    assert "NOTIFY_SOCKET names no unix socket" in daemon.log()
    end(daemon)


def test_the_watchdog_hears_in_time(make_daemon, folder):
    daemon = make_daemon()
    with Notified(str(folder / "notify")) as notified:
        daemon.start(*empty_config(daemon), wait=False, env={"NOTIFY_SOCKET": notified.variable, "WATCHDOG_USEC": "400000"})
        messages = [notified.hear() for _ in range(6)]
        assert sum(message == {"WATCHDOG": "1"} for message in messages) == 5, messages
        os.kill(daemon.pid, 19)  # one that hangs is silent
        while notified.hear(0.05) is not None:
            pass
        assert notified.hear(1) is None
        os.kill(daemon.pid, 18)
        assert notified.hear() == {"WATCHDOG": "1"}
        end(daemon)
        daemon.start(*empty_config(daemon), wait=False,
                     env={"NOTIFY_SOCKET": notified.variable, "WATCHDOG_USEC": "400000", "WATCHDOG_PID": "1"})
        while "READY" not in (message := notified.hear()):
            assert message in ({"WATCHDOG": "1"}, {"STOPPING": "1", "STATUS": "ending"})
        assert notified.hear(1) is None  # meant for another process
        end(daemon)


# ---- the real one ----

@pytest.mark.skipif(not shutil.which("systemd-socket-activate"), reason="needs systemd-socket-activate (package systemd)")
def test_systemd_socket_activate(make_daemon, folder):
    """systemd's own activator: the first client starts us, by a network's socket, and the API comes through one as well."""
    daemon = make_daemon()
    api, stream = daemon.path("api.sock"), daemon.path("lab.stream")
    command = ["systemd-socket-activate", "-l", str(api), "-l", str(stream), "--fdname=api:lab.stream", str(BIN / "vmswitchd"),
               "--runtime-dir", str(daemon.runtime), "--state-dir", str(daemon.state), *lab_config(daemon)]
    with open(daemon.log_path, "ab") as log:
        daemon.process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True)
    wait_for(lambda: stream.exists() and api.exists(), what="its sockets")
    assert not processes()
    with StreamVm(stream, mac(1)) as a:
        a.hello()
        wait_for(lambda: processes(), what="the start by the first client")
        daemon.wait_ready()
        daemon.wait_up("lab")
        with StreamVm(stream, mac(2)) as b:
            b.hello()
            a.expect(frame(BROADCAST, b.address, b"hello"))
    end(daemon)
    assert api.exists() and stream.exists()
    api.unlink()
    stream.unlink()
