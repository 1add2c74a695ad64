"""tests/macos/smoke.sh, which is for a Mac, rehearsed: with the double of vmnet all of it, else what needs no Mac."""
import os
import re
import shutil
import subprocess

import pytest

from launchd import HAS_DOUBLE, Launchd
from mac import BROKER, LABEL
from switchd import BIN, ROOT, processes, wait_for
from test_activation_contract import lab_config
from test_vmnet_service import Service, environment

SCRIPT = ROOT / "tests" / "macos" / "smoke.sh"

ANYWHERE = {"programs", "start", "api-is-private", "second-daemon", "strict-paths", "internal", "streams", "datagrams", "datagram-backpressure",
            "passed-descriptor", "user-nat", "user-nat-dhcp", "control-dies", "sigterm", "nothing-left"}
SERVICE = {"service-runs", "service-answers", "service-socket", "service-broker"}
VMNET = {"interfaces", "interfaces-wifi", "vmnet-shared", "vmnet-shared-dhcp", "vmnet-host", "vmnet-host-dhcp", "vmnet-reopen"}


def smoke(*options, prefix=(), **more):
    """name -> verdict, the exit code, all that was said."""
    environment = {**os.environ, "SMOKE_END_MS": "9000", **more}  # test_lifecycle.py holds the promise itself
    done = subprocess.run([*prefix, "bash", str(SCRIPT), "--bin", str(BIN), *options], capture_output=True, text=True, env=environment, timeout=300)
    wait_for(lambda: not processes(), 10, "the end of every process")
    lines = re.findall(r"^(PASS|FAIL|SKIP)  (\S+)", done.stdout, re.M)
    counts = re.search(r"^(\d+) passed, (\d+) failed, (\d+) skipped$", done.stdout.splitlines()[-1])
    assert [int(n) for n in counts.groups()] == [sum(verdict == word for verdict, _ in lines) for word in ("PASS", "FAIL", "SKIP")]
    return {name: verdict for verdict, name in lines}, done.returncode, done.stdout + done.stderr


def names(verdicts, verdict):
    return {name for name, one in verdicts.items() if one == verdict}


@pytest.mark.skipif(HAS_DOUBLE, reason="the build with the double has the test below")
def test_what_needs_no_mac_passes_here():
    verdicts, code, said = smoke()
    assert code == 0 and names(verdicts, "PASS") == ANYWHERE, said


@pytest.mark.root
@pytest.mark.skipif(HAS_DOUBLE, reason="the build with the double has the test below")
def test_it_needs_no_root():
    verdicts, code, said = smoke(prefix=("setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"))
    assert code == 0 and names(verdicts, "PASS") == ANYWHERE, said


def make_networksetup(folder):
    """A Mac's, which says of $WIFI what is true of the double's en0."""
    program = folder / "networksetup"
    program.write_text("#!/bin/sh\nprintf 'Hardware Port: USB LAN\\nDevice: en7\\n\\nHardware Port: Wi-Fi\\nDevice: %s\\n' $WIFI\n")
    program.chmod(0o755)


@pytest.fixture
def networksetup(folder):
    """A PATH with it."""
    make_networksetup(folder)
    return f"{folder}:{os.environ['PATH']}"


@pytest.fixture
def adapter():
    """The double's en7 with an address, where we may: the host reaches a subnet by it."""
    if os.geteuid() != 0:
        yield False
        return
    subprocess.run(["ip", "link", "add", "en7", "type", "veth", "peer", "name", "en7peer"], check=True)
    for words in (["addr", "add", "10.66.0.5/24", "dev", "en7"], ["link", "set", "en7", "up"], ["link", "set", "en7peer", "up"]):
        subprocess.run(["ip", *words], check=True)
    yield True
    subprocess.run(["ip", "link", "del", "en7"], check=True)


@pytest.mark.root
@pytest.mark.skipif(not HAS_DOUBLE, reason="needs a build with VMNET_DOUBLE")
def test_vmnet_smoke_passes_against_the_double(networksetup, adapter):
    verdicts, code, said = smoke(SMOKE_HAS_VMNET="1", PATH=networksetup, WIFI="en0")
    conflict = {"subnet-conflict"}
    assert code == 0 and names(verdicts, "PASS") == ANYWHERE | VMNET | (conflict if adapter else set()), said
    assert names(verdicts, "SKIP") == {"signature", "vmnet-bridged", "service"} | (set() if adapter else conflict)
    assert not adapter or "overlaps 10.66.0.0/24 via en7" in said


