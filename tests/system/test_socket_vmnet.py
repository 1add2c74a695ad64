"""socket_vmnet as its clients start, watch and stop it. Row numbers: docs/compatibility.md."""
import contextlib
import grp
import os
import shutil
import signal
import socket
import stat
import struct
import subprocess
import time

import pytest

from front import family, is_socket, leftovers, pid_in, processes_of
from switchd import BIN, BUILD, EXIT_S, IS_SANITIZED, status_of, wait_for
from vm import BROADCAST, StreamVm, frame, mac

IS_ROOT = os.geteuid() == 0
only_linux = pytest.mark.skipif("VMNET_DOUBLE:BOOL=ON" in (BUILD / "CMakeCache.txt").read_text(), reason="a build as for macOS has no TAP")
GROUP = grp.getgrgid(os.getegid()).gr_name  # one that a test may give a socket to, root or not


def run(*argv, env=None, **more):
    """A run that ends by itself."""
    return subprocess.run([str(BIN / "socket_vmnet"), *map(str, argv)], capture_output=True, text=True, timeout=20,
                          env={"PATH": os.environ["PATH"], "VMSWITCH_UPLINK": "none", **(env or {})}, **more)


class Lima:
    """What limactl does with one network (pkg/networks): file names, argv, polling, stop."""

    def __init__(self, start_front, folder, mode="shared", more=(), uplink="none"):
        self.start_front, self.uplink = start_front, uplink
        self.run_dir = folder / "lima"
        subprocess.run(["/bin/mkdir", "-m", "775", "-p", str(self.run_dir)], check=True)
        self.socket = self.run_dir / f"socket_vmnet.{mode}"
        self.pidfile = self.run_dir / f"{mode}_socket_vmnet.pid"
        self.log = folder / f"{mode}_socket_vmnet.stderr.log"
        addresses = more or ("--vmnet-gateway=192.168.105.1", "--vmnet-dhcp-end=192.168.105.254", "--vmnet-mask=255.255.255.0")
        self.argv = (f"--pidfile={self.pidfile}", f"--socket-group={GROUP}", f"--vmnet-mode={mode}", *addresses, self.socket)
        self.front = None

    def spawn(self):
        self.log.write_text("")
        self.front = self.start_front("socket_vmnet", *self.argv, cwd=self.run_dir, log=self.log,
                                      env={"VMSWITCH_UPLINK": self.uplink})
        return self.front

    def is_running(self):
        pid = pid_in(self.pidfile)
        if pid is None:
            return False
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
        return True

    def start(self):
        """v2.2 and later: polls the pidfile, half a second apart at most; five tries."""
        for delay in (1, 2, 4, 8, None):
            self.spawn()
            deadline = time.monotonic() + 30
            while self.front.process.poll() is None and time.monotonic() < deadline:
                if self.is_running():
                    assert pid_in(self.pidfile) == self.front.pid
                    return self.front
                time.sleep(0.05)
            assert self.front.process.poll() == 1 and delay, self.front.log()
            time.sleep(delay)
        raise AssertionError("not started")

    def stop(self):
        begun = time.monotonic()
        subprocess.run(["/usr/bin/pkill", "-F", str(self.pidfile)], check=True)
        wait_for(lambda: pid_in(self.pidfile) is None or self.front.process.poll() is not None, 5, "the end")
        assert time.monotonic() - begun < EXIT_S
        # It is its child here, and sudo's there: gone as soon as it has ended.
        assert self.front.process.wait(EXIT_S) == 0


LIMA_SHARED = ("--vmnet-gateway=192.168.105.1", "--vmnet-dhcp-end=192.168.105.254", "--vmnet-mask=255.255.255.0")
LIMA_MADE = ("--vmnet-gateway=192.168.42.1", "--vmnet-dhcp-end=<nil>", "--vmnet-mask=255.255.255.0")  # limactl network create
LIMA_NO_MASK = ("--vmnet-gateway=192.168.43.1", "--vmnet-dhcp-end=192.168.43.254", "--vmnet-mask=<nil>")
RANCHER_HOST = ("--vmnet-gateway=192.168.206.1", "--vmnet-dhcp-end=192.168.206.254", "--vmnet-mask=255.255.255.0")


