"""Shared networks by the host's kernel (Linux, root): NAT by nftables, DHCP and DNS by dnsmasq, forwards, and no trace afterwards."""
import ipaddress
import json
import os
import signal
import socket
import struct
import subprocess
import threading
import time
from pathlib import Path

import pytest

from guest import Guest, on_stream
from kernel_nat import (CURL, OPEN, SUBNET, answer_arp, arp_reply_of, dnsmasqs, fetch, gateway_mac, ip_frame, lease, lease_file, nothing_is_left,
                        instead_of, put_back, reaches_world, run, start, tables, tap_of)
from switchd import status_of, wait_for
from vm import StreamVm, mac, raw

pytestmark = [pytest.mark.root, pytest.mark.usefixtures("nat_tools")]


def test_a_vm_gets_a_lease_and_the_gateway_answers(make_daemon, forwarding):
    made = start(make_daemon(), lab={})
    made.wait_up("lab")
    with StreamVm(made.path("lab.stream"), mac(1)) as vm:
        address = lease(vm)
        assert address and ipaddress.ip_address(address) in ipaddress.ip_network("192.168.105.0/24")
        assert address != "192.168.105.1"
        again = lease(vm)
        assert again == address


@pytest.mark.guest
def test_two_guests_reach_each_other_the_gateway_and_the_world(make_daemon, world):
    made = start(make_daemon())
    made.ask("PUT", "/v1/networks/lab", spec := {"mode": "shared", "uplink": "tap", "sockets": OPEN})
    made.wait_up("lab")
    with Guest(on_stream(made.path("lab.stream"))) as one, Guest(on_stream(made.path("lab.stream"))) as two:
        addresses = [one.ready().dhcp(), two.ready().dhcp()]
        assert len(set(addresses)) == 2
        one.ping(addresses[1])
        one.ping("192.168.105.1")
        two.ping("203.0.113.9")
        # Who comes is the host: the world has no way back to the guests' subnet.
        assert one.run("wget -q -O - http://203.0.113.9/") == (0, "203.0.113.1")
        assert two.run("echo hello from two > /www/index.html; httpd -p 8080 -h /www")[0] == 0
        forwards = [{"proto": "tcp", "host": host, "guest": f"{addresses[1]}:8080"} for host in ("127.0.0.1:8081", "203.0.113.1:8082")]
        before = made.network("lab")["pid"]
        made.ask("PUT", "/v1/networks/lab", {**spec, "forwards": forwards})
        wait_for(lambda: fetch("127.0.0.1", 8081) == "hello from two", 20, "the forward of the loopback")
        assert fetch("203.0.113.1", 8082) == "hello from two"
        assert world.inside(*CURL, "http://203.0.113.1:8082/").stdout.strip() == "hello from two"
        assert one.run("wget -q -O - http://203.0.113.1:8082/") == (0, "hello from two"), "a guest at the host's forward to another"
        assert world.inside(*CURL, "http://203.0.113.1:8081/", check=False).returncode != 0, "the loopback's forward is not the world's"
        made.ask("PUT", "/v1/networks/lab", spec)
        wait_for(lambda: fetch("127.0.0.1", 8081) is None, 10, "the forward being gone")
        assert world.inside(*CURL, "http://203.0.113.1:8082/", check=False).returncode != 0
        assert made.network("lab")["pid"] == before, "the network was not started anew for that"
        one.ping(addresses[1])


def test_a_reserved_address_is_its_guests_alone(make_daemon, forwarding):
    reservations = [{"mac": mac(7), "address": "192.168.105.77"}]
    made = start(make_daemon(), lab={"ipv4": {**SUBNET, "reservations": reservations}})
    made.wait_up("lab")
    with StreamVm(made.path("lab.stream"), mac(7)) as vm, StreamVm(made.path("lab.stream"), mac(8)) as other:
        assert lease(vm) == "192.168.105.77"
        assert lease(other) not in (None, "192.168.105.77")


