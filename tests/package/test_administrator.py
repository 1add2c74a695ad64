"""What an administrator does with the installed package, as docs/linux.md says it, and what the journal says of it.

The machine is booted with a real systemd (machine.py); commands and the configuration are taken from the document.
"""
import re
import shutil
import subprocess

import pytest

from conftest import ROOT, needs_boot
from machine import wait_for
from vm import StreamVm, mac

pytestmark = needs_boot

LINUX = (ROOT / "docs" / "linux.md").read_text()
CONF = "/etc/vmswitch/vmswitchd.conf"


def block(heading, language):
    """The first block of code in that language below a heading of docs/linux.md."""
    section = LINUX[LINUX.index(f"## {heading}\n"):]
    return re.search(rf"^```{language}\n(.*?)^```$", section, re.M | re.S)[1]


def commands(heading):
    """Its lines of shell, without their remarks, as root or alice types them."""
    return [line.partition("  #")[0].strip().removeprefix("sudo ") for line in block(heading, "sh").splitlines()]


@pytest.fixture
def installed(booted, deb):
    machine = booted
    install, join, health = commands("Install")
    assert install.startswith("apt install ./vmswitch_") and join.startswith("usermod")
    machine.install(deb)
    machine.sh(join.replace("$USER", "alice"))
    assert re.search(r"shared +up", machine.sh(health, user="alice"))
    return machine


def test_three_kinds_of_networks_a_reload_and_a_bad_file(installed):
    machine = installed
    reload, health, log = commands("Configure")
    machine.sh("ip link add br0 type bridge; ip link set br0 up")
    machine.path(CONF).write_text(block("Configure", "json"))
    said = machine.sh(reload, user="alice")
    assert re.search(r"hostonly +added", said) and re.search(r"office +added", said)
    wait_for(lambda: len(re.findall(r"(?:shared|hostonly|office) +up", machine.sh(health, user="alice"))) == 3, 20, "three networks that are up")
    assert "192.168.106.1/24" in machine.sh("ip -4 addr") and "master br0" in machine.sh("ip link")
    assert machine.show("StatusText") == "3 of 3 networks up"

    # What is not allowed yet says what to do, and that works.
    machine.sh("ip link add br1 type bridge; ip link set br1 up")
    refused = machine.sh("! vmswitch create other --mode bridged --interface br1", user="alice")
    assert "bridged_interfaces" in refused and "list it there, and reload" in refused, refused
    machine.path(CONF).write_text(block("Configure", "json").rstrip().rstrip("}") + ', "bridged_interfaces": ["br1"]}')
    machine.sh(reload, user="alice")
    machine.sh("vmswitch create other --mode bridged --interface br1", user="alice")
    wait_for(lambda: "master br1" in machine.sh("ip link"), 10, "the TAP in the bridge")
    machine.sh("vmswitch delete other", user="alice")
    assert "br1: " in machine.sh("ip link") and "master br1" not in machine.sh("ip link")

    # A bad file: named by line and field, on the terminal and in the journal; nothing has changed, also not by systemctl.
    machine.path(CONF).write_text(block("Configure", "json").replace('"host"', '"hots"'))
    refused = machine.sh(f"! {reload}", user="alice")
    assert f"{CONF}:4" in refused and "mode" in refused, refused
    machine.sh("systemctl reload vmswitchd")
    wait_for(lambda: "hots" in machine.sh(log) or "mode" in machine.sh(f"{log} -p err"), 10, "the reason in the journal")
    assert set(machine.networks()) == {"shared", "hostonly", "office"}
    assert machine.show("ActiveState") == "active"

    # It does not start with it, and says so where an administrator looks.
    assert machine.sh("systemctl restart vmswitchd", check=False) == ""
    assert machine.show("ExecMainStatus") == "3" and machine.show("NRestarts") == "0"
    assert f"{CONF}:4" in machine.sh("systemctl status vmswitchd || true")
    machine.path(CONF).write_text(block("Configure", "json"))
    machine.sh("systemctl start vmswitchd")
    wait_for(lambda: machine.show("StatusText") == "3 of 3 networks up", 20, "every network")

    # Stopped: whoever asks hears which daemon that is.
    machine.sh("systemctl stop vmswitchd.service vmswitchd.socket vmswitchd-attach.socket")
    assert "cannot reach vmswitchd at /run/vmswitch/api.sock" in machine.sh(f"! {health}", user="alice")


