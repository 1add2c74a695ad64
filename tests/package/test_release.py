"""etc/release.sh: the same commit gives the same bytes, and what the SBOM says is so. And the formula of Homebrew."""
import hashlib
import json
import os
import pwd
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import pytest

from conftest import ROOT

VERSION = re.search(r"project\(vmswitch VERSION (\S+)", (ROOT / "CMakeLists.txt").read_text())[1]


def release(out, source=ROOT, **environment):
    subprocess.run([str(source / "etc/release.sh"), "--out", str(out)], check=True, capture_output=True, timeout=300,
                   env={**os.environ, "GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "safe.directory", "GIT_CONFIG_VALUE_0": "*",
                        **environment})
    return {path.name: path.read_bytes() for path in out.iterdir()}


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """A release of what is in the work tree, committed in a clone, so that a change is tested before it is a commit here."""
    source = tmp_path_factory.mktemp("source") / "vmswitch"
    git = ["git", "-c", "safe.directory=*", "-c", "user.name=test", "-c", "user.email=test@example.org"]
    subprocess.run([*git, "clone", "--quiet", "--shared", str(ROOT), str(source)], check=True)
    for name in ("etc/release.sh", "etc/sbom.py", "etc/homebrew/vmswitch.rb", "docs/dependencies.md"):
        shutil.copy(ROOT / name, source / name)
    subprocess.run([*git, "-C", str(source), "add", "--all"], check=True)
    subprocess.run([*git, "-C", str(source), "commit", "--quiet", "--allow-empty", "-m", "as it is"], check=True)
    out = tmp_path_factory.mktemp("first")
    return source, out, release(out, source)


def test_the_same_bytes_in_another_place_time_and_language_and_with_another_umask(first, tmp_path):
    source, _, files = first
    assert sorted(files) == [f"vmswitch-{VERSION}.{end}" for end in ("SHA256SUMS", "rb", "spdx.json", "tar.gz")]
    other = tmp_path / "elsewhere"
    umask = os.umask(0o077)
    try:
        subprocess.run(["git", "clone", "--quiet", str(source), str(other)], check=True)
        (other / "not-committed").write_text("not in the archive")
        for path in other.rglob("*"):
            if ".git" not in path.parts:
                os.utime(path, (86400, 86400))
        assert release(tmp_path / "out", other, TZ="Pacific/Auckland", LC_ALL="C", HOME=str(tmp_path)) == files
    finally:
        os.umask(umask)


