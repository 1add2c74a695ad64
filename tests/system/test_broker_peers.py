"""The network broker: who asks, and what each of them may see (issue: identity per system version, isolation, in use).

Of the build with VMNET_DOUBLE alone. An identity is the audit token of each message; the double takes it from the kernel
(SCM_CREDENTIALS), so that a message which another process sent on a client's connection is one.
"""
import os
import pwd
import signal
import socket
import subprocess
import time

import pytest

from broker import INVALID_REQUEST, NOT_ALLOWED, NOT_FOUND, create, make_mac, make_pair, needs_double, pretended
from conftest import empty_config
from switchd import wait_for
from vm import BROADCAST, StreamVm, frame, mac

pytestmark = needs_double

NO_TOKENS = "xpc_dictionary_get_audit_token"
NO_REQUIREMENT = "xpc_connection_set_peer_requirement"


# ---- which process ----


@pytest.mark.parametrize("voice", ["child", "reused"])
def test_a_message_of_another_process_on_the_connection_is_refused(pretended, voice):
    """A process that was given the connection; and one that has the pid of the client, which is gone."""
    client = pretended.client()
    assert client.ask("acquire", "shared")["network"]
    client.ask("voice", voice)
    for words in (("acquire", "host"), ("lima", "host"), ("acquire", "shared")):
        answer = client.ask(*words)
        assert not answer["network"] and "another process than the one that this connection belongs to" in answer["why"]
    assert client.ask("acquire", "host")["error"] == NOT_ALLOWED
    assert "network host: made" not in pretended.log()
    client.ask("voice", "own")
    assert client.ask("acquire", "host")["network"]


def test_without_audit_tokens_the_connection_says_who_it_is(make_mac):
    old = make_mac()
    old.environment["FAKE_HIDDEN_NAMES"] = NO_TOKENS
    old.start()
    client = old.client()
    client.ask("watch", "shared")
    wait_for(lambda: client.ask("events")["holders"] == 1, what="the first news")
    client.kill()
    old.wait_log(f"pid {client.process.pid} is gone")


@pytest.mark.root
def test_a_user_gets_what_the_networks_sockets_would_give(make_pair):
    daemon, one = make_pair()
    create(daemon)
    daemon.create("closed", mode="host", uplink="vmnet", ipv4=None, sockets={"mode": "0600"})
    stranger = one.client(user="daemon")  # not "nobody": root's networks may run as that
    assert stranger.ask("acquire", "v")["network"]  # 0666
    for words in (("acquire", "closed"), ("lima", "closed"), ("lima", "closed", "stream"), ("acquire", "shared")):
        answer = stranger.ask(*words)
        assert not answer["network"] and answer["fd"] is None
        assert "this user may not be on the network" in answer["why"]
    assert stranger.ask("acquire", "closed")["error"] == NOT_ALLOWED
    peers = wait_for(lambda: [peer for peer in daemon.network("v")["uplink"]["broker"]["peers"] if peer["pid"] == stranger.process.pid])
    assert peers[0]["uid"] == pwd.getpwnam("daemon").pw_uid


# ---- which executable ----


@pytest.mark.parametrize("version", ["26.0", "26.1"])
@pytest.mark.parametrize("hidden", ["", NO_REQUIREMENT], ids=["by-connection", "by-message"])
def test_before_26_2_an_uplink_takes_no_network_of_another_executable(make_pair, version, hidden):
    """It would be ended by macOS. The connection refuses the broker, or, where it can't, the uplink looks at the reply."""
    daemon, one = make_pair(version, env={"FAKE_HIDDEN_NAMES": hidden}, prepare=lambda mac: mac.become_another_executable())
    daemon.ask("PUT", "/v1/networks/v", {"mode": "shared", "uplink": "vmnet", "ipv4": None, "sockets": {"mode": "0666"}})
    wait_for(lambda: "is not this executable" in (daemon.health("v")["uplink"]["reason"] or ""), what="the reason")
    assert daemon.health("v")["uplink"]["state"] == "starting"
    assert "fake-sdk" not in daemon.log()