@pytest.mark.skipif(not HAS_DOUBLE, reason="needs a build with VMNET_DOUBLE")
def test_vmnet_smoke_says_what_fails(networksetup):
    """Nothing behind the double's bridge has DHCP, and en7 is no Wi-Fi: a line each says FAIL, and so does the exit code."""
    verdicts, code, said = smoke("--bridge", "en0", SMOKE_HAS_VMNET="1", PATH=networksetup, WIFI="en7")
    assert code == 1 and names(verdicts, "FAIL") == {"vmnet-bridged-dhcp", "interfaces-wifi"}, said
    assert "networksetup: en7; GET /v1/interfaces: en0" in said


@pytest.fixture
def on_a_mac(folder, make_daemon):
    """The installed job on the double of launchd, and what the script asks a Mac: its version, signatures, jobs."""
    service = Service(folder, make_daemon(), is_agent=False)
    daemon, tools = service.daemon, service.mac.root.parent / "tools"
    with Launchd(daemon, "26.2") as launchd:
        job = launchd.load(service.job(LABEL, *lab_config(daemon)))
        (tools / "launchctl").write_text('#!/bin/sh\n[ -e "$STATE/${2#system/}" ] && cat "$STATE/${2#system/}"\n')
        (tools / "chown").unlink()  # the script's own daemon is real
        make_networksetup(tools)

        def run(*options):
            return smoke("--service", *options, SMOKE_HAS_VMNET="1", SMOKE_SERVICE_FOLDER=str(daemon.runtime), SMOKE_SERVICE_LOG=str(job.log_path),
                         PATH=service.mac.environment["PATH"], WIFI="en0", STATE=str(service.mac.state))

        def start():
            job.start(environment(daemon, launchd))
            (service.mac.state / LABEL).write_text("\tstate = running\n")
            (service.mac.state / BROKER).write_text("\tstate = not running\n")

        yield start, run
        if job.process is not None:
            assert job.end() == 0


@pytest.mark.root
@pytest.mark.skipif(not HAS_DOUBLE, reason="needs a build with VMNET_DOUBLE")
def test_vmnet_smoke_looks_at_the_service_and_the_signature(on_a_mac):
    """Every line that a Mac would say, but bridging."""
    start, run = on_a_mac
    start()
    verdicts, code, said = run()
    assert code == 0 and names(verdicts, "PASS") == ANYWHERE | VMNET | SERVICE | {"signature", "entitlement"}, said
    assert names(verdicts, "SKIP") == {"vmnet-bridged", "subnet-conflict"}


@pytest.mark.root
@pytest.mark.skipif(not HAS_DOUBLE, reason="needs a build with VMNET_DOUBLE")
def test_vmnet_smoke_says_that_the_service_does_not_run(on_a_mac):
    _, run = on_a_mac
    verdicts, code, said = run()
    assert code == 1 and names(verdicts, "FAIL") == SERVICE, said


def test_it_is_syntax_of_bash_3_2():
    """The bash of macOS: nothing that came after it is used."""
    subprocess.run(["bash", "-n", str(SCRIPT)], check=True)
    newer = re.compile(r"declare -[Ag]|local -n|mapfile|readarray|\|&|&>>|\$\{\w+(,,|\^\^|@)|\bcoproc\b|EPOCHSECONDS|EPOCHREALTIME|wait -n|;;&|;&|\[\[ -v")
    for path in (SCRIPT, *(ROOT / "etc" / "macos").glob("*.sh")):
        for number, line in enumerate(path.read_text().splitlines(), 1):
            assert not newer.search(line), f"{path.name}:{number}: {line}"


@pytest.mark.skipif(not shutil.which("shellcheck"), reason="needs shellcheck")
def test_shellcheck_has_nothing_to_say():
    subprocess.run(["shellcheck", "-S", "warning", str(SCRIPT)], check=True)
