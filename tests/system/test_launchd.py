"""launchd's property lists against the code, and the scripts of etc/macos rehearsed with pretend tools of macOS.

No Mac is here: what is checked is that every key is one that launchd knows, that names, paths and modes are those of the
code, and which commands a Mac would have been given.
"""
import os
import re
import shutil
import stat
import subprocess

import pytest

from mac import BROKER, LABEL, LAUNCHD, MACOS, Mac, load
from switchd import BIN, ROOT

PLISTS = sorted(LAUNCHD.rglob("*.plist"))

# launchd.plist(5): key -> type. A key that is not known, or is spelled otherwise, is passed over in silence.
KEYS = {"Label": str, "ProgramArguments": list, "RunAtLoad": bool, "KeepAlive": dict, "ThrottleInterval": int, "ExitTimeOut": int,
        "ProcessType": str, "SoftResourceLimits": dict, "HardResourceLimits": dict, "StandardErrorPath": str, "Sockets": dict,
        "MachServices": dict, "EnableTransactions": bool, "UserName": str, "GroupName": str}
SUBKEYS = {"KeepAlive": {"SuccessfulExit": bool}, "SoftResourceLimits": {"NumberOfFiles": int}, "HardResourceLimits": {"NumberOfFiles": int}}
SOCKET_KEYS = {"SockFamily": str, "SockType": str, "SockPathName": str, "SockPathMode": int, "SockPathOwner": int, "SockPathGroup": int}


def check_keys(found, known):
    for key, value in found.items():
        assert key in known, f"launchd knows no key {key}"
        assert type(value) is known[key], f"{key} is of the wrong type"


def source(name):
    return (ROOT / name).read_text()


@pytest.mark.parametrize("path", PLISTS, ids=lambda path: str(path.relative_to(LAUNCHD)))
def test_keys_are_known_and_values_are_the_codes(path):
    job = load(path)
    check_keys(job, KEYS)
    for key, known in SUBKEYS.items():
        check_keys(job.get(key, {}), known)
    assert job["Label"] == path.stem
    assert job["ProcessType"] == "Interactive"
    assert job["ProgramArguments"][0] == "@PREFIX@/bin/vmswitchd"
    said = subprocess.run([str(BIN / "vmswitchd"), "--help"], capture_output=True, text=True, check=True).stdout
    options = {word.split("=")[0] for word in job["ProgramArguments"][1:]}
    if "--broker" in options and "--broker" not in said:
        pytest.skip("this vmswitchd is no broker")
    assert options <= set(re.findall(r"^  (--[a-z-]+)", said, re.M))
    for name, entry in job.get("Sockets", {}).items():
        check_keys(entry, SOCKET_KEYS)
        assert (entry["SockFamily"], entry["SockType"]) == ("Unix", "stream")


def test_the_header_of_the_SDK_has_the_keys():
    """Where tests/darwin/build.sh has brought it: the strings that launchd itself goes by."""
    headers = list((ROOT / "build" / "darwin" / "venv").rglob("any-darwin-any/launch.h"))
    if not headers:
        pytest.skip("tests/darwin/build.sh has not run")
    strings = set(re.findall(r'"(\w+)"', headers[0].read_text()))
    subkeys = {key for known in SUBKEYS.values() for key in known}
    assert set(KEYS) | subkeys | set(SOCKET_KEYS) <= strings


def test_sockets_are_those_of_the_contract():
    names = set(re.findall(r'strcmp\(name, "(\w+)"\) == 0', source("daemon/activation.c")))
    assert names == {"api", "attach"}
    folder = re.search(r'return "(/var/run/\w+)";', source("daemon/paths_darwin.c"))[1]
    files = dict(re.findall(r'#define (API|ATTACH)_NAME "([\w.]+)"', source("daemon/monitor.c")))
    system, agent = load(LAUNCHD / f"{LABEL}.plist")["Sockets"], load(LAUNCHD / "agent" / f"{LABEL}.plist")["Sockets"]
    assert set(system) == set(agent) == names
    for name in names:
        assert system[name]["SockPathName"] == f"{folder}/{files[name.upper()]}"
        assert agent[name]["SockPathName"] == f"@RUNTIME@/{files[name.upper()]}"
        assert agent[name]["SockPathMode"] == 0o600
    # As the monitor would make them; decimal in the file.
    assert system["api"]["SockPathMode"] == 0o660 and system["attach"]["SockPathMode"] == 0o666
    assert "<integer>432</integer>" in source(f"etc/launchd/{LABEL}.plist")


