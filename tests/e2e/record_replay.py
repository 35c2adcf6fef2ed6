# SPDX-License-Identifier: Apache-2.0
"""agentcore record and replay: what was measured comes out of the file again."""
import csv
import datetime
import io
import json
import os
import resource
import subprocess
import sys

import tap
from tap import check, equal, test

HERE = tap.directory()
# Two seconds of work in many short processes; tells its own CPU time on standard output.
WORK = """
import resource, subprocess, sys, time
sys.stdin.readline()
for i in range(60):
    subprocess.run([sys.executable, "-S", "-c", "sum(range(300000))"])
used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
print(sum(u.ru_utime + u.ru_stime for u in used), flush=True)
sys.stdin.readline()
"""


def run(*arguments, **more):
    return subprocess.run([tap.AGENTCORE, *arguments], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          env=tap.ENVIRONMENT, timeout=120, **more)


def record(path, collector):
    """Records WORK from start to end. Returns the CPU seconds that it used by its own account."""
    work = subprocess.Popen([sys.executable, "-S", "-c", WORK], stdin=subprocess.PIPE,
                            stdout=subprocess.PIPE, text=True)
    recorder = subprocess.Popen(
        [tap.AGENTCORE, "record", path, "--no-daemon", "--attach", f"work={work.pid}",
         "--interval", "100ms", "--collector", collector], stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE, text=True, env=tap.ENVIRONMENT)
    tap.wait_for("the first sample",
                 lambda: os.path.exists(path) and os.path.getsize(path) > 1000)
    work.stdin.write("go\n")
    work.stdin.flush()
    used = float(work.stdout.readline())
    size = os.path.getsize(path)
    tap.wait_for("a sample after the work", lambda: os.path.getsize(path) > size + 2000)
    recorder.terminate()
    errors = recorder.communicate(timeout=60)[1]
    equal(recorder.returncode, 0, errors)
    check("samples, 1 agent," in errors, errors)
    work.stdin.close()
    work.wait(timeout=60)
    return used


def replayed(path, *options):
    result = run("replay", path, "--json", *options)
    equal(result.returncode, 0, result.stderr)
    return json.loads(result.stdout)


@test
def procfs_round_trip():
    """through procfs: the agent's CPU time of all its short children comes back"""
    path = os.path.join(HERE, "procfs.rec")
    used = record(path, "procfs")
    got = replayed(path)
    equal(got["cut"], False)
    agent, = got["agents"]
    equal(agent["id"], "work")
    check(abs(agent["cpu_seconds"] - used) <= 0.15 * used + 0.1, agent["cpu_seconds"], used)
    check(agent["memory_peak_mb"] > 1, agent)
    equal(agent["network_mb"], None, "unknown is null")


@test
def bpf_round_trip():
    """through BPF: within two percent, and every process is counted"""
    path = os.path.join(HERE, "bpf.rec")
    if run("record", path + ".probe", "--no-daemon", "--collector", "bpf", "--samples",
           "1").returncode != 0:
        raise tap.Skip("no BPF here")
    used = record(path, "bpf")
    agent, = replayed(path)["agents"]
    check(abs(agent["cpu_seconds"] - used) <= 0.02 * used + 0.02, agent["cpu_seconds"], used)
    check(agent["processes_total"] >= 61, agent)


@test
def replay_twice_is_the_same():
    """a replay has no other input than its file: twice gives the same, events included"""
    path = os.path.join(HERE, "procfs.rec")
    first = run("replay", path, "--json", "--events")
    second = run("replay", path, "--json", "--events")
    equal(first.returncode, 0, first.stderr)
    strip = [{k: v for k, v in json.loads(line).items()} for line in first.stdout.splitlines()]
    equal(strip, [json.loads(line) for line in second.stdout.splitlines()])


def seconds_of(time):
    return datetime.datetime.fromisoformat(time.replace("Z", "+00:00")).timestamp()


@test
def usage_of_every_sample():
    """--usage: a line per agent and sample that adds up to the totals; CSV and JSON agree"""
    path = os.path.join(HERE, "procfs.rec")
    outcome = replayed(path)
    agent, = outcome["agents"]
    table = run("replay", path, "--usage")
    equal((table.returncode, table.stderr), (0, ""))
    rows = list(csv.DictReader(io.StringIO(table.stdout)))
    lines = run("replay", path, "--usage", "--json")
    equal((lines.returncode, lines.stderr), (0, ""))
    objects = [json.loads(line) for line in lines.stdout.splitlines()]
    equal(list(rows[0]), ["time", "agent_id", "cpu_core_percent", "memory_bytes",
                          "disk_read_bytes_per_second", "disk_write_bytes_per_second",
                          "network_bytes_per_second", "file_descriptors", "processes", "threads"])
    equal(len(rows), len(objects))
    check(outcome["samples"] - 1 <= len(rows) <= outcome["samples"], len(rows), outcome["samples"])
    for row, found in zip(rows, objects):
        equal(list(row), list(found))
        for name, value in found.items():
            text = isinstance(value, str)
            equal(None if row[name] == "" else row[name] if text else float(row[name]), value, name)
        equal(row["network_bytes_per_second"], "", "procfs does not tell")
    equal(objects[0]["disk_read_bytes_per_second"], None, "no rate in the first line")
    equal({o["agent_id"] for o in objects}, {"work"})
    times = [seconds_of(o["time"]) for o in objects]
    used = sum((b - a) * (o["cpu_core_percent"] or 0) / 100
               for a, b, o in zip(times, times[1:], objects[1:]))
    check(abs(used - agent["cpu_seconds"]) <= 0.05 * agent["cpu_seconds"] + 0.05, used, agent)
    check(max(o["memory_bytes"] or 0 for o in objects) <= agent["memory_peak_mb"] * 1048576 + 1)
    check(max(o["processes"] for o in objects) >= 1, objects)
    check(max(o["threads"] for o in objects) >= 1, objects)
    both = run("replay", path, "--usage", "--events")
    equal(both.returncode, 2)
    check("--events" in both.stderr, both.stderr)


