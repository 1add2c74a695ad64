"""perf/machine.py - what the measuring machine is and does: CPU and memory of processes, quiet, network namespaces"""
import contextlib
import glob
import os
import platform
import resource
import subprocess
import time

QUIET_BUSY, QUIET_S = 0.35, 0.1
DISTURBED_BUSY = 0.4


def read_first_line(path):
    try:
        with open(path) as file:
            return file.readline().strip()
    except OSError:
        return None


def facts(root):
    """What the figures were measured on."""
    model = None
    with open("/proc/cpuinfo") as file:
        for line in file:
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=root, capture_output=True, text=True)
    return {"system": platform.platform(), "cpu": model, "cores": os.cpu_count(),
            "wmem_default": read_first_line("/proc/sys/net/core/wmem_default"),
            "wmem_max": read_first_line("/proc/sys/net/core/wmem_max"),
            "max_dgram_qlen": read_first_line("/proc/sys/net/unix/max_dgram_qlen"),
            "commit": commit.stdout.strip(), "user": os.geteuid()}


def busy_s():
    """Seconds of CPU spent by all cores so far."""
    with open("/proc/stat") as file:
        user, nice, system, _, _, irq, softirq = map(int, file.readline().split()[1:8])
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")


def wait_for_quiet(limit_s):
    end = time.monotonic() + limit_s
    while time.monotonic() < end:
        before = busy_s()
        time.sleep(QUIET_S)
        if (busy_s() - before) / QUIET_S < QUIET_BUSY:
            return


def least_disturbed(measure_once, tries):
    """The result with the least "other_busy" (cores used by nobody we know) of up to 'tries', marked if it was much."""
    best = None
    for _ in range(tries):
        result = measure_once()
        result["is_disturbed"] = result["other_busy"] > DISTURBED_BUSY
        if best is None or result["other_busy"] < best["other_busy"]:
            best = result
        if not best["is_disturbed"]:
            break
    return best


def tree(pid):
    """'pid' and all processes below it."""
    children = {}
    for path in glob.glob("/proc/[0-9]*/stat"):
        try:
            with open(path) as file:
                text = file.read()
        except OSError:
            continue
        parent = int(text.rpartition(")")[2].split()[1])
        children.setdefault(parent, []).append(int(text.split(" ", 1)[0]))
    found = [pid]
    for one in found:
        found += children.get(one, [])
    return found


def cpu_ns(pids):
    """CPU time that all threads of these processes have spent, by the scheduler's own clock."""
    total = 0
    for pid in pids:
        for path in glob.glob("/proc/%d/task/*/schedstat" % pid):
            total += int((read_first_line(path) or "0").split()[0])
    return total


def cpu_of_children_s():
    """CPU time of all children that have ended and were waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def memory_kb(pids):
    """(resident, proportional) KB of these processes: 'proportional' divides a shared page among its users."""
    rss = pss = 0
    for pid in pids:
        with contextlib.suppress(OSError), open("/proc/%d/smaps_rollup" % pid) as file:
            for line in file:
                name, _, value = line.partition(":")
                if name in ("Rss", "Pss"):
                    kb = int(value.split()[0])
                    rss, pss = (rss + kb, pss) if name == "Rss" else (rss, pss + kb)
    return rss, pss


class Namespace:
    """A network namespace with nothing but its loopback. Held by a process that ends when this one does, however that
    happens: the kernel then takes back all interfaces in it."""

    def __init__(self):
        self.process = None

    def __enter__(self):
        self.process = subprocess.Popen(
            ["unshare", "--net", "sh", "-c", "ip link set lo up && echo up && exec cat > /dev/null"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        if self.process.stdout.readline() != "up\n":
            self.__exit__()
            raise OSError("no network namespace could be made")
        # IPv6 would chat on its own; the limit of waiting datagrams is to be that of the machine.
        settings = {"net.ipv6.conf.all.disable_ipv6": "1", "net.ipv6.conf.default.disable_ipv6": "1",
                    "net.unix.max_dgram_qlen": read_first_line("/proc/sys/net/unix/max_dgram_qlen")}
        self.run("sh", "-c", " ".join("echo %s > /proc/sys/%s;" % (value, name.replace(".", "/"))
                                      for name, value in settings.items() if value) + " true", check=False)
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait()

    def command(self, words):
        """'words', to be run in here."""
        return ["nsenter", "--net=/proc/%d/ns/net" % self.process.pid, "--"] + list(words)

    def run(self, *words, check=True):
        return subprocess.run(self.command(words), check=check, capture_output=True, text=True).stdout
