# SPDX-License-Identifier: Apache-2.0
"""agentcored from start to stop: options, configuration, reload, signals, service manager."""
import os
import re
import signal
import socket
import subprocess

import tap
from daemon_api import (DEADLINE, Connection, Events, UserDaemon, alerts, attach, clean_end, agent, call,
                        end_processes, get, log_of, note_cost, start, ticks, wait_for)
from tap import check, equal, test

QUIET = "limits:\n  max_cpu_percent: 100\n  max_memory_percent: 100\n"
SOURCE = os.environ.get("SOURCE_ROOT") or os.path.join(os.path.dirname(__file__), "..", "..")


def agentcored(*arguments):
    return tap.run(*arguments, program=tap.AGENTCORED)


def write(path, text):
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    return path


# ---- Configuration

WRONG = [  # text, line, key
    ("intervall: 1s\n", 1, "intervall"),
    ("limits:\n  max_cpu: 5\n", 2, "limits.max_cpu"),
    ("# a comment\n\nlimits:\n  max_cpu_percent: many\n", 4, "limits.max_cpu_percent"),
    ("limits:\n  max_cpu_percent: 140\n", 2, "limits.max_cpu_percent"),
    ("limits:\n  max_cpu_percent: .nan\n", 2, "limits.max_cpu_percent"),
    ("limits:\n  max_memory_percent: -.inf\n", 2, "limits.max_memory_percent"),
    ("limits: 5\n", 1, "limits"),
    ("interval: 1s\ninterval: 2s\n", 2, "interval"),
    ("interval: 1ms\n", 1, "interval"),
    ("interval: [1s]\n", 1, "interval"),
    ("caps:\n  max_agents: -1\n", 2, "caps.max_agents"),
    ("caps:\n  max_agents: 99999999999999999999\n", 2, "caps.max_agents"),
    ("caps:\n  max_body: 1T\n", 2, "caps.max_body"),
    ("collector: ebpf\n", 1, "collector"),
    ("http:\n  listen: 127.0.0.1:0\n", 2, "http.listen"),
]


@test
def wrong_configuration():
    """a wrong configuration gets one line with file, line and key, and status 2"""
    path = os.path.join(tap.directory(), "wrong.yaml")
    for text, line, key in WRONG:
        for arguments in (["--check-config"], ["--state", "none", "--socket", path + ".sock"]):
            result = agentcored("--config", write(path, text), *arguments)
            equal(result.code, 2, f"{text!r} {result.err}")
            equal(result.out, "")
            check(re.fullmatch(rf"agentcored: {re.escape(path)}:{line}: {re.escape(key)}: [^\n]+\n",
                               result.err), f"{text!r}: {result.err!r}")
    check(not os.path.exists(path + ".sock"), "nothing was opened")


@test
def right_configuration():
    """what --print-config prints passes --check-config, as the packaged example does"""
    path = os.path.join(tap.directory(), "example.yaml")
    write(path, agentcored("--print-config").out)
    for file in (path, os.path.join(SOURCE, "packaging", "agentcored.yaml")):
        result = agentcored("--config", file, "--check-config")
        equal((result.code, result.err), (0, ""), file)
    equal(agentcored("--config", write(path, ""), "--check-config").code, 0, "empty")


@test
def wrong_options():
    """wrong options are told on standard error with status 2"""
    for arguments, wanted in ((["--bogus"], "bogus"), (["stray"], "stray"),
                              (["--interval", "1ms", "--check-config"], "--interval"),
                              (["--interval", "soon", "--check-config"], "soon"),
                              (["--log-level", "loud", "--check-config"], "--log-level"),
                              (["--state", "", "--check-config"], "--state"),
                              (["--socket", "", "--check-config"], "--socket"),
                              (["--config", "/nonexistent/x.yaml"], "/nonexistent/x.yaml"),
                              (["--config", "/"], "regular file")):
        result = agentcored(*arguments)
        equal(result.code, 2, arguments)
        check(wanted in result.err and len(result.err.splitlines()) <= 2, result.err)
    for option in ("--help", "--version", "--print-config-docs"):
        result = agentcored(option)
        equal((result.code, result.err), (0, ""), option)
        check(result.out, option)