def test_the_broker_is_the_service_that_clients_look_for():
    for path in (LAUNCHD / f"{BROKER}.plist", LAUNCHD / "agent" / f"{BROKER}.plist"):
        job = load(path)
        assert job["MachServices"] == {BROKER: True} and job["EnableTransactions"] is True
        assert f"--exit-timeout={job['ExitTimeOut']}" in job["ProgramArguments"]
        assert "RunAtLoad" not in job and "KeepAlive" not in job
        assert "--strict-paths" in job["ProgramArguments"]
    assert load(LAUNCHD / f"{BROKER}.plist")["UserName"] == "_vmswitch"
    header = ROOT / "io" / "broker_protocol.h"
    if header.exists():
        assert f'#define BROKER_SERVICE "{BROKER}"' in header.read_text()


def test_the_entitlement():
    assert load(MACOS / "vmswitch.entitlements") == {"com.apple.security.virtualization": True}


# ---- the scripts ----

@pytest.fixture
def mac(folder):
    return Mac(folder)


INSTALLED = ["Library/LaunchDaemons/io.github.vmswitch.broker.plist", "Library/LaunchDaemons/io.github.vmswitch.vmswitchd.plist",
             "opt/vmswitch/bin/vmswitch", "opt/vmswitch/bin/vmswitchd", "private/var/log/vmswitch-broker.log"]


def test_install_gives_a_mac_these_commands(mac):
    mac.run("install")
    assert mac.files() == INSTALLED
    sign = f"codesign --force --sign - --identifier io.github.vmswitch.vmswitchd --entitlements {MACOS}/vmswitch.entitlements /opt/vmswitch/bin/vmswitchd.new"
    assert mac.calls() == [
        "dscl . -create /Groups/_vmswitch", "dscl . -create /Groups/_vmswitch RealName vmswitch service",
        "dscl . -create /Groups/_vmswitch Password *", "dscl . -create /Groups/_vmswitch PrimaryGroupID 301",
        "dscl . -create /Groups/vmswitch", "dscl . -create /Groups/vmswitch RealName vmswitch users",
        "dscl . -create /Groups/vmswitch Password *", "dscl . -create /Groups/vmswitch PrimaryGroupID 302",
        "dscl . -create /Users/_vmswitch", "dscl . -create /Users/_vmswitch RealName vmswitch service",
        "dscl . -create /Users/_vmswitch Password *", "dscl . -create /Users/_vmswitch UniqueID 303",
        "dscl . -create /Users/_vmswitch PrimaryGroupID 301", "dscl . -create /Users/_vmswitch UserShell /usr/bin/false",
        "dscl . -create /Users/_vmswitch NFSHomeDirectory /var/empty", "dscl . -create /Users/_vmswitch IsHidden 1",
        "dscl . -append /Groups/vmswitch GroupMembership ann",
        sign,
        f"launchctl enable system/{LABEL}", f"launchctl bootstrap system /Library/LaunchDaemons/{LABEL}.plist",
        f"launchctl enable system/{BROKER}", f"launchctl bootstrap system /Library/LaunchDaemons/{BROKER}.plist"]
    assert stat.S_IMODE((mac.root / "opt/vmswitch/bin/vmswitchd").stat().st_mode) == 0o755
    job = mac.plist()
    assert job["ProgramArguments"] == ["/opt/vmswitch/bin/vmswitchd", "--strict-paths"]
    assert job["Sockets"]["api"]["SockPathGroup"] == 302
    template = load(LAUNCHD / f"{LABEL}.plist")
    assert {key: value for key, value in job.items() if key not in ("ProgramArguments", "Sockets")} == \
        {key: value for key, value in template.items() if key not in ("ProgramArguments", "Sockets")}
    assert stat.S_IMODE((mac.root / f"Library/LaunchDaemons/{LABEL}.plist").stat().st_mode) == 0o644


def test_installing_again_is_an_upgrade(mac):
    mac.run("install")
    (mac.built / "vmswitch").write_text("#!/bin/sh\necho newer\n")
    mac.run("install")
    assert mac.files() == INSTALLED
    assert "newer" in (mac.root / "opt/vmswitch/bin/vmswitch").read_text()
    assert mac.calls("dscl", "launchctl") == [
        f"launchctl bootout system/{BROKER}", f"launchctl bootout system/{LABEL}",
        f"launchctl enable system/{LABEL}", f"launchctl bootstrap system /Library/LaunchDaemons/{LABEL}.plist",
        f"launchctl enable system/{BROKER}", f"launchctl bootstrap system /Library/LaunchDaemons/{BROKER}.plist"]


def test_sockets_of_networks_are_launchds(mac):
    mac.run("install", "--socket", "shared", "--socket", "lab-1")
    sockets = mac.plist()["Sockets"]
    assert set(sockets) == {"api", "attach", "shared.stream", "shared.dgram", "lab-1.stream", "lab-1.dgram"}
    for name, entry in sockets.items():
        check_keys(entry, SOCKET_KEYS)
    assert sockets["lab-1.dgram"] == {"SockFamily": "Unix", "SockType": "dgram", "SockPathName": "/var/run/vmswitch/lab-1.dgram",
                                      "SockPathMode": 0o660, "SockPathOwner": 0, "SockPathGroup": 302}
    assert sockets["shared.stream"]["SockType"] == "stream"
    mac.run("install", "--socket", "../x", expect=1)