def test_the_sums_fit(first):
    done = subprocess.run(["sha256sum", "--check", f"vmswitch-{VERSION}.SHA256SUMS"], cwd=first[1], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and done.stdout.count("OK") == 3


def test_another_reader_of_spdx_finds_no_error(first, tmp_path):
    """spdx-tools, of those who keep the standard: every rule of SPDX 2.3, and what it reads is what was written."""
    _, out, _ = first
    again = tmp_path / "again.spdx.json"
    tool = Path(sys.executable).parent / "pyspdxtools"
    assert tool.exists(), "there is no pyspdxtools; .ci/run package installs tests/package/requirements.txt"
    done = subprocess.run([str(tool), "--infile", str(out / f"vmswitch-{VERSION}.spdx.json"), "--version", "SPDX-2.3", "--outfile", str(again)],
                          capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0 and done.stderr == "", done.stdout + done.stderr
    ours, theirs = (json.loads(path.read_text()) for path in (out / f"vmswitch-{VERSION}.spdx.json", again))
    assert {file["fileName"] for file in theirs["files"]} == {file["fileName"] for file in ours["files"]}
    assert {package["name"]: package["licenseDeclared"] for package in theirs["packages"]} == \
        {package["name"]: package["licenseDeclared"] for package in ours["packages"]}


def test_the_sbom_has_every_file_and_every_library(first):
    _, out, files = first
    sbom = json.loads(files[f"vmswitch-{VERSION}.spdx.json"])
    assert sbom["spdxVersion"] == "SPDX-2.3" and sbom["dataLicense"] == "CC0-1.0"
    said = {file["fileName"]: {sum["algorithm"]: sum["checksumValue"] for sum in file["checksums"]} for file in sbom["files"]}
    with tarfile.open(out / f"vmswitch-{VERSION}.tar.gz") as archive:
        members = [member for member in archive if member.isfile()]
        assert len(said) == len(members)
        for member in members:
            data = archive.extractfile(member).read()
            assert said["./" + member.name.split("/", 1)[1]]["SHA256"] == hashlib.sha256(data).hexdigest()
    package, *libraries = sbom["packages"]
    assert package["checksums"][0]["checksumValue"] == hashlib.sha256(files[f"vmswitch-{VERSION}.tar.gz"]).hexdigest()
    sums = "".join(sorted(sums["SHA1"] for sums in said.values()))
    assert package["packageVerificationCode"]["packageVerificationCodeValue"] == hashlib.sha1(sums.encode()).hexdigest()
    # What the build looks for is what the document names.
    wanted = set(re.findall(r"^ *pkg_check_modules\([A-Z]+ (?:REQUIRED )?IMPORTED_TARGET (\S+)\)", (ROOT / "CMakeLists.txt").read_text(), re.M))
    names = {library["name"] for library in libraries}
    assert len(wanted) > 5 and {{"slirp": "libslirp"}.get(name, name) for name in wanted} == names
    # Each id is one thing's, and each relation is between things that are there.
    ids = [sbom["SPDXID"]] + [thing["SPDXID"] for thing in sbom["packages"] + sbom["files"]]
    assert len(ids) == len(set(ids))
    for relation in sbom["relationships"]:
        assert {relation["spdxElementId"], relation["relatedSpdxElement"]} <= set(ids)
    assert all(re.fullmatch(r"SPDXRef-[A-Za-z0-9.-]+", one) for one in ids)


def test_the_archive_builds_what_git_has(first):
    """Nothing that the build needs is missing from it: cmake configures it."""
    _, out, _ = first
    subprocess.run(["tar", "xzf", f"vmswitch-{VERSION}.tar.gz"], cwd=out, check=True)
    try:
        subprocess.run(["cmake", "-S", f"vmswitch-{VERSION}", "-B", "configured", "-G", "Ninja"], cwd=out, check=True, capture_output=True,
                       timeout=120)
    finally:
        for name in (f"vmswitch-{VERSION}", "configured"):
            shutil.rmtree(out / name, ignore_errors=True)


FORMULA = ROOT / "etc" / "homebrew" / "vmswitch.rb"
needs_ruby = pytest.mark.skipif(not shutil.which("ruby"), reason="there is no ruby; etc/install-deps.sh package installs it")


def evaluated(formula, *words, **popen):
    """What the formula says to brew, as formula.rb, which stands for it, has written it down."""
    done = subprocess.run(["ruby", "-W", str(ROOT / "tests/package/formula.rb"), str(formula), *map(str, words)], capture_output=True, text=True,
                          timeout=600, check=False, **popen)
    assert done.returncode == 0 and "warning:" not in done.stderr, done.stdout + done.stderr
    return json.loads(done.stdout)


@needs_ruby
def test_the_formula_is_of_the_archive_that_was_released(first):
    _, out, files = first
    subprocess.run(["ruby", "-wc", str(out / f"vmswitch-{VERSION}.rb")], check=True, capture_output=True, timeout=30)
    said = evaluated(out / f"vmswitch-{VERSION}.rb")
    assert said["url"].endswith(f"/v{VERSION}/vmswitch-{VERSION}.tar.gz")
    assert said["sha256"] == hashlib.sha256(files[f"vmswitch-{VERSION}.tar.gz"]).hexdigest()
    assert said["license"] == "Apache-2.0" and len(said["desc"]) <= 80 and said["homepage"].startswith("https://")
    # What "brew audit" asks of a description: no article, no full stop, not the formula's name.
    assert not re.match(r"(?i)(an?|the|vmswitch)\b", said["desc"]) and not said["desc"].endswith(".")


@needs_ruby
def test_the_formula_names_the_libraries_of_the_build():
    said = evaluated(FORMULA)
    brewed = re.search(r"build\) echo (libuv [^;]*);;", (ROOT / "etc/install-deps.sh").read_text())[1].split()
    assert set(brewed) - {"ninja", "pkg-config", "cmocka"} <= set(said["depends_on"]) and "curl" in said["uses_from_macos"]


@needs_ruby
def test_the_service_of_the_formula_is_one_for_launchd(install):
    """As Homebrew makes a property list of it: the program that it starts is installed, and takes no option that it has not."""
    destination, files = install(None)
    service = evaluated(FORMULA)["service"]
    program, *options = service["run"]
    assert program.removeprefix("/opt/homebrew/opt/vmswitch/") == "sbin/vmswitchd" and "usr/sbin/vmswitchd" in files
    subprocess.run([str(destination / "usr/sbin/vmswitchd"), *options, "--version"], check=True, capture_output=True, timeout=10)
    assert service["keep_alive"] == {"crashed": True} and service["process_type"] == "interactive"
    assert service["error_log_path"].startswith("/opt/homebrew/var/log/")


@pytest.fixture
def brewer():
    """A folder, and how to run something as who may write there: brew refuses to run as root."""
    with tempfile.TemporaryDirectory(prefix="vmsw-", dir="/tmp") as folder:
        popen = {"env": {"PATH": os.environ["PATH"], "HOME": folder}}
        if os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            os.chown(folder, nobody.pw_uid, nobody.pw_gid)
            popen.update(user=nobody.pw_uid, group=nobody.pw_gid, extra_groups=[])
        yield Path(folder), popen


@needs_ruby
def test_the_formula_builds_installs_and_tests_what_was_released(first, brewer):
    """Its install and its test, run for real: from the archive alone, with nothing of the work tree."""
    _, _, files = first
    folder, popen = brewer
    formula, prefix = folder / "vmswitch.rb", folder / "prefix"
    formula.write_bytes(files[f"vmswitch-{VERSION}.rb"])
    subprocess.run(["tar", "xz", "-C", str(folder)], input=files[f"vmswitch-{VERSION}.tar.gz"], check=True, **popen)
    said = evaluated(formula, folder / f"vmswitch-{VERSION}", prefix, **popen)
    assert said["tested"] is True
    for path in ("sbin/vmswitchd", "bin/vmswitch", "share/man/man8/vmswitchd.8", "share/vmswitch/install-dropin.sh",
                 "share/zsh/site-functions/_vmswitch", "share/fish/vendor_completions.d/vmswitch.fish", "etc/bash_completion.d/vmswitch"):
        assert (prefix / path).exists(), path
    script = re.search(r"sudo (\S+) install socket_vmnet", said["caveats"])[1]
    assert (prefix / script.removeprefix("/opt/homebrew/opt/vmswitch/")).exists()
