"""Fixtures of the package tests: the build of the preset "package", and where things are.

.ci/run package runs them. They install into folders of their own; the life of the Debian package is lived in a root
of its own, an overlay in a mount namespace, so that nothing of this machine changes.
"""
import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build" / "package"


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
