# SPDX-License-Identifier: Apache-2.0
"""agentcore run without a daemon: exit statuses, signals, terminal, accounts, orphans."""
import fcntl
import json
import os
import pty
import select
import signal
import subprocess
import sys
import termios
import time

import tap
from tap import check, equal, run, test, wait_for

FIELDS = ["id", "exit_code", "wall_seconds", "cpu_seconds", "memory_peak_mb", "disk_read_mb",
          "disk_write_mb", "network_mb", "processes_total", "file_descriptors_peak"]


def standalone(*arguments, **more):
    return run("run", "--standalone", *arguments, **more)


def python(code, *arguments):
    return [sys.executable, "-S", "-c", code, *arguments]


@test
def exit_statuses():
    """the exit status is the command's, 128+N for signals, 126 and 127 as env has them"""
    directory = tap.directory()
    plain = os.path.join(directory, "plain")
    with open(plain, "w", encoding="utf-8") as file:
        file.write("not a program")
    for command, wanted in ((["true"], 0), (["false"], 1), (["sh", "-c", "exit 42"], 42),
                            (["sh", "-c", "exit 255"], 255),
                            (["sh", "-c", "kill -TERM $$"], 143),
                            (["sh", "-c", "kill -KILL $$"], 137),
                            (["sh", "-c", "kill -SEGV $$"], 139),
                            ([plain], 126), ([directory], 126),
                            (["/nonexistent/program"], 127), (["no-such-program-here"], 127)):
        path = {"PATH": "/usr/bin:/bin"}  # without directories that this user may not search
        result = standalone("--json", "--", *command, env=path)
        equal(result.code, wanted, f"{command} {result.err}")
        equal(result.last()["exit_code"], wanted, command)
        equal(standalone("-q", *command, env=path).code, wanted, f"quiet {command}")


@test
def summary_has_the_documented_fields():
    """--json ends standard error with one object of the documented fields"""
    result = standalone("--json", "--id", "agent-1", "sh", "-c", "printf 'no newline' >&2")
    last = result.last()
    equal(list(last)[:len(FIELDS)], FIELDS, "fields")
    equal(last["id"], "agent-1")
    equal(last["network_mb"], None, "unknown is null")
    check(last["memory_peak_mb"] > 0.2 and last["wall_seconds"] > 0)
    check(last["processes_total"] >= 1)
    equal(result.err.splitlines()[0], "no newline", "the command's own output")


@test
def output_for_people():
    """without --json the summary is for people, and --quiet is silent"""
    result = standalone("--id", "x", "true")
    check(result.err.startswith("agentcore: x (react) ended with 0 after "), result.err)
    check("\033" not in result.err, "no colours without a terminal")
    check("\033[" in standalone("--color", "always", "true").err)
    equal(standalone("-q", "true").err, "")
    equal(result.out, "")


@test
def environment_and_arguments():
    """arguments, environment, directory and descriptors reach the command as they are"""
    result = standalone("-q", "--", *python(
        "import os,sys; print(sys.argv[1:], os.getcwd(), os.environ['AGENTCORE_AGENT_ID'], "
        "os.environ['WITH'], sorted(map(int, os.listdir('/proc/self/fd')))[:-1])",
        "--json", "-x", "--", "a b"), env={"WITH": "x=y"}, cwd="/")
    equal(result.err, "")
    check(result.out.startswith("['--json', '-x', '--', 'a b'] / python"), result.out)
    check(" x=y [0, 1, 2]" in result.out, "only the standard descriptors: " + result.out)


@test
def signal_state_is_inherited():
    """the command gets the signal mask and dispositions that agentcore was started with"""
    result = standalone("-q", "--", "grep", "-E", "^Sig(Blk|Ign|Cgt)", "/proc/self/status")
    plain = run("-E", "^Sig(Blk|Ign|Cgt)", "/proc/self/status", program="grep")
    equal(result.out, plain.out)


BURN = """
import os, resource, sys, time
def burn(seconds):
    while time.process_time() < seconds: pass
def used():
    me = resource.getrusage(resource.RUSAGE_SELF)
    return me.ru_utime + me.ru_stime
out = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND)
def done(extra=0):
    os.write(out, b'%.6f\\n' % (used() + extra)); os._exit(0)
"""


def accounts(code):
    """Runs a workload whose processes note their own CPU time as they end; returns both sums."""
    notes = os.path.join(tap.directory(), "notes")
    open(notes, "w", encoding="utf-8").close()
    result = standalone("--json", "--", *python(BURN + code, notes))
    equal(result.code, 0, result.err)
    with open(notes, encoding="utf-8") as file:
        noted = [float(line) for line in file]
    return result.last(), sum(noted), len(noted)


