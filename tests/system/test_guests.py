"""Real guests under QEMU: addresses by DHCP, ping, TCP, forwards, TAP, and `vmswitch run`."""
import shutil
import socket
import subprocess
import threading
import urllib.request

import pytest

from guest import IMAGE, Guest, on_datagram, on_stream
from switchd import BIN, wait_for

pytestmark = pytest.mark.guest


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def two_guests(daemon, network, folder):
    """One on a stream, one on a datagram by a named port's path."""
    daemon.ask("PUT", f"/v1/networks/{network}/ports/two", {})
    one = Guest(on_stream(daemon.path(f"{network}.stream")))
    two = Guest(on_datagram(daemon.path(f"{network}.two.dgram"), folder / "two.sock"))
    return one, two


def test_two_guests_ping_on_an_internal_network(daemon, net, folder):
    one, two = two_guests(daemon, "lab", folder)
    with one.ready(), two.ready():
        for guest, address in ((one, "10.9.0.1"), (two, "10.9.0.2")):
            assert guest.run(f"ip addr add {address}/24 dev eth0")[0] == 0
        one.ping("10.9.0.2")
        two.ping("10.9.0.1")
        table = daemon.fdb("lab")
        assert table[two.mac]["port"] == "two" and table[one.mac]["port"] != "two"
        port = daemon.port("lab", "two")
        assert port["kind"] == "datagram" and port["addresses"] == [two.mac]


def test_dhcp_ping_tcp_and_a_forward_on_user_nat(daemon, folder):
    daemon.create("shared", mode="shared", uplink="user")
    one, two = two_guests(daemon, "shared", folder)
    with one.ready(), two.ready():
        addresses = [one.dhcp(), two.dhcp()]
        assert len(set(addresses)) == 2 and all(a.startswith("192.168.105.") for a in addresses), addresses
        one.ping(addresses[1])
        two.ping(addresses[0])
        one.ping("192.168.105.1")
        assert two.run("echo hello from two > /www/index.html; httpd -p 8080 -h /www")[0] == 0
        code, said = one.run(f"wget -q -O - http://{addresses[1]}:8080/")
        assert (code, said) == (0, "hello from two")
        port = free_port()
        forward = {"proto": "tcp", "host": f"127.0.0.1:{port}", "guest": f"{addresses[1]}:8080"}
        spec = {"mode": "shared", "uplink": "user", "sockets": {"mode": "0666"}}
        daemon.ask("PUT", "/v1/networks/shared", {**spec, "forwards": [forward]})

        def fetch():
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5) as reply:
                    return reply.read()
            except OSError:
                return None

        assert wait_for(fetch, 30, "an answer through the forward") == b"hello from two\n"
        assert daemon.network("shared")["forwards"] == [forward]
        # Taken away again while running, and the guests keep their network.
        daemon.ask("PUT", "/v1/networks/shared", {**spec, "forwards": []})
        wait_for(lambda: fetch() is None, 10, "the forward being gone")
        one.ping(addresses[1])


def test_guests_reach_the_hosts_loopback_only_where_it_says_so(daemon, folder):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

        def serve():
            while True:
                try:
                    client, _ = server.accept()
                except OSError:
                    return
                with client:
                    client.sendall(b"HTTP/1.0 200 OK\r\n\r\nthe host\n")
                    client.shutdown(socket.SHUT_WR)
                    client.recv(4096)

        threading.Thread(target=serve, daemon=True).start()
        fetch = f"timeout 10 wget -q -O - http://192.168.105.1:{port}/"
        spec = {"mode": "shared", "uplink": "user"}
        daemon.create("shared", **spec)
        with Guest(on_stream(daemon.path("shared.stream"))) as guest:
            guest.ready().dhcp()
            code, said = guest.run(fetch)
            assert code != 0 and "the host" not in said
        daemon.ask("DELETE", "/v1/networks/shared")
        daemon.create("shared", host_loopback=True, **spec)
        with Guest(on_stream(daemon.path("shared.stream"))) as guest:
            guest.ready().dhcp()
            assert guest.run(fetch) == (0, "the host")
        server.shutdown(socket.SHUT_RDWR)


