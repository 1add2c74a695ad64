"""TCP of the kernel's own between ports that offload and ports that do not, and to the host over its TAP.

A stand-in VM is a network namespace with one interface, a TAP that vmswitch-tapvm relays to a port. A listener in it
tells how long the frames are that arrive. Everything ends with the process that holds its standard input.
"""
import contextlib
import hashlib
import http.server
import itertools
import random
import subprocess
import sys
import threading

import pytest

from guest import Guest, on_stream
from switchd import BIN, IS_SANITIZED, wait_for

pytestmark = [pytest.mark.root, pytest.mark.skipif(sys.platform != "linux", reason="TAPs and namespaces are Linux's")]

SIZE = 50 * 1024 * 1024
FRAME_MAX = 1514
HOST = {"mode": "host", "uplink": "tap", "ipv4": {"gateway": "192.168.77.1", "netmask": "255.255.255.0", "dhcp": False}}

# Sends 'size' bytes that 'seed' makes, or receives until the end, once; prints the digest.
PEER = """
import hashlib, random, socket, sys
what, role, address, port, size, seed = sys.argv[1:]
family = socket.AF_INET6 if ":" in address else socket.AF_INET
if role == "listen":
    with socket.create_server((address, int(port)), family=family) as server:
        print("listens", flush=True)
        server.settimeout(60)
        stream, _ = server.accept()
else:
    stream = socket.create_connection((address, int(port)), timeout=60)
stream.settimeout(60)
digest = hashlib.sha256()
with stream:
    if what == "send":
        data = random.Random(int(seed)).randbytes(int(size))
        digest.update(data)
        stream.sendall(data)
        stream.shutdown(socket.SHUT_WR)
    while data := stream.recv(1 << 18):
        digest.update(data)
print(digest.hexdigest())
"""

# The longest frame that comes in, and how many there were, when standard input ends.
LISTENER = """
import select, socket, sys
ear = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
ear.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
ear.bind(("eth0", 0))
print("listens", flush=True)
longest = n = 0
room = bytearray(64)
while True:
    ready, _, _ = select.select([ear, sys.stdin], [], [])
    if ear in ready:
        size, _, _, address = ear.recvmsg_into([room], 0, socket.MSG_TRUNC)
        if address[2] != socket.PACKET_OUTGOING:
            longest, n = max(longest, size), n + 1
    elif sys.stdin in ready:
        break
print(longest, n)
"""

_ports = itertools.count(5001)


class Program:
    """A program that says a first word when it is ready, and ends with its standard input."""

    def __init__(self, command, first):
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, umask=0)
        said = self.process.stdout.readline().strip()
        if said != first:
            self.process.kill()
            raise AssertionError(f"{command[0]} said {said!r}: {self.process.communicate()[1]}")

    def end(self, seconds=90):
        """What it printed since."""
        try:
            out, error = self.process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise AssertionError(f"did not end: {self.process.communicate()}") from None
        assert self.process.returncode == 0, error
        return out.strip()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()