@pytest.mark.parametrize("mode,addresses,times", [("shared", LIMA_SHARED, 5), ("shared", LIMA_MADE, 2), ("host", LIMA_NO_MASK, 2),
                                                  ("host", RANCHER_HOST, 2)])
def test_row5_lima_starts_and_stops_it_again_and_again(start_front, folder, mode, addresses, times):
    lima = Lima(start_front, folder, mode, addresses)
    for _ in range(times):
        lima.start()
        assert lima.pidfile.read_text() == f"{lima.front.pid}\n"
        assert stat.S_IMODE(lima.pidfile.stat().st_mode) == 0o644
        with StreamVm(lima.socket, mac(1)) as a, StreamVm(lima.socket, mac(2)) as b:
            a.hello()
            b.expect(frame(BROADCAST, a.address, b"hello"))
        lima.stop()
        assert leftovers(lima.run_dir) == []


def test_row5_the_pidfile_says_that_the_uplink_is_up(start_front, folder):
    lima = Lima(start_front, folder, uplink="user")
    lima.spawn()
    while not lima.pidfile.exists():  # without a pause: what comes first is to be seen
        lima.front.alive()
    assert "uplink user: up" in lima.front.log() and is_socket(lima.socket)


def test_row5_a_vm_may_connect_right_after_the_spawn(start_front, folder):
    """Lima up to 2.1 boots the VM as soon as the process is there: the socket is bound early, and has a backlog."""
    lima = Lima(start_front, folder, uplink="user")
    lima.spawn()
    wait_for(lambda: is_socket(lima.socket), 5, "the socket")
    vms = [StreamVm(lima.socket, mac(i)) for i in range(8)]
    vms[0].hello()
    vms[7].expect(frame(BROADCAST, vms[0].address, b"hello"))
    for vm in vms:
        vm.close()
    wait_for(lima.is_running, 5, "the pidfile")


def test_row6_a_failure_before_it_is_ready_leaves_nothing(start_front, folder):
    """Lima's retry: the process ends by itself with 1, says why, and there is no pidfile."""
    lima = Lima(start_front, folder, uplink="user",
                more=("--vmnet-gateway=192.168.105.1", "--vmnet-dhcp-end=10.0.0.1", "--vmnet-mask=255.255.255.0"))
    lima.spawn()
    assert lima.front.process.wait(10) == 1
    assert "ERROR| dhcp_end must be in the gateway's subnet" in lima.front.log()
    assert leftovers(lima.run_dir) == []


@only_linux
def test_row6_an_uplink_that_does_not_start_ends_it(start_front, folder):
    """Without /dev/net/tun's privilege there is no TAP."""
    sock = folder / "s"
    become = {"user": "nobody", "group": "nogroup", "extra_groups": []} if IS_ROOT else {}
    os.chmod(folder, 0o777)
    front = start_front("socket_vmnet", "--vmnet-mode=host", "--pidfile", folder / "p", sock, env={"VMSWITCH_UPLINK": "tap"},
                        log=folder / "x.log", **become)
    assert front.process.wait(10) == 1
    assert "ERROR| the uplink (tap) did not start: " in front.log()
    assert leftovers(folder) == []


