"""The runtime folder: who owns it, what may lie in the way, and what others may see (S rows, R02, R03, T13, T14, T16)."""
import os
import signal
import socket
import stat
import subprocess
import threading
import time

import pytest

from conftest import empty_config
from switchd import status_of, wait_for


def fails(made, *options, code=1):
    """Starts a daemon that has to refuse; returns what it said."""
    made.start(*options, wait=False)
    assert made.process.wait(10) == code, made.log()
    return made.log()


def fingerprint(path):
    st = path.lstat()
    content = path.read_bytes() if stat.S_ISREG(st.st_mode) else b""
    return st.st_mode, st.st_ino, st.st_size, st.st_uid, content


def obstacle(folder, place, what):
    """Puts something at 'place'; returns what must not change."""
    target = folder / "target"
    if what == "symlink to a file":
        target.write_text("precious")
        place.symlink_to(target)
    elif what == "symlink to a folder":
        target.mkdir()
        place.symlink_to(target)
    elif what == "dangling symlink":
        place.symlink_to(target)
        return [place]
    elif what == "folder":
        place.mkdir()
        return [place]
    elif what == "fifo":
        os.mkfifo(place)
        return [place]
    elif what == "file":
        place.write_text("precious")
        return [place]
    return [place, target]


OBSTACLES = ["symlink to a file", "symlink to a folder", "dangling symlink", "folder", "fifo", "file"]


@pytest.mark.parametrize("what", OBSTACLES)
@pytest.mark.parametrize("name", ["api.sock", "attach.sock"])
def test_S01_what_lies_in_the_way_stays_and_is_named(make_daemon, folder, what, name):
    made = make_daemon()
    touched = obstacle(folder, made.runtime / name, what)
    before = [fingerprint(path) for path in touched]
    said = fails(made, *empty_config(made))
    assert name in said
    assert [fingerprint(path) for path in touched] == before
    left = {path.name for path in made.runtime.iterdir()} - {name, "vmswitchd.lock"}
    assert left == set()
    place = made.runtime / name
    place.rmdir() if what == "folder" else place.unlink()


@pytest.mark.parametrize("what", OBSTACLES)
def test_S01_in_the_way_of_a_networks_socket(daemon, folder, what):
    place = daemon.path("lab.stream")
    touched = obstacle(folder, place, what)
    before = [fingerprint(path) for path in touched]
    answer = daemon.request("PUT", "/v1/networks/lab", {"mode": "internal"})
    assert 400 <= answer.status < 600, answer
    assert "lab.stream" in answer.text
    assert [fingerprint(path) for path in touched] == before
    place.rmdir() if what == "folder" else place.unlink()


def test_S01_anothers_live_socket_is_not_taken(make_daemon):
    made = make_daemon()
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(made.runtime / "api.sock"))
        other.listen()
        before = fingerprint(made.runtime / "api.sock")
        assert "api.sock" in fails(made, *empty_config(made))
        assert fingerprint(made.runtime / "api.sock") == before
    (made.runtime / "api.sock").unlink()


def widest_modes(paths, stop):
    """Looks at paths as fast as it can; the modes each was ever seen with."""
    seen = {path: set() for path in paths}
    while not stop.is_set():
        for path in paths:
            try:
                seen[path].add(stat.S_IMODE(os.lstat(path).st_mode))
            except OSError:
                pass
    return seen


@pytest.mark.parametrize("mask", [0, 0o777])
def test_S04_T16_modes_are_as_configured_at_first_sight(make_daemon, mask):
    made = make_daemon()
    names = ["api.sock", "attach.sock", "a.stream", "a.dgram", "b.stream", "b.dgram", "a.p1.stream", "a.p1.dgram"]
    paths = [str(made.runtime / name) for name in names]
    stop, seen = threading.Event(), {}
    watcher = threading.Thread(target=lambda: seen.update(widest_modes(paths, stop)))
    watcher.start()
    try:
        made.start(*empty_config(made), preexec=lambda: os.umask(mask))
        made.create("a", sockets={"mode": "0600"})
        made.create("b", sockets={"mode": "0666"})
        made.ask("PUT", "/v1/networks/a/ports/p1", {})
        time.sleep(0.2)
    finally:
        stop.set()
        watcher.join()
    modes = dict(zip(names, (seen[path] for path in paths)))
    assert modes["a.stream"] == modes["a.dgram"] == modes["a.p1.stream"] == modes["a.p1.dgram"] == {0o600}
    assert modes["b.stream"] == modes["b.dgram"] == {0o666}
    assert modes["api.sock"] == {0o600}
    assert len(modes["attach.sock"]) == 1


