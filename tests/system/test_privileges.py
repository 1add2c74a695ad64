"""Who runs as whom (S08, S12, S13); every test here needs root."""
import ctypes
import os
import pwd
import signal
import socket
import subprocess

import pytest

from conftest import empty_config
from switchd import HAS_SANDBOX, processes, status_of, wait_for
from vm import BROADCAST, DatagramVm, StreamVm, frame, mac

pytestmark = pytest.mark.root


def as_user(uid, gid, call):
    """Runs a function in a child with another uid; its result has to be true."""
    pid = os.fork()
    if pid == 0:
        try:
            os.setgroups([])
            os.setresgid(gid, gid, gid)
            os.setresuid(uid, uid, uid)
            os._exit(0 if call() else 1)
        except BaseException as error:  # the child must not come back into pytest
            print(repr(error))
            os._exit(2)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def harmless(status):
    ids = {*status["Uid"].split(), *status["Gid"].split()}
    assert "0" not in ids, status
    assert status["NoNewPrivs"] == "1", status
    assert not HAS_SANDBOX or status["Seccomp"] == "2", status
    for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert int(status[name], 16) == 0, (name, status[name])


def test_S08_no_role_that_reads_a_clients_byte_has_a_privilege(daemon, net):
    daemon.create("nat", mode="shared", uplink="user")
    wait_for(lambda: "uplink nat" in daemon.children(), what="the uplink's process")
    children = daemon.children()
    assert {"control", "network lab", "network nat", "uplink nat"} <= set(children)
    for name, pid in children.items():
        harmless(status_of(pid))
        groups = status_of(pid)["Groups"].split()
        assert "0" not in groups, (name, groups)
    assert status_of(daemon.pid)["Uid"].split()[0] == "0"


def test_a_network_runs_as_its_owner(make_daemon):
    made = make_daemon()
    nobody, daemon_user = pwd.getpwnam("nobody"), pwd.getpwnam("daemon")
    config = made.folder / "vmswitchd.conf"
    config.write_text('{"networks": [{"name": "theirs", "mode": "internal", "user": "daemon", "sockets": {"mode": "0666"}}]}\n')
    made.start("--config", str(config))
    made.wait_up("theirs")
    made.create("roots")
    assert status_of(made.network("theirs")["pid"])["Uid"].split()[0] == str(daemon_user.pw_uid)
    assert made.network("theirs")["owner"] == daemon_user.pw_uid
    assert status_of(made.network("roots")["pid"])["Uid"].split()[0] == str(nobody.pw_uid)
    assert "nobody" in made.log()


def test_user_is_who_the_service_runs_as(make_daemon):
    made = make_daemon()
    made.start(*empty_config(made), "--user", "daemon")
    uid = str(pwd.getpwnam("daemon").pw_uid)
    assert status_of(made.children()["control"])["Uid"].split() == [uid] * 4


def test_an_unknown_user_is_a_clear_error(make_daemon):
    made = make_daemon()
    made.start(*empty_config(made), "--user", "no-such-user", wait=False)
    assert made.process.wait(10) in (1, 2)
    assert "no-such-user" in made.log()


def test_a_datagram_client_that_may_not_be_answered_is_told(daemon, net, folder):
    """The network runs as nobody; root's own socket, not writable by others, is refused with the way out."""
    with StreamVm(daemon.path("lab.stream"), mac(1)) as a:
        daemon.ask("PUT", "/v1/networks/lab/ports/p1", {})
        local = folder / "mine.sock"
        with DatagramVm(daemon.path("lab.p1.dgram"), mac(2), local=local) as b:
            os.chmod(local, 0o600)
            b.hello()
            port = wait_for(lambda: p if (p := daemon.port("lab", "p1"))["problem"] else None, what="the port's problem")
            assert "client_path_denied" in port["problem"]
            assert "client_path_denied" in daemon.log()
        with DatagramVm(daemon.path("lab.p1.dgram"), mac(2), folder) as b:
            b.hello()
            a.expect(frame(BROADCAST, b.address, b"hello"))


def test_the_api_and_attaching_refuse_strangers(daemon, net):
    nobody, user = pwd.getpwnam("nobody"), pwd.getpwnam("daemon")

    def may_connect(name):
        def attempt():
            try:
                socket.socket(socket.AF_UNIX).connect(str(daemon.path(name)))
                return True
            except PermissionError:
                return False
        return as_user(user.pw_uid, user.pw_gid, attempt) == 0

    assert not may_connect("api.sock")

    def attach_attempt():
        from vm import Lease
        ours, theirs = socket.socketpair()
        lease = Lease(daemon, {"network": "lab"}, [theirs.fileno()])
        return lease.status == 403 and bool(lease.answer["detail"])

    assert as_user(user.pw_uid, user.pw_gid, attach_attempt) == 0
    wait_for(lambda: f"uid {user.pw_uid}" in daemon.log(), what="the audit line")


def may_attach(daemon, network, uid, gid):
    def attempt():
        from vm import Lease
        ours, theirs = socket.socketpair()
        return "port" in Lease(daemon, {"network": network}, [theirs.fileno()]).answer
    return as_user(uid, gid, attempt) == 0


