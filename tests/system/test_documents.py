"""What the documents point to is there, and what they say of the build is so."""
import json
import os
import re
import shutil
import subprocess
import xml.etree.ElementTree

import pytest

from fake_mac import HAS_DOUBLE
from switchd import BUILD, ROOT


def documents():
    listed = subprocess.run(["git", "-c", "safe.directory=*", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"], cwd=ROOT,
                            capture_output=True, text=True, check=False)
    found = listed.stdout.split() if listed.returncode == 0 else [str(path.relative_to(ROOT)) for path in ROOT.glob("[!b.]*/**/*.md")]
    return sorted({*found, "README.md", "CHANGELOG.md"})


def without_code(text):
    return re.sub(r"`[^`\n]*`", "", re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S))


def anchors(text):
    """What GitHub makes of the headings."""
    return {re.sub(r"[^\w\- ]", "", line.lstrip("# ").lower()).replace(" ", "-") for line in text.splitlines() if line.startswith("#")}


@pytest.mark.parametrize("name", documents())
def test_every_relative_link_resolves(name):
    text = (ROOT / name).read_text()
    for target in re.findall(r"\]\(([^)\s]+)\)", without_code(text)):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        there = (ROOT / name).parent / path if path else ROOT / name
        assert there.exists(), f"{name} links to {target}"
        assert not anchor or anchor in anchors(there.read_text()), f"{name} links to {target}, which has no such heading"


def test_the_readme_leads_to_every_document():
    text = without_code((ROOT / "README.md").read_text())
    for path in sorted((ROOT / "docs").glob("*.md")):
        assert f"](docs/{path.name})" in text, path.name
    # The picture is one, and people who cannot see it are told what it shows.
    alternative, picture = re.search(r"!\[([^]]{40,})\]\((docs/vmswitch.svg)\)", text).groups()
    svg = xml.etree.ElementTree.parse(ROOT / picture).getroot()
    words = " ".join("".join(element.itertext()) for element in svg.iter("{http://www.w3.org/2000/svg}text"))
    for word in ("VM", "network", "uplink", "API"):
        assert word in words and word in alternative, word


@pytest.mark.parametrize("name", documents())
def test_files_that_are_named_are_there(name):
    """`etc/...`, `tests/...` and so on in the text are paths of the repository."""
    text = re.sub(r"^```.*?^```$", "", (ROOT / name).read_text(), flags=re.M | re.S)
    for path in re.findall(r"`((?:etc|tests|docs|perf|daemon|io|api|switch|\.ci)/[\w./+-]+)`", text):
        # test_X.py stands for any of them.
        is_there = any((folder / path.rstrip("/")).exists() for folder in (ROOT, ROOT / "tests/unit"))
        assert is_there or "_X." in path, f"{name} names {path}"


def python_tests():
    return list((ROOT / "tests").rglob("test_*.py"))


def test_functions():
    """Of pytest and of cmocka."""
    found = {function for path in python_tests() for function in re.findall(r"^def (test_\w+)", path.read_text(), re.M)}
    return found | {function for path in (ROOT / "tests/unit").rglob("test_*.c")
                    for function in re.findall(r"^static void (\w+)\(void \*\*state\)", path.read_text(), re.M)}


test_functions.__test__ = False


@pytest.mark.parametrize("name", documents())
def test_tests_that_are_named_are_there(name):
    """`test_links.py` is one of tests/, `test_row1_*` are functions of one, `test_spec` is a program of tests/unit."""
    python = python_tests()
    functions = test_functions() | {path.stem for path in (ROOT / "tests/unit").rglob("test_*.c")}
    for word, end in re.findall(r"`(test_\w+)(\.py|\*)?`", (ROOT / name).read_text()):
        if end == ".py":
            assert word in {path.stem for path in python}, f"{name} names {word}.py"
        else:
            assert any(function == word or (end and function.startswith(word)) for function in functions), f"{name} names {word}{end}"


@pytest.mark.parametrize("name", [name for name in documents() if (ROOT / name).name in ("lima.md", "minikube.md", "colima.md")])
def test_what_is_switched_over_can_be_switched_back(name):
    text = (ROOT / name).read_text()
    layouts = set(re.findall(r"install-dropin\.sh install (\S+)", text))
    assert layouts
    for layout in layouts:
        assert re.search(rf"install-dropin\.sh uninstall {layout}|# or {layout}", text), layout


def test_the_dependencies_are_those_of_the_build():
    text = (ROOT / "docs/dependencies.md").read_text()
    named = set(re.findall(r"^\| \[([a-z]+)\]", text, re.M))
    wanted = {{"slirp": "libslirp"}.get(name, name) for name in
              re.findall(r"^\s*pkg_check_modules\([A-Z]+ (?:REQUIRED )?IMPORTED_TARGET (\S+)\)", (ROOT / "CMakeLists.txt").read_text(), re.M)}
    assert named == wanted


def test_the_readme_names_the_manual_pages_of_the_main_programs():
    readme = (ROOT / "README.md").read_text()
    for page in ("vmswitch.1", "vmswitchd.8", "vmswitchd.conf.5"):
        assert (ROOT / "etc" / page).exists()
        assert f"etc/{page}" in readme, page


