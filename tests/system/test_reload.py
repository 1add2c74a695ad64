"""A changed configuration applied to what runs (R33): SIGHUP, POST /v1/reload, vmswitch reload."""
import json
import os
import random
import signal
import subprocess
import threading
import time

import pytest

from switchd import BIN, IS_DEEP, IS_SANITIZED, wait_for
from test_lifecycle import kill_and_wait
from vm import BROADCAST, StreamVm, Traffic, assert_clean, frame, mac

SLOW = 5 if IS_SANITIZED else 1


def lab(name="lab", **fields):
    return {"name": name, "mode": "internal", "sockets": {"mode": "0666"}, **fields}


class Configured:
    """A daemon and its configuration file."""

    def __init__(self, daemon, networks, **settings):
        self.daemon = daemon
        self.path = daemon.folder / "vmswitchd.conf"
        self.write(networks, **settings)
        daemon.start("--config", str(self.path))
        for network in networks:
            daemon.wait_up(network["name"])

    def write(self, networks, **settings):
        """In one piece, as a good editor does."""
        draft = self.path.with_suffix(".new")
        draft.write_text(json.dumps({"networks": networks, **settings}, indent=1))
        os.rename(draft, self.path)

    def reload(self, networks=None, restart=None, expect=200, **settings):
        """Writes, reloads; returns network -> what was done."""
        if networks is not None:
            self.write(networks, **settings)
        answer = self.daemon.request("POST", "/v1/reload", None if restart is None else {"restart": restart}, timeout=30)
        assert answer.status == expect, answer
        return {n["name"]: n for n in answer.json["networks"]} if expect == 200 else answer.json


@pytest.fixture
def configured(make_daemon):
    return lambda networks, **settings: Configured(make_daemon(), networks, **settings)


def done(outcome):
    return {name: network["result"] for name, network in outcome.items()}


# ---- what is done ----

def test_R33_networks_come_go_change_and_stay(configured):
    a = configured([lab("stays"), lab("goes"), lab("changes")])
    pids = {name: a.daemon.network(name)["pid"] for name in ("stays", "changes")}
    with StreamVm(a.daemon.path("goes.stream"), mac(1)) as vm:
        outcome = a.reload([lab("stays"), lab("changes", isolated=True, ports=[{"name": "db"}]), lab("comes", mtu=4000)])
        assert done(outcome) == {"stays": "unchanged", "goes": "removed", "changes": "changed", "comes": "added"}
        assert sorted(outcome["changes"]["changed"]) == ["/isolated", "/ports/db"]
        assert vm.wait_closed()
    assert sorted(a.daemon.networks()) == ["changes", "comes", "stays"]
    assert not a.daemon.path("goes.stream").exists() and a.daemon.path("changes.db.stream").exists()
    assert a.daemon.network("comes")["state"] == "up" and a.daemon.network("comes")["source"] == "configuration"
    assert a.daemon.network("changes")["isolated"] is True
    assert {name: a.daemon.network(name)["pid"] for name in pids} == pids
    assert "networks: 1 added, 1 removed, 1 changed, 1 unchanged, 0 need a restart" in a.daemon.log()


def test_a_restart_is_named_and_done_only_when_asked(configured):
    a = configured([lab("x"), lab("y")])
    pid = a.daemon.network("x")["pid"]
    with StreamVm(a.daemon.path("x.stream"), mac(1)) as vm:
        both = [lab("x", mtu=4000, isolated=True), lab("y", mtu=5000)]
        outcome = a.reload(both)
        assert done(outcome) == {"x": "needs_restart", "y": "needs_restart"}
        assert outcome["x"]["needs_restart"] == ["/mtu"] and outcome["x"]["changed"] == ["/isolated"]
        shown = a.daemon.network("x")
        assert (shown["pid"], shown["mtu"], shown["isolated"], shown["needs_restart"]) == (pid, 1500, True, ["/mtu"])
        assert "needs a restart (vmswitch reload --restart) for: /mtu" in a.daemon.log()
        assert done(a.reload(restart=["y"])) == {"x": "needs_restart", "y": "changed"}
        assert a.daemon.network("y")["mtu"] == 5000 and a.daemon.network("x")["pid"] == pid
        assert not vm.wait_closed(0.2)
        outcome = a.reload(restart=True)
        assert outcome["x"]["result"] == "changed" and outcome["x"]["restarted"] and outcome["x"]["changed"] == ["/mtu"]
        assert vm.wait_closed()
    shown = a.daemon.network("x")
    assert shown["pid"] != pid and shown["mtu"] == 4000 and shown["needs_restart"] == [] and shown["state"] == "up"


