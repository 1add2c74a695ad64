"""The HTTP API under bad bodies, bad names and bad manners (A rows)."""
import json
import os
import random
import socket
import time

import pytest

from conftest import empty_config
from switchd import IS_SANITIZED, fds_of, status_of, wait_for
from vm import Lease, StreamVm, Traffic, attach, mac


def talk(daemon, data, seconds=10):
    """Sends bytes as they are; returns what came back until the daemon closed."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(seconds)
        client.connect(str(daemon.api_path))
        try:
            client.sendall(data)
        except ConnectionError:
            pass
        answer = b""
        try:
            while piece := client.recv(65536):
                answer += piece
        except ConnectionError:
            pass
        return answer


def status(answer):
    return int(answer.split(b" ", 2)[1]) if answer.startswith(b"HTTP/1.") else None


def bystander(daemon):
    """The API goes on for others."""
    assert daemon.get("/v1/health", timeout=5).status == 200


def refused(answer, *codes):
    assert answer.status in codes, answer
    assert answer.headers["Content-Type"].startswith("application/problem+json"), answer.headers
    problem = answer.json
    assert problem["status"] == answer.status and problem["title"] and problem["detail"], problem
    return problem


def files(daemon):
    return sorted(str(p.relative_to(daemon.folder)) for p in daemon.folder.rglob("*") if p.name != "log")


@pytest.mark.parametrize("request_head", [
    b"GET /v1 HTTP/1.1\r\nHost: x\r\nX-Long: " + b"a" * 8192 + b"\r\n\r\n",
    b"GET /v1 HTTP/1.1\r\nHost: x\r\n" + b"".join(b"X-%d: y\r\n" % i for i in range(10_000)) + b"\r\n",
    b"GET /" + b"u" * (1 << 20) + b" HTTP/1.1\r\nHost: x\r\n\r\n"], ids=["8 KiB header", "10,000 headers", "1 MiB URI"])
def test_A02_a_head_that_is_too_large(daemon, request_head):
    before = fds_of(daemon.children()["control"])
    for _ in range(20):
        # Closing while the rest is still on its way may cost the client the answer, never us the connection.
        assert status(talk(daemon, request_head)) in (400, 413, 414, 431, None)
        bystander(daemon)
    wait_for(lambda: fds_of(daemon.children()["control"]) <= before, what="the connections being closed")


@pytest.mark.parametrize("body", [b"[" * 33 + b"]" * 33, b'{"a":' * 33 + b"1" + b"}" * 33, b"[" * 60_000, b"[" * 1_000_000],
                         ids=["33 arrays", "33 objects", "60,000 [", "1,000,000 ["])
def test_A06_deep_json(daemon, body):
    try:
        refused(daemon.request("POST", "/v1/networks", body), 400, 413)
    except ConnectionError:
        assert len(body) > 65536  # closed in the middle of a body that is over the limit anyway
    bystander(daemon)


STRINGS = {"invalid UTF-8": b'{"name":"\xff\xfe"}', "overlong": b'{"name":"\xc0\xaf"}', "lone surrogate": b'{"name":"\\ud800"}',
           "NUL": b'{"name":"a\\u0000b"}', "raw NUL": b'{"name":"a\x00b"}', "4 KiB + 1": b'{"name":"' + b"a" * 4097 + b'"}',
           "duplicate keys": b'{"name":"a","name":"b"}', "65 keys": json.dumps({f"k{i}": 1 for i in range(65)}).encode(),
           "nothing": b"", "no JSON": b"hello", "trailing": b'{"name":"a"} x', "an array": b"[]", "a string": b'"a"'}


@pytest.mark.parametrize("what", STRINGS)
def test_A08_bad_strings_and_bodies(daemon, what):
    refused(daemon.request("POST", "/v1/networks", STRINGS[what], headers={"Content-Type": "application/json"}), 400, 411)
    assert daemon.networks() == []


NUMBERS = [("mtu", v) for v in (b"1e400", b"-0", b"9007199254740993", b'"1500"', b"-1", b"0", b"1500.5", b"null", b"true", b"[]", b"70000",
                                b"99999999999999999999999")]


@pytest.mark.parametrize("field,value", NUMBERS)
def test_A09_bad_numbers_name_their_field(daemon, field, value):
    problem = refused(daemon.request("POST", "/v1/networks", b'{"name":"lab","%s":%s}' % (field.encode(), value)), 400, 422)
    # A number no parser takes has no field yet.
    assert field in json.dumps(problem) or value in (b"1e400", b"99999999999999999999999"), problem
    assert daemon.networks() == []


def test_unknown_fields_and_wrong_types_are_refused_by_name(daemon):
    for body, field in (({"name": "lab", "colour": "red"}, "colour"), ({"name": "lab", "isolated": "yes"}, "isolated"),
                        ({"name": "lab", "ipv4": {"gatway": "x"}}, "gatway"), ({"name": "lab", "forwards": {}}, "forwards")):
        problem = refused(daemon.request("POST", "/v1/networks", body), 400, 422)
        assert field in json.dumps(problem), problem
        assert problem.get("next_step"), problem


def test_pairs_that_make_no_sense_are_a_422_naming_the_pair(daemon):
    problem = refused(daemon.request("POST", "/v1/networks", {"name": "lab", "mode": "internal", "uplink": "tap"}), 422)
    assert "internal" in json.dumps(problem) and "tap" in json.dumps(problem)


def corpus():
    heads = [b"Host: x\r\n", b"Host: x\r\nContent-Type: application/json\r\n", b"Host: x\r\nConnection: close\r\n"]
    specs = [b'{"name":"fz1","mode":"internal"}', b'{"name":"fz2","mode":"internal","mtu":9000,"isolated":true}',
             b'{"link":"down"}', b'{"link":"up","isolated":true}', b'{"static_addresses":["52:54:00:00:00:07"]}', b""]
    paths = [b"/v1", b"/v1/health", b"/v1/networks", b"/v1/networks/lab", b"/v1/networks/fz1", b"/v1/networks/lab/ports",
             b"/v1/networks/lab/ports/p1", b"/v1/networks/lab/fdb", b"/v1/interfaces"]
    for method in (b"GET", b"PUT", b"POST", b"DELETE", b"PATCH", b"HEAD", b"OPTIONS"):
        for path in paths:
            for body in specs:
                yield b"%s %s HTTP/1.1\r\n%sContent-Length: %d\r\n\r\n%s" % (method, path, random.choice(heads), len(body), body)


def mutate(data):
    data = bytearray(data)
    for _ in range(random.choice((0, 1, 1, 2, 4, 8))):
        at = random.randrange(len(data))
        kind = random.randrange(5)
        if kind == 0:
            data[at] = random.randrange(256)
        elif kind == 1:
            del data[at:at + random.randrange(1, 9)]
        elif kind == 2:
            data[at:at] = bytes(random.randrange(256) for _ in range(random.randrange(1, 9)))
        elif kind == 3:
            data[at:at] = data[at:at + random.randrange(1, 40)]
        else:
            data[at:at] = random.choice((b"\r\n", b"{", b"]", b'"', b"%2e", b"\x00", b"Transfer-Encoding: chunked\r\n", b"-1", b"1e999"))
        if not data:
            return b"\r\n"
    return bytes(data)


def test_A10_mutated_requests(daemon, net):
    random.seed(10)
    seeds = list(corpus())
    count = 2000 if IS_SANITIZED else 20_000
    pid = daemon.children()["control"]
    for i in range(count):
        data = mutate(random.choice(seeds))
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(10)
            client.connect(str(daemon.api_path))
            try:
                client.sendall(data)
                client.shutdown(socket.SHUT_WR)
                answer = b""
                while piece := client.recv(65536):
                    answer += piece
            except ConnectionError:
                continue
        assert status(answer) not in (500, 501, 502), (data, answer)
    assert daemon.children()["control"] == pid
    bystander(daemon)


@pytest.mark.parametrize("name", ["../x", "a/b", ".", "..", "", "a" * 33, "a\n", "%s%n", "-rf", "_x", "Upper", "a b", "ünï", "аbc", "a\u200b", "a.b", "a\\b"])
def test_A17_bad_names_in_a_body(daemon, name):
    before = files(daemon)
    refused(daemon.request("POST", "/v1/networks", {"name": name, "mode": "internal"}), 400)
    assert files(daemon) == before


@pytest.mark.parametrize("path", ["%2e%2e%2fx", "..%2fx", "%252e%252e", "a%2fb", "a%00b", "-rf", "%73", "a;b", "a" * 33, "A"])
def test_A18_bad_names_in_a_url(daemon, path):
    before = files(daemon)
    answer = daemon.request("PUT", f"/v1/networks/{path}", {"mode": "internal"})
    # "%73" is the letter s in disguise: a server may take it for one, or refuse it; it may not make a file of another name.
    assert answer.status in (400, 404) or (path == "%73" and answer.status == 201), answer
    if path != "%73":
        assert files(daemon) == before


@pytest.mark.parametrize("path", ["//v1", "/v1//networks", "/v1/networks/", "/v1/../v1", "/V1", "/", "/v2", "/v1/networks/lab/ports/", "/v1/networks;x"])
def test_A18_paths_that_are_none(daemon, path):
    answer = daemon.get(path)
    assert answer.status in (400, 404), answer


def test_A13_methods_and_upgrades(daemon, net):
    assert daemon.request("PATCH", "/v1").status == 405
    assert daemon.request("TRACE", "/v1").status in (400, 405, 501)
    assert status(talk(daemon, b"CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n")) in (400, 404, 405)


def test_a_request_that_could_mean_two_things_is_refused(daemon):
    for head in (b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n", b"Content-Length: 2\r\nContent-Length: 3\r\n", b"Transfer-Encoding: chunked\r\n"):
        answer = talk(daemon, b"POST /v1/networks HTTP/1.1\r\nHost: x\r\n" + head + b"\r\n{}")
        assert status(answer) in (400, 411, 501), answer
        assert answer.count(b"HTTP/1.1 ") == 1
    bystander(daemon)


def test_slow_clients_delay_nobody(daemon):
    """40 that send half a head and nothing more, while others ask; all are closed in the end."""
    control = daemon.children()["control"]
    before = fds_of(control)
    slow = []
    for _ in range(40):
        client = socket.socket(socket.AF_UNIX)
        client.connect(str(daemon.api_path))
        client.settimeout(20)
        client.sendall(b"GET /v1 HTTP/1.1\r\nHo")
        slow.append(client)
    times = []
    for _ in range(50):
        begun = time.monotonic()
        bystander(daemon)
        times.append(time.monotonic() - begun)
    assert sorted(times)[-3] < 1
    begun = time.monotonic()
    for client in slow:
        try:
            while client.recv(4096):
                pass
        except ConnectionError:
            pass
        client.close()
    assert time.monotonic() - begun < 15
    wait_for(lambda: fds_of(control) <= before, what="the connections being closed")


def test_A20_a_network_with_256_busy_ports_is_deleted_within_a_second(daemon, net, folder):
    path = daemon.path("lab.stream")
    n = 256
    vms = [f"v{i},stream={path}" for i in range(n)]
    flows = [f"v{i},v{i + 1},rate={10 if IS_SANITIZED else 50}" for i in range(0, n, 2)]
    control, before = daemon.children()["control"], fds_of(daemon.children()["control"])
    with Traffic(folder, vms, flows, ready_s=60) as traffic:
        time.sleep(0.5)
        assert len(daemon.ports("lab")) == n
        with StreamVm(path, mac(999)) as one_more:
            assert one_more.wait_closed()
        begun = time.monotonic()
        daemon.ask("DELETE", "/v1/networks/lab")
        wait_for(lambda: "network lab" not in daemon.children(), 5, "the process being gone")
        assert time.monotonic() - begun <= (8 if IS_SANITIZED else 1)
        report = traffic.finish()
    assert report["closed"] == n
    assert set(daemon.leftovers()) == {"api.sock", "attach.sock"}
    wait_for(lambda: fds_of(control) <= before, what="nothing being left open")
    daemon.create("lab")


def test_networks_and_ports_are_listed_changed_and_removed(daemon):
    answer = daemon.request("POST", "/v1/networks", {"name": "lab", "mode": "internal"})
    assert answer.status == 201 and answer.json["name"] == "lab"
    refused(daemon.request("POST", "/v1/networks", {"name": "lab", "mode": "internal"}), 409)
    assert daemon.request("PUT", "/v1/networks/lab", {"mode": "internal"}).status == 200
    assert daemon.networks() == ["lab"]
    refused(daemon.get("/v1/networks/none"), 404)
    refused(daemon.get("/v1/networks/lab/ports/none"), 404)
    made = daemon.request("PUT", "/v1/networks/lab/ports/web", {})
    assert made.status == 201
    assert made.json["state"] == "down" and made.json["name"] == "web"
    assert made.json["sockets"]["stream"] == str(daemon.path("lab.web.stream"))
    assert daemon.request("PUT", "/v1/networks/lab/ports/web", {}).status == 200
    assert daemon.path("lab.web.dgram").is_socket()
    assert daemon.request("DELETE", "/v1/networks/lab/ports/web").status == 204
    wait_for(lambda: not daemon.path("lab.web.dgram").exists(), what="the port's socket being gone")
    assert daemon.request("DELETE", "/v1/networks/lab").status == 204
    refused(daemon.request("DELETE", "/v1/networks/lab"), 404)
    assert daemon.networks() == []
    assert isinstance(daemon.ask("GET", "/v1/interfaces"), (dict, list))


def test_tuning_is_shown_and_refused_by_name(daemon):
    daemon.create("plain")
    defaults = {"read_bytes": 131072, "batch_frames": 64, "socket_bytes": 1048576, "busy_poll_us": 0}
    assert daemon.network("plain")["tuning"] == defaults
    daemon.create("lab", tuning={"busy_poll_us": 50, "batch_frames": 8})
    tuned = {**defaults, "busy_poll_us": 50, "batch_frames": 8}
    assert daemon.network("lab")["tuning"] == tuned
    with StreamVm(daemon.path("lab.stream"), mac(1)) as a, StreamVm(daemon.path("lab.stream"), mac(2)) as b:
        a.hello()
        b.hello()
        wait_for(lambda: len(daemon.fdb("lab")) == 2, what="both addresses being known")
    spent = [sum(map(int, open(f"/proc/{daemon.network('lab')['pid']}/stat").read().rsplit(")")[1].split()[11:13]))]
    time.sleep(0.5)
    spent.append(sum(map(int, open(f"/proc/{daemon.network('lab')['pid']}/stat").read().rsplit(")")[1].split()[11:13])))
    assert spent[1] - spent[0] <= 10, "an idle network sleeps"  # 50 would be a core
    for field, value in (("read_bytes", 73727), ("batch_frames", 65), ("socket_bytes", 0), ("busy_poll_us", 1001), ("busy", 1)):
        problem = refused(daemon.request("POST", "/v1/networks", {"name": "no", "tuning": {field: value}}), 400)
        assert problem["field"] == f"/tuning/{field}", problem


def test_offload_is_shown_and_constant_while_a_client_is_plugged_in(make_daemon):
    daemon = make_daemon()
    daemon.start(*empty_config(daemon))
    daemon.create("lab", offload="raw")
    assert daemon.network("lab")["offload"] == "raw"
    plain = StreamVm(daemon.path("lab.stream"), mac(1))
    plain.hello()
    (port,) = wait_for(lambda: daemon.ports("lab")).values()
    assert (port["offload"], port["frame_max"]) == ("raw", 65550)
    plain.close()
    path = "/v1/networks/lab/ports/web"
    assert daemon.ask("PUT", path)["offload"] == "raw"
    with StreamVm(daemon.path("lab.web.stream"), mac(2)):
        wait_for(lambda: daemon.port("lab", "web")["state"] == "up")
        problem = refused(daemon.request("PUT", path, {"offload": "off"}), 409)
        assert "client" in problem["detail"] and "DELETE" in problem["detail"], problem
        assert daemon.request("PUT", path, {"offload": "raw", "isolated": True}).status == 200
        assert daemon.port("lab", "web")["state"] == "up"
    wait_for(lambda: daemon.port("lab", "web")["state"] == "down")
    port = daemon.ask("PUT", path, {"offload": "off"})
    assert (port["offload"], port["frame_max"]) == ("off", 1514)
    with StreamVm(daemon.path("lab.web.stream"), mac(2)):  # the path serves the new port
        wait_for(lambda: daemon.port("lab", "web")["state"] == "up")
    for body, field in (({"offload": "tso"}, "/offload"), ({"offload": None}, "/offload"), ({"offload": 1}, "/offload")):
        assert refused(daemon.request("PUT", path, body), 400)["field"] == field
        assert refused(daemon.request("POST", "/v1/networks", {"name": "no", **body}), 400)["field"] == field
    problem = refused(daemon.request("PATCH", path, {"offload": "raw"}), 400)
    assert problem["field"] == "/offload" and "PUT" in json.dumps(problem), problem

    passed, lease = attach(daemon, "lab", offload="virtio")
    assert daemon.port("lab", lease.port)["offload"] == "virtio"
    passed.close()
    lease.close()
    for line, status_of_it in (({"port": "web", "offload": "raw"}, 409), ({"offload": "tso"}, 400)):
        ours, theirs = socket.socketpair()
        with ours, theirs, Lease(daemon, {"network": "lab", **line}, [theirs.fileno()]) as refusal:
            assert refusal.status == status_of_it and "offload" in refusal.answer["detail"], refusal.answer

    daemon.stop()
    daemon.start(*empty_config(daemon))
    daemon.wait_up("lab")
    assert daemon.network("lab")["offload"] == "raw"
    assert wait_for(lambda: daemon.ports("lab"))["web"]["offload"] == "off"


def test_a_network_that_does_not_answer_is_unresponsive(daemon, net):
    daemon.create("other")
    pid = daemon.network("lab")["pid"]
    os.kill(pid, 19)
    try:
        begun = time.monotonic()
        assert daemon.network("lab")["state"] == "unresponsive"
        assert time.monotonic() - begun < 3
        assert daemon.network("other")["state"] == "up"
    finally:
        os.kill(pid, 18)
    daemon.wait_up("lab")
