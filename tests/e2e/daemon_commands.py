# SPDX-License-Identifier: Apache-2.0
"""agentcore against a real agentcored: every subcommand, in its forms for people and for tools."""
import csv
import io
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time

import tap
from tap import check, equal, test, wait_for

daemon = tap.Daemon(config="limits:\n  max_memory_percent: 100\n  max_cpu_percent: 100\n")
BUSY = ["sh", "-c", "while :; do head -c 3000000 /dev/zero | cksum >/dev/null; sleep 0.05; done"]
started = []


def start(identifier, *options, command=("sleep", "60"), **more):
    """Runs a command as an agent in the background and waits until the daemon measured it."""
    process = subprocess.Popen(
        [tap.AGENTCORE, "--socket", daemon.socket, "run", "--id", identifier, *options, "--",
         *command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env=tap.ENVIRONMENT, **more)
    started.append(process)
    wait_for(identifier, lambda: agent(identifier).get("processes"))
    return process


def agent(identifier):
    result = daemon.run("show", identifier, "--json")
    return result.json() if result.code == 0 else {}


@test
def run_under_the_daemon():
    """run announces the agent, takes its options along, and becomes the command"""
    process = start("worker-1", "-p", "cot", "--template", "compile", "--memory", "512M", "--cpu",
                    "1.5", "--time", "30m", "--files", "99", "-l", "team=a", "-l", "stage=test",
                    command=BUSY)
    got = agent("worker-1")
    equal(got["pid"], process.pid, "in place")
    equal(got["philosophy"], "cot")
    equal(got["template"], "compile")
    equal(got["labels"], {"team": "a", "stage": "test"})
    equal(got["limits"], {"max_cpu_cores": 1.5, "max_memory_mb": 512,
                          "max_execution_time_seconds": 1800, "max_file_descriptors": 99})
    equal(got["command"], " ".join(BUSY))
    equal(got["state"], "running")
    with open(f"/proc/{process.pid}/cmdline", "rb") as file:
        equal(file.read().split(b"\0")[:-1], [a.encode() for a in BUSY], "the command itself")


@test
def a_name_is_free_when_its_agent_ended():
    """a name can be used again at once, however short its agent lived"""
    for _ in range(8):
        result = daemon.run("run", "--id", "again", "--", "true")
        equal(result.code, 0, result.err)


@test
def run_passes_everything():
    """under the daemon exit status, arguments, environment and descriptors are the command's"""
    result = daemon.run("run", "--id", "env-1", "--", sys.executable, "-S", "-c",
                        "import os,sys; print(sys.argv[1:], os.environ['AGENTCORE_AGENT_ID'], "
                        "os.environ['WITH'], sorted(map(int, os.listdir('/proc/self/fd')))[:-1]); "
                        "sys.exit(7)", "--json", "a b", env={"WITH": "x"})
    equal(result.code, 7)
    equal(result.out, "['--json', 'a b'] env-1 x [0, 1, 2]\n")
    equal(result.err, "")
    for command, wanted in ((["true"], 0), (["sh", "-c", "kill -TERM $$"], -15),
                            (["/nonexistent"], 127), (["/etc"], 126)):
        equal(daemon.run("run", *command).code, wanted, command)
    ids = [a["id"] for a in daemon.json("ps")["agents"]]
    check(not any(i.startswith(("nonexistent", "etc")) for i in ids), ids)


@test
def run_json_names_the_agent():
    """under the daemon run --json says on standard error which agent the command is"""
    result = daemon.run("run", "--json", "sh", "-c", "echo $AGENTCORE_AGENT_ID")
    first = json.loads(result.err.splitlines()[0])
    equal(first["id"], result.out.strip())
    check(first["id"].startswith("sh-"), first)


def in_namespace(*arguments):
    """agentcore, started as the first process of a pid namespace of its own."""
    prefix = ["unshare", "--fork", "--pid", "--mount-proc", "--kill-child"]
    try:
        probe = subprocess.run([*prefix, "true"], stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL)
    except FileNotFoundError:
        raise tap.Skip("unshare is not installed")
    if probe.returncode != 0:
        raise tap.Skip("no pid namespace can be made here")
    process = subprocess.Popen([*prefix, tap.AGENTCORE, "--socket", daemon.socket, *arguments],
                               stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, env=tap.ENVIRONMENT)
    started.append(process)
    return process


def children(pid):
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
        return [int(word) for word in file.read().split()]


@test
def run_in_another_pid_namespace():
    """run in a pid namespace of its own makes itself the agent, not whoever has its number here"""
    process = in_namespace("run", "--id", "inside", "--", "sleep", "60")
    wait_for("its first sample", lambda: agent("inside").get("processes"))
    equal([agent("inside")["pid"]], children(process.pid), "its number here")
    wait_for("the command", lambda: [m["name"] for m in agent("inside")["members"]] == ["sleep"])
    equal(daemon.run("stop", "inside", "--grace", "0s").code, 0)
    process.communicate(timeout=20)


@test
def attach_from_another_pid_namespace():
    """attach is refused where numbers mean other processes than to the daemon"""
    stranger = subprocess.Popen(["sleep", "60"])
    started.append(stranger)
    process = in_namespace("attach", "--id", "wrong", "--pid", str(stranger.pid))
    err = process.communicate(timeout=20)[1].decode()
    equal(process.returncode, 2, err)
    check("another pid namespace" in err, err)
    equal(agent("wrong"), {})


@test
def run_over_tcp():
    """run over TCP is refused: it would be a process of another machine"""
    token = os.path.join(tap.directory(), "token")
    with open(token, "w", encoding="ascii", opener=lambda p, f: os.open(p, f, 0o600)) as file:
        file.write("0123456789abcdef\n")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    tap.Daemon(config=f"http:\n  listen: 127.0.0.1:{port}\n  token_file: {token}\n")
    there = ["--url", f"http://127.0.0.1:{port}", "--token-file", token]
    equal(tap.run(*there, "status").code, 0)
    result = tap.run(*there, "run", "--id", "far", "--", "echo", "ran")
    equal(result.code, 2, result.err)
    equal(result.out, "")
    check("TCP" in result.err, result.err)
    equal(tap.run(*there, "show", "far").code, 4)


@test
def run_refused():
    """an id that is taken is refused with exit status 5 and the command does not run"""
    result = daemon.run("run", "--id", "worker-1", "--", "echo", "ran")
    equal(result.code, 5, result.err)
    equal(result.out, "")
    check("worker-1" in result.err, result.err)


@test
def attach_a_process():
    """attach meters a running process; a pid that is none is wrong usage, a taken id refused"""
    process = subprocess.Popen(BUSY, stdout=subprocess.DEVNULL)
    started.append(process)
    got = daemon.json("attach", "--pid", process.pid, "--id", "attached", "-p", "react", "-l", "k=v")
    equal(got["id"], "attached")
    equal(got["pid"], process.pid)
    wait_for("its CPU", lambda: (agent("attached").get("usage") or {}).get("cpu_percent"))
    check(agent("attached")["command"].startswith("sh -c while"), agent("attached"))
    gone = subprocess.Popen(["true"])
    gone.wait()
    equal(daemon.run("attach", "--pid", gone.pid, "--id", "gone").code, 2)
    equal(daemon.run("attach", "--pid", process.pid, "--id", "attached").code, 5)
    second = subprocess.Popen(["sleep", "60"])
    started.append(second)
    text = daemon.run("attach", "--pid", second.pid)
    equal(text.code, 0, text.err)
    equal(text.out, f"sleep-{second.pid}: pid {second.pid} is metered\n")


@test
def ps_lists():
    """ps prints a table, filters, sorts, and gives the API's objects with --json"""
    wait_for("CPU of worker-1", lambda: (agent("worker-1")["usage"]["cpu_percent"] or 0) > 0)
    text = daemon.run("ps")
    heading = text.out.splitlines()[0].split()
    equal(heading, ["ID", "PHILOSOPHY", "STATE", "CPU%", "MEM", "DISK", "NET", "FDS", "PROCS",
                    "AGE", "COMMAND"])
    row = [line for line in text.out.splitlines() if line.startswith("worker-1")][0].split()
    equal(row[1:3], ["cot", "running"])
    check(float(row[3]) >= 0 and row[4][-1] in "KMG", row)
    for options, wanted in ((["--philosophy", "cot"], {"worker-1"}),
                            (["--label", "team=a"], {"worker-1"}),
                            (["--label", "team=a", "--label", "stage=other"], set()),
                            (["--label", "k"], {"attached"}),
                            (["--label", "k=v"], {"attached"})):
        equal({a["id"] for a in daemon.json("ps", *options)["agents"]}, wanted, options)
    running = daemon.json("ps", "--state", "running")["agents"]
    check({a["state"] for a in running} == {"running"}, running)
    ids = [a["id"] for a in daemon.json("ps", "--sort", "id")["agents"]]
    equal(ids, sorted(ids))
    equal([a["id"] for a in daemon.json("ps", "--sort", "id", "-r")["agents"]], ids[::-1])
    memory = [a["usage"]["memory_mb"] for a in daemon.json("ps", "--sort", "memory")["agents"]]
    known = [m for m in memory if m is not None]
    equal(memory, sorted(known, reverse=True) + [None] * (len(memory) - len(known)))
    wide = daemon.run("ps", "--wide").out
    check("LABELS" in wide and "stage=test,team=a" in wide or "team=a,stage=test" in wide, wide)


@test
def ps_knows_the_unknown():
    """what is not measured is '-' and null, never 0"""
    process = start("ended", command=["sleep", "0.4"])
    process.wait()
    wait_for("the exit", lambda: agent("ended").get("state") == "exited")
    row = [line for line in daemon.run("ps").out.splitlines() if line.startswith("ended ")][0]
    equal(row.split()[3:8], ["-"] * 5, row)
    equal(agent("ended")["usage"]["cpu_percent"], None)


@test
def show_tells_all():
    """show prints identity, use, totals, processes and alerts"""
    text = daemon.run("show", "worker-1").out
    for wanted in ("worker-1", "compile", "team=a", "1.50 cores", "512 MiB", "30m00s", "measured",
                   "CPU time", "PID", "sh"):
        check(wanted in text, wanted, text)
    got = agent("worker-1")
    check(got["members"][0]["pid"] and got["alerts"] == [], got)
    equal(daemon.run("show", "nobody").code, 4)


@test
def status_tells_all():
    """status shows machine and daemon"""
    got = daemon.json("status")
    check(got["active_agents"] >= 2, got)
    text = daemon.run("status").out
    check(got["hostname"] in text and "agentcored " + got["version"] in text, text)
    check("State in          none" in text, text)


@test
def top_without_terminal():
    """top prints plain tables where output is no terminal, as many as asked for"""
    start_time = time.monotonic()
    text = daemon.run("top", "-n", "3", "-d", "0.2").out
    check(time.monotonic() - start_time >= 0.4, "waits between two")
    equal(text.count("PHILOSOPHY"), 3)
    equal(sum(line.startswith("CPU ") for line in text.splitlines()), 3, text)
    equal(sum(line.startswith("worker-1 ") for line in text.splitlines()), 3, text)
    lines = daemon.run("top", "-n", "2", "-d", "100ms", "--json", "--filter", "worker").out
    objects = [json.loads(line) for line in lines.splitlines()]
    equal(len(objects), 2)
    equal([a["id"] for a in objects[0]["agents"]], ["worker-1"])


@test
def history_forms():
    """history gives table, sparklines, CSV and JSON of agent and machine"""
    wait_for("history", lambda: len(daemon.json("history", "worker-1", "--since", "10s")["points"]) > 3)
    text = daemon.run("history", "worker-1", "--since", "10s").out
    check("METRIC" in text and "CPU%" in text and "points, one per" in text and "TIME" in text, text)
    check(any(bar in text for bar in "▁▂▃▄▅▆▇█"), text)
    ascii_text = daemon.run("history", "worker-1", "--since", "10s", env={"LC_ALL": "C"}).out
    check(ascii_text.isascii(), ascii_text)
    check("TIME" not in daemon.run("history", "--since", "10s", "--format", "spark").out)
    before = daemon.run("history", "worker-1", "--since", "2001-01-01T00:00:00Z", "--until",
                        "2001-01-01T01:00:00Z").out
    check("No points" in before and "one per" not in before, before)
    rows = list(csv.reader(io.StringIO(daemon.run(
        "history", "worker-1", "--since", "10s", "--format", "csv", "--metric", "cpu,memory").out)))
    equal(rows[0], ["time", "samples", "cpu_percent_mean", "cpu_percent_min", "cpu_percent_max",
                    "memory_mb_mean", "memory_mb_min", "memory_mb_max"])
    check(len(rows) > 3 and all(len(row) == 8 for row in rows), rows[:3])
    equal(daemon.json("history", "--since", "1m", "--step", "5s")["step_seconds"], 5)
    network = list(csv.reader(io.StringIO(daemon.run(
        "history", "ended", "--format", "csv", "--metric", "network").out)))
    if daemon.json("status")["collector"] == "procfs":
        check(all(row[2] == "" for row in network[1:]), network[:4])
    equal(daemon.run("history", "nobody").code, 4)


@test
def allocate_answers():
    """allocate grants, refuses with exit status 5, lists and releases"""
    got = daemon.json("allocate", "--id", "next", "--memory", "100M")
    equal(got["status"], "granted")
    equal(got["agent_id"], "next")
    check(0 < got["memory_mb"] <= 100, got)
    text = daemon.run("allocate", "--id", "next", "--memory", "64M", "-p", "cot").out
    check("granted" in text and "Why" in text and "MiB" in text, text)
    listed = daemon.json("allocate", "--list")["allocations"]
    equal([a["agent_id"] for a in listed], ["next"])
    check(0 < daemon.json("allocate", "--list", "--id", "next")["memory_mb"] <= 64)
    check("next" in daemon.run("allocate", "--list").out)
    equal(daemon.json("allocate", "--release", "next"), {"id": "next", "released": True})
    equal(daemon.run("allocate", "--release", "next").code, 4)
    equal(daemon.json("allocate", "--list")["allocations"], [])
    # However busy the machine is, some number of such agents does not fit.
    answers = []
    while len(answers) < 400 and (not answers or answers[-1].code == 0):
        answers.append(daemon.run("allocate", "--id", f"many-{len(answers)}", "--policy", "strict",
                                  "-p", "multi_agent", "--json"))
    equal((answers[-1].code, answers[-1].json()["status"]), (5, "refused"), len(answers))
    queued = daemon.json("allocate", "--id", "waits", "--policy", "queue")
    if queued["status"] == "queued":
        check(queued["queue_position"] >= 1, queued)
    for i in range(len(answers) - 1):
        daemon.run("allocate", "--release", f"many-{i}")
    daemon.run("allocate", "--release", "waits")


@test
def scale_and_predict():
    """scale shows pools and records scales, predict predicts"""
    pools = daemon.json("scale")["pools"]
    equal([p["philosophy"] for p in pools], ["react", "cot", "multi_agent", "autonomous"])
    equal(daemon.json("scale", "react")["scale"], 1)
    recorded = daemon.json("scale", "react", "3")
    equal((recorded["scale"], recorded["decision"]["from"]), (3, 3), recorded)
    got = daemon.json("scale", "react")
    equal(got["scale"], 3)
    check(got["cooldown_seconds"] > 0, got)
    text = daemon.run("scale").out.splitlines()
    equal(text[0].split()[:3], ["PHILOSOPHY", "SCALE", "AGENTS"])
    equal(text[1].split()[:2], ["react", "3"])
    got = daemon.json("predict", "react", "--template", "never seen")
    equal(got["philosophy"], "react")
    check(got["memory_mb"] > 0 and 0 <= got["confidence"] <= 1, got)
    check("Confidence" in daemon.run("predict", "multi_agent").out)


def raise_alert(identifier, megabytes=60):
    """An agent over its own memory limit; waits until its alert fires."""
    process = start(identifier, "--memory", "20M", command=[
        sys.executable, "-S", "-c", f"b = b'x' * ({megabytes} << 20); import time; time.sleep(60)"])
    wait_for("an alert", lambda: daemon.json("alerts", "--agent", identifier)["alerts"])
    return process


@test
def alerts_and_ack():
    """alerts lists and filters, ack acknowledges, twice is refused, unknown is not found"""
    raise_alert("fat-1")
    alert = daemon.json("alerts", "--agent", "fat-1")["alerts"][0]
    equal(alert["severity"], "critical")
    text = daemon.run("alerts", "--agent", "fat-1").out
    equal(text.splitlines()[0].split(),
          ["ID", "SEVERITY", "SUBJECT", "RESOURCE", "STATE", "VALUE", "THRESHOLD", "SINCE", "MESSAGE"])
    check(alert["id"] in text and "20 MiB" in text and "MiB" in text, text)
    equal(daemon.json("alerts", "--agent", "fat-1", "--severity", "warning")["alerts"], [])
    check("fat-1" in daemon.run("show", "fat-1").out)
    row = [line for line in daemon.run("ps", "--color", "always").out.splitlines() if "fat-1" in line]
    check("\033[31m" in row[0], "an agent with an alert stands out")
    done = daemon.run("ack", alert["id"])
    equal(done.code, 0, done.err)
    equal(daemon.json("alerts", "--agent", "fat-1")["alerts"], [])
    equal(daemon.run("alerts", "--agent", "fat-1").out, "No alerts.\n")
    live = daemon.json("alerts", "--live", "--agent", "fat-1")["alerts"]
    equal([a["acknowledged"] for a in live], [True])
    check("acknowledged" in daemon.run("alerts", "--live", "--agent", "fat-1").out)
    equal(daemon.run("ack", alert["id"]).code, 5)
    result = daemon.run("ack", "al-none", alert["id"])
    equal(result.code, 4, "the first failure counts")
    equal(len(result.err.splitlines()), 2, "each failure is told")


def watch(*options, **more):
    return subprocess.Popen(
        [tap.AGENTCORE, "--socket", daemon.socket, "watch", *options],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env=tap.ENVIRONMENT, **more)


@test
def watch_streams():
    """watch prints events as they happen, for people and as JSON Lines, filtered"""
    people = watch("--agent", "seen", "--after", "0")
    lines = watch("--json", "--agent", "seen", "--after", "0", "-n", "2")
    start("seen", command=["sleep", "0.3"])
    out, err = lines.communicate(timeout=30)
    equal(lines.returncode, 0, err)
    events = [json.loads(line) for line in out.splitlines()]
    equal([e["kind"] for e in events], ["agent_added", "agent_exited"])
    check(all(e["agent_id"] == "seen" for e in events), events)
    first = people.stdout.readline().decode()
    check("agent_added" in first and " seen: " in first, first)
    people.terminate()
    people.communicate(timeout=20)


@test
def watch_survives_a_restart():
    """watch connects again after the daemon was restarted, and fails where none ever was"""
    other = tap.Daemon()
    process = subprocess.Popen(
        [tap.AGENTCORE, "--socket", other.socket, "watch", "--json"], stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=tap.ENVIRONMENT)
    seen = b""

    def event(number):
        """Makes an event; whether the watcher shows one of this daemon."""
        nonlocal seen
        equal(other.run("scale", "cot", str(number)).code, 0)
        if select.select([process.stdout], [], [], 0.3)[0]:
            seen += os.read(process.stdout.fileno(), 65536)
        return f"to {number}".encode() in seen or b'"to":%d' % number in seen
    wait_for("an event of the first daemon", lambda: event(21), 30)
    other.stop()
    other.start()
    wait_for("an event of the second daemon", lambda: event(22), 30)
    process.terminate()
    _, err = process.communicate(timeout=20)
    check(b"connecting again" in err, err)
    other.stop()


@test
def stop_ends_agents():
    """stop signals all processes, kills what is left after the grace time; --forget lets live"""
    process = start("stubborn", command=["sh", "-c", "trap '' TERM; while :; do sleep 0.1; done"])
    got = daemon.json("stop", "stubborn", "--grace", "500ms")
    equal(got["id"], "stubborn")
    check(got["signalled"] >= 1, got)
    equal(process.wait(20), -signal.SIGKILL)
    process = start("gentle")
    result = daemon.run("stop", "gentle", "--signal", "SIGINT")
    check(result.out.startswith("gentle: INT sent to "), result.out)
    equal(process.wait(20), -signal.SIGINT)
    process = start("forgotten")
    equal(daemon.run("stop", "--forget", "forgotten").out, "forgotten: forgotten\n")
    equal(daemon.run("show", "forgotten").code, 4)
    check(process.poll() is None, "lives on")
    process.kill()
    process.wait()
    result = daemon.run("stop", "nobody", "forgotten")
    equal(result.code, 4)
    equal(len(result.err.splitlines()), 2)


@test
def hostile_names():
    """names that agents choose cannot speak to the terminal, in any command"""
    code = ("open('/proc/self/comm','w').write('\\x1b]0;x\\x07'); "
            "b = b'x' * (60 << 20); import time; time.sleep(60)")
    start("hostile", "--memory", "20M", "--template", "\033[31mtemplate\u202e", "--label",
          "k=\033[2J\u009b", command=[sys.executable, "-S", "-c", code, "\033[32m\r\nfake row"])
    wait_for("an alert", lambda: daemon.json("alerts", "--agent", "hostile")["alerts"])
    wait_for("its name", lambda: any("\033" in m["name"] for m in agent("hostile")["members"]))
    for command in (["ps"], ["ps", "-w"], ["show", "hostile"], ["alerts"], ["top", "-n", "1"],
                    ["watch", "-n", "1", "--after", "0", "--agent", "hostile"], ["status"],
                    ["history", "hostile"], ["allocate", "--id", "hostile"],
                    ["ps", "--json"], ["show", "hostile", "--json"]):
        result = daemon.run(*command)
        bad = [c for c in result.out + result.err if (c < " " and c != "\n") or c == "\x7f" or
               ("\x80" <= c <= "\x9f" and "--json" not in command) or
               (c == "\u202e" and "--json" not in command)]
        equal(bad, [], f"{command}: {result.out!r}")


@test
def ordinary_user():
    """another user sees, runs and stops own agents only, and gets 'refused' or 'not found' else"""
    if os.geteuid() != 0:
        raise tap.Skip("needs root to become another user")
    other = tap.Daemon(open_to_all=True)
    os.chmod(other.socket, 0o666)
    nobody = tap.NOBODY
    result = other.run("run", "--id", "mine", "sh", "-c", "id -u", user=nobody)
    equal((result.code, result.out), (0, f"{nobody}\n"), result.err)
    root = subprocess.Popen([tap.AGENTCORE, "--socket", other.socket, "run", "--id", "roots", "sleep", "60"],
                            env=tap.ENVIRONMENT)
    started.append(root)
    wait_for("root's agent", lambda: other.run("show", "roots").code == 0)
    ids = [a["id"] for a in other.json("ps", user=nobody)["agents"]]
    equal(ids, ["mine"])
    equal(other.run("show", "mine", user=nobody).code, 0)
    check(other.run("show", "roots", user=nobody).code in (4, 5))
    check(other.run("stop", "roots", user=nobody).code in (4, 5))
    equal(other.run("attach", "--pid", root.pid, "--id", "theft", user=nobody).code, 5)
    check(root.poll() is None, "root's agent lives")
    equal(other.run("status", user=nobody).code, 0)
    equal(other.run("scale", "react", "2", user=nobody).code, 5)
    other.stop()


@test
def widths():
    """tables fit narrow terminals"""
    for columns in (40, 60, 80, 120):
        script = f"stty cols {columns} rows 24; {tap.AGENTCORE} --socket {daemon.socket} ps"
        result = tap.run("-qec", f"sh -c '{script}'", "/dev/null", program="script") \
            if tap.shutil.which("script") else None
        if result is None:
            raise tap.Skip("script(1) is not installed")
        for line in result.out.splitlines():
            plain = "".join(part.split("m", 1)[-1] if i else part
                            for i, part in enumerate(line.rstrip("\r").split("\033[")))
            check(len(plain) <= columns, f"{columns}: {len(plain)} {plain!r}")
        check("worker-1" in result.out, result.out)


@test
def daemon_ends_cleanly():
    """the daemon stops with status 0 after all this, and commands then find none"""
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()
    equal(daemon.stop(), 0)
    equal(daemon.run("ps").code, 3)


tap.main()
