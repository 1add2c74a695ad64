"""A service manager of a test's own: binds sockets, starts a daemon that gets them, hears how it is.

It speaks systemd's protocol: descriptors from 3 on, LISTEN_PID, LISTEN_FDS, LISTEN_FDNAMES, and datagrams to NOTIFY_SOCKET.
The sockets are ours and stay when the daemon ends, as systemd's do.
"""
import fcntl
import os
import socket
from pathlib import Path

FIRST_COPY = 200  # above what the test has open, so that 3, 4, ... are free to be made from it


class Activator:
    def __init__(self, daemon):
        self.daemon = daemon
        self.sockets = {}  # name -> (socket, path)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for sock, path in self.sockets.values():
            sock.close()
            if path is not None:
                path.unlink(missing_ok=True)

    def inode(self, name):
        return os.fstat(self.sockets[name][0].fileno()).st_ino

    def bind(self, name, path=None, kind=socket.SOCK_STREAM, mode=0o600, listens=True):
        """One socket, in the runtime folder unless said otherwise: its file is called as its name says."""
        file = {"api": "api.sock", "attach": "attach.sock"}.get(name, name)
        path = Path(path or self.daemon.path(file))
        sock = socket.socket(socket.AF_UNIX, kind)
        sock.bind(str(path))
        path.chmod(mode)
        if kind == socket.SOCK_STREAM and listens:
            sock.listen(16)
        self.sockets[name] = (sock, path)
        return path

    def bind_all(self, *names):
        for name in names:
            self.bind(name, kind=socket.SOCK_DGRAM if name.endswith(".dgram") else socket.SOCK_STREAM)

    def start(self, *options, names=None, fds=None, pid="$$", env=None, **more):
        """The daemon with the sockets, in the order they were bound. Whatever is said to it may be said otherwise."""
        fds = [sock.fileno() for sock, _ in self.sockets.values()] if fds is None else fds
        names = ":".join(self.sockets) if names is None else names
        copies = [fcntl.fcntl(fd, fcntl.F_DUPFD, FIRST_COPY) for fd in fds]
        moves = " ".join(f"{3 + i}<&{copy} {copy}<&-" for i, copy in enumerate(copies))
        script = self.daemon.folder / "start.sh"
        binary = self.daemon.binary
        # bash: dash knows descriptors of one digit only.
        script.write_text(f"#!/bin/bash\n{f'exec {moves}' if moves else ''}\nexport LISTEN_PID={pid}\nexec {binary} \"$@\"\n")
        script.chmod(0o755)
        self.daemon.binary = script
        told = {"LISTEN_FDS": str(len(fds)), **({"LISTEN_FDNAMES": names} if names != "" else {}), **(env or {})}
        try:
            return self.daemon.start(*options, env=told, pass_fds=copies, **more)
        finally:
            self.daemon.binary = binary
            for copy in copies:
                os.close(copy)


class Notified:
    """Listens where a service manager does; what came is in 'messages', oldest first."""

    def __init__(self, address):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(address)
        self.variable = address if isinstance(address, str) else "@" + address[1:].decode()
        if isinstance(address, str):
            os.chmod(address, 0o777)
        self.messages = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def hear(self, seconds=10):
        """The next message as a dict; None if none comes."""
        self.socket.settimeout(seconds)
        try:
            text = self.socket.recv(4096).decode()
        except TimeoutError:
            return None
        assert text.endswith("\n"), text
        message = dict(line.split("=", 1) for line in text.splitlines())
        self.messages.append(message)
        return message
