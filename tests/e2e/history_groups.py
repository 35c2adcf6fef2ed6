# SPDX-License-Identifier: Apache-2.0
"""Charge-back and quantiles over groups of agents, also of agents that ended and were deleted."""
import csv
import io
import os
import subprocess

import tap
from tap import check, equal, test, wait_for

state = os.path.join(tap.directory(), "state")
BUSY = "i=0; while :; do i=$((i + 1)); done"


def start(daemon, agent, *options):
    return subprocess.Popen([tap.AGENTCORE, "--socket", daemon.socket, "run", "--id", agent,
                             *options, "--", "sh", "-c", BUSY], env=tap.ENVIRONMENT)


def rows_by(daemon, *group):
    return {row["name"]: row for row in daemon.json("usage", *group)["rows"]}


def table(text):
    return list(csv.DictReader(io.StringIO(text)))


def ended(daemon):
    """Two agents of one team and one of another ran; the first one is deleted."""
    agents = [start(daemon, "gone", "-l", "team=web", "-l", "stage=test", "-p", "cot"),
              start(daemon, "here", "-l", "team=web", "-p", "react"),
              start(daemon, "other", "-l", "team=core", "-p", "autonomous")]
    try:
        wait_for("use of all three", lambda: len(
            [row for row in rows_by(daemon).values()
             if row["samples"] >= 3 and (row["cpu_seconds"] or 0) > 0.1]) == 3)
    finally:
        for agent in agents:
            agent.kill()
            agent.wait()
    equal(daemon.run("stop", "--forget", "gone").code, 0)
    check("gone" not in [a["id"] for a in daemon.json("ps")["agents"]], "it is no longer known")


def expect_groups(daemon):
    web = rows_by(daemon, "--by", "label:team")["web"]
    equal(web["agents"], 2)
    by_agent = rows_by(daemon)
    check(abs(web["cpu_seconds"] - by_agent["gone"]["cpu_seconds"] -
              by_agent["here"]["cpu_seconds"]) < 1e-3, web, by_agent)
    equal(set(rows_by(daemon, "--by", "label:team")), {"web", "core"})
    equal(set(rows_by(daemon, "--by", "philosophy")), {"cot", "react", "autonomous"})
    equal(set(rows_by(daemon, "-l", "stage=test")), {"gone"})
    equal(set(rows_by(daemon, "-p", "cot")), {"gone"})
    equal({row["agent_id"] for row in daemon.json("history", "--top", "9", "-l", "team=web")["top"]},
          {"gone", "here"})
    answers = daemon.json("history", "--quantile", "0,0.5,1", "-m", "cpu", "-l", "team=web")
    equal([answer["subjects"] for answer in answers["quantiles"]], [2, 2, 2])
    values = [answer["value"] for answer in answers["quantiles"]]
    check(values == sorted(values) and values[2] > 0, values)


@test
def groups_outlive_their_agents():
    """usage --by label and philosophy, --top and --quantile still tell an agent that was deleted,
    also after a restart of the daemon"""
    daemon = tap.Daemon("--state", state)
    ended(daemon)
    expect_groups(daemon)
    daemon.stop()
    daemon = tap.Daemon("--state", state)
    expect_groups(daemon)
    daemon.stop()


@test
def formats():
    """every question comes as table, CSV, JSON and OpenMetrics"""
    daemon = tap.Daemon("--state", state)
    top = daemon.run("history", "--top", "2", "--aggregate", "sum").out
    check("SUM" in top and "cores x s" in top, top)
    equal(len(table(daemon.run("history", "--top", "2", "--aggregate", "max", "-f", "csv").out)), 2)
    text = daemon.run("history", "--top", "2", "-f", "openmetrics", "-m", "memory").out
    check(text.startswith("# TYPE agentcore_history_top_memory_bytes gauge\n"), text)
    check('{agent="' in text and ',aggregate="mean"} ' in text and text.endswith("# EOF\n"), text)
    out = daemon.run("history", "-q", "0.5,0.95", "gone", "here").out
    check("P50" in out and "P95" in out and "exact" in out and "disk_io" in out, out)
    rows = table(daemon.run("history", "-q", "0.5", "-q", "0.95", "-f", "csv", "gone").out)
    equal([(row["metric"], row["quantile"]) for row in rows[:3]],
          [("cpu", "0.5"), ("cpu", "0.95"), ("memory", "0.5")])
    equal(rows[0]["subjects"], "1")
    text = daemon.run("history", "-q", "0.5,1", "-f", "openmetrics", "-m", "cpu", "-l",
                      "team=web").out
    equal(text.count("# TYPE"), 1)
    check('agentcore_history_quantile_cpu_cores{label="team=web",quantile="0.5"} ' in text, text)
    equal(daemon.run("history", "-q", "0.5", "--agent", "gone", "--json").json()["quantiles"][0]
          ["metric"], "cpu")
    machine = daemon.json("history", "-q", "0.5", "-m", "memory")["quantiles"][0]
    check(machine["value"] > 0 and machine["subjects"] == 1, machine)
    text = daemon.run("usage", "-f", "openmetrics", "--by", "label:team").out
    check('agentcore_usage_cpu_seconds{label="team",value="web"} ' in text, text)
    text = daemon.run("usage", "-f", "openmetrics").out
    check('agentcore_usage_memory_gib_hours{agent="gone"} ' in text, text)
    daemon.stop()


@test
def several_agents_over_time():
    """history shows each of several agents, or of a group, also those that are gone"""
    daemon = tap.Daemon("--state", state)
    series = daemon.json("history", "gone", "here", "-m", "cpu")["series"]
    equal([answer["subject"] for answer in series], ["gone", "here"])
    series = daemon.json("history", "-l", "team=web")["series"]
    equal({answer["subject"] for answer in series}, {"gone", "here"})
    check(all(answer["points"] for answer in series))
    equal([answer["subject"] for answer in daemon.json("history", "-p", "cot")["series"]], ["gone"])
    equal(daemon.json("history", "gone")["subject"], "gone")
    rows = table(daemon.run("history", "gone", "here", "-m", "cpu", "-f", "csv").out)
    equal({row["agent"] for row in rows}, {"gone", "here"})
    check(all(float(row["cpu_percent_mean"]) <= float(row["cpu_percent_max"])
              for row in rows if row["cpu_percent_mean"]))
    text = daemon.run("history", "gone", "here", "-m", "cores,memory", "-f", "openmetrics").out
    equal((text.count("# TYPE"), text.count("# EOF")), (2, 1))
    check('agentcore_history_memory_bytes{agent="here"} ' in text, text)
    text = daemon.run("history", "-l", "team=web", "-f", "spark").out
    check(text.count("METRIC") == 2 and "gone\n" in text and "here\n" in text, text)
    equal(daemon.run("history", "-l", "team=nobody").out, "No agent has history in this time.\n")
    daemon.stop()


@test
def exports_have_counters():
    """an export of the daemon has the CPU time that usage tells"""
    daemon = tap.Daemon("--state", state)
    used = rows_by(daemon)["gone"]["cpu_seconds"]
    text = daemon.run("history", "export", "-").out
    last = [float(line.split()[1]) for line in text.splitlines()
            if line.startswith('agentcore_history_cpu_seconds_total{agent="gone"}')][-1]
    check(abs(last - used) < 0.001 + used * 0.01, last, used)
    daemon.stop()


tap.main()
