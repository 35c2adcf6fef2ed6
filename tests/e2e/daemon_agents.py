# SPDX-License-Identifier: Apache-2.0
"""Agents, alerts and allocations through the running daemon, and what hostile clients get."""
import json
import os
import signal
import socket
import subprocess
import sys
import time

import tap
from daemon_api import (DEADLINE, Connection, Events, agent, alerts, attach, call, clean_end,
                        end_processes, get, log_of, note_cost, python, start, ticks, wait_for)
from nasty import NASTY
from tap import check, equal, test

CONFIG = """
limits:
  max_cpu_percent: 100
  max_memory_percent: 100
caps:
  max_agents: 12
  max_alerts: 8
  max_body: 4K
  max_connections: 20
  max_streams: 6
  max_queue: 2
allocation:
  reservation_ttl: 1s
"""
daemon = tap.Daemon(config=CONFIG)


def put(identifier, **fields):
    return call(daemon, "PUT", f"/v1/agents/{identifier}", fields)


def forget(*identifiers):
    for identifier in identifiers:
        call(daemon, "DELETE", f"/v1/agents/{identifier}")


def everything():
    """What must not change where a request is refused."""
    agents = [{k: a[k] for k in ("id", "pid", "philosophy", "limits", "labels", "state")}
              for a in get(daemon, "/v1/agents")["agents"]]
    allocations = [(a["id"], a["agent_id"], a["status"])
                   for a in get(daemon, "/v1/allocations")["allocations"]]
    return {"agents": agents, "allocations": sorted(allocations),
            "pools": [{k: p[k] for k in ("philosophy", "scale")}
                      for p in get(daemon, "/v1/pools")["pools"]],
            "limits": get(daemon, "/v1/system")["limits"],
            "alerts": agents_alerts()}


def agents_alerts():
    """Live ones; the machine's own depend on what else it does."""
    return sorted((a["id"], a["acknowledged"]) for a in alerts(daemon, state="live")
                  if a["agent_id"])


def problem(answer, status, what):
    """An RFC 9457 body of that status with a text."""
    equal(answer.status, status, f"{what}: {answer.text[:300]}")
    body = answer.body
    equal(body["status"], status, what)
    check(body["title"] and body["detail"] and "\n" not in body["detail"], what, body)
    return body


# ---- Registering

@test
def who_is_no_agent():
    """pids and ids that cannot be an agent's are refused, and nothing changes"""
    before = everything()
    gone = subprocess.Popen(["true"])
    gone.wait()
    for pid in (1, daemon.process.pid, gone.pid, -1, 2 ** 31, 2 ** 63, 2 ** 64, 1e300, 1.5, "1", True,
                [], 4194305):
        body = problem(put("bad", pid=pid), 400, f"pid {pid!r}")
        check(body.get("field", "pid").startswith("pid"), body)
    for identifier in ("a" * 129, "a.b", "a%20b", "%2e%2e", "%00", "%C3%A9", "a%2Fb", "a%0Ab", "-%7F"):
        answer = call(daemon, "PUT", f"/v1/agents/{identifier}", {})
        check(answer.status in (400, 404), identifier, answer.text)
        answer = call(daemon, "PUT", f"/v1/agents/{identifier}/usage", {"memory_mb": 1})
        check(answer.status in (400, 404), identifier, answer.text)
    equal(everything(), before)
    equal(put("a" * 128).status, 201, "the longest")
    equal(put("-_9").status, 201, "all there may be in an id")
    forget("a" * 128, "-_9")


@test
def pid_zero():
    """pid 0 is no process: the agent is refused or only reports, it never meters anything"""
    answer = put("zero", pid=0)
    if answer.status == 201:
        equal((answer.body["pid"], answer.body["source"]), (None, "none"))
    else:
        problem(answer, 400, "pid 0")
    forget("zero")


