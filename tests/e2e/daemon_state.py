# SPDX-License-Identifier: Apache-2.0
"""What agentcored keeps: crashes, restarts, disks that are full, databases it must not touch."""
import contextlib
import os
import resource
import sqlite3
import subprocess

import tap
from daemon_api import (Events, agent, alerts, attach, call, clean_end, end_processes, get, kill9,
                        log_of, note_cost, start, ticks, wait_for)
from tap import check, equal, test

QUIET = "limits:\n  max_cpu_percent: 100\n  max_memory_percent: 100\n"


def agentcored(*arguments):
    return tap.run(*arguments, program=tap.AGENTCORED)


def state_daemon(state=None, **more):
    return tap.Daemon(state=state or os.path.join(tap.directory(), "state"), config=QUIET, **more)


def crash(daemon):
    """kill -9, and the next start."""
    kill9(daemon)
    daemon.start()
    wait_for("readiness", lambda: call(daemon, "GET", "/readyz").status == 200)


def fat(daemon, identifier):
    """An agent over its own memory limit, and its alert."""
    process = start()
    attach(daemon, identifier, process.pid, limits={"max_memory_mb": 0.25})
    return process, wait_for("its alert", lambda: alerts(daemon, agent=identifier))[0]


# ---- Crashes

@test
def acknowledged_means_committed():
    """what was answered survives kill -9 right after the answer, step by step"""
    daemon = state_daemon()
    process = start()
    attach(daemon, "sleeper", process.pid, philosophy="cot", template="tests",
           labels={"team": "a", "x": "y"}, limits={"max_memory_mb": 512, "max_cpu_cores": 1.5})
    before = agent(daemon, "sleeper")
    crash(daemon)
    after = agent(daemon, "sleeper")
    for field in ("pid", "philosophy", "template", "labels", "limits", "started", "command", "uid"):
        equal(after[field], before[field], field)
    wait_for("its usage", lambda: (agent(daemon, "sleeper").get("usage") or {}).get("memory_mb"))

    granted = call(daemon, "POST", "/v1/allocations",
                   {"agent_id": "sleeper", "limits": {"max_memory_mb": 16}})
    equal(granted.status, 201, granted.text)
    crash(daemon)
    found = get(daemon, "/v1/allocations/sleeper")
    for field in ("id", "status", "cpu_percent", "memory_mb", "created", "policy"):
        equal(found[field], granted.body[field], field)

    equal(call(daemon, "DELETE", "/v1/allocations/sleeper").status, 204)
    crash(daemon)
    equal(get(daemon, "/v1/allocations")["allocations"], [])

    equal(call(daemon, "PUT", "/v1/pools/react", {"scale": 7}).status, 200)
    crash(daemon)
    equal(get(daemon, "/v1/pools/react")["scale"], 7)

    equal(call(daemon, "PUT", "/v1/agents/tells/usage", {"memory_mb": 5}).status, 200)
    crash(daemon)
    equal(agent(daemon, "tells").get("state"), "running", "an agent that only reports")
    equal(agent(daemon, "tells")["usage"]["memory_mb"], None, "its last report is not its usage")

    equal(call(daemon, "DELETE", "/v1/agents/sleeper").status, 204)
    crash(daemon)
    equal(agent(daemon, "sleeper"), {})
    check(process.poll() is None, "its process lives on")
    clean_end(daemon)


@test
def execution_time_goes_on():
    """an agent's time goes on over a restart, by a clock that nobody sets"""
    directory = tap.directory()
    daemon = state_daemon(os.path.join(directory, "state"))
    with open("/proc/uptime", encoding="ascii") as file:
        uptime = float(file.read().split()[0])
    process = start()
    attach(daemon, "long", process.pid, limits={"max_execution_time_seconds": uptime / 2})
    for column, fires in (("added_ns = 1", False), ("added_boot_ns = 1", True)):
        kill9(daemon)
        with sqlite3.connect(os.path.join(directory, "state", "agentcore.db")) as database:
            database.execute(f"UPDATE agent SET {column}")
        database.close()
        daemon.start()
        ticks(daemon, 3)
        found = alerts(daemon, agent="long")
        equal([a["rule"] for a in found], ["execution_time"] if fires else [], column)
    check(found[0]["current_value"] >= uptime, found)
    clean_end(daemon)