@pytest.mark.parametrize("signal_number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_row4_signals_end_it_with_0_within_a_second(start_front, folder, signal_number):
    front = start_front("socket_vmnet", "-p", folder / "p", folder / "s", env={"VMSWITCH_UPLINK": "user"}).wait_ready()
    with StreamVm(folder / "s", mac(1)) as vm:
        vm.hello()
        assert front.stop(signal_number) == 0
    assert leftovers(folder) == []


def test_row7_a_second_one_leaves_the_winner_alone(start_front, folder):
    lima = Lima(start_front, folder)
    lima.start()
    inode = lima.socket.stat().st_ino
    for argv in (lima.argv, lima.argv[1:], (*lima.argv[:-1], folder / "other")):
        second = run(*argv)
        assert second.returncode == 1
        assert "ERROR| " in second.stderr and ("another one" in second.stderr.lower()), second.stderr
        assert pid_in(lima.pidfile) == lima.front.pid and lima.socket.stat().st_ino == inode
        assert not (folder / "other").exists()
    with StreamVm(lima.socket, mac(1)) as a, StreamVm(lima.socket, mac(2)) as b:
        a.hello()
        b.expect(frame(BROADCAST, a.address, b"hello"))


def test_row7_of_many_at_once_one_wins(start_front, folder):
    lima = Lima(start_front, folder)
    fronts = [lima.spawn() for _ in range(6)]
    wait_for(lambda: sum(front.process.poll() is None for front in fronts) == 1, 20, "one winner")
    winner, = (front for front in fronts if front.process.poll() is None)
    wait_for(lambda: pid_in(lima.pidfile) == winner.pid, 5, "the winner's pidfile")
    assert all(front.process.returncode == 1 for front in fronts if front is not winner)
    StreamVm(lima.socket).close()


def stop_uplink(front):
    """An uplink that does not hear its end: it is killed after half a second, and everything takes so long."""
    pid = wait_for(lambda: family(front.pid).get("uplink"), 5, "the uplink")
    os.kill(pid, signal.SIGSTOP)
    return pid


def test_row7_a_start_waits_for_one_that_is_just_ending(start_front, folder):
    lima = Lima(start_front, folder, uplink="user")
    for is_slow in (False, True, True):
        old = lima.start()
        if is_slow:
            stop_uplink(old)
        old.process.terminate()
        assert lima.spawn().process.pid != old.pid
        wait_for(lambda: pid_in(lima.pidfile) == lima.front.pid, 5, "the new one's pidfile")
        assert old.process.wait(5) == 0 and is_socket(lima.socket)
        lima.stop()


def test_row8_the_socket_is_the_groups(start_front, folder):
    start_front("socket_vmnet", "--socket-group", GROUP, folder / "s").wait_ready()
    st = (folder / "s").stat()
    assert (st.st_uid, st.st_gid, stat.S_IMODE(st.st_mode)) == (os.geteuid(), os.getegid(), 0o770)


def test_row8_an_unknown_group_is_refused(folder):
    said = run("--socket-group=no-such-group", folder / "s")
    assert said.returncode == 1 and 'ERROR| unknown group name "no-such-group"' in said.stderr
    assert leftovers(folder) == []


@pytest.mark.parametrize("as_root", [pytest.param(True, marks=pytest.mark.root), False])
def test_row8_dev_null_is_in_use(as_root):
    """Homebrew's formula runs exactly this, and wants these words."""
    become = {"user": "nobody", "group": "nogroup", "extra_groups": []} if IS_ROOT and not as_root else {}
    said = run("/dev/null", **become)
    assert said.returncode == 1 and "bind: Address already in use" in said.stderr
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode) and not os.path.exists("/dev/null.lock")


def test_row8_a_file_or_folder_or_link_in_the_way_stays(folder):
    (folder / "target").write_text("precious")
    (folder / "file").write_text("precious")
    (folder / "dir").mkdir()
    (folder / "link").symlink_to(folder / "target")
    before = leftovers(folder)
    for name in ("file", "dir", "link"):
        said = run(folder / name)
        assert said.returncode == 1 and "bind: Address already in use" in said.stderr, said.stderr
    assert leftovers(folder) == before
    assert (folder / "file").read_text() == (folder / "target").read_text() == "precious"


