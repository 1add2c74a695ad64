"""Fixtures of the package tests: the build of the preset "package", and where things are.

.ci/run package runs them. They install into folders of their own; the life of the Debian package is lived in a machine of
its own (machine.py), so that nothing of this one changes.
"""
import os
import subprocess
from pathlib import Path

import pytest

from machine import Machine, can_boot

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build" / "package"
ENVIRONMENT = {**os.environ, "SOURCE_DATE_EPOCH": "1767225600"}
needs_boot = pytest.mark.skipif(not can_boot(), reason="needs root, systemd and a cgroup2 hierarchy that may be written")


def pytest_collection_modifyitems(items):
    skip = pytest.mark.skip(reason="needs root")
    for item in items:
        if "root" in item.keywords and os.geteuid() != 0:
            item.add_marker(skip)


def pytest_configure(config):
    config.addinivalue_line("markers", "root: needs root (its own mount namespace)")


@pytest.fixture(scope="session")
def build():
    """build/package, as .ci/run package has made it."""
    assert (BUILD / "bin" / "vmswitchd").exists(), f"there is no build in {BUILD}; run .ci/run package"
    return BUILD


@pytest.fixture
def install(build, tmp_path):
    """install(COMPONENT or None, *options): what "cmake --install" puts below an empty folder, as relative paths."""
    def into(component, *options):
        destination = tmp_path / f"{component}"
        subprocess.run(["cmake", "--install", str(build), *(["--component", component] if component else []), *options],
                       check=True, capture_output=True, timeout=120, env={**os.environ, "DESTDIR": str(destination)})
        return destination, sorted(str(path.relative_to(destination)) for path in destination.rglob("*") if not path.is_dir())
    return into


def package(build, folder, *options):
    """Makes a package; returns its path."""
    subprocess.run(["cpack", "--config", str(build / "CPackConfig.cmake"), "-B", str(folder), *options], check=True, timeout=300,
                   capture_output=True, env=ENVIRONMENT)
    return next(folder.glob("*.deb"))


@pytest.fixture(scope="session")
def deb(build, tmp_path_factory):
    return package(build, tmp_path_factory.mktemp("deb"))


@pytest.fixture(scope="session")
def newer_deb(build, tmp_path_factory):
    return package(build, tmp_path_factory.mktemp("newer"), "-D", "CPACK_DEBIAN_PACKAGE_RELEASE=2")


@pytest.fixture
def machine(tmp_path):
    made = Machine(tmp_path)
    yield made
    made.end()


@pytest.fixture
def booted(machine):
    """With two users more: alice, who is to be in the group vmswitch, and mallory."""
    machine.boot()
    machine.sh("useradd alice; useradd mallory")
    return machine
