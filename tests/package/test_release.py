"""etc/release.sh: the same commit gives the same bytes, and what the SBOM says is so. And the formula of Homebrew."""
import hashlib
import json
import os
import re
import shutil
import subprocess
import tarfile

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
    for name in ("etc/release.sh", "etc/sbom.py", "docs/dependencies.md"):
        shutil.copy(ROOT / name, source / name)
    subprocess.run([*git, "-C", str(source), "add", "--all"], check=True)
    subprocess.run([*git, "-C", str(source), "commit", "--quiet", "--allow-empty", "-m", "as it is"], check=True)
    out = tmp_path_factory.mktemp("first")
    return source, out, release(out, source)


def test_the_same_bytes_in_another_place_time_zone_and_language(first, tmp_path):
    source, _, files = first
    assert sorted(files) == [f"vmswitch-{VERSION}.{end}" for end in ("SHA256SUMS", "spdx.json", "tar.gz")]
    other = tmp_path / "elsewhere"
    subprocess.run(["git", "clone", "--quiet", str(source), str(other)], check=True)
    (other / "not-committed").write_text("not in the archive")
    assert release(tmp_path / "out", other, TZ="Pacific/Auckland", LC_ALL="C", HOME=str(tmp_path)) == files


def test_the_sums_fit(first):
    done = subprocess.run(["sha256sum", "--check", f"vmswitch-{VERSION}.SHA256SUMS"], cwd=first[1], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and done.stdout.count("OK") == 2


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
    wanted = set(re.findall(r"^pkg_check_modules\([A-Z]+ (?:REQUIRED )?IMPORTED_TARGET (\S+)\)", (ROOT / "CMakeLists.txt").read_text(), re.M))
    names = {library["name"] for library in libraries}
    assert {{"slirp": "libslirp"}.get(name, name) for name in wanted} <= names
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


@pytest.mark.skipif(not shutil.which("ruby"), reason="there is no ruby; etc/install-deps.sh package installs it")
def test_the_formula_is_ruby():
    subprocess.run(["ruby", "-c", str(FORMULA)], check=True, capture_output=True, timeout=30)


def test_the_formula_has_this_version_and_the_libraries_of_the_build():
    text = FORMULA.read_text()
    assert f"/v{VERSION}/vmswitch-{VERSION}.tar.gz" in text
    brewed = re.search(r"build\) echo (libuv [^;]*);;", (ROOT / "etc/install-deps.sh").read_text())[1].split()
    named = set(re.findall(r'depends_on "([^"]+)"', text))
    tools = {"ninja", "pkg-config", "cmocka", "cmake"}
    assert set(brewed) - tools <= named
    for option in re.findall(r'"(--[a-z-]+)"', text[text.index("test do"):]):
        assert option in ("--config", "--runtime-dir", "--state-dir")