def test_row8_links_in_place_of_the_lock_and_the_pidfile_stay(folder):
    """The folder may be a user's (colima), the program is root."""
    (folder / "target").write_text("123")
    for name in ("s.lock", "p"):
        (folder / name).symlink_to(folder / "target")
        said = run("--pidfile", folder / "p", folder / "s")
        assert said.returncode == 1 and "ERROR| " in said.stderr
        assert (folder / name).is_symlink() and (folder / "target").read_text() == "123" and not (folder / "s").exists()
        (folder / name).unlink()


def test_row8_a_file_that_is_no_pidfile_stays(folder):
    (folder / "p").write_text("root:x:0:0\n")
    said = run("--pidfile", folder / "p", folder / "s")
    assert said.returncode == 1 and "Failed to open pidfile" in said.stderr
    assert (folder / "p").read_text() == "root:x:0:0\n" and not (folder / "s").exists()


def test_row8_another_programs_socket_is_not_taken(folder):
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(folder / "s"))
        other.listen()
        said = run(folder / "s")
        assert said.returncode == 1 and "bind: Address already in use" in said.stderr
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(folder / "s"))


def test_row8_a_path_that_is_too_long(folder):
    said = run(folder / ("x" * 120))
    assert said.returncode == 1 and f"the socket path is too long: {len(str(folder)) + 121}" in said.stderr


def test_row9_after_sigkill_nothing_is_stale(start_front, folder):
    """The keeper sees the end and cleans up; minikube takes a socket that is there for a daemon that runs."""
    lima = Lima(start_front, folder, uplink="user")
    for _ in range(2):
        lima.start().process.kill()
        wait_for(lambda: leftovers(lima.run_dir) == [] and not processes_of("socket_vmnet"), 5, "a clean folder")


def test_row9_when_it_has_ended_all_is_gone(start_front, folder):
    """The front waits for the keeper."""
    lima = Lima(start_front, folder, uplink="user")
    uplink = stop_uplink(lima.start())
    assert lima.front.stop() == 0
    assert leftovers(lima.run_dir) == [] and uplink not in processes_of("socket_vmnet")


def test_row9_the_socket_goes_first(start_front, folder):
    lima = Lima(start_front, folder, uplink="user")
    stop_uplink(lima.start())
    lima.front.process.kill()
    wait_for(lambda: not lima.socket.exists(), 5, "the socket being gone")
    assert lima.pidfile.exists()
    wait_for(lambda: leftovers(lima.run_dir) == [], 5, "a clean folder")


def test_row9_after_sigkill_of_all_it_starts_again(start_front, folder):
    lima = Lima(start_front, folder)
    front = lima.start()
    keeper = family(front.pid)["keeper"]
    os.kill(front.pid, signal.SIGSTOP)  # so that neither learns of the other's end
    os.kill(keeper, signal.SIGKILL)
    front.process.kill()
    front.process.wait()
    wait_for(lambda: not processes_of("socket_vmnet"), 5, "the end of all")
    assert len(leftovers(lima.run_dir)) == 3
    lima.start()
    StreamVm(lima.socket).close()
    lima.stop()
    assert leftovers(lima.run_dir) == []


def test_without_its_keeper_it_ends_with_1(start_front, folder):
    front = start_front("socket_vmnet", "-p", folder / "p", folder / "s").wait_ready()
    os.kill(family(front.pid)["keeper"], signal.SIGKILL)
    assert front.process.wait(5) == 1 and "keeps the privileges is gone" in front.log()


def test_what_another_has_put_in_its_place_is_not_removed(start_front, folder):
    front = start_front("socket_vmnet", "-p", folder / "p", folder / "s").wait_ready()
    for name in ("p", "s"):
        (folder / name).unlink()
        (folder / name).write_text("another's")
    assert front.stop() == 0
    assert leftovers(folder) == ["p", "s"]