def test_what_waits_for_a_restart_is_taken_at_the_next_start_for_whatever_reason(configured):
    a = configured([lab("x")])
    a.reload([lab("x", mtu=4000)])
    kill_and_wait(a.daemon.network("x")["pid"])
    wait_for(lambda: a.daemon.network("x")["mtu"] == 4000, what="the new mtu")
    a.daemon.wait_up("x")
    assert a.daemon.network("x")["needs_restart"] == []


def test_a_wait_that_is_taken_back_is_over(configured):
    a = configured([lab("x")])
    pid = a.daemon.network("x")["pid"]
    assert done(a.reload([lab("x", mtu=4000)])) == {"x": "needs_restart"}
    assert done(a.reload([lab("x")])) == {"x": "unchanged"}
    assert a.daemon.network("x")["needs_restart"] == [] and a.daemon.network("x")["pid"] == pid


def test_ports_change_under_their_clients(configured):
    a = configured([lab("x", ports=[{"name": "p", "static_addresses": [mac(9)]}, {"name": "q"}])])
    with StreamVm(a.daemon.path("x.p.stream"), mac(1)) as p, StreamVm(a.daemon.path("x.stream"), mac(2)) as other:
        other.hello()
        p.expect(frame(BROADCAST, other.address, b"hello"))
        # The address moves from p to r, which needs p to let go first; q goes.
        outcome = a.reload([lab("x", ports=[{"name": "r", "static_addresses": [mac(9)]}, {"name": "p", "isolated": True}])])
        assert sorted(outcome["x"]["changed"]) == ["/ports/p/isolated", "/ports/p/static_addresses", "/ports/q", "/ports/r"]
        assert outcome["x"]["reason"] is None
        assert a.daemon.fdb("x")[mac(9)]["port"] == "r"
        assert sorted(a.daemon.ports("x")) == ["p", "r", "stream-1"]
        assert a.daemon.port("x", "p")["isolated"] and not p.wait_closed(0.1)
        # A port's offload is constant while a client is there.
        outcome = a.reload([lab("x", ports=[{"name": "r", "static_addresses": [mac(9)]}, {"name": "p", "offload": "raw"}])])
        assert outcome["x"]["result"] == "needs_restart" and "/ports/p/offload" in outcome["x"]["needs_restart"]
        assert "port p: offload cannot change" in outcome["x"]["reason"]
        assert a.daemon.port("x", "p")["offload"] == "off" and a.daemon.port("x", "p")["isolated"]
    wait_for(lambda: a.daemon.port("x", "p")["state"] == "down", what="p without a client")
    assert done(a.reload()) == {"x": "changed"}
    assert a.daemon.port("x", "p")["offload"] == "raw"


def test_what_was_patched_is_as_in_the_file_again(configured):
    a = configured([lab("x", ports=[{"name": "p"}])])
    a.daemon.ask("PATCH", "/v1/networks/x/ports/p", {"link": "down"})
    assert a.reload()["x"]["changed"] == ["/ports/p/link"]
    assert a.daemon.port("x", "p")["link"] == "up"


# ---- a bad file ----

@pytest.mark.parametrize("text,why", [
    ('{"networks": [{"name": "x", "mode": "internal"},\n {"name": "y", "mtu": 1}]}', ":2: networks[1].mtu: must be an integer from 576"),
    ('{"networks": [\n', ":2: "),
    ('{"netwroks": []}', ":1: netwroks: is no field"),
    ('{"networks": [{"name": "x", "mode": "internal", "user": "no-such-user"}]}', "network x: user: no-such-user does not exist"),
    ('{"networks": [{"name": "x", "mode": "host", "uplink": "vmnet"}]}', "vmnet"),
    ("{}" + " " * (1 << 20), "must have at most 1048576 bytes"),
])
def test_a_bad_file_changes_nothing_and_says_why(configured, text, why):
    a = configured([lab("x"), lab("gone", ports=[{"name": "p"}])])
    before = {name: a.daemon.network(name)["pid"] for name in ("x", "gone")}
    a.path.write_text(text)
    problem = a.reload(expect=422)
    assert why in problem["detail"] and str(a.path) in problem["detail"] and problem["next_step"], problem
    assert "nothing was reloaded: " + problem["detail"] in a.daemon.log()
    os.kill(a.daemon.pid, signal.SIGHUP)
    wait_for(lambda: a.daemon.log().count("nothing was reloaded: ") == 2, what="the refusal of SIGHUP")
    assert {name: a.daemon.network(name)["pid"] for name in before} == before
    # A control that is born now reads what holds, not what the file says.
    kill_and_wait(a.daemon.children()["control"])
    wait_for(a.daemon.is_ready_again, 10 * SLOW, "the API being back")
    assert {name: a.daemon.network(name)["pid"] for name in before} == before


