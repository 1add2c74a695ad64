"""Stand-alone programs of a test's own (socket_vmnet, vmnet-helper): started as their clients do, and looked over."""
import contextlib
import os
import re
import signal
import stat
import subprocess
import time
from pathlib import Path

from switchd import BIN, BUILD, EXIT_S, REPORTS, wait_for


def processes_of(program):
    """pid -> command line of every live process of our build of 'program', keeper and uplink included."""
    found = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError):
                if os.readlink(f"/proc/{entry}/exe") == str(BUILD / "bin" / program):
                    found[int(entry)] = Path(f"/proc/{entry}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    return found


def family(pid):
    """role -> pid of the processes below 'pid'."""
    found = {}
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        with contextlib.suppress(OSError, IndexError):
            parent = int(Path(f"/proc/{entry}/stat").read_text().rsplit(")", 1)[1].split()[1])
            words = Path(f"/proc/{entry}/cmdline").read_bytes().split(b"\0")
            if parent in (pid, *found.values()) and words[1].startswith(b"--role="):
                found[words[1][7:].decode()] = int(entry)
    return found


def pid_in(path):
    """As Lima reads it: None when it is not there; an empty or odd one is an error."""
    try:
        text = Path(path).read_text()
    except FileNotFoundError:
        return None
    return int(text.strip())


class Front:
    """One run of a program; argv and environment are the client's."""

    def __init__(self, program, *argv, env=None, log=None, wrap=(), **popen):
        self.program = program
        self.log_path = Path(log)
        environment = {"PATH": os.environ["PATH"], "ASAN_OPTIONS": "detect_leaks=1:handle_abort=1",
                       "UBSAN_OPTIONS": "print_stacktrace=1", **(env or {})}
        popen = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "start_new_session": True, **popen}
        with open(self.log_path, "ab") as stderr:
            self.process = subprocess.Popen([*wrap, str(BIN / program), *map(str, argv)], env=environment,
                                            **{"stderr": stderr, **popen})

    @property
    def pid(self):
        return self.process.pid

    def log(self):
        return self.log_path.read_text(errors="replace")

    def alive(self):
        assert self.process.poll() is None, f"{self.program} ended with {self.process.returncode}:\n{self.log()}"
        return True

    def wait_ready(self, text="ready: VMs connect", seconds=10):
        wait_for(lambda: self.alive() and text in self.log(), seconds, f"'{text}' in the log")
        return self

    def counters(self):
        """The last line of counters in the log: name -> number, drops by their reason."""
        lines = re.findall(r"frames: (.*); dropped: (.*)", self.log())
        if not lines:
            return None
        found = {name: int(number) for name, number in re.findall(r"([a-z ]+) (\d+)(?:, |$)", lines[-1][0])}
        return found, {name: int(number) for name, number in re.findall(r"(\w+) (\d+)", lines[-1][1])}

    def ask_counters(self):
        before = self.log().count("frames: ")
        self.process.send_signal(signal.SIGUSR1)
        wait_for(lambda: self.log().count("frames: ") > before, 5, "the counters")
        return self.counters()

    def check_sums(self):
        """Every frame that came is accounted for."""
        if found := self.counters():
            frames, drops = found
            left = frames["in"] + frames["flood copies"] + frames["segment copies"]
            assert left == frames["out"] + sum(drops.values()) + frames["queued"], self.log()

    def stop(self, signal_number=signal.SIGTERM, within=EXIT_S):
        begun = time.monotonic()
        self.process.send_signal(signal_number)
        code = self.process.wait(within + 10)
        took = time.monotonic() - begun
        assert took <= within, f"signal {signal_number} took {took:.2f} s, not {within}"
        return code

    def end(self):
        """After a test, however it went: nothing of it stays."""
        for pid in (self.pid, *family(self.pid).values()):
            if self.process.poll() is None or pid != self.pid:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        self.process.wait()
        if self.process.stdout:
            self.process.stdout.close()

    def check_log(self):
        for report in REPORTS:
            assert report not in self.log(), self.log()
        # S10
        assert f"ended by signal {int(signal.SIGSYS)}" not in self.log(), self.log()


def leftovers(folder):
    """What is in a folder but for logs."""
    return sorted(path.name for path in Path(folder).iterdir() if not path.name.endswith(".log"))


def is_socket(path):
    return path.exists() and stat.S_ISSOCK(path.lstat().st_mode)
