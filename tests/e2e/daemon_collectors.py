# SPDX-License-Identifier: Apache-2.0
"""The collectors against the kernel's own accounts of a workload that is known exactly."""
import json
import os
import signal
import subprocess
import sys

import tap
from daemon_api import (Events, UserDaemon, agent, attach, call, clean_end, get, log_of, note,
                        note_cost, ticks, wait_for)
from tap import check, equal, test

# Burns CPU itself, in a child, and in many short ones; says before and after what it used, by its
# own account and that of the children it waited for.
WORKLOAD = """
import os, resource, sys, time
def used():
    return sum(resource.getrusage(who).ru_utime + resource.getrusage(who).ru_stime
               for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
def burn(seconds):
    end = time.process_time() + seconds
    while time.process_time() < end:
        for _ in range(2000): pass
def child(seconds):
    pid = os.fork()
    if pid == 0:
        burn(seconds)
        os._exit(0)
    os.waitpid(pid, 0)
print(used(), flush=True)
sys.stdin.readline()
burn(0.6)
child(0.3)
for _ in range(40): child(0.008)
print(used(), flush=True)
sys.stdin.readline()
"""


def forced(collector, settings="", **more):
    """A daemon with that collector, or a skip with the daemon's own reason."""
    path = os.path.join(tap.directory(0o755), "agentcored.yaml")
    with open(path, "w", encoding="utf-8") as file:
        file.write(f"collector: {collector}\n{settings}limits:\n  max_cpu_percent: 100\n")
    os.chmod(path, 0o644)
    try:
        return more.pop("kind", tap.Daemon)("--config", path, **more)
    except AssertionError as error:
        lines = [line for line in str(error).splitlines() if "collector: bpf:" in line]
        if collector != "bpf" or not lines:
            raise
        raise tap.Skip(lines[-1].split("collector: ", 1)[1]) from error


def measure(daemon, user=None):
    """Runs the workload as an agent. Returns what was metered and the bounds of the truth."""
    more = {} if user is None else {"user": user, "group": user}
    python = sys.executable if user is None else "/usr/bin/python3"
    if user is not None and not os.access(python, os.X_OK):
        raise tap.Skip(f"{python} is not installed")
    process = subprocess.Popen([python, "-S", "-c", WORKLOAD], stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE, text=True, env=tap.ENVIRONMENT, **more)
    try:
        before = float(process.stdout.readline())
        attach(daemon, "workload", process.pid)
        ticks(daemon, 2)
        process.stdin.write("\n")
        process.stdin.flush()
        after = float(process.stdout.readline())
        ticks(daemon, 2)
        running = agent(daemon, "workload")
        events = Events(daemon, "?kind=agent_exited&agent=workload", after=0)
        process.communicate("\n")
        events.wait("agent_exited")
        events.close()
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            process.wait()
    ended = agent(daemon, "workload")
    equal((running["state"], ended["state"]), ("running", "exited"))
    return running["totals"], ended["totals"], (after - before, after)


def compare(daemon, tolerance, user=None):
    """What was used before the agent was attached may or may not count; its own end does."""
    running, ended, (least, most) = measure(daemon, user)
    name = get(daemon, "/v1/system")["collector"]
    note(f"{name}: {running['cpu_seconds']:.3f} s, at the end {ended['cpu_seconds']:.3f} s; "
         f"getrusage {least:.3f} s, with its start {most:.3f} s")
    for totals in (running, ended):
        cpu = totals["cpu_seconds"]
        check(least * (1 - tolerance) <= cpu <= most * (1 + tolerance) + 0.02,
              name, json.dumps(totals), least, most)
        check(1 < totals["memory_peak_mb"] < 500, totals)
    check(ended["cpu_seconds"] >= running["cpu_seconds"], "totals never go back")
    check(ended["processes_total"] >= 1, ended)
    note_cost(daemon, name)
    return running, ended


@test
def procfs():
    """collector procfs meters a known workload within 15 %"""
    daemon = forced("procfs")
    equal(get(daemon, "/v1/system")["collector"], "procfs")
    check("the configuration asks for it" in log_of(daemon), log_of(daemon))
    compare(daemon, 0.15)
    clean_end(daemon)


@test
def bpf():
    """collector bpf meters a known workload within 2 %, each short process counted"""
    daemon = forced("bpf")
    equal(get(daemon, "/v1/system")["collector"], "bpf")
    _, ended = compare(daemon, 0.02)
    equal(ended["processes_total"], 42)
    clean_end(daemon)


@test
def automatic():
    """collector auto takes the best there is, says why, and meters as well as that one"""
    daemon = forced("auto")
    name = get(daemon, "/v1/system")["collector"]
    line = [line for line in log_of(daemon).splitlines() if "collector chosen" in line][-1]
    check(f"collector={name}" in line and "reason=" in line, line)
    compare(daemon, 0.02 if name == "bpf" else 0.15)
    clean_end(daemon)


@test
def ordinary_user():
    """an ordinary user's daemon meters own processes; forced to bpf it says what is missing"""
    daemon = forced("auto", kind=UserDaemon)
    name = get(daemon, "/v1/system")["collector"]
    check(name != "bpf" and "BPF" in log_of(daemon), log_of(daemon))
    compare(daemon, 0.15, user=tap.NOBODY)
    clean_end(daemon)
    try:
        forced("bpf", kind=UserDaemon).stop()
    except tap.Skip as reason:
        check(str(reason).startswith("bpf: ") and len(str(reason)) > 10, reason)
    else:
        raise AssertionError("BPF without privileges")


