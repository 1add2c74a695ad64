"""The units of etc/systemd under a real systemd, booted for the test (booted.py)."""
import os
import shutil
import subprocess
import sys

import pytest

from booted import UNITS, Booted, is_possible
from kernel_nat import lease
from switchd import BUILD, IS_SANITIZED, ROOT, wait_for
from vm import BROADCAST, DatagramVm, StreamVm, frame, mac

CACHE = BUILD / "CMakeCache.txt"
HAS_DOUBLE = CACHE.exists() and "VMNET_DOUBLE:BOOL=ON" in CACHE.read_text()
SYSTEMD = ROOT / "etc" / "systemd"
needs_boot = pytest.mark.skipif(HAS_DOUBLE or IS_SANITIZED or not is_possible(),
                                reason="needs root, systemd, a cgroup2 hierarchy, and a program without sanitizers, which map memory "
                                "as the sandbox forbids")
needs_analyze = pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="needs systemd-analyze (package systemd)")

SOCKETS = ("vmswitchd.socket", "vmswitchd-attach.socket")


@pytest.fixture
def booted(folder):
    with Booted(folder) as one:
        yield one


@needs_analyze
def test_no_unit_has_a_word_that_systemd_does_not_know(tmp_path):
    """systemd-analyze verify; our program is not installed where the units say, so another stands there."""
    units = tmp_path / "units"
    shutil.copytree(UNITS, units)
    for path in units.iterdir():
        path.write_text(path.read_text().replace("/usr/sbin/vmswitchd", sys.executable))
        if "@" in path.name:
            path.rename(path.with_name(path.name.replace("@", "@lab")))
    said = subprocess.run(["systemd-analyze", "verify", "--man=no", *map(str, sorted(units.iterdir()))], capture_output=True, text=True)
    bad = [line for line in said.stderr.splitlines() if "vmswitchd" in line]
    assert said.returncode == 0 and not bad, said.stderr


@needs_analyze
@pytest.mark.parametrize("drop_in, limit", [(None, 20), ("nat.conf", 21), ("datagram.conf", 23), ("unprivileged.conf", 13)])
def test_the_exposure_stays_low(tmp_path, drop_in, limit):
    """As systemd-analyze security counts it, in tenths; docs/security.md says what each costs and is for."""
    shutil.copy(UNITS / "vmswitchd.service", tmp_path)
    if drop_in:
        (tmp_path / "vmswitchd.service.d").mkdir()
        shutil.copy(SYSTEMD / drop_in, tmp_path / "vmswitchd.service.d")
    said = subprocess.run(["systemd-analyze", "security", "--offline=yes", "--no-pager", f"--threshold={limit}", str(tmp_path / "vmswitchd.service")],
                          capture_output=True, text=True, env={**os.environ, "SYSTEMD_UNIT_PATH": str(tmp_path)})
    assert said.returncode == 0, said.stdout.splitlines()[-1] + said.stderr


@needs_boot
def test_the_first_client_starts_it_and_it_says_that_it_is_ready(booted):
    booted.configure('{"networks": [{"name": "nat", "mode": "shared"}, {"name": "lab", "mode": "internal"}]}')
    booted.run("systemctl", "start", *SOCKETS)
    client = booted.client()
    group = int(booted.run("getent", "group", "vmswitch").stdout.split(":")[2])
    info = client.api_path.stat()
    assert (info.st_mode & 0o777, info.st_uid, info.st_gid) == (0o660, 0, group)
    assert (client.runtime / "attach.sock").stat().st_mode & 0o777 == 0o666
    assert booted.show("ActiveState") == "inactive"
    assert client.get("/v1", timeout=20).status == 200
    wait_for(lambda: booted.show("ActiveState") == "active", 10, "the service being active")
    assert booted.show("StatusText") == "2 of 2 networks up"
    assert client.health("nat")["state"] == client.health("lab")["state"] == "up"
    # The sandbox is on, the service user is ours, and nothing complained. The monitor is not root: SETUID, SETGID,
    # SETPCAP, CHOWN, NET_ADMIN.
    status = booted.main_status()
    assert status["Seccomp"] == "2" and status["NoNewPrivs"] == "1"
    assert status["Uid"].split() == [booted.run("id", "-u", "_vmswitchd").stdout.strip()] * 4
    assert {int(status[name], 16) for name in ("CapEff", "CapPrm", "CapBnd", "CapAmb")} == {1 << 7 | 1 << 6 | 1 << 8 | 1 << 0 | 1 << 12}
    owner = int(booted.run("id", "-u", "_vmswitch").stdout)
    assert client.network("lab")["owner"] == owner
    assert "warn" not in booted.log() and "error" not in booted.log(), booted.log()


