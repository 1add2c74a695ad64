"""perf/guests.py - two real guests under QEMU (-accel tcg, so anywhere): a file from one to the other over TCP"""
import contextlib
import os
import sys
import time

from machine import busy_s, cpu_ns
from switch import Failed, Switch

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
MEGABYTES, FETCHES = 32, 3  # the guest keeps its files in half of 128 MB
N_BYTES = FETCHES * MEGABYTES << 20


def guest_class():
    """The guest of the system tests, and its words for QEMU."""
    sys.path.insert(0, os.path.join(ROOT, "tests", "system"))
    import guest
    return guest


def netdev(guest, switch, index):
    kind, _, path = switch.port().partition(":")
    path = path.replace("%u", str(index))
    if kind == "stream":
        return guest.on_stream(path)
    return guest.on_datagram(path, os.path.join(switch.clients, "qemu%d" % index))


def measure(target, _test, setting):
    guest = guest_class()
    with contextlib.ExitStack() as stack:
        switch = stack.enter_context(Switch(target, setting.binaries, 2, 0, core=None))
        switch.wait_for_port(1)
        guests = [stack.enter_context(guest.Guest(netdev(guest, switch, i))) for i in range(2)]
        try:
            one, two = (g.ready() for g in guests)
            for i, g in enumerate((one, two)):
                g.run("ip addr add 10.9.0.%d/24 dev eth0" % (i + 1))
            two.run("dd if=/dev/zero of=/www/file bs=1M count=%d 2>/dev/null; httpd -p 80 -h /www" % MEGABYTES)
            one.ping("10.9.0.2")
            drops, cpu, machine, begun = switch.drops(), cpu_ns(switch.pids), busy_s(), time.monotonic()
            code, said = one.run("for i in %s; do wget -q -O - http://10.9.0.2/file; done | wc -c" % " ".join(map(str, range(FETCHES))), 120)
        except AssertionError as error:
            raise Failed("guests: %s; the switch says: %s" % (str(error)[-800:], switch.last_words() or "nothing")) from error
        took = time.monotonic() - begun
        if code != 0 or int(said.split()[-1]) != N_BYTES:
            raise Failed("the file did not arrive: " + said)
        now = switch.drops()
        cpu, machine = cpu_ns(switch.pids) - cpu, busy_s() - machine
    return {"gbps": N_BYTES * 8e-9 / took, "seconds": took, "ns_per_kb": cpu / (N_BYTES / 1000), "switch_busy": cpu / 1e9 / took,
            "machine_busy": machine / took, "drops": None if now is None else sum(now.values()) - sum(drops.values()),
            "is_disturbed": False}


def summary(result):
    return "%6.0f Mbit/s between two guests, switch %.2f busy" % (result["gbps"] * 1e3, result["switch_busy"])
