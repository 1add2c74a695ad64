"""vmnet-run, and its old name vmnet-client: a command with a vmnet-helper of its own (26)."""
import json
import os
import pty
import select
import shutil
import signal
import subprocess
import sys

import pytest

from front import processes_of
from guest import Guest
from helpers import TEN_KEYS, check_types, run
from switchd import BIN, EXIT_S, wait_for

PYTHON = sys.executable
# What a VM does with its descriptor: a frame out, then until its standard input ends.
TALKS = ("import socket, sys; s = socket.socket(fileno=4); assert s.type == socket.SOCK_DGRAM; "
         "s.send(bytes.fromhex('ffffffffffff5254000000aa88b5').ljust(60, b'.')); print('sent', flush=True); sys.stdin.read()")


@pytest.fixture(autouse=True)
def nothing_stays():
    yield
    for program in ("vmnet-run", "vmnet-client", "vmnet-helper"):
        wait_for(lambda: not processes_of(program), EXIT_S + 1, f"the end of every {program}")


@pytest.mark.parametrize("program", ["vmnet-run", "vmnet-client"])
def test_26_the_command_has_descriptor_4_and_its_status_is_passed_on(program):
    said = run(program, "--interface-id=5b8c9d1e-7f20-4a31-9c42-d06e1f2a3b4c", "--", PYTHON, "-c", TALKS + "; sys.exit(7)")
    line, sent = said.stdout.splitlines()
    check_types(json.loads(line), TEN_KEYS)
    assert sent == "sent" and said.returncode == 7
    assert not os.path.islink(BIN / program)


