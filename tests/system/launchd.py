"""A double of launchd: has bound the sockets that a job's property list names, and starts the job as the list says.

The other half is tests/fake-sdk/fake_launch.c, in a build with VMNET_DOUBLE: launch_activate_socket() asks here, by name, and gets
each socket once in a process's life; a look-up of a Mach service asks here too, and starts its job.
"""
import errno
import os
import plistlib
import resource
import socket
import subprocess
import threading
from pathlib import Path

from activator import Activator
from switchd import BUILD, wait_for

CACHE = BUILD / "CMakeCache.txt"
HAS_DOUBLE = CACHE.exists() and "VMNET_DOUBLE:BOOL=ON" in CACHE.read_text()
KINDS = {"stream": socket.SOCK_STREAM, "dgram": socket.SOCK_DGRAM}


class Job:
    """One property list. 'moves' are paths of a Mac and where they are here; 'options' are added to its own."""

    def __init__(self, path, moves, options=()):
        self.keys = plistlib.loads(Path(path).read_bytes())
        self.moves, self.options, self.process = moves, options, None

    def here(self, path):
        for there, here in self.moves.items():
            if path.startswith(there):
                return str(here) + path[len(there):]
        raise AssertionError(f"{path} is on a Mac only")

    @property
    def log_path(self):
        return Path(self.here(self.keys["StandardErrorPath"]))

    def log(self):
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def command(self):
        program, *options = self.keys["ProgramArguments"]
        return [self.here(program), *options, *self.options]

    def _limit(self):
        """As launchd does before the job runs; a test may not raise the hard one."""
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        wanted = self.keys.get("SoftResourceLimits", {}).get("NumberOfFiles", 256)
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted, hard), hard))

    def start(self, environment):
        self.log_path.parent.mkdir(parents=True, exist_ok=True)
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(self.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment,
                                            start_new_session=True, preexec_fn=self._limit)
        return self.process

    def end(self):
        """launchctl bootout: SIGTERM, and SIGKILL where that was not enough. Returns the exit code."""
        self.process.terminate()
        try:
            return self.process.wait(self.keys["ExitTimeOut"])
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()


class Launchd(Activator):
    def __init__(self, daemon, version=None):
        super().__init__(daemon)
        self.asked, self.jobs = [], []
        self.path = daemon.folder / "launchd"
        self.environment = {"FAKE_LAUNCHD": str(self.path), **({"FAKE_MACOS_VERSION": version} if version else {})}
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(self.path))
        self.listener.listen(16)
        self.path.chmod(0o777)
        self.thread = threading.Thread(target=self._serve)
        self.thread.start()

    def __exit__(self, *more):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.thread.join()
        self.listener.close()
        self.path.unlink()
        for job in self.jobs:
            if job.process is not None and job.process.poll() is None:
                job.process.kill()
                job.process.wait()
        super().__exit__(*more)

    def load(self, job):
        """launchctl bootstrap: binds its sockets. RunAtLoad is for the test to do."""
        self.jobs.append(job)
        for name, keys in job.keys.get("Sockets", {}).items():
            path = self.bind(name, job.here(keys["SockPathName"]), KINDS[keys["SockType"]], keys["SockPathMode"])
            os.chown(path, keys.get("SockPathOwner", -1), -1)
        return job

    def start(self, *options, **more):
        return self.daemon.start(*options, env={**self.environment, **more.pop("env", {})}, **more)

    # ---- the other end of fake_launch.c ----

    def _start_service(self, name):
        """The job of a Mach service, if it does not run yet. Returns an errno."""
        job = next((job for job in self.jobs if name in job.keys.get("MachServices", {})), None)
        if job is None:
            return errno.ENOENT
        if job.process is None or job.process.poll() is not None:
            begun = job.log().count("ready as ")
            job.start({"PATH": os.environ["PATH"], "HOME": str(self.daemon.folder), "ASAN_OPTIONS": "detect_leaks=0", **self.environment})
            wait_for(lambda: job.log().count("ready as ") > begun or job.process.poll() is not None, 20, f"the start of {name}")
        return 0

    def _answer(self, client, asked):
        kind, _, name = asked.partition(" ")
        if kind == "mach":
            client.sendall(f"{self._start_service(name)}\n".encode())
        elif asked in self.sockets:
            socket.send_fds(client, [b"0\n"], [self.sockets[asked][0].fileno()])
        else:
            client.sendall(f"{errno.ENOENT}\n".encode())

    def _serve(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            with client:
                asked = client.recv(200).decode().strip()
                self.asked.append(asked)
                self._answer(client, asked)
