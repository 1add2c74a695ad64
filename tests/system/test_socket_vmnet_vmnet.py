"""socket_vmnet as on macOS: vmnet behind it, with the double of tests/fake-sdk. Of the build with VMNET_DOUBLE alone."""
import os
import signal

import pytest

from front import family, leftovers
from switchd import EXIT_S, wait_for
from test_vmnet import HOST, answers, pytestmark  # noqa: F401
from vm import BROADCAST, StreamVm, frame, mac


@pytest.mark.parametrize("argv,host", [((), HOST), (("--vmnet-gateway=192.168.105.1",), "192.168.105.1"),
                                       (("--vmnet-mode=host", "--vmnet-gateway=192.168.106.1"), "192.168.106.1")])
def test_vmnet_is_what_stands_behind_it(start_front, folder, argv, host):
    front = start_front("socket_vmnet", *argv, "-p", folder / "p", folder / "s", env={"VMSWITCH_UPLINK": ""}).wait_ready(seconds=20)
    assert "vmnet" in family(front.pid) and "INFO | * uplink: vmnet" in front.log()
    with StreamVm(folder / "s", mac(1)) as vm:
        assert answers(vm, host)
    assert front.stop() == 0 and leftovers(folder) == []


def test_vmnet_that_goes_comes_back_and_the_vms_stay(start_front, folder):
    front = start_front("socket_vmnet", folder / "s", env={"VMSWITCH_UPLINK": "vmnet"}).wait_ready(seconds=20)
    with StreamVm(folder / "s", mac(1)) as a, StreamVm(folder / "s", mac(2)) as b:
        assert answers(a)
        old = family(front.pid)["vmnet"]
        os.kill(old, signal.SIGUSR1)  # the Mac wakes up: the interface is gone
        wait_for(lambda: family(front.pid).get("vmnet", old) != old, 10, "the next process")
        wait_for(lambda: answers(a), 20, "the host's answer again")
        b.receive_all(0.1)
        a.hello()
        b.expect(frame(BROADCAST, a.address, b"hello"))


def test_vmnet_bridged_needs_an_interface_that_is_there(start_front, folder):
    """Row 6: what vmnet refuses ends it with 1 and vmnet's reason, and no pidfile; Lima tries again."""
    front = start_front("socket_vmnet", "--vmnet-mode=bridged", "--vmnet-interface=nosuch9", "-p", folder / "p", folder / "s",
                        env={"VMSWITCH_UPLINK": ""})
    assert front.process.wait(20 + EXIT_S) == 1
    assert "ERROR| the uplink (vmnet) did not start: " in front.log() and leftovers(folder) == []


def test_vmnet_bridged_to_wifi_is_warned_of(start_front, folder):
    front = start_front("socket_vmnet", "--vmnet-mode=bridged", "--vmnet-interface=en0", folder / "s", env={"VMSWITCH_UPLINK": ""})
    wait_for(lambda: "en0: its interface is Wi-Fi" in front.log(), 10, "the warning")
    wait_for(lambda: (folder / "s").exists(), 20, "the socket")
