"""Pretend VMs made of plain sockets, for tests that want every byte in their own hands; and pretend_vm for traffic."""
import array
import contextlib
import itertools
import json
import os
import socket
import struct
import subprocess
import time

from switchd import BIN

BROADCAST = "ff:ff:ff:ff:ff:ff"
ETHERTYPE = 0x88B5  # IEEE: local experiments
_serial = itertools.count()


def mac(index, base=0xAA):
    return f"52:54:00:{base:02x}:{index >> 8 & 255:02x}:{index & 255:02x}"


def raw(address):
    return bytes.fromhex(address.replace(":", ""))


def frame(to, source, payload=b"", size=60, ethertype=ETHERTYPE):
    """An Ethernet frame, padded with zeros to 'size'."""
    return (raw(to) + raw(source) + struct.pack("!H", ethertype) + payload).ljust(size, b"\0")


class Vm:
    """What is common to all: send a frame, receive frames, say hello."""

    address = None

    def close(self):
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def fileno(self):
        return self.socket.fileno()

    def receive_all(self, seconds=0.3):
        """Every frame until nothing has come for so long."""
        frames = []
        while (one := self.receive(seconds)) is not None:
            frames.append(one)
        return frames

    def expect(self, wanted, seconds=5):
        """Receives until 'wanted' comes; returns the frames that came before it."""
        before = []
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            one = self.receive(left)
            if one == wanted:
                return before
            if one is not None:
                before.append(one)
        raise AssertionError(f"{wanted[:20].hex(':')}.. did not come; came: {[f[:20].hex(':') for f in before]}")

    def hello(self):
        """A broadcast that teaches the switch our address."""
        self.send(frame(BROADCAST, self.address, b"hello"))


class StreamVm(Vm):
    """On <network>.stream, on a port's own path, or on a socket it is given."""

    def __init__(self, path_or_socket, address=None, rcvbuf=None):
        self.address = address
        if isinstance(path_or_socket, socket.socket):
            self.socket = path_or_socket
        else:
            self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            if rcvbuf:
                self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, rcvbuf)
            self.socket.settimeout(10)
            self.socket.connect(str(path_or_socket))
        self.buffer = b""
        self.is_closed = False

    def send(self, data, length=None):
        self.socket.settimeout(10)
        self.socket.sendall(struct.pack("!I", len(data) if length is None else length) + data)

    def send_raw(self, data):
        self.socket.settimeout(10)
        self.socket.sendall(data)

    def receive(self, seconds=5):
        """A frame, or None when none comes in time or the switch has closed (is_closed)."""
        deadline = time.monotonic() + seconds
        while True:
            if len(self.buffer) >= 4:
                size, = struct.unpack_from("!I", self.buffer)
                assert 14 <= size <= 69632, f"the switch sent a length of {size}"
                if len(self.buffer) >= 4 + size:
                    one, self.buffer = self.buffer[4:4 + size], self.buffer[4 + size:]
                    return one
            left = deadline - time.monotonic()
            if left <= 0:
                return None
            self.socket.settimeout(left)
            try:
                data = self.socket.recv(1 << 18)
            except TimeoutError:
                return None
            except ConnectionError:
                data = b""
            if not data:
                self.is_closed = True
                return None
            self.buffer += data

    def wait_closed(self, seconds=5):
        """True once the switch has closed the connection."""
        deadline = time.monotonic() + seconds
        while not self.is_closed and time.monotonic() < deadline:
            self.receive(deadline - time.monotonic())
        return self.is_closed


