"""A pretended Mac of version 26 with its network broker (a build with VMNET_DOUBLE): what the tests of it share.

Client is broker_client, a program on Virtualization.framework: another executable, another process.
"""
import json
import os
import pwd
import shutil
import subprocess

import pytest

from switchd import BIN, BUILD, REPORTS, wait_for

CACHE = BUILD / "CMakeCache.txt"
needs_double = pytest.mark.skipif(not CACHE.exists() or "VMNET_DOUBLE:BOOL=ON" not in CACHE.read_text(),
                                  reason="needs a build with VMNET_DOUBLE")
# vmnet-broker's numbers.
NOT_ALLOWED, INVALID_REQUEST, NOT_FOUND, CREATE_FAILURE, INTERNAL = 3, 4, 5, 6, 7


class Client:
    """broker_client: one command, one answer."""

    def __init__(self, environment, user=None):
        become = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []} if user else {}
        self.process = subprocess.Popen([BIN / "broker_client"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment,
                                        **become)

    def say(self, *words):
        self.process.stdin.write(" ".join(words) + "\n")
        self.process.stdin.flush()

    def hear(self):
        return json.loads(self.process.stdout.readline())

    def ask(self, *words):
        self.say(*words)
        return self.hear()

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()


class Mac:
    """A pretended Mac: its version, its launchd's broker, its programs."""

    def __init__(self, folder, version):
        self.folder = folder
        self.environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "FAKE_MACOS_VERSION": version,
                            "ASAN_OPTIONS": "detect_leaks=0", "UBSAN_OPTIONS": "print_stacktrace=1",
                            "TSAN_OPTIONS": "atexit_sleep_ms=0"}
        self.log_path = folder / "broker.log"
        self.binary, self.broker, self.clients = BIN / "vmswitchd", None, []

    def become_another_executable(self):
        """From the next start on the broker is a copy of vmswitchd, as before an upgrade."""
        self.binary = self.folder / "vmswitchd-of-old"
        shutil.copy(BIN / "vmswitchd", self.binary)

    def start(self, *options, runtime=None, user=None):
        """As launchd does when somebody asks for the service."""
        command = [self.binary, "--broker", "--runtime-dir", str(runtime or self.folder / "none"),
                   "--state-dir", str(self.folder / "state"), *options]
        begun = self.log().count("ready as ")
        account = pwd.getpwnam(user) if user else None
        become = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []} if account else {}
        with open(self.log_path, "ab") as log:
            self.broker = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self.environment, **become)
        wait_for(lambda: self.log().count("ready as ") > begun, 10, "a broker that is ready")

    def log(self):
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def client(self, user=None):
        client = Client(self.environment, pwd.getpwnam(user) if user else None)
        self.clients.append(client)
        return client

    def wait_log(self, text, seconds=10):
        wait_for(lambda: text in self.log(), seconds, f"the broker saying '{text}'")

    def end(self):
        for client in self.clients:
            if client.process.poll() is None:
                client.kill()
        if self.broker is not None and self.broker.poll() is None:
            self.broker.kill()
            self.broker.wait()
        assert not any(report in self.log() for report in (*REPORTS, "ThreadSanitizer")), self.log()


@pytest.fixture
def make_mac(folder):
    made = []

    def make(version="26.2", home=None):
        made.append(Mac(home or folder, version))
        return made[-1]

    yield make
    for one in made:
        one.end()


@pytest.fixture
def pretended(make_mac):
    mac_26 = make_mac()
    mac_26.start()
    return mac_26


@pytest.fixture
def make_pair(make_daemon, make_mac):
    """make_pair(version): a vmswitchd without networks, and the broker, on one Mac. 'env' is the first's."""
    def make(version="26.2", *options, env=None, prepare=lambda one: None):
        daemon = make_daemon()
        one = make_mac(version, daemon.folder)
        (daemon.folder / "conf").write_text('{"networks": []}')
        daemon.start("--config", str(daemon.folder / "conf"), env={"FAKE_MACOS_VERSION": version, **(env or {})})
        prepare(one)
        one.start(*options, runtime=daemon.runtime)
        return daemon, one

    return make


def create(daemon, **fields):
    daemon.create("v", **{"mode": "shared", "uplink": "vmnet", "ipv4": None, **fields})
    wait_for(lambda: daemon.health("v")["uplink"]["state"] == "up", what="the uplink being up")
