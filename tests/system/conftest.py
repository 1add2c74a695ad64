"""Fixtures of the system tests. `daemon` is a running vmswitchd with nothing but the given networks."""
import os
import shutil
import tempfile
import time
from pathlib import Path

import pytest

import switchd
from front import Front, processes_of
from kernel_nat import World
from switchd import wait_for
from vm import Traffic, assert_clean


def pytest_configure(config):
    config.addinivalue_line("markers", "root: needs root (its own network namespace)")
    config.addinivalue_line("markers", "guest: boots QEMU")


def pytest_collection_modifyitems(items):
    skip = pytest.mark.skip(reason="needs root; tests/run.sh as root runs it")
    for item in items:
        if "root" in item.keywords and os.geteuid() != 0:
            item.add_marker(skip)


@pytest.fixture
def folder():
    """A short path that every user may enter: a socket's path has 107 bytes, and networks run as another user."""
    path = Path(tempfile.mkdtemp(prefix="vmsw-", dir="/tmp"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    setattr(item, "failed_" + report.when, report.failed)
    if report.failed:
        for one in getattr(item.funcargs.get("make_daemon"), "made", []):
            report.sections.append((f"log of vmswitchd {one.runtime}", one.log()[-20000:]))
    return report


@pytest.fixture
def make_daemon(request, folder):
    """make_daemon(user=None, sub="d"): a Switchd, not started; all are looked over at the end of the test."""
    def make(user=None, sub=None, binary=None):
        made = switchd.Switchd(folder / (sub or f"d{len(make.made)}"), user, binary)
        make.made.append(made)
        return made

    make.made = []
    yield make
    has_failed = getattr(request.node, "failed_call", False)
    try:
        for made in make.made:
            if has_failed and made.process is not None and made.process.poll() is None:
                made.kill()
            elif not has_failed:
                made.check()
    finally:
        for made in make.made:
            if made.process is not None and made.process.poll() is None:
                made.kill()


# No uplink, nothing started: what most tests want. The embedded default would start "shared".
EMPTY_CONFIG = '{"networks": []}\n'


def empty_config(daemon):
    path = daemon.folder / "vmswitchd.conf"
    path.write_text(EMPTY_CONFIG)
    return "--config", str(path)


@pytest.fixture
def daemon(make_daemon):
    """As root where the tests are root: its networks then run as the service user."""
    made = make_daemon()
    return made.start(*empty_config(made))


@pytest.fixture
def user_daemon(make_daemon):
    """The daemon of an ordinary user."""
    made = make_daemon(user="nobody" if os.geteuid() == 0 else None)
    return made.start(*empty_config(made))


@pytest.fixture
def net(daemon):
    """The name of an internal network."""
    daemon.create("lab")
    return "lab"


@pytest.fixture
def bystanders(daemon, net, folder):
    """Two VMs that talk to each other throughout the test and must not lose a frame."""
    rate = 2000 if switchd.IS_SANITIZED else 20000
    path = daemon.path(f"{net}.stream")
    with Traffic(folder, [f"b1,stream={path}", f"b2,stream={path}"], [f"b1,b2,rate={rate}", f"b2,b1,rate={rate}"],
                 run=99, mac_base=99) as traffic:
        begun = time.monotonic()
        yield traffic
        # However short the test, what it left behind shows in what they send after it.
        time.sleep(max(0.1, begun + 0.3 - time.monotonic()))
        assert_clean(traffic.finish())


@pytest.fixture
def start_front(request, folder):
    """start_front(program, *argv, env=...): a Front; the network has no uplink unless the environment says so."""
    def start(program, *argv, env=None, log=None, **more):
        log = log or folder / f"{program}-{len(start.made)}.log"
        made = Front(program, *argv, env={"VMSWITCH_UPLINK": "none", **(env or {})}, log=log, **more)
        start.made.append(made)
        return made

    start.made = []
    yield start
    has_failed = getattr(request.node, "failed_call", False)
    for made in start.made:
        if has_failed:
            request.node.add_report_section("call", f"log of {made.program}", made.log()[-20000:])
        if made.process.poll() is None and not has_failed:
            assert made.stop() == 0, made.log()
        made.end()
    for made in start.made if not has_failed else []:
        wait_for(lambda: not processes_of(made.program), 5, f"the end of every {made.program}")
        made.check_log()
        made.check_sums()


# ---- networks by the host's kernel ----

@pytest.fixture
def nat_tools():
    if not all(map(shutil.which, ("nft", "dnsmasq"))):
        pytest.skip("nftables or dnsmasq is not installed (etc/install-deps.sh test has them)")


@pytest.fixture
def forwarding():
    path = Path("/proc/sys/net/ipv4/ip_forward")
    before = path.read_text()
    path.write_text("1")
    yield
    path.write_text(before)


@pytest.fixture
def world(forwarding):
    made = World()
    yield made
    made.close()