def test_a_file_that_is_gone_changes_nothing(configured):
    a = configured([lab("x")])
    a.path.unlink()
    assert "No such file" in a.reload(expect=422)["detail"]
    a.path.mkdir()
    assert "not a plain file" in a.reload(expect=422)["detail"]
    a.path.rmdir()
    os.mkfifo(a.path)
    assert "not a plain file" in a.reload(expect=422)["detail"]
    assert a.daemon.networks() == ["x"]


@pytest.mark.root
def test_S05_strict_paths_are_looked_at_again(make_daemon):
    made = make_daemon()
    folder = made.folder / "etc"
    folder.mkdir(mode=0o755)
    path = folder / "vmswitchd.conf"
    path.write_text(json.dumps({"networks": [lab("x")]}))
    made.start("--config", str(path), "--strict-paths")
    made.ask("POST", "/v1/reload")
    folder.chmod(0o777)
    path.write_text(json.dumps({"networks": []}))
    answer = made.request("POST", "/v1/reload")
    assert answer.status == 422 and str(folder) in answer.json["detail"], answer
    assert made.networks() == ["x"]
    folder.chmod(0o755)
    made.ask("POST", "/v1/reload")
    assert made.networks() == []


def test_a_file_written_in_place_is_no_reload(configured):
    """Half of a new text, and control dies: it goes on with the old."""
    a = configured([lab("x")])
    pid = a.daemon.network("x")["pid"]
    with open(a.path, "r+") as file:
        file.write('{"networks": [{"na')
    kill_and_wait(a.daemon.children()["control"])
    wait_for(a.daemon.is_ready_again, 10 * SLOW, "the API being back")
    assert a.daemon.network("x")["pid"] == pid


def test_without_a_file_there_is_nothing_to_reload(make_daemon):
    made = make_daemon(user="nobody" if os.geteuid() == 0 else None)
    home = made.folder / "home"
    home.mkdir()
    made.start(env={"HOME": str(home)})
    made.wait_up("shared")
    assert made.request("POST", "/v1/reload").status == 409
    os.kill(made.pid, signal.SIGHUP)
    wait_for(lambda: made.log().count("nothing was reloaded: vmswitchd has no configuration file") == 2)
    # It appears where it is looked for: as at a start, the embedded default is not wanted any more.
    (home / ".config" / "vmswitch").mkdir(parents=True)
    (home / ".config" / "vmswitch" / "vmswitchd.conf").write_text(json.dumps({"networks": [lab("mine")]}))
    for path in (home, home / ".config", home / ".config" / "vmswitch"):
        path.chmod(0o755)
    outcome = {n["name"]: n["result"] for n in made.ask("POST", "/v1/reload")["networks"]}
    assert outcome == {"shared": "removed", "mine": "added"}
    kill_and_wait(made.children()["control"])
    wait_for(made.is_ready_again, 10 * SLOW, "the API being back")
    assert made.networks() == ["mine"]


# ---- with the API and crashes beside it ----

def test_networks_of_the_api_are_not_touched(configured):
    a = configured([lab("x")])
    a.daemon.create("mine", mtu=3000)
    pid = a.daemon.network("mine")["pid"]
    assert done(a.reload([lab("x", isolated=True)])) == {"x": "changed"}
    assert a.daemon.network("mine")["pid"] == pid and a.daemon.network("mine")["source"] == "api"


