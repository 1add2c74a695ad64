"""perf/tcp.py - the kernel's own TCP through two ports of a switch, by iperf3

Two network namespaces, each with one interface, eth0: a TAP that vmswitch-tapvm relays to a socket of the switch, or
for switches of the kernel's interfaces what the candidate's file says ("tcp_port"). Kind "host": one namespace, and
the other end is the TAP the switch makes for the host, in a namespace of its own too. All traffic stays in them; they
go when this program does. Five processes share two cores: the figures compare switches, they are no switch's capacity.
"""
import contextlib
import json
import os
import re
import statistics
import subprocess
import time

from machine import Namespace, busy_s, cpu_ns, cpu_of_children_s, least_disturbed, wait_for_quiet
from switch import Failed, Switch, ask, wait_until

PINGS = 100
VMS = ("10.9.0.1", "10.9.0.2")
HOST, GUEST = "192.168.77.1", "192.168.77.2"
HOST_NETWORK = {"mode": "host", "uplink": "tap", "ipv4": {"gateway": HOST, "netmask": "255.255.255.0", "dhcp": False}}


class StandIn:
    """vmswitch-tapvm in a namespace: eth0 is plugged into port 'index' of the switch."""

    def __init__(self, switch, namespace, index, offload, address, binaries):
        command = [os.path.join(binaries, "vmswitch-tapvm"), "--tap", "eth0", "--port", switch.port(), "--index", str(index),
                   "--client-dir", switch.clients, "--offload", offload, "--mtu", str(switch.names["mtu"])]
        switch.wait_for_port(index)
        self.process = subprocess.Popen(namespace.command(command + switch.target.get("generator_options", [])),
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        if self.process.stdout.readline() != "ready\n":
            raise Failed("the stand-in VM: " + self.process.communicate()[1].strip())
        configure(namespace, address, switch.names["mtu"])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.communicate()  # closes its standard input, which ends it


def configure(namespace, address, mtu):
    namespace.run("ip", "addr", "add", address + "/24", "dev", "eth0")
    namespace.run("ip", "link", "set", "eth0", "mtu", str(mtu), "up")


def plug(stack, switch, namespace, index, offload, address, binaries):
    """Gives the namespace its eth0, behind port 'index'. Returns the processes that make it one: the stand-in VM, if any."""
    if "tcp_port" not in switch.target:
        return [stack.enter_context(StandIn(switch, namespace, index, offload, address, binaries)).process.pid]
    more = {"port": index, "vm": namespace.process.pid}
    for words in switch.target["tcp_port"]:
        switch.run(words, **more)
    if offload == "off":
        for words in switch.target.get("tcp_port_plain", []):
            switch.run(words, **more)
        namespace.run("ethtool", "-K", "eth0", "tx", "off", "tso", "off", "gso", "off", "gro", "off")
    configure(namespace, address, switch.names["mtu"])
    return []


def ping_once(namespace, address):
    return "1 received" in namespace.run("ping", "-c", "1", "-W", "0.2", address, check=False)


def meet(client, server, back, address):
    """Until each end has heard the other. A datagram client is known to its switch only once it has said something, so
    the far end speaks first; its first datagram may be the greeting that nobody forwards."""
    end = time.monotonic() + 8
    while not (ping_once(server, back) | ping_once(client, address)):
        if time.monotonic() > end:
            raise Failed("no answer from %s through the switch" % address)


def ping(namespace, address, count=PINGS):
    """Round trips in us."""
    said = namespace.run("ping", "-c", str(count), "-i", "0.002", "-W", "1", address, check=False)
    times = [float(t) * 1000 for t in re.findall(r"time=([\d.]+) ms", said)]
    if len(times) < 2:
        raise Failed("pings were not answered: " + said.strip())
    return times


def iperf3(client, server, address, seconds, is_reverse):
    """(bytes that arrived, seconds, retransmits) of one stream."""
    listener = subprocess.Popen(server.command(["iperf3", "-s", "-1", "--forceflush"]), stdout=subprocess.PIPE,
                                stderr=subprocess.STDOUT, text=True)
    try:
        for line in listener.stdout:
            if "listening" in line:
                break
        done = subprocess.run(client.command(["iperf3", "-c", address, "-t", str(seconds), "-J"] + ["-R"] * is_reverse),
                              capture_output=True, text=True, timeout=seconds + 20)
    except subprocess.TimeoutExpired as error:
        raise Failed("iperf3 hung") from error
    finally:
        listener.kill()
        listener.communicate()
    try:
        said = json.loads(done.stdout)
        got = said["end"]["sum_received"]
        return got["bytes"], got["seconds"], said["end"]["sum_sent"].get("retransmits", 0)
    except (ValueError, KeyError) as error:
        raise Failed("iperf3: " + done.stdout.strip()[-500:]) from error


def transfer(switch, vms, client, server, addresses, test, setting):
    """The figures of one run between two ends that are plugged in and have these addresses. 'vms': stand-in VMs."""
    back, address = addresses
    meet(client, server, back, address)
    times = ping(client, address)
    wait_for_quiet(min(1, setting.mode.quiet_s))
    drops, pids = switch.drops(), switch.pids
    cpu, known = cpu_ns(pids), cpu_ns(vms) / 1e9 + cpu_of_children_s()
    machine, begun = busy_s(), time.monotonic()
    n_bytes, seconds, retransmits = iperf3(client, server, address, setting.mode.tcp_s, test.reverse)
    took = time.monotonic() - begun
    cpu, machine = cpu_ns(pids) - cpu, busy_s() - machine
    known = cpu_ns(vms) / 1e9 + cpu_of_children_s() - known + cpu / 1e9
    now = switch.drops()
    dropped = None if now is None else {reason: now[reason] - drops[reason] for reason in now if now[reason] > drops[reason]}
    return {"gbps": n_bytes * 8e-9 / seconds, "seconds": seconds, "retransmits": retransmits,
            "ns_per_kb": cpu / max(1, n_bytes / 1000), "switch_busy": cpu / 1e9 / took, "machine_busy": machine / took,
            "drops": None if dropped is None else sum(dropped.values()), "dropped": dropped,
            "ping_p50_us": statistics.median(times), "ping_p99_us": sorted(times)[len(times) * 99 // 100],
            "other_busy": max(0.0, machine - known) / took}


def measure_once(target, test, setting):
    with contextlib.ExitStack() as stack:
        in_own = stack.enter_context(Namespace()) if target.get("namespace") or test.kind == "host" else None
        far, near = (stack.enter_context(Namespace()) for _ in range(2))
        network = dict(HOST_NETWORK) if test.kind == "host" else {}
        if test.mtu != 1500:
            network["mtu"] = test.mtu
        switch = stack.enter_context(Switch(target, setting.binaries, 2, setting.nice, network, test.ends, core=None, namespace=in_own))
        if test.kind == "host":
            wait_until(lambda: ask(switch.api, "GET", target["network"])["uplink"]["state"] == "up", "uplink", switch.process)
            vms = plug(stack, switch, far, 0, test.ends[0], GUEST, setting.binaries)
            return transfer(switch, vms, in_own, far, (HOST, GUEST), test, setting)
        vms = []
        for index, namespace in enumerate((near, far)):
            vms += plug(stack, switch, namespace, index, test.ends[index], VMS[index], setting.binaries)
        return transfer(switch, vms, near, far, VMS, test, setting)


def measure(target, test, setting):
    return least_disturbed(lambda: measure_once(target, test, setting), setting.mode.tries)


def summary(result):
    return "%6.2f Gbit/s  %d retransmits, %s dropped by the switch, ping %.0f us" % (
        result["gbps"], result["retransmits"], "?" if result["drops"] is None else result["drops"], result["ping_p50_us"])