@pytest.mark.parametrize("mode", ["shared", "host"])
@pytest.mark.parametrize("words,named", [
    (["route", "add", "10.55.0.0/16", "via", "203.0.113.9"], "10.55.0.0/16"),  # it is in a larger one
    (["route", "add", "10.55.7.0/24", "via", "203.0.113.9"], "10.55.7.0/24"),
    (["route", "add", "10.55.7.240/28", "via", "203.0.113.9", "table", "77"], "10.55.7.240/28"),  # a smaller one is in it
    (["addr", "add", "10.55.7.9/32", "dev", "lo"], "10.55.7.9/32"),
])
def test_a_subnet_that_the_host_has_is_refused_and_named(make_daemon, world, words, named, mode):
    made = start(make_daemon())
    run("ip", *words)
    try:
        before = run("ip", "-o", "addr").stdout, run("ip", "route", "show", "table", "all").stdout, tables()
        answer = made.request("PUT", "/v1/networks/lab", {"mode": mode, "uplink": "tap", "ipv4": {"gateway": "10.55.7.1", "dhcp": True}})
        assert answer.status == 409 and answer.json["field"] == "/ipv4", answer
        assert named in answer.json["detail"] and (world.here in answer.json["detail"] or "via lo" in answer.json["detail"]), answer
        assert (run("ip", "-o", "addr").stdout, run("ip", "route", "show", "table", "all").stdout, tables()) == before
        assert made.networks() == [] and not dnsmasqs()
    finally:
        run("ip", words[0], "del", *words[2:])


def test_no_ipv6_prefix_is_given_out_by_a_tap(make_daemon):
    """So none can overlap; the network is refused by name."""
    made = start(make_daemon())
    answer = made.request("PUT", "/v1/networks/lab", {"mode": "shared", "uplink": "tap", "ipv6": {"prefix": "fd00:1::/64"}})
    assert answer.status == 422 and answer.json["field"] == "/ipv6/prefix", answer


def test_a_configured_network_waits_until_its_subnet_is_free(make_daemon, world):
    run("ip", "route", "add", "192.168.105.128/25", "via", "203.0.113.9")
    made = start(make_daemon(), lab={})
    wait_for(lambda: made.health("lab").get("state") == "degraded", what="degraded")
    assert "192.168.105.128/25" in made.health("lab")["reason"]
    assert "vmswitch" not in tables() and not dnsmasqs()
    run("ip", "route", "del", "192.168.105.128/25")
    made.wait_up("lab", 20)


def test_two_networks_at_once_are_apart(make_daemon, world):
    other = {"gateway": "192.168.107.1", "netmask": "255.255.255.0", "dhcp_end": "192.168.107.99"}
    made = start(make_daemon(), one={}, two={"ipv4": other})
    made.wait_up("one")
    made.wait_up("two")
    assert tap_of(made, "one") != tap_of(made, "two") and len(dnsmasqs()) == 2
    assert "vmswitch-one" in tables() and "vmswitch-two" in tables()
    with StreamVm(made.path("one.stream"), mac(1)) as a, StreamVm(made.path("two.stream"), mac(2)) as b:
        one, two = lease(a), lease(b)
        assert one.startswith("192.168.105.") and two.startswith("192.168.107.")
        gateway = json.loads(run("ip", "-j", "link", "show", tap_of(made, "one")).stdout)[0]["address"]
        # From a to b by the host: the filter drops it, though the host forwards.
        a.send(ip_frame(a, gateway, one, two))
        assert not arp_reply_of(b, "192.168.107.1", two)
        # And to the world it goes.
        assert reaches_world(world, a, gateway, one)
        assert not reaches_world(world, a, gateway, "192.168.107.200"), "a source of another subnet"
    made.ask("GET", "/v1/health")


