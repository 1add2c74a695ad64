"""A vmswitchd of a test's own: started, asked, ended, and looked over afterwards.

Every daemon gets a private folder. check() holds for each test whatever it did: the sums add up, SIGTERM ends
everything within a second, and no socket, process or sanitizer report is left behind.
"""
import contextlib
import http.client
import json
import os
import pwd
import signal
import socket
import stat
import subprocess
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("VMSWITCH_BUILD", ROOT / "build" / os.environ.get("VMSWITCH_PRESET", "debug")))
BIN = BUILD / "bin"
CACHE = (BUILD / "CMakeCache.txt").read_text() if (BUILD / "CMakeCache.txt").exists() else ""
IS_SANITIZED = "SANITIZE:BOOL=ON" in CACHE or "-fsanitize=thread" in CACHE
# macOS's code has macOS's sandbox, which is none.
HAS_SANDBOX = "VMNET_DOUBLE:BOOL=ON" not in CACHE
# The scenarios in full, which takes hours: docs/testing.md.
IS_DEEP = os.environ.get("VMSWITCH_TEST_DEEP") == "1"
# The promise is one second; a sanitized build also looks for leaks, or late races, in every process on its way out.
EXIT_S = 8 if IS_SANITIZED else 1
REPORTS = ("AddressSanitizer", "LeakSanitizer", "runtime error:", "UndefinedBehaviorSanitizer", "ThreadSanitizer")


def wait_for(condition, seconds=10, what="the condition"):
    """Returns the first true value of condition(), asked every 10 ms; fails with 'what' after 'seconds'."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"{what} did not come true within {seconds} s"
        time.sleep(0.01)


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path, timeout=10):
        super().__init__("localhost", timeout=timeout)
        self.path = str(path)

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class Answer:
    def __init__(self, status, headers, text):
        self.status, self.headers, self.text = status, headers, text

    @property
    def json(self):
        return json.loads(self.text)

    def __repr__(self):
        return f"{self.status} {self.text}"


def processes():
    """pid -> command line of every live process of our vmswitchd binary."""
    found = {}
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            exe = os.readlink(f"/proc/{entry}/exe")
            if exe.startswith(f"{BUILD}/") and "vmswitchd" in os.path.basename(exe):
                words = Path(f"/proc/{entry}/cmdline").read_bytes().split(b"\0")
                found[int(entry)] = " ".join(word.decode() for word in words)
        except OSError:
            continue
    return found


def status_of(pid):
    """/proc/PID/status as a dict of strings."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {key: value.strip() for key, value in (line.split(":", 1) for line in lines)}


