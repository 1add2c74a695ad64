"""The log of the real daemon (G rows, P14): formats, limits, what clients say, a reader that stops."""
import fcntl
import json
import os
import pty
import re
import socket
import struct
import subprocess
import termios

from conftest import empty_config
from switchd import BIN, wait_for
from vm import DatagramVm, StreamVm, Traffic, assert_clean, mac


def total(log, pattern, left_out):
    """Lines that fit, and those that the log says were left out."""
    lines = [line for line in log.splitlines() if re.search(pattern, line)]
    more = sum(int(n) for line in lines for n in re.findall(r"\((\d+) more left out\)", line))
    return len(lines), more + sum(int(n) for n in re.findall(left_out + r": (\d+) lines were left out", log))


def test_every_line_of_json_is_an_object_that_says_what_it_is_about(make_daemon):
    daemon = make_daemon()
    daemon.start(*empty_config(daemon), "--log-format", "json")
    daemon.create("lab", mode="shared", uplink="user", ipv4={"gateway": "10.77.0.1"})
    daemon.ask("PUT", "/v1/networks/lab/ports/p1", {})
    with StreamVm(daemon.path("lab.p1.stream"), mac(1)):
        wait_for(lambda: daemon.port("lab", "p1")["state"] == "up")
    daemon.ask("DELETE", "/v1/networks/lab")
    assert daemon.stop() == 0
    lines = [json.loads(line) for line in daemon.log().splitlines()]
    for line in lines:
        assert list(line) == ["time", "level", "role", "network", "port", "message", "fields"], line
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["time"]) and line["level"] in ("error", "warn", "info", "debug")
    assert {line["role"] for line in lines} == {"monitor", "control", "network", "uplink"}
    assert any(line["network"] == "lab" and line["port"] == "p1" and "stream client" in line["message"] for line in lines)
    assert any(line["role"] == "control" and line["network"] == "lab" and "runs" in line["message"] for line in lines)
    assert any(line["fields"].get("audit") and "DELETE /v1/networks/lab: 204" in line["message"] for line in lines)


def test_the_journal_gets_priorities(make_daemon):
    """stderr is a stream socket that JOURNAL_STREAM names, as systemd makes it."""
    daemon = make_daemon()
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    stat = os.fstat(theirs.fileno())
    path = os.fspath(BIN / "vmswitchd")
    process = subprocess.Popen([path, "--runtime-dir", str(daemon.runtime), "--state-dir", str(daemon.state), *empty_config(daemon)],
                               stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=theirs,
                               env={"PATH": os.environ["PATH"], "JOURNAL_STREAM": f"{stat.st_dev}:{stat.st_ino}"})
    theirs.close()
    daemon.process = process
    daemon.wait_ready()
    daemon.create("lab")
    assert daemon.stop() == 0
    text = b""
    while piece := ours.recv(65536):
        text += piece
    lines = text.decode().splitlines()
    assert all(re.match(r"<[3467]>(monitor|control|network lab): ", line) for line in lines), lines
    assert any(line.startswith("<6>control: network lab: runs") for line in lines)
    ours.close()


def test_P14_clients_that_come_and_go_are_counted_exactly(daemon):
    """Of a network without named ports, and of a port: lines and numbers left out add up to what was done."""
    daemon.create("lab")
    daemon.ask("PUT", "/v1/networks/lab/ports/p1", {})
    times = 150
    for _ in range(times):
        StreamVm(daemon.path("lab.stream"), mac(1)).close()
    wait_for(lambda: len(daemon.ports("lab")) == 1, what="the end of the last client")
    with StreamVm(daemon.path("lab.p1.stream"), mac(2)):
        wait_for(lambda: daemon.port("lab", "p1")["state"] == "up")
        for _ in range(times):
            with StreamVm(daemon.path("lab.p1.stream"), mac(3)) as vm:
                assert vm.wait_closed()
    with StreamVm(daemon.path("lab.stream"), mac(1)) as vm:
        for _ in range(times):
            with StreamVm(daemon.path("lab.stream"), mac(9)) as bad:
                bad.send_raw(b"GET / HTTP/1.1\r\n\r\n")
                assert bad.wait_closed()
    daemon.ask("DELETE", "/v1/networks/lab")
    log = daemon.log()
    lines, left_out = total(log, r"port p1: client refused: the port has a client already", "port p1: clients refused")
    assert (lines, lines + left_out) == (10, times)
    lines, left_out = total(log, r"a length of 1195725856, limit 69632: link closed", "frames announced too long")  # F10: "GET "
    assert (lines, lines + left_out) == (10, times)
    # Each of the shared path came and went: 301 clients, two lines each; the 10 of the bad ones are theirs alone.
    lines, left_out = total(log, r"port stream-\d+: (stream client|client gone)", "network lab: clients")
    assert lines <= 12 and lines + left_out == 2 * (2 * times + 1)
    lines, left_out = total(log, r"port p1: (stream client|client gone)", "port p1: clients")
    assert lines + left_out == 2


