"""vmnet-helper as on macOS: vmnet behind it, with the double of tests/fake-sdk. Of the build with VMNET_DOUBLE alone."""
import pytest

from front import family, leftovers
from helpers import TEN_KEYS, check_types, line_of, run, vfkit
from switchd import EXIT_S
from test_vmnet import answers, pytestmark  # noqa: F401
from vm import mac

BRIDGED = {key: kind for key, kind in TEN_KEYS.items() if key not in (
    "vmnet_subnet_mask", "vmnet_start_address", "vmnet_end_address", "vmnet_nat66_prefix")}
AUTO = {"VMSWITCH_UPLINK": ""}


@pytest.fixture
def place(folder):
    path = folder / "machine"
    path.mkdir()
    path.chmod(0o777)
    return path


@pytest.mark.parametrize("argv,asked", [
    ((), None),
    (("--operation-mode=host",), None),
    (("--start-address=192.168.72.1", "--end-address=192.168.72.9", "--subnet-mask=255.255.255.0"), ("192.168.72.1", "192.168.72.9")),
])
def test_25_vmnets_addresses_are_in_the_line(start_front, place, argv, asked):
    """Asked for, or vmnet's own choice: what the line says answers."""
    helper = start_front("vmnet-helper", "--socket", place / "s", *argv, env=AUTO)
    facts = line_of(helper, 20)
    check_types(facts, TEN_KEYS)
    assert "vmnet" in family(helper.pid)
    if asked:
        assert (facts["vmnet_start_address"], facts["vmnet_end_address"]) == asked
    with vfkit(place / "s", place, mac(1)) as vm:
        assert answers(vm, facts["vmnet_start_address"])
    assert helper.process.wait(EXIT_S + 2) == 0 and leftovers(place) == []


def test_25_bridged_has_six_keys_and_needs_an_interface_of_the_list(start_front, place):
    names = run("vmnet-helper", "--list-shared-interfaces").stdout.splitlines()
    assert names
    bridged = ["--socket", place / "s", "--operation-mode=bridged"]
    check_types(line_of(start_front("vmnet-helper", *bridged, f"--shared-interface={names[0]}", env=AUTO), 20), BRIDGED)
    said = run("vmnet-helper", "--socket", place / "t", *bridged[2:], "--shared-interface=nosuch9", env=AUTO)
    assert said.returncode == 1 and said.stdout == "" and "vmnet" in said.stderr
