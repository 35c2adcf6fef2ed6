# SPDX-License-Identifier: Apache-2.0
"""Totals of agents go on when the daemon is restarted, or killed, with every collector."""
import os
import sqlite3
import subprocess
import sys

import tap
from daemon_api import agent, attach, call, clean_end, end_processes, get, kill9, note, ticks, wait_for
from tap import check, equal, test

# Per line of input: burns CPU itself and in children that it waits for, writes to the disk, and
# says what it has used in all, by its own account and that of the children it waited for.
WORKLOAD = """
import os, resource, sys, time
path = sys.argv[1]
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
def written():
    with open(path, "wb") as file:
        file.write(bytes(2 << 20))
        os.fsync(file.fileno())
print(used(), flush=True)
for line in sys.stdin:
    burn(0.4)
    for _ in range(6): child(0.05)
    written()
    print(used(), flush=True)
"""


class Workload:
    """The workload as a child, alone or by a command in front of it."""

    def __init__(self, *command):
        self.directory = tap.directory()
        self.process = subprocess.Popen(
            [*command, sys.executable, "-S", "-c", WORKLOAD, os.path.join(self.directory, "file")],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=tap.ENVIRONMENT)
        self.used = self.answer()

    def answer(self):
        return float(self.process.stdout.readline())

    def work(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        self.used = self.answer()

    def end(self):
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


def saved(state):
    """The totals as the store has them."""
    with sqlite3.connect(f"file:{state}/agentcore.db?mode=ro", uri=True) as database:
        rows = database.execute("SELECT bytes FROM blob WHERE name = 'totals'").fetchall()
    database.close()
    return rows[0][0] if rows else b""


def totals(daemon, name="busy"):
    ticks(daemon, 2)
    return agent(daemon, name)["totals"]


def ready(daemon):
    daemon.start()
    wait_for("readiness", lambda: call(daemon, "GET", "/readyz").status == 200)


def not_less(after, before):
    for field, value in before.items():
        if isinstance(value, (int, float)):
            check(after[field] >= value - 0.001, field, after, before)


def plausible(found, before, used, slack):
    """CPU as the workload tells it, from when it was attached on: all of it, and not twice."""
    cpu = found["cpu_seconds"]
    check(used - before - slack <= cpu <= used * 1.1 + slack, cpu, before, used)


def restarts(daemon, state, workload, name, slack=0.1):
    """Through an orderly restart and a kill, with work before, between and after."""
    before = workload.used
    workload.work()
    first = totals(daemon)
    plausible(first, before, workload.used, slack)
    processes = first["processes_total"]

    daemon.stop()
    workload.work()  # while nobody looks
    ready(daemon)
    second = totals(daemon)
    not_less(second, first)
    plausible(second, before, workload.used, slack)
    workload.work()
    second = totals(daemon)
    plausible(second, before, workload.used, slack)

    was = saved(state)
    wait_for("the totals in the store", lambda: saved(state) != was)
    second = totals(daemon)
    workload.work()  # after they were saved
    third = totals(daemon)
    kill9(daemon)
    workload.work()
    ready(daemon)
    fourth = totals(daemon)
    not_less(fourth, second)
    check(fourth["cpu_seconds"] >= third["cpu_seconds"] - slack / 2, fourth, third)
    plausible(fourth, before, workload.used, slack)
    check(processes <= fourth["processes_total"] <= 1 + 6 * 5, fourth)
    note(f"{name}: {fourth['cpu_seconds']:.3f} s of {workload.used:.3f} s")
    return fourth


def state_daemon(collector, *arguments, prefix=()):
    state = os.path.join(tap.directory(), "state")
    config = f"collector: {collector}\nlimits:\n  max_cpu_percent: 100\n"
    try:
        return tap.Daemon(*arguments, state=state, config=config), state
    except AssertionError as error:
        lines = [line for line in str(error).splitlines() if f"collector: {collector}:" in line]
        if not lines:
            raise
        raise tap.Skip(lines[-1].split("collector: ", 1)[1]) from error


def attached(collector):
    daemon, state = state_daemon(collector)
    equal(get(daemon, "/v1/system")["collector"], collector)
    workload = Workload()
    try:
        attach(daemon, "busy", workload.process.pid)
        found = restarts(daemon, state, workload, collector)
    finally:
        workload.end()
    clean_end(daemon)
    return found


@test
def procfs():
    """collector procfs: totals of an attached agent go on over a restart and kill -9"""
    attached("procfs")


@test
def bpf():
    """collector bpf: totals of an attached agent go on over a restart and kill -9"""
    attached("bpf")


@test
def own_cgroup():
    """an agent with a cgroup of its own: what it used meanwhile is told by the cgroup"""
    daemon, state = state_daemon("auto")
    workload = Workload(tap.AGENTCORE, "--socket", daemon.socket, "run", "-q", "--id", "busy", "--")
    try:
        with open(f"/proc/{agent(daemon, 'busy')['pid']}/cgroup", encoding="utf-8") as file:
            if not any("agentcore-" in line for line in file):
                raise tap.Skip("agents get no cgroup of their own here: "
                               + get(daemon, "/v1/system")["collector"])
        restarts(daemon, state, workload, "cgroup", slack=0.2)
    finally:
        workload.end()
    clean_end(daemon)


@test
def history_does_not_jump():
    """what the history counts of an agent goes on where it was, too"""
    daemon, _ = state_daemon("auto")
    workload = Workload()
    try:
        attach(daemon, "busy", workload.process.pid)
        for _ in range(4):
            workload.work()
        ticks(daemon, 3)
        used = totals(daemon)["cpu_seconds"]
        daemon.stop()
        ready(daemon)
        ticks(daemon, 5)
        check(totals(daemon)["cpu_seconds"] >= used - 0.001)
        counted = [row["cpu_seconds"] for row in get(daemon, "/v1/usage?agents=busy&since=1h")
                   ["rows"]]
        check(len(counted) == 1 and counted[0] <= used * 1.1 + 0.2, counted, used)
    finally:
        workload.end()
    clean_end(daemon)


try:
    tap.main()
finally:
    end_processes()
