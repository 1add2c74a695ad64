"""vmswitchd_faulty: a vmswitchd each of whose processes fails the calls that a test names (tests/lib/faults.c)."""
import errno
import http.client
import mmap

from switchd import BUILD, Answer

FOLDER = BUILD / "faults"
KINDS = ("memory", "accept", "recvmsg", "sendmsg", "recv", "send", "recvmmsg", "sendmmsg", "socket", "socketpair", "openat", "connect", "wait")
FIELDS = ("calls", "from", "until", "hits", "error")


def place(kind, field):
    return KINDS.index(kind) * len(FIELDS) + FIELDS.index(field)


class Faults:
    """Of one process. Each number is written in one piece, while the process runs."""

    def __init__(self, pid):
        with open(FOLDER / str(pid), "r+b") as file:
            self.page = memoryview(mmap.mmap(file.fileno(), 0)).cast("Q")

    def calls(self, kind):
        return self.page[place(kind, "calls")]

    def hits(self, kind):
        return self.page[place(kind, "hits")]

    def arm(self, kind, k=0, n=1, error=errno.ENOMEM):
        """Lets n calls fail, from the next but k on."""
        self.page[place(kind, "until")] = 0
        self.page[place(kind, "hits")] = 0
        self.page[place(kind, "error")] = error
        begin = self.calls(kind) + k
        self.page[place(kind, "from")] = begin
        self.page[place(kind, "until")] = begin + n

    def forget(self):
        """Returns how many allocations have failed since it was last asked."""
        hits = self.hits("memory")
        self.page[place("memory", "hits")] = 0
        return hits

    def disarm(self, kind):
        """Returns how many have failed."""
        self.page[place(kind, "until")] = 0
        return self.hits(kind)


def plan(role, kind, k, n=1, error=errno.ENOMEM):
    """Every process of that role that is started from now on begins with this."""
    page = [0] * (len(KINDS) * len(FIELDS))
    for field, value in (("from", k), ("until", k + n), ("error", error)):
        page[place(kind, field)] = value
    (FOLDER / f"plan.{role}").write_bytes(b"".join(number.to_bytes(8, "little") for number in page))


def unplan(role):
    (FOLDER / f"plan.{role}").unlink(missing_ok=True)


def pids():
    """Of all processes that there have been since clear()."""
    return [int(path.name) for path in FOLDER.iterdir() if path.name.isdigit() and path.stat().st_size]


def clear():
    for path in FOLDER.iterdir():
        path.unlink(missing_ok=True)


def outcome(daemon, method, path, body=None):
    """The answer, or a status of 0 if the connection was dropped before it was whole."""
    try:
        return daemon.request(method, path, body)
    except (http.client.HTTPException, ConnectionError):
        return Answer(0, {}, "")


def shape(value):
    """What an answer is made of, without what differs from one to the next."""
    if isinstance(value, dict):
        return {key: shape(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [shape(inner) for inner in value]
    return type(value).__name__
