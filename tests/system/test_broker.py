"""The network broker of macOS 26 in its own process, with the double of tests/fake-sdk for XPC and vmnet.

Of the build with VMNET_DOUBLE alone (`tests/run.sh --preset vmnet -k broker`); any other skips these.
"""
import os
import signal
import socket
import struct
import subprocess
import time

import pytest

from broker import CREATE_FAILURE, INTERNAL, INVALID_REQUEST, NOT_ALLOWED, NOT_FOUND, create, make_mac, make_pair, needs_double, pretended
from conftest import empty_config
from fake_mac import Panel
from guest import Guest, on_stream
from switchd import BIN, EXIT_S, IS_SANITIZED, wait_for
from vm import BROADCAST, StreamVm, frame, mac, raw

pytestmark = needs_double

# ---- vmnet-broker's protocol ----


def test_two_programs_share_one_network(pretended):
    one, two = pretended.client(), pretended.client()
    for client in (one, two):
        answer = client.ask("acquire", "shared")
        assert answer["network"] and answer["error"] == 0
        assert client.ask("start")["status"] == 1000
    said = frame(BROADCAST, mac(1), b"from one to two")
    assert one.ask("send", said.hex())["status"] == 1000
    assert two.ask("receive")["frame"] == said.hex()
    assert pretended.log().count("network shared: made") == 1


def test_a_network_stays_while_anybody_holds_it_and_goes_with_the_last(pretended):
    one, two = pretended.client(), pretended.client()
    assert one.ask("acquire", "host")["network"]
    assert two.ask("acquire", "host")["network"]
    one.kill()
    pretended.wait_log(f"pid {one.process.pid} is gone")
    assert two.ask("start")["status"] == 1000
    assert "nobody is on it" not in pretended.log()
    two.kill()
    pretended.wait_log("network host: nobody is on it any more")
    three = pretended.client()
    assert three.ask("acquire", "host")["network"]
    assert pretended.log().count("network host: made") == 2


def test_what_is_not_known_or_not_said_well_is_refused(pretended):
    client = pretended.client()
    answer = client.ask("acquire", "nowhere")
    assert answer["error"] == NOT_FOUND and not answer["network"]
    assert "vmswitchd does not answer" in answer["why"]
    assert client.ask("acquire", "../../etc")["error"] == INVALID_REQUEST
    answer = client.ask("raw", "command", "release", "network_name", "shared")
    assert answer["error"] == INVALID_REQUEST and answer["why"] == 'command: there is only "acquire"'
    assert client.ask("raw", "command", "acquire")["error"] == INVALID_REQUEST
    answer = client.ask("lima", "shared", "carrier-pigeon")
    assert answer["why"] == "FdType: choose stream, datagram or datagram_next"


def test_those_who_watch_hear_who_holds_the_network(pretended):
    one, two = pretended.client(), pretended.client()
    one.ask("watch", "shared")
    wait_for(lambda: one.ask("events")["holders"] == 1, what="the first news")
    two.ask("acquire", "shared")
    wait_for(lambda: one.ask("events")["holders"] == 2, what="news of the second")
    two.kill()
    wait_for(lambda: one.ask("events")["holders"] == 1, what="news of its end")


def test_lima_hears_what_the_network_really_has(pretended):
    """The request says a mode alone, the system chooses the rest."""
    answer = pretended.client().ask("lima", "host")
    assert answer["network"] and answer["fd"] is None
    assert answer["Configuration"] == {"mode": "host", "dhcp": True, "dnsProxy": True, "mtu": 1500, "nat44": True, "nat66": True,
                                       "routerAdvertisement": True, "subnet": "192.168.128.0/24", "gateway": "192.168.128.1",
                                       "ipv6Prefix": "fd42::/64", "isolated": False}


# ---- which macOS ----


def test_before_macos_26_there_is_no_broker(make_mac):
    old = make_mac("15.4")
    run = subprocess.run([BIN / "vmswitchd", "--broker"], env=old.environment, capture_output=True, text=True, timeout=20, check=False)
    assert run.returncode == 1 and "needs macOS 26 or later" in run.stderr


