"""perf/frames.py - one run of the generator (vmswitch-gen) against one candidate"""
import contextlib
import json
import os
import subprocess

from machine import Namespace, least_disturbed, wait_for_quiet
from switch import Failed, Switch

GENERATOR_CORE = 1
RUN_TIMEOUT_S = 30


def pinned(core, nice):
    def prepare():
        os.sched_setaffinity(0, {core})
        os.nice(nice)
    return prepare


def network_of(test):
    return {"mtu": test.mtu} if test.mtu != 1500 else {}


def measure_once(target, test, setting):
    options = list(test.options) + ["--time", str(setting.mode.window_ms)] + target.get("generator_options", [])
    generator = os.path.join(setting.binaries, "vmswitch-gen")
    n_ports = int(subprocess.run([generator, "--count"] + options, check=True, capture_output=True, text=True).stdout)
    with contextlib.ExitStack() as stack:
        namespace = stack.enter_context(Namespace()) if target.get("namespace") else None
        switch = stack.enter_context(Switch(target, setting.binaries, n_ports, setting.nice, network_of(test), namespace=namespace))
        switch.wait_for_port(n_ports - 1)
        wait_for_quiet(setting.mode.quiet_s)
        command = [generator, "--port", switch.port(), "--client-dir", switch.clients] + options
        for pid in switch.pids:
            command += ["--watch", str(pid)]
        try:
            done = subprocess.run(switch.inside(command), capture_output=True, text=True, timeout=RUN_TIMEOUT_S,
                                  preexec_fn=pinned(GENERATOR_CORE, setting.nice))
        except subprocess.TimeoutExpired as error:
            raise Failed("the generator hung for %d s" % RUN_TIMEOUT_S) from error
        if done.returncode != 0:
            raise Failed("%s; the switch says: %s" % (done.stderr.strip(), switch.last_words() or "nothing"))
    result = json.loads(done.stdout)
    # What is in no process of its own (the kernel's bridge) cannot be told from a disturbance.
    other = result["machine_busy"] - result["switch_busy"] - result["own_busy"]
    result["other_busy"] = max(0.0, other) if target.get("command") else 0.0
    result["machine_ns_per_frame"] = result["machine_busy"] * result["seconds"] * 1e9 / max(1, result["frames"])
    return result


def measure(target, test, setting):
    return least_disturbed(lambda: measure_once(target, test, setting), setting.mode.tries)


def summary(result):
    rtt = "  rtt %.0f us" % result["rtt_p50_us"] if "rtt_p50_us" in result else ""
    lost = "  lost %d" % result["lost"] if result["lost"] else ""
    return "%8.0fk pps %6.0f ns/frame" % (result["pps"] / 1e3, result["ns_per_frame"]) + rtt + lost
