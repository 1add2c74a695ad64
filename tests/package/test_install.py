"""cmake --install: each component puts its files where they belong, and the drop-ins only when they are named."""
import os
import re
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from conftest import ROOT
from machine import wait_for

SOCKET_VMNET = ["socket_vmnet", "socket_vmnet_client"]
VMNET_HELPER = ["vmnet-client", "vmnet-helper", "vmnet-run"]


def built(build, names):
    """Those of the drop-ins that this build has."""
    return [name for name in names if (build / "bin" / name).exists()]


COMPONENTS = {
    "daemon": ["usr/sbin/vmswitchd"],
    "cli": ["usr/bin/vmswitch"],
    "completions": ["usr/share/bash-completion/completions/vmswitch", "usr/share/fish/vendor_completions.d/vmswitch.fish",
                    "usr/share/zsh/site-functions/_vmswitch"],
}


def files_of_docs():
    """The documents with their pictures; what lies beside them in etc."""
    doc = "usr/share/doc/vmswitch"
    docs = [path for pattern in ("*.md", "*.png", "vmswitch.svg") for path in (ROOT / "docs").rglob(pattern)]
    return sorted([f"{doc}/README.md", f"{doc}/CHANGELOG.md", f"{doc}/openapi.yaml", f"{doc}/examples/vmswitchd.conf.example",
                   *(f"{doc}/examples/plug.{language}" for language in ("sh", "py", "go")), *(f"{doc}/{path.relative_to(ROOT)}" for path in docs)])


@pytest.mark.parametrize("component", COMPONENTS)
def test_a_component_is_these_files(install, component):
    assert install(component)[1] == COMPONENTS[component]


def test_the_documents_have_their_pictures(install):
    destination, files = install("docs")
    assert files == files_of_docs()
    pages = [page for page in (destination / "usr/share/doc/vmswitch").rglob("*.md") if page.name != "CHANGELOG.md"]
    pictures = [page.parent / picture for page in pages for picture in re.findall(r"!\[[^]]*\]\(([^)]+)\)", page.read_text())]
    assert len(pictures) >= 5 and all(picture.exists() for picture in pictures), pictures


def test_what_sets_the_drop_ins_up_is_these_files(install, build):
    names = built(build, SOCKET_VMNET + VMNET_HELPER)
    assert install("setup")[1] == sorted([*(f"usr/libexec/vmswitch/{name}" for name in names), "usr/share/vmswitch/install-dropin.sh",
                                          "usr/share/vmswitch/sudoers.d/socket_vmnet", "usr/share/vmswitch/sudoers.d/vmnet-helper"])


def test_all_components_together_are_everything(install):
    """No file is in two of them, and none is only in the whole."""
    parts = [file for component in ("daemon", "cli", "man", "completions", "docs", "setup", "systemd") for file in install(component)[1]]
    assert sorted(parts) == install(None)[1]


def test_every_manual_page_is_installed_in_its_section(install):
    pages = sorted(path.name for path in (ROOT / "etc").glob("*.[1-9]"))
    assert install("man")[1] == sorted(f"usr/share/man/man{name[-1]}/{name}" for name in pages)


def test_every_unit_is_installed_and_names_the_installed_program(install):
    destination, files = install("systemd")
    units = [str(path.relative_to(ROOT / "etc/systemd")) for path in (ROOT / "etc/systemd").glob("*/*.s*")]
    assert "system/vmswitchd.service" in units
    assert {f"usr/lib/systemd/{unit}" for unit in units} <= set(files)
    assert {"usr/lib/sysusers.d/vmswitch.conf", "usr/lib/tmpfiles.d/vmswitch.conf"} <= set(files)
    for unit in units:
        for line in (destination / "usr/lib/systemd" / unit).read_text().splitlines():
            assert not line.startswith("ExecStart=") or line.startswith("ExecStart=/usr/sbin/vmswitchd")


def test_units_name_the_program_below_another_prefix(tmp_path):
    done = subprocess.run(["cmake", "-S", str(ROOT), "-B", str(tmp_path), "-G", "Ninja", "-DCMAKE_INSTALL_PREFIX=/opt/x"], check=False,
                          capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "etc/system/vmswitchd.service").read_text()
    assert "ExecStart=/opt/x/sbin/vmswitchd" in text and "/usr/sbin/vmswitchd" not in text
    # Nothing else of it has changed: a ";" or a "[" is not eaten on the way.
    assert text.replace("/opt/x/sbin", "/usr/sbin") == (ROOT / "etc/systemd/system/vmswitchd.service").read_text()


def test_everything_but_the_drop_ins_is_installed_where_nothing_is_named(install, build):
    _, files = install(None)
    assert not [path for path in files if not path.startswith("usr/")]
    for wanted in ("usr/sbin/vmswitchd", "usr/bin/vmswitch", "usr/share/vmswitch/install-dropin.sh", "usr/share/vmswitch/sudoers.d/vmnet-helper",
                   "usr/share/doc/vmswitch/docs/architecture.md", "usr/share/doc/vmswitch/examples/plug.sh"):
        assert wanted in files
    for name in built(build, SOCKET_VMNET + VMNET_HELPER):
        assert f"usr/libexec/vmswitch/{name}" in files