@pytest.mark.parametrize("version", ["26.0", "26.1"])
def test_before_26_2_another_executable_gets_no_serialization(make_mac, version):
    first = make_mac(version)
    first.start()
    answer = first.client().ask("acquire", "shared")
    assert answer["error"] == NOT_ALLOWED and not answer["network"]
    assert "needs macOS 26.2, or ask for a descriptor" in answer["why"]
    answer = first.client().ask("lima", "shared")
    assert "needs macOS 26.2, or ask for a descriptor" in answer["why"]


# ---- what vmnet does wrong ----


def test_a_network_that_vmnet_refuses_is_refused_with_the_reason(make_mac):
    unsigned = make_mac()
    unsigned.environment["FAKE_NETWORK_STATUS"] = "1002"
    unsigned.start()
    client = unsigned.client()
    answer = client.ask("acquire", "shared")
    assert answer["error"] == CREATE_FAILURE and "com.apple.security.virtualization" in answer["why"]
    assert "com.apple.security.virtualization" in client.ask("lima", "shared")["why"]
    assert "vmnet made no network" in unsigned.log()


def test_a_subnet_that_is_held_is_said_to_be_in_the_health_of_the_network(make_daemon, make_mac):
    """By a native program, which had it before vmswitchd ran."""
    daemon = make_daemon()
    one = make_mac(home=daemon.folder)
    one.start(runtime=daemon.runtime)
    other = one.client()
    assert other.ask("lima", "shared")["Configuration"]["gateway"] == "192.168.64.1"
    daemon.start(*empty_config(daemon), env={"FAKE_MACOS_VERSION": "26.2"})
    assert other.ask("lima", "shared")["network"]  # it stays what it is for those who hold it
    daemon.ask("PUT", "/v1/networks/w", {"mode": "shared", "uplink": "vmnet", "ipv4": {"gateway": "192.168.64.1", "netmask": "255.255.255.0"}})
    wait_for(lambda: "its subnet is in use" in (daemon.health("w")["uplink"]["reason"] or ""), what="the reason")
    assert daemon.health("w")["uplink"]["reason"].startswith("the network broker: vmnet made no network: failure (1001)")
    assert daemon.health("w")["uplink"]["state"] == "starting"
    assert "network w: vmnet made no network" in one.log()
    other.kill()
    wait_for(lambda: daemon.health("w")["uplink"]["state"] == "up", 30, "the subnet being taken when it is free")


def test_a_vmnet_that_hangs_holds_up_nobody_but_those_who_wait_for_it(make_mac):
    hanging = make_mac()
    hanging.environment["FAKE_NETWORK_HANGS"] = "1"
    hanging.start("--exit-timeout", "3")
    one, two = hanging.client(), hanging.client()
    one.say("acquire", "shared")
    begun = time.monotonic()
    assert two.ask("acquire", "nowhere")["error"] == NOT_FOUND
    assert time.monotonic() - begun < 5
    answer = one.hear()
    assert answer["error"] == CREATE_FAILURE and "no answer in time" in answer["why"]
    assert time.monotonic() - begun < 15
    hanging.broker.send_signal(signal.SIGTERM)
    assert hanging.broker.wait(10) == 0


# ---- the end ----


def test_it_ends_when_nothing_has_been_in_use_for_a_while(make_mac):
    idle = make_mac()
    idle.start("--broker-idle", "1")
    client = idle.client()
    assert client.ask("acquire", "shared")["network"]
    time.sleep(1.5)
    assert idle.broker.poll() is None  # in use
    client.kill()
    assert idle.broker.wait(10) == 0
    assert "nothing has been in use for 1 s" in idle.log()


def test_sigterm_waits_for_those_who_hold_a_network(make_mac):
    ending = make_mac()
    ending.start("--exit-timeout", "60")
    client = ending.client()
    assert client.ask("acquire", "shared")["network"]
    assert client.ask("start")["status"] == 1000
    ending.broker.send_signal(signal.SIGTERM)
    ending.wait_log("waiting 58 s for them")
    answer = ending.client().ask("acquire", "shared")
    assert answer["error"] == INTERNAL and "about to end" in answer["why"]
    assert client.ask("send", frame(BROADCAST, mac(1)).hex())["status"] == 1000
    assert ending.broker.poll() is None
    client.kill()
    assert ending.broker.wait(10) == 0


