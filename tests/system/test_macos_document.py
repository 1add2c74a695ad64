"""docs/macos.md, by the word: what can run on Linux is run, what can't is listed here with the reason.

The commands are taken from the document. Paths are those of a daemon of the test; QEMU, vfkit and krunkit are pretended
(tests/lib/pretend_hypervisor.py), and QEMU is also the real one where its words are the same here. With the double of vmnet the
networks are vmnet's, else libslirp's.
"""
import json
import os
import re
import shlex
import subprocess

import pytest

from guest import Guest
from launchd import HAS_DOUBLE
from switchd import BIN, BUILD, ROOT, wait_for
from vm import StreamVm, frame, mac

TEXT = (ROOT / "docs/macos.md").read_text()
HYPERVISORS = ("qemu-system-aarch64", "vfkit", "krunkit")

# Of the blocks: who runs it instead.
ELSEWHERE = {
    "etc/install-deps.sh build": "tests/run.sh",
    "cmake --preset release && cmake --build build/release": ".ci/run release",
    "sudo etc/macos/install.sh": "test_launchd.py, test_vmnet_service.py",
    "sudo tests/macos/smoke.sh": "test_vmnet_smoke.py",
    "tail /var/log/vmswitchd.log": "test_vmnet_service.py: the log is where the property list says",
}
# Programs of macOS's own in the tables: nobody has them here.
MAC_TOOLS = {"socketfilterfw", "launchctl", "networksetup", "pfctl", "route", "netstat", "codesign", "plutil", "pmset", "log", "top", "xcode-select",
             "sysctl"}


def section(heading):
    """The text of a heading, with what is below it."""
    level = len(heading) - len(heading.lstrip("#"))
    begin = TEXT.index(f"\n{heading}\n") + 1
    end = re.search(rf"^#{{1,{level}}} ", TEXT[begin + len(heading):], re.M)
    return TEXT[begin:begin + len(heading) + end.start()] if end else TEXT[begin:]


def commands(text):
    """Of its blocks of sh: whole commands, without comments."""
    found = []
    for block in re.findall(r"^```sh\n(.*?)^```$", text, re.M | re.S):
        lines = block.replace("\\\n", " ").splitlines()
        found += [re.sub(r"\s+", " ", re.sub(r"\s+# .*", "", line)).strip() for line in lines]
    return [command for command in found if command]


def hypervisor_commands():
    return [command for command in commands(TEXT) if any(name in command.split() for name in HYPERVISORS)]


@pytest.fixture
def lan(make_daemon, folder):
    """A daemon with the document's first network, the programs in PATH, and what runs a command of the document."""
    daemon = make_daemon()
    config = daemon.folder / "vmswitchd.conf"
    config.write_text('{"networks": []}')
    daemon.start("--config", str(config), env={"FAKE_MACOS_VERSION": "15.4"} if HAS_DOUBLE else None)
    tools = folder / "tools"
    tools.mkdir()
    for name in HYPERVISORS:
        (tools / name).symlink_to(ROOT / "tests/lib/pretend_hypervisor.py")
    environment = {**os.environ, "PATH": f"{tools}:{BIN}:{os.environ['PATH']}", "VMSWITCH_SOCKET": str(daemon.api_path)}

    def here(command):
        for there in ("/var/run/vmswitch", "/tmp/vmswitch-$(id -u)"):
            command = command.replace(there, str(daemon.runtime))
        command = command.replace("/opt/vmswitch/bin/", "").replace(" ... ", " ")
        return command if HAS_DOUBLE else command.replace("--uplink vmnet", "--uplink user")

    def start(command, **more):
        return subprocess.Popen(["bash", "-c", here(command)], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **more)

    def run(command):
        process = start(command)
        said, _ = process.communicate(timeout=30)
        assert process.returncode == 0, f"{command}: {said}"
        return said

    lan = type("Lan", (), {"daemon": daemon, "start": staticmethod(start), "run": staticmethod(run), "here": staticmethod(here)})
    for command in commands(section("## The first VM").split("\n### ")[0]):
        run(command)
    daemon.wait_up("lan")
    return lan


