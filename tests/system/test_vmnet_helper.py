"""vmnet-helper: its contract, as section 7 of the table in docs/compatibility.md numbers it."""
import json
import os
import re
import shutil
import signal
import socket
import stat
import struct
import subprocess
import threading
import time

import pytest

from front import family, leftovers, processes_of
from helpers import NET_KEYS, TEN_KEYS, check_types, line_of, read_until, run, vfkit
from switchd import BIN, EXIT_S, wait_for
from vm import BROADCAST, DatagramVm, StreamVm, frame, mac

ID = "5b8c9d1e-7f20-4a31-9c42-d06e1f2a3b4c"
IS_ROOT = os.geteuid() == 0
SEMVER = r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(?:-[0-9A-Za-z.-]+)?(?:\+[0-9A-Za-z.-]+)?"


@pytest.fixture
def place(folder):
    """A VM's folder, where whoever the helper becomes may make a socket."""
    path = folder / "machine"
    path.mkdir()
    path.chmod(0o777)
    return path


@pytest.fixture
def elsewhere(folder):
    """Another, for the VM's own socket (TMPDIR)."""
    path = folder / "tmp"
    path.mkdir()
    path.chmod(0o777)
    return path


def pair():
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)


# ---- what only prints ----

def test_17_version_is_yaml_with_a_strict_semver_of_0_9_0_or_more():
    """minikube: exit 0, `version: vX.Y.Z` and `commit:`, compared with 0.9.0; without any privilege."""
    user = {"user": "nobody"} if IS_ROOT else {}
    said = run("vmnet-helper", "--version", **user)
    assert said.returncode == 0 and said.stderr == ""
    keys = dict(line.split(": ", 1) for line in said.stdout.splitlines())
    assert set(keys) == {"version", "commit"} and keys["commit"]
    match = re.fullmatch("v" + SEMVER, keys["version"])
    assert match and tuple(map(int, match.groups())) >= (0, 9, 0)
    assert "-" not in keys["version"], "a pre-release of 0.9.0 comes before it"


def test_help_is_on_stderr_with_success():
    said = run("vmnet-helper", "--help")
    assert said.returncode == 0 and said.stdout == "" and "--fd" in said.stderr


def test_25_list_shared_interfaces_is_one_name_a_line_and_success():
    said = run("vmnet-helper", "--list-shared-interfaces")
    assert said.returncode == 0 and all(re.fullmatch(r"\S+", line) for line in said.stdout.splitlines())


@pytest.mark.parametrize("argv,why", [
    ([], "One of fd and socket"),
    (["--fd", "3", "--socket", "/x"], "conflict"),
    (["--fd", "-1"], "Invalid fd"),
    (["--fd", "99"], "not open"),
    (["--socket", "/" + "x" * 103], "too long"),
    (["--socket=/tmp/s", "--operation-mode=bridged"], "shared-interface is required"),
    (["--socket=/tmp/s", "--operation-mode", "nat"], "operation-mode"),
    (["--socket=/tmp/s", "--start-address=192.168.1.1"], "all three"),
    (["--socket=/tmp/s", "--start-address=192.168.1.9", "--end-address=192.168.1.2", "--subnet-mask=255.255.255.0"], "dhcp_end"),
    (["--socket=/tmp/s", "--operation-mode=bridged", "--shared-interface=en0", "--enable-isolation"], "enable-isolation"),
    (["--socket=/tmp/s", "--network=lab", "--operation-mode=host"], "conflicts"),
    (["--socket=/tmp/s", "--interface-id=1"], "UUID"),
    (["--socket=/tmp/s", "--stats-interval=0"], "stats-interval"),
    (["--socket=/tmp/s", "--bogus"], "Invalid option: --bogus"),
    (["--socket"], "needs a value"),
    (["--socket=/nowhere/at/all/s"], "/nowhere/at/all"),
])
def test_refusals_say_why_and_exit_1(argv, why):
    said = run("vmnet-helper", *argv)
    assert said.returncode == 1 and said.stdout == "" and why in said.stderr, said
    assert said.stderr.splitlines()[-1].startswith("ERROR [main] "), said.stderr