def test_sigterm_waits_no_longer_than_launchd_does(make_mac):
    ending = make_mac()
    ending.start("--exit-timeout", "3")
    client = ending.client()
    assert client.ask("acquire", "shared")["network"]
    assert client.ask("start")["status"] == 1000
    begun = time.monotonic()
    ending.broker.send_signal(signal.SIGTERM)
    assert ending.broker.wait(3 + EXIT_S) == 0
    assert time.monotonic() - begun >= 1
    assert "1 programs still have networks" in ending.log()
    assert client.ask("receive")["status"] == 1001  # the network went with the process that made it
    assert client.ask("events")["interrupted"]


def test_sigterm_ends_it_at_once_where_nobody_holds_anything(pretended):
    client = pretended.client()
    client.ask("acquire", "nowhere")
    begun = time.monotonic()
    pretended.broker.send_signal(signal.SIGTERM)
    assert pretended.broker.wait(10) == 0
    assert time.monotonic() - begun < (EXIT_S if IS_SANITIZED else 1)


def test_after_a_crash_the_next_broker_makes_the_network_anew(pretended):
    client = pretended.client()
    assert client.ask("acquire", "shared")["network"]
    assert client.ask("start")["status"] == 1000
    pretended.broker.kill()
    pretended.broker.wait()
    assert client.ask("receive")["status"] == 1001
    pretended.start()
    assert client.ask("acquire", "shared")["network"]  # by the same connection


@pytest.mark.root
def test_a_network_whose_bridge_is_there_is_kept_until_it_is_gone(pretended):
    """An address of the host's is what shows a bridge."""
    address = ["192.168.128.1/24", "dev", "lo"]
    client = pretended.client()
    assert client.ask("lima", "host")["Configuration"]["gateway"] == "192.168.128.1"
    subprocess.run(["ip", "address", "add", *address], check=True)
    try:
        client.kill()
        pretended.wait_log(f"pid {client.process.pid} is gone")
        again = pretended.client()
        assert again.ask("acquire", "host")["network"]
        assert pretended.log().count("network host: made") == 1
        again.kill()
        pretended.wait_log(f"pid {again.process.pid} is gone")
    finally:
        subprocess.run(["ip", "address", "delete", *address], check=True)
    pretended.wait_log("network host: nobody is on it any more", 15)


# ---- with vmswitchd ----


def test_a_vm_on_a_socket_and_a_native_one_share_a_network(make_pair):
    daemon, one = make_pair()
    create(daemon, ipv4={"gateway": "10.9.8.1", "netmask": "255.255.255.0"})
    assert daemon.health("v")["uplink"]["ipv4"] == {"gateway": "10.9.8.1", "netmask": "255.255.255.0", "dhcp_end": "10.9.8.254"}
    native = one.client()
    answer = native.ask("lima", "v")
    assert answer["Configuration"]["subnet"] == "10.9.8.0/24"
    assert native.ask("start")["status"] == 1000
    with StreamVm(daemon.path("v.stream"), mac(1)) as vm:
        said = frame(BROADCAST, vm.address, b"from the socket")
        vm.send(said)
        assert native.ask("receive")["frame"] == said.hex()
        said = frame(vm.address, mac(9), b"from the native one")
        assert native.ask("send", said.hex())["status"] == 1000
        vm.expect(said)
    assert one.log().count("network v: made") == 1


def ask_for_host(address, source, own):
    """ARP: who has 'address'?"""
    body = struct.pack("!HHBBH6s4s6s4s", 1, 0x0800, 6, 4, 1, raw(source), socket.inet_aton(own), bytes(6), socket.inet_aton(address))
    return frame(BROADCAST, source, body, ethertype=0x0806)


def test_the_host_behind_the_network_answers_a_vm_on_a_socket(make_pair):
    daemon, one = make_pair()
    create(daemon)
    with StreamVm(daemon.path("v.stream"), mac(1)) as vm:
        vm.send(ask_for_host("192.168.64.1", vm.address, "192.168.64.99"))
        answer = vm.receive(5)
        assert answer[:6] == raw(vm.address) and answer[28:32] == socket.inet_aton("192.168.64.1")
    assert one.broker.poll() is None


