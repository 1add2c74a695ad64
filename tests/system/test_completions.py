"""The completions of bash, zsh and fish, in those shells. What they answer is the program's: tests/unit/daemon/test_cli.c."""
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import time

import pytest

from switchd import BIN, ROOT

COMPLETIONS = ROOT / "etc" / "completions"

BASH = r"""
source "$1"; shift
COMP_WORDS=(vmswitch "$@"); COMP_CWORD=$#
compopt() { echo "compopt $*"; }
_vmswitch
printf '%s\n' "${COMPREPLY[@]}"
"""
ZSH = r"""
file=$1; shift
words=(vmswitch "$@"); CURRENT=$(($# + 1))
_describe() { for one in "${(@)${(P)${@[-1]}}}"; do print -r -- "${one%%:*}"; done }
_files() { print -- files }
_normal() { print -r -- "normal $CURRENT $words" }
_vmswitch() { source "$file" }
_vmswitch
"""
FISH = r"""
source $argv[1]
complete -C "$argv[2]" | string replace -r '\t.*' ''
"""


def needs(shell):
    return pytest.mark.skipif(not shutil.which(shell), reason=f"there is no {shell}; etc/install-deps.sh package installs it")


def answer(shell, words):
    """What 'shell' offers behind the words, of which the last is unfinished."""
    if shell == "bash":
        command = ["bash", "--norc", "-c", BASH, "bash", COMPLETIONS / "vmswitch.bash", *words]
    elif shell == "zsh":
        command = ["zsh", "-f", "-c", ZSH, "zsh", COMPLETIONS / "_vmswitch", *words]
    else:
        command = ["fish", "--no-config", "-c", FISH, COMPLETIONS / "vmswitch.fish", " ".join(["vmswitch", *words])]
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=30, check=False,
                          env={"PATH": f"{BIN}:{os.environ['PATH']}", "HOME": "/nonexistent", "VMSWITCH_SOCKET": SOCKET[0]})
    assert done.stderr == "", done.stderr
    return set(done.stdout.split("\n")) - {""}


SOCKET = ["/nonexistent/api.sock"]
SHELLS = [pytest.param(shell, marks=needs(shell)) for shell in ("bash", "zsh", "fish")]


@pytest.fixture(autouse=True)
def no_daemon():
    SOCKET[0] = "/nonexistent/api.sock"


def help_of(*words):
    return subprocess.run([BIN / "vmswitch", *words, "--help"], capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("shell", SHELLS)
def test_offers_every_command_and_every_option_that_help_has(shell):
    commands = set(re.findall(r"^  ([a-z]+(?: (?:add|set))?) ", help_of(), re.M))
    assert "port set" in commands
    assert answer(shell, [""]) == {command.split()[0] for command in commands}
    for command in commands:
        options = set(re.findall(r"^  (--[a-z-]+)", help_of(*command.split()), re.M))
        assert answer(shell, [*command.split(), "--"]) == options, command


@pytest.mark.parametrize("shell", SHELLS)
def test_offers_values_and_names(shell, daemon):
    daemon.create("lab")
    daemon.ask("PUT", "/v1/networks/lab/ports/vm1", {})
    SOCKET[0] = str(daemon.api_path)
    assert answer(shell, ["create", "x", "--mode", "i"]) == {"internal"}
    assert answer(shell, ["fdb", ""]) == {"lab"}
    assert answer(shell, ["port", "set", "lab", "v"]) == {"vm1"}
    assert answer(shell, ["port", ""]) == {"add", "set"}


@needs("bash")
def test_bash_splits_words_at_the_equals_sign():
    assert answer("bash", ["create", "x", "--mode", "=", "s"]) == {"shared"}
    assert answer("bash", ["create", "x", "--mode", "="]) == {"shared", "host", "bridged", "internal"}


@pytest.mark.parametrize("shell", SHELLS)
def test_hands_over_files_and_commands(shell, folder, monkeypatch):
    monkeypatch.chdir(folder)
    (folder / "body.json").touch()
    files, command = answer(shell, ["create", "--json-body", "bod"]), answer(shell, ["run", "lab", "--", "mktem"])
    if shell == "bash":
        assert files == {"compopt -o default"}
        assert "mktemp" in command
    elif shell == "zsh":
        assert files == {"files"}
        assert command == {"normal 1 mktem"}
    else:
        assert "body.json" in files
        assert "mktemp" in command


# What each is started with and what it is told before the first Tab. No start-up file, and no history that may be offered.
INTERACTIVE = {
    "bash": (["bash", "--norc", "--noprofile", "-i"], f"source {COMPLETIONS}/vmswitch.bash"),
    "zsh": (["zsh", "-f", "-i"], f"unsetopt zle_bracketed_paste; fpath=({COMPLETIONS} $fpath); autoload -Uz compinit; compinit -D -u"),
    "fish": (["fish", "--no-config", "-i"], f"source {COMPLETIONS}/vmswitch.fish"),
}


class Terminal:
    """A shell on a terminal, typed at as by a person."""

    def __init__(self, shell, folder):
        command, setup = INTERACTIVE[shell]
        self.text = ""
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.execvpe(command[0], command, {"PATH": f"{BIN}:{os.environ['PATH']}", "HOME": str(folder), "TERM": "xterm", "PS1": "ready> ",
                                             "COLUMNS": "200", "LC_ALL": "C.UTF-8", "VMSWITCH_SOCKET": SOCKET[0]})
        self.type(f"{setup}; echo is-set''-up\r")
        self.wait("is-set-up")

    def type(self, keys):
        self.text = ""
        os.write(self.fd, keys.encode())

    def wait(self, wanted, seconds=20):
        """Until the terminal has shown that, whatever colours and movements of the cursor it came with."""
        deadline = time.monotonic() + seconds
        while wanted not in re.sub(r"\x1b(?:\[[0-9;?>=]*[a-zA-Z]|[()][AB0]|[=>]|\][^\x07]*\x07)|[\x08\r\n]", "", self.text):
            left = deadline - time.monotonic()
            assert left > 0 and select.select([self.fd], [], [], left)[0], f"no {wanted!r} in {self.text!r}"
            self.text += os.read(self.fd, 65536).decode(errors="replace")

    def close(self):
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self.fd)


@pytest.mark.parametrize("shell", SHELLS)
def test_a_person_presses_tab(shell, daemon, folder):
    """The shell itself finds our completion, asks it, and puts what it says on the line."""
    daemon.create("laboratory")
    SOCKET[0] = str(daemon.api_path)
    terminal = Terminal(shell, folder)
    try:
        terminal.type("vmswitch heal\t")
        terminal.wait("vmswitch health ")
        terminal.type("\x15vmswitch ports labo\t")
        terminal.wait("laboratory")
    finally:
        terminal.close()