def test_the_drop_ins_lie_where_their_clients_look(install, build):
    """Drop-in 1: /opt/socket_vmnet/bin/socket_vmnet; minikube: /opt/vmnet-helper/bin/vmnet-helper."""
    destination, files = install("socket_vmnet")
    assert files == [f"opt/socket_vmnet/bin/{name}" for name in built(build, SOCKET_VMNET)]
    assert install("vmnet_helper")[1] == [f"opt/vmnet-helper/bin/{name}" for name in built(build, VMNET_HELPER)]
    for path in files:
        assert not (destination / path).is_symlink()
        subprocess.run([str(destination / path), "--help"], check=False, capture_output=True, timeout=10)


def test_homebrews_layout_is_below_the_prefix(install, build):
    """minikube and Lima also look in PREFIX/opt/socket_vmnet/bin and PREFIX/opt/vmnet-helper/libexec."""
    names = ("SOCKET_VMNET_BINDIR", "VMNET_HELPER_BINDIR")

    def configure(*folders):
        subprocess.run(["cmake", "-S", str(ROOT), "-B", str(build), *(f"-D{name}={folder}" for name, folder in zip(names, folders))],
                       check=True, capture_output=True, timeout=120)
    try:
        configure("opt/socket_vmnet/bin", "opt/vmnet-helper/libexec")
        assert install("socket_vmnet", "--prefix", "/usr/local")[1] == [f"usr/local/opt/socket_vmnet/bin/{name}"
                                                                       for name in built(build, SOCKET_VMNET)]
        assert install("vmnet_helper", "--prefix", "/usr/local")[1] == [f"usr/local/opt/vmnet-helper/libexec/{name}"
                                                                       for name in built(build, VMNET_HELPER)]
    finally:
        configure("/opt/socket_vmnet/bin", "/opt/vmnet-helper/bin")


def test_install_dropin_finds_the_installed_programs(install, build, tmp_path):
    """As an administrator does after "cmake --install": no --from."""
    if not built(build, ["socket_vmnet_client"]):
        pytest.skip("this build has no drop-ins")
    destination, _ = install(None)
    root = tmp_path / "root"
    root.mkdir(mode=0o755)
    subprocess.run([str(destination / "usr/share/vmswitch/install-dropin.sh"), "--root", str(root), "install", "socket_vmnet"], check=True,
                   capture_output=True, timeout=60)
    for name in SOCKET_VMNET:
        assert (root / "opt/socket_vmnet/bin" / name).read_bytes() == (build / "bin" / name).read_bytes()


def test_nothing_installed_depends_on_the_build_folder(install):
    destination, files = install(None)
    for path in files:
        assert str(ROOT).encode() not in (destination / path).read_bytes() or path.startswith(("usr/sbin", "usr/bin", "usr/libexec")), path


def test_daemon_and_command_line_run_from_where_each_alone_was_installed(install, tmp_path):
    """Each from a folder with nothing else in it: they find each other by the socket."""
    daemon, cli = install("daemon")[0] / "usr/sbin/vmswitchd", install("cli")[0] / "usr/bin/vmswitch"
    config = tmp_path / "conf"
    config.write_text('{"networks": [{"name": "lab", "mode": "internal"}]}')
    with tempfile.TemporaryDirectory(prefix="vmsw-", dir="/tmp") as folder:
        folder = Path(folder)
        folder.chmod(0o755)
        with open(tmp_path / "log", "wb") as log:
            process = subprocess.Popen([str(daemon), "--config", str(config), "--runtime-dir", str(folder / "run"), "--state-dir",
                                        str(folder / "state")], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            wait_for(lambda: process.poll() is not None or (folder / "run/api.sock").exists(), 10, "the socket")
            said = subprocess.run([str(cli), "--socket", str(folder / "run/api.sock"), "health"], capture_output=True, text=True, timeout=20,
                                  check=False)
            assert said.returncode == 0 and re.search(r"lab +(up|starting)", said.stdout), said.stdout + said.stderr + (tmp_path / "log").read_text()
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(10) == 0


def test_installed_programs_say_their_version(install):
    destination, _ = install(None)
    for program in ("usr/sbin/vmswitchd", "usr/bin/vmswitch"):
        said = subprocess.run([str(destination / program), "--version"], check=True, capture_output=True, text=True, timeout=10).stdout
        assert "0.1.0" in said
    done = subprocess.run([sys.executable, str(destination / "usr/share/doc/vmswitch/examples/plug.py"), "/x", "/x", "lab", "true"],
                          capture_output=True, text=True, check=False, env=dict(os.environ))
    assert done.returncode != 0