def test_ipv6_is_not_passed_on(make_daemon, world):
    """Though the host forwards it: guests have no address of the host's, and would leave with any of their own."""
    run("ip", "addr", "add", "fd00:9::1/64", "dev", world.here, "nodad")
    world.inside("ip", "addr", "add", "fd00:9::9/64", "dev", "eth0", "nodad")
    run("sysctl", "-qw", "net.ipv6.conf.all.forwarding=1")
    made = start(make_daemon(), lab={})
    made.wait_up("lab")
    code = ("import socket\ns = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)\ns.bind(('fd00:9::9', 4711))\ns.settimeout(2)\nprint('ready', flush=True)\n"
            "try:\n    print(s.recvfrom(99)[1][0])\nexcept TimeoutError:\n    print('none')\n")
    payload = struct.pack("!HHHH", 4000, 4711, 14, 0) + b"spoken"
    source, to = (ipaddress.ip_address(one).packed for one in ("fd00:105::5", "fd00:9::9"))
    total = sum(struct.unpack("!39H", source + to + struct.pack("!II", 14, 17) + payload + bytes(24)))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    payload = payload[:6] + struct.pack("!H", ~total & 0xFFFF) + payload[8:]
    try:
        with subprocess.Popen([*world.prefix(), "python3", "-c", code], stdout=subprocess.PIPE, text=True) as listener, \
                StreamVm(made.path("lab.stream"), mac(1)) as vm:
            assert listener.stdout.readline() == "ready\n"
            gateway = raw(gateway_mac(made, "lab"))
            while listener.poll() is None:  # the first may come before the host's own addresses are settled
                vm.send(gateway + raw(vm.address) + b"\x86\xdd" + struct.pack("!IHBB", 6 << 28, 14, 17, 64) + source + to + payload)
                time.sleep(0.1)
            assert listener.stdout.readline().strip() == "none"
    finally:
        run("sysctl", "-qw", "net.ipv6.conf.all.forwarding=0")


def test_a_guest_cannot_reach_the_hosts_loopback(make_daemon, forwarding):
    """Though a forward on 127.0.0.1 works: no interface lets loopback addresses through for it."""
    made = start(make_daemon(), lab={"forwards": [{"proto": "udp", "host": "127.0.0.1:4712", "guest": "192.168.105.9:9"}]})
    made.wait_up("lab")
    tap = tap_of(made, "lab")
    assert Path(f"/proc/sys/net/ipv4/conf/{tap}/route_localnet").read_text().strip() == "0"
    gateway = json.loads(run("ip", "-j", "link", "show", tap).stdout)[0]["address"]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server, StreamVm(made.path("lab.stream"), mac(1)) as vm:
        server.bind(("127.0.0.1", 4711))
        server.settimeout(1)
        vm.send(ip_frame(vm, gateway, "192.168.105.50", "127.0.0.1"))
        vm.send(ip_frame(vm, gateway, "127.0.0.1", "192.168.105.1"))
        with pytest.raises(TimeoutError):
            server.recv(99)


def test_udp_is_forwarded_there_and_back(make_daemon, forwarding):
    made = start(make_daemon(), lab={"forwards": [{"proto": "udp", "host": "127.0.0.1:4713", "guest": "192.168.105.9:99"}]})
    made.wait_up("lab")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client, StreamVm(made.path("lab.stream"), mac(9)) as vm:
        client.connect(("127.0.0.1", 4713))
        client.settimeout(5)
        vm.hello()
        client.send(b"there")
        assert arp_reply_of(vm, "192.168.105.1", "192.168.105.9")
        deadline = time.monotonic() + 5
        while True:
            one = vm.receive(max(0.0, deadline - time.monotonic()))
            assert one is not None
            if one[12:14] == b"\x08\x00" and one[42:47] == b"there":
                break
        assert one[26:30] == ipaddress.ip_address("192.168.105.1").packed, "it seems to come from the gateway"
        answer = bytearray(ip_frame(vm, one[6:12].hex(":"), "192.168.105.9", "192.168.105.1", b"and back", struct.unpack("!H", one[34:36])[0]))
        answer[34:36] = struct.pack("!H", 99)
        vm.send(bytes(answer))
        assert client.recv(99) == b"and back"


