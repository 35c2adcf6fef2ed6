# SPDX-License-Identifier: Apache-2.0
"""What the tests of the daemon share: its API over the socket, its events, processes to meter."""
import http.client
import json
import os
import socket
import subprocess
import sys
import threading

import tap

DEADLINE = 60  # of every wait: generous, because machines of tests are busy


class Connection(http.client.HTTPConnection):
    def __init__(self, path, timeout=DEADLINE):
        super().__init__("localhost", timeout=timeout)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class Answer:
    def __init__(self, status, body):
        self.status = status
        self.text = body.decode("utf-8", "replace")

    @property
    def body(self):
        return json.loads(self.text)


def call(daemon, method, path, body=None, headers=None):
    """One request. A body that is text or bytes goes out as it is."""
    if body is not None and not isinstance(body, (str, bytes)):
        body = json.dumps(body)
    head = {"Content-Type": "application/json"} if body is not None else {}
    head.update(headers or {})
    connection = Connection(daemon.socket)
    try:
        connection.request(method, path, body=body, headers=head)
        response = connection.getresponse()
        return Answer(response.status, response.read())
    finally:
        connection.close()


def get(daemon, path):
    answer = call(daemon, "GET", path)
    tap.equal(answer.status, 200, f"GET {path}: {answer.text}")
    return answer.body


def agent(daemon, identifier):
    """The agent, {} where there is none."""
    answer = call(daemon, "GET", f"/v1/agents/{identifier}")
    return answer.body if answer.status == 200 else {}


def attach(daemon, identifier, pid, **fields):
    answer = call(daemon, "PUT", f"/v1/agents/{identifier}", dict(fields, pid=pid))
    tap.equal(answer.status, 201, answer.text)
    return answer.body


def alerts(daemon, **query):
    words = "&".join(f"{k}={v}" for k, v in query.items())
    return get(daemon, f"/v1/alerts?{words}")["alerts"]


def ticks(daemon, more):
    """Waits until the daemon ticked so many times from now on."""
    wanted = get(daemon, "/v1/system")["tick"]["count"] + more
    wait_for("ticks", lambda: get(daemon, "/v1/system")["tick"]["count"] >= wanted)


def wait_for(what, condition, timeout=DEADLINE):
    return tap.wait_for(what, condition, timeout)


class Events:
    """Reads the event stream in a thread from the moment of its making on."""

    def __init__(self, daemon, query="", after=None):
        self.events = []
        self.connection = Connection(daemon.socket)
        headers = {} if after is None else {"Last-Event-ID": str(after)}
        self.connection.request("GET", "/v1/events" + query, headers=headers)
        self.socket = self.connection.sock
        self.response = self.connection.getresponse()
        tap.equal(self.response.status, 200)
        self.thread = threading.Thread(target=self.read, daemon=True)
        self.thread.start()

    def read(self):
        try:
            for line in self.response:
                if line.startswith(b"data: "):
                    self.events.append(json.loads(line[6:]))
        except (OSError, ValueError, AttributeError, http.client.HTTPException):
            pass

    def of(self, kind, **fields):
        return [e for e in list(self.events) if e["kind"] == kind and
                all(e.get(k) == v for k, v in fields.items())]

    def wait(self, kind, **fields):
        return wait_for(f"event {kind} {fields}", lambda: self.of(kind, **fields))[-1]

    def close(self):
        try:
            self.socket.shutdown(socket.SHUT_RDWR)  # wakes the thread
        except OSError:
            pass
        self.thread.join(DEADLINE)
        self.connection.close()


_processes = []


def start(*command, **more):
    """A process that ends with the test at the latest."""
    more.setdefault("stdout", subprocess.DEVNULL)
    process = subprocess.Popen(command or ("sleep", "300"), stdin=subprocess.DEVNULL,
                               env=tap.ENVIRONMENT, **more)
    _processes.append(process)
    return process


def python(code, *arguments, **more):
    return start(sys.executable, "-S", "-c", code, *map(str, arguments), **more)


def end_processes():
    for process in _processes:
        if process.poll() is None:
            process.kill()
        process.wait()
        if process.stdout:
            process.stdout.close()


def log_of(daemon):
    with open(daemon.log, encoding="utf-8", errors="replace") as file:
        return file.read()


def kill9(daemon):
    """Ends the daemon as a crash would."""
    daemon.process.kill()
    daemon.process.wait()


class UserDaemon(tap.Daemon):
    """A daemon of an ordinary user."""

    def __init__(self, *arguments, user=tap.NOBODY, state="none", interval="100ms"):
        prefix = tap.as_user(user)  # a reason to skip comes before anything is made
        probe = subprocess.run([*prefix, tap.AGENTCORED, "--version"], env=tap.ENVIRONMENT,
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
        if probe.returncode != 0:
            raise tap.Skip(f"user {user} cannot execute {tap.AGENTCORED}")
        self.directory = tap.directory(0o755)
        os.chown(self.directory, user, user)
        self.socket = os.path.join(self.directory, "agentcored.sock")
        self.log = os.path.join(self.directory, "log")
        if state != "none":
            state = os.path.join(self.directory, state)
        self.arguments = [*prefix, tap.AGENTCORED, "--socket", self.socket, "--state", state,
                          "--interval", interval, *arguments]
        self.process = None
        tap.register(self)
        self.start()


def note(text):
    """A TAP diagnostic."""
    print("# " + text, flush=True)


def note_cost(daemon, what):
    """What the daemon itself cost, as a diagnostic: machines differ, so nothing is asserted."""
    system = get(daemon, "/v1/system")
    tick, own = system["tick"], system["daemon"]
    note(f"{what}: {tick['count']} ticks, last {tick['last_ms']:.3f} ms, max {tick['max_ms']:.3f} ms, "
         f"missed {tick['missed']}; {own['cpu_seconds']:.2f} s of CPU in "
         f"{own['uptime_seconds']:.1f} s, {own['rss_mb']:.1f} MiB, collector {system['collector']}")


def clean_end(daemon):
    """SIGTERM ends it with status 0; a leak or a fault would make it another one."""
    tap.equal(daemon.stop(), 0, log_of(daemon)[-3000:])