@pytest.mark.parametrize("signal_number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM])
def test_26_a_signal_is_128_and_its_number(signal_number):
    said = run("vmnet-run", "--", PYTHON, "-c", f"import os; os.kill(os.getpid(), {int(signal_number)})")
    assert said.returncode == 128 + signal_number


def test_26_the_command_sees_its_own_descriptors_only():
    said = run("vmnet-run", "--", PYTHON, "-c", "import os; print(sorted(os.listdir('/proc/self/fd'), key=int))")
    # 3 is what lists them.
    assert said.stdout.splitlines()[1] == "['0', '1', '2', '3', '4']" and said.returncode == 0, said


@pytest.mark.parametrize("signal_number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_reaches_the_command_whose_status_counts(start_front, signal_number):
    code = "import signal, sys, time; signal.signal(%d, lambda *_: sys.exit(9)); print('ready', flush=True); time.sleep(60)" % signal_number
    front = start_front("vmnet-run", "--", PYTHON, "-c", code)
    for _ in range(2):
        front.process.stdout.readline()
    front.process.send_signal(signal_number)
    assert front.process.wait(EXIT_S + 5) == 9


def test_what_the_command_left_running_ends_with_it(folder):
    """SIGTERM goes to the whole group, which is our own: whoever started us lives on."""
    said = run("vmnet-run", "--", "sh", "-c", f"sleep 60 & echo $! > {folder}/pid; exit 3")
    assert said.returncode == 3
    pid = int((folder / "pid").read_text())
    wait_for(lambda: not os.path.exists(f"/proc/{pid}") or "Z" in open(f"/proc/{pid}/stat").read().split()[2])


def test_a_helper_that_does_not_start_is_reported_and_the_command_is_not_started(folder):
    said = run("vmnet-run", "--operation-mode", "bogus", "--", "touch", folder / "started")
    assert said.returncode == 1 and not (folder / "started").exists()
    assert "Invalid operation-mode" in said.stderr and "vmnet-run: error: vmnet-helper did not start" in said.stderr
    assert "status 1" in said.stderr


def test_no_helper_beside_it_is_an_error_that_names_the_place(folder):
    shutil.copy(BIN / "vmnet-run", folder / "vmnet-run")
    said = subprocess.run([folder / "vmnet-run", "--", "true"], capture_output=True, text=True, timeout=10)
    assert said.returncode == 1 and f"{folder}/vmnet-helper" in said.stderr


def test_helper_is_found_beside_the_name_it_was_called_by(folder):
    """Homebrew links both into one folder."""
    os.symlink(BIN / "vmnet-run", folder / "vmnet-run")
    (folder / "vmnet-helper").write_text("#!/bin/sh\necho '{\"fake\": \"'\"$@\"'\"}'; exec sleep 60\n")
    (folder / "vmnet-helper").chmod(0o755)
    said = subprocess.run([folder / "vmnet-run", "--socket-option", "x", "--", "true"], capture_output=True, text=True, timeout=10)
    assert said.returncode == 0 and said.stdout == '{"fake": "--fd=3 --socket-option x"}\n'


def test_a_helper_that_dies_later_is_reported_and_the_command_goes_on(start_front):
    front = start_front("vmnet-run", "--", PYTHON, "-c", TALKS + "; sys.exit(5)", stdin=subprocess.PIPE)
    for _ in range(2):
        front.process.stdout.readline()
    helper = next(pid for pid, line in processes_of("vmnet-helper").items() if "--fd=3" in line)
    os.kill(helper, signal.SIGKILL)
    wait_for(lambda: "vmnet-helper is gone" in front.log())
    assert front.alive()
    front.process.stdin.close()
    assert front.process.wait(5) == 5


def test_sigkill_of_vmnet_run_leaves_a_helper_only_as_long_as_the_command(start_front):
    front = start_front("vmnet-run", "--", PYTHON, "-c", TALKS, stdin=subprocess.PIPE)
    for _ in range(2):
        front.process.stdout.readline()
    front.process.kill()
    front.process.wait()
    assert processes_of("vmnet-helper")
    front.process.stdin.close()  # the command ends; no signal tells the helper
    wait_for(lambda: not processes_of("vmnet-helper"), 5 + EXIT_S + 1, "the end of the helper")


@pytest.mark.parametrize("command,code", [(["/nowhere/at/all"], 127), (["/etc/passwd"], 126)])
def test_a_command_that_cannot_run_is_as_in_a_shell(command, code):
    said = run("vmnet-run", "--", *command)
    assert said.returncode == code and command[0] in said.stderr


@pytest.mark.parametrize("argv", [[], ["--"], ["true"], ["--verbose"]])
def test_wrong_usage_is_1_and_says_how(argv):
    said = run("vmnet-run", *argv)
    assert said.returncode == 1 and "usage: vmnet-run" in said.stderr and said.stdout == ""


def test_on_a_terminal_the_command_may_read_it():
    """Its group is new, and would be stopped for reading if it had not the terminal."""
    pid, master = pty.fork()
    if pid == 0:
        environment = {"PATH": os.environ["PATH"], "VMSWITCH_UPLINK": "none"}
        # From a script, whose group has the terminal.
        line = f"{BIN}/vmnet-run -- {PYTHON} -c \"print('read', input())\"; echo and $(head -n 1)"
        os.execve("/bin/sh", ["sh", "-c", line], environment)
    text = b""
    try:
        for typed, said in ((b"typed\n", b"read typed"), (b"more\n", b"and more")):
            os.write(master, typed)
            while said not in text:
                assert select.select([master], [], [], 10)[0], text
                text += os.read(master, 4096)
        _, status = os.waitpid(pid, 0)
    finally:
        os.close(master)
    assert os.waitstatus_to_exitcode(status) == 0


@pytest.mark.guest
@pytest.mark.parametrize("netdev", ["dgram,local.type=fd,local.str=4", "socket,fd=4"])
def test_26_a_qemu_guest_gets_its_address(netdev):
    with Guest(netdev, wrap=[str(BIN / "vmnet-run"), "--"], env={**os.environ, "VMSWITCH_UPLINK": "user"}) as guest:
        guest.ready()
        assert guest.dhcp().startswith("192.168.105.")
        guest.ping("192.168.105.1")


@pytest.mark.guest
def test_a_stream_guest_and_a_datagram_guest_on_one_network(user_daemon):
    """Each through its front end: socket_vmnet_client, and with VMSWITCH_JOIN vmnet-run, into one switch."""
    user_daemon.create("shared", mode="shared", uplink="user")
    env = {**os.environ, "VMSWITCH_JOIN": "shared", "VMSWITCH_SOCKET": str(user_daemon.api_path)}
    with Guest("socket,fd=3", wrap=[str(BIN / "socket_vmnet_client"), str(user_daemon.path("shared.stream"))]) as one, \
            Guest("dgram,local.type=fd,local.str=4", wrap=[str(BIN / "vmnet-run"), "--"], env=env) as two:
        one.ready()
        two.ready()
        addresses = [one.dhcp(), two.dhcp()]
        assert len(set(addresses)) == 2
        one.ping(addresses[1])
        two.ping(addresses[0])
        assert set(user_daemon.fdb("shared")) >= {one.mac, two.mac}
