# SPDX-License-Identifier: Apache-2.0
"""agentcore history and usage where the daemon's answer is not whole, late, or never comes. A
stand-in for the daemon gives such answers at will."""
import json
import os
import pty
import socketserver
import threading
import time

import tap
from tap import check, equal, test

SPAN = {"since": "2026-01-31T12:00:00.000Z", "until": "2026-01-31T13:00:00.000Z"}
USAGE = {"cpu_percent": 1.0, "cpu_cores": 0.1, "memory_mb": None, "memory_percent": None,
         "disk_io_mbps": None, "network_io_mbps": None, "file_descriptors": None,
         "timestamp": SPAN["since"]}
POINT = {"time": SPAN["since"], "samples": 1, "mean": USAGE, "min": USAGE, "max": USAGE}
INFO = {"resolution_seconds": 0, "gaps": 0, "gap_seconds": 0, "damaged": 0, "error_bound": 0,
        "limited": False}
SUM = {"agents": 1, "samples": 1, "cpu_seconds": 1.0, "memory_gib_hours": 1.0, "disk_bytes": None,
       "network_bytes": None}
WHY = "history.db: reading history: disk I/O error"

history = {"subject": None, "points": [POINT], "step_seconds": 60, "source": "minutes",
           "error": None, **SPAN}
series = {"agent_id": None, "points": [], **INFO}
span = {"aggregate": "mean", "series": [series], "error": None, **SPAN}
totals = {"by": "agent", "rows": [{"name": "tests", **SUM}], "total": SUM, "error": None, **INFO,
          **SPAN}


class Handler(socketserver.StreamRequestHandler):
    """Answers one request of each connection, after server.delay seconds."""

    def handle(self):
        path = self.rfile.readline().split()[1].decode().partition("?")[0]
        while self.rfile.readline().strip():
            pass
        time.sleep(self.server.delay)
        body = json.dumps(self.server.answers[path]).encode()
        self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n"
                         b"Content-Length: %d\r\n\r\n%s" % (len(body), body))


class StandIn(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, answers, delay=0.0):
        self.path = os.path.join(tap.directory(), "socket")
        super().__init__(self.path, Handler)
        self.answers, self.delay = answers, delay
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def handle_error(self, request, client_address):
        """A command that did not wait for the answer is no error."""

    def run(self, *arguments):
        return tap.run("--socket", self.path, *arguments)


def answers(error=None, **of_series):
    return {"/v1/system/history": {**history, "error": error},
            "/v1/agents/tests/history": {**history, "error": error},
            "/v1/history/range": {**span, "series": [{**series, **of_series}], "error": error},
            "/v1/usage": {**totals, "error": error}}


@test
def cut_answers_are_failures():
    """an answer that says why it is not whole is a failure with that reason, in every format"""
    daemon = StandIn(answers(WHY))
    commands = [["history"], ["history", "tests"], ["history", "-l", "team=a"], ["usage"]]
    commands += [[*command, "--format", form] for command in (["history"], ["usage"])
                 for form in ("csv", "json", "openmetrics")]
    for command in commands:
        result = daemon.run(*command)
        equal(result.code, 1, f"{command} {result.out}")
        equal(result.out, "", command)
        check("is not whole: " + WHY in result.err, command, result.err)


@test
def whole_answers_are_none():
    """the same answers without a reason are printed"""
    daemon = StandIn(answers())
    for command in (["history"], ["history", "tests"], ["usage"]):
        result = daemon.run(*command)
        equal((result.code, result.err), (0, ""), command)
        check(result.out, command)


@test
def a_cut_export_leaves_no_file():
    """an export that is not whole has no # EOF, leaves no file and the old one as it was"""
    path = os.path.join(tap.directory(), "week.om")
    cut = answers()
    cut["/v1/history/range"]["error"] = WHY
    for answer, wanted in ((cut, WHY), (answers(WHY), WHY), (answers(limited=True), "it ends at")):
        daemon = StandIn(answer)
        result = daemon.run("history", "export", path)
        equal(result.code, 1, result.out)
        check("is not whole: " + wanted in result.err, result.err)
        equal(os.listdir(os.path.dirname(path)), [])
        result = daemon.run("history", "export", "-")
        equal(result.code, 1, result.err)
        check("# EOF" not in result.out, result.out)
    with open(path, "w", encoding="utf-8") as file:
        file.write("old")
    equal(StandIn(cut).run("history", "export", path).code, 1)
    with open(path, encoding="utf-8") as file:
        equal(file.read(), "old")
    equal(StandIn(answers()).run("history", "export", path).code, 0)


def on_a_terminal(daemon, *arguments):
    """What a command writes to a terminal."""
    pid, fd = pty.fork()
    if pid == 0:
        os.execve(tap.AGENTCORE, [tap.AGENTCORE, "--socket", daemon.path, *arguments],
                  tap.ENVIRONMENT)
    out = b""
    while True:
        try:
            block = os.read(fd, 65536)
        except OSError:  # the terminal of a process that ended
            block = b""
        if not block:
            break
        out += block
    os.close(fd)
    equal(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), 0, out)
    return out.decode()


@test
def names_cannot_speak_to_the_terminal():
    """labels and ids of others are escaped on a terminal in every format, and only there"""
    evil = "\x1b]0;PWNED\x07\x1b[31m\x9b2J\u202ered\r\nx\"y"
    answer = answers()
    answer["/v1/usage"] = {**totals, "by": "label:team", "rows": [{"name": evil, **SUM}]}
    answer["/v1/agents/a/history"] = answer["/v1/agents/b/history"] = {**history, "subject": evil}
    answer["/v1/history/top"] = {"metric": "cpu", "aggregate": "mean", "unit": "cores", **INFO, **SPAN,
                                 "top": [{"agent_id": evil, "value": 1.0}]}
    daemon = StandIn(answer)
    for form in ("table", "csv", "json", "openmetrics"):
        for command in (["usage", "--by", "label:team"], ["history", "a", "b"],
                        ["history", "--top", "3"]):
            out = on_a_terminal(daemon, *command, "--format", form, "--color", "never")
            check(not set(out) & set("\x1b\x07\x9b\u202e"), command, form, repr(out))
            check("PWNED" in out, command, form, repr(out))
    text = daemon.run("usage", "--format", "csv").out
    check(evil.replace('"', '""') in text, repr(text))
    text = daemon.run("usage", "--format", "openmetrics").out
    check(evil.replace('"', '\\"').replace("\n", "\\n") in text, repr(text))


@test
def slow_answers_are_waited_for():
    """a question to the history has longer than other calls; a daemon that does not answer in time
    is told apart from none"""
    slow = StandIn({**answers(), "/v1/agents": {"agents": []}}, delay=11)
    commands = [["history"], ["usage"], ["ps"]]
    results = {}

    def ask(command):
        results[command[0]] = slow.run(*command)
    threads = [threading.Thread(target=ask, args=(command,)) for command in commands]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for command in ("history", "usage"):
        equal((results[command].code, results[command].err), (0, ""), command)
    equal(results["ps"].code, 1, results["ps"].err)
    check("did not answer within 10 s" in results["ps"].err, results["ps"].err)


tap.main()
