"""etc/install-dropin.sh, in a folder that it takes for /: what it puts where, what it keeps, and what it refuses."""
import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "etc" / "install-dropin.sh"
LAYOUTS = {
    "socket_vmnet": ("opt/socket_vmnet/bin", ["socket_vmnet", "socket_vmnet_client"]),
    "vmnet-helper": ("opt/vmnet-helper/bin", ["vmnet-helper", "vmnet-run", "vmnet-client"]),
    "colima": ("opt/colima/bin", ["socket_vmnet", "socket_vmnet_client"]),
}
every_layout = pytest.mark.parametrize("layout", LAYOUTS)


def program(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho {text}\n")
    path.chmod(0o755)


@pytest.fixture
def place(tmp_path):
    """A root with /opt, and programs of ours to install."""
    tmp_path.chmod(0o755)
    (tmp_path / "root" / "opt").mkdir(parents=True)
    for path in (tmp_path / "root", tmp_path / "root" / "opt"):
        path.chmod(0o755)
    for name in {name for _, names in LAYOUTS.values() for name in names}:
        program(tmp_path / "ours" / name, f"ours {name}")
    return tmp_path


def dropin(place, *words, code=0, script=SCRIPT, env=None):
    done = subprocess.run([str(script), "--root", str(place / "root"), "--from", str(place / "ours"), *words], text=True,
                          capture_output=True, timeout=30, check=False, env={**os.environ, **(env or {})})
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def tree(path):
    """Every file below, with its mode and bytes, and every symlink."""
    return {str(at.relative_to(path)): os.readlink(at) if at.is_symlink() else (oct(at.stat().st_mode), at.read_bytes())
            for at in sorted(path.rglob("*")) if at.is_symlink() or at.is_file()}


@every_layout
def test_files_of_their_own_names_and_of_no_others(place, layout):
    """Drop-in 1, 16: real files, not symlinks; folders that only root can write."""
    folder, names = LAYOUTS[layout]
    os.umask(0o000)  # whatever the caller's is
    try:
        dropin(place, "install", layout)
    finally:
        os.umask(0o022)
    bin_folder = place / "root" / folder
    assert sorted(path.name for path in bin_folder.iterdir()) == sorted([*names, ".vmswitch-installed"])
    for name in names:
        status = (bin_folder / name).lstat()
        assert stat.S_ISREG(status.st_mode) and stat.S_IMODE(status.st_mode) == 0o755
        assert status.st_uid == os.getuid()
    for path in (bin_folder, bin_folder.parent):
        assert stat.S_IMODE(path.stat().st_mode) == 0o755
    assert "of somebody else" not in dropin(place, "status", layout)


@every_layout
def test_switching_over_and_back_leaves_what_was(place, layout):
    folder, names = LAYOUTS[layout]
    bin_folder = place / "root" / folder
    for name in names[:-1]:
        program(bin_folder / name, f"former {name}")
    (bin_folder / names[0]).chmod(0o4755)
    (bin_folder / names[-1]).symlink_to(names[0])
    (bin_folder / "else").write_text("not ours")
    for path in (bin_folder, bin_folder.parent):
        path.chmod(0o755)
    before = tree(place / "root")
    said = dropin(place, "install", layout)
    assert f"To switch back: sudo {SCRIPT} uninstall {layout}" in said
    for name in names:
        assert (bin_folder / name).read_text() == f"#!/bin/sh\necho ours {name}\n"
    dropin(place, "install", layout)  # again: ours is not taken for what was
    program(place / "ours" / names[0], "newer")
    dropin(place, "install", layout)  # an upgrade neither
    dropin(place, "uninstall", layout)
    assert tree(place / "root") == before


@every_layout
def test_switching_back_where_nothing_was_leaves_nothing(place, layout):
    dropin(place, "install", layout)
    dropin(place, "uninstall", layout)
    assert list((place / "root" / "opt").iterdir()) == []
    assert "not there" in dropin(place, "status", layout)
    dropin(place, "uninstall", layout)


def test_what_others_put_there_since_is_kept(place):
    bin_folder = place / "root" / "opt/socket_vmnet/bin"
    dropin(place, "install", "socket_vmnet")
    program(bin_folder / "socket_vmnet", "a new release of the other")
    assert "left /opt/socket_vmnet/bin/socket_vmnet alone" in dropin(place, "uninstall", "socket_vmnet")
    assert "a new release" in (bin_folder / "socket_vmnet").read_text()
    assert not (bin_folder / "socket_vmnet_client").exists()
    dropin(place, "install", "socket_vmnet")
    assert "a new release" in (bin_folder / "socket_vmnet.before-vmswitch").read_text()


def test_killed_between_two_files_it_still_knows_what_was(place):
    bin_folder = place / "root" / "opt/socket_vmnet/bin"
    program(bin_folder / "socket_vmnet", "former")
    for path in (bin_folder, bin_folder.parent):
        path.chmod(0o755)
    # A mv that works once, and is then killed with everything.
    program(place / "stub" / "mv", "")
    (place / "stub" / "mv").write_text(f'#!/bin/sh\n{shutil.which("mv")} "$@"\nkill -KILL $PPID\n')
    dropin(place, "install", "socket_vmnet", code=-9, env={"PATH": f"{place}/stub:{os.environ['PATH']}"})
    assert (bin_folder / "socket_vmnet").read_text().endswith("ours socket_vmnet\n")
    dropin(place, "install", "socket_vmnet")
    dropin(place, "uninstall", "socket_vmnet")
    assert (bin_folder / "socket_vmnet").read_text().endswith("former\n")


def unsafe(place, how):
    """Makes one of the folders unsafe; returns what the refusal must name."""
    folder = place / "root" / "opt/socket_vmnet"
    if how == "symlink":
        (place / "root" / "elsewhere").mkdir()
        folder.symlink_to("/elsewhere")
    elif how == "symlink above":
        (place / "root" / "opt").rename(place / "root" / "real")
        (place / "root" / "opt").symlink_to("real")
        folder = place / "root" / "opt"
    elif how == "group":
        folder.mkdir()
        folder.chmod(0o775)
    elif how == "others above":
        folder = place / "root" / "opt"
        folder.chmod(0o757)
    elif how == "file":
        folder.write_text("")
    else:
        folder.mkdir()
        os.chown(folder, 12345, 12345)
    return str(folder)


@pytest.mark.parametrize("how", ["symlink", "symlink above", "group", "others above", "file",
                                 pytest.param("owner", marks=pytest.mark.skipif(os.getuid() != 0, reason="only root can chown"))])
@pytest.mark.parametrize("action", ["install", "uninstall"])
def test_a_folder_that_others_could_change_is_refused_by_name(place, how, action):
    named = unsafe(place, how)
    before = tree(place / "root")
    said = dropin(place, action, "socket_vmnet", code=1)
    assert f"error: {named} " in said
    assert ("is a symlink" in said) == how.startswith("symlink")  # not by its mode, which is 755 on macOS
    assert tree(place / "root") == before


def test_programs_that_are_missing_or_do_not_start_change_nothing(place):
    before = tree(place / "root")
    (place / "ours" / "vmnet-run").unlink()
    assert "ours/vmnet-run" in dropin(place, "install", "vmnet-helper", code=1)
    (place / "ours" / "socket_vmnet").write_text("#!/bin/sh\nexit 1\n")
    assert "--version does not work here" in dropin(place, "install", "socket_vmnet", code=1)
    assert tree(place / "root") == before


@pytest.mark.parametrize("words", [[], ["install"], ["socket_vmnet"], ["instal", "socket_vmnet"], ["install", "colima", "--frm"],
                                   ["install", "colima", "--to", "opt"], ["install", "colima", "--to", "/opt/../x"],
                                   ["install", "colima", "--to", "/opt//x"], ["install", "colima", "--to", "/opt/."]])
def test_wrong_usage_is_an_error(place, words):
    assert "error: " in dropin(place, *words, code=1)
    assert list((place / "root" / "opt").iterdir()) == []


def test_a_dry_run_changes_nothing(place):
    before = tree(place / "root")
    assert "would run: mv" in dropin(place, "install", "vmnet-helper", "--dry-run")
    assert tree(place / "root") == before


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become nobody")
def test_only_root_installs_for_real():
    done = subprocess.run([str(SCRIPT), "install", "socket_vmnet"], user=65534, text=True, capture_output=True, check=False)
    assert done.returncode == 1
    assert "only root can do that; run: sudo " in done.stderr


# ---- sudoers ----

needs_visudo = pytest.mark.skipif(not shutil.which("visudo"), reason="there is no visudo; etc/install-deps.sh package installs it")


@needs_visudo
@pytest.mark.parametrize("path", sorted((ROOT / "etc" / "sudoers.d").iterdir()), ids=lambda path: path.name)
def test_visudo_accepts_the_sudoers_files(path):
    subprocess.run(["visudo", "--check", "--strict", "--file", str(path)], check=True, capture_output=True, timeout=30)
    text = path.read_text()
    folder, names = LAYOUTS[path.name]
    assert f"/{folder}/{names[0]}" in text
    assert "ALL = (ALL" not in text and "SETENV: " not in text.replace("NOSETENV: ", "")


@needs_visudo
@pytest.mark.parametrize("layout", ["socket_vmnet", "vmnet-helper"])
def test_sudoers_come_and_go_with_the_programs(place, layout):
    dropin(place, "install", layout, "--sudoers")
    installed = place / "root" / "etc/sudoers.d" / f"vmswitch-{layout}"
    assert stat.S_IMODE(installed.stat().st_mode) == 0o440
    assert "." not in installed.name  # sudo does not read such files
    dropin(place, "uninstall", layout)
    assert not installed.exists()


@needs_visudo
def test_sudoers_that_visudo_refuses_change_nothing(place):
    shutil.copytree(ROOT / "etc", place / "etc", ignore=lambda _, names: [n for n in names if n not in ("install-dropin.sh", "sudoers.d",
                                                                                                      "vmnet-helper")])
    (place / "etc/sudoers.d/vmnet-helper").write_text("%admin ALL = oops\n")
    before = tree(place / "root")
    assert "visudo does not like" in dropin(place, "install", "vmnet-helper", "--sudoers", code=1,
                                            script=place / "etc/install-dropin.sh")
    assert tree(place / "root") == before


def test_there_is_no_sudoers_file_for_colima(place):
    assert "there is no sudoers file for colima" in dropin(place, "install", "colima", "--sudoers", code=1)


def test_a_bundle_and_the_installed_file_are_the_same_bytes(place):
    """Drop-in 28: Rancher Desktop and Finch put their own back where the two differ. And back again, both."""
    bundle = place / "root" / "App 1.app" / "socket_vmnet" / "bin"
    program(bundle / "socket_vmnet", "theirs")
    installed = place / "root" / "opt" / "rancher-desktop" / "bin"
    before = tree(place / "root")
    said = dropin(place, "--bundle", "/App 1.app/socket_vmnet/bin", "install", "socket_vmnet")
    assert "uninstall socket_vmnet --bundle '/App 1.app/socket_vmnet/bin'" in said
    dropin(place, "--to", "/opt/rancher-desktop/bin", "install", "socket_vmnet")
    assert (bundle / "socket_vmnet").read_bytes() == (installed / "socket_vmnet").read_bytes() == (place / "ours" / "socket_vmnet").read_bytes()
    assert not (bundle / "socket_vmnet_client").exists()  # it had none
    dropin(place, "--to", "/opt/rancher-desktop/bin", "uninstall", "socket_vmnet")
    dropin(place, "--bundle", "/App 1.app/socket_vmnet/bin", "uninstall", "socket_vmnet")
    assert tree(place / "root") == before


def test_a_bundle_that_is_not_ours_to_write_is_refused(place):
    """Root must not write where somebody else could have put a symlink in the way."""
    bundle = place / "root" / "App.app"
    program(bundle / "socket_vmnet", "theirs")
    assert "no folder" in dropin(place, "--bundle", "/Other.app", "install", "socket_vmnet", code=1)
    assert "none of these" in dropin(place, "--bundle", "/App.app", "install", "vmnet-helper", code=1)
    (place / "root" / "Link.app").symlink_to("App.app")
    assert "symlink" in dropin(place, "--bundle", "/Link.app", "install", "socket_vmnet", code=1)
    if os.geteuid() == 0:
        os.chown(bundle, 12345, 12345)
        assert "belongs to uid 12345" in dropin(place, "--bundle", "/App.app", "install", "socket_vmnet", code=1)
    assert (bundle / "socket_vmnet").read_text() == "#!/bin/sh\necho theirs\n"