@test
def impossible_places():
    """a socket or state directory that cannot be is told in one line with status 1"""
    there = tap.directory()
    file = write(os.path.join(there, "file"), "")
    sock = os.path.join(there, "s")
    for arguments, wanted in ((["--socket", file, "--state", "none"], "is no socket"),
                              (["--socket", "/nonexistent/deep/s", "--state", "none"], "/nonexistent"),
                              (["--socket", sock + "x" * 120, "--state", "none"], "longer than"),
                              (["--socket", sock, "--state", file], file),
                              (["--socket", sock, "--state", "/proc/agentcore"], "/proc/agentcore")):
        result = agentcored(*arguments)
        equal(result.code, 1, f"{arguments} {result.err}")
        last = result.err.splitlines()[-1]
        check(last.startswith("agentcored: ") and wanted in last, result.err)
    check(not os.path.exists(sock), "nothing is left behind")


# ---- Reload: one daemon for several tests

daemon = None
config_path = None


def reload(text):
    """Sends SIGHUP with another file and returns the event that follows."""
    events = Events(daemon, "?kind=config")
    write(config_path, text)
    daemon.process.send_signal(signal.SIGHUP)
    event = events.wait("config")
    events.close()
    return event


@test
def reload_takes_effect():
    """SIGHUP puts new limits, interval and allocation settings into force"""
    global daemon, config_path
    daemon = tap.Daemon(config=QUIET)
    config_path = os.path.join(daemon.directory, "agentcored.yaml")
    equal(get(daemon, "/v1/system")["limits"]["max_disk_io_mbps"], 100)
    event = reload(QUIET + "  max_disk_io_mbps: 7\n  max_file_descriptors: 4\n")
    check("read again" in event["text"], event)
    equal(get(daemon, "/v1/system")["limits"]["max_disk_io_mbps"], 7)
    attach(daemon, "opens", start("sh", "-c", "exec 5</ 6</ 7</ 8</; exec sleep 300").pid)
    wait_for("an alert by the new limit", lambda: alerts(daemon, agent="opens"))
    before = call(daemon, "POST", "/v1/allocations", {"agent_id": "first", "policy": "recommend"})
    equal(before.status, 201, before.text)
    reload(QUIET + "  max_file_descriptors: 1000\nallocation:\n  headroom_percent: 1\n"
           "  reservation_ttl: 1h\n")
    wait_for("the alert to end", lambda: not alerts(daemon, agent="opens"))
    after = call(daemon, "POST", "/v1/allocations", {"agent_id": "second", "policy": "recommend"})
    equal(after.status, 201, after.text)
    check(after.body["memory_mb"] < before.body["memory_mb"], "headroom", after.text, before.text)
    left = int(after.body["expires"][11:13]) * 60 + int(after.body["expires"][14:16]) \
        - int(after.body["created"][11:13]) * 60 - int(after.body["created"][14:16])
    equal(left % 1440, 60, "minutes until the reservation ends")


@test
def too_many_events():
    """events beyond what is kept are counted, and told to every stream that lacks them"""
    other = tap.Daemon(config=QUIET + "report_timeout: 0s\nexited_retention: 0s\n")
    process = start()
    attach(other, "stays", process.pid)
    connection = Connection(other.socket)
    for i in range(4200):
        connection.request("PUT", f"/v1/agents/r{i}/usage", "{}",
                           {"Content-Type": "application/json"})
        response = connection.getresponse()
        response.read()
        equal(response.status, 200)
    connection.close()
    equal(get(other, "/v1/system")["active_agents"], 4201)
    write(os.path.join(other.directory, "agentcored.yaml"),
          QUIET + "report_timeout: 1ms\nexited_retention: 0s\n")
    other.process.send_signal(signal.SIGHUP)
    wait_for("the end of all", lambda: get(other, "/v1/system")["active_agents"] == 1)
    resumed = Events(other, "?kind=config", after=4201)
    told = resumed.wait("lost")
    check(told["lost"] >= 2 * 4200 - 1024 and "look at agents" in told["text"], told)
    resumed.close()
    metrics = call(other, "GET", "/metrics").text
    lost = re.search(r"^agentcore_events_lost(?:_total)? (\d+)", metrics, re.M)
    check(lost and int(lost[1]) >= 2 * 4200 - 4096, metrics[:300] if not lost else lost[0])
    check("more events at once than the queue holds" in log_of(other))
    equal(agent(other, "stays")["state"], "running")
    clean_end(other)