def test_a_port_in_use_is_said_and_tried_again(make_daemon, forwarding):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        made = start(make_daemon(), lab={"forwards": [{"proto": "tcp", "host": f"127.0.0.1:{port}", "guest": "192.168.105.9:80"}]})
        wait_for(lambda: made.health("lab").get("state") == "degraded", what="degraded")
        assert f"forward tcp 127.0.0.1:{port}" in made.health("lab")["reason"]
        assert str(port) not in run("nft", "list", "table", "inet", "vmswitch-lab").stdout, "nobody's port is taken from them"
        with StreamVm(made.path("lab.stream"), mac(1)) as vm:
            assert lease(vm), "the rest works"
    made.wait_up("lab", 10)
    assert str(port) in run("nft", "list", "table", "inet", "vmswitch-lab").stdout


def test_a_host_that_does_not_forward_is_told_how(make_daemon):
    path = Path("/proc/sys/net/ipv4/ip_forward")
    before = path.read_text()
    path.write_text("0")
    try:
        made = start(make_daemon(), lab={})
        wait_for(lambda: made.health("lab").get("state") == "degraded", what="degraded")
        assert "net.ipv4.ip_forward=1" in made.health("lab")["reason"]
        assert path.read_text().strip() == "0", "it is the administrator's"
        with StreamVm(made.path("lab.stream"), mac(1)) as vm:
            assert lease(vm), "guests have addresses and the host"
        path.write_text("1")
        made.wait_up("lab", 10)
    finally:
        path.write_text(before)


# ---- who dies ----


def test_sigterm_leaves_nothing(make_daemon, forwarding):
    made = start(make_daemon(), lab={})
    made.wait_up("lab")
    tap = tap_of(made, "lab")
    with StreamVm(made.path("lab.stream"), mac(1)) as vm:
        assert lease(vm)
    assert made.stop() == 0
    assert not dnsmasqs() and "vmswitch" not in tables()
    nothing_is_left(tap)


def test_a_deleted_network_leaves_nothing(make_daemon, forwarding):
    made = start(make_daemon())
    made.create("lab", mode="shared", uplink="tap")
    tap = tap_of(made, "lab")
    made.ask("DELETE", "/v1/networks/lab")
    nothing_is_left(tap)
    wait_for(lambda: not (made.runtime / "lab.dhcp").exists(), 3, "its folder being gone")
    made.create("lab", mode="shared", uplink="tap")


def test_kill_9_leaves_no_rule_and_no_process_and_the_next_start_is_as_any(make_daemon, forwarding):
    made = start(make_daemon(), lab={})
    made.wait_up("lab")
    tap = tap_of(made, "lab")
    run("nft", "add", "table", "ip", "theirs")
    made.kill()
    nothing_is_left(tap)
    assert "theirs" in tables()
    made.start("--config", str(made.folder / "vmswitchd.conf"))
    made.wait_up("lab")
    with StreamVm(made.path("lab.stream"), mac(1)) as vm:
        assert lease(vm)
    run("nft", "delete", "table", "ip", "theirs")


@pytest.fixture
def others_rules():
    run("nft", "add table inet theirs; add chain inet theirs forward { type filter hook forward priority 0; }; add rule inet theirs forward counter; "
        "add table ip theirs-too")
    yield run("nft", "-s", "list", "ruleset").stdout
    run("nft", "delete table inet theirs; delete table ip theirs-too")


