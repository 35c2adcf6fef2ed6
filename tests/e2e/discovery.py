# SPDX-License-Identifier: Apache-2.0
"""Agents that nobody launched through us: found by rules, listed by a dry run, never by default."""
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time

import tap
from tap import check, equal, run, test, wait_for

NAME = f"agentcore-e2e-{os.getpid()}"
started = []
groups = []


def start(*command, env=None, group=None, **more):
    """A process that nobody announces, in a cgroup of its own where one is given."""
    def enter():
        with open(os.path.join(group, "cgroup.procs"), "w", encoding="ascii") as file:
            file.write("0")
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL, env=dict(tap.ENVIRONMENT, **(env or {})),
                               start_new_session=True, preexec_fn=enter if group else None, **more)
    started.append(process)
    return process


def end(process):
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def config(*rules, more=""):
    text = "discovery:\n  enabled: true\n  interval: 100ms\n" + more + "  rules:\n"
    for rule in rules:
        text += "    - " + "\n      ".join(f'{k}: "{v}"' for k, v in rule.items()) + "\n"
    return text


def agents(daemon):
    return {a["id"]: a for a in daemon.json("ps")["agents"]}


def script(name, body="sleep 300 & sleep 300 & wait"):
    path = os.path.join(tap.directory(), name)
    with open(path, "w", encoding="ascii") as file:
        file.write("#!/bin/sh\n" + body + "\n")
    os.chmod(path, 0o755)
    return path


def cgroup_root():
    """The cgroup v2 mount."""
    if os.geteuid() != 0:
        raise tap.Skip("making a cgroup needs root")
    with open("/proc/self/mounts", encoding="utf-8") as mounts:
        for line in mounts:
            fields = line.split()
            if fields[2] == "cgroup2" and os.access(fields[1], os.W_OK):
                return fields[1]
    raise tap.Skip("there is no cgroup v2 mount that can be written")


def make_group(name):
    path = os.path.join(cgroup_root(), name)
    try:
        os.mkdir(path)
    except OSError as error:
        raise tap.Skip(f"{path}: {error.strerror}")
    groups.append(path)
    return path


@test
def off_by_default():
    """without rules no process becomes an agent"""
    process = start(script("claude"), env={"AGENTCORE_AGENT_ID": NAME + "-off"})
    daemon = tap.Daemon()
    wait_for("ten ticks", lambda: daemon.json("status")["tick"]["count"] > 10)
    equal(agents(daemon), {})
    daemon.stop()
    end(process)


@test
def a_tree_is_found():
    """a coding agent is found with what it starts, once, agrees with the dry run, and ends"""
    program = script("claude", "sleep 300 & ./claude-child & wait")
    child = os.path.join(os.path.dirname(program), "claude-child")
    shutil.copy(program, child)
    with open(child, "w", encoding="ascii") as file:
        file.write("#!/bin/sh\nsleep 300 & sleep 300\n")
    rules = config({"name": "mine", "executable": "claude*", "command": f"*{program}*"},
                   {"name": "below", "executable": "claude-child"})
    process = start(program, cwd=os.path.dirname(program))
    identifier = f"claude-{process.pid}"
    wait_for("its children", lambda: len(children(process.pid)) == 2)
    daemon = tap.Daemon(config=rules)
    got = wait_for("discovery", lambda: agents(daemon).get(identifier))
    equal(got["pid"], process.pid)
    equal(got["labels"], {"discovered": "mine"})
    equal(got["philosophy"], "autonomous")
    check(got["command"].endswith(program), got)
    wait_for("its members", lambda: agents(daemon)[identifier]["processes"] == 5)
    found = dry(daemon)
    equal([(a["id"], a["pid"], a["processes"], a["rule"]) for a in found],
          [(identifier, process.pid, 5, "mine")])
    equal(list(agents(daemon)), [identifier], "the child belongs to the upper one")
    end(process)
    wait_for("its end", lambda: agents(daemon)[identifier]["state"] == "exited")
    daemon.stop()


def children(pid):
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
        return file.read().split()


def dry(daemon, *arguments):
    """What the dry run lists for the daemon's own configuration."""
    path = os.path.join(daemon.directory, "agentcored.yaml")
    result = run("discover", "--config", path, "--json", *arguments)
    equal(result.code, 0, result.err)
    return result.json()["agents"]