@test
def reload_of_nonsense():
    """SIGHUP with a wrong file keeps the old configuration, logs why and tells by an event"""
    reload(QUIET + "  max_disk_io_mbps: 7\n")
    for text, wanted in ((QUIET + "  max_disk_io_mbps: lots\n", "limits.max_disk_io_mbps"),
                         ("limits: [\n", "agentcored.yaml"), ("bogus: 1\n", "bogus")):
        event = reload(text)
        check("refused" in event["text"] and wanted in event["text"], event)
        equal(get(daemon, "/v1/system")["limits"]["max_disk_io_mbps"], 7)
        check(any("the old one stays" in line and wanted in line
                  for line in log_of(daemon).splitlines()), log_of(daemon))


@test
def reload_that_needs_a_restart():
    """SIGHUP refuses a change that needs a restart by its name, and takes no part of the file"""
    reload(QUIET + "  max_disk_io_mbps: 7\n")
    for text, key in (("caps:\n  max_agents: 5\n", "caps.max_agents"),
                      ("collector: procfs\n", "collector"), ("group: daemon\n", "group"),
                      ("history:\n  recent: 2h\n", "history.recent")):
        event = reload(QUIET + "  max_disk_io_mbps: 9\n" + text)
        check("refused" in event["text"] and key in event["text"] and "restart" in event["text"],
              event)
        equal(get(daemon, "/v1/system")["limits"]["max_disk_io_mbps"], 7)


@test
def reloads_do_not_put_off_ticks():
    """a storm of SIGHUP does not keep the daemon from ticking"""
    reload(QUIET)
    seen = get(daemon, "/v1/system")["tick"]["count"]

    def hang_up():
        daemon.process.send_signal(signal.SIGHUP)
        return get(daemon, "/v1/system")["tick"]["count"] > seen + 3
    wait_for("ticks", hang_up)


# ---- Two daemons

@test
def second_daemon():
    """a second daemon on the same socket or state is refused in clear words; the first goes on"""
    state = os.path.join(daemon.directory, "state")
    first = tap.Daemon(state=state)
    ours = first.run("run", "--id", "before", "--", "true")
    equal(ours.code, 0, ours.err)
    result = agentcored("--socket", first.socket, "--state", "none")
    equal(result.code, 1)
    check("answers there already" in result.err.splitlines()[-1], result.err)
    result = agentcored("--socket", first.socket + "2", "--state", state)
    equal(result.code, 1)
    last = result.err.splitlines()[-1]
    check("in use by another agentcored" in last and str(first.process.pid) in last, last)
    check(not os.path.exists(first.socket + "2"), "no socket is left behind")
    check(os.path.exists(first.socket), "the first one's socket stays")
    # Agents that come later still get what those before got, cgroups too.
    events = Events(first, "?kind=agent_exited")
    result = first.run("run", "--id", "after", "--", "true")
    equal(result.code, 0, result.err)
    events.wait("agent_exited", agent_id="after")
    events.close()
    check("no cgroup of its own" not in log_of(first).split("before", 1)[1], log_of(first))
    clean_end(first)


def groups_of(pid):
    """The cgroup directories that a process has open."""
    links = []
    for fd in os.listdir(f"/proc/{pid}/fd"):
        try:
            links.append(os.readlink(f"/proc/{pid}/fd/{fd}"))
        except OSError:  # closed meanwhile
            pass
    return [link for link in links if re.search(r"/agentcore-[0-9a-f]{16}$", link)]


