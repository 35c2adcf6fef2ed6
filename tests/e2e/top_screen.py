# SPDX-License-Identifier: Apache-2.0
"""agentcore top on a terminal: draws, sorts, filters, scrolls, resizes, and gives the terminal back."""
import codecs
import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time

import tap
from tap import check, equal, test, wait_for

daemon = tap.Daemon()
agents = [subprocess.Popen([tap.AGENTCORE, "--socket", daemon.socket, "run", "--id", f"agent-{i:02}",
                            "-p", "cot" if i % 2 else "react", "--", "sleep", "300"],
                           env=tap.ENVIRONMENT, stdin=subprocess.DEVNULL) for i in range(30)]
wait_for("thirty agents", lambda: len(daemon.json("ps", "--state", "running")["agents"]) == 30)


class Screen:
    """A terminal that understands as much of an xterm as ncurses uses."""

    def __init__(self, *options, rows=24, columns=100, program=None, env=None):
        self.rows, self.columns = rows, columns
        self.cells = [[" "] * columns for _ in range(rows)]
        self.y = self.x = 0
        self.top, self.bottom = 0, rows - 1
        self.rest = ""
        self.decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self.raw = b""
        command = program or [tap.AGENTCORE, "--socket", daemon.socket, "top", *options]
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.execvpe(command[0], command, dict(tap.ENVIRONMENT, LINES="", COLUMNS="", **(env or {})))
        self.resize(rows, columns)

    def resize(self, rows, columns):
        self.rows, self.columns = rows, columns
        self.cells = [[" "] * columns for _ in range(rows)]
        self.top, self.bottom = 0, rows - 1
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def write(self, text):
        os.write(self.fd, text.encode())

    def put(self, c):
        if self.y < self.rows and self.x < self.columns:
            self.cells[self.y][self.x] = c
        self.x += 1

    def erase(self, first, last):
        for place in range(first, last):
            if place // self.columns < self.rows:
                self.cells[place // self.columns][place % self.columns] = " "

    def scroll(self, top, lines):
        """Moves the lines from top to the end of the scrolling region up, down when lines is negative."""
        if not 0 <= top <= self.bottom < self.rows:
            return
        count = min(abs(lines), self.bottom - top + 1)
        blank = [[" "] * self.columns for _ in range(count)]
        region = self.cells[top:self.bottom + 1]
        self.cells[top:self.bottom + 1] = (region[count:] + blank if lines > 0
                                           else blank + region[:len(region) - count])

    def line_feed(self, step):
        if self.y == (self.bottom if step > 0 else self.top):
            self.scroll(self.top, step)
        else:
            self.y = min(max(self.y + step, 0), self.rows - 1)

    def control(self, numbers, final):
        n = [int(p) if p.isdigit() else 0 for p in numbers.split(";")] if numbers else [0]
        here = self.y * self.columns + self.x
        if final in "Hf":
            self.y, self.x = max(n[0], 1) - 1, max(n[1] if len(n) > 1 else 1, 1) - 1
        elif final == "d":
            self.y = max(n[0], 1) - 1
        elif final == "G":
            self.x = max(n[0], 1) - 1
        elif final in "ABCD":
            step = max(n[0], 1)
            self.y += {"A": -step, "B": step}.get(final, 0)
            self.x += {"C": step, "D": -step}.get(final, 0)
        elif final == "J":
            self.erase(0 if n[0] == 2 else here, self.rows * self.columns)
        elif final == "K":
            first = self.y * self.columns
            self.erase(first if n[0] in (1, 2) else here,
                       here + 1 if n[0] == 1 else first + self.columns)
        elif final == "X":
            self.erase(here, here + max(n[0], 1))
        elif final == "@":
            row = self.cells[self.y]
            row[self.x:] = ([" "] * max(n[0], 1) + row[self.x:])[:self.columns - self.x]
        elif final == "P":
            row = self.cells[self.y]
            row[self.x:] = (row[self.x + max(n[0], 1):] + [" "] * self.columns)[:self.columns - self.x]
        elif final in "LM":
            if self.top <= self.y:
                self.scroll(self.y, max(n[0], 1) * (1 if final == "M" else -1))
        elif final in "ST":
            self.scroll(self.top, max(n[0], 1) * (1 if final == "S" else -1))
        elif final == "r":
            self.top = max(n[0], 1) - 1
            self.bottom = (n[1] if len(n) > 1 and n[1] else self.rows) - 1
            self.y = self.x = 0
        elif final == "b":
            for _ in range(max(n[0], 1)):
                self.put(self.last)

    def feed(self, data):
        text = self.rest + self.decoder.decode(data)
        place = 0
        while place < len(text):
            c = text[place]
            if c == "\033":
                match = re.match(r"\033(?:\[([?>]?[0-9;]*)([@-~])|[()][A-Z0-9]|[=>78MD])", text[place:])
                if not match:
                    break
                if match.group(2) and not match.group(1).startswith(("?", ">")):
                    self.control(match.group(1), match.group(2))
                elif match.group() in ("\033M", "\033D"):
                    self.line_feed(-1 if match.group() == "\033M" else 1)
                place += match.end()
                continue
            if c == "\r":
                self.x = 0
            elif c == "\n":
                self.line_feed(1)
            elif c == "\b":
                self.x -= 1
            elif c == "\t":
                self.x = (self.x // 8 + 1) * 8
            elif c >= " ":
                self.put(c)
                self.last = c
            place += 1
        self.rest = text[place:]

    def read(self, seconds=0.05):
        while select.select([self.fd], [], [], seconds)[0]:
            try:
                data = os.read(self.fd, 65536)
            except OSError:
                return
            if not data:
                return
            self.raw += data
            self.feed(data)

    def lines(self):
        self.read()
        return ["".join(row).rstrip() for row in self.cells]

    def wait(self, what, condition):
        """Waits until condition(lines) is true of the screen."""
        try:
            return wait_for(what, lambda: condition(self.lines()), 20)
        except AssertionError:
            raise AssertionError(what + ":\n" + "\n".join(self.lines())) from None

    def end(self, timeout=20):
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            self.read()
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                os.close(self.fd)
                return os.waitstatus_to_exitcode(status)
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        raise AssertionError("top does not end")


def table(lines):
    """The ids in the table, from the top."""
    return [line.split()[0] for line in lines if line.startswith("agent-")]


@test
def draws_and_quits():
    """top draws machine, alerts line, heading and agents, and q gives the terminal back"""
    screen = Screen("-d", "200ms")
    screen.wait("the picture", lambda lines: len(table(lines)) > 10)
    lines = screen.lines()
    check(lines[0].startswith("agentcore  ") and "30 agents" in lines[0], lines[0])
    check(any(line.startswith("CPU  [") for line in lines) and any(
        line.startswith("MEM  [") for line in lines), lines)
    check(any(line.split()[:4] == ["ID", "PHILOSOPHY", "STATE", "CPU%"] for line in lines), lines)
    check(lines[-1].startswith("q quit"), lines[-1])
    screen.write("q")
    equal(screen.end(), 0)
    check(b"\033[?1049h" in screen.raw and b"\033[?1049l" in screen.raw, "alternate screen")


@test
def sorts():
    """letters sort, again the other way round"""
    screen = Screen("-d", "200ms")
    screen.wait("the picture", lambda lines: len(table(lines)) > 10)
    screen.write("i")
    screen.wait("by id", lambda lines: table(lines)[:3] == ["agent-00", "agent-01", "agent-02"]
                and "(id)" in lines[-1])
    screen.write("i")
    screen.wait("by id, reversed", lambda lines: table(lines)[:2] == ["agent-29", "agent-28"]
                and "(id, reversed)" in lines[-1])
    for key, word in (("c", "cpu"), ("m", "memory"), ("d", "disk"), ("n", "network"), ("f", "files"),
                      ("p", "processes"), ("a", "age")):
        screen.write(key)
        screen.wait(word, lambda lines, word=word: f"({word}" in lines[-1])
    screen.write("q")
    equal(screen.end(), 0)


@test
def scrolls():
    """arrows, page keys, home and end move through more agents than fit"""
    screen = Screen("-d", "200ms", "-s", "id", rows=16)
    screen.wait("the picture", lambda lines: table(lines)[:1] == ["agent-00"])
    shown = len(table(screen.lines()))
    check(shown < 15, shown)
    screen.write("\033[F" if b"\033[?1h" not in screen.raw else "\033OF")
    screen.wait("the end", lambda lines: table(lines)[-1:] == ["agent-29"])
    screen.write("k" * (shown + 2))
    screen.wait("up again", lambda lines: table(lines)[0] == f"agent-{29 - shown - 2:02}")
    screen.write("\033OH")
    screen.wait("the start", lambda lines: table(lines)[0] == "agent-00")
    screen.write("\033[6~")
    screen.write("\033[6~")
    screen.wait("pages down", lambda lines: f"agent-{2 * shown:02}" in table(lines))
    screen.write("\033[5~\033[5~\033[5~")
    screen.wait("pages up", lambda lines: table(lines)[0] == "agent-00")
    screen.write("q")
    equal(screen.end(), 0)


@test
def filters():
    """/ filters while typing; enter keeps, escape drops; backspace corrects"""
    screen = Screen("-d", "200ms", "-s", "id")
    screen.wait("the picture", lambda lines: len(table(lines)) > 10)
    screen.write("/agent-1x")
    screen.wait("nothing", lambda lines: table(lines) == [] and "filter: agent-1x_" in lines[-1])
    screen.write("\x7f")
    screen.wait("ten", lambda lines: table(lines) == [f"agent-{i}" for i in range(10, 20)])
    screen.write("q")
    screen.wait("q is a letter here", lambda lines: "agent-1q_" in lines[-1])
    screen.write("\x7f\r")
    screen.wait("kept", lambda lines: "/ filter (agent-1)" in lines[-1] and len(table(lines)) == 10)
    screen.write("\033")
    screen.wait("dropped", lambda lines: len(table(lines)) > 10)
    screen.write("q")
    equal(screen.end(), 0)


@test
def resizes():
    """the picture follows the window's size, down to a tiny one"""
    screen = Screen("-d", "200ms", "-s", "id")
    screen.wait("the picture", lambda lines: len(table(lines)) > 10)
    screen.resize(12, 60)
    screen.wait("smaller", lambda lines: lines[-1].startswith("q quit") and len(table(lines)) >= 4)
    for rows, columns in ((3, 20), (1, 1), (2, 200), (50, 200)):
        screen.resize(rows, columns)
        time.sleep(0.3)
        screen.read()
    screen.wait("larger", lambda lines: len(table(lines)) == 30)
    screen.write("q")
    equal(screen.end(), 0)


@test
def pauses():
    """space stops the picture and continues it"""
    screen = Screen("-d", "100ms")
    screen.wait("the picture", lambda lines: len(table(lines)) > 10)
    screen.write(" ")
    screen.wait("stopped", lambda lines: "(stopped)" in lines[-1])
    first = screen.lines()[0]
    time.sleep(2.1)
    equal(screen.lines()[0], first, "the clock stands")
    screen.write(" ")
    screen.wait("continues", lambda lines: lines[0] != first)
    screen.write("q")
    equal(screen.end(), 0)


@test
def shows_a_lost_daemon():
    """a daemon that stops is said on the screen, and one that comes back is shown again"""
    other = tap.Daemon()
    screen = Screen(program=[tap.AGENTCORE, "--socket", other.socket, "top", "-d", "100ms"])
    screen.wait("the picture", lambda lines: lines[0].startswith("agentcore  "))
    other.stop()
    screen.wait("the loss", lambda lines: any("no daemon at" in line for line in lines))
    other.start()
    screen.wait("the return", lambda lines: lines[0].startswith("agentcore  ")
                and not any("no daemon at" in line for line in lines))
    screen.write("q")
    equal(screen.end(), 0)
    other.stop()


@test
def ends_with_its_signal_and_terminal():
    """the terminal's modes are restored after q, and a hangup ends top"""
    script = f"stty -a >$1; {tap.AGENTCORE} --socket {daemon.socket} top -n 2 -d 200ms; stty -a >$2"
    directory = tap.directory()
    before, after = os.path.join(directory, "before"), os.path.join(directory, "after")
    screen = Screen(program=["sh", "-c", script, "sh", before, after])
    equal(screen.end(), 0)
    with open(before, encoding="utf-8") as one, open(after, encoding="utf-8") as two:
        equal(two.read(), one.read(), "modes")
    screen = Screen("-d", "100ms")
    screen.wait("the picture", lambda lines: len(table(lines)) > 10)
    os.close(screen.fd)
    pid, status = wait_for("the end", lambda: [r for r in [os.waitpid(screen.pid, os.WNOHANG)]
                                               if r[0]], 20)[0]
    check(os.waitstatus_to_exitcode(status) in (0, -signal.SIGHUP), status)


@test
def ends_without_its_terminal():
    """a terminal that goes ends top also where SIGHUP is ignored"""
    script = f"trap '' HUP; exec {tap.AGENTCORE} --socket {daemon.socket} top -d 1h"
    screen = Screen(program=["sh", "-c", script])
    screen.wait("the picture", lambda lines: len(table(lines)) > 10)
    os.close(screen.fd)
    try:
        wait_for("the end", lambda: os.waitid(os.P_PID, screen.pid,
                                              os.WEXITED | os.WNOHANG | os.WNOWAIT), 20)
    finally:
        os.kill(screen.pid, signal.SIGKILL)
        status = os.waitpid(screen.pid, 0)[1]
    equal(os.waitstatus_to_exitcode(status), 0)


@test
def unknown_terminal():
    """on a terminal of unknown type top prints plain tables"""
    screen = Screen("-n", "1", env={"TERM": "no-such-terminal"})
    equal(screen.end(), 0)
    check(b"\033[?1049h" not in screen.raw and b"agent-00" in screen.raw, screen.raw[:300])


@test
def the_end():
    """the daemon stops cleanly after all that"""
    for process in agents:
        process.kill()
        process.wait()
    equal(daemon.stop(), 0)


tap.main()