def test_from_26_2_on_any_executable_may_be_the_broker(make_pair):
    daemon, one = make_pair("26.2", prepare=lambda mac: mac.become_another_executable())
    create(daemon)
    assert one.log().count("network v: made") == 1


def test_our_own_uplinks_are_asked_nothing_more(make_pair):
    """The requirement is met by the same file, also where it is looked at by message."""
    daemon, one = make_pair("26.0", env={"FAKE_HIDDEN_NAMES": NO_REQUIREMENT})
    create(daemon)
    assert one.log().count("network v: made") == 1


# ---- who makes networks ----


def test_no_network_is_made_before_somebody_asks_and_by_nobody_but_the_broker(make_pair):
    """vmswitchd's own processes could make none (the double would refuse them), and get it from the broker."""
    daemon, one = make_pair(env={"FAKE_NETWORK_STATUS": "1002"})
    daemon.create("plain")
    assert "made" not in one.log()
    create(daemon)
    assert one.log().count("network v: made") == 1
    assert daemon.children()["vmnet v"] in {peer["pid"] for peer in daemon.network("v")["uplink"]["broker"]["peers"]}


@pytest.mark.root
def test_the_broker_needs_no_root(make_daemon, make_mac):
    """As _vmswitch it is let in by the API's group; there is none here, so that the socket is given to its user."""
    daemon = make_daemon()
    one = make_mac(home=daemon.folder)
    daemon.start(*empty_config(daemon), env={"FAKE_MACOS_VERSION": "26.2"})
    os.chown(daemon.api_path, pwd.getpwnam("nobody").pw_uid, -1)
    one.start(runtime=daemon.runtime, user="nobody")
    create(daemon)
    client = one.client()
    assert client.ask("acquire", "v")["network"] and client.ask("start")["status"] == 1000
    assert one.log().count("network v: made") == 1


def test_the_lifetime_is_one_for_both(make_pair):
    """A native VM keeps the network over the deletion in vmswitchd; made again there, the uplink is on the same one."""
    daemon, one = make_pair()
    create(daemon)
    native = one.client()
    assert native.ask("lima", "v")["network"] and native.ask("start")["status"] == 1000
    gateway = daemon.health("v")["uplink"]["ipv4"]["gateway"]
    daemon.ask("DELETE", "/v1/networks/v")
    assert "nobody is on it" not in one.log()
    create(daemon)
    assert daemon.health("v")["uplink"]["ipv4"]["gateway"] == gateway
    with StreamVm(daemon.path("v.stream"), mac(1)) as vm:
        said = frame(BROADCAST, mac(9), b"from the native one")
        assert native.ask("send", said.hex())["status"] == 1000
        vm.expect(said)
    assert one.log().count("network v: made") == 1
    native.kill()
    one.wait_log(f"pid {native.process.pid} is gone")
    assert "nobody is on it" not in one.log()
    daemon.ask("DELETE", "/v1/networks/v")
    one.wait_log("network v: nobody is on it any more")


# ---- isolation ----


def expect_first(client, command, said):
    """The first frame that comes is 'said': what was sent before it and is not to be seen would have come before it."""
    assert client.ask(command)["frame"] == said.hex()