@test
def later_programs_are_found():
    """a process that becomes another program after it was looked at is found"""
    program = script(NAME + "-late")
    daemon = tap.Daemon(config=config({"name": "late", "executable": NAME + "-late"}))
    process = start("sh", "-c", f"sleep 3; exec {program}")
    identifier = f"{NAME}-late-{process.pid}"
    wait_for("discovery", lambda: agents(daemon).get(identifier))
    daemon.stop()
    end(process)


@test
def the_environment_names_an_agent():
    """AGENTCORE_AGENT_ID becomes the id; siblings of one user that share it are one agent"""
    value = NAME + "-env"
    other = {"AGENTCORE_AGENT_ID": value, "PADDING": "x" * 100000}
    daemon = tap.Daemon(config=config({"preset": "environment", "executable": "sleep"}))
    first = start("sleep", "300", env={"AGENTCORE_AGENT_ID": value})
    wait_for("discovery", lambda: agents(daemon).get(value))
    second = start("sleep", "301", env=other)
    bad = start("sleep", "302", env={"AGENTCORE_AGENT_ID": "no id\x1b"})
    wait_for("the sibling", lambda: agents(daemon)[value]["processes"] == 2)
    equal([a for a in agents(daemon) if a.startswith(NAME)], [value])
    equal([(a["id"], a["pid"], a["processes"]) for a in dry(daemon) if a["id"] == value],
          [(value, first.pid, 2)])
    if os.geteuid() == 0:
        # Another user cannot slip into it by naming it.
        stranger = start(*tap.as_user(tap.NOBODY), "sleep", "303", env=other)
        name = f"{value}-{stranger.pid}"
        wait_for("the stranger", lambda: agents(daemon).get(name, {}).get("processes") == 1)
        equal(agents(daemon)[name]["uid"], tap.NOBODY)
        equal(agents(daemon)[value]["processes"], 2)
        end(stranger)
    daemon.stop()
    for process in (first, second, bad):
        end(process)


@test
def a_reporter_gets_its_processes():
    """an agent that reports keeps its limits and labels when its process is found"""
    value = NAME + "-reporter"
    daemon = tap.Daemon(config=config({"preset": "environment", "executable": "sleep"}))
    put(daemon, value, {"philosophy": "cot", "limits": {"max_memory_mb": 77},
                        "labels": {"team": "a"}})
    equal(agents(daemon)[value]["pid"], None)
    process = start("sleep", "300", env={"AGENTCORE_AGENT_ID": value})
    wait_for("its process", lambda: agents(daemon)[value]["pid"] == process.pid)
    got = agents(daemon)[value]
    equal((got["philosophy"], got["limits"]["max_memory_mb"]), ("cot", 77))
    equal(got["labels"], {"team": "a", "discovered": "environment"})
    wait_for("its usage", lambda: agents(daemon)[value]["usage"]["memory_mb"])
    daemon.stop()
    end(process)


@test
def a_reserved_name_is_not_found():
    """what a user's process calls itself does not get it the reservation of another"""
    value = NAME + "-reserved"
    prefix = tap.as_user(tap.NOBODY)
    daemon = tap.Daemon(config=config({"preset": "environment", "executable": "sleep"}))
    equal(daemon.run("allocate", "--id", value).code, 0)
    process = start(*prefix, "sleep", "300", env={"AGENTCORE_AGENT_ID": value})

    def told():
        with open(daemon.log, encoding="utf-8", errors="replace") as log:
            return "another user has reserved resources" in log.read()
    wait_for("its refusal", told)
    equal([a for a in agents(daemon) if a.startswith(NAME)], [])
    equal(daemon.run("allocate", "--release", value).code, 0)
    wait_for("discovery", lambda: agents(daemon).get(value))
    equal(agents(daemon)[value]["uid"], tap.NOBODY)
    daemon.stop()
    end(process)


def put(daemon, identifier, body):
    """Adds an agent through the API."""
    text = json.dumps(body).encode()
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(daemon.socket)
        connection.sendall(b"PUT /v1/agents/%s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
                           b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"
                           % (identifier.encode(), len(text), text))
        answer = connection.makefile("rb").read()
    check(answer.startswith(b"HTTP/1.1 201"), answer)


ASK = """
import http.client, socket, sys
connection = http.client.HTTPConnection("localhost", timeout=60)
connection.sock = socket.socket(socket.AF_UNIX)
connection.sock.connect(sys.argv[1])
connection.request("GET", sys.argv[2])
print(connection.getresponse().read().decode())
"""


def ask(daemon, target, user=None):
    """What the daemon answers another user."""
    prefix = tap.as_user(user) if user is not None else []
    done = subprocess.run([*prefix, sys.executable, "-c", ASK, daemon.socket, target], timeout=60,
                          env=tap.ENVIRONMENT, stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout)