def run_in(place, *words):
    done = subprocess.run([*place, *words], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, (words, done.stderr)
    return done.stdout


@contextlib.contextmanager
def stand_in(daemon, network, name, offload, kind, number):
    """A VM on the named port; gives the words that run a command in its namespace."""
    daemon.ask("PUT", f"/v1/networks/{network}/ports/{name}", {"offload": offload})
    path = daemon.path(f"{network}.{name}.{'stream' if kind == 'stream' else 'dgram'}")
    with Program(["unshare", "--net", "sh", "-c", "ip link set lo up && echo up && exec cat"], "up") as holder:
        place = ["nsenter", f"--net=/proc/{holder.process.pid}/ns/net", "--"]
        client = daemon.folder / f"client-{name}"
        client.mkdir(mode=0o777)
        client.chmod(0o755)
        relay = [*place, str(BIN / "vmswitch-tapvm"), "--tap", "eth0", "--offload", offload, "--port",
                 f"{'stream' if kind == 'stream' else 'dgram'}:{path}", "--client-dir", str(client)]
        with Program(relay, "ready") as program:
            for words in (f"addr add 192.168.77.{number}/24 dev eth0", f"-6 addr add fd77::{number}/64 dev eth0 nodad", "link set eth0 up"):
                run_in(place, "ip", *words.split())
            yield place
            assert program.process.poll() is None


def address_of(number, version):
    return f"192.168.77.{number}" if version == 4 else f"fd77::{number}"


def peer_command(place, *words):
    return [*place, sys.executable, "-c", PEER, *map(str, words)]


def meet(client, address):
    """Until one has heard the other: a datagram client is known only once it has said something."""
    code = f"import socket; socket.create_connection(({address!r}, 1), timeout=1)"

    def is_answered():
        error = subprocess.run([*client, sys.executable, "-c", code], capture_output=True, text=True, timeout=30).stderr
        return "ConnectionRefused" in error

    wait_for(is_answered, 20, f"an answer of {address}")


def transfer(sender, receiver, address, size=SIZE):
    """'receiver' listens at 'address'. The data must arrive as it was sent."""
    port, seed = next(_ports), random.randrange(1 << 30)
    with Program(peer_command(receiver, "receive", "listen", address, port, size, seed), "listens") as server:
        sent = run_in(sender, *peer_command([], "send", "connect", address, port, size, seed)).split()
        assert server.end() == sent[0]
    assert sent[0] == hashlib.sha256(random.Random(seed).randbytes(size)).hexdigest()


@contextlib.contextmanager
def listening(place):
    """A list that holds (longest frame, number of frames) when it is over."""
    found = []
    with Program([*place, sys.executable, "-c", LISTENER], "listens") as listener:
        yield found
        found += map(int, listener.end().split())


def total_drops(daemon, network):
    return dict(daemon.network(network)["counters"]["drops"])


def assert_no_drops(daemon, network, before, may_be_full=False):
    """'may_be_full': the host's TCP is not held up, so a slow reader's queue may be full; TCP sends again."""
    more = {reason: n - before.get(reason, 0) for reason, n in total_drops(daemon, network).items() if n > before.get(reason, 0)}
    if may_be_full:
        more.pop("queue_full", None)
    assert more == {}, f"{more}: {daemon.ports(network)}"


def assert_frames(found, offload):
    longest, n = found
    assert n > 100
    if offload == "off":
        assert longest <= FRAME_MAX
    else:
        assert longest > FRAME_MAX, "nothing came in one piece"


@pytest.mark.parametrize("offload,kind", [("off", "stream"), ("off", "datagram"), ("raw", "stream"), ("raw", "datagram"),
                                          ("virtio", "stream"), ("virtio", "datagram")])
def test_tcp_between_host_and_vm_is_intact_both_ways(daemon, offload, kind):
    daemon.create("hostnet", **HOST)
    tap = daemon.network("hostnet")["uplink"]["interface"]
    run_in([], "ip", "-6", "addr", "add", "fd77::1/64", "dev", tap, "nodad")
    with stand_in(daemon, "hostnet", "vm", offload, kind, 2) as vm:
        meet(vm, address_of(1, 4))
        meet(vm, address_of(1, 6))
        before = total_drops(daemon, "hostnet")
        for version in (4, 6):
            transfer(vm, [], address_of(1, version))
            with listening(vm) as found:
                transfer([], vm, address_of(2, version))
            assert_frames(found, offload)
        assert_no_drops(daemon, "hostnet", before, may_be_full=True)
        ports = daemon.ports("hostnet")
        # Only who takes no long frames makes them be cut, and the host takes them.
        assert (ports["vm"]["segment_copies"] > 0) == (offload == "off")
        assert ports["uplink"]["segment_copies"] == 0
        assert (ports["vm"]["bytes_in"] / ports["vm"]["frames_in"] > FRAME_MAX) == (offload != "off")


@pytest.mark.parametrize("one,two", [("off", "raw"), ("off", "virtio"), ("raw", "virtio"), ("virtio", "virtio"), ("raw", "raw")])
def test_tcp_between_vms_of_any_two_kinds_is_intact(daemon, net, one, two):
    with stand_in(daemon, "lab", "one", one, "stream", 2) as first, stand_in(daemon, "lab", "two", two, "stream", 3) as second:
        meet(first, address_of(3, 4))
        meet(second, address_of(2, 6))
        before = total_drops(daemon, "lab")
        for version in (4, 6):
            with listening(second) as at_second:
                transfer(first, second, address_of(3, version))
            with listening(first) as at_first:
                transfer(second, first, address_of(2, version))
            # A long frame is only where one end makes it and the other takes it.
            assert_frames(at_first, "off" if "off" in (one, two) else one)
            assert_frames(at_second, "off" if "off" in (one, two) else two)
        assert_no_drops(daemon, "lab", before)
        ports = daemon.ports("lab")
        assert (ports["one"]["segment_copies"] > 0) == (one == "off" and two != "off")
        assert ports["two"]["segment_copies"] == 0


class Download(http.server.BaseHTTPRequestHandler):
    data = random.Random(3).randbytes((2 if IS_SANITIZED else 20) * 1024 * 1024)

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.data)))
        self.end_headers()
        self.wfile.write(self.data)

    def log_message(self, *_):
        pass


@pytest.mark.guest
def test_a_plain_guest_downloads_from_a_host_that_leaves_segments_to_its_card(daemon):
    daemon.create("hostnet", **HOST)
    with http.server.HTTPServer(("192.168.77.1", 8000), Download) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            with Guest(on_stream(daemon.path("hostnet.stream"))) as guest:
                guest.ready()
                assert guest.run("ip addr add 192.168.77.2/24 dev eth0")[0] == 0
                code, said = guest.run("wget -q -O - http://192.168.77.1:8000/ | sha256sum", 180)
                assert code == 0 and said.split()[0] == hashlib.sha256(Download.data).hexdigest(), said
                port = next(p for p in daemon.ports("hostnet").values() if p["role"] != "uplink")
                assert port["segment_copies"] > 1000
                drops = {reason for reason, n in port["drops"].items() if n > 0}
                assert drops <= {"queue_full"}, port
        finally:
            server.shutdown()