@test
def exists():
    """an id that runs is taken (409); one that ended can be used again"""
    first, second = start(), start()
    attach(daemon, "taken", first.pid)
    problem(put("taken", pid=second.pid), 409, "taken")
    problem(put("taken"), 409, "taken")
    equal(agent(daemon, "taken")["pid"], first.pid)
    first.kill()
    first.wait()
    wait_for("its end", lambda: agent(daemon, "taken")["state"] == "exited")
    attach(daemon, "taken", second.pid)
    equal(agent(daemon, "taken")["pid"], second.pid)
    forget("taken")
    second.kill()


@test
def another_users_pid():
    """an ordinary user cannot meter, see, change or stop what is another user's (403)"""
    if os.geteuid() != 0:
        raise tap.Skip("needs root to become another user")
    other = tap.Daemon(config=CONFIG, open_to_all=True)
    os.chmod(other.socket, 0o666)
    roots, theirs = start(), start(user=tap.NOBODY, group=tap.NOBODY)
    attach(other, "roots", roots.pid)

    def as_nobody(method, path, body=None):
        """The same from a child that gave up root."""
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                os.setgroups([])
                os.setgid(tap.NOBODY)
                os.setuid(tap.NOBODY)
                answer = call(other, method, path, body)
                os.write(writer, json.dumps([answer.status, answer.text]).encode())
            finally:
                os._exit(0)
        os.close(writer)
        with os.fdopen(reader, "rb") as file:
            status, text = json.loads(file.read())
        os.waitpid(child, 0)
        return status, text
    equal(as_nobody("PUT", "/v1/agents/mine", {"pid": theirs.pid})[0], 201)
    for method, path, body in (("PUT", "/v1/agents/theft", {"pid": roots.pid}),
                               ("PUT", "/v1/agents/init", {"pid": os.getpid()}),
                               ("POST", "/v1/agents/roots/stop", {}),
                               ("DELETE", "/v1/agents/roots", None),
                               ("PUT", "/v1/agents/roots/usage", {"memory_mb": 1}),
                               ("POST", "/v1/allocations", {"agent_id": "roots"}),
                               ("PUT", "/v1/pools/react", {"scale": 5})):
        status, text = as_nobody(method, path, body)
        check(status in (403, 404), method, path, text)
    check(roots.poll() is None)
    equal([a["id"] for a in json.loads(as_nobody("GET", "/v1/agents")[1])["agents"]], ["mine"])
    equal(as_nobody("POST", "/v1/agents/mine/stop", {"grace_seconds": 0})[0], 202)
    theirs.wait(DEADLINE)
    roots.kill()
    clean_end(other)


@test
def cap_of_agents():
    """at the cap a running agent is refused (503); one that exited gives way, the oldest first"""
    ended = []
    for name in ("old", "newer"):
        process = start()
        attach(daemon, name, process.pid)
        process.kill()
        process.wait()
        wait_for("its end", lambda name=name: agent(daemon, name)["state"] == "exited")
        ended.append(name)
    count = len(get(daemon, "/v1/agents")["agents"])
    filler = [f"fill-{i}" for i in range(12 - count)]
    for name in filler:
        equal(put(name).status, 201)
    equal(put("one-more").status, 201, "the oldest exited one gives way")
    equal(agent(daemon, "old"), {})
    equal(agent(daemon, "newer")["state"], "exited")
    left = [a["id"] for a in get(daemon, "/v1/agents")["agents"] if a["state"] == "exited"]
    for i in range(len(left)):
        equal(put(f"more-{i}").status, 201)
    before = everything()
    body = problem(put("too-many"), 503, "at the cap")
    check("max_agents" in body["detail"], body)
    problem(call(daemon, "PUT", "/v1/agents/too-many/usage", {"memory_mb": 1}), 503, "reported")
    equal(everything(), before)
    forget(*[a["id"] for a in get(daemon, "/v1/agents")["agents"]])
    equal(put("again").status, 201, "room again")
    forget("again")


# ---- Ending