def test_the_rules_of_others_are_as_they_were(make_daemon, forwarding, others_rules):
    """Through a whole life: start, forwards, the death of each process, the end."""
    made = start(make_daemon())
    made.create("lab", mode="shared", uplink="tap")
    made.ask("PUT", "/v1/networks/lab", {"mode": "shared", "uplink": "tap", "forwards": [{"proto": "tcp", "host": "127.0.0.1:4714", "guest": "192.168.105.9:80"}]})
    wait_for(lambda: "4714" in run("nft", "list", "table", "inet", "vmswitch-lab", check=False).stdout, 5, "the forward")
    os.kill(made.children()["nat lab"], signal.SIGKILL)
    os.kill(made.network("lab")["pid"], signal.SIGKILL)
    wait_for(lambda: made.health("lab").get("state") == "up" and len(dnsmasqs()) == 1, 10, "up again")
    assert made.stop() == 0
    assert run("nft", "-s", "list", "ruleset").stdout == others_rules


def test_a_dead_dnsmasq_is_seen_and_replaced(make_daemon, forwarding):
    made = start(make_daemon(), lab={})
    made.wait_up("lab")
    with StreamVm(made.path("lab.stream"), mac(1)) as vm:
        address = lease(vm)
        victim, = dnsmasqs()
        os.kill(victim, signal.SIGKILL)
        wait_for(lambda: "dnsmasq died" in (made.health("lab").get("reason") or ""), what="its death being told")
        made.wait_up("lab")
        assert list(dnsmasqs()) != [victim]
        assert lease(vm) == address


def test_a_dead_helper_is_replaced_and_the_tap_stays(make_daemon, world):
    made = start(make_daemon(), lab={})
    made.wait_up("lab")
    tap, pid = tap_of(made, "lab"), made.network("lab")["uplink"]["pid"]
    index = Path(f"/sys/class/net/{tap}/ifindex").exists() and run("ip", "-j", "link", "show", tap).stdout
    with StreamVm(made.path("lab.stream"), mac(1)) as vm:
        address = lease(vm)
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda: made.network("lab")["uplink"]["pid"] not in (pid, None, 0), what="another helper")
        made.wait_up("lab")
        assert tap_of(made, "lab") == tap and len(dnsmasqs()) == 1
        assert run("ip", "-j", "link", "show", tap).stdout == index or not index
        assert lease(vm) == address
        gateway = json.loads(run("ip", "-j", "link", "show", tap).stdout)[0]["address"]
        assert reaches_world(world, vm, gateway, address)


def test_a_crashed_network_gets_a_new_tap_with_everything(make_daemon, forwarding):
    made = start(make_daemon(), lab={})
    made.wait_up("lab")
    os.kill(made.network("lab")["pid"], signal.SIGKILL)
    wait_for(lambda: made.health("lab").get("state") != "up", what="the crash being seen")
    made.wait_up("lab")
    with StreamVm(made.path("lab.stream"), mac(1)) as vm:
        assert lease(vm)
    assert len(dnsmasqs()) == 1


def test_a_dead_control_takes_nothing_with_it(make_daemon, forwarding):
    made = start(make_daemon(), lab={})
    made.wait_up("lab")
    tap, before = tap_of(made, "lab"), dnsmasqs()
    children = made.children()
    os.kill(children["control"], signal.SIGKILL)
    wait_for(made.is_ready_again, what="another control")
    made.wait_up("lab")
    assert made.children()["nat lab"] == children["nat lab"] and dnsmasqs() == before and tap_of(made, "lab") == tap
    # Known to the new one: it dies, and is replaced.
    os.kill(children["nat lab"], signal.SIGKILL)
    wait_for(lambda: made.children().get("nat lab") not in (None, children["nat lab"]), what="another helper")
    made.wait_up("lab")


def test_a_dead_helpers_rules_and_server_go_without_anybodys_help(make_daemon, forwarding):
    """Control, which would start another, is kept from it."""
    made = start(make_daemon(), lab={})
    made.wait_up("lab")
    children = made.children()
    os.kill(children["control"], signal.SIGSTOP)
    try:
        os.kill(children["nat lab"], signal.SIGKILL)
        wait_for(lambda: not dnsmasqs() and "vmswitch" not in tables(), 5, "nothing of it")
    finally:
        os.kill(children["control"], signal.SIGCONT)
    wait_for(lambda: len(dnsmasqs()) == 1 and "vmswitch-lab" in tables(), 10, "another helper")
    made.wait_up("lab")