@pytest.mark.root
def test_a_tap_connects_host_and_guest(daemon, folder):
    daemon.create("hostnet", mode="host", uplink="tap", ipv4={"gateway": "192.168.77.1", "netmask": "255.255.255.0", "dhcp": False})
    name = daemon.network("hostnet")["uplink"]["interface"]
    assert name
    shown = subprocess.run(["ip", "-o", "addr", "show", name], capture_output=True, text=True, check=True).stdout
    assert "192.168.77.1/24" in shown
    with Guest(on_stream(daemon.path("hostnet.stream"))) as guest:
        guest.ready()
        assert guest.run("ip addr add 192.168.77.2/24 dev eth0")[0] == 0
        guest.ping("192.168.77.1")
        if shutil.which("ping"):
            subprocess.run(["ping", "-c", "3", "-W", "5", "192.168.77.2"], check=True)
        assert guest.run("echo over the tap > /www/index.html; httpd -p 80 -h /www")[0] == 0
        with urllib.request.urlopen("http://192.168.77.2/", timeout=10) as reply:
            assert reply.read() == b"over the tap\n"
    assert daemon.stop() == 0
    assert subprocess.run(["ip", "link", "show", name], capture_output=True).returncode != 0, "the TAP is still there"


@pytest.mark.parametrize("kind,fd", [("stream", 3), ("datagram", 4)])
def test_vmswitch_run_plugs_a_command_in(daemon, net, kind, fd):
    """QEMU as the command, with the descriptor and the lease held by `vmswitch run`'s exec."""
    code = ("import socket, sys; s = socket.socket(fileno=%d); f = bytes.fromhex('ffffffffffff5254000000aa88b5') + b'run'.ljust(46, b'.'); "
            "s.sendall((len(f).to_bytes(4, 'big') if %r == 'stream' else b'') + f); print('sent', flush=True); sys.stdin.read(); sys.exit(7)") % (fd, kind)
    command = [str(BIN / "vmswitch"), "--socket", str(daemon.api_path), "run", "lab", "--kind", kind, "--", "python3", "-c", code]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "sent\n"
        entry = wait_for(lambda: daemon.fdb("lab").get("52:54:00:00:00:aa"), what="the command's address")
        port = daemon.port("lab", entry["port"])
        assert port["kind"] == kind and port["via"] == "fd"
        process.stdin.close()
        assert process.wait(10) == 7
    wait_for(lambda: daemon.ports("lab") == {}, what="the port being gone")


@pytest.mark.parametrize("kind", ["stream", "datagram"])
def test_vmswitch_run_starts_a_guest(daemon, net, kind):
    fd = 3 if kind == "stream" else 4
    script = "aXAgYWRkciBhZGQgMTAuOS4wLjcvMjQgZGV2IGV0aDAKcGluZyAtYyAxIC1XIDIgMTAuOS4wLjgKZWNobyBkb25lCg=="  # an address, an ARP for another
    qemu = ["qemu-system-x86_64", "-accel", "tcg", "-cpu", "max", "-m", "128", "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
            "-serial", "stdio", "-monitor", "none", "-kernel", str(IMAGE / "vmlinuz"), "-initrd", str(IMAGE / "initrd.gz"),
            "-append", f"console=ttyS0 quiet panic=-1 vmswitch.script={script}", "-netdev", f"socket,id=n0,fd={fd}",
            "-device", "virtio-net-pci,netdev=n0,mac=52:54:00:00:00:bb,romfile="]
    command = [str(BIN / "vmswitch"), "--socket", str(daemon.api_path), "run", "lab", "--kind", kind, "--", *qemu]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as process:
        wait_for(lambda: "52:54:00:00:00:bb" in daemon.fdb("lab"), 60, "the guest's address")
        out, _ = process.communicate(timeout=60)
    assert "done" in out
    wait_for(lambda: daemon.ports("lab") == {}, what="the port being gone")
