# SPDX-License-Identifier: Apache-2.0
"""Questions to the history: the same arguments and answers from memory and over the daemon."""

import math
import os
import pathlib
import signal
import subprocess
import time
from datetime import datetime, timedelta, timezone

import pytest

import agentcore
from agentcore import AgentConfig, AgentCoreHTTPError, ResourceManager, ResourceType, ResourceUsage

BUG_SECONDS = 30
PROGRAM = pathlib.Path(__file__).parents[2] / "build" / "agentcored"
if "BUILD_ROOT" in os.environ:
    PROGRAM = pathlib.Path(os.environ["BUILD_ROOT"]) / "src/apps/daemon/agentcored"
needs_daemon = pytest.mark.skipif(not PROGRAM.exists(), reason=f"{PROGRAM} is not built")


def wait_for(condition):
    deadline = time.monotonic() + BUG_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "what the test waits for did not happen"
        time.sleep(0.01)


# ---- From memory

NOW = datetime.now(timezone.utc).replace(microsecond=0)
START = NOW - timedelta(seconds=200)


def usage(second, **values):
    return ResourceUsage(**values, timestamp=START + timedelta(seconds=second))


@pytest.fixture
def filled(manager):
    """100 s of two agents, with a gap of 20 s in one."""
    for second in range(100):
        manager._monitor._record_usage("steady", usage(second, cpu_cores=2.0, memory_mb=1024.0, disk_io_mbps=1.0))
        if not 40 <= second < 60:
            manager._monitor._record_usage("burst", usage(second, cpu_cores=second / 10, memory_mb=512.0))
    return manager


def test_range(filled):
    (series,) = filled.history_range("burst", since=START, until=NOW, step_seconds=10)
    assert series.agent_id == "burst" and not series.limited and series.resolution_seconds == 0
    assert (series.gaps, series.gap_seconds) == (1, 20)
    assert sum(point.samples for point in series.points) == 80
    assert all(point.step_seconds == 10 and point.time.tzinfo is not None for point in series.points)
    times = [point.time for point in series.points]
    assert times == sorted(times) and all(moment.timestamp() % 10 == 0 for moment in times)
    one, two = filled.history_range(["burst", "steady"], metrics="memory", since=START, until=NOW)
    assert len(one.points) == 80 and len(two.points) == 100 and two.points[0].step_seconds == 0
    assert two.points[3].usage.memory_mb == 1024 and two.points[3].usage.cpu_cores is None
    assert two.points[3].time == two.points[3].usage.timestamp == START + timedelta(seconds=3)
    both = filled.history_range("burst", since=START, until=NOW, step_seconds=3600, aggregate="max")[0]
    assert max(point.usage.cpu_cores for point in both.points) == 9.9
    low = filled.history_range("burst", since=START, until=NOW, step_seconds=3600, aggregate="min")[0]
    assert min(point.usage.cpu_cores for point in low.points) == 0
    (limited,) = filled.history_range("steady", since=START, until=NOW, limit=7)
    assert len(limited.points) == 7 and limited.limited
    assert [series.agent_id for series in filled.history_range(philosophy="react", since=START)] == ["burst", "steady"]
    assert filled.history_range("nobody")[0].points == []
    assert filled.history_range()[0].agent_id is None


def test_top(filled):
    top = filled.history_top(since=START, until=NOW, aggregate="max")
    assert (top.metric, top.aggregate, top.unit) == ("cpu", "max", "cores")
    assert top.top == [("burst", 9.9), ("steady", 2.0)]
    assert filled.history_top("memory", n=1, since=START).top == [("steady", 1024.0)]
    ((name, value),) = filled.history_top(ResourceType.CPU, aggregate="sum", agents="steady", since=START).top
    assert name == "steady" and value == pytest.approx(200)
    assert filled.history_top(philosophy="cot", since=START).top == []
    assert filled.history_top(labels={"team": "web"}, since=START).top == []
    assert filled.history_top("network_io", since=START).top == []


def test_quantile(filled):
    answer = filled.history_quantile(0.5, agents=["steady", "burst"], since=START, until=NOW)
    assert answer.value == 2 and answer.exact and answer.subjects == 2 and answer.error_bound == 0
    assert filled.history_quantile(1, philosophy="react", since=START).value == 9.9
    assert filled.history_quantile(0, agents="burst", since=START).value == 0
    assert filled.history_quantile(0.5, "network_io", agents="burst", since=START).value is None
    machine = filled.history_quantile(1.0, "memory")
    assert machine.unit == "MiB" and machine.metric == "memory"


