"""The contract of daemon/activation.h, which systemd and launchd share: the same tests for both.

Which of the two, the build says: with VMNET_DOUBLE it is daemon/activation_darwin.c and a double of launchd, else systemd's half.
What only one of them has is in test_activation.py and test_vmnet_service.py.
"""
import json
import os

import pytest

from activator import Activator
from conftest import empty_config
from launchd import HAS_DOUBLE, Launchd
from switchd import UnixConnection, processes, wait_for
from vm import BROADCAST, DatagramVm, StreamVm, frame, mac

Manager = Launchd if HAS_DOUBLE else Activator


def lab_config(daemon, *more):
    """One internal network, and what else is given."""
    path = daemon.folder / "vmswitchd.conf"
    lab = {"name": "lab", "mode": "internal", "sockets": {"mode": "0600"}}
    path.write_text(json.dumps({"networks": [lab, *more]}))
    return "--config", str(path)


@pytest.fixture
def managed(make_daemon):
    """A daemon that is not started, and its service manager with all four kinds of sockets bound."""
    daemon = make_daemon()
    with Manager(daemon) as manager:
        manager.bind_all("api", "attach", "lab.stream", "lab.dgram")
        yield manager


def end(daemon):
    daemon.check_sums()
    assert daemon.stop() == 0


def test_vms_that_came_before_the_daemon_are_served(managed, folder):
    daemon = managed.daemon
    with StreamVm(daemon.path("lab.stream"), mac(1)) as a, DatagramVm(daemon.path("lab.dgram"), mac(2), folder) as b:
        a.hello()
        b.hello()
        managed.start(*lab_config(daemon))
        daemon.wait_up("lab")
        a.expect(frame(BROADCAST, b.address, b"hello"))
        b.send(frame(a.address, b.address, b"to a"))
        a.expect(frame(a.address, b.address, b"to a"))
        a.send(frame(b.address, a.address, b"to b"))
        b.expect(frame(b.address, a.address, b"to b"))
    for name in managed.sockets:
        assert f"{name}: the service manager's socket is used" in daemon.log()
    end(daemon)


def test_a_request_that_came_before_the_daemon_is_answered(managed):
    daemon = managed.daemon
    connection = UnixConnection(daemon.api_path, 15)
    connection.request("GET", "/v1/networks")
    managed.start(*lab_config(daemon), wait=False)
    assert [n["name"] for n in json.loads(connection.getresponse().read())["networks"]] == ["lab"]
    connection.close()
    daemon.wait_up("lab")
    end(daemon)


def test_the_next_start_has_the_same_sockets_again(managed):
    daemon = managed.daemon
    inodes = lambda: {name: path.stat().st_ino for name, (_, path) in managed.sockets.items()}
    before = inodes()
    vm = None
    for _ in range(3):
        managed.start(*lab_config(daemon))
        daemon.wait_up("lab")
        if vm is not None:  # it connected while nothing ran
            with StreamVm(daemon.path("lab.stream"), mac(2)) as other:
                other.hello()
                vm.expect(frame(BROADCAST, other.address, b"hello"))
            vm.close()
        end(daemon)
        assert inodes() == before
        vm = StreamVm(daemon.path("lab.stream"), mac(1))
    vm.close()


def test_sockets_of_the_service_manager_survive_kill_9(managed):
    """What a killed daemon left is removed by the next, but not what is not its own."""
    daemon = managed.daemon
    managed.start(*lab_config(daemon))
    daemon.ask("PUT", "/v1/networks/lab/ports/p1", {}, expect=(409,))
    daemon.create("own")
    daemon.kill()
    wait_for(lambda: not processes(), 20, "the end of every process")
    assert daemon.path("own.stream").exists()
    managed.start(*lab_config(daemon))
    daemon.wait_up("lab")
    daemon.wait_up("own")
    with StreamVm(daemon.path("lab.stream"), mac(1)) as a, StreamVm(daemon.path("lab.stream"), mac(2)) as b:
        a.hello()
        b.expect(frame(BROADCAST, a.address, b"hello"))
    end(daemon)
    assert {path.name for path in daemon.runtime.iterdir()} == {"api.sock", "attach.sock", "lab.stream", "lab.dgram", "vmswitchd.lock"}