@test
def cpu_of_waited_children_is_exact():
    """cpu_seconds equals the processes' own accounts: short-lived children, waited for"""
    last, noted, n = accounts("""
for i in range(40):
    if os.fork() == 0:
        burn(0.01); done()
    os.wait()
children = resource.getrusage(resource.RUSAGE_CHILDREN)
done()
""")
    equal(n, 41, "notes")
    # What a process does after its note is its exit; 40 of them take well below 100 ms.
    check(0 <= last["cpu_seconds"] - noted < 0.1, last["cpu_seconds"], noted)


@test
def cpu_equals_getrusage():
    """cpu_seconds equals getrusage(RUSAGE_CHILDREN) of the parent of the same tree"""
    code = ("import resource,subprocess,sys; subprocess.run(sys.argv[1:]); "
            "r=resource.getrusage(resource.RUSAGE_CHILDREN); print(r.ru_utime+r.ru_stime)")
    work = "i=0; while [ $i -lt 60 ]; do head -c 300000 /dev/zero | cksum >/dev/null; i=$((i+1)); done"
    result = standalone("--json", "--", *python(code, "sh", "-c", work))
    below = float(result.out)
    cpu = result.last()["cpu_seconds"]
    # The difference is the Python process itself.
    check(below <= cpu < below + 0.5, cpu, below)


@test
def cpu_of_orphans_is_exact():
    """cpu_seconds holds what double-forked grandchildren use that nobody in the tree waits for"""
    last, noted, n = accounts("""
for i in range(20):
    if os.fork() == 0:
        if os.fork() == 0:
            os.setsid(); burn(0.015); done()
        done()
    os.wait()
while open(sys.argv[1]).read().count('\\n') < 40: time.sleep(0.05)
time.sleep(0.3)   # they have ended by now, and were reaped by their subreaper
done()
""")
    equal(n, 41, "notes")
    check(0 <= last["cpu_seconds"] - noted < 0.15, last["cpu_seconds"], noted)
    equal(last["orphans"], 0)


@test
def disk_is_exact():
    """disk_write_mb holds what short-lived children wrote"""
    path = os.path.join(tap.directory(), "file")
    result = standalone("--json", "--", "dd", "if=/dev/zero", f"of={path}", "bs=1M", "count=8",
                        "conv=fsync", "status=none")
    wrote = result.last()["disk_write_mb"]
    if wrote == 0 or wrote is None:
        raise tap.Skip("the file system of the temporary directory keeps no accounts")
    check(7.9 <= wrote <= 12, wrote)


@test
def memory_peak_is_seen():
    """memory_peak_mb holds a burst far shorter than the sampling interval"""
    result = standalone("--json", "--", *python("b = bytearray(200 << 20); b[::4096] = b'x' * len(b[::4096])"))
    peak = result.last()["memory_peak_mb"]
    check(200 <= peak < 300, peak)


@test
def descriptors_peak_is_seen():
    """file_descriptors_peak holds what a process had open over many samples"""
    result = standalone("--json", "--", *python(
        "import time; f = [open('/dev/null') for i in range(100)]; time.sleep(4)"))
    peak = result.last()["file_descriptors_peak"]
    check(103 <= peak < 130, peak)


@test
def processes_are_counted():
    """processes_total counts processes that were reaped here or seen"""
    result = standalone("--json", "sh", "-c", "sleep 0.5 & sleep 0.5 & sleep 0.5 & wait")
    equal(result.last()["processes_total"], 4)


@test
def short_processes_are_counted():
    """processes_total is exact for processes far shorter than the sampling interval"""
    with open("/proc/sys/kernel/perf_event_paranoid", encoding="utf-8") as file:
        if int(file.read()) > 2 and os.geteuid() != 0:
            raise tap.Skip("kernel.perf_event_paranoid lets this user count no forks")
    result = standalone("--json", "sh", "-c", "i=0; while [ $i -lt 300 ]; do /bin/true; i=$((i+1)); done")
    equal(result.last()["processes_total"], 301)


@test
def orphans_are_left():
    """what the command leaves behind is reported and lives on; run does not wait for it"""
    start = time.monotonic()
    result = standalone("--json", "sh", "-c", "sleep 30 >&- 2>&- & echo $!")
    check(time.monotonic() - start < 10, "did not wait")
    pid = int(result.out)
    check(tap.alive(pid), "lives on")
    os.kill(pid, signal.SIGKILL)
    equal(result.last()["orphans"], 1)


@test
def orphans_are_named():
    """the summary for people names what is left behind"""
    result = standalone("sh", "-c", "sleep 30 >&- 2>&- & echo $!")
    os.kill(int(result.out), signal.SIGKILL)
    check(f"left behind: 1 process; alive: {result.out.strip()} sleep" in result.err, result.err)