def test_G02_what_clients_say_is_escaped_and_cut(daemon, folder):
    """Paths with escapes, of datagram clients; names and bodies of the API; lines to attach.sock; options."""
    daemon.create("lab")
    daemon.ask("PUT", "/v1/networks/lab/ports/p1", {})
    evil = "a\nb\x1b[31mc\xff"
    with DatagramVm(daemon.path("lab.p1.dgram"), mac(1), local=folder / evil) as vm:
        vm.hello()
        wait_for(lambda: mac(1) in daemon.fdb("lab"))
    for method, path, body in (("PUT", "/v1/networks/" + "x" * 5000, {}), ("PUT", "/v1/networks/x", {"mode": evil * 500}),
                               ("PUT", "/v1/networks/lab/ports/p2", {evil: 1}), ("POST", "/v1/networks", {"name": evil}),
                               ("GET", "/v1", None)):
        daemon.request(method, path, body, headers={"User-Agent": "\x1b[2J" + "u" * 3000})
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.connect(str(daemon.path("attach.sock")))
        client.sendall(json.dumps({"network": evil}, ensure_ascii=False).encode() + b"\n")
        client.recv(4096)
    bad = subprocess.run([str(BIN / "vmswitchd"), "--config", evil, evil], capture_output=True)
    assert bad.returncode == 2 and b"\x1b" not in bad.stderr and bad.stderr.count(b"\n") == 1
    raw = daemon.log_path.read_bytes()
    assert b"datagram client " in raw and b"a\\x0ab\\x1b[31mc\\xc3\\xbf" in raw, raw
    assert all(byte == 10 or 32 <= byte < 127 for byte in raw)
    assert max(map(len, raw.splitlines())) <= 1100


def pipe_size(fd):
    return fcntl.fcntl(fd, 1032)  # F_GETPIPE_SZ


def test_G03_a_log_that_nobody_reads_stops_nothing_and_tells_what_was_lost(make_daemon, folder):
    """stderr is a full pipe: the start, the API and frames go on; what was lost is told when there is room."""
    daemon = make_daemon()
    reader, writer = os.pipe()
    fcntl.fcntl(writer, 1031, 4096)  # F_SETPIPE_SZ: the smallest
    process = subprocess.Popen([str(BIN / "vmswitchd"), "--runtime-dir", str(daemon.runtime), "--state-dir", str(daemon.state),
                                *empty_config(daemon), "--log-level", "debug"],
                               stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=writer, env={"PATH": os.environ["PATH"]})
    daemon.process = process
    daemon.wait_ready()
    for i in range(30):  # each is a line of audit, and more
        daemon.create("lab", mtu=1500 + i % 2)
    assert struct.unpack("i", fcntl.ioctl(reader, termios.FIONREAD, b"\0" * 4))[0] > pipe_size(reader) - 2048, "the pipe is not full"
    path = daemon.path("lab.stream")
    with Traffic(folder, [f"a,stream={path}", f"b,stream={path}"], ["a,b,rate=2000", "b,a,rate=2000"]) as traffic:
        for _ in range(20):
            with StreamVm(path, mac(200)):
                pass
            daemon.ask("PUT", "/v1/networks/lab/ports/p", {})
            daemon.ask("DELETE", "/v1/networks/lab/ports/p")
        assert_clean(traffic.finish())
    # Counted by those whose lines they are: the API's process, and the network's.
    lost = daemon.ask("GET", "/v1")["log_lost"]
    assert lost > 0 and daemon.network("lab")["counters"]["log_lost"] > 0
    os.set_blocking(reader, False)
    text = b""

    def drained():
        nonlocal text
        try:
            while piece := os.read(reader, 65536):
                text += piece
        except BlockingIOError:
            pass
        return text

    drained()
    daemon.ask("PUT", "/v1/networks/lab/ports/q", {})
    wait_for(lambda: b"control: " in drained() and re.search(rb"warn control: \d+ lines of this log were lost", text), what="the number of lost lines")
    assert b"PUT /v1/networks/lab/ports/q: 201" in text
    assert daemon.ask("GET", "/v1")["log_lost"] == int(re.search(rb"warn control: (\d+) lines of this log were lost", text)[1]) >= lost
    assert fcntl.fcntl(writer, fcntl.F_GETFL) & os.O_NONBLOCK == 0  # whoever shares the pipe has it as it was
    assert daemon.stop() == 0
    os.close(reader)
    os.close(writer)