@test
def cut_files():
    """a file cut anywhere is read up to the cut"""
    path = os.path.join(HERE, "procfs.rec")
    with open(path, "rb") as file:
        whole = file.read()
    samples = replayed(path)["samples"]
    for part in (0.3, 0.7, 0.99):
        with open(path + ".cut", "wb") as file:
            file.write(whole[:int(len(whole) * part)])
        got = replayed(path + ".cut")
        check(got["samples"] < samples, got["samples"], samples)
        check(part < 0.5 or got["samples"] > 0, got)


@test
def configuration_decides():
    """--config replays under other limits"""
    path = os.path.join(HERE, "procfs.rec")
    config = os.path.join(HERE, "limits.yaml")
    with open(config, "w") as file:
        file.write("limits:\n  max_memory_percent: 1\n  alert_threshold_percent: 0.001\n")
    events = run("replay", path, "--events", "--config", config)
    equal(events.returncode, 0, events.stderr)
    check("memory" in events.stdout, events.stdout)
    with open(config, "w") as file:
        file.write("limits:\n  no_such_key: 1\n")
    wrong = run("replay", path, "--config", config)
    equal(wrong.returncode, 2)
    check("no_such_key" in wrong.stderr, wrong.stderr)


@test
def bad_input():
    """wrong arguments and files: one line, an exit status, nothing written"""
    present = os.path.join(HERE, "procfs.rec")
    before = os.path.getsize(present)
    rows = [
        (("record", present), 1, "--force"),
        (("record", os.path.join(HERE, "a"), "--attach", "x"), 2, "ID=PID"),
        (("record", os.path.join(HERE, "b"), "--attach", "x y=1"), 2, "agent id"),
        (("record", os.path.join(HERE, "c"), "--no-daemon", "--attach", "x=99999999"), 4,
         "99999999"),
        (("record", os.path.join(HERE, "d"), "--interval", "1ms"), 2, "--interval"),
        (("record",), 2, "FILE"),
        (("replay", os.path.join(HERE, "nothing")), 1, "No such file"),
        (("replay", "/etc/passwd"), 1, "recording"),
        (("replay", HERE), 1, HERE),
    ]
    for arguments, status, text in rows:
        result = run(*arguments)
        equal(result.returncode, status, f"{arguments}: {result.stderr}")
        check(text in result.stderr, arguments, result.stderr)
    equal(os.path.getsize(present), before, "the recording that was there")
    for name in "abcd":
        check(not os.path.exists(os.path.join(HERE, name)), name, "was left behind")


@test
def what_was_recorded_before_is_kept():
    """--force gives up the old recording for a new one only, and nothing but a recording"""
    path = os.path.join(tap.directory(), "old.rec")
    equal(run("record", "--no-daemon", "-n", "1", path).returncode, 0)
    with open(path, "rb") as file:
        old = file.read()
    for wrong, status in ((("--attach", "nonsense"), 2), (("--attach", "a b=1"), 2),
                          (("--attach", "x=99999999"), 4), (("--gpu", "/nonexistent"), 1)):
        result = run("record", "--force", "--no-daemon", "-n", "1", *wrong, path)
        equal(result.returncode, status, f"{wrong} {result.stderr}")
        with open(path, "rb") as file:
            equal(file.read(), old, wrong)
        equal(os.listdir(os.path.dirname(path)), ["old.rec"], wrong)
    result = run("record", "--force", "--no-daemon", "-n", "2", "-i", "50ms", path)
    equal(result.returncode, 0, result.stderr)
    equal(os.listdir(os.path.dirname(path)), ["old.rec"])
    check(os.path.getsize(path) > len(old) and os.stat(path).st_mode & 0o777 == 0o600, path)
    replayed(path)
    pipe, link = path + ".pipe", path + ".link"
    os.mkfifo(pipe)
    os.symlink(path, link)
    for other in (pipe, link, os.path.dirname(path)):
        result = run("record", "--force", "--no-daemon", "-n", "1", other)
        equal(result.returncode, 1, other)
        check("no regular file" in result.stderr, result.stderr)
        check(os.path.lexists(other), other)


tap.main()
