"""Programs over files: what the tests of `dcfs map`, `gen` and `agg` share."""

import json
import subprocess
import sys
import textwrap
import time

import datachain_runs
import mounts
from written import ask, versions


class Work:
    def __init__(self, dcfs, here):
        self.dcfs, self.here = dcfs, here

    def run(self, *words, **options):
        return self.dcfs.run(*words, cwd=self.here, **options)

    def ok(self, *words, **options):
        result = self.run(*words, **options)
        assert result.returncode == 0, (words, result.stdout, result.stderr)
        return result.stdout

    def refused(self, code, *words, **options):
        """Its standard error."""
        result = self.run(*words, **options)
        assert result.returncode == code, (words, result.returncode, result.stdout, result.stderr)
        return result.stderr

    def write(self, name, text, mode=0o755):
        path = self.here / name
        path.write_text(textwrap.dedent(text).lstrip("\n"))
        path.chmod(mode)
        return path

    def function(self, text, name="info.py"):
        """A Python file."""
        self.write(name, text)
        return name

    def start(self, *words):
        return subprocess.Popen(
            [mounts.DCFS, *words],
            cwd=self.here,
            env=self.dcfs.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def python(self, script):
        """The output of a script."""
        environment = datachain_runs.clean_environment(self.here)
        words = [sys.executable, "-c", textwrap.dedent(script)]
        result = subprocess.run(words, cwd=self.here, env=environment, capture_output=True, text=True, timeout=120)
        assert result.returncode == 0, result.stderr
        return result.stdout

    def rows(self, name, columns):
        version = versions(self.here, name)[-1].replace(".", "_")
        return ask(self.here, f'SELECT {columns} FROM "ds_local_local_{name}_{version}" ORDER BY sys__id')

    def runs(self):
        return json.loads(self.ok("runs", "--json"))

    def done(self, *words):
        """The last event of a run."""
        return json.loads(self.ok(words[0], "--json", *words[1:]).splitlines()[-1])

    def calls(self):
        """The names of the files that `COUNTED` was called for, in order."""
        path = self.here / "calls"
        return path.read_text().split() if path.exists() else []

    def reset(self):
        (self.here / "calls").unlink(missing_ok=True)


COUNTED = """
    import os, time

    def size(file) -> int:
        with open("calls", "a") as calls:
            calls.write(file.name + "\\n")
        time.sleep(float(os.environ.get("SLOW", "0")))
        return len(file.read())
"""


SIZES = [n + 1 for n in range(30)]


# Signals and kills.


def wait_until(what, timeout=60):
    end = time.monotonic() + timeout
    while not what():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)