def test_before_macos_26_there_is_no_broker(folder):
    mac = Mac(folder, "15.6.1")
    mac.run("install")
    assert [name for name in INSTALLED if "broker" not in name] == mac.files()
    assert not [line for line in mac.calls() if BROKER in line]


def test_an_agent_is_installed_without_root(mac):
    said = mac.run("install", "--user-agent", "--socket", "shared")
    home = "Users/ann"
    assert mac.files() == [f"{home}/.vmswitch/bin/vmswitch", f"{home}/.vmswitch/bin/vmswitchd",
                           f"{home}/Library/LaunchAgents/{BROKER}.plist", f"{home}/Library/LaunchAgents/{LABEL}.plist"]
    assert mac.calls("dscl") == [] and "chown" not in (mac.state / "calls").read_text()
    uid = os.getuid()
    assert mac.calls("launchctl")[:2] == [f"launchctl enable gui/{uid}/{LABEL}",
                                          f"launchctl bootstrap gui/{uid} /Users/ann/Library/LaunchAgents/{LABEL}.plist"]
    job = mac.plist(folder=f"{home}/Library/LaunchAgents")
    assert job["StandardErrorPath"] == "/Users/ann/Library/Logs/vmswitchd.log"
    assert job["Sockets"]["shared.stream"] == {"SockFamily": "Unix", "SockType": "stream", "SockPathMode": 0o600,
                                               "SockPathName": f"/tmp/vmswitch-{uid}/shared.stream"}
    assert "@" not in (mac.root / home / "Library/LaunchAgents" / f"{LABEL}.plist").read_text()
    assert f"/tmp/vmswitch-{uid}/api.sock" in said
    mac.run("uninstall", "--user-agent", "--purge")
    assert mac.files() == []


def make_unsafe(mac, how, path):
    if how == "link":
        path.rename(path.with_name("elsewhere"))
        path.symlink_to("elsewhere")
    elif how == "owner":
        os.chown(path, 12345, 0)
    else:
        path.chmod({"group": 0o775, "others": 0o757}[how])


@pytest.mark.parametrize("how, said", [("link", "is a symbolic link"), ("group", "others may write to"), ("others", "others may write to"),
                                       ("owner", "belongs to the user 12345")])
@pytest.mark.parametrize("where", ["opt", "Library/LaunchDaemons", "Library", "private/etc"])
def test_a_way_that_others_could_change_is_refused(mac, how, said, where):
    if how == "owner" and os.geteuid() != 0:
        pytest.skip("needs root")
    make_unsafe(mac, how, mac.root / where)
    before = mac.files()
    assert f"{said}" in (text := mac.run("install", expect=1)) and f"/{where}" in text
    assert mac.files() == before and mac.calls() == []


@pytest.mark.parametrize("how, said", [("link", "is a symbolic link"), ("group", "others may write to"), ("owner", "belongs to the user 12345")])
@pytest.mark.parametrize("where", ["opt", "opt/vmswitch/bin", "Library/LaunchDaemons", "private/etc/vmswitch"])
def test_nothing_is_removed_by_a_way_that_others_could_change(mac, how, said, where):
    """root would remove what somebody else has put there."""
    if how == "owner" and os.geteuid() != 0:
        pytest.skip("needs root")
    mac.run("install")
    make_unsafe(mac, how, mac.root / where)
    before = mac.files()
    assert f"{said}" in (text := mac.run("uninstall", "--purge", expect=1)) and f"/{where}" in text
    assert mac.files() == before and mac.calls() == []


@pytest.mark.parametrize("script", ["install", "uninstall"])
def test_an_access_control_list_that_lets_others_write_is_refused(mac, script):
    """ls -e is macOS's alone: a pretend ls says what it would."""
    mac.run("install")
    tool = mac.root.parent / "tools" / "ls"
    tool.write_text("""#!/bin/sh
case "$*" in
"-lde "*/opt) echo 'drwxr-xr-x+ 3 root wheel 96 1 Jan 12:00 opt'; echo ' 0: user:eve allow add_file,delete_child' ;;
*) exec /bin/ls "$@" ;;
esac
""")
    tool.chmod(0o755)
    before = mac.files()
    assert "an access control list lets others write to" in mac.run(script, expect=1)
    assert mac.files() == before and mac.calls() == []


# ---- the signature ----