def test_a_network_that_a_reload_takes_away_leaves_nothing(make_daemon, forwarding):
    other = {"gateway": "192.168.107.1"}
    made = start(make_daemon(), lab={}, other={"ipv4": other})
    made.wait_up("lab")
    made.wait_up("other")
    tap = tap_of(made, "lab")
    path = made.folder / "vmswitchd.conf"
    path.write_text(json.dumps({"networks": [one for one in json.loads(path.read_text())["networks"] if one["name"] == "other"]}))
    made.ask("POST", "/v1/reload")
    wait_for(lambda: "vmswitch-lab" not in tables() and len(dnsmasqs()) == 1, 5, "its rules and server being gone")
    assert run("ip", "link", "show", tap, check=False).returncode != 0
    wait_for(lambda: not (made.runtime / "lab.dhcp").exists() and not (made.state / "leases" / "lab").exists(), 3, "its folders being gone")
    assert made.health("other")["state"] == "up" and "vmswitch-other" in tables() and (made.state / "leases" / "other").exists()


def can_bind(unbound, port):
    try:
        unbound.bind(("0.0.0.0", port))
    except OSError:
        return False
    return True


def pretend_dnsmasq(runtime, user=None, pass_fds=()):
    """A process that looks like one that was caught in the kernel when its daemon was killed."""
    words = ["dnsmasq", "-c", "read forever", f"--conf-file={runtime}/lab.dhcp/dnsmasq.conf"]
    return subprocess.Popen(words, executable="/bin/sh", stdin=subprocess.PIPE, user=user, pass_fds=pass_fds)


def test_a_server_that_outlived_its_daemon_does_not_hold_up_the_next(make_daemon, forwarding):
    made = start(make_daemon(), lab={})
    made.wait_up("lab")
    user = int(status_of(next(iter(dnsmasqs())))["Uid"].split()[0])
    made.kill()
    wait_for(lambda: not dnsmasqs(), 5, "the end of its own")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as port:
        wait_for(lambda: can_bind(port, 53), 5, "its port")
        stuck = pretend_dnsmasq(made.runtime, user, [port.fileno()])
    others = [pretend_dnsmasq(made.runtime), pretend_dnsmasq("/run/another", user)]
    try:
        made.start("--config", str(made.folder / "vmswitchd.conf"))
        made.wait_up("lab")
        assert stuck.wait(1) == -signal.SIGKILL and f"pid {stuck.pid}: it is killed" in made.log()
        assert [other.poll() for other in others] == [None, None], "of another user, of another daemon"
    finally:
        for process in (stuck, *others):
            process.kill()
            process.communicate()


def test_a_tap_that_is_somebody_elses_is_never_touched(make_daemon, forwarding):
    """Whatever its name: an administrator's, which stays without a process."""
    run("ip", "tuntap", "add", "vmsw0", "mode", "tap")
    try:
        before = run("ip", "-o", "link", "show", "vmsw0").stdout
        made = start(make_daemon(), lab={})
        made.wait_up("lab")
        assert tap_of(made, "lab") != "vmsw0"
        made.kill()
        wait_for(lambda: "vmswitch" not in tables(), 5, "the end")
        made.start("--config", str(made.folder / "vmswitchd.conf"))
        made.wait_up("lab")
        assert made.stop() == 0
        assert run("ip", "-o", "link", "show", "vmsw0").stdout == before
    finally:
        run("ip", "link", "del", "vmsw0")


# ---- what the host has not ----

DNSMASQ = Path("/usr/sbin/dnsmasq")


def reason(made):
    return made.health("lab").get("reason") or ""