def test_a_crashed_network_and_a_deleted_one_get_the_socket_again(make_daemon):
    daemon = make_daemon()
    daemon.expects_failure = True
    with Manager(daemon) as manager:
        manager.bind_all("lab.stream")
        manager.start(*empty_config(daemon))
        vm = StreamVm(daemon.path("lab.stream"), mac(1))  # no network wants it yet: whoever connects waits
        for _ in range(2):
            daemon.create("lab", sockets={"mode": "0666"})
            with StreamVm(daemon.path("lab.stream"), mac(2)) as other:
                wait_for(lambda: len(daemon.ports("lab")) == 2, what="both VMs being ports")
                other.hello()
                vm.expect(frame(BROADCAST, other.address, b"hello"))
            pid = daemon.network("lab")["pid"]
            os.kill(pid, 9)
            assert vm.wait_closed()
            vm.close()
            vm = StreamVm(daemon.path("lab.stream"), mac(1))
            wait_for(lambda: daemon.network("lab")["pid"] not in (None, pid), 10, "the network being back")
            daemon.wait_up("lab")
            wait_for(lambda: len(daemon.ports("lab")) == 1, what="the VM being a port again")
            daemon.ask("DELETE", "/v1/networks/lab")
            vm.close()
            vm = StreamVm(daemon.path("lab.stream"), mac(1))
        vm.close()
        end(daemon)


def test_a_socket_may_lie_elsewhere(make_daemon, folder):
    daemon = make_daemon()
    with Manager(daemon) as manager:
        path = manager.bind("lab.stream", folder / "socket_vmnet")
        manager.start(*lab_config(daemon))
        daemon.wait_up("lab")
        assert not daemon.path("lab.stream").exists() and daemon.path("lab.dgram").exists()
        with StreamVm(path, mac(1)) as a, StreamVm(path, mac(2)) as b:
            a.hello()
            b.expect(frame(BROADCAST, a.address, b"hello"))
        end(daemon)
        assert path.exists()


@pytest.mark.root  # who else may look at its descriptors
def test_control_has_its_two_sockets_and_none_of_a_networks(managed):
    daemon = managed.daemon
    managed.start(*lab_config(daemon))
    daemon.wait_up("lab")
    control = daemon.children()["control"]
    held = {os.readlink(f"/proc/{control}/fd/{fd}") for fd in os.listdir(f"/proc/{control}/fd")}
    assert f"socket:[{managed.inode('api')}]" in held and f"socket:[{managed.inode('lab.stream')}]" not in held
    end(daemon)


def test_a_socket_for_everybody_is_used_only_where_that_is_meant(make_daemon):
    """0666 is systemd's default, and a launchd socket's mode is what its property list says: forgotten or wrong, it would open
    the API, or a network, to every user."""
    daemon = make_daemon()
    with Manager(daemon) as manager:
        manager.bind("api", mode=0o666)
        manager.start(*empty_config(daemon), wait=False)
        assert daemon.process.wait(10) == 1
        assert "everybody may use" in daemon.log()
    with Manager(daemon) as manager:
        manager.bind("lab.stream", mode=0o666)
        manager.bind("open.stream", mode=0o666)
        manager.start(*lab_config(daemon, {"name": "open", "mode": "internal", "sockets": {"mode": "0666"}}))
        daemon.wait_up("open")
        wait_for(lambda: daemon.health("lab")["state"] == "failed", what="the refusal")
        assert "with the mode 0666; it should have 0600" in daemon.health("lab")["reason"]
        assert daemon.stop() == 0


def test_a_group_that_the_network_does_not_name_is_said(make_daemon):
    daemon = make_daemon()
    with Manager(daemon) as manager:
        manager.bind("lab.stream", mode=0o660)
        manager.start(*lab_config(daemon))
        daemon.wait_up("lab")
        assert "the mode 0660, wider than 0600, to its group" in daemon.log()
        assert daemon.path("lab.stream").stat().st_mode & 0o777 == 0o660
        end(daemon)