@pytest.mark.guest
def test_a_qemu_guest_gets_its_address_from_the_brokers_network(make_pair):
    daemon, one = make_pair()
    create(daemon)
    native = one.client()
    assert native.ask("acquire", "v")["network"]
    with Guest(on_stream(daemon.path("v.stream"))).ready() as guest:
        assert guest.dhcp().startswith("192.168.64.")
        guest.ping("192.168.64.1")


def test_the_api_shows_who_holds_a_network(make_pair):
    daemon, one = make_pair()
    daemon.create("plain")
    assert daemon.network("plain")["uplink"]["broker"] is None
    create(daemon)

    def holders():
        broker = daemon.network("v")["uplink"]["broker"]
        return broker and {peer["pid"]: peer["uid"] for peer in broker["peers"]}

    uplink = daemon.children()["vmnet v"]
    wait_for(lambda: set(holders() or ()) == {uplink}, what="the uplink holding it")
    client = one.client()
    client.ask("acquire", "v")
    wait_for(lambda: holders() and holders().get(client.process.pid) == os.geteuid(), what="the program holding it, too")
    daemon.expects_failure = True
    os.kill(daemon.children()["control"], signal.SIGKILL)
    wait_for(daemon.is_ready_again, 10, "another control")
    wait_for(lambda: set(holders() or ()) == {uplink, client.process.pid}, what="the next control knowing it")
    client.kill()
    wait_for(lambda: set(holders()) == {uplink}, what="the program being gone")


def test_the_uplink_holds_the_network_and_lets_it_go(make_pair):
    daemon, one = make_pair()
    create(daemon)
    assert "nobody is on it" not in one.log()
    daemon.ask("DELETE", "/v1/networks/v")
    one.wait_log("network v: nobody is on it any more")


def test_a_broker_that_crashes_is_asked_again_under_the_same_ports(make_pair):
    daemon, one = make_pair()
    daemon.expects_failure = True
    create(daemon)
    with StreamVm(daemon.path("v.stream"), mac(1)) as vm:
        vm.hello()
        before = daemon.ports("v").keys()
        one.broker.kill()
        one.broker.wait()
        wait_for(lambda: daemon.health("v")["uplink"]["state"] != "up", what="the uplink being lost")
        one.start(runtime=daemon.runtime)
        wait_for(lambda: daemon.health("v")["uplink"]["state"] == "up", 20, "the uplink being up again")
        assert daemon.ports("v").keys() == before
        native = one.client()
        assert native.ask("acquire", "v")["network"]
        assert native.ask("start")["status"] == 1000
        said = frame(BROADCAST, vm.address, b"still here")
        vm.send(said)
        assert native.ask("receive")["frame"] == said.hex()


def test_forwards_of_a_network_object_change_while_others_hold_it(make_daemon, make_mac):
    """By the calls for what runs: the network, which a native VM may hold, stays as it was made."""
    daemon = make_daemon()
    panel = Panel(daemon.folder / "panel")
    one = make_mac("26.2", daemon.folder)
    (daemon.folder / "conf").write_text('{"networks": []}')
    daemon.start("--config", str(daemon.folder / "conf"), env={"FAKE_MACOS_VERSION": "26.2", **panel.environment()})
    one.start(runtime=daemon.runtime)
    spec = {"mode": "shared", "uplink": "vmnet", "ipv4": {"gateway": "192.168.105.1"}, "sockets": {"mode": "0666"}}

    def put(*ports):
        daemon.ask("PUT", "/v1/networks/v", {**spec, "forwards": [{"proto": "tcp", "host": f"0.0.0.0:{port}", "guest": "192.168.105.5:80"} for port in ports]})
        wait_for(lambda: panel.counts.n_rules == len(ports), 5, f"{len(ports)} forwards; there are {panel.counts.n_rules}")
        daemon.wait_up("v")

    put(8080)
    first = daemon.children()["vmnet v"]
    put(8081, 8082)
    put()
    panel.set(rule_refusal=1001)
    daemon.ask("PUT", "/v1/networks/v", {**spec, "forwards": [{"proto": "tcp", "host": "0.0.0.0:99", "guest": "192.168.105.5:80"}]})
    wait_for(lambda: "forward tcp port 99" in (daemon.health("v")["reason"] or ""), 5, "the reason")
    assert daemon.children()["vmnet v"] == first and one.log().count("network v: made") == 1


