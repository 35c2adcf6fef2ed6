# SPDX-License-Identifier: Apache-2.0
"""Users and the history of agents that ended: each sees what was theirs, and nothing else."""
import os
import subprocess

import tap
from tap import check, equal, test, wait_for

ANN = tap.NOBODY
BOB = tap.NOBODY - 1
BUSY = "i=0; while :; do i=$((i + 1)); done"


def daemon_for_all():
    daemon = tap.Daemon(state=os.path.join(tap.directory(), "state"), open_to_all=True)
    os.chmod(daemon.socket, 0o666)
    return daemon


def use(daemon, user, agent, *options):
    """An agent of that user runs until it has history, and is forgotten."""
    process = subprocess.Popen(
        [*tap.as_user(user), tap.AGENTCORE, "--socket", daemon.socket, "run", "--id", agent,
         *options, "--", "sh", "-c", BUSY], env=tap.ENVIRONMENT)
    try:
        wait_for("history of " + agent, lambda: [
            row for row in rows(daemon, user)
            if row["name"] == agent and row["samples"] >= 3 and (row["cpu_seconds"] or 0) > 0.1])
    finally:
        process.kill()
        process.wait()
    equal(daemon.run("stop", "--forget", agent, user=user).code, 0)


def rows(daemon, user, *options):
    return daemon.json("usage", *options, user=user)["rows"]


def row(daemon, user, agent):
    found = [row for row in rows(daemon, user) if row["name"] == agent]
    equal(len(found), 1)
    return found[0]


def names(daemon, user, *options):
    return {row["name"] for row in rows(daemon, user, *options)}


def sees(daemon, user, agent):
    """Whether a user gets something of an agent; every kind of question must agree."""
    answers = [
        agent in names(daemon, user),
        agent in names(daemon, user, "-l", "job=" + agent),
        agent in {row["agent_id"] for row in
                  daemon.json("history", "--top", "9", user=user)["top"]},
        agent in {series["subject"] for series in
                  daemon.json("history", "-l", "job=" + agent, user=user)["series"]},
        "web" in names(daemon, user, "--by", "label:team", "-l", "job=" + agent),
        len(names(daemon, user, "--by", "philosophy", "-l", "job=" + agent)) == 1,
        daemon.json("history", "-q", "1", "-m", "cpu", "-l", "job=" + agent,
                    user=user)["quantiles"][0]["subjects"] == 1,
        f'agent="{agent}"' in daemon.run("history", "export", "-", user=user).out]
    named = daemon.run("history", agent, user=user)
    quantile = daemon.run("history", "-q", "0.5", agent, user=user)
    for result in (named, quantile):
        answers.append(result.code == 0)
        check(result.code == 0 or f"agent {agent} is not known" in result.err, result.err)
    check(len(set(answers)) == 1, user, agent, answers)
    return answers[0]


@test
def users_see_their_forgotten_agents():
    """a user sees the history of agents that were theirs, also after a restart; others do not"""
    daemon = daemon_for_all()
    use(daemon, ANN, "anns", "-l", "team=web", "-l", "job=anns", "-p", "cot")
    use(daemon, BOB, "bobs", "-l", "team=web", "-l", "job=bobs", "-p", "react")
    for _ in range(2):
        equal(daemon.json("ps")["agents"], [])
        equal([sees(daemon, ANN, "anns"), sees(daemon, ANN, "bobs")], [True, False])
        equal([sees(daemon, BOB, "anns"), sees(daemon, BOB, "bobs")], [False, True])
        equal([sees(daemon, 0, "anns"), sees(daemon, 0, "bobs")], [True, True])
        check(daemon.json("history", user=BOB)["points"], "the machine is everybody's")
        daemon.process.kill()
        daemon.process.wait()
        daemon.start()
        os.chmod(daemon.socket, 0o666)
    daemon.stop()


@test
def a_name_is_used_by_two():
    """what a name was used for by one user stays hidden from the next one"""
    daemon = daemon_for_all()
    use(daemon, ANN, "anns", "-l", "team=web")
    before = row(daemon, ANN, "anns")
    use(daemon, BOB, "anns", "-l", "team=ops")
    own = row(daemon, BOB, "anns")
    equal(row(daemon, ANN, "anns"), before)
    equal(names(daemon, BOB, "--by", "label:team"), {"ops"})
    equal(names(daemon, ANN, "--by", "label:team"), {"web"})
    equal(row(daemon, 0, "anns")["samples"], before["samples"] + own["samples"])
    points = {user: sum(p["samples"] for p in daemon.json("history", "anns", user=user)["points"])
              for user in (0, ANN, BOB)}
    equal(points[0], points[ANN] + points[BOB])
    daemon.stop()


def alerts_of(daemon, user, agent):
    return {alert["id"] for alert in
            daemon.json("alerts", "--all", "--agent", agent, user=user)["alerts"]}


@test
def alerts_of_a_name_that_two_used():
    """alerts that resolved are seen by whom they concerned, not by who has the name by now"""
    daemon = daemon_for_all()
    use(daemon, ANN, "deploy", "--memory", "1K")
    anns = wait_for("its alert", lambda: alerts_of(daemon, ANN, "deploy"))
    equal(alerts_of(daemon, BOB, "deploy"), set())
    use(daemon, BOB, "deploy", "--memory", "1K")
    bobs = wait_for("its alert", lambda: alerts_of(daemon, BOB, "deploy"))
    equal(anns & bobs, set())
    equal(alerts_of(daemon, ANN, "deploy"), anns)
    equal(alerts_of(daemon, 0, "deploy"), anns | bobs)
    daemon.stop()


tap.main()