def test_a_path_that_is_too_long_is_a_clear_error(make_daemon):
    made = make_daemon(sub="d" * 100)
    said = fails(made, *empty_config(made))
    assert "api.sock" in said or "too long" in said or "107" in said, said


def test_a_name_that_makes_a_path_too_long(make_daemon):
    made = make_daemon(sub="d" * 50)
    made.start(*empty_config(made))
    answer = made.request("PUT", "/v1/networks/" + "n" * 32, {"mode": "internal"})
    assert 400 <= answer.status < 500, answer
    assert not [path for path in made.runtime.iterdir() if path.name.startswith("nnn")]


def test_a_missing_group_is_a_clear_error(daemon):
    answer = daemon.request("PUT", "/v1/networks/lab", {"mode": "internal", "sockets": {"group": "no-such-group"}})
    assert 400 <= answer.status < 500, answer
    assert "no-such-group" in answer.text
    assert not daemon.path("lab.stream").exists()


def test_R02_T14_after_kill_9_a_new_daemon_starts_at_once(make_daemon):
    made = make_daemon()
    made.start(*empty_config(made))
    made.create("lab")
    assert (made.runtime / "lab.stream").is_socket()
    first = made.pid
    made.kill()
    # The number in the lock file may be somebody else's by now: it is never signalled.
    with subprocess.Popen(["sleep", "60"]) as somebody:
        lock = made.runtime / "vmswitchd.lock"
        lock.write_text(lock.read_text().replace(str(first), str(somebody.pid)))
        begun = time.monotonic()
        made.start(*empty_config(made))
        assert time.monotonic() - begun < 5
        made.wait_up("lab")
        assert somebody.poll() is None
        somebody.kill()


def test_R03_an_old_daemon_removes_only_what_is_its_own(make_daemon):
    """The old one was stopped in mid-air, its folder handed on; at its end the new one's sockets stay."""
    old = make_daemon(sub="same")
    old.start(*empty_config(old))
    os.kill(old.pid, signal.SIGSTOP)
    for name in ("api.sock", "attach.sock"):
        (old.runtime / name).unlink()
        with socket.socket(socket.AF_UNIX) as new:
            new.bind(str(old.runtime / name))
    before = [fingerprint(old.runtime / name) for name in ("api.sock", "attach.sock")]
    os.kill(old.pid, signal.SIGCONT)
    assert old.stop() == 0
    assert [fingerprint(old.runtime / name) for name in ("api.sock", "attach.sock")] == before
    for name in ("api.sock", "attach.sock"):
        (old.runtime / name).unlink()


def test_T13_a_second_daemon_refuses_and_names_the_first(make_daemon):
    first, second = make_daemon(sub="same"), make_daemon(sub="same")
    first.start(*empty_config(first))
    first.create("lab")
    sockets = {path.name: fingerprint(path) for path in first.runtime.iterdir()}
    log = first.folder / "log2"
    second.log_path = log
    said = fails(second, *empty_config(first), code=4)
    assert str(first.pid) in said and str(first.runtime) in said
    assert {path.name: fingerprint(path) for path in first.runtime.iterdir()} == sockets
    assert first.network("lab")["state"] == "up"


def test_S14_hostile_inheritance(make_daemon, folder):
    """Descriptors, environment, folder, signal mask and limits of whoever started us do not reach the roles."""
    made = make_daemon()
    read_end, write_end = os.pipe()
    extra = [os.dup(write_end) for _ in range(20)]

    def hostile():
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT, signal.SIGCHLD, signal.SIGUSR1})
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        os.chdir(folder)

    made.start(*empty_config(made), preexec=hostile, pass_fds=extra,
               env={"LD_AUDIT": "", "LD_BIND_NOT": "1", "MallocStackLogging": "1", "IFS": "x", "BASH_ENV": "/tmp/x", "SECRET": "1"})
    made.create("lab")
    os.close(write_end)
    for fd in extra:
        os.close(fd)
    # Every copy of the pipe is gone: the monitor and the roles closed theirs.
    assert wait_for(lambda: os.read(read_end, 1) == b"", 5, "the end of the pipe")
    os.close(read_end)
    for name, pid in {"monitor": made.pid, **made.children()}.items():
        if name != "monitor":  # the kernel shows what a program was started with: what the roles got is ours
            names = {entry.split(b"=")[0].decode() for entry in open(f"/proc/{pid}/environ", "rb").read().split(b"\0") if entry}
            assert names <= {"PATH", "HOME", "LANG", "TZ", "ASAN_OPTIONS", "UBSAN_OPTIONS", "UV_USE_IO_URING", "LSAN_OPTIONS"}, (name, names)
        assert os.readlink(f"/proc/{pid}/cwd") == "/", name
        blocked = int(status_of(pid)["SigBlk"], 16)
        assert not blocked & (1 << signal.SIGTERM - 1), name