@needs_boot
def test_systemctl_reload_waits_until_it_is_done(booted):
    booted.configure('{"networks": [{"name": "lab", "mode": "internal"}]}')
    booted.run("systemctl", "start", "vmswitchd.service")
    pid = booted.show("MainPID")
    booted.configure('{"networks": [{"name": "lab", "mode": "internal"}, {"name": "two", "mode": "internal"}]}')
    booted.run("systemctl", "reload", "vmswitchd.service")
    wait_for(lambda: booted.show("StatusText") == "2 of 2 networks up", 10, "the new status")
    assert (booted.show("ActiveState"), booted.show("MainPID")) == ("active", pid)
    assert sorted(booted.client().networks()) == ["lab", "two"]


@needs_boot
def test_what_is_kept_can_be_written_and_read_after_a_reload(booted):
    """For ExecReload= systemd sets StateDirectory= up anew: what in it is not the unit's user's may become that user's."""
    booted.run("systemctl", "start", "vmswitchd.service")
    client = booted.client()
    client.create("before")
    state = booted.root / "var" / "lib" / "vmswitch"
    owners = {path: path.stat().st_uid for path in state.rglob("*")}
    service = int(booted.run("id", "-u", "_vmswitch").stdout)
    assert {str(path.relative_to(state)) for path, owner in owners.items() if owner == service} == {"networks", "networks/before.json"}
    for turn in (1, 2):
        booted.run("systemctl", "reload", "vmswitchd.service")
        wait_for(lambda: booted.log().count("is read again") == turn, 10, "the reload")
        assert {path: path.stat().st_uid for path in owners} == owners
    client.create("after")
    # Another control finds both.
    pids = booted.run("pgrep", "-f", "role=control").stdout.split()
    booted.run("kill", "-KILL", *pids)
    wait_for(lambda: booted.run("pgrep", "-f", "role=control", check=False).stdout.split() not in ([], pids), 10, "another control")
    assert {"before", "after"} <= set(client.networks())  # whoever connects meanwhile waits in the socket
    booted.run("systemctl", "restart", "vmswitchd.service")
    client.wait_up("after", 20)
    client.wait_up("before", 20)


@needs_boot
def test_a_restart_keeps_sockets_and_networks(booted):
    client = booted.client()
    booted.run("systemctl", "start", "vmswitchd-stream@lab.socket", "vmswitchd.service")
    client.create("lab")
    stream = client.runtime / "lab.stream"
    # The unit's mode, not the network's.
    before = [(path, path.stat().st_ino) for path in (client.api_path, client.runtime / "attach.sock", stream)]
    assert stream.stat().st_mode & 0o777 == 0o660
    for how in ("restart", "kill"):
        if how == "restart":
            booted.run("systemctl", "restart", "vmswitchd.service")
        else:
            booted.run("systemctl", "kill", "--kill-whom=main", "-s", "KILL", "vmswitchd.service")
            wait_for(lambda: booted.show("NRestarts") == "1" and booted.show("ActiveState") == "active", 10, "the restart")
        with StreamVm(stream, mac(1)) as a, StreamVm(stream, mac(2)) as b:
            a.hello()
            client.wait_up("lab")
            b.hello()
            a.expect(frame(BROADCAST, b.address, b"hello"))
        assert [(path, path.stat().st_ino) for path, _ in before] == before, how
    booted.run("systemctl", "stop", "vmswitchd.service", *SOCKETS, "vmswitchd-stream@lab.socket")
    assert [path.name for path in client.runtime.iterdir() if path.is_socket()] == []
    assert booted.show("Result") == "success"


@needs_boot
def test_a_tap_can_be_made_in_the_sandbox(booted):
    booted.run("systemctl", "start", "vmswitchd.service")
    client = booted.client()
    client.create("hostnet", mode="host", uplink="tap", ipv4={"gateway": "192.168.77.1", "netmask": "255.255.255.0"})
    assert "192.168.77.1" in booted.ip("-4", "addr")