@test
def orphans_are_killed():
    """--kill-orphans ends also what ignores SIGTERM and what forked away"""
    script = ("(trap '' TERM; sleep 31 & setsid sleep 32 & echo $!; wait) & "
              "setsid sleep 33 & echo $!; sleep 0.3")
    start = time.monotonic()
    result = standalone("--json", "--kill-orphans", "sh", "-c", script)
    check(time.monotonic() - start < 15, "took too long")
    for pid in result.out.split():
        check(not tap.alive(int(pid)), f"{pid} lives")
    check(result.last()["orphans"] >= 3, result.last())


def start(*command, **more):
    return subprocess.Popen([tap.AGENTCORE, "run", "--standalone", "--json", "--", *command],
                            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, env=tap.ENVIRONMENT, **more)


TRAPS = """
import os, signal, sys, time
def note(number, frame):
    os.write(1, b'%s\\n' % signal.Signals(number).name.encode())
    if number == signal.SIGTERM: os._exit(9)
for name in ('INT', 'HUP', 'QUIT', 'USR1', 'USR2', 'TERM'):
    signal.signal(getattr(signal, 'SIG' + name), note)
os.write(1, b'ready\\n')
while True: time.sleep(0.02)  # pause() would sleep on where a signal came just before it
"""


@test
def signals_are_passed_on():
    """INT, HUP, QUIT, USR1, USR2 and TERM sent to run reach the command"""
    process = start(*python(TRAPS), start_new_session=True)
    equal(process.stdout.readline(), b"ready\n")
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2,
                   signal.SIGTERM):
        process.send_signal(number)
        equal(process.stdout.readline(), number.name.encode() + b"\n")
    _, err = process.communicate(timeout=20)
    equal(process.returncode, 9)
    equal(json.loads(err.splitlines()[-1])["exit_code"], 9)


@test
def fatal_signal_is_the_exit_status():
    """a command that dies of the signal passed on gives 128+N, with a summary"""
    process = start("sh", "-c", "echo ready; exec sleep 60", start_new_session=True)
    equal(process.stdout.readline(), b"ready\n")
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    equal(process.returncode, 130)
    equal(json.loads(err.splitlines()[-1])["exit_code"], 130)


@test
def sigchld_ignored_by_the_caller():
    """accounts hold where the caller ignores SIGCHLD, and the command still ignores it"""
    code = ("import signal,os,sys; signal.signal(signal.SIGCHLD, signal.SIG_IGN); "
            "os.execvp(sys.argv[1], sys.argv[1:])")
    result = run("-S", "-c", code, tap.AGENTCORE, "run", "--standalone", "--json", "--",
                 sys.executable, "-S", "-c",
                 "import time,signal\nwhile time.process_time() < 0.2: pass\n"
                 "print(signal.getsignal(signal.SIGCHLD) is signal.SIG_IGN)",
                 program=sys.executable)
    equal(result.out.strip(), "True")
    check(result.last()["cpu_seconds"] >= 0.2, result.last())


# ---- With a terminal


class Terminal:
    """A command on a pseudo terminal, under a shell-like parent that does job control."""

    def __init__(self, *command, env=None):
        self.output = b""
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.execve(command[0], command, dict(tap.ENVIRONMENT, **(env or {})))

    def read_until(self, text, timeout=20):
        end = time.monotonic() + timeout
        while text not in self.output:
            left = end - time.monotonic()
            check(left > 0, f"{text!r} not in {self.output!r}")
            if select.select([self.fd], [], [], left)[0]:
                try:
                    self.output += os.read(self.fd, 65536)
                except OSError:
                    break
        check(text in self.output, f"{text!r} not in {self.output!r}")
        before, self.output = self.output.split(text, 1)
        return before

    def write(self, data):
        os.write(self.fd, data)

    def wait(self, timeout=20):
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            if select.select([self.fd], [], [], 0.05)[0]:
                try:
                    self.output += os.read(self.fd, 65536)
                except OSError:
                    pass
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                os.close(self.fd)
                return os.waitstatus_to_exitcode(status)
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        raise AssertionError(f"still runs: {self.output!r}")


def on_terminal(*command):
    return Terminal(tap.AGENTCORE, "run", "--standalone", "--id", "t", "--", *command)


@test
def terminal_is_the_commands_own():
    """the command sees the terminal, reads from it, and is in its foreground"""
    terminal = on_terminal(*python(
        "import os; print('tty', [os.isatty(i) for i in (0, 1, 2)], "
        "os.tcgetpgrp(0) == os.getpgrp()); print('got', input())"))
    terminal.read_until(b"tty [True, True, True] True")
    terminal.write(b"hello\n")
    terminal.read_until(b"got hello")
    terminal.read_until(b"ended with")
    equal(terminal.wait(), 0)


