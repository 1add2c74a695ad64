"""vmswitchd(8) says what the program says. (vmswitch(1) and vmswitchd.conf(5): tests/unit/daemon.)"""
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
