"""The exact conversations of socket_vmnet's clients, beside Lima's (test_socket_vmnet.py), and socket_vmnet_client."""
import grp
import os
import socket
import stat
import subprocess
import time
from pathlib import Path

import pytest

from front import is_socket, leftovers
from guest import Guest, on_stream
from switchd import BIN, EXIT_S, wait_for
from vm import BROADCAST, StreamVm, frame, mac

CLIENT = BIN / "socket_vmnet_client"
GROUP = grp.getgrgid(os.getegid()).gr_name


def client(*argv, env=None, **more):
    return subprocess.run([str(CLIENT), *map(str, argv)], capture_output=True, text=True, timeout=20,
                          env={"PATH": os.environ["PATH"], **(env or {})}, **more)


@pytest.fixture
def sock(start_front, folder):
    start_front("socket_vmnet", folder / "s").wait_ready()
    return folder / "s"


# ---- colima ----

def test_row2_colima_starts_watches_and_stops_it(start_front, folder):
    """The space form, in this order; asks once a second whether it is well; ends it by its pidfile."""
    pidfile, sock = folder / "vmnet-default.pid", folder / "vmnet.sock"
    for mode in ("shared",) * 2:
        front = start_front("socket_vmnet", "--vmnet-mode", mode, "--socket-group", GROUP, "--vmnet-gateway", "192.168.106.1",
                            "--vmnet-dhcp-end", "192.168.106.254", "--pidfile", pidfile, sock, env={"DEBUG": "1", "VMSWITCH_UPLINK": "user"})

        def is_well():
            assert front.alive()  # in the foreground
            if not pidfile.exists():
                return False
            subprocess.run(["/usr/bin/pkill", "-0", "-F", str(pidfile)], check=True)
            assert is_socket(sock)
            with socket.socket(socket.AF_UNIX) as probe:
                probe.connect(str(sock))
            return True

        wait_for(is_well, 15, "a network that is well")
        for _ in range(3):
            assert is_well()
        subprocess.run(["/usr/bin/pkill", "-F", str(pidfile)], check=True)
        assert front.process.wait(EXIT_S) == 0 and leftovers(folder) == []


# ---- minikube ----

def test_row15_the_command_has_the_connection_at_3_and_knows_nothing_else(sock):
    said = client(sock, "sh", "-c", "ls -l /proc/$$/fd; echo to stderr >&2; exit 7")
    assert said.returncode == 7 and said.stderr == "to stderr\n"
    assert "3 -> socket:" in said.stdout and "4 -> " not in said.stdout


@pytest.mark.parametrize("words", [(), ("--",)])
def test_row15_the_pid_is_the_commands(sock, words):
    """It execs: minikube waits for the end of the pipes and would wait for one that lingers."""
    process = subprocess.Popen([str(CLIENT), str(sock), *words, "sh", "-c", "echo $$ $0 $*", "zero", "--", "-x"], stdout=subprocess.PIPE, text=True)
    said, _ = process.communicate(timeout=10)
    assert said == f"{process.pid} zero -- -x\n"


@pytest.mark.parametrize("open_fds", [(3,), (3, 4, 5), ()])
def test_row15_fd_3_whatever_was_open(sock, folder, open_fds):
    def preexec():
        null = os.open("/dev/null", os.O_RDWR)
        for fd in open_fds:
            os.dup2(null, fd)

    with StreamVm(sock, mac(1)) as vm:
        code = "import socket; s = socket.socket(fileno=3); s.sendall(bytes([0, 0, 0, 60]) + b'\\xff' * 6 + b'\\x02' + bytes(53))"
        process = subprocess.run([str(CLIENT), str(sock), "python3", "-c", code], preexec_fn=preexec, close_fds=False, timeout=20)
        assert process.returncode == 0
        vm.expect(b"\xff" * 6 + b"\x02" + bytes(53))


@pytest.mark.parametrize("closed", [(0,), (0, 1, 2)])
def test_row15_fd_3_where_standard_descriptors_are_closed(sock, folder, closed):
    out = folder / "out"
    code = f"import os; open('{out}', 'w').write(os.readlink('/proc/self/fd/3') + ' ' + str(os.path.exists('/proc/self/fd/0')))"
    subprocess.run([str(CLIENT), str(sock), "python3", "-c", code], preexec_fn=lambda: [os.close(fd) for fd in closed], timeout=20)
    assert out.read_text().startswith("socket:")


def test_row15_errors(folder, sock):
    for argv in ((), (sock,), (sock, "--")):
        said = client(*argv)
        assert said.returncode == 1 and said.stderr.startswith("Usage: ") and said.stdout == ""
    said = client(folder / "none", "true")
    assert said.returncode == 1 and said.stderr == f'Failed to connect to "{folder}/none": No such file or directory\n'
    said = client(folder / ("x" * 200), "true")
    assert said.returncode == 1 and "File name too long" in said.stderr
    said = client(sock, "/no/such/command")
    assert said.returncode == 1 and "/no/such/command" in said.stderr
    said = client("--help")
    assert said.returncode == 0 and said.stdout.startswith("Usage: ") and said.stderr == ""


@pytest.mark.guest
def test_row15_minikubes_qemu_daemonizes_and_the_pipes_end(sock, folder):
    """cmd.Run() waits for the end of both pipes; "error:" on stderr would be a failure."""
    pidfile = folder / "qemu.pid"
    with StreamVm(sock, mac(1)) as vm:
        said = client(sock, "qemu-system-x86_64", "-M", "q35", "-accel", "tcg", "-m", "64", "-display", "none", "-nodefaults",
                      "-device", "virtio-net-pci,netdev=net0,mac=52:54:00:11:22:33,romfile=", "-netdev", "socket,id=net0,fd=3",
                      "-S", "-daemonize", "-pidfile", pidfile)
        try:
            assert said.returncode == 0 and "error:" not in said.stderr, said.stderr
        finally:
            if pidfile.exists():
                os.kill(int(pidfile.read_text()), 9)
        vm.hello()


# ---- real guests ----

@pytest.mark.guest
def test_row14_guests_get_addresses_and_talk(start_front, folder):
    """One through socket_vmnet_client (minikube), one on the stream (Lima with qemu); the uplink is the user one."""
    sock = folder / "s"
    start_front("socket_vmnet", "--vmnet-gateway=192.168.105.1", sock, env={"VMSWITCH_UPLINK": "user"}).wait_ready()
    with Guest("socket,fd=3", wrap=(str(CLIENT), str(sock))) as one, Guest(on_stream(sock)) as two:
        one.ready(), two.ready()
        addresses = [one.dhcp(), two.dhcp()]
        assert len(set(addresses)) == 2 and all(a.startswith("192.168.105.") for a in addresses), addresses
        one.ping(addresses[1])
        two.ping(addresses[0])
        one.ping("192.168.105.1")


def test_row13_who_reconnects_has_its_network_again(start_front, folder):
    """QEMU with reconnect-ms=500 (9.2 and later; Debian 12's has none for streams): refused or not there, then as before."""
    sock, options = folder / "s", ("-p", folder / "p", folder / "s")

    def connect():
        try:
            return StreamVm(sock, mac(1))
        except (FileNotFoundError, ConnectionRefusedError):
            return None

    for _ in range(3):
        front = start_front("socket_vmnet", *options, env={"VMSWITCH_UPLINK": "user"})
        with wait_for(connect, 5, "a connection") as vm, StreamVm(sock, mac(2)) as other:
            vm.hello()
            other.expect(frame(BROADCAST, vm.address, b"hello"))
            front.wait_ready()
            assert front.stop() == 0
            assert vm.wait_closed()
        assert connect() is None
