"""A pretended Mac for the scripts of etc/macos: a root of its own, and pretend tools of macOS first in PATH."""
import os
import plistlib
import re
import subprocess

from switchd import ROOT

LAUNCHD = ROOT / "etc" / "launchd"
MACOS = ROOT / "etc" / "macos"
LABEL, BROKER = "io.github.vmswitch.vmswitchd", "io.github.vmswitch.broker"


def load(path):
    return plistlib.loads(path.read_bytes())


# Pretend tools: each writes down how it was called, and knows as much as the scripts ask.
TOOLS = {
    "launchctl": """case $1 in
print) [ -e "$STATE/loaded-${2##*/}" ] ;;
bootstrap) label=$(basename "$3" .plist); [ ! -e "$STATE/loaded-$label" ] && [ -f "$3" ] && : > "$STATE/loaded-$label" ;;
bootout) rm "$STATE/loaded-${2##*/}" ;;
esac""",
    "codesign": """case $1 in --display) echo '<key>com.apple.security.virtualization</key>' ;; esac""",
    "dscl": """record=$STATE/ds$3
case $2 in
-read) [ -d "$record" ] || exit 56; [ $# -lt 4 ] || { [ -f "$record/$4" ] && printf '%s: %s\\n' "$4" "$(cat "$record/$4")"; } ;;
-list) printf 'root 0\\nother 300\\n'; for one in "$STATE/ds$3"/*; do [ ! -f "$one/$4" ] || printf '%s %s\\n' "$(basename "$one")" "$(cat "$one/$4")"; done ;;
-create) mkdir -p "$record"; [ $# -lt 4 ] || printf '%s' "$5" > "$record/$4" ;;
-append) printf '%s' "$5" >> "$record/$4" ;;
-delete) rm -r "$record" ;;
esac""",
    "sw_vers": "cat \"$STATE/version\"",
    "plutil": "exit 0",
    "chown": "exit 0",
}
QUIET = ("sw_vers",)


class Mac:
    """A root of its own, with what every Mac has, and the pretend tools first in PATH."""

    def __init__(self, folder, version="26.2"):
        self.root, self.state, bin_folder = folder / "root", folder / "state", folder / "tools"
        for path in (self.root / "Library/LaunchDaemons", self.root / "private/etc", self.root / "private/var/log", self.root / "opt",
                     self.root / "Users/ann/Library", self.state, bin_folder, folder / "built"):
            path.mkdir(parents=True)
        for path in [folder, *folder.rglob("*")]:
            path.chmod(0o755)
        (self.state / "version").write_text(f"{version}\n")
        for name, text in TOOLS.items():
            log = "" if name in QUIET else f'printf "%s\\n" "{name} $*" >> "$STATE/calls"\n'
            (bin_folder / name).write_text(f"#!/bin/sh\n{log}{text}\n")
            (bin_folder / name).chmod(0o755)
        self.built = folder / "built"
        for name in ("vmswitchd", "vmswitch"):
            (self.built / name).write_text(f"#!/bin/sh\necho {name}\n")
            (self.built / name).chmod(0o755)
        self.environment = {"PATH": f"{bin_folder}:{os.environ['PATH']}", "STATE": str(self.state), "DESTDIR": str(self.root),
                            "SUDO_USER": "ann", "HOME": "/Users/ann"}

    def run(self, script, *options, expect=0):
        (self.state / "calls").write_text("")
        more = ["--from", str(self.built)] if script == "install" else []
        done = subprocess.run(["sh", str(MACOS / f"{script}.sh"), *more, *options], env=self.environment, capture_output=True, text=True)
        assert (done.returncode == 0) == (expect == 0), done.stdout + done.stderr
        return done.stdout + done.stderr

    def calls(self, *tools):
        """What was called, without what only asks."""
        lines = (self.state / "calls").read_text().replace(str(self.root), "").splitlines()
        asks = re.compile(r"dscl . -(read|list)|launchctl print|plutil|codesign --(verify|display)|chown")
        return [line for line in lines if not asks.match(line) and (not tools or line.split()[0] in tools)]

    def files(self):
        return sorted(str(path.relative_to(self.root)) for path in self.root.rglob("*") if path.is_file())

    def plist(self, label=LABEL, folder="Library/LaunchDaemons"):
        return load(self.root / folder / f"{label}.plist")