def test_every_command_of_the_blocks_is_run_by_a_test():
    ours = {command for command in commands(TEXT) if command.startswith(("vmswitch ", "/opt/vmswitch/bin/vmswitch "))}
    left = [command for command in commands(TEXT) if command not in ELSEWHERE and command not in ours and command not in hypervisor_commands()]
    assert left == []
    assert set(ELSEWHERE) <= set(commands(TEXT)), "what is no longer in the document needs nobody to run it"
    assert len(hypervisor_commands()) == 5


def test_our_own_commands_work(lan):
    """Those of the blocks, in their order, where no hypervisor is in them."""
    run = [command for command in commands(TEXT) if command.startswith(("vmswitch ", "/opt/vmswitch/bin/vmswitch ")) and
           command not in hypervisor_commands() and " create " not in command]
    assert {command.split()[1] for command in run} >= {"networks", "health", "ports", "port"}
    for command in run:
        lan.run(command)
    assert "lan" in lan.run("vmswitch networks")


def test_commands_of_ours_in_the_text_are_known(lan):
    """`vmswitch fdb lan` and the like, between backticks."""
    found = set(re.findall(r"`(vmswitch [a-z][^`]*)`", TEXT))
    assert {command.split()[1] for command in found} >= {"health", "fdb", "interfaces", "networks", "port", "run"}
    unlike = {"vmswitch run"} | {command for command in found if " lan2 " in command}  # those of the blocks; and those that are refused
    for command in sorted(found - unlike):  # create comes before delete
        lan.run(command)


@pytest.mark.parametrize("command", hypervisor_commands(), ids=lambda command: re.sub(r"[^a-z]+", "-", " ".join(
    word for word in command.split() if word in HYPERVISORS or "net" in word))[:50])
def test_a_hypervisor_with_these_words_is_in_the_network(lan, command):
    """It says hello, a VM on the network's stream answers to the address in the command, and it ends well."""
    daemon = lan.daemon
    for earlier in commands(TEXT):
        if earlier.startswith("vmswitch port add") and f"lan.{earlier.split()[-1]}." in command:
            lan.run(earlier)
    address = re.search(r"mac=([0-9a-f:]+)", command)[1]
    with StreamVm(daemon.path("lan.stream"), mac(1)) as vm:
        process = lan.start(command, umask=0)
        # An uplink says things, too.
        wait_for(lambda: address in daemon.fdb("lan"), 20, f"{command}: its address")
        vm.send(frame(address, vm.address, b"welcome"))
        said, _ = process.communicate(timeout=20)
        assert process.returncode == 0, said
    kind = "stream" if ".stream" in command else "datagram"
    assert said.split()[-1] == kind, said
    wait_for(lambda: not [port for port in daemon.ports("lan").values() if port["role"] == "vm" and port["via"] == "fd"],
             what="a passed descriptor's port going with its program")


def test_krunkits_offloading_port_takes_what_it_sends(lan):
    """`vmswitch port add lan big --offload raw`, and its path."""
    text = section("### krunkit")
    command = re.search(r"`(vmswitch port add [^`]*--offload raw)`", text)[1]
    lan.run(command)
    assert lan.daemon.port("lan", "big")["offload"] == "raw"
    assert re.search(r"`path=\.\.\./(lan\.big\.stream)`", text) and lan.daemon.path("lan.big.stream").exists()


def netdev(heading, kind):
    words = re.search(rf"-netdev {kind},id=n0,(\S+?)[ `,]*(?:`|\s)", section(heading))[1]
    return f"{kind},{words.rstrip('`,')}"


