# SPDX-License-Identifier: Apache-2.0
"""What agentcored reads again from its history after a crash: since when a limit is exceeded, and
the peaks of runs."""
import datetime
import os
import time

import tap
from daemon_api import (agent, alerts, attach, call, clean_end, end_processes, get, kill9, python,
                        start, ticks, wait_for)
from tap import check, equal, test

FOR_SECONDS = 10
CONFIG = ("limits:\n  max_cpu_percent: 100\n  max_memory_percent: 100\n"
          f"  for: {FOR_SECONDS}s\n")
# A child holds 120 MiB until a file appears.
SWELLS = """
import os, sys, time
if os.fork() == 0:
    held = b"x" * (120 << 20)
    while not os.path.exists(sys.argv[1]):
        time.sleep(0.05)
    os._exit(0)
os.wait()
while True:
    time.sleep(60)
"""


def replay_daemon(name, config=CONFIG):
    return tap.Daemon(state=os.path.join(tap.directory(), name), config=config)


def ready(daemon):
    daemon.start()
    wait_for("readiness", lambda: call(daemon, "GET", "/readyz").status == 200)


def memory(daemon, identifier):
    return (agent(daemon, identifier).get("usage") or {}).get("memory_mb") or 0


def seconds(text):
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


@test
def exceeded_since():
    """a limit that was exceeded before a crash raises its alert as if there had been none"""
    daemon = replay_daemon("window")
    attach(daemon, "early", start().pid, limits={"max_memory_mb": 0.25})
    wait_for("its memory", lambda: memory(daemon, "early") > 0.25)
    begin = time.time()
    while time.time() < begin + FOR_SECONDS * 0.6:
        equal(alerts(daemon, agent="early"), [], "it is exceeded for too short a time")
        ticks(daemon, 2)
    kill9(daemon)
    again = time.time()
    ready(daemon)
    attach(daemon, "late", start().pid, limits={"max_memory_mb": 0.25})
    alert = wait_for("the alert", lambda: alerts(daemon, agent="early"))[0]
    raised = seconds(alert["started"])
    check(raised >= begin + FOR_SECONDS - 1, "not before its time", raised - begin)
    check(raised < again + FOR_SECONDS, "the time before the crash counts", raised - again)
    late = wait_for("the other's", lambda: alerts(daemon, agent="late"))[0]
    check(seconds(late["started"]) >= again + FOR_SECONDS, "who came later waits in full")
    end_processes()
    clean_end(daemon)


@test
def peaks_of_runs():
    """peaks from before a crash are part of what is learnt, also from runs that ended meanwhile"""
    daemon = replay_daemon("peaks")
    flag = os.path.join(tap.directory(), "shrink")
    names = [f"run-{i}" for i in range(3)]
    processes = {}
    for name in names:
        processes[name] = python(SWELLS, flag)
        attach(daemon, name, processes[name].pid, philosophy="cot", template="swelling")
    for name in names:
        wait_for("its height", lambda name=name: memory(daemon, name) > 110)
    ticks(daemon, 3)
    with open(flag, "w", encoding="utf-8"):
        pass
    for name in names:
        wait_for("its fall", lambda name=name: memory(daemon, name) < 60)
    ticks(daemon, 3)
    equal(get(daemon, "/v1/predictions/cot?template=swelling")["basis"], "default")
    kill9(daemon)
    processes[names[0]].kill()  # ends while nobody looks
    processes[names[0]].wait()
    ready(daemon)
    check(agent(daemon, names[0]) == {}, "it is gone")
    for name in names[1:]:
        wait_for("usage", lambda name=name: memory(daemon, name) > 0)
        check(agent(daemon, name)["totals"]["memory_peak_mb"] > 110, "the peak is known again")
        processes[name].kill()
        processes[name].wait()
        wait_for("its end", lambda name=name: agent(daemon, name).get("state") == "exited")

    def prediction():
        return get(daemon, "/v1/predictions/cot?template=swelling")
    learnt = prediction()
    equal((learnt["basis"], learnt["runs"]), ("template", 3))
    check(learnt["memory_mb"] > 110, learnt)
    daemon.stop()
    ready(daemon)
    equal((prediction()["basis"], prediction()["runs"]), ("template", 3), "learnt for good")
    check(abs(prediction()["memory_mb"] - learnt["memory_mb"]) < 1, prediction())
    end_processes()
    clean_end(daemon)


@test
def alerts_of_the_machine():
    """an alert of the machine survives a crash under its id, and is not told again"""
    daemon = replay_daemon("machine", "limits:\n  alert_threshold_percent: 0.1\n")
    before = wait_for("an alert", lambda: alerts(daemon, agent="system", state="live"))
    before = [a for a in before if a["resource"] == "memory"][0]
    equal(call(daemon, "POST", f"/v1/alerts/{before['id']}/acknowledge").status, 200)
    kill9(daemon)
    ready(daemon)
    ticks(daemon, 3)
    after = [a for a in alerts(daemon, agent="system", state="all") if a["resource"] == "memory"]
    equal([(a["id"], a["started"], a["state"], a["acknowledged"]) for a in after],
          [(before["id"], before["started"], "firing", True)])
    clean_end(daemon)


tap.main()