def test_dnsmasq_that_is_not_installed_is_named_and_used_once_it_is(make_daemon, forwarding):
    made = start(make_daemon(), preexec=instead_of(DNSMASQ, "/dev/null"), lab={})
    wait_for(lambda: "dnsmasq is not installed: install it" in reason(made), what="what to do being told")
    assert made.health("lab")["state"] == "degraded" and "vmswitch-lab" in tables(), "the rest works"
    answer = made.request("PUT", "/v1/networks/api", {"mode": "shared", "uplink": "tap", "ipv4": {"gateway": "192.168.107.1"}})
    assert answer.status == 422 and "install" in answer.json["next_step"], answer
    answer = made.request("PUT", "/v1/networks/api", {"mode": "host", "uplink": "tap", "ipv4": {"dhcp": True}})
    assert answer.status == 422 and answer.json["field"] == "/ipv4/dhcp", answer
    made.ask("PUT", "/v1/networks/api", {"mode": "host", "uplink": "tap"}, expect=(201,))
    put_back(made, DNSMASQ)
    made.wait_up("lab", 20)
    with StreamVm(made.path("lab.stream"), mac(1)) as vm:
        assert lease(vm)


def test_a_dnsmasq_that_dies_again_and_again_is_said_and_tried_less_often(make_daemon, forwarding, folder):
    times, program = folder / "times", folder / "dnsmasq"
    times.write_text("")
    times.chmod(0o666)
    program.write_text(f"#!/bin/sh\ndate +%s%N >> {times}\necho 'dnsmasq: cannot do it today' >&2\nexit 3\n")
    program.chmod(0o755)
    made = start(make_daemon(), preexec=instead_of(DNSMASQ, program), lab={})
    wait_for(lambda: "dnsmasq ended (exit code 3): cannot do it today" in reason(made), what="why it ended being told")
    assert made.health("lab")["state"] == "degraded"
    wait_for(lambda: len(times.read_text().split()) >= 4, 20, "four starts")
    at = [int(one) for one in times.read_text().split()]
    assert at[3] - at[2] > at[1] - at[0], "the back-off grows"
    put_back(made, DNSMASQ)
    made.wait_up("lab", 30)
    with StreamVm(made.path("lab.stream"), mac(1)) as vm:
        assert lease(vm)


def test_nftables_that_is_not_installed_is_named_and_used_once_it_is(make_daemon, forwarding):
    library = next(Path("/usr/lib").glob("*/libnftables.so.1")).resolve()
    made = start(make_daemon(), preexec=instead_of(library, "/dev/null"), lab={})
    wait_for(lambda: "libnftables.so.1 cannot be loaded: install it" in reason(made), what="what to do being told")
    assert made.health("lab")["state"] == "degraded" and "vmswitch-lab" not in tables()
    put_back(made, library)
    made.wait_up("lab", 30)
    assert "vmswitch-lab" in tables()


# ---- privilege ----


def test_S08_helper_and_server_have_two_capabilities_and_no_root(make_daemon, forwarding):
    made = start(make_daemon(), lab={})
    made.wait_up("lab")
    server, = dnsmasqs()
    for pid in (made.children()["nat lab"], server):
        status = status_of(pid)
        assert "0" not in {*status["Uid"].split(), *status["Gid"].split(), *status["Groups"].split()}, status
        assert status["NoNewPrivs"] == "1" and status["Seccomp"] == "2"
        assert int(status["CapEff"], 16) & ~(1 << 10 | 1 << 12) == 0, status
        assert int(status["CapBnd"], 16) == 0, status
        assert status["Uid"].split()[0] != status_of(made.children()["network lab"])["Uid"].split()[0]
    owner = (made.runtime / "lab.dhcp").stat()
    assert owner.st_mode & 0o777 == 0o700 and str(owner.st_uid) == status_of(server)["Uid"].split()[0]


def test_an_ordinary_user_is_told_what_works_without_root(user_daemon):
    answer = user_daemon.request("PUT", "/v1/networks/lab", {"mode": "shared", "uplink": "tap"})
    assert answer.status == 422 and '"user"' in answer.json["detail"] and "root" in answer.json["detail"], answer