@test
def leftover_groups():
    """cgroups of daemons that are gone are removed at the next start, those in use are not"""
    used, left = tap.Daemon(), tap.Daemon()
    mine, gone = groups_of(used.process.pid), groups_of(left.process.pid)
    if not mine or not gone:
        raise tap.Skip("daemons make no cgroups here: " + get(used, "/v1/system")["collector"])
    clean_end(left)
    other = tap.Daemon()
    check(not os.path.exists(gone[0]), "removed", gone)
    check(os.path.exists(mine[0]), "in use", mine)
    clean_end(other)
    clean_end(used)


@test
def leftover_socket():
    """a socket that a killed daemon left behind is taken over"""
    other = tap.Daemon()
    other.process.kill()
    other.process.wait()
    check(os.path.exists(other.socket), "left over")
    other.start()
    wait_for("an answer", lambda: call(other, "GET", "/healthz").status == 200)
    clean_end(other)
    check(not os.path.exists(other.socket), "the socket is removed")


# ---- Service manager

@test
def service_manager():
    """READY, WATCHDOG, RELOADING and STOPPING reach the service manager"""
    path = os.path.join(tap.directory(), "notify")
    manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    manager.bind(path)
    manager.settimeout(DEADLINE)
    said = []

    def hear(word):
        while not any(line.startswith(word) for message in said for line in message.split("\n")):
            said.append(manager.recv(4096).decode())
    there = tap.directory()
    sock = os.path.join(there, "s")
    with open(os.path.join(there, "log"), "wb") as log:
        process = subprocess.Popen(
            [tap.AGENTCORED, "--socket", sock, "--state", "none", "--interval", "100ms"],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            env=dict(tap.ENVIRONMENT, NOTIFY_SOCKET=path, WATCHDOG_USEC="400000"))
    try:
        hear("READY=1")
        check(os.path.exists(sock), "ready once it listens")
        hear("WATCHDOG=1")
        said.clear()
        process.send_signal(signal.SIGHUP)
        hear("RELOADING=1")
        hear("MONOTONIC_USEC=")
        hear("READY=1")
        process.send_signal(signal.SIGTERM)
        hear("STOPPING=1")
        equal(process.wait(DEADLINE), 0)
        check(not os.path.exists(sock), "the socket is removed")
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        manager.close()


@test
def interrupt():
    """SIGINT ends it as SIGTERM does, streams and slow clients or not"""
    other = tap.Daemon()
    events = Events(other)
    slow = socket.socket(socket.AF_UNIX)
    slow.connect(other.socket)
    slow.sendall(b"PUT /v1/agents/x HTTP/1.1\r\nContent-Le")
    other.process.send_signal(signal.SIGINT)
    equal(other.process.wait(DEADLINE), 0, log_of(other))
    check(not os.path.exists(other.socket), "the socket is removed")
    events.thread.join(DEADLINE)
    check(not events.thread.is_alive(), "the stream ended")
    slow.close()
    events.close()


# ---- An ordinary user

@test
def ordinary_user():
    """an ordinary user's daemon keeps state, meters own processes and stops cleanly"""
    own = UserDaemon(state="state")
    equal(os.stat(own.socket).st_uid, tap.NOBODY)
    equal(os.stat(own.socket).st_mode & 0o777, 0o600)
    check(get(own, "/v1/system")["collector"] != "bpf", "no BPF without privileges")
    result = own.run("run", "--id", "mine", "--", "sh", "-c", "id -u", user=tap.NOBODY)
    equal((result.code, result.out), (0, f"{tap.NOBODY}\n"), result.err)
    busy = start("sh", "-c", "while :; do :; done", user=tap.NOBODY, group=tap.NOBODY)
    attach(own, "busy", busy.pid)
    wait_for("its CPU", lambda: (agent(own, "busy").get("usage") or {}).get("cpu_percent"))
    ticks(own, 2)
    clean_end(own)
    check(not os.path.exists(own.socket), "the socket is removed")
    own.start()
    equal(agent(own, "busy").get("pid"), busy.pid, "restored")
    clean_end(own)


@test
def ends_cleanly():
    """the daemon of these tests stops with status 0 and removes its socket"""
    note_cost(daemon, "after the reloads")
    end_processes()
    clean_end(daemon)
    check(not os.path.exists(daemon.socket), "the socket is removed")


tap.main()