def test_usage(filled):
    totals = filled.history_usage(since=START, until=NOW)
    rows = {row.name: row for row in totals.rows}
    assert rows["steady"].cpu_seconds == pytest.approx(200) and rows["steady"].samples == 100
    assert rows["steady"].memory_gib_hours == pytest.approx(100 / 3600)
    assert rows["steady"].disk_bytes == pytest.approx(100 * 2**20) and rows["steady"].network_bytes is None
    assert totals.total.agents == 2 and totals.gaps == 1
    assert totals.total.cpu_seconds == pytest.approx(sum(row.cpu_seconds for row in totals.rows))
    (react,) = filled.history_usage("philosophy", since=START).rows
    assert react.name == "react" and react.agents == 2
    (nameless,) = filled.history_usage("label:team", since=START).rows
    assert nameless.name is None and nameless.agents == 2
    assert filled.history_usage(labels={"team": None}, since=START).rows == []
    limited = filled.history_usage(since=START, limit=1)
    assert limited.limited and [row.name for row in limited.rows] == ["burst"]


def test_times(filled):
    whole = filled.history_usage(since=START, until=NOW).total.samples
    assert filled.history_usage(since=START.timestamp(), until=NOW.timestamp()).total.samples == whole
    assert filled.history_usage(since=timedelta(hours=1)).total.samples == whole
    assert filled.history_usage(since=START, until=START + timedelta(seconds=10)).total.samples == 20


def test_without_monitoring_there_is_none():
    manager = ResourceManager(enable_monitoring=False)
    assert manager.history_range("a")[0].points == [] and manager.history_top().top == []
    assert manager.history_quantile().value is None and manager.history_usage().total.samples == 0


WRONG = [
    (lambda m: m.history_range("a b"), ValueError, "agents"),
    (lambda m: m.history_range([]), ValueError, "agents"),
    (lambda m: m.history_range(5), TypeError, ""),
    (lambda m: m.history_range(["a", 5]), TypeError, "agents"),
    (lambda m: m.history_range(metrics="gpu"), ValueError, "gpu"),
    (lambda m: m.history_range(aggregate="sum"), ValueError, "aggregate"),
    (lambda m: m.history_range(step_seconds=-1), ValueError, "step_seconds"),
    (lambda m: m.history_range(step_seconds=math.nan), ValueError, "step_seconds"),
    (lambda m: m.history_range(limit=0), ValueError, "limit"),
    (lambda m: m.history_top("gpu"), ValueError, "gpu"),
    (lambda m: m.history_top(aggregate="min"), ValueError, "aggregate"),
    (lambda m: m.history_top(n=0), ValueError, "n:"),
    (lambda m: m.history_top(n=True), ValueError, "n:"),
    (lambda m: m.history_top(philosophy="swarm"), ValueError, "swarm"),
    (lambda m: m.history_quantile(1.5), ValueError, "q:"),
    (lambda m: m.history_quantile("0.5"), ValueError, "q:"),
    (lambda m: m.history_usage("team"), ValueError, "by"),
    (lambda m: m.history_usage("label:"), ValueError, "by"),
    (lambda m: m.history_usage(since="1h"), TypeError, "since"),
    (lambda m: m.history_usage(since=math.inf), ValueError, "since"),
    (lambda m: m.history_usage(since=5.0, until=5.0), ValueError, "since"),
]


@pytest.mark.parametrize("call, error, text", WRONG)
def test_wrong_questions(manager, call, error, text):
    with pytest.raises(error, match=text):
        call(manager)


# ---- Over the daemon


class Daemon:
    def __init__(self, folder):
        self.folder = folder
        self.socket = str(folder / "s")
        self.process = None

    def start(self, state):
        log = self.folder / "log"
        env = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
        with open(log, "wb") as out:
            self.process = subprocess.Popen(
                [PROGRAM, "--socket", self.socket, "--state", state, "--interval", "100ms"],
                stdout=out, stderr=out, env=env)
        wait_for(lambda: self.process.poll() is not None or b"msg=ready" in log.read_bytes())
        assert self.process.poll() is None, log.read_text()
        return ResourceManager.connect(self.socket)

    def stop(self):
        if self.process is not None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(BUG_SECONDS)
            self.process = None