@needs_boot
def test_a_datagram_vm_in_tmp_is_answered_with_datagram_conf(folder):
    """/tmp is the machine's then, seen and read only: connecting to a socket there is no writing."""
    booted = Booted(folder)
    booted.drop_in("datagram.conf", (SYSTEMD / "datagram.conf").read_text())
    with booted:
        booted.run("systemctl", "start", "vmswitchd.service")
        client = booted.client()
        client.create("lab")
        client.ask("PUT", "/v1/networks/lab/ports/p1", {})
        with StreamVm(client.runtime / "lab.stream", mac(1)) as a, \
                DatagramVm(client.runtime / "lab.p1.dgram", mac(2), local=folder / "vm.sock") as b:
            b.hello()
            a.expect(frame(BROADCAST, b.address, b"hello"))
            a.send(frame(b.address, a.address, b"to b"))
            b.expect(frame(b.address, a.address, b"to b"))


@needs_boot
def test_what_no_stream_needs_is_hidden(booted, folder):
    """And a datagram VM that has its socket there is told where to look."""
    booted.run("systemctl", "start", "vmswitchd.service")
    client = booted.client()
    client.create("lab")
    client.ask("PUT", "/v1/networks/lab/ports/p1", {})
    with StreamVm(client.runtime / "lab.stream", mac(1)) as a, StreamVm(client.runtime / "lab.stream", mac(2)) as b, \
            DatagramVm(client.runtime / "lab.p1.dgram", mac(3), local=folder / "vm.sock") as c, \
            DatagramVm(client.runtime / "lab.dgram", mac(4), local=folder / "vm2.sock") as d:
        a.hello(), b.hello()
        a.expect(frame(BROADCAST, b.address, b"hello"))
        for vm, name in ((c, "port p1: a client's socket"), (d, "a client's socket")):
            vm.hello()
            wait_for(lambda: f"{name} {vm.local} is not there for us" in booted.log(), 5, f"{vm.local} being named; {booted.log()}")
    assert booted.log().count("(datagram.conf)") == 2
    inside = f"/proc/{booted.show('MainPID')}/root/tmp"
    assert folder.name not in booted.run("ls", inside).stdout


@needs_boot
def test_it_may_still_be_root(folder):
    """root.conf: for Open vSwitch, and a configuration that only root may read."""
    booted = Booted(folder)
    booted.drop_in("root.conf", (SYSTEMD / "root.conf").read_text())
    with booted:
        booted.configure('{"networks": [{"name": "lab", "mode": "internal"}]}')
        (booted.root / "etc" / "vmswitch" / "vmswitchd.conf").chmod(0o600)
        booted.run("systemctl", "start", "vmswitchd.service")
        booted.client().wait_up("lab", 20)
        status = booted.main_status()
        assert status["Uid"].split() == ["0"] * 4 and int(status["CapEff"], 16) == 1 << 7 | 1 << 6 | 1 << 8 | 1 << 0 | 1 << 12


@needs_boot
def test_a_network_is_bridged_in_the_sandbox(booted):
    booted.ip("link", "add", "br-test", "type", "bridge")
    booted.ip("link", "set", "br-test", "up")
    booted.configure('{"networks": [{"name": "office", "mode": "bridged", "interface": "br-test"}], "bridged_interfaces": ["br-test"]}')
    booted.run("systemctl", "start", "vmswitchd.service")
    client = booted.client()
    client.wait_up("office", 20)
    assert "master br-test" in booted.ip("link")
    assert "br-test" in [one["name"] for one in client.ask("GET", "/v1/interfaces")["interfaces"]]