@test
def the_daemon_tells_what_it_would_find():
    """GET /v1/discovery lists what rules find, whether it is an agent already, to whom it belongs"""
    program = script(NAME + "-told")
    daemon = tap.Daemon(open_to_all=True, config="discovery:\n  rules:\n    - name: told\n"
                        f"      executable: {NAME}-told\n")
    value = NAME + "-named"
    process = start(program)
    named = start("sleep", "300", env={"AGENTCORE_AGENT_ID": value})
    identifier = f"{NAME}-told-{process.pid}"
    wait_for("both of its children", lambda: len(children(process.pid)) == 2)
    answer = ask(daemon, "/v1/discovery")
    check(answer["looked_at"] > 3 and answer["beyond_caps"] == 0, answer)
    equal(answer["agents"], [{
        "id": identifier, "rule": "told", "unit": "tree", "pid": process.pid, "uid": os.geteuid(),
        "philosophy": "autonomous", "template": answer["agents"][0]["template"],
        "command": answer["agents"][0]["command"], "cgroup": None, "processes": 3,
        "managed": False, "agent_id": None}])
    equal(agents(daemon), {}, "nothing is changed")
    put(daemon, "mine", {"pid": process.pid})
    wait_for("its processes", lambda: agents(daemon)["mine"]["processes"] == 3)
    found = ask(daemon, "/v1/discovery")["agents"][0]
    equal((found["managed"], found["agent_id"]), (True, "mine"))
    found = {a["id"]: a for a in
             ask(daemon, "/v1/discovery?preset=environment&preset=docker")["agents"]}
    equal((found[value]["rule"], found[value]["pid"]), ("environment", named.pid))
    check(identifier not in found, found)
    check("not one of: docker" in ask(daemon, "/v1/discovery?preset=x")["detail"])
    if os.geteuid() == 0:
        stranger = start(*tap.as_user(tap.NOBODY), "sleep", "303",
                         env={"AGENTCORE_AGENT_ID": value + "-2"})
        put(daemon, "roots", {"pid": stranger.pid})
        wait_for("its process", lambda: agents(daemon)["roots"]["processes"] == 1)
        answer = ask(daemon, "/v1/discovery?preset=environment", tap.NOBODY)
        equal([(a["uid"], a["managed"], a["agent_id"]) for a in answer["agents"]
               if a["id"].startswith(NAME)], [(tap.NOBODY, True, None)])
        equal({a["uid"] for a in answer["agents"]}, {tap.NOBODY})
        equal((answer["looked_at"], answer["environment_unreadable"]), (None, None))
        end(stranger)
    daemon.stop()
    for one in (process, named):
        end(one)


@test
def environments_of_others_are_missed_aloud():
    """an ordinary user's dry run works, and says whose environment it cannot read"""
    result = run("discover", "--preset", "environment", user=tap.NOBODY)
    equal(result.code, 0, result.err)
    check("cannot be read" in result.err, result.err)


@test
def a_cgroup_is_one_agent():
    """a container's cgroup is one agent: whoever enters it joins, its files are metered"""
    cgroup_is_one_agent("auto", NAME)


@test
def a_cgroup_is_one_agent_for_procfs():
    """the same where nothing but /proc can be read"""
    cgroup_is_one_agent("procfs", NAME + "-procfs")


def cgroup_is_one_agent(collector, top):
    group = make_group(top)
    inner = os.path.join(group, "docker-" + "0123456789abcdef" * 4 + ".scope")
    os.mkdir(inner)
    groups.insert(0, inner)
    first = start("sleep", "300", group=inner)
    second = start("sh", "-c", "sleep 300 & wait", group=inner)
    outside = start("sleep", "300", group=group)
    daemon = tap.Daemon(state=tap.directory(), config=f"collector: {collector}\n" + config(
        {"preset": "docker", "cgroup": f"/{top}/*", "template": "boxes"}))
    identifier = "docker-0123456789ab"
    wait_for("discovery", lambda: agents(daemon).get(identifier))
    wait_for("all three", lambda: agents(daemon)[identifier]["processes"] == 3)
    got = agents(daemon)[identifier]
    equal((got["pid"], got["template"]), (first.pid, "boxes"))
    equal([(a["id"], a["unit"], a["pid"], a["processes"], a["cgroup"]) for a in dry(daemon)],
          [(identifier, "cgroup", first.pid, 3, f"/{top}/" + os.path.basename(inner))])
    third = start("sleep", "300", group=inner)
    wait_for("one that enters", lambda: agents(daemon)[identifier]["processes"] == 4)
    if daemon.json("status")["collector"] == "bpf":
        wait_for("its network",
                 lambda: agents(daemon)[identifier]["usage"]["network_io_mbps"] is not None)
    # A restarted daemon goes on with the same agent, and whoever enters then joins it too.
    daemon.stop()
    daemon.start()
    wait_for("the agent", lambda: agents(daemon).get(identifier, {}).get("processes"))
    fourth = start("sleep", "300", group=inner)
    wait_for("one that enters later", lambda: agents(daemon)[identifier]["processes"] == 5)
    equal([a for a in agents(daemon) if a.startswith("docker")], [identifier])
    for process in (first, second, third, fourth, outside):
        end(process)
    wait_for("its end", lambda: agents(daemon)[identifier]["state"] == "exited")
    daemon.stop()