@pytest.fixture
def daemon(tmp_path):
    daemon = Daemon(tmp_path)
    yield daemon
    daemon.stop()


@pytest.fixture
def connected(daemon, tmp_path):
    manager = daemon.start(str(tmp_path / "state"))
    yield manager
    manager.close()


@needs_daemon
def test_the_daemon_answers_alike(connected, manager):
    config = AgentConfig("agent-1", philosophy="cot")
    child = subprocess.Popen(["sh", "-c", "while :; do :; done"], env={})
    try:
        connected.attach(config, child.pid)
        wait_for(lambda: any((row.cpu_seconds or 0) > 0.3 and row.samples >= 5
                             for row in connected.history_usage().rows))
    finally:
        child.kill()
        child.wait()
    wait_for(lambda: connected.cleanup_agent_resources("agent-1"))
    (row,) = connected.history_usage("philosophy").rows
    assert row.name == "cot" and row.agents == 1 and row.cpu_seconds > 0.3  # it is no longer known
    totals = connected.history_usage(since=timedelta(minutes=5), philosophy="cot")
    assert [row.name for row in totals.rows] == ["agent-1"] and totals.total.samples == row.samples
    (series,) = connected.history_range("agent-1", metrics=["cpu"], step_seconds=1)
    assert series.points and series.points[0].usage.cpu_cores is not None
    assert series.points[0].usage.memory_mb is None and series.points[0].step_seconds == 1
    ((name, value),) = connected.history_top(aggregate="max").top
    assert name == "agent-1" and value > 0
    quantile = connected.history_quantile(0.5, agents="agent-1")
    assert quantile.exact and 0 <= quantile.value <= value and quantile.unit == "cores"
    assert connected.history_quantile(philosophy="cot").subjects == 1
    assert connected.history_quantile(labels={"team": "web"}).value is None
    machine = connected.history_range()[0]
    assert machine.agent_id is None and machine.points
    for ours, theirs in ((connected.history_usage(), manager.history_usage()),
                         (connected.history_top(), manager.history_top()),
                         (connected.history_quantile(), manager.history_quantile())):
        assert type(ours) is type(theirs) and isinstance(ours, agentcore.HistoryInfo)


@needs_daemon
@pytest.mark.parametrize("call, error, text", WRONG)
def test_wrong_questions_over_the_daemon(call, error, text, shared):
    with pytest.raises(error, match=text):
        call(shared)


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    if not PROGRAM.exists():
        pytest.skip(f"{PROGRAM} is not built")
    daemon = Daemon(tmp_path_factory.mktemp("daemon"))
    manager = daemon.start("none")
    yield manager
    manager.close()
    daemon.stop()


@needs_daemon
def test_a_daemon_without_state_says_so(shared):
    with pytest.raises(AgentCoreHTTPError, match="state") as refused:
        shared.history_usage()
    assert refused.value.status == 503


@needs_daemon
@pytest.mark.parametrize("state", ["state", "none"])
def test_long_histories_come_as_samples(daemon, tmp_path, monkeypatch, state):
    manager = daemon.start(state if state == "none" else str(tmp_path / state))
    wait_for(lambda: len(manager.get_usage_history()) >= 45)
    before = manager.get_usage_history()
    with monkeypatch.context() as patch:
        patch.setattr("agentcore._remote._HISTORY_LIMIT", 20)  # as where there are more than 10,000
        parts = manager.get_usage_history()
    first = 0 if state == "none" else 1  # the first of all is in memory only
    assert len(before) - first <= len(parts) <= len(manager.get_usage_history()) - first
    assert all(early.timestamp < late.timestamp for early, late in zip(parts, parts[1:]))
    # On disk are milliseconds and 0.01 % of a core.
    for usage in before[first:]:
        part = min(parts, key=lambda part, at=usage.timestamp: abs(part.timestamp - at))
        assert abs((part.timestamp - usage.timestamp).total_seconds()) <= 0.001
        assert part.cpu_cores == usage.cpu_cores or part.cpu_cores == pytest.approx(usage.cpu_cores, abs=6e-5)
    manager.close()