def may_plug_in(daemon, network, uid, gid):
    def attempt():
        try:
            socket.socket(socket.AF_UNIX).connect(str(daemon.path(f"{network}.stream")))
            return True
        except PermissionError:
            return False
    return as_user(uid, gid, attempt) == 0


def test_the_group_of_a_network_gets_in_and_nobody_else(daemon):
    nobody, team = pwd.getpwnam("nobody"), pwd.getpwnam("daemon")
    daemon.create("team", sockets={"group": "daemon", "mode": "0660"})
    for may in (may_attach, may_plug_in):
        assert may(daemon, "team", nobody.pw_uid, team.pw_gid)
        # The network's process runs as nobody, but is root's: that user has no right to it.
        assert not may(daemon, "team", nobody.pw_uid, nobody.pw_gid)


def test_the_owner_of_a_network_gets_in_and_nobody_else(make_daemon):
    nobody, owner = pwd.getpwnam("nobody"), pwd.getpwnam("daemon")
    made = make_daemon()
    config = made.folder / "vmswitchd.conf"
    config.write_text('{"networks": [{"name": "theirs", "mode": "internal", "user": "daemon"}]}\n')
    made.start("--config", str(config))
    made.wait_up("theirs")
    for may in (may_attach, may_plug_in):
        assert may(made, "theirs", owner.pw_uid, owner.pw_gid)
        assert not may(made, "theirs", nobody.pw_uid, nobody.pw_gid)


def test_a_process_that_hangs_is_killed_without_the_capability_to_kill(make_daemon):
    """As under the unit for systemd: who may become that user needs no other right."""
    cap_kill, capbset_drop = 5, 24
    made = make_daemon()
    made.start(*empty_config(made), preexec=lambda: ctypes.CDLL(None).prctl(capbset_drop, cap_kill, 0, 0, 0))
    assert not int(status_of(made.pid)["CapEff"], 16) & 1 << cap_kill
    made.create("lab")
    pid = made.network("lab")["pid"]
    os.kill(pid, signal.SIGSTOP)
    made.ask("DELETE", "/v1/networks/lab")
    wait_for(lambda: pid not in processes(), 5, "the end of a stopped process")


@pytest.mark.parametrize("name", ["lo", "eth9"])
def test_S13_interfaces_that_are_not_ours_stay_untouched(daemon, name):
    if name != "lo":
        subprocess.run(["ip", "tuntap", "add", name, "mode", "tap"], check=True)
    try:
        before = subprocess.run(["ip", "-o", "addr", "show", name], capture_output=True, text=True, check=True).stdout
        for fields in ({"mode": "host", "uplink": "tap", "interface": name}, {"mode": "bridged", "interface": name},
                       {"mode": "internal", "interface": name}):
            answer = daemon.request("PUT", "/v1/networks/grab", {**fields, "ipv4": {"dhcp": False}})
            assert 400 <= answer.status < 500, answer
        assert subprocess.run(["ip", "-o", "addr", "show", name], capture_output=True, text=True, check=True).stdout == before
    finally:
        if name != "lo":
            subprocess.run(["ip", "link", "del", name], check=True)


def test_the_daemon_runs_as_an_ordinary_user(user_daemon, folder):
    user_daemon.create("lab")
    uids = {status_of(pid)["Uid"].split()[0] for pid in processes()}
    assert uids == {str(pwd.getpwnam("nobody").pw_uid)}
    with StreamVm(user_daemon.path("lab.stream"), mac(1)) as a, DatagramVm(user_daemon.path("lab.dgram"), mac(2), folder) as b:
        b.hello()
        a.expect(frame(BROADCAST, b.address, b"hello"))
        a.send(frame(b.address, a.address, b"hi"))
        b.expect(frame(b.address, a.address, b"hi"))
    answer = user_daemon.request("PUT", "/v1/networks/tap", {"mode": "host", "uplink": "tap", "ipv4": {"dhcp": False}})
    assert answer.status < 500
    # Without root there is no TAP; the network says so and the rest works.
    if answer.status < 300:
        wait_for(lambda: user_daemon.network("tap")["state"] in ("failed", "degraded"), what="the network saying so")
        assert user_daemon.network("tap")["uplink"]["reason"]


def test_what_root_was_given_in_the_state_folder_is_the_service_users_again(make_daemon):
    """systemd's StateDirectory= gives all of it to root at each start."""
    made = make_daemon()
    made.start(*empty_config(made))
    made.create("lab")
    assert made.stop() == 0
    outside = made.folder / "outside"
    outside.write_text("root's")
    (made.state / "networks" / "link").symlink_to(outside)
    os.link(outside, made.state / "networks" / "other-name")
    for path in [made.state, *made.state.rglob("*")]:
        os.chown(path, 0, 0, follow_symlinks=False)
    made.start(*empty_config(made))
    made.wait_up("lab")
    service = made.network("lab")["owner"]
    assert (made.state / "networks" / "lab.json").stat().st_uid == service
    assert outside.stat().st_uid == 0, "what lies elsewhere was given away"
    made.ask("DELETE", "/v1/networks/lab")