def test_on_26_0_our_own_processes_are_no_strangers(make_pair):
    daemon, one = make_pair("26.0")
    create(daemon)
    assert "needs macOS 26.2" not in one.log() and one.log().count("network v: made") == 1


def test_without_a_broker_vmnet_is_used_as_before_macos_26(make_daemon):
    daemon = make_daemon()
    (daemon.folder / "conf").write_text('{"networks": []}')
    daemon.start("--config", str(daemon.folder / "conf"), env={"FAKE_MACOS_VERSION": "26.2"})
    create(daemon)
    assert daemon.health("v")["uplink"]["ipv4"]["gateway"] == "192.168.64.1"


def test_a_network_that_no_object_can_be_stays_with_the_classic_interface(make_pair):
    daemon, one = make_pair()
    create(daemon, ipv4={"gateway": "10.9.8.1", "netmask": "255.255.255.0", "dhcp_end": "10.9.8.99"})
    assert daemon.health("v")["uplink"]["ipv4"]["dhcp_end"] == "10.9.8.99"
    answer = one.client().ask("acquire", "v")
    assert answer["error"] == NOT_ALLOWED
    assert "ipv4.dhcp_end" in answer["why"] and "ask for a descriptor" in answer["why"]


@pytest.mark.parametrize("version", ["26.0", "26.2"])
@pytest.mark.parametrize("kind", ["stream", "datagram", "datagram_next"])
def test_a_descriptor_is_plugged_into_the_switch(make_pair, kind, version):
    daemon, one = make_pair(version)
    create(daemon)
    client = one.client()
    answer = client.ask("lima", "v", kind)
    assert answer["fd"] == ("stream" if kind == "stream" else "datagram"), answer
    assert answer["network"] == (version == "26.2")  # a serialization is of no use to it before
    assert answer["Configuration"]["gateway"] == "192.168.64.1"
    with StreamVm(daemon.path("v.stream"), mac(1)) as vm:
        said = frame(BROADCAST, mac(7), b"from the descriptor")
        client.ask("fd-send", said.hex())
        vm.expect(said)
        back = frame(mac(7), vm.address, b"to the descriptor")
        vm.send(back)
        assert client.ask("fd-receive")["frame"] == back.hex()
        assert len([port for port in daemon.ports("v").values() if port["kind"] != "vmnet" and port["role"] == "vm"]) == 2
        client.kill()
        wait_for(lambda: len([port for port in daemon.ports("v").values() if port["role"] == "vm"]) == 1, what="the port going with its program")


def test_a_descriptor_of_a_network_without_vmnet(make_pair):
    daemon, one = make_pair()
    daemon.create("plain")
    answer = one.client().ask("acquire", "plain")
    assert answer["error"] == NOT_ALLOWED and "the network's uplink is not vmnet; ask for a descriptor" in answer["why"]
    answer = one.client().ask("lima", "plain", "stream")
    assert answer["fd"] == "stream" and not answer["network"]


def test_offload_of_a_descriptor_is_what_its_interface_would_have_had(make_pair):
    daemon, one = make_pair()
    daemon.create("plain")
    client = one.client()
    for key in ("tso", "checksum_offload", "virtio_header"):
        assert client.ask("lima", "plain", "datagram", key)["fd"] == "datagram"
    ports = [port["offload"] for port in daemon.ports("plain").values() if port["role"] == "vm"]
    assert sorted(ports) == ["raw", "raw", "virtio"]


def test_a_program_has_8_networks_at_most(make_pair):
    daemon, one = make_pair()
    client = one.client()
    for i in range(9):
        daemon.create(f"v{i}", mode="host", uplink="vmnet", ipv4=None)
    answers = [client.ask("acquire", f"v{i}") for i in range(9)]
    assert all(answer["network"] for answer in answers[:8])
    assert answers[8]["error"] == NOT_ALLOWED and "holds 8 networks" in answers[8]["why"]
    assert client.ask("acquire", "v0")["network"]  # which it has