@pytest.mark.parametrize("kind", ["stream", "datagram"])
def test_descriptors_of_an_isolated_network_reach_the_uplink_alone(make_pair, kind):
    daemon, one = make_pair()
    create(daemon, isolated=True)
    a, b, native = one.client(), one.client(), one.client()
    for client in (a, b):
        assert client.ask("lima", "v", kind)["fd"] == kind.split("_")[0]
    assert native.ask("acquire", "v")["network"] and native.ask("start")["status"] == 1000
    for client, own in ((a, mac(1)), (b, mac(2))):
        said = frame(BROADCAST, own, b"to all")
        client.ask("fd-send", said.hex())
        expect_first(native, "receive", said)
    for client, own, other in ((a, mac(1), mac(2)), (b, mac(2), mac(1))):
        client.ask("fd-send", frame(other, own, b"to the other").hex())
        said = frame("01:00:5e:00:00:fb", own, b"to a group")
        client.ask("fd-send", said.hex())
        expect_first(native, "receive", said)
    for client, own in ((a, mac(1)), (b, mac(2))):
        said = frame(own, mac(9), b"from the uplink")
        assert native.ask("send", said.hex())["status"] == 1000
        expect_first(client, "fd-receive", said)
    vm_ports = [port for port in daemon.ports("v").values() if port["role"] == "vm"]
    assert len(vm_ports) == 2 and all(port["isolated"] for port in vm_ports)
    assert daemon.network("v")["counters"]["drops"]["isolated"] == 2


def test_a_descriptor_is_isolated_if_its_interface_would_have_been(make_pair):
    """InterfaceDesc with vmnet's isolation key, on a network that is not isolated."""
    daemon, one = make_pair()
    create(daemon)
    alone, other, native = one.client(), one.client(), one.client()
    assert alone.ask("lima", "v", "datagram", "isolation")["fd"] == "datagram"
    assert other.ask("lima", "v", "datagram")["fd"] == "datagram"
    assert native.ask("acquire", "v")["network"] and native.ask("start")["status"] == 1000
    assert sorted(port["isolated"] for port in daemon.ports("v").values() if port["role"] == "vm") == [False, True]
    said = frame(BROADCAST, mac(1), b"alone")
    alone.ask("fd-send", said.hex())
    expect_first(native, "receive", said)
    said = frame(BROADCAST, mac(2), b"the other")
    other.ask("fd-send", said.hex())
    expect_first(native, "receive", said)
    said = frame(BROADCAST, mac(9), b"from the uplink")
    native.ask("send", said.hex())
    for client in (alone, other):
        expect_first(client, "fd-receive", said)


def test_of_a_native_client_its_own_key_decides(make_pair):
    """On an isolated network the uplink's interface is private: one that is private, too, does not see it. docs/broker.md."""
    daemon, one = make_pair()
    create(daemon, isolated=True)
    private, plain = one.client(), one.client()
    answers = [client.ask("lima", "v") for client in (private, plain)]
    assert all(answer["Configuration"]["isolated"] is True for answer in answers)
    assert private.ask("start", "isolated")["status"] == 1000
    assert plain.ask("start")["status"] == 1000
    with StreamVm(daemon.path("v.stream"), mac(1)) as vm:
        for said in (frame(BROADCAST, vm.address, b"to all"), frame(mac(8), vm.address, b"to the private one")):
            vm.send(said)
            expect_first(plain, "receive", said)
        private.ask("send", frame(BROADCAST, mac(8), b"from the private one").hex())
        said = frame(BROADCAST, mac(9), b"from the plain one")
        plain.ask("send", said.hex())
        expect_first(private, "receive", said)
        assert vm.expect(said) == []


# ---- what is in use ----


def test_a_descriptor_alone_keeps_the_broker(make_pair):
    """Its port would go with the broker: it is in use as a network is."""
    daemon, one = make_pair("26.2", "--broker-idle", "1")
    daemon.create("plain")
    client = one.client()
    assert client.ask("lima", "plain", "datagram")["fd"] == "datagram"
    time.sleep(2.5)
    assert one.broker.poll() is None and "ended until somebody asks" not in one.log()
    with StreamVm(daemon.path("plain.stream"), mac(1)) as vm:
        said = frame(BROADCAST, mac(7), b"still plugged in")
        client.ask("fd-send", said.hex())
        vm.expect(said)
    client.kill()
    assert one.broker.wait(10) == 0
    assert f"pid {client.process.pid} is gone, and with it what it held: 0 networks, 1 descriptors" in one.log()