def sign(mac, *options, codesign=None):
    if codesign is not None:
        (mac.root.parent / "tools" / "codesign").write_text(f"#!/bin/sh\nprintf '%s\\n' \"codesign $*\" >> \"$STATE/calls\"\n{codesign}\n")
    (mac.state / "calls").write_text("")
    done = subprocess.run(["sh", str(MACOS / "sign.sh"), *map(str, options)], env=mac.environment, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def test_signing_is_ad_hoc_with_the_entitlement_and_is_looked_at(mac):
    program = mac.built / "vmswitchd"
    assert sign(mac, program) == (0, "")
    assert (mac.state / "calls").read_text().splitlines() == [
        f"codesign --force --sign - --identifier io.github.vmswitch.vmswitchd --entitlements {MACOS}/vmswitch.entitlements {program}",
        f"codesign --verify --strict {program}", f"codesign --display --entitlements - {program}"]
    code, said = sign(mac, "--dry-run", program)
    assert code == 0 and "would run: codesign --force --sign -" in said and mac.calls() == []


@pytest.mark.parametrize("codesign, why", [
    ("case $1 in --force) exit 1 ;; esac", "could not be signed; is Xcode's command line part there? xcode-select --install"),
    ("case $1 in --verify) exit 1 ;; esac", "the signature of"),
    ("exit 0", "has no entitlement com.apple.security.virtualization after signing"),
])
def test_a_signature_that_does_not_hold_is_said(mac, codesign, why):
    code, said = sign(mac, mac.built / "vmswitchd", codesign=codesign)
    assert code == 1 and why in said
    before = mac.files()
    assert why in mac.run("install", expect=1)  # and the installation ends there, before launchd hears of it
    assert mac.calls("launchctl") == []
    assert [name for name in mac.files() if name not in before and not name.endswith(".new")] == []


def test_what_is_to_be_signed_is_named(mac):
    assert sign(mac) == (1, "sign: error: no file; see --help\n")
    assert sign(mac, mac.built / "none")[1].endswith("none does not exist; build it first\n")


def test_an_unsafe_prefix_is_refused_and_a_safe_one_is_used(mac):
    homebrew = mac.root / "opt/homebrew"
    homebrew.mkdir()
    homebrew.chmod(0o775)
    assert "or choose another --prefix" in mac.run("install", "--prefix", "/opt/homebrew/vmswitch", expect=1)
    assert mac.calls() == []
    for bad in ("relative", "/opt/../opt/x", "/opt/a|b"):
        mac.run("install", "--prefix", bad, expect=1)
    mac.run("install", "--prefix", "/opt/my own/vmswitch")
    assert mac.plist()["ProgramArguments"][0] == "/opt/my own/vmswitch/bin/vmswitchd"


def test_a_dry_run_does_nothing(mac):
    said = mac.run("install", "--dry-run")
    assert mac.files() == [] and mac.calls() == []
    for words in ("dscl . -create /Users/_vmswitch", f"launchctl bootstrap system", "codesign --force", "mv -f", f"would write {mac.root}/Library"):
        assert words in said
    mac.run("install")
    before = mac.files()
    assert "would run: launchctl bootout system" in mac.run("uninstall", "--dry-run", "--purge")
    assert mac.files() == before and mac.calls() == []


def test_uninstall_takes_everything_back(mac):
    mac.run("install")
    mine = mac.root / "private/etc/vmswitch/vmswitchd.conf"
    mine.write_text("{}")
    mac.run("uninstall")
    assert mac.calls() == [f"launchctl bootout system/{BROKER}", f"launchctl bootout system/{LABEL}"]
    assert mac.files() == ["private/etc/vmswitch/vmswitchd.conf", "private/var/log/vmswitch-broker.log"]
    assert not (mac.root / "opt/vmswitch").exists()
    mac.run("uninstall")  # once more is fine
    assert mac.calls() == []
    mac.run("uninstall", "--purge")
    assert mac.calls() == ["dscl . -delete /Users/_vmswitch", "dscl . -delete /Groups/_vmswitch", "dscl . -delete /Groups/vmswitch"]
    assert mac.files() == []


def test_what_is_not_built_is_said(mac):
    (mac.built / "vmswitch").unlink()
    assert "or say --from" in mac.run("install", expect=1)
    assert mac.calls() == []


@pytest.mark.skipif(not shutil.which("shellcheck"), reason="needs shellcheck")
def test_the_scripts_are_plain_sh():
    subprocess.run(["shellcheck", "-x", "-s", "sh", *map(str, sorted(MACOS.glob("*.sh")))], check=True, cwd=ROOT)


def test_the_scripts_are_syntax_of_every_sh():
    for path in MACOS.glob("*.sh"):
        for shell in ("sh", "bash"):
            subprocess.run([shell, "-n", str(path)], check=True)
