"""vmswitchd and its network broker as jobs of launchd's, from the property lists that install.sh makes.

Of the build with VMNET_DOUBLE alone, where daemon/activation_darwin.c takes the place of systemd's half and launchd is
launchd.py's. What launchd has in common with systemd is in test_activation_contract.py.
"""
import os
import subprocess

import pytest

from broker import Client
from conftest import empty_config
from launchd import HAS_DOUBLE, Job, Launchd
from mac import BROKER, LABEL, Mac
from switchd import BIN, UnixConnection, wait_for
from test_activation_contract import lab_config
from vm import BROADCAST, StreamVm, frame, mac

pytestmark = pytest.mark.skipif(not HAS_DOUBLE, reason="needs a build with VMNET_DOUBLE")


def test_vmnet_a_socket_that_is_not_in_the_list_is_ours(make_daemon):
    daemon = make_daemon()
    with Launchd(daemon) as launchd:
        launchd.bind_all("api", "lab.stream")
        launchd.start(*lab_config(daemon))
        daemon.wait_up("lab")
        assert "lab.dgram" in launchd.asked and daemon.path("lab.dgram").exists()
        assert daemon.stop() == 0
        assert daemon.path("lab.stream").exists() and not daemon.path("lab.dgram").exists()


def test_vmnet_a_process_that_launchd_did_not_start_binds_its_own(make_daemon):
    daemon = make_daemon()
    daemon.start(*empty_config(daemon))
    assert "service manager" not in daemon.log()


# ---- from the property lists ----


class Service:
    """What install.sh leaves on a Mac, here; and a launchd that has its jobs."""

    def __init__(self, folder, daemon, is_agent):
        self.daemon, self.is_agent = daemon, is_agent
        self.mac = Mac(folder / "mac")
        self.mac.built = BIN
        self.mac.run("install", "--socket", "lab", *(["--user-agent"] if is_agent else []))
        self.home = self.mac.root / "Users/ann"
        self.plists = self.home / "Library/LaunchAgents" if is_agent else self.mac.root / "Library/LaunchDaemons"
        self.moves = {"/opt/vmswitch": self.mac.root / "opt/vmswitch", "/var/log": self.mac.root / "private/var/log",
                      "/var/run/vmswitch": daemon.runtime, f"/tmp/vmswitch-{os.getuid()}": daemon.runtime, "/Users/ann": self.home}

    def job(self, label, *options):
        """What a Mac's defaults are, a process of a test has to be told."""
        return Job(self.plists / f"{label}.plist", self.moves, ["--runtime-dir", str(self.daemon.runtime), "--state-dir",
                                                                str(self.daemon.state), *options])


@pytest.fixture(params=["daemon", "agent"])
def service(request, folder, make_daemon):
    return Service(folder, make_daemon(), request.param == "agent")


def environment(daemon, launchd):
    return {"PATH": os.environ["PATH"], "HOME": str(daemon.folder), **launchd.environment}


@pytest.mark.root
def test_vmnet_the_installed_job_runs_on_launchds_sockets(service):
    """API, attach and the configured network are served to those who came before; the log is where the list says."""
    daemon = service.daemon
    with Launchd(daemon) as launchd:
        job = launchd.load(service.job(LABEL, *lab_config(daemon)))
        assert set(launchd.sockets) == {"api", "attach", "lab.stream", "lab.dgram"}
        for _ in range(2):
            request = UnixConnection(daemon.api_path, 15)
            request.request("GET", "/v1")
            with StreamVm(daemon.path("lab.stream"), mac(1)) as early:
                early.hello()
                daemon.process = job.start(environment(daemon, launchd))
                assert request.getresponse().status == 200
                request.close()
                daemon.wait_up("lab")
                run = subprocess.run([BIN / "vmswitch", "--socket", str(daemon.api_path), "run", "lab", "--kind", "datagram", "--", "python3", "-c",
                                      "import socket; socket.socket(fileno=4).send(bytes.fromhex('%s'))" % frame(BROADCAST, mac(2), b"passed").hex()],
                                     capture_output=True, text=True, timeout=20, check=False)
                assert run.returncode == 0, run.stderr
                early.expect(frame(BROADCAST, mac(2), b"passed"))
            for name in launchd.sockets:
                assert f"{name}: the service manager's socket is used" in job.log()
            daemon.check_sums()
            assert job.end() == 0  # SIGTERM was enough
            daemon.process = None
        assert {path.name for path in daemon.runtime.iterdir()} >= {"api.sock", "attach.sock", "lab.stream", "lab.dgram"}


@pytest.mark.root
def test_vmnet_the_installed_job_refuses_a_way_that_others_may_write(service):
    """--strict-paths is in the list: a folder that opened after the installation is named, and nothing is served."""
    daemon = service.daemon
    with Launchd(daemon) as launchd:
        for label in (LABEL, BROKER):
            job = launchd.load(service.job(label))
            assert "--strict-paths" in job.keys["ProgramArguments"]
            folder = os.path.dirname(job.command()[0])
            os.chmod(folder, 0o777)
            assert job.start(environment(daemon, launchd)).wait(10) == 1
            os.chmod(folder, 0o755)
            assert f"--strict-paths: {folder}: others may write to it" in job.log()


@pytest.mark.root
def test_vmnet_launchd_starts_the_broker_when_it_is_looked_up(service):
    """By an uplink; after a crash again; and by a program on Virtualization.framework. Both share the network then."""
    daemon = service.daemon
    with Launchd(daemon, "26.2") as launchd:
        job = launchd.load(service.job(BROKER))
        launchd.start(*empty_config(daemon))
        daemon.create("plain")
        assert job.process is None  # nobody has looked it up
        daemon.create("v", mode="shared", uplink="vmnet", ipv4=None)
        wait_for(lambda: daemon.health("v")["uplink"]["state"] == "up", what="the uplink being up")
        assert "network v: made" in job.log()
        first = job.process
        first.kill()
        first.wait()
        wait_for(lambda: job.log().count("network v: made") == 2, 30, "the next broker's network")
        assert job.process is not first
        wait_for(lambda: daemon.health("v")["uplink"]["state"] == "up", 20, "the uplink being up again")
        native = Client(environment(daemon, launchd))
        try:
            assert native.ask("acquire", "v")["network"] and native.ask("start")["status"] == 1000
            with StreamVm(daemon.path("v.stream"), mac(1)) as vm:
                said = frame(BROADCAST, vm.address, b"from the socket")
                vm.send(said)
                assert native.ask("receive")["frame"] == said.hex()
        finally:
            native.kill()
        assert job.process.poll() is None
        daemon.ask("DELETE", "/v1/networks/v")
        wait_for(lambda: "network v: nobody is on it any more" in job.log(), what="the network's end")
        assert job.end() == 0