def test_a_name_of_the_api_becomes_the_files_and_comes_back(configured):
    """As at a start, where the file's is used and the other is there again when the file has none."""
    a = configured([lab("x")])
    a.daemon.create("same")
    a.daemon.create("other", mtu=3000)
    a.daemon.ask("PUT", "/v1/networks/same/ports/p", {})
    pids = {name: a.daemon.network(name)["pid"] for name in ("same", "other")}
    outcome = a.reload([lab("x"), lab("same"), lab("other", mtu=4000)])
    assert done(outcome) == {"x": "unchanged", "same": "changed", "other": "needs_restart"}
    assert outcome["same"]["changed"] == ["/ports/p"] and outcome["other"]["needs_restart"] == ["/mtu"]
    assert {name: a.daemon.network(name)["pid"] for name in pids} == pids
    for name in pids:
        assert a.daemon.network(name)["source"] == "configuration"
        assert a.daemon.request("PUT", f"/v1/networks/{name}", {}).status == 409
        assert a.daemon.request("DELETE", f"/v1/networks/{name}").status == 409
    a.reload(restart=True)
    assert a.daemon.network("other")["mtu"] == 4000
    outcome = a.reload([lab("x")])
    assert done(outcome) == {"x": "unchanged", "same": "changed", "other": "needs_restart"}
    assert outcome["same"]["changed"] == ["/ports/p"] and list(a.daemon.ports("same")) == ["p"]
    a.reload(restart=True)
    shown = a.daemon.network("other")
    assert shown["mtu"] == 3000 and shown["source"] == "api"
    a.daemon.ask("DELETE", "/v1/networks/other")


def test_what_is_in_the_file_survives_a_crash_of_control_after_a_reload(configured):
    a = configured([lab("x"), lab("goes")])
    a.reload([lab("x", isolated=True, ports=[{"name": "p"}]), lab("comes")])
    pids = {name: a.daemon.network(name)["pid"] for name in ("x", "comes")}
    kill_and_wait(a.daemon.children()["control"])
    wait_for(a.daemon.is_ready_again, 10 * SLOW, "the API being back")
    assert sorted(a.daemon.networks()) == ["comes", "x"]
    assert {name: a.daemon.network(name)["pid"] for name in pids} == pids
    assert a.daemon.network("x")["isolated"] and "p" in a.daemon.ports("x")
    assert set(done(a.reload()).values()) == {"unchanged"}


def test_a_crash_of_control_restarts_nobody_who_waits_for_a_restart(configured):
    a = configured([lab("x", ports=[{"name": "p"}]), lab("y")])
    with StreamVm(a.daemon.path("x.p.stream"), mac(1)) as vm:
        a.reload([lab("x", mtu=4000, ports=[{"name": "p", "offload": "raw"}, {"name": "q"}]), lab("y")])
        pids = {name: a.daemon.network(name)["pid"] for name in ("x", "y")}
        for _ in range(2):
            kill_and_wait(a.daemon.children()["control"])
            wait_for(a.daemon.is_ready_again, 10 * SLOW, "the API being back")
            a.daemon.wait_up("x")
            shown = a.daemon.network("x")
            assert {name: a.daemon.network(name)["pid"] for name in pids} == pids
            assert shown["mtu"] == 1500 and "/mtu" in shown["needs_restart"]
            assert not vm.wait_closed(0.2)
        assert sorted(a.daemon.ports("x")) == ["p", "q"]
        outcome = a.reload()
        assert done(outcome) == {"x": "needs_restart", "y": "unchanged"}
        assert sorted(outcome["x"]["needs_restart"]) == ["/mtu", "/ports/p/offload"]
        assert done(a.reload(restart=True)) == {"x": "changed", "y": "unchanged"}
        assert vm.wait_closed()
    assert a.daemon.network("x")["mtu"] == 4000 and a.daemon.port("x", "p")["offload"] == "raw"


def test_a_hangup_while_control_is_dead_is_not_lost(configured):
    a = configured([lab("x")])
    a.write([lab("x"), lab("y")])
    control = a.daemon.children()["control"]
    os.kill(control, signal.SIGSTOP)
    os.kill(a.daemon.pid, signal.SIGHUP)
    time.sleep(0.05)
    kill_and_wait(control)
    wait_for(a.daemon.is_ready_again, 10 * SLOW, "the API being back")
    wait_for(lambda: "y" in a.daemon.networks(), what="the new network")
    a.daemon.wait_up("y")