@test
def silence_ends():
    """an agent that stops reporting exits for good, and comes back by reporting"""
    state = os.path.join(tap.directory(), "state")
    daemon = tap.Daemon(state=state, config=QUIET + "report_timeout: 300ms\n")
    events = Events(daemon)
    equal(call(daemon, "PUT", "/v1/agents/tells", {"philosophy": "cot", "labels": {"team": "a"},
                                                   "limits": {"max_memory_mb": 1}}).status, 201)
    usage = call(daemon, "PUT", "/v1/agents/tells/usage", {"memory_mb": 5})
    equal(usage.status, 200, usage.text)
    equal(call(daemon, "POST", "/v1/allocations", {"agent_id": "tells"}).status, 201)
    event = events.wait("agent_exited", agent_id="tells")
    check("has not reported for" in event["text"], event)
    ended = agent(daemon, "tells")
    equal((ended["state"], ended["active_alerts"]), ("exited", 0))
    check(ended["ended"] >= ended["started"], ended)
    equal(call(daemon, "GET", "/v1/allocations/tells").status, 404)
    equal(alerts(daemon, agent="tells"), [])
    check(get(daemon, "/v1/agents/tells/history")["points"], "what it reported stays")
    crash(daemon)
    equal(agent(daemon, "tells"), {}, "it had ended")
    events.close()
    equal(call(daemon, "PUT", "/v1/agents/tells", {"labels": {"team": "b"}}).status, 201)
    wait_for("its end", lambda: agent(daemon, "tells").get("state") == "exited")
    back = call(daemon, "PUT", "/v1/agents/tells/usage", {"memory_mb": 5}).body
    equal((back["state"], back["labels"], back["ended"]), ("running", {"team": "b"}, None))
    equal(get(daemon, "/v1/agents?state=exited")["agents"], [])
    clean_end(daemon)


@test
def alerts_survive():
    """alerts and acknowledgements survive kill -9 in silence; those of what ended are resolved"""
    daemon = state_daemon()
    _, known = fat(daemon, "known")
    _, open_one = fat(daemon, "open")
    dies, ended = fat(daemon, "dies")
    equal(call(daemon, "POST", f"/v1/alerts/{known['id']}/acknowledge").status, 200)
    call(daemon, "POST", "/v1/allocations", {"agent_id": "dies"})
    kill9(daemon)
    dies.kill()
    dies.wait()
    daemon.start()
    live = {a["id"]: a for a in alerts(daemon, state="live") if a["agent_id"]}
    equal(set(live), {known["id"], open_one["id"]})
    equal([live[known["id"]]["acknowledged"], live[open_one["id"]]["acknowledged"]], [True, False])
    equal(live[known["id"]]["started"], known["started"])
    equal([a["id"] for a in alerts(daemon, agent="open")], [open_one["id"]])
    equal(agent(daemon, "dies"), {}, "gone")
    resolved = {a["id"]: a["state"] for a in alerts(daemon, state="all")}
    equal(resolved[ended["id"]], "resolved")
    ticks(daemon, 5)
    events = Events(daemon, "?kind=alert", after=0)
    call(daemon, "PUT", "/v1/agents/loud/usage", {"file_descriptors": 5000})
    events.wait("alert", agent_id="loud")
    equal([e["agent_id"] for e in events.of("alert") if e["agent_id"] in ("known", "open")], [],
          "nothing is told again")
    events.close()
    equal(call(daemon, "POST", f"/v1/alerts/{known['id']}/acknowledge").status, 409)
    clean_end(daemon)


@test
def history_survives():
    """history from before kill -9 is there after it, of the machine and of agents"""
    daemon = state_daemon()
    attach(daemon, "past", start().pid)
    ticks(daemon, 20)  # more than what a view may leave out at its edge
    wait_for("points", lambda: get(daemon, "/v1/agents/past/history?since=1h")["points"])
    seen = get(daemon, "/v1/system/history?since=1h")["points"]
    check(len(seen) > 1, seen)
    crash(daemon)
    for path in ("/v1/system/history", "/v1/agents/past/history"):
        times = [p["time"] for p in get(daemon, path + "?since=1h")["points"]]
        check(times and times[0] <= seen[-1]["time"], f"{path}: {times[:3]} {seen[-1]['time']}")
    equal(call(daemon, "DELETE", "/v1/agents/past").status, 204)
    crash(daemon)
    check(get(daemon, "/v1/agents/past/history?since=1h")["points"], "of an agent that is forgotten")
    equal(call(daemon, "GET", "/v1/agents/never/history").status, 404)
    clean_end(daemon)


@test
def killed_under_load():
    """kill -9 amid changes leaves a sound database with everything that was answered"""
    state = os.path.join(tap.directory(), "state")
    daemon = state_daemon(state)
    answered = []
    for round_number in range(3):
        for i in range(10):
            name = f"r{round_number}-{i}"
            equal(call(daemon, "PUT", f"/v1/agents/{name}", {"labels": {"n": str(i)}}).status, 201)
            equal(call(daemon, "POST", "/v1/allocations",
                       {"agent_id": name, "limits": {"max_memory_mb": 1}}).status, 201)
            answered.append(name)
        crash(daemon)
        ids = {a["id"] for a in get(daemon, "/v1/agents")["agents"]}
        equal(ids, set(answered))
        equal({a["agent_id"] for a in get(daemon, "/v1/allocations")["allocations"]}, set(answered))
    clean_end(daemon)
    with sqlite3.connect(os.path.join(state, "agentcore.db")) as database:
        equal(database.execute("PRAGMA integrity_check").fetchall(), [("ok",)])
        equal(database.execute("SELECT count(*) FROM agent").fetchone()[0], len(answered))
    database.close()


