"""What VMs on socket_vmnet's socket get: whole frames, their own and no others', whatever a neighbour does."""
import os
import re
import signal
import socket
import struct
import subprocess
import time

import pytest

from front import family
from switchd import EXIT_S, IS_SANITIZED, wait_for
from vm import BROADCAST, StreamVm, Traffic, assert_clean, frame, mac, raw


@pytest.fixture
def sock(start_front, folder):
    start_front("socket_vmnet", "--vmnet-gateway=192.168.105.1", folder / "s").wait_ready()
    return folder / "s"


@pytest.fixture
def pair(sock):
    """Two VMs that know each other."""
    with StreamVm(sock, mac(1)) as a, StreamVm(sock, mac(2)) as b:
        meet(a, b)
        yield a, b


def meet(a, b):
    a.hello()
    b.expect(frame(BROADCAST, a.address, b"hello"))
    b.hello()
    a.expect(frame(BROADCAST, b.address, b"hello"))


def talk(a, b, n=20):
    """Both ways, and nothing is missing or in another order."""
    for one, other in ((a, b), (b, a)):
        sent = [frame(other.address, one.address, struct.pack("!I", i), 60 + 70 * (i % 20)) for i in range(n)]
        for data in sent:
            one.send(data)
        for data in sent:
            assert other.expect(data) == []


def test_row10_frames_come_whole_however_they_are_sent(pair):
    a, b = pair
    frames = [frame(b.address, a.address, bytes([i]), size) for i, size in enumerate((14, 60, 61, 1513, 1514))]
    data = b"".join(struct.pack("!I", len(one)) + one for one in frames)
    for at in range(len(data)):  # a byte at a time
        a.send_raw(data[at:at + 1])
    a.send_raw(data * 10)  # and all at once
    for one in frames * 11:
        assert b.expect(one) == []


def test_row10_a_frame_for_one_goes_to_no_other(sock, pair):
    a, b = pair
    with StreamVm(sock, mac(3)) as c:
        talk(a, b)
        assert c.receive(0.3) is None


@pytest.mark.parametrize("size", [1515, 4000, 32769, 65535])
def test_row10_no_vm_gets_more_than_1514_bytes(pair, size):
    """Lima's vz adapter dies of a frame over 32 KiB; what is too long is dropped, and the sender stays."""
    a, b = pair
    a.send(frame(b.address, a.address, size=size))
    talk(a, b)


def test_row11_a_vm_that_does_not_read_harms_nobody_and_is_not_closed(sock, pair, folder):
    """socket_vmnet's issue 173. What it gets when it reads again are whole frames."""
    rate = 1000 if IS_SANITIZED else 10000
    with StreamVm(sock, mac(3)) as stalled:
        stalled.hello()
        with Traffic(folder, [f"x,stream={sock}", f"y,stream={sock}"], [f"x,y,rate={rate}", f"y,x,rate={rate}", f"x,*,rate=1000"],
                     seconds=2, mac_base=7) as traffic:
            assert_clean(traffic.wait())
        # Its own frames may have been dropped; the stream is still one of frames.
        got = stalled.receive_all()
        assert got and not stalled.is_closed and all(14 <= len(one) <= 1514 for one in got)
        a, _ = pair
        a.receive_all()
        meet(a, stalled)


@pytest.mark.parametrize("bad", ["huge", "oversize", "zero", "runt", "partial header", "partial frame", "noise"])
def test_row12_a_bad_client_hurts_no_other(sock, pair, bad):
    a, b = pair
    for _ in range(5):
        with StreamVm(sock, mac(9)) as wrong:
            wrong.hello()
            data = {"huge": struct.pack("!I", 0xFFFFFFFF), "oversize": struct.pack("!I", 69633), "zero": bytes(4) * 3,
                    "runt": struct.pack("!I", 13) + bytes(13), "partial header": b"\0\0", "partial frame": struct.pack("!I", 1000) + b"x",
                    "noise": os.urandom(5000)}[bad]
            try:
                wrong.send_raw(data)
                if bad in ("zero", "runt"):  # it may go on
                    wrong.hello()
            except (BrokenPipeError, ConnectionResetError):
                pass
    a.receive_all(0.2)
    b.receive_all(0.2)
    talk(a, b)


def test_row13_probes_and_reconnect_storms_are_harmless(sock, pair):
    """colima connects and closes at once; a QEMU that reconnects does so twice a second."""
    a, b = pair
    for _ in range(300):
        with socket.socket(socket.AF_UNIX) as probe:
            probe.connect(str(sock))
    talk(a, b)
    for _ in range(20):
        with StreamVm(sock, mac(5)) as vm:
            vm.hello()
            b.expect(frame(BROADCAST, vm.address, b"hello"))
    a.receive_all(0.1)
    talk(a, b)