def test_an_unknown_uplink_is_refused_by_name():
    said = run("vmnet-helper", "--socket=/tmp/s", env={"VMSWITCH_UPLINK": "bogus"})
    assert said.returncode == 1 and "VMSWITCH_UPLINK" in said.stderr


def test_a_descriptor_that_is_no_datagram_socket_is_refused(start_front):
    read_end, write_end = os.pipe()
    helper = start_front("vmnet-helper", f"--fd={read_end}", pass_fds=[read_end])
    assert helper.process.wait(10) == 1 and "not a socket" in helper.log()
    os.close(read_end)
    os.close(write_end)


# ---- the line ----

def test_18_socket_is_bound_before_the_line_and_stdout_is_silent_after(start_front, place):
    path = place / "vmnet-helper.sock"
    helper = start_front("vmnet-helper", "--socket", path)
    said = read_until(helper.process.stdout, b"\n", 3)
    # The VM starts at once: no retry here.
    with vfkit(path, place, mac(1)) as vm:
        vm.send(frame(BROADCAST, mac(1)))
        wait_for(lambda: "connected to client" in helper.log(), what="the client")
    assert helper.process.wait(EXIT_S + 1) == 0, "the VM has gone"
    assert helper.process.stdout.read() == b"" and said.count(b"\n") == 1


@pytest.mark.parametrize("mode", ["shared", "host"])
def test_19_ten_keys_with_their_types_and_the_addresses_that_were_asked_for(start_front, place, mode):
    """anylinuxfs: a struct of all ten, strict types; ec1: eight of them; ids in either case."""
    asked = ["--start-address=172.27.1.1", "--end-address=172.27.1.2", "--subnet-mask=255.255.255.252"]
    helper = start_front("vmnet-helper", "--socket", place / "s", *asked, f"--operation-mode={mode}", "--interface-id", ID)
    facts = line_of(helper)
    check_types(facts, TEN_KEYS)
    assert (facts["vmnet_start_address"], facts["vmnet_end_address"], facts["vmnet_subnet_mask"]) == (
        "172.27.1.1", "172.27.1.2", "255.255.255.252")
    assert facts["vmnet_interface_id"] == ID.upper() and facts["vmnet_max_packet_size"] == 1514 and facts["vmnet_mtu"] == 1500
    assert facts["vmnet_nat66_prefix"].endswith("::")


def test_25_without_addresses_the_network_has_its_own(start_front, place):
    facts = line_of(start_front("vmnet-helper", "--socket", place / "s"))
    check_types(facts, TEN_KEYS)
    assert facts["vmnet_start_address"] == "192.168.105.1"


def test_20_the_address_belongs_to_the_interface_id(start_front, place):
    """minikube <= 1.38.1: the MAC of the line is the guest's and the lease's key, over restarts."""
    def address(name, *more):
        helper = start_front("vmnet-helper", "--socket", place / name, *more)
        facts = line_of(helper)
        assert helper.stop() == 0
        return facts["vmnet_mac_address"]

    first = address("a", "--interface-id", ID)
    assert address("b", "-i", ID.upper()) == first
    other = address("c", "--interface-id", "5b8c9d1e-7f20-4a31-9c42-d06e1f2a3b4d")
    random = {address("d"), address("e")}
    assert len({first, other, *random}) == 4
    for one in (first, other, *random):
        assert re.fullmatch(r"([0-9a-f]{2}:){5}[0-9a-f]{2}", one) and int(one[:2], 16) & 3 == 2, one


def test_24_the_packet_size_follows_the_offload(start_front, place):
    facts = line_of(start_front("vmnet-helper", "--socket", place / "s", "--enable-tso", "--enable-checksum-offload"))
    assert facts["vmnet_max_packet_size"] == 65550


# ---- the socket ----

def test_21_socket_and_lock_are_private_and_go_at_the_end(start_front, place):
    path = place / "s"
    helper = start_front("vmnet-helper", "--socket", path)
    line_of(helper)
    lock = place / "s.lock"
    assert stat.S_ISSOCK(path.stat().st_mode) and stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(lock.stat().st_mode) == 0o600
    second = run("vmnet-helper", "--socket", path)
    assert second.returncode == 1 and "another one has the socket" in second.stderr
    assert stat.S_ISSOCK(path.stat().st_mode), "the winner's stays"
    assert helper.stop() == 0
    assert leftovers(place) == []