def test_sigterm_waits_for_those_who_have_a_descriptor(make_pair):
    daemon, one = make_pair("26.2", "--exit-timeout", "60")
    daemon.create("plain")
    client = one.client()
    assert client.ask("lima", "plain", "stream")["fd"] == "stream"
    one.broker.send_signal(signal.SIGTERM)
    one.wait_log("1 programs have networks or descriptors of ours, which end with us: waiting 58 s for them")
    with StreamVm(daemon.path("plain.stream"), mac(1)) as vm:
        said = frame(BROADCAST, mac(7), b"still plugged in")
        client.ask("fd-send", said.hex())
        vm.expect(said)
    client.kill()
    assert one.broker.wait(10) == 0


def test_a_second_signal_ends_it_at_once(pretended):
    client = pretended.client()
    assert client.ask("acquire", "shared")["network"]
    pretended.broker.send_signal(signal.SIGTERM)
    pretended.wait_log("waiting 18 s for them")
    pretended.broker.send_signal(signal.SIGTERM)
    assert pretended.broker.wait(10) == 0


@pytest.mark.root
def test_a_network_that_only_a_bridge_keeps_is_in_use(make_mac):
    """Nobody is connected; a VM is on it all the same."""
    one = make_mac()
    one.start("--broker-idle", "1")
    client = one.client()
    address = [f"{client.ask('lima', 'host')['Configuration']['gateway']}/24", "dev", "lo"]
    subprocess.run(["ip", "address", "add", *address], check=True)
    try:
        client.kill()
        one.wait_log(f"pid {client.process.pid} is gone")
        time.sleep(2.5)
        assert one.broker.poll() is None
    finally:
        subprocess.run(["ip", "address", "delete", *address], check=True)
    assert one.broker.wait(10) == 0
    assert one.log().index("nobody is on it any more") < one.log().index("nothing has been in use for 1 s")


@pytest.mark.root
@pytest.mark.parametrize("is_told", [True, False], ids=["told", "by-looking"])
def test_a_bridge_that_goes_takes_its_network_with_it(make_mac, is_told):
    """At once where the system says that an address has gone (the look of its own is every 30 s then), else within 5 s."""
    one = make_mac()
    if not is_told:
        one.environment["FAKE_NO_ADDRESS_WATCH"] = "1"
    one.start()
    client = one.client()
    gateway = client.ask("lima", "host")["Configuration"]["gateway"]
    address = [f"{gateway}/24", "dev", "lo"]
    subprocess.run(["ip", "address", "add", *address], check=True)
    try:
        client.kill()
        one.wait_log(f"pid {client.process.pid} is gone")
        time.sleep(0.5)
        assert "nobody is on it" not in one.log()
    finally:
        subprocess.run(["ip", "address", "delete", *address], check=True)
    one.wait_log("network host: nobody is on it any more", 15)


# ---- what is said badly ----


@pytest.mark.parametrize("words, why", [
    (("Network", "x" * 40), "Network: must be a network's name"),
    (("Network", "shared", "InterfaceDesc", "tso"), "InterfaceDesc: must be a dictionary"),
    (("Network", "shared", "Configuration", "{}"), "Configuration: must be data, a JSON object"),
    (("Network", "shared", "FdType", ""), "FdType: choose stream, datagram or datagram_next"),
])
def test_lima_hears_which_field_is_wrong(pretended, words, why):
    assert pretended.client().ask("raw", *(word or '""' for word in words))["why"] == why


@pytest.mark.parametrize("text", ["[]", "{", '{"mode":"host","mode":"shared"}', "null", "\\x00"])
def test_a_configuration_that_is_no_object_is_refused(pretended, text):
    answer = pretended.client().ask("configuration", "shared", text)
    assert answer["why"] == "Configuration: must be data, a JSON object" and not answer["network"]
    assert "made" not in pretended.log()