def test_reloads_while_networks_start_and_the_api_is_busy(configured):
    """Many at once: each is answered, one after the other, and the last word is the file's."""
    a = configured([lab("x")])
    statuses, stop = [], threading.Event()

    def hammer(name):
        while not stop.is_set():
            for method, path, body in (("PUT", f"/v1/networks/{name}", {"mode": "internal", "mtu": random.choice([1500, 3000])}),
                                       ("PUT", f"/v1/networks/{name}/ports/p", {}), ("DELETE", f"/v1/networks/{name}", None)):
                statuses.append(a.daemon.request(method, path, body, timeout=30).status)

    def reloads():
        while not stop.is_set():
            statuses.append(a.daemon.request("POST", "/v1/reload", {"restart": random.random() < .5}, timeout=30).status)

    threads = [threading.Thread(target=target, args=args) for target, args in
               ((hammer, ("n1",)), (hammer, ("n2",)), (reloads, ()), (reloads, ()))]
    for thread in threads:
        thread.start()
    seed = random.Random(33)
    for _ in range(20):
        a.write([lab(f"n{i}", mtu=seed.choice([1500, 2000]), isolated=seed.random() < .5, ports=[{"name": f"q{seed.randrange(3)}"}])
                 for i in range(4) if seed.random() < .6])
        time.sleep(0.1)
        os.kill(a.daemon.pid, signal.SIGHUP)
    stop.set()
    for thread in threads:
        thread.join()
    assert set(statuses) <= {200, 201, 204, 404, 409, 503}, sorted(set(statuses))
    last = [lab("n1", mtu=1400), lab("n3")]
    a.reload(last, restart=True)
    assert effective(a.daemon, {"n1", "n3"}) == fresh(a, last)
    assert done(a.reload()) == {"n1": "unchanged", "n3": "unchanged"}


# ---- as after a fresh start ----

VOLATILE = ("pid", "state", "counters", "fdb", "sockets", "reason", "file")  # two daemons cannot have one host port forwarded


def effective(daemon, names=None):
    """What a network is, without what depends on the day."""
    found = {}
    for name in names or daemon.networks():
        shown = daemon.network(name)
        sockets = shown["sockets"]
        found[name] = {key: value for key, value in shown.items() if key not in VOLATILE}
        found[name]["uplink"] = {key: shown["uplink"][key] for key in ("wanted", "kind")}
        found[name]["sockets"] = {key: bool(value) if key != "mode" else value for key, value in sockets.items()}
        found[name]["modes"] = {os.path.basename(path): oct(os.stat(path).st_mode)
                                for path in sorted(str(p) for p in daemon.runtime.iterdir()) if os.path.basename(path).startswith(name + ".")}
        found[name]["port_list"] = {port["name"]: {key: port[key] for key in ("link", "isolated", "offload", "named")}
                                    for port in daemon.ports(name).values() if port["role"] == "vm"}
        found[name]["statics"] = {address: entry["port"] for address, entry in daemon.fdb(name).items() if entry["static"] and entry["port"] != "uplink"}
    return found


def fresh(a, networks):
    """The same of a daemon that has just been started with it."""
    other = type(a.daemon)(a.daemon.folder / f"fresh{time.monotonic_ns()}")
    path = other.folder / "vmswitchd.conf"
    path.write_text(json.dumps({"networks": networks}))
    other.start("--config", str(path))
    try:
        for network in networks:
            wait_for(lambda name=network["name"]: other.network(name)["state"] != "starting", what="a start")
        return effective(other)
    finally:
        assert other.stop() == 0


def random_port(seed, name, addresses):
    port = {"name": name}
    if seed.random() < .4:
        port["isolated"] = seed.random() < .5
    if seed.random() < .3:
        port["link"] = seed.choice(["up", "down"])
    if seed.random() < .3:
        port["offload"] = seed.choice(["off", "raw", "virtio"])
    if addresses and seed.random() < .5:
        port["static_addresses"] = [addresses.pop() for _ in range(min(len(addresses), seed.randrange(1, 3)))]
    return port


def random_network(seed, name):
    network = {"name": name, "mode": "internal"}
    if seed.random() < .25:
        network |= {"mode": "shared", "uplink": "user", "ipv4": {"gateway": f"10.{ord(name[-1])}.{seed.randrange(2)}.1"}}
        if seed.random() < .5:
            net = network["ipv4"]["gateway"].removesuffix(".1")
            network["forwards"] = [{"proto": "udp", "host": f"127.0.0.1:{seed.randrange(20000, 30000)}", "guest": f"{net}.15:53"}]
    for field, values in (("mtu", [1500, 2000, 9000]), ("isolated", [True, False]), ("offload", ["off", "raw"]),
                          ("sockets", [{"mode": "0600"}, {"mode": "0666"}, {"stream": False}]), ("limits", [{"queue_frames": 64}])):
        if seed.random() < .25:
            network[field] = seed.choice(values)
    addresses = [mac(i) for i in seed.sample(range(6), 6)]
    network["ports"] = [random_port(seed, port, addresses) for port in seed.sample(["p", "q", "r", "s"], seed.randrange(4))]
    return network