@test
def caps_hold():
    """no more agents than max_agents; a place that becomes free is taken by one that waits"""
    program = script(NAME + "-many", "sleep 300")
    daemon = tap.Daemon(config=config(
        {"name": "many", "executable": NAME + "-many", "max_agents": 2}))
    processes = [start(program) for _ in range(5)]
    wait_for("two", lambda: len(agents(daemon)) == 2)
    count = daemon.json("status")["tick"]["count"]
    wait_for("ten ticks", lambda: daemon.json("status")["tick"]["count"] > count + 10)
    got = agents(daemon)
    equal(len(got), 2)
    for process in processes:
        if process.pid in [a["pid"] for a in got.values()]:
            end(process)
    wait_for("two others", lambda: len([a for a in agents(daemon).values()
                                        if a["state"] == "running"]) == 2)
    with open(daemon.log, encoding="utf-8") as log:
        check("processes that rules match are left out" in log.read())
    daemon.stop()
    for process in processes:
        end(process)


@test
def a_reload_takes_new_rules():
    """SIGHUP: rules that come, change and go are followed; found agents stay"""
    program = script(NAME + "-reload", "sleep 300")
    daemon = tap.Daemon(config=config({"name": "none", "executable": "no-such-program"}))
    process = start(program)
    path = os.path.join(daemon.directory, "agentcored.yaml")
    with open(path, "w", encoding="utf-8") as file:
        file.write(config({"name": "new", "executable": NAME + "-reload", "id": NAME + "-r"}))
    daemon.process.send_signal(signal.SIGHUP)
    wait_for("discovery", lambda: agents(daemon).get(NAME + "-r"))
    with open(path, "w", encoding="utf-8") as file:
        file.write("discovery:\n  enabled: true\n")
    daemon.process.send_signal(signal.SIGHUP)

    def log():
        with open(daemon.log, encoding="utf-8") as file:
            return file.read()
    wait_for("the refusal", lambda: "needs discovery.rules" in log())
    equal(agents(daemon)[NAME + "-r"]["state"], "running")
    daemon.stop()
    end(process)


@test
def hostile_processes():
    """names and arguments full of control characters are found and shown safely"""
    process = start(sys.executable, "-c", "import time; time.sleep(300)",
                    "\x1b]0;" + NAME + "\x07\n", "y" * 100000)
    daemon = tap.Daemon(config=config({"name": "evil", "command": f"*{NAME}*"}))
    got = wait_for("discovery", lambda: [a for a in agents(daemon).values()
                                         if a["pid"] == process.pid])[0]
    check("\x1b" not in got["command"] and "\n" not in got["command"], got)
    path = os.path.join(daemon.directory, "agentcored.yaml")
    text = run("discover", "--config", path)
    equal(text.code, 0, text.err)
    check("\x1b" not in text.out, text.out)
    daemon.stop()
    end(process)


@test
def wrong_use():
    """wrong presets and files are wrong usage"""
    equal(run("discover", "--preset", "dokcer").code, 2)
    equal(run("discover", "--config", "/nonexistent").code, 2)
    empty = os.path.join(tap.directory(), "empty.yaml")
    with open(empty, "w", encoding="utf-8"):
        pass
    equal(run("discover", "--config", empty).code, 2)


def remove_all():
    for process in started:
        end(process)
    for group in groups:
        for _ in range(100):
            try:
                os.rmdir(group)
                break
            except FileNotFoundError:
                break
            except OSError:
                time.sleep(0.05)


try:
    tap.main()
finally:
    remove_all()