@pytest.mark.parametrize("greeting", [b"VFKT", b"x"], ids=["vfkit", "renode"])
def test_21_a_short_first_datagram_is_thrown_away(start_front, place, elsewhere, greeting):
    helper = start_front("vmnet-helper", "--socket", place / "s", "--stats-interval=1")
    line_of(helper)
    with DatagramVm(place / "s", mac(1), folder=elsewhere) as vm:
        vm.send(greeting)
        vm.send(frame(BROADCAST, mac(1)))
        wait_for(lambda: re.search(r'INFO  \[stats\] .*"vm":\{"packets":1,', helper.log()), what="the frame counted, and nothing else")


def test_21_a_frame_as_first_datagram_is_kept(start_front, place, elsewhere):
    """krunkit without vfkitMagic."""
    helper = start_front("vmnet-helper", "--socket", place / "s", "--stats-interval=1")
    line_of(helper)
    with vfkit(place / "s", elsewhere, mac(1), magic=False) as vm:
        vm.send(frame(BROADCAST, mac(1), size=64))
        stats = json.loads(wait_for(lambda: re.search(r"\[stats\] (\{.*\"packets\":1,.*\})", helper.log()), what="the frame")[1])
    assert stats["vm"] == {"packets": 1, "bytes": 64, "drops": 1, "fast": 1, "slow": 0}, stats  # nobody else is there
    assert set(stats) == {"time", "host", "vm"} and set(stats["host"]) == set(stats["vm"])


def test_21_later_clients_are_ignored(start_front, place):
    helper = start_front("vmnet-helper", "--socket", place / "s")
    line_of(helper)
    with vfkit(place / "s", place, mac(1)):
        wait_for(lambda: "connected to client" in helper.log())
        other = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        other.bind(str(place / "other"))
        with pytest.raises(PermissionError):
            other.connect(str(place / "s"))
        other.close()
        assert helper.alive()


def test_a_client_without_a_name_or_a_dead_one_is_not_waited_for(start_front, place):
    helper = start_front("vmnet-helper", "--socket", place / "s")
    line_of(helper)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as nameless:
        nameless.sendto(b"VFKT", str(place / "s"))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as dead:
        dead.bind(str(place / "dead"))
        os.chmod(place / "dead", 0o666)
        os.kill(helper.pid, signal.SIGSTOP)
        dead.sendto(b"VFKT", str(place / "s"))
    os.kill(helper.pid, signal.SIGCONT)
    wait_for(lambda: "cannot be connected to" in helper.log())
    with vfkit(place / "s", place, mac(1)):
        wait_for(lambda: "connected to client" in helper.log())


@pytest.mark.root
def test_21_a_client_whose_socket_may_not_be_written_is_told_so(start_front, place):
    helper = start_front("vmnet-helper", "--socket", place / "s")
    line_of(helper)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as vm:
        vm.bind(str(place / "private"))
        os.chmod(place / "private", 0o600)
        vm.sendto(b"VFKT", str(place / "s"))
        wait_for(lambda: "client_path_denied" in helper.log())
    assert "--fd" in helper.log() and helper.alive()


def test_a_client_that_dies_in_silence_ends_it_with_0(start_front, place, elsewhere):
    """Linux tells nobody that a connected datagram socket's other end has gone."""
    for unlinks in (False, True):
        helper = start_front("vmnet-helper", "--socket", place / "s")
        line_of(helper)
        vm = vfkit(place / "s", elsewhere, mac(1))
        wait_for(lambda: "connected to client" in helper.log())
        vm.socket.close()  # the file stays
        if unlinks:
            os.unlink(vm.local)
        assert helper.process.wait(2 + EXIT_S) == 0, helper.log()
        assert leftovers(place) == []


def test_a_client_that_unlinks_its_own_socket_lives_on(start_front, place):
    helper = start_front("vmnet-helper", "--socket", place / "s")
    line_of(helper)
    with vfkit(place / "s", place, mac(1)) as vm:
        wait_for(lambda: "connected to client" in helper.log())
        os.unlink(vm.local)
        time.sleep(0.6)  # two probes
        assert helper.alive()
        vm.receive_all(0.1)