@needs_boot
def test_nat_by_the_kernel_in_the_sandbox(folder):
    """The unit alone says what is missing; with nat.conf it is all there, and leases are kept over restarts and reloads, for
    which systemd may give all that lies in the state folder to root, who may not enter others' folders."""
    program = shutil.which("dnsmasq", path="/usr/sbin:/usr/bin")
    if not program or not shutil.which("nft"):
        pytest.skip("nftables or dnsmasq is not installed")
    booted = Booted(folder)
    with booted:
        shutil.copy(program, f"/proc/{booted.pid}/root/usr/sbin/dnsmasq")
        booted.run("sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward")
        booted.configure('{"networks": [{"name": "nat", "mode": "shared", "uplink": "tap", "sockets": {"mode": "0666"}}]}')
        booted.run("systemctl", "start", "vmswitchd.service")
        client = booted.client()
        wait_for(lambda: "nat.conf" in (client.health("nat").get("reason") or ""), 10, "the way out being named")
        booted.drop_in("nat.conf", (SYSTEMD / "nat.conf").read_text())
        booted.run("systemctl", "daemon-reload")
        booted.run("systemctl", "restart", "vmswitchd.service")
        client.wait_up("nat", 20)
        # Inside, /usr/sbin is empty but for ours.
        tables = ["nsenter", "-t", str(booted.pid), "-n", "nft", "list", "tables"]
        assert "vmswitch-nat" in subprocess.run(tables, capture_output=True, text=True, check=True).stdout
        stream, leases = (booted.root / path for path in ("run/vmswitch/nat.stream", "var/lib/vmswitch/leases/nat"))
        with StreamVm(stream, mac(1)) as vm:
            assert lease(vm, asked="192.168.105.201") == "192.168.105.201"
        owner = leases.stat().st_uid
        for _ in range(2):
            booted.run("systemctl", "reload", "vmswitchd.service")
            assert leases.stat().st_uid == owner != 0
            booted.run("systemctl", "restart", "vmswitchd.service")
            client.wait_up("nat", 20)
            with StreamVm(stream, mac(2)) as other, StreamVm(stream, mac(1)) as vm:
                assert lease(other, asked="192.168.105.201") not in (None, "192.168.105.201")
                assert lease(vm) == "192.168.105.201"
        booted.configure('{"networks": []}')
        booted.run("systemctl", "reload", "vmswitchd.service")
        wait_for(lambda: not leases.exists() and not (booted.root / "run/vmswitch/nat.dhcp").exists(), 5, "its folders being gone")
        assert "could not be removed" not in booted.log() and "leases end with" not in booted.log()
        booted.run("systemctl", "stop", "vmswitchd.service")
        assert "vmswitch-nat" not in subprocess.run(tables, capture_output=True, text=True, check=True).stdout


@needs_boot
@pytest.mark.skipif(not shutil.which("dnsmasq"), reason="needs dnsmasq")
def test_a_shared_network_of_the_kernel_in_its_sandbox(folder):
    """With the drop-in nat.conf; without it, the refusal names it."""
    booted = Booted(folder)
    booted.drop_in("nat.conf", (SYSTEMD / "nat.conf").read_text())
    with booted:
        booted.run("systemctl", "start", "vmswitchd.service")
        client = booted.client()
        client.ask("PUT", "/v1/networks/nat", {"mode": "shared", "uplink": "tap", "ipv4": {"gateway": "192.168.78.1", "netmask": "255.255.255.0"}})
        wait_for(lambda: client.health("nat")["state"] != "starting", 20, "the network")
        # Whether the host forwards is the host's choice, or ours: that it may not is no matter of the sandbox.
        assert client.health("nat")["state"] == "up" or "ip_forward" in client.health("nat")["reason"], client.health("nat")
        wait_for(lambda: "dnsmasq" in booted.run("ps", "-eo", "comm").stdout, 10, "the DHCP server")
        (booted.units / "vmswitchd.service.d" / "nat.conf").unlink()
        booted.run("systemctl", "daemon-reload")
        booted.run("systemctl", "restart", "vmswitchd.service")
        assert "nat.conf" in wait_for(lambda: client.health("nat").get("reason"), 20, "a reason")


@needs_boot
def test_a_wrong_configuration_is_not_tried_again(booted):
    booted.configure("{")
    assert booted.run("systemctl", "start", "vmswitchd.service", check=False).returncode != 0
    assert booted.show("ExecMainStatus") == "3"
    assert (booted.show("ActiveState"), booted.show("NRestarts")) == ("failed", "0")
    assert "vmswitchd.conf" in booted.log()