@test
def control_c():
    """Ctrl-C reaches the command once; run survives it and says how it ended"""
    terminal = on_terminal(*python(
        "import signal,os,time\n"
        "n=[0]\n"
        "def note(*a): n[0]+=1\n"
        "signal.signal(signal.SIGINT, note)\n"
        "print('ready', flush=True)\n"
        "while not n[0]: time.sleep(0.01)\n"
        "time.sleep(0.3)\n"
        "print('interrupted', n[0])\n"))
    terminal.read_until(b"ready")
    terminal.write(b"\x03")
    terminal.read_until(b"interrupted 1\r\n")
    terminal.read_until(b"ended with 0")
    equal(terminal.wait(), 0)
    terminal = on_terminal("sleep", "60")
    wait_for("sleep in the foreground", lambda: children(terminal.pid))
    time.sleep(0.1)
    terminal.write(b"\x03")
    terminal.read_until(b"ended with 130")
    equal(terminal.wait(), 130)


def children(pid):
    with open(f"/proc/{pid}/task/{pid}/children", encoding="utf-8") as file:
        return file.read().split()


@test
def window_size():
    """a change of the window's size reaches the command"""
    terminal = on_terminal(*python(
        "import signal,os,time\n"
        "def note(*a): print('size', os.get_terminal_size().columns, flush=True); os._exit(0)\n"
        "signal.signal(signal.SIGWINCH, note)\n"
        "print('ready', flush=True)\n"
        "while True: time.sleep(0.02)\n"))
    terminal.read_until(b"ready")
    fcntl.ioctl(terminal.fd, termios.TIOCSWINSZ, b"\x28\x00\x5d\x00\x00\x00\x00\x00")
    terminal.read_until(b"size 93")
    equal(terminal.wait(), 0)


@test
def job_control():
    """Ctrl-Z stops command and run, a shell sees the job stopped, fg continues both"""
    terminal = Terminal("/bin/bash", "--norc", "--noprofile", "-i",
                        env={"PS1": "prompt> ", "HISTFILE": ""})
    terminal.read_until(b"prompt> ")
    code = "import time; print('be'+'gun', flush=True); time.sleep(3); print('fin'+'ished')"
    command = f"{tap.AGENTCORE} run --standalone -q -- {sys.executable} -S -c \"{code}\"\n"
    terminal.write(command.encode())
    terminal.read_until(b"begun")
    terminal.write(b"\x1a")
    terminal.read_until(b"Stopped")
    terminal.read_until(b"prompt> ")
    terminal.write(b"fg; echo code=$?\n")
    terminal.read_until(b"finished")
    terminal.read_until(b"code=0")
    terminal.write(b"exit\n")
    equal(terminal.wait(), 0)


@test
def job_control_by_signal():
    """SIGTSTP and SIGCONT sent to run alone stop and continue the command as well"""
    process = start("sh", "-c", "echo ready; exec sleep 60", process_group=0)
    equal(process.stdout.readline(), b"ready\n")
    child = int(children(process.pid)[0])
    process.send_signal(signal.SIGTSTP)
    wait_for("run stopped", lambda: state(process.pid) == "T")
    wait_for("command stopped", lambda: state(child) == "T")
    process.send_signal(signal.SIGCONT)
    wait_for("run continues", lambda: state(process.pid) != "T")
    wait_for("command continues", lambda: state(child) != "T")
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=20)
    equal(process.returncode, 143)


def state(pid):
    with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
        return file.read().rsplit(")", 1)[1].split()[0]


# ---- Not root


@test
def ordinary_user():
    """an ordinary user gets the same accounts"""
    result = run("run", "--standalone", "--json", "sh", "-c", "id -u; head -c 30000000 /dev/zero | cksum >/dev/null",
                 user=tap.NOBODY)
    equal(result.code, 0, result.err)
    equal(result.out.strip(), str(tap.NOBODY))
    last = result.last()
    check(last["cpu_seconds"] > 0.005, last)
    check(last["processes_total"] >= 2, last)


@test
def hostile_names():
    """names of processes and commands cannot speak to the terminal"""
    result = standalone("--id", "h", "--", *python(
        "import ctypes,os\n"
        "if os.fork() == 0:\n"
        "    open('/proc/self/comm','w').write('\\x1b[31m\\n) S 1')\n"
        "    os.close(1); os.close(2)\n"
        "    import time; time.sleep(20); os._exit(0)\n"
        "import time; time.sleep(0.3)\n"))
    check("\033" not in result.err and "\\x1b[31m" in result.err, repr(result.err))
    pid = int(result.err.split("alive: ")[1].split()[0])
    os.kill(pid, signal.SIGKILL)


@test
def bad_metering_is_no_failure():
    """a command started with all descriptors closed still runs and gives its exit status"""
    result = run("-c", f"exec {tap.AGENTCORE} run --standalone -q -- sh -c 'exit 3' <&- >&- 2>&-",
                 program="sh")
    equal(result.code, 3)


tap.main()