def test_G03_a_full_disk_stops_nothing(make_daemon, folder):
    """stderr takes nothing, ever: ENOSPC."""
    daemon = make_daemon()
    with open("/dev/full", "wb") as full:
        daemon.process = subprocess.Popen([str(BIN / "vmswitchd"), "--runtime-dir", str(daemon.runtime), "--state-dir", str(daemon.state),
                                           *empty_config(daemon)], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=full,
                                          env={"PATH": os.environ["PATH"]})
    daemon.wait_ready()
    daemon.create("lab")
    path = daemon.path("lab.stream")
    with Traffic(folder, [f"a,stream={path}", f"b,stream={path}"], ["a,b,rate=2000", "b,a,rate=2000"]) as traffic:
        wait_for(lambda: daemon.network("lab")["counters"]["frames_out"] > 500, what="500 frames")
        assert_clean(traffic.finish())
    assert daemon.stop() == 0


def test_G03_a_terminal_that_was_stopped_stops_nothing(make_daemon):
    """As by Ctrl-S: what was written since is lost; the end is told when it goes on."""
    daemon = make_daemon()
    ours, theirs = pty.openpty()
    daemon.process = subprocess.Popen([str(BIN / "vmswitchd"), "--runtime-dir", str(daemon.runtime), "--state-dir", str(daemon.state),
                                       *empty_config(daemon)], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=theirs,
                                      env={"PATH": os.environ["PATH"]})
    daemon.wait_ready()
    os.set_blocking(ours, False)
    termios.tcflow(theirs, termios.TCOOFF)
    for i in range(60):
        daemon.create("lab", mtu=1500 + i % 2)
    termios.tcflow(theirs, termios.TCOON)
    text = b""

    def heard():
        nonlocal text
        daemon.ask("PUT", "/v1/networks/lab/ports/p", {})
        try:
            text += os.read(ours, 65536)
        except BlockingIOError:
            pass
        return b"PUT /v1/networks/lab/ports/p: 20" in text

    wait_for(heard, what="the log being back")
    assert b"lines of this log were lost" in text
    assert daemon.stop() == 0
    os.close(ours)
    os.close(theirs)


def test_G04_a_log_whose_reader_dies_and_another_comes(make_daemon, folder):
    """A FIFO: while nobody has it open lines are lost; the next reader gets the log again. No signal ends the daemon."""
    daemon = make_daemon()
    fifo = folder / "log.fifo"
    os.mkfifo(fifo)
    keeper = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    writer = os.open(fifo, os.O_WRONLY)
    daemon.process = subprocess.Popen([str(BIN / "vmswitchd"), "--runtime-dir", str(daemon.runtime), "--state-dir", str(daemon.state),
                                       *empty_config(daemon)], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=writer,
                                      env={"PATH": os.environ["PATH"]})
    os.close(writer)
    daemon.wait_ready()
    os.close(keeper)
    daemon.create("lab")  # into a pipe without a reader
    again = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    text = b""

    def heard():
        nonlocal text
        daemon.ask("PUT", "/v1/networks/lab/ports/p", {})
        try:
            text += os.read(again, 65536)
        except BlockingIOError:
            pass
        return b"lines of this log were lost" in text and b"PUT /v1/networks/lab/ports/p: 20" in text

    wait_for(heard, what="the log being back")
    assert daemon.stop() == 0
    os.close(again)