def random_config(seed):
    return [random_network(seed, name) for name in seed.sample(["na", "nb", "nc"], seed.randrange(4))]


def test_R33_random_files_are_as_fresh_starts(configured):
    """Each from the one before, in the same daemon; restarts allowed. (1,000 pairs: tests/unit/daemon/test_reload.c.)"""
    seed = random.Random(int(os.environ.get("RELOAD_SEED", "33")))
    a = configured([])
    for _ in range(1000 if IS_DEEP else 60 if not IS_SANITIZED else 12):
        networks = random_config(seed)
        if seed.random() < .5:
            a.reload(networks)  # first what can be done without a restart
        outcome = a.reload(networks, restart=True)
        assert all(n["reason"] is None and n["needs_restart"] == [] for n in outcome.values()), (networks, outcome)
        assert effective(a.daemon) == fresh(a, networks), networks


# ---- nobody else notices ----

def test_R33_untouched_ports_lose_no_frame(configured, folder):
    """Numbered frames between ports of a network that stays, and of one that changes what can change, over 100 reloads."""
    ports = [{"name": "p"}, {"name": "q"}]
    a = configured([lab("stays", ports=ports), lab("live", ports=ports), lab("noise")])
    rate = 1000 if IS_SANITIZED else 5000
    path = a.daemon.path
    stays = Traffic(folder, [f"a,stream={path('stays.p.stream')}", f"b,datagram={path('stays.q.dgram')}", f"c,stream={path('stays.stream')}"],
                    [f"a,b,rate={rate}", f"b,a,rate={rate}", f"a,c,rate={rate}"])
    live = Traffic(folder, [f"d,stream={path('live.p.stream')}", f"e,stream={path('live.q.stream')}"],
                   [f"d,e,rate={rate}", f"e,d,rate={rate}"], run=2, mac_base=10)
    seed = random.Random(1)
    with stays, live:
        for i in range(100 if not IS_SANITIZED else 20):
            outcome = a.reload([lab("stays", ports=ports),
                                lab("live", ports=ports + [{"name": f"x{i % 3}", "static_addresses": [mac(200 + i % 2)]}], mtu=1500 + i % 2),
                                lab("noise", mtu=seed.choice([1500, 1600]), isolated=bool(i % 2)),
                                *[lab(f"n{k}") for k in range(3) if seed.random() < .5]], restart=["noise"])
            assert outcome["stays"]["result"] == "unchanged"
            assert outcome["live"]["result"] in ("changed", "needs_restart")
        for traffic in (stays, live):
            assert_clean(traffic.finish())


# ---- settings ----

def test_log_level_reaches_every_process_and_changes_with_a_reload(configured):
    a = configured([lab("x", mode="shared", uplink="user")], log_level="warn")
    with StreamVm(a.daemon.path("x.stream"), mac(1)) as vm:
        vm.hello()
        wait_for(lambda: a.daemon.fdb("x"))
    log = a.daemon.log()
    assert "port stream-1" not in log and "uplink is up" not in log, log
    assert a.daemon.ask("POST", "/v1/reload")["settings"] == []
    a.write([lab("x", mode="shared", uplink="user")])
    assert a.daemon.ask("POST", "/v1/reload")["settings"] == ["/log_level"]

    def is_told():  # the network hears of it when it comes to it, and a VM may come before
        with StreamVm(a.daemon.path("x.stream"), mac(1)) as vm:
            vm.hello()
            wait_for(lambda: a.daemon.fdb("x"))
        return "stream client" in a.daemon.log()

    wait_for(is_told)


# ---- the command line ----

def test_vmswitch_reload(configured):
    a = configured([lab("x"), lab("y")])
    run = lambda *words: subprocess.run([str(BIN / "vmswitch"), "--socket", str(a.daemon.api_path), "reload", *words],
                                        capture_output=True, text=True)
    a.write([lab("x", mtu=4000), lab("y", mtu=4000)])
    said = run()
    assert said.returncode == 0 and "needs_restart" in said.stdout and "/mtu" in said.stdout and "--restart" in said.stdout, said
    said = run("--restart-network", "y")
    assert said.returncode == 0 and a.daemon.network("y")["mtu"] == 4000 and a.daemon.network("x")["mtu"] == 1500
    said = run("--restart")
    assert said.returncode == 0 and a.daemon.network("x")["mtu"] == 4000
    assert run("--restart-network", "nobody").returncode == 1
    a.path.write_text("{")
    said = run()
    assert said.returncode == 1 and f"{a.path}:1:" in said.stderr, said