def test_nobody_else_can_change_the_rules(make_daemon, forwarding):
    """A firewall that is loaded anew (flush ruleset) leaves them."""
    made = start(make_daemon(), lab={})
    made.wait_up("lab")
    rules = run("nft", "list", "table", "inet", "vmswitch-lab").stdout
    run("nft", "flush", "ruleset", check=False)
    assert run("nft", "list", "table", "inet", "vmswitch-lab").stdout == rules


def test_300_short_lived_guests_exhaust_nothing(make_daemon, forwarding):
    """A /24 has 253 addresses. A guest that stays keeps its own."""
    made = start(make_daemon(), lab={})
    made.wait_up("lab")

    def descriptors(pid):
        return len(os.listdir(f"/proc/{pid}/fd"))

    pids = [made.network("lab")["pid"], made.children()["nat lab"], made.children()["control"], made.pid]
    before = [descriptors(pid) for pid in pids]
    with StreamVm(made.path("lab.stream"), mac(1, 0x77)) as stays:
        kept = lease(stays)
        stop = threading.Event()
        answering = threading.Thread(target=answer_arp, args=(stays, kept, stop))
        answering.start()
        try:
            for index in range(300):
                with StreamVm(made.path("lab.stream"), mac(index, 0x66)) as vm:
                    address = lease(vm, 20)
                    assert address and address != kept, f"guest {index}"
        finally:
            stop.set()
            answering.join()
        assert lease(stays) == kept
    made.wait_up("lab")
    assert len(dnsmasqs()) == 1
    wait_for(lambda: [descriptors(pid) for pid in pids] == before, 5, "no descriptor more than before")
    assert len(lease_file(made).read_text().splitlines()) <= 253
    assert "given back" in made.log()


def test_what_dnsmasq_says_is_in_the_log_and_why_it_ended_in_the_reason(make_daemon, forwarding):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("0.0.0.0", 53))  # as another dnsmasq without bind-interfaces has
        made = start(make_daemon(), lab={})
        wait_for(lambda: "dnsmasq ended" in (made.health("lab").get("reason") or ""), what="its end being told")
        assert "in use" in made.health("lab")["reason"], made.health("lab")
    made.wait_up("lab", 20)
    lines = [line for line in made.log().splitlines() if "DHCP, IP range" in line]
    assert lines and all(" info nat lab: dnsmasq: " in line for line in lines), lines


def test_two_daemons_with_a_network_of_one_name(make_daemon, forwarding):
    first = start(make_daemon(), lab={})
    first.wait_up("lab")
    rules = run("nft", "list", "table", "inet", "vmswitch-lab").stdout
    second = start(make_daemon(), lab={"ipv4": {"gateway": "192.168.108.1"}})
    wait_for(lambda: "another vmswitchd" in (second.health("lab").get("reason") or ""), what="the clash being named")
    assert run("nft", "list", "table", "inet", "vmswitch-lab").stdout == rules
    assert first.stop() == 0
    second.wait_up("lab", 10)
    assert second.stop() == 0


def test_a_changed_network_comes_up_again(make_daemon, forwarding):
    made = start(make_daemon())
    made.create("lab", mode="shared", uplink="tap")
    made.ask("PUT", "/v1/networks/lab", {"mode": "shared", "uplink": "tap", "mtu": 1400, "sockets": OPEN})
    made.wait_up("lab")
    with StreamVm(made.path("lab.stream"), mac(1)) as vm:
        assert lease(vm)
    made.ask("PUT", "/v1/networks/lab", {"mode": "shared", "uplink": "user"})
    made.wait_up("lab")
    assert not dnsmasqs() and "vmswitch" not in tables()
    made.ask("PUT", "/v1/networks/lab", {"mode": "shared", "uplink": "tap"})
    made.wait_up("lab")
    assert len(dnsmasqs()) == 1
