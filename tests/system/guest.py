"""QEMU guests (tests/lib/guest.sh) with a serial console to talk to."""
import itertools
import re
import subprocess
import threading
import time

from switchd import ROOT

IMAGE = ROOT / "build" / "guest"
_serial = itertools.count(1)


class Guest:
    """A booting guest with one card on 'netdev' (QEMU's words without the id). umask 0: see vm.DatagramVm.

    'wrap': the words of a program that starts QEMU and passes SIGTERM on.
    """

    def __init__(self, netdev, pass_fds=(), wrap=(), env=None):
        number = next(_serial)
        kind, _, rest = netdev.partition(",")
        self.mac = f"52:54:00:67:00:{number:02x}"
        self.is_wrapped = bool(wrap)
        command = [*wrap, "qemu-system-x86_64", "-accel", "tcg", "-cpu", "max", "-m", "128", "-nodefaults", "-no-user-config",
                   "-display", "none", "-no-reboot", "-serial", "stdio", "-monitor", "none", "-kernel", str(IMAGE / "vmlinuz"),
                   "-initrd", str(IMAGE / "initrd.gz"), "-append", "console=ttyS0 quiet panic=-1 no_timer_check",
                   "-netdev", f"{kind},id=n0,{rest}", "-device", f"virtio-net-pci,netdev=n0,mac={self.mac},romfile="]
        self.text = ""
        self.news = threading.Condition()
        self.count = 0
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                        pass_fds=pass_fds, umask=0, env=env)
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        while data := self.process.stdout.read1(65536):
            with self.news:
                self.text += data.decode(errors="replace").replace("\r", "")
                self.news.notify_all()

    def wait_for(self, pattern, seconds=120):
        """Waits until the console has shown 'pattern'; returns the match."""
        deadline = time.monotonic() + seconds
        with self.news:
            while not (match := re.search(pattern, self.text)):
                left = deadline - time.monotonic()
                assert left > 0 and self.process.poll() is None, f"no {pattern!r} on the console:\n{self.text[-3000:]}"
                self.news.wait(min(left, 1))
        return match

    def ready(self):
        self.wait_for("GUEST-READY")
        return self

    def run(self, command, seconds=60):
        """Runs a command; returns (exit code, what it printed)."""
        self.count += 1
        begin, end = f"<begin {self.count}>", f"<end {self.count} "
        # The marks are put together in the guest: the command line itself never looks like one.
        line = f"echo '<begin' '{self.count}>'; {{ {command}; }} 2>&1; echo '<end' '{self.count}' $? '>'\n"
        self.process.stdin.write(line.encode())
        self.process.stdin.flush()
        match = self.wait_for(re.escape(end) + r"(\d+) >", seconds)
        return int(match[1]), self.text[self.text.rindex(begin) + len(begin):match.start()].strip()

    def dhcp(self):
        """Its address, from DHCP."""
        code, said = self.run("udhcpc -i eth0 -n -q -t 10", 120)
        assert code == 0, said
        return re.search(r"GUEST-ADDRESS ([\d.]+)", said)[1]

    def ping(self, address, count=3):
        code, said = self.run(f"ping -c {count} -W 5 {address}", 60)
        assert code == 0 and f"{count} packets received" in said, said

    def close(self):
        if self.is_wrapped:
            self.process.terminate()
        else:
            self.process.kill()
        self.process.wait()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def on_stream(path):
    return f"stream,server=off,addr.type=unix,addr.path={path}"


def on_datagram(path, local):
    return f"dgram,local.type=unix,local.path={local},remote.type=unix,remote.path={path}"