def test_what_vmswitchd_does_not_have_is_not_found_and_the_next_step_said(make_pair):
    """Also "shared" and "host", which there are without vmswitchd: what the broker holds is what the API shows."""
    daemon, one = make_pair()
    client = one.client()
    for name in ("nowhere", "shared", "host"):
        answer = client.ask("acquire", name)
        assert answer["error"] == NOT_FOUND
        assert f'vmswitchd has no network "{name}"; make it (vmswitch create {name} ' in answer["why"]
    assert "vmswitchd has no network" in client.ask("lima", "nowhere", "stream")["why"]
    daemon.create("host", mode="host", uplink="vmnet", ipv4=None)
    assert client.ask("acquire", "host")["network"]
    wait_for(lambda: client.process.pid in {peer["pid"] for peer in daemon.network("host")["uplink"]["broker"]["peers"]})
    assert client.ask("raw", "network_name", "shared")["error"] == INVALID_REQUEST


def test_a_program_has_32_descriptors_at_most(make_pair):
    daemon, one = make_pair()
    daemon.create("plain")
    client = one.client()
    for _ in range(32):
        assert client.ask("lima", "plain", "datagram")["fd"]
    assert "as many descriptors as it may" in client.ask("lima", "plain", "datagram")["why"]
    wait_for(lambda: len([port for port in daemon.ports("plain").values() if port["role"] == "vm"]) == 32, what="32 ports")
    client.kill()
    wait_for(lambda: not [port for port in daemon.ports("plain").values() if port["role"] == "vm"], what="their end")


# ---- uplinks that are not of the broker's vmswitchd ----


@pytest.mark.parametrize("is_there", [True, False], ids=["beside-vmswitchd", "without-vmswitchd"])
def test_a_program_with_a_network_of_its_own_needs_no_broker(make_pair, make_mac, start_front, folder, is_there):
    """socket_vmnet has no vmswitchd; where a broker is installed it has its interface all the same, as before macOS 26."""
    if is_there:
        daemon, one = make_pair()
    else:
        one = make_mac("26.2", folder / "d0")
        one.folder.mkdir()
        one.start()
    front = start_front("socket_vmnet", folder / "s", env={"VMSWITCH_UPLINK": "vmnet", "FAKE_MACOS_VERSION": "26.2", "HOME": str(one.folder)})
    front.wait_ready(seconds=20)
    assert "made" not in one.log()


def test_another_vmswitchd_shares_no_network_of_that_name(make_pair, make_daemon):
    """The names are one vmswitchd's: the broker asks its own who the uplink of a network is."""
    daemon, one = make_pair()
    create(daemon, ipv4={"gateway": "10.9.8.1", "netmask": "255.255.255.0"})
    other = make_daemon()
    (other.folder / "conf").write_text('{"networks": []}')
    other.start("--config", str(other.folder / "conf"), env={"FAKE_MACOS_VERSION": "26.2", "HOME": str(daemon.folder)})
    create(other)
    assert other.health("v")["uplink"]["ipv4"]["gateway"] == "192.168.64.1"
    assert other.network("v")["uplink"]["broker"] is None
    assert {peer["pid"] for peer in daemon.network("v")["uplink"]["broker"]["peers"]} == {daemon.network("v")["uplink"]["pid"]}
    other.check_sums()
    assert other.stop() == 0


def test_an_uplink_waits_for_a_vmswitchd_that_does_not_answer(make_pair, folder):
    """Somebody listens: then it may be this one, which is busy. The uplink is refused for now and asks again."""
    mute = folder / "mute"
    mute.mkdir()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(mute / "api.sock"))
        listener.listen(8)
        daemon, one = make_pair()
        one.broker.kill()
        one.broker.wait()
        one.start(runtime=mute)
        daemon.ask("PUT", "/v1/networks/v", {"mode": "shared", "uplink": "vmnet", "ipv4": None, "sockets": {"mode": "0666"}})
        wait_for(lambda: "vmswitchd does not answer" in (daemon.health("v")["uplink"]["reason"] or ""), 20, "the reason")
        assert daemon.health("v")["uplink"]["state"] == "starting"