def fds_of(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


class Switchd:
    def __init__(self, folder, user=None, binary=None):
        self.folder = Path(folder)
        self.runtime = self.folder / "run"
        self.state = self.folder / "state"
        self.log_path = self.folder / "log"
        self.user = pwd.getpwnam(user) if user else None
        self.binary = binary or BIN / "vmswitchd"
        self.process = None
        self.expects_failure = False  # a test that breaks a process on purpose says so
        self.expects_sigsys = False
        # A network runs as another user than the test and must reach the clients' sockets below.
        self.folder.mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o755)
        for path in (self.runtime, self.state):
            path.mkdir(mode=0o755, exist_ok=True)
            if self.user:
                os.chown(path, self.user.pw_uid, self.user.pw_gid)

    # ---- life ----

    def start(self, *options, wait=True, env=None, preexec=None, **popen):
        """Starts it and waits for its API. Options are added to its command line."""
        command = [str(self.binary), "--runtime-dir", str(self.runtime), "--state-dir", str(self.state), *options]
        become = {"user": self.user.pw_uid, "group": self.user.pw_gid, "extra_groups": []} if self.user else {}
        environment = {"PATH": os.environ["PATH"], "HOME": str(self.folder), **(env or {})}
        # Not abort: a report ends the process and is found in the log.
        environment.setdefault("ASAN_OPTIONS", "detect_leaks=1:handle_abort=1")
        environment.setdefault("UBSAN_OPTIONS", "print_stacktrace=1")
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment,
                                            start_new_session=True, preexec_fn=preexec, **become, **popen)
        if wait:
            self.wait_ready()
        return self

    @property
    def pid(self):
        return self.process.pid

    def is_ready(self):
        assert self.process.poll() is None, f"vmswitchd ended with {self.process.returncode}:\n{self.log()}"
        try:
            return self.get("/v1").status == 200
        except OSError:
            return False

    def is_ready_again(self):
        """After a crash of control: connections may be cut meanwhile."""
        try:
            return self.is_ready()
        except (OSError, http.client.HTTPException):
            return False

    def wait_ready(self, seconds=10):
        wait_for(self.is_ready, seconds, "an answering API")

    def stop(self, within=EXIT_S):
        """SIGTERM; returns the exit code, and fails if it takes longer than promised."""
        begun = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(within + 10)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"vmswitchd did not end on SIGTERM:\n{self.log()}") from None
        took = time.monotonic() - begun
        assert took <= within, f"SIGTERM took {took:.2f} s, not {within}"
        return code

    def kill(self):
        self.process.kill()
        self.process.wait()

    def log(self):
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    # ---- the API ----

    @property
    def api_path(self):
        return self.runtime / "api.sock"

    def request(self, method, path, body=None, timeout=10, headers=None):
        connection = UnixConnection(self.api_path, timeout)
        try:
            data = body if isinstance(body, (bytes, type(None))) else json.dumps(body).encode()
            # A request that is refused by its head is answered, and closed, before its body was sent.
            with contextlib.suppress(BrokenPipeError):
                connection.request(method, path, data, headers or ({"Content-Type": "application/json"} if data else {}))
            reply = connection.getresponse()
            return Answer(reply.status, dict(reply.getheaders()), reply.read().decode())
        finally:
            connection.close()

    def get(self, path, **more):
        return self.request("GET", path, **more)

    def ask(self, method, path, body=None, expect=(200, 201, 204)):
        """The JSON of an answer that has to be a success."""
        answer = self.request(method, path, body)
        assert answer.status in expect, f"{method} {path}: {answer}"
        return answer.json if answer.text else None

    def create(self, name, **fields):
        """Makes a network, internal unless said otherwise, and waits until it is up."""
        spec = {"mode": "internal", "sockets": {"mode": "0666"}, **fields}
        self.ask("PUT", f"/v1/networks/{name}", spec)
        self.wait_up(name)

    def network(self, name):
        return self.ask("GET", f"/v1/networks/{name}")

    def networks(self):
        return [n["name"] for n in listed(self.ask("GET", "/v1/networks"), "networks")]

    def health(self, name):
        found = self.ask("GET", "/v1/health").get("networks", [])
        if isinstance(found, dict):
            return found.get(name, {})
        return next((entry for entry in found if entry.get("name") == name), {})

    def wait_up(self, name, seconds=10):
        wait_for(lambda: self.health(name).get("state", self.health(name).get("health")) == "up", seconds,
                 f"network {name} being up")

    def ports(self, name):
        """name -> port, uplink included."""
        return {p["name"]: p for p in listed(self.ask("GET", f"/v1/networks/{name}/ports"), "ports")}

    def port(self, name, port):
        return self.ask("GET", f"/v1/networks/{name}/ports/{port}")

    def fdb(self, name):
        """mac -> entry."""
        return {e["mac"]: e for e in listed(self.ask("GET", f"/v1/networks/{name}/fdb"), "fdb", "entries")}

    def path(self, name):
        return self.runtime / name

    # ---- what must hold ----

    def children(self):
        """role -> pid, for networks "network NAME"."""
        found = {}
        for pid, line in processes().items():
            is_ours = False
            words = dict(word[2:].split("=", 1) for word in line.split() if word.startswith("--") and "=" in word)
            with contextlib.suppress(OSError):  # it has just ended
                is_ours = "role" in words and status_of(pid)["PPid"] == str(self.pid)
            if is_ours:
                found[" ".join(filter(None, (words["role"], words.get("name"))))] = pid
        return found

    def sums(self, name):
        """(left, right) of the sum rule for a network; of one that is on its way out, nothing."""
        answer = self.get(f"/v1/networks/{name}")
        if answer.status == 404:
            return 0, 0
        counters = answer.json["counters"]
        left = counters["frames_in"] + counters["flood_copies"] + counters["segment_copies"]
        right = counters["frames_out"] + sum(counters["drops"].values()) + counters["queued"]
        return left, right

    def check_sums(self):
        for name in self.networks():
            left, right = self.sums(name)
            assert left == right, f"network {name}: {left} frames came in, {right} are accounted for: {self.network(name)}"

    def leftovers(self):
        """Sockets and folders of ours that are still there."""
        found = []
        for path in self.runtime.iterdir():
            mode = path.lstat().st_mode
            if stat.S_ISSOCK(mode) or stat.S_ISDIR(mode):
                found.append(path.name)
        return found

    def check(self):
        """Ends it if it runs, and looks over what is left."""
        if self.process is None:
            return
        if self.process.poll() is None:
            self.check_sums()
            assert self.stop() == 0, f"exit code after SIGTERM:\n{self.log()}"
        wait_for(lambda: not processes(), 3, "the end of every process of ours")
        assert self.leftovers() == []
        # S10: whatever a test breaks, no role makes a system call that its sandbox does not allow.
        killed = [line for line in self.log().splitlines() if "SIGSYS" in line]
        assert self.expects_sigsys or not killed, killed
        if not self.expects_failure:
            for report in REPORTS:
                assert report not in self.log(), self.log()


def listed(answer, *keys):
    """A list, or the list an object holds under one of the keys."""
    if isinstance(answer, list):
        return answer
    return next(answer[key] for key in keys if key in answer)
