"""perf/switch.py - one candidate, started anew in a folder of its own, plugged and asked as its file in targets/ says"""
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

from machine import tree

SWITCH_CORE = 0


class Failed(Exception):
    """This run could not be carried out; the text says why."""


def say(*words):
    print(*words, file=sys.stderr, flush=True)


def wait_until(condition, what, process, limit_s=5):
    end = time.monotonic() + limit_s
    while not condition():
        if process is not None and process.poll() is not None:
            raise Failed("the switch ended with %d before %s" % (process.returncode, what))
        if time.monotonic() > end:
            raise Failed("no %s after %d s" % (what, limit_s))
        time.sleep(0.01)


def filled(value, names):
    """'value' with {name} replaced in every string."""
    if isinstance(value, str):
        for name, text in names.items():
            value = value.replace("{%s}" % name, str(text))
        return value
    if isinstance(value, list):
        return [filled(v, names) for v in value]
    return value


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=5)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


def ask(api, method, path, body=None):
    """The JSON of an answer that has to be a success."""
    connection = UnixConnection(api)
    try:
        connection.request(method, path, None if body is None else json.dumps(body), {"Content-Type": "application/json"})
        answer = connection.getresponse()
        text = answer.read().decode(errors="replace")
    except OSError as error:
        raise Failed("%s %s: %s" % (method, path, error)) from error
    finally:
        connection.close()
    if answer.status >= 300:
        raise Failed("%s %s: %d %s" % (method, path, answer.status, " ".join(text.split())))
    return json.loads(text) if text.strip() else None


class Switch:
    """A running candidate; a context manager.

    network     fields that this test adds to the body of every network that is set up
    ends        offload of each port, () where the test has none
    core        where to pin it; None: not
    namespace   the network namespace to run it in; None: ours
    """

    def __init__(self, target, binaries, n_ports, nice, network=None, ends=(), core=SWITCH_CORE, namespace=None):
        # Ports that differ must have names; where a candidate is measured by a shared path, its file has another way.
        self.target = {**target, **target.get("with_ends", {})} if ends else target
        self.n_ports, self.nice, self.core = n_ports, nice, core
        self.network, self.ends, self.namespace = network or {}, ends, namespace
        self.dir = tempfile.mkdtemp(prefix="vmperf.", dir="/tmp")  # short: a socket's path holds 107 bytes
        self.clients = os.path.join(self.dir, "vm")
        os.mkdir(self.clients)
        for path in (self.dir, self.clients):
            os.chmod(path, 0o755)  # as root the switch drops to another user, who must reach the clients
        self.names = {"bin": binaries, "here": os.path.dirname(os.path.abspath(__file__)), "dir": self.dir, "ports": n_ports,
                      "last_port": n_ports - 1, "mtu": self.network.get("mtu", 1500)}
        self.process = self.log = None

    def __enter__(self):
        try:
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def inside(self, words):
        return self.namespace.command(words) if self.namespace else list(words)

    def run(self, words, **more):
        """One command of the target's file, in the switch's namespace."""
        words = filled(words, {**self.names, **more})
        done = subprocess.run(self.inside(words), capture_output=True, text=True, cwd=self.dir)
        if done.returncode != 0:
            raise Failed("%s: %s" % (" ".join(words), done.stderr.strip()))

    def start(self):
        self.log = open(os.path.join(self.dir, "log"), "w+")
        for words in self.target.get("prepare", []):
            self.run(words)
        if self.target.get("command"):
            # A pipe on stdin: vde_switch, and others here, end when they read end of file.
            self.process = subprocess.Popen(self.inside(filled(self.target["command"], self.names)), stdin=subprocess.PIPE,
                                            stdout=self.log, stderr=self.log, cwd=self.dir, preexec_fn=self.pin)
        ready = filled(self.target.get("ready", ""), self.names)
        if ready:
            wait_until(lambda: os.path.exists(ready), ready, self.process, 10)
        for step in self.target.get("setup", []):
            self.put(step["path"], {**step["body"], **self.network})
        for i in range(self.n_ports):
            self.start_port(i)

    def start_port(self, i):
        step = self.target.get("setup_port")
        if step:
            offload = {"offload": self.ends[i]} if i < len(self.ends) and self.ends[i] != "off" else {}
            self.put(filled(step["path"], {"port": i}), {**step["body"], **offload})
        for words in self.target.get("prepare_port", []) if not self.ends else []:
            self.run(words, port=i)

    def pin(self):
        if self.core is not None:
            os.sched_setaffinity(0, {self.core})
        os.nice(self.nice)

    def put(self, path, body):
        return ask(self.api, "PUT", path, body)

    @property
    def api(self):
        return filled(self.target.get("api", ""), self.names)

    @property
    def pids(self):
        return tree(self.process.pid) if self.process else []

    def port(self):
        return filled(self.target["port"], self.names)

    def wait_for_port(self, i):
        """Until the port's socket is there, where it is one with a path."""
        kind, _, path = self.port().partition(":")
        path = path.replace("%u", str(i)).split(":")[0]
        if kind not in ("vde", "tap"):
            wait_until(lambda: os.path.exists(path), path, self.process)

    def drops(self):
        """Frames the switch says it has dropped, by reason; None if it has nobody to ask."""
        path = self.target.get("counters")
        return ask(self.api, "GET", path)["counters"]["drops"] if path else None

    def last_words(self):
        self.log.flush()
        self.log.seek(0)
        return self.log.read()[-2000:].strip()

    def __exit__(self, *_):
        if self.process is not None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                say("  the switch did not end within 5 s of SIGTERM: killed")
                self.process.kill()
                self.process.wait()
            self.process.stdin.close()
        if self.log is not None:
            self.log.close()
        shutil.rmtree(self.dir, ignore_errors=True)
