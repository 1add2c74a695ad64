"""Manual pages and compatibility.md say what the programs say. (vmswitch(1), vmswitchd.conf(5): tests/unit/daemon.)"""
import re
import subprocess

from switchd import BIN, ROOT


def test_vmswitchd_8_has_the_options_and_exit_codes_of_the_program():
    said = subprocess.run([str(BIN / "vmswitchd"), "--help"], capture_output=True, text=True, check=True).stdout
    page = (ROOT / "etc" / "vmswitchd.8").read_text()
    options = set(re.findall(r"^  --([a-z-]+)", said, re.M))
    assert options and options == set(re.findall(r"^\.It Fl -([a-z-]+)", page, re.M))
    codes = set(re.findall(r"(?:Exit: |; |\n\s+)(\d) ", said[said.index("Exit:"):]))
    assert codes == set(re.findall(r"^\.It (?:Li )?(\d)$", page, re.M))


def test_synopses_have_the_options_that_are_described():
    for name in ("vmswitchd.8", "socket_vmnet.8", "vmnet-helper.8"):
        page = (ROOT / "etc" / name).read_text()
        synopsis = page[page.index(".Sh SYNOPSIS"):page.index(".Sh DESCRIPTION")]
        described = set(re.findall(r"^\.It Fl -([a-z0-9-]+)", page, re.M))
        said = set(re.findall(r"Fl -([a-z0-9-]+)", synopsis))
        assert said <= described, name
        assert name != "vmswitchd.8" or said == described


def test_programs_without_options_of_their_own_are_called_as_their_pages_say():
    for program, arguments in (("socket_vmnet_client", "SOCKET [--] COMMAND [ARG"), ("vmnet-run", "[vmnet-helper options] -- COMMAND [ARGUMENT ...]"),
                               ("vmnet-client", "[vmnet-helper options] -- COMMAND [ARGUMENT ...]")):
        done = subprocess.run([str(BIN / program), "--help"], capture_output=True, text=True, check=True)
        assert f"{program} {arguments}" in done.stdout
        page = (ROOT / "etc" / {"vmnet-client": "vmnet-run.1"}.get(program, f"{program}.1")).read_text()
        assert f".Nm {program}" in page
        words = re.findall(r"[a-z-]{2,}", page[page.index(".Sh SYNOPSIS"):page.index(".Sh DESCRIPTION")].lower())
        assert set(re.findall(r"[a-z-]{4,}", arguments.lower())) <= set(words), program


def test_every_variable_that_a_program_reads_is_in_a_page():
    sources = "".join(path.read_text() for path in sorted((ROOT / "daemon").glob("*.c")))
    read = set(re.findall(r"\b(?:getenv|number_of|folder_of|id_of)\(\"([A-Z_]+)\"", sources))
    read |= set(re.findall(r"default_in_home\([^,]+, \"([A-Z_]+)\"", sources))
    assert len(read) > 12
    pages = "".join(path.read_text() for path in (ROOT / "etc").glob("*.[1-9]"))
    named = set(re.findall(r"[A-Z_]{4,}", " ".join(re.findall(r"^\.(?:It )?(?:Pq )?Ev (.*)$", pages, re.M))))
    assert read <= named, read - named


def test_socket_vmnet_8_has_the_options_of_the_program():
    said = subprocess.run([str(BIN / "socket_vmnet"), "--help"], capture_output=True, text=True, check=True).stdout
    page = (ROOT / "etc" / "socket_vmnet.8").read_text()
    options = set(re.findall(r"^  (?:-\w, )?--([a-z0-9-]+)", said, re.M))
    assert len(options) == 13 and options == set(re.findall(r"^\.It Fl -([a-z0-9-]+)", page, re.M))
    for name in ("DEBUG", "VMSWITCH_UPLINK"):
        assert name in said and f".It Ev {name}" in page


def test_compatibility_md_names_tests_that_are_there():
    page = (ROOT / "docs" / "compatibility.md").read_text()
    tests = "\n".join(path.read_text() for path in sorted((ROOT / "tests").rglob("test_*.[cp]*")))
    for name in re.findall(r"`(test_[a-z0-9_*]+|[a-z0-9]+(?:_[a-z0-9]+){3,})`", page):
        assert name.rstrip("*") in tests, name
    for row in range(1, 29):
        assert f"| {row} | " in page


def test_vmnet_helper_8_has_the_options_of_the_program():
    said = subprocess.run([str(BIN / "vmnet-helper"), "--help"], capture_output=True, text=True, check=True).stderr
    page = (ROOT / "etc" / "vmnet-helper.8").read_text()
    options = set(re.findall(r"^  --([a-z-]+)", said, re.M))
    assert len(options) == 18 and options == set(re.findall(r"^\.It Fl -([a-z-]+)", page, re.M))
    shorts = set(re.findall(r"\(-([a-z])\)", said))
    assert shorts == set(re.findall(r"^\.Fl ([a-z]) \.$", page, re.M))


def test_the_scenarios_of_docs_testing_are_in_the_tests():
    """Each id of the table stands in a test, and each file that it names is there."""
    page = (ROOT / "docs" / "testing.md").read_text()
    table = page[page.index("## Scenarios"):page.index("### Left, and why")]
    tests = "".join(path.read_text().upper() for path in (ROOT / "tests").rglob("test_*.[pc]*"))
    ids = re.findall(r"\b[A-Z]\d\d\b", "".join(row.split("|")[1] for row in table.splitlines() if row.startswith("| ")))
    assert len(ids) > 50
    for one in ids:
        assert re.search(rf"(?<![A-Z0-9]){one}(?![0-9])", tests), one
    for name in re.findall(r"`([a-z/_]+\.[cp]y?)`", table):
        assert any((ROOT / "tests" / folder / name).exists() for folder in ("", "..", "system", "unit")), name
