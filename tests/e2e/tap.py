# SPDX-License-Identifier: Apache-2.0
"""Small TAP producer for the end-to-end tests, and the programs under test.

A script is called with the paths of agentcored and agentcore, defines functions decorated with
@test, and ends with tap.main(). Every script that needs a daemon starts its own on a private
socket and ends it by its pid.
"""
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback

AGENTCORED = os.path.abspath(sys.argv[1]) if len(sys.argv) > 1 else "agentcored"
AGENTCORE = os.path.abspath(sys.argv[2]) if len(sys.argv) > 2 else "agentcore"
NOBODY = 65534

_tests = []


class Skip(Exception):
    """Raised with the reason why a test cannot run here."""


def test(function):
    _tests.append(function)
    return function


def todo(reason):
    """Marks a test that cannot pass yet: it is told where it fails, and fails nothing."""
    def mark(function):
        function.todo = reason
        return function
    return mark


def check(condition, *what):
    if not condition:
        raise AssertionError(" ".join(str(w) for w in what) or "check failed")


def equal(got, wanted, what=""):
    check(got == wanted, f"{what}: got {got!r}, wanted {wanted!r}")


def main():
    print(f"1..{len(_tests)}", flush=True)
    failed = 0
    for number, function in enumerate(_tests, 1):
        name = (function.__doc__ or function.__name__).strip().splitlines()[0]
        try:
            function()
            print(f"ok {number} - {name}", flush=True)
        except Skip as reason:
            print(f"ok {number} - {name} # SKIP {reason}", flush=True)
        except Exception:
            reason = getattr(function, "todo", None)
            failed += not reason
            print(f"not ok {number} - {name}" + (f" # TODO {reason}" if reason else ""),
                  flush=True)
            for line in traceback.format_exc().splitlines():
                print("# " + line, flush=True)
    cleanup()
    sys.exit(1 if failed else 0)


_daemons = []
_directories = []


def register(daemon):
    """Has a daemon that is not a Daemon's own making ended with the tests."""
    _daemons.append(daemon)


def cleanup():
    for daemon in _daemons:
        daemon.stop()
    for directory in _directories:
        shutil.rmtree(directory, ignore_errors=True)


def directory(mode=0o700):
    """A fresh temporary directory, removed at the end."""
    path = tempfile.mkdtemp(prefix="agentcore-e2e-")
    os.chmod(path, mode)
    _directories.append(path)
    return path


# What the environment of the tests' machine must not change.
ENVIRONMENT = {k: v for k, v in os.environ.items()
               if not k.startswith("AGENTCORE_") and k not in ("NO_COLOR", "XDG_RUNTIME_DIR")}
ENVIRONMENT.update(LC_ALL="C.UTF-8", TERM="xterm")
EMPTY = directory()
ENVIRONMENT["XDG_RUNTIME_DIR"] = EMPTY  # no daemon of somebody else's is found by chance


class Result:
    def __init__(self, process, out, err):
        self.code = process.returncode
        self.out = out.decode("utf-8", "replace")
        self.err = err.decode("utf-8", "replace")

    def json(self):
        return json.loads(self.out)

    def last(self):
        """The object on the last line of standard error."""
        return json.loads(self.err.splitlines()[-1])


def run(*arguments, user=None, env=None, timeout=60, stdin=subprocess.DEVNULL, **more):
    """Runs agentcore (or, with program=..., another program) to its end."""
    program = more.pop("program", AGENTCORE)
    environment = dict(ENVIRONMENT, **(env or {}))
    command = [program, *map(str, arguments)]
    if user is not None:
        command = as_user(user) + command
    process = subprocess.Popen(command, stdin=stdin, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, env=environment, **more)
    try:
        out, err = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        out, err = process.communicate()
        raise AssertionError(f"{arguments} took more than {timeout} s: {out!r} {err!r}")
    return Result(process, out, err)


def as_user(uid):
    """A prefix that runs a command as another user; needs root and programs it can reach."""
    if os.geteuid() != 0:
        raise Skip("needs root to become another user")
    if not shutil.which("setpriv"):
        raise Skip("setpriv is not installed")
    prefix = ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", "--"]
    probe = subprocess.run([*prefix, AGENTCORE, "version"], env=ENVIRONMENT,
                           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    if probe.returncode != 0:
        raise Skip(f"user {uid} cannot execute {AGENTCORE}")
    return prefix


def wait_for(what, condition, timeout=20):
    """Polls until condition() is true and returns what it returned."""
    end = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"{what}: not within {timeout} s")
        time.sleep(0.02)


class Daemon:
    """An agentcored of its own: private socket, state in memory unless a directory is given."""

    def __init__(self, *arguments, state="none", interval="100ms", config=None, open_to_all=False):
        self.directory = directory(0o755 if open_to_all else 0o700)
        self.socket = os.path.join(self.directory, "agentcored.sock")
        self.log = os.path.join(self.directory, "log")
        self.arguments = [AGENTCORED, "--socket", self.socket, "--state", state,
                          "--interval", interval, *arguments]
        if config is not None:
            path = os.path.join(self.directory, "agentcored.yaml")
            with open(path, "w", encoding="utf-8") as file:
                file.write(config)
            self.arguments += ["--config", path]
        self.process = None
        _daemons.append(self)
        self.start()

    def start(self):
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(self.arguments, stdin=subprocess.DEVNULL,
                                            stdout=log, stderr=log, env=ENVIRONMENT)
        wait_for("the daemon's socket", self.answers, 30)

    def answers(self):
        if self.process.poll() is not None:
            with open(self.log, encoding="utf-8", errors="replace") as log:
                raise AssertionError(f"the daemon ended with {self.process.returncode}: "
                                     + log.read()[-2000:])
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(self.socket)
                return True
            except OSError:
                return False

    def stop(self):
        """Ends it; returns its exit status."""
        if self.process is None:
            return None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        code = self.process.returncode
        self.process = None
        return code

    def run(self, *arguments, **more):
        return run("--socket", self.socket, *arguments, **more)

    def json(self, *arguments, **more):
        """The JSON that a command prints; it must succeed."""
        result = self.run(*arguments, "--json", **more)
        equal(result.code, 0, f"{arguments} {result.err}")
        return result.json()


def alive(pid):
    """Whether a process runs (a zombie does not)."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rsplit(b")", 1)[1].split()[0] not in (b"Z", b"X")
    except OSError:
        return False