class DatagramVm(Vm):
    """Binds a path of its own and connects, as vfkit and libkrun do; or uses a socket it is given."""

    def __init__(self, path_or_socket, address=None, folder="/tmp", greets=False, unconnected=False, local=None):
        self.address = address
        self.local = None
        self.remote = None
        if isinstance(path_or_socket, socket.socket):
            self.socket = path_or_socket
        else:
            self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            self.local = str(local or f"{folder}/vm-{os.getpid()}-{next(_serial)}.sock")
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.local)
            self.socket.bind(self.local)
            # The network process runs as another user and must be able to answer.
            os.chmod(self.local, 0o666)
            self.remote = str(path_or_socket) if unconnected else None
            if not unconnected:
                self._connect(str(path_or_socket))
        if greets:
            self.send(b"VFKT")

    def _connect(self, path):
        """While a path is connected to its last client, which may have died unseen, the kernel refuses others (EPERM)."""
        deadline = time.monotonic() + 10
        while True:
            try:
                return self.socket.connect(path)
            except PermissionError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)

    def close(self):
        super().close()
        if self.local:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.local)

    def send(self, data):
        self.socket.settimeout(10)
        if self.remote:
            self.socket.sendto(data, self.remote)
        else:
            self.socket.send(data)

    def receive(self, seconds=5):
        self.socket.settimeout(max(seconds, 0.001))
        try:
            return self.socket.recv(1 << 17)
        except (TimeoutError, ConnectionError):
            return None


class Lease:
    """An attachment over attach.sock: the answer, and the connection that keeps it."""

    def __init__(self, daemon, line, fds, timeout=5):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(timeout)
        self.socket.connect(str(daemon.path("attach.sock")))
        data = line if isinstance(line, bytes) else (json.dumps(line) + "\n").encode()
        control = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        self.socket.sendmsg([data], control)
        self.text = b""
        try:
            while not self.text.endswith(b"\n"):
                piece = self.socket.recv(65536)
                if not piece:
                    break
                self.text += piece
        except (TimeoutError, ConnectionError):
            pass
        self.answer = json.loads(self.text) if self.text.strip() else {}

    @property
    def port(self):
        assert "port" in self.answer, f"attach was refused: {self.answer}"
        return self.answer["port"]

    @property
    def status(self):
        return self.answer.get("status")

    def close(self):
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def attach(daemon, network, kind="stream", address=None, **more):
    """Passes one end of a socket pair; returns (VM on the other end, its lease)."""
    is_stream = kind == "stream"
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM if is_stream else socket.SOCK_DGRAM)
    with theirs:
        lease = Lease(daemon, {"network": network, "kind": kind, **more}, [theirs.fileno()])
    assert "port" in lease.answer, f"attach was refused: {lease.answer}"
    return (StreamVm if is_stream else DatagramVm)(ours, address), lease


class Traffic:
    """One run of pretend_vm (tests/lib/pretend_vm.c). Use as a context, or call finish() for the report."""

    def __init__(self, folder, vms, flows, seconds=0, run=1, mac_base=0, fds=(), quiet_ms=300, ready_s=30):
        command = [str(BIN / "pretend_vm"), "--dir", str(folder), "--run", str(run), "--mac-base", str(mac_base),
                   "--seconds", str(seconds), "--quiet-ms", str(quiet_ms)]
        for one in vms:
            command += ["--vm", one]
        for one in flows:
            command += ["--flow", one]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                        text=True, pass_fds=list(fds))
        self.report = None
        said = self.process.stderr.readline()
        assert said == "READY\n", f"pretend_vm: {said}{self.process.stderr.read()}"

    def tell(self, text):
        self.process.stdin.write(text + "\n")
        self.process.stdin.flush()

    def wait(self, timeout=120):
        """Waits for the end of a run with a length of its own."""
        # communicate() would close standard input, which is a word: it ends the sending.
        stdin, self.process.stdin = self.process.stdin, None
        out, err = self.process.communicate(timeout=timeout)
        stdin.close()
        assert self.process.returncode == 0, err
        self.report = json.loads(out)
        return self.report

    def finish(self, timeout=60):
        """Ends the sending, waits for what is under way, and returns the report."""
        if self.report is None:
            with contextlib.suppress(BrokenPipeError):
                self.tell("finish")
            self.wait(timeout)
        return self.report

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()


def assert_clean(report):
    """Nothing lost, reordered, changed, misplaced, and nobody thrown out."""
    for key in ("lost", "reordered", "corrupt", "foreign", "closed"):
        assert report[key] == 0, f"{key} = {report[key]}: {report}"
    assert report["sent"] > 0