@test
def orphans_are_found_again():
    """processes whose root ended while the daemon was down are metered on through their cgroup"""
    daemon = state_daemon()
    process = subprocess.Popen(
        [tap.AGENTCORE, "--socket", daemon.socket, "run", "--id", "tree", "--", "sh", "-c",
         "sleep 300 & echo $!; wait"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        env=tap.ENVIRONMENT)
    child = int(process.stdout.readline())
    try:
        wait_for("both", lambda: agent(daemon, "tree").get("processes") == 2)
        with open(f"/proc/{child}/cgroup", encoding="utf-8") as file:
            grouped = any("agentcore-" in line for line in file)
        if not grouped:
            raise tap.Skip("agents get no cgroup of their own here: "
                           + get(daemon, "/v1/system")["collector"])
        kill9(daemon)
        process.kill()
        process.wait()
        daemon.start()
        wait_for("the orphan", lambda: agent(daemon, "tree").get("processes") == 1)
        found = agent(daemon, "tree")
        equal((found["state"], [m["pid"] for m in found["members"]]), ("orphans", [child]))
        events = Events(daemon, after=0)
        os.kill(child, 9)
        child = 0
        events.wait("agent_exited", agent_id="tree")
        events.close()
    finally:
        process.stdout.close()
        if process.poll() is None:
            process.kill()
            process.wait()
        if child:
            os.kill(child, 9)
    clean_end(daemon)


# ---- Other states

@test
def no_state():
    """state none writes nothing and forgets everything"""
    daemon = tap.Daemon(config=QUIET)
    attach(daemon, "sleeper", start().pid)
    equal(get(daemon, "/v1/system")["state"], "none")
    equal(sorted(os.listdir(daemon.directory)), ["agentcored.sock", "agentcored.yaml", "log"])
    crash(daemon)
    equal(get(daemon, "/v1/agents")["agents"], [])
    clean_end(daemon)


@test
def foreign_databases():
    """a newer schema, another program's database and a damaged one are refused and left alone"""
    for statement, wanted in (("PRAGMA user_version = 999", "schema version 999"),
                              ("PRAGMA application_id = 7", "another program"), (None, "damaged")):
        state = os.path.join(tap.directory(), "state")
        daemon = state_daemon(state)
        clean_end(daemon)
        path = os.path.join(state, "agentcore.db")
        if statement:
            with sqlite3.connect(path) as database:
                database.execute(statement)
            database.close()
        else:
            with open(path, "wb") as file:
                file.write(b"not a database at all, but long enough to look at" * 100)
        with open(path, "rb") as file:
            before = file.read()
        result = agentcored("--socket", daemon.socket, "--state", state)
        equal(result.code, 1, result.err)
        last = result.err.splitlines()[-1]
        check(last.startswith("agentcored: ") and path in last, last)
        check(wanted in last or not statement, last)
        with open(path, "rb") as file:
            check(file.read() == before, "left alone")
        check(not os.path.exists(daemon.socket), "no socket is left behind")


# ---- Disks

class Disk:
    """A small tmpfs."""

    def __init__(self, megabytes):
        if os.geteuid() != 0:
            raise tap.Skip("needs root to mount a small file system")
        self.path = tap.directory()
        done = tap.run("-t", "tmpfs", "-o", f"size={megabytes}m,mode=0700", "none", self.path,
                       program="mount")
        if done.code != 0:
            raise tap.Skip("cannot mount a tmpfs: " + done.err.strip())

    def fill(self):
        with open(os.path.join(self.path, "ballast"), "wb", buffering=0) as file:
            try:
                while file.write(b"x" * 4096):
                    pass
            except OSError:
                pass

    def empty(self):
        os.unlink(os.path.join(self.path, "ballast"))

    def remount(self, mode):
        return tap.run("-o", f"remount,{mode}", self.path, program="mount")

    def gone(self):
        tap.run(self.path, program="umount")


def state_alert(daemon):
    return [a for a in alerts(daemon) if a["rule"] == "state"]


def goes_on(daemon, number):
    """Metering, alerts, allocation and changes while nothing can be written."""
    process = start()
    name = f"during-{number}"
    attach(daemon, name, process.pid, limits={"max_memory_mb": 0.25})
    wait_for("an alert", lambda: alerts(daemon, agent=name))
    equal(call(daemon, "POST", "/v1/allocations",
               {"agent_id": name, "limits": {"max_memory_mb": 1}}).status, 201)
    equal(call(daemon, "GET", "/readyz").status, 200)
    return name


@test
def full_disk():
    """a full disk raises an emergency and stops nothing else; space that returns ends it"""
    disk = Disk(4)
    daemon = None
    try:
        daemon = state_daemon(os.path.join(disk.path, "state"))
        _, resolves = fat(daemon, "resolves")
        attach(daemon, "leaves", start().pid)
        disk.fill()
        names = []

        def troubled():
            names.append(goes_on(daemon, len(names)))
            return state_alert(daemon)
        alert = wait_for("the state alert", troubled)[0]
        equal((alert["severity"], alert["agent_id"]), ("emergency", None))
        check("full" in alert["message"] or "space" in alert["message"], alert)
        equal(len(state_alert(daemon)), 1)
        names.append(goes_on(daemon, "late"))
        # What ends now cannot be written, and must not be there again later.
        call(daemon, "DELETE", "/v1/agents/resolves")
        call(daemon, "DELETE", "/v1/agents/leaves")
        check(any("state cannot be written" in line for line in log_of(daemon).splitlines()))
        disk.empty()
        wait_for("the end of the alert", lambda: not state_alert(daemon))
        crash(daemon)
        ids = {a["id"] for a in get(daemon, "/v1/agents")["agents"]}
        equal(ids, set(names), "all that happened meanwhile is there")
        equal({a["agent_id"] for a in get(daemon, "/v1/allocations")["allocations"]}, set(names))
        live = {a["id"] for a in alerts(daemon, state="live")}
        check(resolves["id"] not in live, "an alert that ended meanwhile")
        equal(state_alert(daemon), [])
        clean_end(daemon)
    finally:
        if daemon:
            daemon.stop()
        disk.gone()


@test
def size_limit():
    """a limit on the size of files is the same trouble, and the same recovery, without root"""
    daemon = state_daemon()
    _, hard = resource.prlimit(daemon.process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(daemon.process.pid, resource.RLIMIT_FSIZE, (1, hard))
    names = []

    def troubled():
        names.append(goes_on(daemon, len(names)))
        return state_alert(daemon)
    equal(wait_for("the state alert", troubled)[0]["severity"], "emergency")
    resource.prlimit(daemon.process.pid, resource.RLIMIT_FSIZE, (hard, hard))
    wait_for("the end of the alert", lambda: not state_alert(daemon))
    crash(daemon)
    equal({a["id"] for a in get(daemon, "/v1/agents")["agents"]}, set(names))
    clean_end(daemon)


@test
def history_alone():
    """where only the history fails its own alert says so, and answers are committed as before"""
    state = os.path.join(tap.directory(), "state")
    daemon = state_daemon(state)
    ticks(daemon, 2)
    # As damage would have it: a table is not there, and later it is.
    with contextlib.closing(sqlite3.connect(
            os.path.join(state, "history.db"), isolation_level=None)) as history:
        history.execute("ALTER TABLE frame RENAME TO lost")
    alert = wait_for("the alert", lambda: [a for a in alerts(daemon) if a["rule"] == "history"])[0]
    equal((alert["severity"], alert["agent_id"]), ("emergency", None))
    equal(state_alert(daemon), [])
    check(any("history cannot be written" in line for line in log_of(daemon).splitlines()))
    names = {goes_on(daemon, i) for i in range(3)}
    with contextlib.closing(sqlite3.connect(
            f"file:{state}/agentcore.db?mode=ro", uri=True)) as store:
        equal({row[0] for row in store.execute("SELECT agent_id FROM allocation")}, names)
    with contextlib.closing(sqlite3.connect(
            os.path.join(state, "history.db"), isolation_level=None)) as history:
        history.execute("ALTER TABLE lost RENAME TO frame")
    wait_for("the end of the alert",
             lambda: not [a for a in alerts(daemon) if a["rule"] == "history"])
    crash(daemon)
    equal({a["id"] for a in get(daemon, "/v1/agents")["agents"]}, names)
    clean_end(daemon)


@test
def read_only_at_start():
    """a state directory that cannot be written at the start is told, with status 1"""
    disk = Disk(8)
    try:
        equal(disk.remount("ro").code, 0)
        result = agentcored("--socket", os.path.join(tap.directory(), "s"), "--state",
                            os.path.join(disk.path, "state"))
        equal(result.code, 1)
        check("Read-only" in result.err.splitlines()[-1] and disk.path in result.err, result.err)
    finally:
        disk.gone()


@test
def cost():
    """a daemon with state costs what it says, and ends cleanly"""
    daemon = state_daemon()
    ticks(daemon, 10)
    note_cost(daemon, "with state")
    end_processes()
    clean_end(daemon)


tap.main()
