"""launchd's sockets in a whole vmswitchd, with a double of launchd (tests/fake-sdk/fake_launch.h).

Of the build with VMNET_DOUBLE alone, where daemon/activation_darwin.c takes the place of systemd's half.
"""
import errno
import json
import socket
import threading

import pytest

from activator import Activator
from conftest import empty_config
from switchd import BUILD, processes, wait_for
from vm import BROADCAST, StreamVm, frame, mac

CACHE = BUILD / "CMakeCache.txt"
pytestmark = pytest.mark.skipif(not CACHE.exists() or "VMNET_DOUBLE:BOOL=ON" not in CACHE.read_text(),
                                reason="needs a build with VMNET_DOUBLE")


class Launchd(Activator):
    """Has bound sockets, and gives each to the process that asks for it by its name: once to each process."""

    def __init__(self, daemon):
        super().__init__(daemon)
        self.asked = []
        self.path = daemon.folder / "launchd"
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(self.path))
        self.listener.listen(16)
        self.path.chmod(0o777)
        self.thread = threading.Thread(target=self._serve)
        self.thread.start()

    def __exit__(self, *more):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.thread.join()
        self.listener.close()
        super().__exit__(*more)

    def _serve(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            with client:
                name = client.recv(200).decode().strip()
                self.asked.append(name)
                if name in self.sockets:
                    socket.send_fds(client, [b"0\n"], [self.sockets[name][0].fileno()])
                else:
                    client.sendall(f"{errno.ENOENT}\n".encode())

    def start(self, *options, **more):
        return self.daemon.start(*options, env={"FAKE_LAUNCHD": str(self.path)}, **more)


def lab_config(daemon):
    path = daemon.folder / "vmswitchd.conf"
    path.write_text(json.dumps({"networks": [{"name": "lab", "mode": "internal"}]}))
    return "--config", str(path)


def test_vmnet_launchds_sockets_serve_vms_that_came_before(make_daemon):
    daemon = make_daemon()
    with Launchd(daemon) as launchd:
        launchd.bind_all("api", "attach", "lab.stream")
        inode = daemon.path("lab.stream").stat().st_ino
        for _ in range(2):
            with StreamVm(daemon.path("lab.stream"), mac(1)) as a:
                a.hello()
                launchd.start(*lab_config(daemon))
                daemon.wait_up("lab")
                with StreamVm(daemon.path("lab.stream"), mac(2)) as b:
                    b.hello()
                    a.expect(frame(BROADCAST, b.address, b"hello"))
            daemon.check_sums()
            assert daemon.stop() == 0
            assert daemon.path("lab.stream").stat().st_ino == inode
        # The datagram socket was asked for and is not in the list: ours.
        assert "lab.dgram" in launchd.asked and not daemon.path("lab.dgram").exists()


def test_vmnet_launchds_sockets_are_not_taken_for_leftovers(make_daemon):
    daemon = make_daemon()
    with Launchd(daemon) as launchd:
        launchd.bind_all("api", "lab.stream")
        launchd.start(*lab_config(daemon))
        daemon.wait_up("lab")
        assert daemon.path("lab.dgram").exists()
        daemon.kill()
        wait_for(lambda: not processes(), 20, "the end of every process")
        launchd.start(*lab_config(daemon))
        daemon.wait_up("lab")
        daemon.check_sums()
        assert daemon.stop() == 0
        assert daemon.path("lab.stream").exists()


def test_vmnet_a_process_that_launchd_did_not_start_binds_its_own(make_daemon):
    daemon = make_daemon()
    daemon.start(*empty_config(daemon))
    assert "service manager" not in daemon.log()
