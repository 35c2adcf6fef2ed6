# SPDX-License-Identifier: Apache-2.0
"""What the checks of the source tree share: its files, C without comments, and TAP output."""

import os
import pathlib
import re
import subprocess

ROOT = pathlib.Path(__file__).resolve().parent.parent


def tree_files():
    """Paths of the project's files relative to ROOT: what git knows or would add."""
    try:
        out = subprocess.run(["git", "-c", "safe.directory=*", "ls-files", "-coz", "--exclude-standard"], cwd=ROOT,
                             check=True, capture_output=True).stdout
        names = [name for name in out.decode().split("\0") if name]
    except (OSError, subprocess.CalledProcessError):
        names = []
        for folder, folders, files in os.walk(ROOT):
            folders[:] = [f for f in folders if f not in ("build", "__pycache__") and f[0] != "."]
            names += [os.path.relpath(os.path.join(folder, f), ROOT) for f in files]
    return sorted(name for name in set(names) if (ROOT / name).is_file())


def read(name):
    return (ROOT / name).read_text(encoding="utf-8", errors="replace")


def is_generated(name):
    """Whether a program made this file: it says so at its start ("Made by ...")."""
    return "vmlinux" in name or "/* Made by " in read(name)[:400]


_C_TOKENS = re.compile(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.S)


def c_code_only(text):
    """Replaces comments, and the insides of strings, by nothing; keeps line breaks."""
    def blank(match):
        token = match.group(0)
        if token[0] in "\"'":
            return token[0] * 2
        return "\n" * token.count("\n") or " "
    return _C_TOKENS.sub(blank, text)


class Tap:
    """Prints one TAP case per check; a check fails where it has offenders."""

    def __init__(self):
        self.count = 0
        self.failed = 0

    def case(self, name, offenders):
        self.count += 1
        offenders = list(offenders)
        self.failed += bool(offenders)
        print(f"{'not ok' if offenders else 'ok'} {self.count} - {name}")
        for offender in offenders:
            for line in str(offender).splitlines():
                print(f"#   {line}")

    def skip(self, name, reason):
        self.count += 1
        print(f"ok {self.count} - {name} # SKIP {reason}")

    def finish(self):
        print(f"1..{self.count}", flush=True)
        return 1 if self.failed else 0