def ask_gateway(vm, gateway="192.168.105.1"):
    """True if the uplink answers."""
    body = struct.pack("!HHBBH6s4s6s4s", 1, 0x0800, 6, 4, 1, raw(vm.address), socket.inet_aton("192.168.105.77"), bytes(6),
                       socket.inet_aton(gateway))
    vm.send(frame(BROADCAST, vm.address, body, ethertype=0x0806))
    while (one := vm.receive(0.3)) is not None:
        if one[12:14] == b"\x08\x06" and one[:6] == raw(vm.address):
            return True
    return False


def test_an_uplink_that_dies_comes_back_and_the_vms_stay(start_front, folder):
    front = start_front("socket_vmnet", "-p", folder / "p", folder / "s", env={"VMSWITCH_UPLINK": "user"}).wait_ready()
    with StreamVm(folder / "s", mac(1)) as a, StreamVm(folder / "s", mac(2)) as b:
        wait_for(lambda: ask_gateway(a), 10, "an answer of the gateway")
        for _ in range(2):
            old = family(front.pid)["uplink"]
            os.kill(old, signal.SIGKILL)
            b.receive_all(0.1)
            meet(a, b)
            talk(a, b)
            wait_for(lambda: ask_gateway(a), 15, "an answer of the next uplink")
            b.receive_all(0.1)
            assert family(front.pid)["uplink"] != old
    assert (folder / "p").exists()


def test_row18_a_full_stderr_stops_nothing(start_front, folder):
    """A client that stops reading the log."""
    read, write = os.pipe()
    with os.fdopen(read), os.fdopen(write, "wb") as stderr:
        front = start_front("socket_vmnet", folder / "s", env={"DEBUG": "1"}, stderr=stderr)
        wait_for(lambda: (folder / "s").exists(), 5, "the socket")
        with StreamVm(folder / "s", mac(1)) as a, StreamVm(folder / "s", mac(2)) as b:
            for _ in range(1500):  # some 60 bytes of log each, twice what a pipe holds
                with socket.socket(socket.AF_UNIX) as probe:
                    probe.connect(str(folder / "s"))
            meet(a, b)
            talk(a, b)
        assert front.stop() == 0


def test_what_was_dropped_is_told(start_front, folder):
    front = start_front("socket_vmnet", folder / "s").wait_ready()
    with StreamVm(folder / "s", mac(1)) as a, StreamVm(folder / "s", mac(2)) as b:
        meet(a, b)
        for size in (5, 5, 2000):
            a.send(bytes(size))
        talk(a, b)
        frames, drops = front.ask_counters()
        assert drops == {"runt": 2, "oversize": 1} and frames["in"] == 45 and frames["out"] == 42


def test_log_lines_are_of_the_originals_form(start_front, folder):
    front = start_front("socket_vmnet", folder / "s", env={"VMSWITCH_UPLINK": "user", "DEBUG": ""}).wait_ready()
    with StreamVm(folder / "s", mac(1)) as vm:
        vm.hello()
        wait_for(lambda: "DEBUG| " in front.log(), 5, "a line of debug")
    assert front.stop() == 0
    for line in front.log().splitlines():
        assert re.match(r"(DEBUG|INFO |WARN |ERROR)\| .", line), line


def test_a_second_network_is_another_network(start_front, folder):
    for name in ("shared", "other"):
        start_front("socket_vmnet", folder / name).wait_ready()
    with StreamVm(folder / "shared", mac(1)) as a, StreamVm(folder / "other", mac(2)) as b:
        a.hello()
        assert b.receive(0.3) is None


def test_it_can_be_started_by_any_name_and_from_anywhere(start_front, folder):
    """Row 1: a copy where Lima wants it, as root's own file; no symbolic link changes what it is."""
    import shutil
    from switchd import BIN
    (folder / "opt").mkdir()
    shutil.copy(BIN / "socket_vmnet", folder / "opt" / "socket_vmnet")
    (folder / "link").symlink_to(folder / "opt" / "socket_vmnet")
    for program in (folder / "opt" / "socket_vmnet", folder / "link"):
        process = subprocess.Popen([str(program), "-p", "p", "s"], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                   env={"VMSWITCH_UPLINK": "user"})
        try:
            wait_for(lambda: (folder / "p").exists(), 10, "the pidfile")
            StreamVm(folder / "s").close()
            process.terminate()
            assert process.wait(EXIT_S) == 0
        finally:
            process.kill()
            process.communicate()