def test_21_22_sigkill_leaves_nothing_that_blocks_a_restart(start_front, place):
    """minikube: kill(-pid, SIGKILL), then the same start again; container-runtime-krun: SIGKILL after 1 s."""
    for _ in range(3):
        helper = start_front("vmnet-helper", "--socket", place / "s")
        line_of(helper)
        os.killpg(helper.pid, signal.SIGKILL)
        helper.process.wait()
    wait_for(lambda: not processes_of("vmnet-helper"), EXIT_S + 1, "the end of what belonged to it")
    for name in leftovers(place):
        (place / name).unlink()
    # As the original's: both files there, nobody behind them.
    stale = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    stale.bind(str(place / "s"))
    stale.close()
    (place / "s.lock").write_text("")
    helper = start_front("vmnet-helper", "--socket", place / "s")
    line_of(helper)
    with vfkit(place / "s", place, mac(1)):
        wait_for(lambda: "connected to client" in helper.log())


def test_a_file_in_the_sockets_place_is_not_removed(place):
    (place / "s").write_text("precious")
    said = run("vmnet-helper", "--socket", place / "s")
    assert said.returncode == 1 and "Address already in use" in said.stderr
    assert (place / "s").read_text() == "precious"


# ---- descriptors ----

@pytest.mark.parametrize("number", [0, 3, 4, 57])
def test_22_any_descriptor_does(start_front, number):
    """apple/container: --fd 0, as standard input; vibe and vmnet-run: 3; ec1: any."""
    ours, theirs = pair()
    more = {"stdin": theirs}
    if number:
        fd = theirs.fileno()

        def place_it():
            os.dup2(fd, number, inheritable=True)

        more = {"preexec_fn": place_it, "close_fds": False}
    helper = start_front("vmnet-helper", "--fd", number, "--stats-interval", 1, **more)
    theirs.close()
    check_types(line_of(helper), TEN_KEYS)
    with DatagramVm(ours, mac(1)) as vm:
        vm.send(frame(BROADCAST, mac(1)))
        wait_for(lambda: re.search(r'"vm":\{"packets":1,', helper.log()), what="the frame")
        assert helper.stop() == 0


