"""The examples of etc/examples, as docs/integration.md tells people to use them."""
import os
import shutil
import socket
import struct
import subprocess
import sys
import textwrap

import pytest

from switchd import BUILD, ROOT, wait_for

EXAMPLES = ROOT / "etc" / "examples"

# What stands for the VM: says a frame until it hears one, on a path or on descriptor 3.
PRETEND_VM = textwrap.dedent("""
    import os, socket, struct, sys
    kind = sys.argv[1]
    if kind == "fd":
        vm = socket.socket(fileno=3)
    elif kind == "stream":
        vm = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        vm.connect(os.environ["VM_SOCKET"])
    else:
        vm = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        vm.bind(sys.argv[2])
        os.chmod(sys.argv[2], 0o666)  # the network runs as another user
        vm.connect(os.environ["VM_SOCKET"])
    frame = b"\\xff" * 6 + bytes.fromhex("525400000001") + b"\\x88\\xb5" + bytes(50)
    vm.settimeout(0.05)
    for _ in range(400):
        vm.send(frame if kind == "datagram" else struct.pack(">I", len(frame)) + frame)
        try:
            heard = vm.recv(2048)
        except TimeoutError:
            continue
        sys.exit(0 if b"neighbour" in heard else 5)
    sys.exit(6)
""")


@pytest.fixture
def vm(folder):
    script = folder / "vm.py"
    script.write_text(PRETEND_VM)
    return lambda *words: [sys.executable, str(script), *map(str, words)]


def neighbour(daemon, network):
    """Plugs in beside the example's VM, hears it, and answers it."""
    path = daemon.path(f"{network}.stream")
    wait_for(path.exists, 20, f"the network {network}, made by the example,")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as plug:
        plug.connect(str(path))
        plug.settimeout(20)
        heard = b""
        while len(heard) < 16:
            heard += plug.recv(2048)
        answer = heard[10:16] + bytes.fromhex("525400000002") + b"\x88\xb5" + b"neighbour".ljust(50, b"\0")
        plug.sendall(struct.pack(">I", len(answer)) + answer)
        yield heard[10:16].hex(":")


def run(daemon, network, *command, code=0):
    """Runs an example until its VM has talked to a neighbour; returns what it printed."""
    process = subprocess.Popen([str(word) for word in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        for mac in neighbour(daemon, network):
            assert mac == "52:54:00:00:00:01"
            said = process.communicate(timeout=30)[0]
    finally:
        process.kill()
        process.wait()
    assert process.returncode == code, said
    return said


def check_sh(daemon, vm):
    said = run(daemon, "lab", EXAMPLES / "plug.sh", daemon.api_path, "lab", "vm1", *vm("stream"))
    assert '"52:54:00:00:00:01"' in said or '"frames_in"' in said  # found again
    assert "vm1" not in daemon.ports("lab")  # cleaned up
    assert "lab" in daemon.networks()


def test_shell_makes_plugs_in_finds_again_and_cleans_up(daemon, vm):
    check_sh(daemon, vm)
    check_sh(daemon, vm)  # the network is there now


def test_shell_works_for_an_ordinary_user(user_daemon, vm):
    check_sh(user_daemon, vm)


def test_shell_says_the_commands_exit_code_and_still_cleans_up(daemon):
    daemon.create("lab")
    done = subprocess.run([EXAMPLES / "plug.sh", daemon.api_path, "lab", "vm1", "sh", "-c", "exit 7"],
                          capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 7
    assert "vm1" not in daemon.ports("lab")


def test_shell_says_what_the_api_refuses(daemon):
    done = subprocess.run([EXAMPLES / "plug.sh", daemon.api_path, "UPPER", "vm1", "true"], capture_output=True, text=True,
                          timeout=20, check=False)
    assert done.returncode != 0
    assert "400" in done.stderr or "detail" in done.stdout


def test_python_passes_a_descriptor_whose_port_goes_with_the_command(daemon, vm):
    for _ in range(2):  # absent, then there
        said = run(daemon, "lab", sys.executable, EXAMPLES / "plug.py", daemon.path("attach.sock"), daemon.api_path, "lab",
                   *vm("fd"))
        assert '"via": "fd"' in said
        wait_for(lambda: daemon.ports("lab") == {} or all(p["role"] == "uplink" for p in daemon.ports("lab").values()), 5,
                 "the end of the port")


def test_python_says_what_the_api_refuses(daemon):
    done = subprocess.run([sys.executable, EXAMPLES / "plug.py", daemon.path("attach.sock"), daemon.api_path, "UPPER", "true"],
                          capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("plug.py: ")
    assert "Traceback" not in done.stderr


@pytest.fixture(scope="module")
def go_program():
    go = shutil.which("go")
    if not go:
        pytest.skip("there is no go; etc/install-deps.sh test installs it")
    program = BUILD / "bin" / "example_plug_go"
    subprocess.run([go, "build", "-o", str(program), str(EXAMPLES / "plug.go")], check=True, timeout=300,
                   env={**os.environ, "CGO_ENABLED": "0", "GO111MODULE": "off", "GOTOOLCHAIN": "local", "GOFLAGS": "",
                        "GOCACHE": str(ROOT / "build" / "go-cache"), "GOPATH": str(ROOT / "build" / "go")})
    return program


def test_go_makes_plugs_in_finds_again_and_cleans_up(daemon, vm, folder, go_program):
    for number in range(2):
        said = run(daemon, "lab", go_program, daemon.api_path, "lab", "vm1", *vm("datagram", folder / f"vm{number}.sock"))
        assert "52:54:00:00:00:01" in said
        assert "vm1" not in daemon.ports("lab")


def test_go_says_what_the_api_refuses(daemon, go_program):
    done = subprocess.run([str(go_program), str(daemon.api_path), "UPPER", "vm1", "true"], capture_output=True, text=True,
                          timeout=20, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("plug.go: PUT /v1/networks/UPPER: ")