@pytest.mark.guest
def test_qemu_itself_takes_the_words_for_a_stream(lan):
    words = netdev("### QEMU, on a stream", "stream").replace("/var/run/vmswitch", str(lan.daemon.runtime))
    assert words.endswith(",reconnect-ms=500")
    with Guest(words.removesuffix(",reconnect-ms=500")).ready() as guest:  # which this QEMU may not know: 9.2
        assert guest.dhcp()


@pytest.mark.guest
def test_qemu_itself_takes_the_words_for_a_descriptor(lan):
    """`dgram`, which is for a QEMU whose tap refuses the descriptor, as it does on Linux."""
    wrap = shlex.split(lan.here(next(command for command in commands(section("### QEMU, on a datagram descriptor")))))
    wrap = wrap[:wrap.index("--") + 1]
    wrap[0] = str(BIN / "vmswitch")
    environment = {**os.environ, "VMSWITCH_SOCKET": str(lan.daemon.api_path)}
    with Guest(netdev("### QEMU, on a datagram descriptor", "dgram"), wrap=wrap, env=environment).ready() as guest:
        assert guest.dhcp()


def test_the_configuration_of_a_bridged_network_is_one(make_daemon):
    text = re.search(r"^```json\n(.*?)^```$", section("## Bridged"), re.M | re.S)[1]
    config = json.loads(text)
    daemon = make_daemon()
    path = daemon.folder / "vmswitchd.conf"
    path.write_text(text if HAS_DOUBLE else json.dumps({**config, "networks": []}))
    daemon.start("--config", str(path), env={"FAKE_MACOS_VERSION": "15.4"} if HAS_DOUBLE else None)
    if HAS_DOUBLE:
        wait_for(lambda: daemon.health("office")["uplink"]["state"] == "up", what="the bridged network being up")


def test_troubleshooting_has_for_each_topic_what_is_seen_a_check_and_a_fix():
    text = section("## When something does not work")
    topics = text.split("\n### ")[1:]
    for words in ("firewall, bootpd", "Local Network privacy", "VPN", "Wi-Fi", "Internet Sharing"):
        assert any(words in topic.splitlines()[0] for topic in topics), words
    for topic in topics:
        rows = [row for row in re.findall(r"^\| (.*) \|$", topic, re.M) if not row.startswith("---") and row != "check | fix"]
        assert "| check | fix |" in topic and rows, topic.splitlines()[0]
        for row in rows:
            cells = re.split(r"(?<!\\) \| ", row)
            assert len(cells) == 2 and all(len(cell) > 10 for cell in cells), row


def test_what_only_a_mac_has_is_a_tool_of_macos():
    """In the tables, a command that begins with a word nobody knows would be a mistake."""
    known = MAC_TOOLS | {"vmswitch", "vmswitchd", "sudo", "ping", "grep", "ps", "find", "echo", "send", "restart"}
    for span in re.findall(r"`((?:sudo )?(?:/\S+/)?[a-z_-]+ -[^`]*)`", section("## When something does not work")):
        word = os.path.basename(span.removeprefix("sudo ").split()[0])
        assert word in known or (ROOT / span.split()[0]).exists() or span.startswith("chmod"), span


def test_the_smoke_tests_names_are_those_of_the_script():
    """Each name in the last table is a check of tests/macos/smoke.sh, and each check that needs a Mac is in the table."""
    script = (ROOT / "tests/macos/smoke.sh").read_text()
    checks = set(re.findall(r"\b(?:check|pass|bad|skip) ([a-z][\w-]*[a-z])(?= |$)", script, re.M)) | \
        {f"vmnet-{mode}{more}" for mode in ("shared", "host") for more in ("", "-dhcp")}
    table = section("## What only a Mac can tell")
    named = set(re.findall(r"`([a-z]+(?:-[a-z]+)+|start|sigterm)`", table)) - {"vmnet-run", "vmnet-helper"}  # programs
    assert named and named <= checks, named - checks
    of_a_mac = {name for name in checks if name.startswith(("vmnet-", "service-", "broker-"))}
    assert of_a_mac <= named, of_a_mac - named