@pytest.mark.parametrize("signal_number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("has_client", [False, True])
def test_22_signals_end_it_with_0_within_a_second(start_front, place, signal_number, has_client):
    helper = start_front("vmnet-helper", "--socket", place / "s")
    line_of(helper)
    vm = None
    if has_client:
        vm = vfkit(place / "s", place, mac(1))
        wait_for(lambda: "connected to client" in helper.log())
    assert helper.stop(signal_number) == 0
    assert not (place / "s").exists()
    if vm:
        vm.close()


def test_vibe_parent_liveness_and_a_dropped_pipe(start_front):
    """--fd 3 --parent-liveness-fd 4; the line within 3 s, then the pipe is dropped; it ends with its parent."""
    ours, theirs = pair()
    alive, writer = os.pipe()
    fds = theirs.fileno(), alive

    def place_them():
        # Out of the way first: each may lie where the other goes.
        spare = [os.dup(fd) for fd in fds]
        os.dup2(spare[0], 3)
        os.dup2(spare[1], 4)
        os.closerange(5, 64)  # sudo --close-from=5

    helper = start_front("vmnet-helper", "--fd", "3", "--parent-liveness-fd", "4", "--operation-mode", "shared",
                         preexec_fn=place_them, close_fds=False)
    theirs.close()
    os.close(alive)
    line_of(helper, 3)
    assert helper.alive()
    os.close(writer)
    assert helper.process.wait(EXIT_S + 1) == 0
    ours.close()


def test_18_a_full_stderr_pipe_stops_nothing(start_front, place):
    """renode: scans for the line that names the socket, then never reads again."""
    helper = start_front("vmnet-helper", f"--socket={place / 's'}", "--operation-mode=host", "--start-address=192.168.127.1",
                         "--end-address=192.168.127.254", "--subnet-mask=255.255.255.0", "--verbose", stderr=subprocess.PIPE)
    said = read_until(helper.process.stderr, f'INFO  [main] waiting for client on "{place / "s"}"'.encode(), 10)
    assert said.splitlines()[-1].startswith(b"INFO  [main] ")
    # Fill it for good.
    fd = os.open(f"/proc/{helper.pid}/fd/2", os.O_WRONLY | os.O_NONBLOCK)
    with pytest.raises(BlockingIOError):
        while True:
            os.write(fd, b"x" * 65536)
    os.close(fd)
    with DatagramVm(place / "s", mac(1), folder=place) as vm:
        vm.send(b"x")
        for _ in range(1000):
            vm.send(frame(BROADCAST, mac(1)))
        vm.send(b"")  # renode's last word
        assert helper.alive()
        assert helper.stop() == 0
    helper.process.stderr.close()


# ---- privileges ----

@pytest.mark.root
def test_23_it_becomes_who_called_sudo_and_reaches_that_users_socket(start_front, place, folder):
    uid, gid = 54321, 54322
    home = folder / "home"
    home.mkdir()
    os.chown(home, uid, gid)
    home.chmod(0o700)
    helper = start_front("vmnet-helper", "--socket", home / "s", env={"SUDO_UID": str(uid), "SUDO_GID": str(gid)})
    line_of(helper)
    status = dict(line.split(":", 1) for line in open(f"/proc/{helper.pid}/status"))
    assert status["Uid"].split() == [str(uid)] * 4 and status["Gid"].split() == [str(gid)] * 4 and status["Groups"].split() == []
    assert int(status["CapPrm"], 16) == 0
    assert (home / "s").stat().st_uid == uid
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as vm:
        vm.bind(str(home / "vfkit"))
        os.chmod(home / "vfkit", 0o600)
        os.chown(home / "vfkit", uid, gid)
        vm.sendto(b"VFKT", str(home / "s"))
        wait_for(lambda: "connected to client" in helper.log(), what="the client in the user's own folder")


@pytest.mark.root
@pytest.mark.parametrize("how", ["sudo", "setuid"])
@pytest.mark.parametrize("joins", [False, True])
def test_23_root_makes_no_socket_where_the_caller_may_not(folder, user_daemon, how, joins):
    """minikube's sudoers line lets everybody of staff run it with any argument."""
    user_daemon.create("lab")
    private = folder / "roots"
    private.mkdir(mode=0o755)
    env = {"VMSWITCH_UPLINK": "none", **(joined_env(user_daemon) if joins else {})}
    if how == "sudo":
        said = run("vmnet-helper", "--socket", private / "s", env={**env, "SUDO_UID": "65534", "SUDO_GID": "65534"})
    else:
        shutil.copy(BIN / "vmnet-helper", folder / "vmnet-helper")
        (folder / "vmnet-helper").chmod(0o4755)
        said = subprocess.run([folder / "vmnet-helper", "--socket", private / "s"], capture_output=True, text=True, timeout=20,
                              env={"PATH": os.environ["PATH"], **env}, user="nobody", group="nogroup", extra_groups=[])
    assert said.returncode == 1 and "Permission denied" in said.stderr, said
    assert list(private.iterdir()) == []


@pytest.mark.root
@pytest.mark.parametrize("role", ["keeper", "uplink", "vmnet"])
@pytest.mark.parametrize("how", ["sudo", "setuid"])
def test_a_role_with_roots_rights_obeys_no_one_elses_channel(folder, role, how):
    """A setuid copy, or a sudoers line, must not let its caller play the front to a keeper that is root."""
    shutil.copy(BIN / "vmnet-helper", folder / "vmnet-helper")
    (folder / "vmnet-helper").chmod(0o4755)

    def become_nobody():
        os.setgroups([])
        os.setegid(65534)
        os.seteuid(65534)
        ours, theirs = socket.socketpair()
        os.dup2(ours.fileno(), 9)
        os.dup2(theirs.fileno(), 3)
        if how == "sudo":
            os.seteuid(0)
            os.setegid(0)
        else:
            os.setresuid(65534, 65534, 65534)

    said = subprocess.run([folder / "vmnet-helper", f"--role={role}", "--name=x", "--uid=1", "--gid=1"], capture_output=True, text=True,
                          timeout=5, preexec_fn=become_nobody, close_fds=False)
    assert said.returncode == 1 and "--role is" in said.stderr, said


@pytest.mark.root
def test_23_setuid_it_becomes_the_real_user(start_front, folder, place):
    """sudo chmod +s: what root can, then nothing more than the user."""
    shutil.copy(BIN / "vmnet-helper", folder / "vmnet-helper")
    (folder / "vmnet-helper").chmod(0o4755)
    helper = start_front(folder / "vmnet-helper", "--socket", place / "s", "--operation-mode=host", log=folder / "vmnet-helper.log",
                         env={"VMSWITCH_UPLINK": "tap"}, user="nobody", group="nogroup", extra_groups=[])
    line_of(helper)
    status = dict(line.split(":", 1) for line in open(f"/proc/{helper.pid}/status"))
    assert status["Uid"].split() == ["65534"] * 4 and int(status["CapPrm"], 16) == 0
    assert (place / "s").stat().st_uid == 65534
    assert helper.stop() == 0 and leftovers(place) == []


def test_a_path_relative_to_the_folder_it_was_started_in(start_front, place):
    helper = start_front("vmnet-helper", "--socket", "s", cwd=place)
    line_of(helper)
    assert (place / "s").exists()
    assert helper.stop() == 0 and leftovers(place) == []


@pytest.mark.root
def test_16_process_name_is_vmnet_helper(start_front, place):
    """minikube: SIGTERM only if the name of the process is vmnet-helper (or sudo)."""
    helper = start_front("vmnet-helper", "--socket", place / "s")
    line_of(helper)
    for pid in (helper.pid, *family(helper.pid).values()):
        assert open(f"/proc/{pid}/comm").read() == "vmnet-helper\n"
    assert not os.path.islink(BIN / "vmnet-helper") and not os.path.islink(BIN / "vmnet-run") and not os.path.islink(BIN / "vmnet-client")


# ---- in a network of vmswitchd ----

def joined_env(daemon, name="lab"):
    return {"VMSWITCH_JOIN": name, "VMSWITCH_SOCKET": str(daemon.api_path)}


@pytest.fixture
def lab(user_daemon):
    """A network of an ordinary user, who is the helper's too."""
    user_daemon.create("lab")
    return user_daemon


@pytest.mark.parametrize("how", ["option", "environment"])
def test_join_gives_the_port_that_network_and_ends_with_it(start_front, lab, place, how):
    argv = ["--network", "lab"] if how == "option" else ["--operation-mode=shared", "--interface-id", ID]
    env = joined_env(lab) if how == "environment" else {"VMSWITCH_SOCKET": str(lab.api_path)}
    helper = start_front("vmnet-helper", "--socket", place / "s", *argv, env=env)
    facts = line_of(helper)
    if how == "environment":
        assert facts["vmnet_interface_id"] == ID.upper()
    assert lab.ports("lab") == {}
    with vfkit(place / "s", place, mac(1)) as vm, StreamVm(lab.path("lab.stream"), mac(2)) as other:
        port = wait_for(lambda: next(iter(p for p in lab.ports("lab").values() if p["kind"] == "datagram"), None), what="the port")
        assert port["via"] == "fd" and f"joined network lab of vmswitchd as port {port['name']}" in helper.log()
        other.hello()
        assert vm.receive() == frame(BROADCAST, mac(2), b"hello")
        vm.send(frame(mac(2), mac(1), b"answer"))
        other.expect(frame(mac(2), mac(1), b"answer"))
        assert helper.alive()
    # The stream's VM and ours have gone: so has the helper, with its port.
    assert helper.process.wait(EXIT_S + 2) == 0
    wait_for(lambda: lab.ports("lab") == {}, what="the port being gone")
    assert leftovers(place) == []


def test_19_join_says_the_networks_facts(start_front, user_daemon, place):
    user_daemon.create("nat", mode="shared", uplink="user",
                       ipv4={"gateway": "10.77.0.1", "netmask": "255.255.255.0", "dhcp_end": "10.77.0.99"})
    facts = line_of(start_front("vmnet-helper", "--socket", place / "s", "--network=nat",
                                env={"VMSWITCH_SOCKET": str(user_daemon.api_path)}))
    check_types(facts, TEN_KEYS | NET_KEYS)
    assert (facts["vmnet_start_address"], facts["vmnet_end_address"]) == ("10.77.0.1", "10.77.0.99")
    assert (facts["net_ipv4_subnet"], facts["net_ipv4_mask"], facts["net_ipv6_prefix_len"]) == ("10.77.0.0", "255.255.255.0", 64)


def test_join_by_descriptor_with_offload_isolation_and_counters(start_front, lab):
    ours, theirs = pair()
    helper = start_front("vmnet-helper", "--fd", theirs.fileno(), "--enable-tso", "--enable-checksum-offload", "--enable-isolation",
                         "--stats-interval=1", pass_fds=[theirs.fileno()], env=joined_env(lab))
    theirs.close()
    line_of(helper)
    port = wait_for(lambda: next(iter(p for p in lab.ports("lab").values() if p["isolated"]), None), what="the port")
    assert port["offload"] == "raw" and port["isolated"] is True
    with DatagramVm(ours, mac(1)) as vm, StreamVm(lab.path("lab.stream"), mac(2)) as other:
        other.hello()
        vm.send(frame(BROADCAST, mac(1)))
        wait_for(lambda: re.search(r'"vm":\{"packets":1,"bytes":60,"drops":1,', helper.log()), what="the frame, dropped as isolated")
        assert vm.receive(0.2) is None


def test_join_ends_when_the_port_is_detached_or_the_daemon_goes(start_front, lab, place):
    helper = start_front("vmnet-helper", "--socket", place / "s", env=joined_env(lab))
    line_of(helper)
    with vfkit(place / "s", place, mac(1)):
        name = wait_for(lambda: next(iter(lab.ports("lab")), None))
        lab.ask("DELETE", f"/v1/networks/lab/ports/{name}")
        assert helper.process.wait(EXIT_S + 1) == 0
    ours, theirs = pair()
    helper = start_front("vmnet-helper", "--fd", theirs.fileno(), pass_fds=[theirs.fileno()], env=joined_env(lab))
    theirs.close()
    line_of(helper)
    wait_for(lambda: lab.ports("lab"))
    assert lab.stop() == 0
    assert helper.process.wait(EXIT_S + 1) == 0
    ours.close()


@pytest.mark.parametrize("signal_number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_join_takes_its_port_along(start_front, lab, place, signal_number):
    helper = start_front("vmnet-helper", "--socket", place / "s", env=joined_env(lab))
    line_of(helper)
    with vfkit(place / "s", place, mac(1)):
        wait_for(lambda: lab.ports("lab"))
        helper.process.send_signal(signal_number)
        assert helper.process.wait(EXIT_S) == (0 if signal_number != signal.SIGKILL else -signal.SIGKILL)
        wait_for(lambda: lab.ports("lab") == {}, what="the port being gone")
    if signal_number != signal.SIGKILL:
        assert leftovers(place) == []
    again = start_front("vmnet-helper", "--socket", place / "s", env=joined_env(lab))
    line_of(again)


@pytest.mark.parametrize("network,why", [("nothere", "no network"), ("Bad Name", "VMSWITCH_JOIN")])
def test_join_of_no_network_is_refused_with_its_reason(lab, network, why):
    said = run("vmnet-helper", "--socket=/tmp/s", env=joined_env(lab, network))
    assert said.returncode == 1 and said.stdout == "" and why in said.stderr, said


def test_join_without_a_daemon_names_the_next_step(folder):
    said = run("vmnet-helper", "--socket=/tmp/s", "--network=lab", env={"VMSWITCH_SOCKET": str(folder / "api.sock")})
    assert said.returncode == 1 and "cannot reach vmswitchd" in said.stderr and "start vmswitchd" in said.stderr


@pytest.mark.root
def test_join_by_sudo_opens_no_network_that_the_caller_may_not_use(daemon, net):
    """A sudoers line for the program is not one for every network."""
    caller = {**joined_env(daemon), "SUDO_UID": "54321", "SUDO_GID": "54321"}
    said = run("vmnet-helper", "--fd=0", env=caller)
    assert said.returncode == 1 and "Permission denied" in said.stderr, said


@pytest.mark.root
def test_join_by_root_itself_needs_no_group(daemon, net, start_front, place):
    helper = start_front("vmnet-helper", "--socket", place / "s", env=joined_env(daemon))
    line_of(helper)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as vm:
        vm.bind(str(place / "roots"))
        os.chmod(place / "roots", 0o600)
        vm.sendto(b"VFKT", str(place / "s"))
        wait_for(lambda: len(daemon.ports("lab")) == 1)