@test
def ends_between_two_ticks():
    """every collector wakes the daemon when an agent's first process ends, hours before the tick"""
    for collector, more in (("procfs", {}), ("auto", {}), ("auto", {"kind": UserDaemon})):
        daemon = forced(collector, interval="1h", **more)
        sleeper = subprocess.Popen(["sleep", "300"], **(
            {"user": tap.NOBODY, "group": tap.NOBODY} if more else {}))
        attach(daemon, "sleeper", sleeper.pid)
        sleeper.kill()
        sleeper.wait()
        wait_for("its end", lambda: agent(daemon, "sleeper")["state"] == "exited")
        note(get(daemon, "/v1/system")["collector"])
        clean_end(daemon)


@test
def requests_about_what_ended():
    """asking for the name of an agent that left processes, or to stop one, costs no samples"""
    daemon = forced("auto", interval="1h")
    process = subprocess.Popen(["sh", "-c", "sleep 300 >/dev/null & echo $!; read _"],
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    child = int(process.stdout.readline())
    attach(daemon, "parent", process.pid)
    process.communicate("\n")
    wait_for("its end", lambda: agent(daemon, "parent")["state"] == "orphans")

    def sampled():
        return get(daemon, "/v1/system")["timestamp"]
    before = sampled()
    for _ in range(20):
        equal(call(daemon, "PUT", "/v1/agents/parent", {"pid": child}).status, 409)
    equal(sampled(), before)
    equal(call(daemon, "POST", "/v1/agents/parent/stop",
               {"signal": "KILL", "grace_seconds": 0.2}).status, 202)
    wait_for("its end", lambda: agent(daemon, "parent")["state"] == "exited")
    before = sampled()
    for _ in range(20):
        equal(call(daemon, "POST", "/v1/agents/parent/stop", {}).status, 409)
    equal(sampled(), before)
    clean_end(daemon)


SHARING = r"""
import mmap, os, sys
memory = mmap.mmap(-1, 48 << 20)
memory.write(b"x" * len(memory))
for _ in range(3):
    if os.fork() == 0:
        for at in range(0, len(memory), 4096): memory[at]
        os.write(1, b"ready\n")
        sys.stdin.read()
        os._exit(0)
os.write(1, b"ready\n")
sys.stdin.read()
"""


@test
def shared_memory():
    """what an agent's processes share counts once in its PSS, and its age is told; 0 % reads none"""
    for collector, settings in (("procfs", ""), ("auto", ""), ("auto", "pss_budget_percent: 0\n")):
        daemon = forced(collector, settings)
        process = subprocess.Popen([sys.executable, "-S", "-c", SHARING], stdin=subprocess.PIPE,
                                   stdout=subprocess.PIPE, text=True)
        for _ in range(4):
            equal(process.stdout.readline(), "ready\n")
        attach(daemon, "sharing", process.pid)
        if settings:
            ticks(daemon, 3)
            found = agent(daemon, "sharing")
            equal((found["pss_mb"], found["pss_age_seconds"]), (None, None))
            check("PSS" not in daemon.run("show", "sharing").out)
        else:
            wait_for("PSS of all", lambda: agent(daemon, "sharing")["pss_mb"] is not None)
            found = agent(daemon, "sharing")
            pss, rss = found["pss_mb"], sum(m["memory_mb"] for m in found["members"])
            note(f"{collector}: PSS {pss:.1f} MiB of {rss:.1f} MiB RSS")
            check(rss > 4 * 48 and 48 <= pss <= rss - 2.5 * 48, found)
            check(0 <= found["pss_age_seconds"] < 3600, found)
            text = daemon.run("show", "sharing").out
            check("shared pages in parts" in text and " old)" in text, text)
        process.communicate()
        clean_end(daemon)


@test
def totals_after_a_restart():
    """after kill -9 an agent is metered on; its totals never miss what it uses from then on"""
    for collector in ("procfs", "auto"):
        daemon = forced(collector, state=os.path.join(tap.directory(), "state"))
        process = subprocess.Popen(
            [sys.executable, "-S", "-c", "import sys, time\n"
             "for line in sys.stdin:\n"
             "    end = time.process_time() + 0.3\n"
             "    while time.process_time() < end: pass\n"
             "    print(time.process_time(), flush=True)\n"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

        def burn(process=process):
            process.stdin.write("\n")
            process.stdin.flush()
            return float(process.stdout.readline())
        attach(daemon, "lasting", process.pid)
        ticks(daemon, 1)
        first = burn()
        ticks(daemon, 2)
        daemon.process.kill()
        daemon.process.wait()
        daemon.start()
        ticks(daemon, 2)
        wait_for("readiness", lambda: call(daemon, "GET", "/readyz").status == 200)
        second = burn()
        ticks(daemon, 2)
        cpu = agent(daemon, "lasting")["totals"]["cpu_seconds"]
        note(f"{get(daemon, '/v1/system')['collector']}: {cpu:.3f} s after the restart, "
             f"{second - first:.3f} s used since, {second:.3f} s in all")
        check((second - first) * 0.85 <= cpu <= second * 1.15 + 0.02, cpu, first, second)
        process.communicate()
        clean_end(daemon)


tap.main()
