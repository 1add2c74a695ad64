"""DHCP leases of networks with a TAP (Linux, root): who dies, and however, what a guest was given stays its own."""
import os
import pwd
import signal

import pytest

from kernel_nat import OPEN, dnsmasqs, lease, lease_file, start, tables
from switchd import status_of, wait_for
from vm import StreamVm, mac

pytestmark = [pytest.mark.root, pytest.mark.usefixtures("nat_tools")]
FAR = "192.168.105.201"  # not what dnsmasq would choose by itself


def leased(made, vm):
    """The VM has FAR, because it asked for it."""
    address = lease(vm, asked=FAR)
    assert address == FAR
    assert FAR in lease_file(made).read_text()


def still_its_alone(made):
    """The VM gets what it had without a word of it, and nobody else does."""
    with StreamVm(made.path("lab.stream"), mac(2)) as other, StreamVm(made.path("lab.stream"), mac(1)) as vm:
        assert lease(other, asked=FAR) not in (None, FAR)
        assert lease(vm) == FAR


def kill_everything(made):
    for pid in (made.pid, *made.children().values(), *dnsmasqs()):
        os.kill(pid, signal.SIGKILL)
    made.process.wait()


@pytest.mark.parametrize("end", [lambda made: made.stop(), lambda made: made.kill(), kill_everything], ids=["sigterm", "kill-9", "kill-9 of all"])
def test_leases_outlive_the_daemon(make_daemon, forwarding, end):
    made = start(make_daemon(), lab={})
    made.wait_up("lab")
    with StreamVm(made.path("lab.stream"), mac(1)) as vm:
        leased(made, vm)
    end(made)
    wait_for(lambda: not dnsmasqs() and "vmswitch" not in tables(), 5, "the end of what it made")
    assert FAR in lease_file(made).read_text()
    made.start("--config", str(made.folder / "vmswitchd.conf"))
    made.wait_up("lab")
    still_its_alone(made)


@pytest.mark.parametrize("who", ["nat lab", "network lab", "control", "dnsmasq"])
def test_leases_outlive_each_process(make_daemon, forwarding, who):
    made = start(make_daemon(), lab={})
    made.wait_up("lab")
    with StreamVm(made.path("lab.stream"), mac(1)) as vm:
        leased(made, vm)
    victim = next(iter(dnsmasqs())) if who == "dnsmasq" else made.children()[who]
    os.kill(victim, signal.SIGKILL)
    wait_for(lambda: victim not in [*dnsmasqs(), *made.children().values()], what="its end")
    wait_for(made.is_ready_again, what="the API")
    wait_for(lambda: made.health("lab").get("state") == "up" and len(dnsmasqs()) == 1, 10, "up again")
    still_its_alone(made)


def test_leases_are_their_servers_alone_and_go_with_the_network(make_daemon, forwarding):
    made = start(make_daemon())
    made.create("lab", mode="shared", uplink="tap", sockets=OPEN)
    with StreamVm(made.path("lab.stream"), mac(1)) as vm:
        leased(made, vm)
    server = status_of(next(iter(dnsmasqs())))["Uid"].split()[0]
    for path, mode in ((lease_file(made), 0o600), (lease_file(made).parent, 0o700)):
        assert path.stat().st_mode & 0o777 == mode and str(path.stat().st_uid) == server, path
    above = lease_file(made).parent.parent.stat()
    assert above.st_mode & 0o777 == 0o711 and above.st_uid == 0, "nobody else makes folders there"
    made.ask("PUT", "/v1/networks/lab", {"mode": "shared", "uplink": "tap", "mtu": 1400, "sockets": OPEN})
    made.wait_up("lab")
    still_its_alone(made)
    made.ask("DELETE", "/v1/networks/lab")
    assert not lease_file(made).parent.exists()
    made.create("lab", mode="shared", uplink="tap", sockets=OPEN)
    with StreamVm(made.path("lab.stream"), mac(2)) as other:
        assert lease(other, asked=FAR) == FAR, "nothing is known of it any more"


def test_a_garbled_lease_file_is_set_aside_and_said(make_daemon, forwarding):
    """What is whole in it still holds."""
    made = start(make_daemon(), lab={})
    made.wait_up("lab")
    with StreamVm(made.path("lab.stream"), mac(1)) as vm:
        leased(made, vm)
    assert made.stop() == 0
    path = lease_file(made)
    whole = path.read_text()
    path.write_bytes(os.urandom(200) + b"\n17 is no lease\n" + whole.encode() + b"1900000000 52:54:00:")
    made.start("--config", str(made.folder / "vmswitchd.conf"))
    made.wait_up("lab")
    assert "leases is damaged" in made.log() and path.with_name("leases.damaged").read_bytes().startswith(b"") and path.with_name("leases.damaged").stat().st_size > 200
    still_its_alone(made)
    assert made.stop() == 0
    path.write_text("")
    made.start("--config", str(made.folder / "vmswitchd.conf"))
    made.wait_up("lab")
    with StreamVm(made.path("lab.stream"), mac(1)) as vm:
        assert lease(vm), "an empty one is none"


def test_leases_of_a_network_that_went_unseen_are_removed_at_the_next_start(make_daemon, forwarding):
    made = start(make_daemon(), lab={}, other={"ipv4": {"gateway": "192.168.107.1"}})
    made.wait_up("lab")
    made.wait_up("other")
    for network in ("lab", "other"):
        with StreamVm(made.path(f"{network}.stream"), mac(1)) as vm:
            assert lease(vm)
    assert made.stop() == 0
    start(made, lab={})
    made.wait_up("lab")
    assert lease_file(made).exists() and not lease_file(made, "other").parent.exists()


def test_another_subnet_begins_without_leases(make_daemon, forwarding):
    made = start(make_daemon())
    made.create("lab", mode="shared", uplink="tap", sockets=OPEN)
    with StreamVm(made.path("lab.stream"), mac(1)) as vm:
        leased(made, vm)
    made.ask("PUT", "/v1/networks/lab", {"mode": "shared", "uplink": "tap", "ipv4": {"gateway": "192.168.107.1"}, "sockets": OPEN})
    made.wait_up("lab")
    with StreamVm(made.path("lab.stream"), mac(2)) as vm:
        assert lease(vm).startswith("192.168.107.")
    assert FAR not in lease_file(made).read_text() and "is damaged" not in made.log()


def service_uid():
    """As daemon/accounts.c finds it."""
    known = {one.pw_name: one.pw_uid for one in pwd.getpwall()}
    return next(known[name] for name in ("_vmswitch", "vmswitch", "nobody") if name in known)


def test_a_state_folder_that_is_closed_to_dnsmasq_costs_the_leases_and_no_more(make_daemon, forwarding):
    made = make_daemon()
    made.state.rmdir()
    closed = made.folder / "closed"
    closed.mkdir(mode=0o700)
    os.chown(closed, service_uid(), -1)
    made.state = closed / "state"
    start(made, lab={})
    made.wait_up("lab")
    assert "leases end with this daemon" in made.log()
    with StreamVm(made.path("lab.stream"), mac(1)) as vm:
        assert lease(vm)
