"""The network broker and programs that do it wrong, or too much of it, or go in the middle. Of the build with VMNET_DOUBLE alone."""
import time

import pytest

from broker import CREATE_FAILURE, INTERNAL, INVALID_REQUEST, NOT_FOUND, create, make_mac, make_pair, needs_double, pretended
from switchd import wait_for
from vm import BROADCAST, StreamVm, frame, mac

pytestmark = needs_double

TYPES = ("number", "bool", "data", "fd", "uuid", "array", "dictionary")


@pytest.mark.parametrize("type", TYPES)
def test_a_value_of_another_type_is_refused(pretended, type):
    """Each field of both protocols; the broker lives and goes on."""
    client = pretended.client()
    for words, error in ((("command", type, "network_name", "shared"), INVALID_REQUEST), (("network_name", type, "command", "acquire"), INVALID_REQUEST),
                         (("Network", type), 0), (("FdType", type, "Network", "shared"), 0)):
        answer = client.ask("odd", *words)
        assert not answer["network"] and answer["fd"] is None and answer["why"] and answer["error"] == error, (words, answer)
    for key in ("InterfaceDesc", "Configuration"):
        if (key, type) != ("InterfaceDesc", "dictionary"):
            answer = client.ask("odd", key, type, "Network", "shared", "FdType", "stream")
            assert not answer["network"] and answer["fd"] is None and answer["why"].startswith(f"{key}: must be "), answer
    assert "made" not in pretended.log()
    assert client.ask("odd", "watch", type, "command", "acquire", "network_name", "shared")["network"]  # what is not asked for is not


def test_more_programs_than_it_serves_are_turned_away(pretended):
    """256; the others notice nothing, and there is room again when some have gone."""
    first, crowd = pretended.client(), pretended.client()
    assert first.ask("acquire", "shared")["network"] and first.ask("start")["status"] == 1000
    answers = crowd.ask("flood", "260", "1", "shared")
    # The crowd's own first connection has not spoken, and so is none yet.
    assert answers["0"] == 255 and answers["-1"] == 5, answers
    assert "a program was turned away: there are 256 already" in pretended.log()
    assert first.ask("send", frame(BROADCAST, mac(1)).hex())["status"] == 1000
    crowd.kill()
    wait_for(lambda: pretended.client().ask("acquire", "shared")["network"], 20, "room for another")


def test_more_requests_at_once_than_it_takes_are_refused(make_mac):
    """16 of each program: the others are answered at once, also while vmnet hangs."""
    hanging = make_mac()
    hanging.environment["FAKE_NETWORK_HANGS"] = "1"
    hanging.start("--exit-timeout", "3")
    flood, other = hanging.client(), hanging.client()
    flood.say("flood", "1", "40", "shared")
    begun = time.monotonic()
    assert other.ask("acquire", "nowhere")["error"] == NOT_FOUND
    assert time.monotonic() - begun < 5
    answers = flood.hear()
    assert answers[str(CREATE_FAILURE)] == 16 and answers[str(INTERNAL)] == 24, answers
    assert other.ask("acquire", "nowhere")["error"] == NOT_FOUND
    hanging.broker.terminate()
    assert hanging.broker.wait(10) == 0


def test_a_network_that_all_have_left_while_it_was_made_goes(make_mac):
    slow = make_mac()
    slow.environment["FAKE_NETWORK_SLOW_MS"] = "1000"
    slow.start("--broker-idle", "1")
    for client in (slow.client(), slow.client()):
        client.say("acquire", "shared")
        time.sleep(0.2)  # it has to have been asked, and not answered
        client.kill()
    slow.wait_log("network shared: made")
    slow.wait_log("network shared: nobody is on it any more")
    assert slow.broker.wait(10) == 0


@pytest.mark.parametrize("kind", ["stream", "datagram"])
def test_a_descriptor_whose_program_has_left_is_plugged_out(make_pair, kind):
    """At any moment of the way: asked, made, plugged in, answered."""
    daemon, one = make_pair()
    daemon.create("plain")
    for i in range(12):
        client = one.client()
        client.say("lima", "plain", kind)
        time.sleep(i * 0.002)
        client.kill()
    wait_for(lambda: not [port for port in daemon.ports("plain").values() if port["role"] == "vm"], what="no port being left")
    assert one.client().ask("lima", "plain", kind)["fd"] == kind


def test_a_vmswitchd_that_goes_takes_its_descriptors_and_no_network(make_pair):
    daemon, one = make_pair()
    create(daemon)
    client = one.client()
    answer = client.ask("lima", "v", "stream")
    assert answer["fd"] == "stream" and answer["network"] and client.ask("start")["status"] == 1000
    daemon.check_sums()
    assert daemon.stop() == 0
    assert client.ask("fd-receive") == {"frame": None, "end": True}
    assert client.ask("send", frame(BROADCAST, mac(1)).hex())["status"] == 1000
    assert client.ask("acquire", "v")["network"]  # it holds it, and may
    assert "nobody is on it" not in one.log()
