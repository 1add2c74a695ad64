"""What the roles may still do once they have started (S08, S10), and what is said where that cannot be had.

What each may not do is tried from inside by tests/unit/daemon/test_sandbox.c (S09).
"""
import ctypes
import os
import signal

import pytest

from conftest import empty_config
from front import family
from switchd import HAS_SANDBOX, status_of, wait_for
from vm import BROADCAST, StreamVm, frame, mac

pytestmark = pytest.mark.skipif(not HAS_SANDBOX, reason="a build as for macOS has no sandbox")

WHOLE = {"mode": "on", "system_calls": True, "files": True, "missing": None}


def modes(made):
    """Of each role's system call filter, as the kernel has it."""
    return {name: status_of(pid)["Seccomp"] for name, pid in made.children().items()}


def test_S08_every_role_is_in_its_sandbox(daemon):
    daemon.create("nat", mode="shared", uplink="user")
    wait_for(lambda: "uplink nat" in daemon.children(), what="the uplink's process")
    assert daemon.ask("GET", "/v1")["sandbox"] == WHOLE
    wait_for(lambda: modes(daemon) == {"control": "2", "network nat": "2", "uplink nat": "2"}, what="every filter")


@pytest.mark.parametrize("mode, seccomp", [("log", "2"), ("off", "0")])
def test_a_diagnosis_is_possible_and_is_said_to_be_one(make_daemon, mode, seccomp):
    made = make_daemon()
    made.start(*empty_config(made), "--sandbox", mode)
    made.create("lab")
    assert made.ask("GET", "/v1")["sandbox"] == {"mode": mode, "system_calls": mode == "log", "files": False, "missing": None}
    assert set(modes(made).values()) == {seccomp}
    assert f"--sandbox={mode}" in made.log()


def test_a_role_that_breaks_out_is_named_and_started_again(daemon, net):
    daemon.expects_failure = daemon.expects_sigsys = True
    pid = daemon.network("lab")["pid"]
    os.kill(pid, signal.SIGSYS)
    wait_for(lambda: f"network lab, pid {pid}, was ended by SIGSYS" in daemon.log(), what="the line")
    assert "--sandbox=log" in daemon.log()
    wait_for(lambda: daemon.network("lab")["pid"] not in (None, 0, pid), 20, "another process")


def refuse_sandboxes():
    """As a container does that lets none of its processes have a filter of its own."""
    seccomp = ctypes.CDLL("libseccomp.so.2")
    seccomp.seccomp_init.restype = ctypes.c_void_p
    context = ctypes.c_void_p(seccomp.seccomp_init(0x7FFF0000))  # SCMP_ACT_ALLOW

    class Compare(ctypes.Structure):
        _fields_ = [("arg", ctypes.c_uint), ("op", ctypes.c_int), ("a", ctypes.c_uint64), ("b", ctypes.c_uint64)]

    not_implemented = 0x00050000 | 38  # SCMP_ACT_ERRNO(ENOSYS)
    of = lambda name: seccomp.seccomp_syscall_resolve_name(name)
    set_seccomp = Compare(0, 4, 22, 0)  # SCMP_CMP_EQ, PR_SET_SECCOMP
    assert seccomp.seccomp_rule_add_array(context, not_implemented, of(b"prctl"), 1, ctypes.byref(set_seccomp)) == 0
    for number in (of(b"seccomp"), 444):  # landlock_create_ruleset
        assert seccomp.seccomp_rule_add_array(context, not_implemented, number, 0, None) == 0
    assert seccomp.seccomp_load(context) == 0


@pytest.mark.root
def test_where_there_is_no_sandbox_it_is_said_and_the_rest_works(make_daemon):
    made = make_daemon()
    made.start(*empty_config(made), preexec=refuse_sandboxes)
    made.create("lab")
    said = made.ask("GET", "/v1")["sandbox"]
    assert (said["mode"], said["system_calls"], said["files"]) == ("on", False, False)
    assert "seccomp" in said["missing"] and "Landlock" in said["missing"]
    assert made.log().count("the sandbox is incomplete") == 1, "one line, not one for each role"
    with StreamVm(made.path("lab.stream"), mac(1)) as a, StreamVm(made.path("lab.stream"), mac(2)) as b:
        a.hello()
        b.hello()
        a.expect(frame(BROADCAST, b.address, b"hello"))


@pytest.mark.parametrize("env, seccomp", [({}, "2"), ({"VMSWITCH_SANDBOX": "off"}, "0")])
def test_S08_socket_vmnet_is_in_a_sandbox_too(start_front, folder, env, seccomp):
    front = start_front("socket_vmnet", folder / "s", env={"VMSWITCH_UPLINK": "user", **env}).wait_ready()
    with StreamVm(folder / "s", mac(1)) as a, StreamVm(folder / "s", mac(2)) as b:
        a.hello()
        b.hello()
        a.expect(frame(BROADCAST, b.address, b"hello"))
        for pid in (front.pid, wait_for(lambda: family(front.pid).get("uplink"), 5, "the uplink")):
            assert status_of(pid)["Seccomp"] == seccomp


def test_S08_the_uplink_of_vmnet_helper_is_in_a_sandbox(start_front, folder):
    front = start_front("vmnet-helper", "--socket", folder / "h", env={"VMSWITCH_UPLINK": "user"})
    uplink = wait_for(lambda: family(front.pid).get("uplink"), 10, "the uplink")
    wait_for(lambda: status_of(uplink)["Seccomp"] == "2", what="its filter")