@needs_boot
def test_without_root_everything_that_needs_none_works(folder):
    booted = Booted(folder)
    booted.drop_in("unprivileged.conf", (SYSTEMD / "unprivileged.conf").read_text())
    with booted:
        booted.run("systemctl", "start", *SOCKETS)
        client = booted.client()
        assert client.get("/v1", timeout=20).status == 200
        user, group = (int(booted.run(*words).stdout.split(":")[-1 if words[0] == "id" else 2])
                       for words in (("id", "-u", "_vmswitch"), ("getent", "group", "vmswitch")))
        status = booted.main_status()
        assert status["Uid"].split() == [str(user)] * 4 and status["CapBnd"] == "0" * 16
        client.wait_up("shared", 20)
        client.create("lab", sockets={"mode": "0660"})
        info = client.api_path.stat()
        assert (info.st_mode & 0o777, info.st_gid) == (0o660, group)
        # A member of the group uses the API, plugs in and attaches; anybody else does not.
        attach = ("import socket, sys; a, b = socket.socketpair(); c = socket.socket(socket.AF_UNIX); c.connect('/run/vmswitch/attach.sock');"
                  "socket.send_fds(c, [b'{\"network\": \"lab\"}\\n'], [b.fileno()]); said = c.recv(999); print(said); sys.exit(b'\"port\"' not in said)")
        curl = ("curl", "-sf", "--unix-socket", "/run/vmswitch/api.sock", "http://localhost/v1/networks")
        for command in (curl, (sys.executable, "-c", attach)):
            as_who = lambda gid: booted.run("setpriv", "--reuid=65534", f"--regid={gid}", "--clear-groups", *command, check=False)
            assert as_who(group).returncode == 0, as_who(group).stderr
            assert as_who(65534).returncode != 0
        booted.run("systemctl", "restart", "vmswitchd.service")
        client.wait_up("lab", 20)


@needs_boot
def test_networks_are_kept_when_root_is_given_up_and_taken_again(booted):
    """systemd gives the state folder from one to the other, with all that is in it."""
    booted.configure('{"networks": []}')
    booted.run("systemctl", "start", "vmswitchd.service")
    client = booted.client()
    client.create("first")
    for name, drop_in in (("second", (SYSTEMD / "unprivileged.conf").read_text()), ("third", "")):
        booted.drop_in("privileges.conf", drop_in)
        booted.run("systemctl", "daemon-reload")
        booted.run("systemctl", "restart", "vmswitchd.service")
        client.create(name, sockets={"mode": "0660"})
        booted.run("systemctl", "reload", "vmswitchd.service")
        booted.run("systemctl", "restart", "vmswitchd.service")
        client.wait_up("first", 20)
        client.wait_up(name, 20)
    assert {"first", "second", "third"} <= set(client.networks())
    assert "Permission denied" not in booted.log() and "error" not in booted.log(), booted.log()


USER_MANAGER = """[Service]
Type=notify
User=nobody
Delegate=yes
Environment=XDG_RUNTIME_DIR=/run/user-of-test HOME=/run/user-of-test SYSTEMD_UNIT_PATH={units}
ExecStart=/lib/systemd/systemd --user --unit=test.target --log-target=console
StandardError=append:/run/user-manager-log
"""


@needs_boot
def test_a_user_has_it_by_the_users_own_systemd(folder):
    booted = Booted(folder)
    units = folder / "user-units"
    shutil.copytree(SYSTEMD / "user", units)
    for name in ("test", "basic", "sockets", "shutdown", "default"):
        (units / f"{name}.target").write_text(f"[Unit]\nDescription={name}\nDefaultDependencies=no\n")
    (units / "vmswitchd.service.d").mkdir()
    (units / "vmswitchd.service.d" / "log.conf").write_text("[Service]\nStandardError=append:/run/user-of-test/log\n")
    (booted.units / "manager.service").write_text(USER_MANAGER.format(units=units))
    with booted:
        booted.run("install", "-d", "-o", "nobody", "-m", "0700", "/run/user-of-test")
        booted.run("systemctl", "start", "manager.service")
        mine = lambda *words: booted.run("setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", "env",
                                         "XDG_RUNTIME_DIR=/run/user-of-test", *words)
        mine("systemctl", "--user", "start", *SOCKETS)
        client = booted.client()
        client.runtime = booted.root / "run" / "user-of-test" / "vmswitch"
        assert client.api_path.stat().st_mode & 0o777 == 0o600
        assert client.get("/v1", timeout=20).status == 200
        client.wait_up("shared", 20)
        client.create("lab")
        inode = client.api_path.stat().st_ino
        mine("systemctl", "--user", "restart", "vmswitchd.service")
        assert mine("systemctl", "--user", "show", "-P", "StatusText", "vmswitchd.service").stdout.strip() == "2 of 2 networks up"
        assert client.api_path.stat().st_ino == inode
        log = (client.runtime.parent / "log").read_text()
        assert "warn" not in log and "error" not in log, log