@pytest.mark.skipif(not (shutil.which("dnsmasq") and shutil.which("nft")), reason="needs dnsmasq and nftables")
def test_a_network_of_the_api_is_kept_after_systemctl_reload(installed):
    """systemd may give what is in /var/lib/vmswitch to root then: the API's process could write nothing more, nor start again."""
    machine = installed
    for name in ("one", "two"):
        machine.sh(f"vmswitch create {name}", user="alice")
        machine.sh("systemctl reload vmswitchd")
        machine.sh(f"kill -KILL $(pgrep --parent {machine.show('MainPID')} --full role=control)")
        wait_for(lambda: name in machine.networks(), 10, "the API")
    machine.sh("systemctl restart vmswitchd")
    assert {"one", "two"} <= set(machine.networks())


def test_a_shared_network_by_the_kernel_and_nothing_left_of_it(installed):
    machine = installed
    machine.sh("sysctl -qw net.ipv4.ip_forward=1")
    machine.path(CONF).write_text('{"networks": [{"name": "nat", "mode": "shared", "uplink": "tap"}]}')
    assert "nat.conf" in machine.sh("vmswitch reload && sleep 1 && vmswitch health")
    for line in commands("Shared, by the kernel"):
        machine.sh(line.replace("&& sudo ", "&& "))
    wait_for(lambda: re.search(r"nat +up", machine.sh("vmswitch health")), 20, "the network")
    assert "vmswitch-nat" in machine.sh("nft list tables") and "dnsmasq" in machine.sh("ps -eo comm")
    machine.sh("rm /etc/systemd/system/vmswitchd.service.d/nat.conf")
    machine.uninstall("purge")
    assert "vmswitch" not in machine.sh("nft list tables") and "vmsw" not in machine.sh("ip link")
    assert "dnsmasq" not in machine.sh("ps -eo stat=,comm= | grep -v ^Z")


def test_the_journal_has_priorities_and_what_clients_say_only_escaped(installed):
    machine = installed
    machine.sh("curl -s --unix-socket /run/vmswitch/api.sock -X POST --data '{\"name\": \"a\\u001b[31m\\nb\"}' http://x/v1/networks")
    machine.path(CONF).write_text("{")
    machine.sh("! vmswitch reload")
    entries = machine.journal("_COMM=vmswitchd")
    assert entries and all(entry["PRIORITY"] in "3467" and isinstance(entry["MESSAGE"], str) for entry in entries)
    by = {priority: [entry["MESSAGE"] for entry in entries if entry["PRIORITY"] == priority] for priority in "3467"}
    assert any("shared" in message for message in by["6"]) and not any(message.startswith("<") for message in by["6"])
    assert any(CONF in message for message in by["3"] + by["4"]), by
    assert all(re.fullmatch(r"[ -~]*", entry["MESSAGE"]) for entry in entries)
    # Its time is the journal's: none is in the text.
    assert not any(re.match(r"\d{4}-\d\d", entry["MESSAGE"]) for entry in entries)


@pytest.mark.parametrize("how", ("restart", "kill"))
def test_G04_the_journal_is_restarted_and_has_the_log_again(installed, how):
    machine = installed
    machine.api("PUT", "/v1/networks/lab", '{"mode": "internal", "sockets": {"mode": "0666"}}')
    pid, journald = machine.show("MainPID"), machine.show("MainPID", "systemd-journald.service")
    with StreamVm(machine.path("/run/vmswitch/lab.stream"), mac(1)) as a, StreamVm(machine.path("/run/vmswitch/lab.stream"), mac(2)) as b:
        a.hello()
        b.receive()
        if how == "kill":
            machine.sh("systemctl kill --kill-whom=main --signal=KILL systemd-journald.service")
        else:
            machine.sh("systemctl restart systemd-journald.service")
        b.hello()
        assert a.receive() is not None
        wait_for(lambda: machine.show("MainPID", "systemd-journald.service") not in ("0", journald), 20, "another journald")
        for name in ("one", "two"):
            machine.api("PUT", f"/v1/networks/{name}", '{"mode": "internal"}')
        wait_for(lambda: all(any(f"PUT /v1/networks/{name}: 201" in entry["MESSAGE"] for entry in machine.journal()) for name in ("one", "two")),
                 10, "the log after the restart")
    assert machine.show("MainPID") == pid and machine.show("NRestarts") == "0"
