# SPDX-License-Identifier: Apache-2.0
"""What one ordinary user takes of what all share leaves enough for root and the others."""
import json
import os
import signal
import subprocess

import tap
from daemon_api import call, clean_end, end_processes, start, wait_for
from tap import check, equal, test

if os.geteuid() == 0:
    daemon = tap.Daemon(config="caps:\n  max_queue: 8\n", open_to_all=True)
    os.chmod(daemon.socket, 0o666)


def as_user(uid, requests):
    """The answers, as (status, text), that a user gets to (method, path, body) after each other."""
    if os.geteuid() != 0:
        raise tap.Skip("needs root to become another user")
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(reader)
            os.setgroups([])
            os.setgid(uid)
            os.setuid(uid)
            answers = [call(daemon, *request) for request in requests]
            with os.fdopen(writer, "w") as file:
                json.dump([(answer.status, answer.text) for answer in answers], file)
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as file:
        text = file.read()
    os.waitpid(child, 0)
    return [tuple(answer) for answer in json.loads(text)]


def statuses(uid, requests):
    return [status for status, _ in as_user(uid, requests)]


def stubborn(uid):
    """A process that SIGTERM does not end."""
    return start(user=uid, group=uid, preexec_fn=lambda: signal.signal(signal.SIGTERM, signal.SIG_IGN))


def stop(name):
    return ("POST", f"/v1/agents/{name}/stop", {"grace_seconds": 3600})


@test
def stops_under_way():
    """a user has a quarter of the stops under way, root is never refused, an end gives a place"""
    users = (tap.NOBODY, tap.NOBODY - 1)
    processes = [stubborn(users[0]) for _ in range(66)] if os.geteuid() == 0 else []
    equal(set(statuses(users[0], [("PUT", f"/v1/agents/s{n}", {"pid": process.pid})
                                  for n, process in enumerate(processes)])), {201})
    other, roots = stubborn(users[1]), stubborn(0)
    equal(statuses(users[1], [("PUT", "/v1/agents/other", {"pid": other.pid})]), [201])
    equal(call(daemon, "PUT", "/v1/agents/roots", {"pid": roots.pid}).status, 201)
    got = as_user(users[0], [stop(f"s{n}") for n in range(66)])
    equal([status for status, _ in got], [202] * 64 + [503] * 2)
    check("being stopped" in got[64][1], got[64][1])
    equal(statuses(users[0], [stop("s3")]), [202], "one that is being stopped already")
    equal(statuses(users[1], [stop("other")]), [202])
    equal(call(daemon, *stop("roots")).status, 202)
    processes[7].kill()
    processes[7].wait()
    wait_for("its end", lambda: call(daemon, "GET", "/v1/agents/s7").body["state"] == "exited")
    equal(statuses(users[0], [stop("s64"), stop("s65")]), [202, 503])
    equal(call(daemon, "DELETE", "/v1/agents/s8").status, 204)
    equal(statuses(users[0], [stop("s65")]), [202])
    end_processes()


@test
def places_in_the_queue():
    """a user has a quarter of the queue, others and root get theirs"""
    def ask(name):
        return ("POST", "/v1/allocations", {"agent_id": name, "policy": "queue"})
    first, second = tap.NOBODY, tap.NOBODY - 1
    memory = call(daemon, "GET", "/v1/system").body["capacity"]["memory_mb"]
    equal(statuses(first, [("PUT", "/v1/agents/hog/usage", {"memory_mb": memory})]), [200])
    names = [f"q{n}" for n in range(3)]
    equal(statuses(first, [("PUT", f"/v1/agents/{name}", {}) for name in names]), [201] * 3)
    got = as_user(first, [ask(name) for name in names])
    equal([status for status, _ in got], [202, 202, 503])
    check("none of yours" in got[2][1], got[2][1])
    equal(statuses(second, [("PUT", "/v1/agents/seconds", {}), ask("seconds")]), [201, 202])
    for n in range(4):
        equal(call(daemon, *ask(f"roots-{n}")).status, 202)
    equal(call(daemon, "DELETE", "/v1/allocations/q0").status, 204)
    equal(statuses(first, [ask("q2")]), [202])


@test
def ends():
    """the daemon stops with status 0 after all this"""
    if os.geteuid() != 0:
        raise tap.Skip("needs root")
    clean_end(daemon)


tap.main()