@test
def stop_then_kill():
    """stop sends TERM, and KILL to what is left after the grace time, forks included"""
    process = python("""
import os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
for _ in range(2000):             # bounded, whatever becomes of the test
    if os.fork() == 0:
        time.sleep(0.5)
        os._exit(0)
    time.sleep(0.03)
""", start_new_session=True)
    attach(daemon, "stubborn", process.pid)
    wait_for("children", lambda: (agent(daemon, "stubborn")["totals"]["processes_total"] or 0) > 5)
    events = Events(daemon, "?kind=agent_exited")
    answer = call(daemon, "POST", "/v1/agents/stubborn/stop", {"grace_seconds": 0.3})
    equal(answer.status, 202, answer.text)
    events.wait("agent_exited", agent_id="stubborn")
    events.close()
    problem(call(daemon, "POST", "/v1/agents/stubborn/stop", {}), 409, "ended already")
    forget("stubborn")


@test
def stop_at_once():
    """a stop right after the start finds the process; a shorter grace time is taken"""
    code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); " \
           "time.sleep(300)"
    process = python(code, stdout=subprocess.PIPE)
    process.stdout.readline()
    attach(daemon, "fresh", process.pid)
    answer = call(daemon, "POST", "/v1/agents/fresh/stop", {"grace_seconds": 3000})
    equal((answer.status, answer.body), (202, {"signalled": 1}))
    check(process.poll() is None, "ignores TERM")
    equal(call(daemon, "POST", "/v1/agents/fresh/stop", {"grace_seconds": 0}).status, 202)
    equal(process.wait(DEADLINE), -signal.SIGKILL)
    wait_for("its end", lambda: agent(daemon, "fresh")["state"] == "exited")
    forget("fresh")


@test
def stop_means_one_life():
    """an agent that takes the name of one that was stopped is not killed in its place"""
    first = start()
    attach(daemon, "heir", first.pid)
    answer = call(daemon, "POST", "/v1/agents/heir/stop", {"grace_seconds": 0.5})
    equal(answer.status, 202)
    asked = time.monotonic()
    first.wait(DEADLINE)
    wait_for("its end", lambda: agent(daemon, "heir")["state"] == "exited")
    second = start()
    attach(daemon, "heir", second.pid)
    # Until the grace time is over, however long that takes, and a few ticks more.
    wait_for("the grace time", lambda: time.monotonic() > asked + 0.6)
    ticks(daemon, 3)
    check(second.poll() is None, "lives")
    equal(agent(daemon, "heir")["state"], "running")
    second.kill()
    forget("heir")


