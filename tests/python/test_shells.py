"""Completion as people meet it: real shells on a terminal, a word that is half typed, and the tab key."""

import fcntl
import os
import pty
import select
import shutil
import subprocess
import termios
import time

import pytest

import mounts


def needs(program):
    return pytest.mark.skipif(not shutil.which(program), reason=f"no {program}")


LOADS = {
    "bash": "source <(dcfs completions bash)",
    "zsh": "autoload -Uz compinit && compinit -u -D && source <(dcfs completions zsh)",
    "fish": "dcfs completions fish | source",
}
COMMANDS = {"bash": "bash --norc --noprofile -i", "zsh": "zsh -f -i", "fish": "fish --no-config -i"}
SHELLS = [pytest.param(name, marks=needs(name)) for name in LOADS]


class Terminal:
    """A shell on a terminal of its own."""

    def __init__(self, command, environment, folder):
        leader, follower = pty.openpty()
        self.leader = leader
        self.process = subprocess.Popen(
            command,
            stdin=follower,
            stdout=follower,
            stderr=follower,
            env=environment,
            cwd=folder,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(follower, termios.TIOCSCTTY, 0),
        )
        os.close(follower)
        self.seen = ""

    def type(self, text):
        os.write(self.leader, text.encode())

    def until(self, wanted, seconds=20):
        """Reads until the terminal shows something."""
        end = time.monotonic() + seconds
        while wanted not in self.seen:
            assert time.monotonic() < end, f"no {wanted!r} in {self.seen!r}"
            if select.select([self.leader], [], [], 0.1)[0]:
                read = os.read(self.leader, 4096).decode(errors="replace")
                self.seen += read
                # fish queries the terminal, and waits for the answer.
                if "\x1b[c" in read or "\x1b[0c" in read:
                    self.type("\x1b[?6c")

    def settle(self, seconds=0.5):
        """Reads until nothing comes for a while."""
        while select.select([self.leader], [], [], seconds)[0]:
            self.seen += os.read(self.leader, 4096).decode(errors="replace")

    def close(self):
        self.process.kill()
        self.process.wait()
        os.close(self.leader)


@pytest.fixture
def shell(request, dcfs, small_catalog, tmp_path):
    """A shell in the folder of a catalog, that completes."""
    command, load = COMMANDS[request.param].split(), LOADS[request.param]
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/dcfs").symlink_to(mounts.DCFS)
    environment = {**dcfs.environment, "PATH": f"{tmp_path}/bin:/usr/bin:/bin", "TERM": "xterm", "PS1": "$ "}
    terminal = Terminal(command, environment, small_catalog)
    terminal.settle()
    terminal.type(load + "; echo rea''dy\r")
    terminal.until("ready")
    terminal.settle()
    yield terminal
    terminal.close()


@pytest.mark.parametrize("shell", SHELLS, indirect=True)
def test_a_version_is_completed_behind_its_at(shell, dcfs, small_catalog):
    """Bash treats `@` as the end of a word unless told otherwise."""
    shell.type("dcfs schema --json few@1.0\t")
    shell.until("few@1.0.0")
    shell.type("\r")
    shell.until('"columns"')


@pytest.mark.parametrize("shell", SHELLS, indirect=True)
def test_a_column_in_a_filter_is_completed(shell):
    shell.type("dcfs count few --where 'file.siz\t")
    shell.until("file.size")


def completed(dcfs, folder, *words):
    """The completions for the last of the given words."""
    environment = {**dcfs.environment, "COMPLETE": "bash", "_CLAP_COMPLETE_INDEX": str(len(words)), "_CLAP_IFS": "\n"}
    command = [mounts.DCFS, "--", "dcfs", *words]
    done = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


def test_filters_are_completed(dcfs, tmp_path):
    """Columns, and after a comparison the values of a column with few values."""
    # No shell is given what it would obey on the command line, whichever quotes are open.
    for label in ["pug", "shiba inu", "pug\u202e", "beagle", "p$(touch x)", "p`touch x`", "p'; touch x; '", "s\"; touch x"]:
        (tmp_path / "photos" / label).mkdir(parents=True)
        (tmp_path / "photos" / label / "1.jpg").write_bytes(b"")
    dcfs.ok("index", "photos", "--save", "pets", "--with", "path:{label}/{n:int}.jpg", cwd=tmp_path)
    cases = [
        (["count", "pets", "--where", "la"], ["label"]),
        (["count", "pets", "--where", "n > 0 and la"], ["n > 0 and label"]),
        (["count", "pets", "--where", "label = p"], ["label = pug"]),
        (["count", "pets", "--where", "label in (pug, b"], ["label in (pug, beagle"]),
        (["explain", "pets", 'label="s'], ['label="shiba inu"']),
        (["count", "pets", "--where", "n = "], []),
        (["count", "nothing", "--where", "la"], []),
    ]
    for words, offered in cases:
        assert completed(dcfs, tmp_path, *words) == offered, words