def test_row16_process_names(start_front, folder):
    """Finch ends it by "pkill '^socket_vmnet'", which meets the keeper and the uplink too."""
    front = start_front("socket_vmnet", "-p", folder / "p", folder / "s", env={"VMSWITCH_UPLINK": "user"}).wait_ready()
    pids = [front.pid, *wait_for(lambda: len(family(front.pid)) == 2 and family(front.pid), 5, "two more").values()]
    assert {status_of(pid)["Name"] for pid in pids} == {"socket_vmnet"}
    for signal_number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):  # the front's end is the keeper's, nothing else
        os.kill(family(front.pid)["keeper"], signal_number)
    StreamVm(folder / "s").close()
    time.sleep(0.1)
    front.alive()
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):  # the first may have taken the others along already
            os.kill(pid, signal.SIGTERM)
    assert front.process.wait(EXIT_S) == 0
    wait_for(lambda: leftovers(folder) == [], 5, "a clean folder")


@pytest.mark.root
def test_the_front_has_no_privilege(start_front, folder):
    front = start_front("socket_vmnet", folder / "s", env={"VMSWITCH_UPLINK": "user"}).wait_ready()
    roles = family(front.pid)
    for pid in (front.pid, roles["uplink"]):
        status = status_of(pid)
        assert set(status["Uid"].split()) != {"0"} and "0" not in status["Uid"].split() + status["Gid"].split()
        assert status["CapEff"] == status["CapPrm"] == status["CapBnd"] == "0" * 16 and status["Groups"] == ""
    assert status_of(roles["keeper"])["Uid"].split() == ["0"] * 4


@pytest.mark.root
@pytest.mark.skipif(IS_SANITIZED, reason="the sanitizers do not run setuid programs")
def test_a_setuid_program_takes_no_orders(start_front, folder):
    """Some install it so. It runs, and nobody can start its keeper but itself."""
    program = folder / "socket_vmnet"
    shutil.copy(BIN / "socket_vmnet", program)
    program.chmod(0o4755)
    become = {"user": "nobody", "group": "nogroup", "extra_groups": []}
    ours, theirs = socket.socketpair()
    with ours, theirs:
        said = subprocess.run([str(program), "--role=keeper", "--name=x"], capture_output=True, text=True, timeout=10,
                              preexec_fn=lambda: os.dup2(theirs.fileno(), 3), close_fds=False, **become)
    assert said.returncode == 1 and "--role is not for you" in said.stderr
    process = subprocess.Popen([str(program), "-p", "p", "s"], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                               env={"VMSWITCH_UPLINK": "user"}, **become)
    try:
        wait_for((folder / "p").exists, 10, "the pidfile")
        status = status_of(process.pid)
        assert "0" not in status["Uid"].split() + status["Gid"].split() and status_of(family(process.pid)["keeper"])["Uid"].split() == ["0"] * 4
        os.kill(process.pid, signal.SIGTERM)
        assert process.wait(EXIT_S) == 0 and leftovers(folder) == ["socket_vmnet"]
    finally:
        process.kill()
        process.communicate()


@only_linux
@pytest.mark.root
def test_mode_host_has_a_tap(start_front, folder):
    """... which the host can be reached by, and which goes with it."""
    def addresses():
        return subprocess.run(["ip", "-4", "-br", "addr"], capture_output=True, text=True, check=True).stdout

    front = start_front("socket_vmnet", "--vmnet-mode=host", "--vmnet-gateway=192.168.106.1", folder / "s",
                        env={"VMSWITCH_UPLINK": ""}).wait_ready()
    assert "192.168.106.1/24" in addresses()
    with StreamVm(folder / "s", mac(1)) as vm:
        who_has = struct.pack("!HHBBH6s4s6s4s", 1, 0x800, 6, 4, 1, bytes.fromhex(mac(1).replace(":", "")),
                              socket.inet_aton("192.168.106.9"), bytes(6), socket.inet_aton("192.168.106.1"))
        vm.send(frame(BROADCAST, vm.address, who_has, ethertype=0x806))
        wait_for(lambda: (got := vm.receive(1)) and got[12:14] == b"\x08\x06" and got[20:22] == b"\0\2", 5, "an ARP answer")
    assert front.stop() == 0
    assert "192.168.106.1" not in addresses()