@test
def orphans_and_exit():
    """orphans are told with a notice, the exit with what was used; exited ones are shown"""
    events = Events(daemon)
    process = subprocess.Popen(["sh", "-c", "sleep 300 >/dev/null & echo $!; read _"],
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    child = int(process.stdout.readline())
    attach(daemon, "parent", process.pid)
    wait_for("both", lambda: agent(daemon, "parent").get("processes") == 2)
    process.communicate(b"\n")
    event = events.wait("agent_orphans", agent_id="parent")
    check("left 1 process behind" in event["text"], event)
    equal(agent(daemon, "parent")["state"], "orphans")
    notice = wait_for("a notice", lambda: alerts(daemon, agent="parent"))[0]
    equal((notice["rule"], notice["severity"]), ("orphans", "info"))
    os.kill(child, signal.SIGKILL)
    event = events.wait("agent_exited", agent_id="parent")
    check("of CPU" in event["text"], event)
    ended = agent(daemon, "parent")
    equal((ended["state"], ended["processes"]), ("exited", 0))
    check(ended["ended"] >= ended["started"], ended)
    wait_for("the notice's end", lambda: not alerts(daemon, agent="parent"))
    equal(len(events.of("agent_exited", agent_id="parent")), 1)
    equal(len(events.of("agent_orphans", agent_id="parent")), 1)
    events.close()
    forget("parent")


@test
def retention():
    """an exited agent goes after its retention"""
    other = tap.Daemon(config=CONFIG + "exited_retention: 0s\n")
    process = start()
    events = Events(other)
    attach(other, "brief", process.pid)
    process.kill()
    process.wait()
    events.wait("agent_exited", agent_id="brief")
    events.wait("agent_removed", agent_id="brief")
    equal(agent(other, "brief"), {})
    events.close()
    clean_end(other)


# ---- Alerts

@test
def busy_process():
    """a busy process over a low limit of CPU raises a critical alert"""
    events = Events(daemon, "?kind=alert&agent=busy")
    busy = python("while True: pass")
    attach(daemon, "busy", busy.pid, limits={"max_cpu_cores": 0.001})
    alert = wait_for("critical", lambda: [e["alert"] for e in events.of("alert")
                                          if e["alert"]["severity"] == "critical"])[0]
    equal((alert["resource"], alert["state"]), ("cpu", "firing"))
    check(alert["current_value"] >= alert["threshold"] > 0, alert)
    ticks(daemon, 5)
    busy.kill()
    forget("busy")
    events.wait("alert")
    # A busy machine may let it rest between two ticks: then it resolves, and another one fires.
    told = [(e["alert"]["id"], e["alert"]["severity"], e["alert"]["state"])
            for e in events.of("alert")]
    equal(len(told), len(set(told)), f"each transition once: {told}")
    events.close()


HOLDS = """
import mmap, sys
held = []
for line in sys.stdin:
    if int(line) == 0:
        held.clear()
        continue
    held.append(mmap.mmap(-1, int(line) << 20))
    for at in range(0, len(held[-1]), 4096): held[-1][at] = 1
"""


@test
def life_of_an_alert():
    """an alert warns, rises, is acknowledged in silence and resolves, each told once"""
    events = Events(daemon, "?kind=alert&agent=grows")
    process = subprocess.Popen([sys.executable, "-S", "-c", HOLDS], stdin=subprocess.PIPE, text=True)

    def hold(megabytes):
        """So much more; 0: nothing any more."""
        process.stdin.write(f"{megabytes}\n")
        process.stdin.flush()

    def live():
        found = alerts(daemon, agent="grows", state="live")
        return found[0] if found else {"severity": None, "id": None}
    attach(daemon, "grows", process.pid, limits={"max_memory_mb": 400})
    ticks(daemon, 3)
    equal(live()["severity"], None, "calm")
    hold(340)
    wait_for("the warning", lambda: live()["severity"] == "warning")
    ticks(daemon, 3)
    hold(160)
    wait_for("critical", lambda: live()["severity"] == "critical")
    alert = live()
    equal((alert["resource"], alert["state"], alert["acknowledged"], alert["threshold"]),
          ("memory", "firing", False, 400))
    ticks(daemon, 5)
    answer = call(daemon, "POST", f"/v1/alerts/{alert['id']}/acknowledge")
    equal((answer.status, answer.body["acknowledged"]), (200, True))
    problem(call(daemon, "POST", f"/v1/alerts/{alert['id']}/acknowledge"), 409, "twice")
    problem(call(daemon, "POST", "/v1/alerts/al-none/acknowledge"), 404, "unknown")
    equal(alerts(daemon, agent="grows"), [])
    equal(live()["id"], alert["id"])
    ticks(daemon, 3)
    hold(0)
    wait_for("its end", lambda: live()["id"] is None)
    wait_for("the event", lambda: any(e["alert"]["state"] == "resolved" for e in events.of("alert")))
    told = [e["alert"] for e in events.of("alert")]
    equal({a["id"] for a in told}, {alert["id"]}, "one alert all along")
    steps = [(a["severity"], a["state"], a["acknowledged"]) for a in told]
    equal(len(steps), len(set(steps)), f"each transition once: {steps}")
    equal([s for s in steps if s[1] == "firing" and not s[2]],
          [("warning", "firing", False), ("critical", "firing", False)])
    events.close()
    process.communicate()
    forget("grows")


@test
def cap_of_alerts():
    """beyond the cap alerts are counted, not kept, and the daemon goes on"""
    for i in range(10):
        equal(call(daemon, "PUT", f"/v1/agents/loud-{i}/usage",
                   {"file_descriptors": 5000, "disk_io_mbps": 500}).status, 200)
    equal(len(alerts(daemon, state="live")), 8)
    text = call(daemon, "GET", "/metrics").text
    check("agentcore_" in text, text[:200])
    forget(*[f"loud-{i}" for i in range(10)])
    equal(agents_alerts(), [])


# ---- Allocations

@test
def queue_and_release():
    """queued allocations are granted in order when another agent gives back what it held"""
    events = Events(daemon, "?kind=allocation")
    all_memory = get(daemon, "/v1/system")["capacity"]["memory_mb"]
    equal(call(daemon, "PUT", "/v1/agents/holder/usage", {"memory_mb": all_memory}).status, 200)
    queued = []
    for name in ("second", "third"):
        # So little CPU fits however busy the machine is: memory decides.
        answer = call(daemon, "POST", "/v1/allocations", {
            "agent_id": name, "policy": "queue",
            "limits": {"max_cpu_cores": 1e-6, "max_memory_mb": 1}})
        equal(answer.status, 202, answer.text)
        queued.append(answer.body)
    equal([(a["status"], a["queue_position"]) for a in queued], [("queued", 1), ("queued", 2)])
    answer = call(daemon, "POST", "/v1/allocations", {"agent_id": "fourth", "policy": "queue"})
    problem(answer, 503, "the queue is full")
    answer = call(daemon, "POST", "/v1/allocations", {
        "agent_id": "fifth", "policy": "strict", "limits": {"max_cpu_cores": 1e-6}})
    equal((answer.status, answer.body["status"]), (409, "refused"))
    ticks(daemon, 3)
    equal(get_status("second"), 200)
    forget("holder")

    def granted():
        return [e["allocation"]["id"] for e in events.of("allocation")
                if e["allocation"]["status"] == "granted"]
    wait_for("the grants", lambda: len(granted()) == 2)
    equal(granted(), [a["id"] for a in queued])
    events.close()


def get_status(name):
    return call(daemon, "GET", f"/v1/allocations/{name}").status


@test
def reservation_runs_out():
    """a reservation whose agent never comes is given up, told, and gone"""
    events = Events(daemon, "?kind=allocation&agent=never")
    answer = call(daemon, "POST", "/v1/allocations", {"agent_id": "never"})
    equal(answer.status, 201, answer.text)
    check(answer.body["expires"], answer.text)
    wait_for("its end", lambda: get_status("never") == 404)
    wait_for("the event", lambda: [e for e in events.of("allocation")
                                   if e["allocation"]["status"] == "refused"])
    events.close()


# ---- Hostile clients


@test
def nasty_requests():
    """malformed, oversized and absurd requests get a problem document; the state is unchanged"""
    attach(daemon, "bystander", start().pid, labels={"k": "v"})
    before = everything()
    for method, path, body, statuses in NASTY:
        what = f"{method} {path} {str(body)[:80]}"
        answer = call(daemon, method, path, body)
        check(answer.status in statuses, what, answer.status, answer.text[:300])
        problem(answer, answer.status, what)
    answer = call(daemon, "PUT", "/v1/agents/x", "{}", {"Content-Type": "text/plain"})
    problem(answer, 415, "another content type")
    answer = call(daemon, "POST", "/v1/agents/bystander/stop", {"signal": "BOGUS"})
    problem(answer, 400, "signal")
    answer = call(daemon, "POST", "/v1/agents/bystander/stop", {"grace_seconds": -1})
    problem(answer, 400, "grace")
    equal(everything(), before)


@test
def many_connections():
    """connections over the cap are turned away, and there is room again when they go"""
    before = everything()
    held = []
    try:
        for _ in range(60):
            sock = socket.socket(socket.AF_UNIX)
            sock.settimeout(DEADLINE)
            sock.connect(daemon.socket)
            held.append(sock)
        sent = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
        answered = refused = 0
        for sock in held:
            try:
                sock.sendall(sent)
                reply = sock.recv(4096)
            except OSError:
                reply = b""
            answered += b" 200 " in reply.split(b"\r\n", 1)[0]
            refused += b" 200 " not in reply.split(b"\r\n", 1)[0]
        check(answered >= 1 and refused >= 30, answered, refused)
    finally:
        for sock in held:
            sock.close()

    def room():
        try:
            return call(daemon, "GET", "/healthz").status == 200
        except OSError:
            return False
    wait_for("room", room)
    equal(everything(), before)


@test
def many_streams():
    """streams over their cap are refused (429), the others go on"""
    streams, refused = [], 0
    for _ in range(8):
        connection = Connection(daemon.socket)
        connection.request("GET", "/v1/events")
        response = connection.getresponse()
        refused += response.status == 429
        streams.append((connection, connection.sock, response))
    check(2 <= refused < 8, refused)
    for connection, _, _ in streams:
        connection.close()

    def room():
        try:
            Events(daemon).close()
            return True
        except AssertionError:
            return False
    wait_for("room", room)


@test
def garbage():
    """bytes that are no HTTP, requests cut short and silence do not disturb the daemon"""
    before = everything()
    for data in (b"\0" * 5000, b"\xff" * 100, b"GET", b"GET / HTTP/9.9\r\n\r\n",
                 b"PUT /v1/agents/x HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n{}",
                 b"PUT /v1/agents/x HTTP/1.1\r\nContent-Length: -1\r\n\r\n{}",
                 b"PUT /v1/agents/x HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                 b"Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n",
                 b"GET /" + b"a" * 100000 + b" HTTP/1.1\r\n\r\n",
                 b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 5000 + b"\r\n"):
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(0.3)  # whether it is answered or waited for is the server's choice
            sock.connect(daemon.socket)
            try:
                sock.sendall(data)
                sock.shutdown(socket.SHUT_WR)
                while sock.recv(65536):
                    pass
            except OSError:
                pass
    equal(everything(), before)
    forget("bystander")


@test
def event_storm():
    """a storm of events reaches the streams whole, and the log in part, which the log says"""
    other = tap.Daemon(config="caps:\n  max_agents: 1000\n")
    events = Events(other)
    connection = Connection(other.socket)
    for i in range(600):
        connection.request("PUT", f"/v1/agents/s{i}", body="{}",
                           headers={"Content-Type": "application/json"})
        response = connection.getresponse()
        equal(response.status, 201, response.read())
        response.read()
    connection.close()
    wait_for("all events", lambda: len(events.of("agent_added")) >= 600)
    equal([e["agent_id"] for e in events.of("agent_added")], [f"s{i}" for i in range(600)])
    numbers = [e["sequence"] for e in events.events]
    equal(numbers, sorted(set(numbers)), "in order, each once")
    events.close()

    def accounted():
        """Lines and what the log says was left out."""
        lines = log_of(other).splitlines()
        told = sum("agent_added" in line for line in lines)
        left = sum(int(line.split("left_out=")[1].split()[0]) for line in lines
                   if "left_out=" in line)
        ticks(other, 1)
        call(other, "PUT", "/v1/pools/cot", {"scale": 2})
        return told + left >= 600
    wait_for("the log to account for all", accounted)
    clean_end(other)


@test
def lives_on():
    """after all this the daemon answers, and ends cleanly"""
    note_cost(daemon, "after hostile clients")
    equal(call(daemon, "GET", "/readyz").status, 200)
    end_processes()
    clean_end(daemon)


tap.main()
