"""What an uplink's process has done with frames, in the API: the books of a user uplink balance, and reasons have names."""
import socket
import struct

from switchd import wait_for
from vm import BROADCAST, StreamVm, frame, mac, raw


def counters_of(daemon):
    return daemon.network("n")["uplink"]["counters"]


def assert_balanced(counters):
    out = counters["to_host"] + counters["to_network"] + counters["joined"] + counters["waiting"] + sum(counters["drops"].values())
    assert counters["from_network"] + counters["from_host"] == out, counters


def test_a_user_uplink_says_what_it_did_with_frames(daemon):
    daemon.create("n", mode="shared", uplink="user")
    daemon.wait_up("n")
    with StreamVm(daemon.path("n.stream"), mac(1)) as vm:
        ask = struct.pack("!HHBBH6s4s6s4s", 1, 0x0800, 6, 4, 1, raw(vm.address), socket.inet_aton("192.168.105.9"), bytes(6),
                          socket.inet_aton("192.168.105.1"))
        vm.send(frame(BROADCAST, vm.address, ask, ethertype=0x0806))
        for _ in range(5):
            vm.send(frame(BROADCAST, vm.address, b"not IP"))
        wait_for(lambda: counters_of(daemon)["drops"]["not_ip"] == 5, 5, "the frames being counted")
        found = counters_of(daemon)
    assert found["to_host"] >= 1 and found["from_host"] >= 1 and found["from_network"] >= 6
    assert_balanced(found)


def test_an_uplink_without_a_process_has_no_counters(daemon):
    daemon.create("n")
    assert counters_of(daemon) is None