PAGES = sorted(path.name for path in (ROOT / "etc").glob("*.[1-9]"))
# What our pages point to and others have written.
FOREIGN_PAGES = {"systemd 1", "systemd-journald 8", "sudo 8", "sudoers 5", "launchd 8"}


@pytest.mark.parametrize("name", PAGES)
def test_manual_pages_point_to_pages_that_are_there(name):
    for page, section in re.findall(r"^\.Xr (\S+) (\d)", (ROOT / "etc" / name).read_text(), re.M):
        assert (ROOT / "etc" / f"{page}.{section}").exists() or f"{page} {section}" in FOREIGN_PAGES, f"{page}({section})"


@pytest.mark.skipif(not shutil.which("man"), reason="there is no man; etc/install-deps.sh package installs it")
@pytest.mark.parametrize("name", PAGES)
def test_man_has_no_warning(name):
    """man-db with groff, as Linux shows it."""
    done = subprocess.run(["man", "--warnings", "--encoding=UTF-8", "--local-file", str(ROOT / "etc" / name)], capture_output=True, text=True,
                          timeout=60, env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "MANWIDTH": "80"}, check=False)
    assert done.returncode == 0 and done.stderr == "" and "NAME" in done.stdout, done.stderr


@pytest.mark.skipif(not shutil.which("mandoc"), reason="there is no mandoc; etc/install-deps.sh package installs it")
@pytest.mark.parametrize("name", PAGES)
def test_mandoc_has_no_warning(name):
    """As macOS, the BSDs and Alpine show it."""
    done = subprocess.run(["mandoc", "-T", "lint", "-W", "warning", str(ROOT / "etc" / name)], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == "" and done.returncode == 0, done.stdout


# ---- vmnet's tables ----

def rows(name, column):
    """The cells of each row of the tables whose last column is called so."""
    found, is_inside = [], False
    for line in (ROOT / name).read_text().splitlines():
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if cells and cells[-1] == column:
            is_inside = True
        elif cells and is_inside and not set(line) <= set("|-"):
            found.append(cells)
        elif not cells:
            is_inside = False
    return found


@pytest.mark.parametrize("name", ["docs/macos.md", "docs/vmnet.md"])
def test_each_row_about_vmnet_names_tests_that_are_there(name):
    functions, found = test_functions(), rows(name, "test")
    assert len(found) > 20
    for cells in found:
        named = re.findall(r"`(\w+)`", cells[-1])
        assert named or cells[-1].startswith(("the same", "every test")), f"{name}: {cells[0]} has no test"
        for one in named:
            assert one in functions, f"{name}: {cells[0]}: there is no test {one}"


def vmnets_names():
    """What the sources use of vmnet: declared for them, or looked up by name."""
    declarations = (ROOT / "tests/fake-sdk/frameworks/vmnet/vmnet.h").read_text()
    names = set(re.findall(r"\b(vmnet_\w+_key);", declarations)) | set(re.findall(r"^\w+ (vmnet_\w+)\(", declarations, re.M))
    for path in (ROOT / "io").glob("*_darwin.c"):
        text = path.read_text()
        names |= set(re.findall(r'"(vmnet_[a-z]\w*[a-z])"', text))
        names |= {"vmnet_network_configuration_" + end for end in re.findall(r'{CONFIGURATION "(\w+)"', text)}
    return names


def test_every_key_and_function_of_vmnet_is_in_the_table():
    table = {cells[0].strip("`"): cells for cells in rows("docs/macos.md", "test") if cells[0].startswith("`vmnet_")}
    used = {name for name, cells in table.items() if "not used" not in cells[2]}
    assert used == vmnets_names()
    assert all(re.match(r"1[01]|12|15|26", cells[1]) for cells in table.values())
    assert len(table) - len(used) == 7  # the deprecated length, the guest's MAC, the estimate, and what asks which forwards there are


def test_what_only_a_mac_can_tell_has_a_check_each():
    found = rows("docs/macos.md", "what checks it") + rows("docs/macos.md", "what shows it on a Mac")
    assert len(found) > 25 and all(cells[-1] for cells in found)
    smoke = (ROOT / "tests/macos/smoke.sh").read_text()
    named = {name for cells in found for name in re.findall(r"`([a-z]+(?:-[a-z]+)+)`", cells[-1])}
    for name in named - {"vmnet-run", "vmnet-helper"}:  # programs
        assert re.search(rf"\b{name}\b", smoke) or any(name == f"vmnet-{mode}{end}" for mode in ("shared", "host") for end in ("", "-dhcp")), name


def test_sources_that_only_a_mac_runs_are_listed():
    """What no build on Linux compiles is in the list, and nothing else."""
    database = BUILD / "compile_commands.json"
    if not HAS_DOUBLE or not database.exists():
        pytest.skip("needs a build with VMNET_DOUBLE, which compiles all the others")
    compiled = {entry["file"] for entry in json.loads(database.read_text())}
    sources = {path for folder in ("switch", "io", "api", "daemon") for end in ("darwin", "posix", "none") for path in (ROOT / folder).glob(f"*_{end}.c")}
    listed = {name for cells in rows("docs/macos.md", "what shows it on a Mac") for name in re.findall(r"`(\S+\.c)`", cells[0])}
    assert listed == {str(path.relative_to(ROOT)) for path in sources if str(path) not in compiled}
