"""perf/memory.py - resident memory: the daemon alone, with networks, with ports that are plugged in and idle

Proportional set size (Pss): a page that several processes map is divided among them, so that it is counted once.
"""
import contextlib
import socket
import time

from machine import memory_kb
from switch import Switch, ask, wait_until

NETWORKS, PORTS = 4, 64
SETTLE_S = 1.0


def weigh(switch):
    time.sleep(SETTLE_S)
    return memory_kb(switch.pids)


def measure(target, _test, setting):
    bare = {**target, "setup": [], "setup_port": None}
    with contextlib.ExitStack() as stack:
        switch = stack.enter_context(Switch(bare, setting.binaries, 1, setting.nice, core=None))
        listed = ask(switch.api, "GET", "/v1/networks")["networks"]
        for network in listed:
            ask(switch.api, "DELETE", "/v1/networks/" + network["name"])
        wait_until(lambda: not ask(switch.api, "GET", "/v1/networks")["networks"], "end of networks", switch.process)
        daemon = weigh(switch)
        for i in range(NETWORKS):
            switch.put("/v1/networks/n%d" % i, {"mode": "internal"})
        networks = weigh(switch)
        for _ in range(PORTS):
            port = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
            port.connect(ask(switch.api, "GET", "/v1/networks/n0")["sockets"]["stream"])
        wait_until(lambda: ask(switch.api, "GET", "/v1/networks/n0")["ports"] == PORTS, "%d ports" % PORTS, switch.process)
        ports = weigh(switch)
    return {"daemon_kb": daemon[1], "daemon_rss_kb": daemon[0], "network_kb": (networks[1] - daemon[1]) / NETWORKS,
            "network_rss_kb": (networks[0] - daemon[0]) / NETWORKS, "port_kb": (ports[1] - networks[1]) / PORTS,
            "port_rss_kb": (ports[0] - networks[0]) / PORTS, "is_disturbed": False}


def summary(result):
    return "daemon %.1f MB, a network %.2f MB, an idle port %.1f KB" % (
        result["daemon_kb"] / 1e3, result["network_kb"] / 1e3, result["port_kb"])
