# SPDX-License-Identifier: Apache-2.0
"""ResourceManager.connect, against a real agentcored."""

import asyncio
import json
import os
import pathlib
import signal
import socketserver
import subprocess
import threading
import time

import pytest

from agentcore import (
    AgentConfig,
    AgentCoreConnectionError,
    AgentCoreHTTPError,
    AgentPhilosophy,
    AlertSeverity,
    PerformanceOptimizer,
    ResourceManager,
    ResourceMonitor,
    ResourceUsage,
)

BUG_SECONDS = 30
PROGRAM = pathlib.Path(__file__).parents[2] / "build" / "agentcored"
if "BUILD_ROOT" in os.environ:
    PROGRAM = pathlib.Path(os.environ["BUILD_ROOT"]) / "src/apps/daemon/agentcored"
CONFIG = AgentConfig("agent-1", philosophy=AgentPhilosophy.COT)

pytestmark = pytest.mark.skipif(not PROGRAM.exists(), reason=f"{PROGRAM} is not built")


def wait_for(condition):
    deadline = time.monotonic() + BUG_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "what the test waits for did not happen"
        time.sleep(0.005)


class Daemon:
    def __init__(self, folder):
        self.socket = str(folder / "s")
        self.log = folder / "log"
        self.process = None

    def start(self):
        env = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                [PROGRAM, "--socket", self.socket, "--state", "none", "--interval", "100ms"],
                stdout=log, stderr=log, env=env)
        wait_for(lambda: self.process.poll() is not None or b"msg=ready" in self.log.read_bytes().split(b"START")[-1])
        assert self.process.poll() is None, self.log.read_text()

    def stop(self, how=signal.SIGTERM):
        if self.process is not None:
            self.process.send_signal(how)
            self.process.wait(BUG_SECONDS)
            self.process = None
            self.log.write_bytes(b"START")


@pytest.fixture
def daemon(tmp_path):
    daemon = Daemon(tmp_path)
    daemon.start()
    yield daemon
    daemon.stop()


@pytest.fixture
def connected(daemon):
    manager = ResourceManager.connect(daemon.socket)
    yield manager
    manager.close()


def test_it_is_the_same_class_with_the_same_keys(connected):
    assert isinstance(connected, ResourceManager) and isinstance(connected._monitor, ResourceMonitor)
    embedded = ResourceManager()
    ours, theirs = connected.get_system_metrics(), embedded.get_system_metrics()
    assert set(ours) == set(theirs)
    assert set(ours["current_usage"]) == set(theirs["current_usage"]) and set(ours["limits"]) == set(theirs["limits"])
    assert 0 < ours["current_usage"]["memory_percent"] <= 100
    assert set(connected.allocate_resources(CONFIG)) == set(embedded.allocate_resources(CONFIG))
    prediction = PerformanceOptimizer(connected).predict_resource_requirements(CONFIG)
    assert prediction == PerformanceOptimizer().predict_resource_requirements(CONFIG)
    assert connected.limits.max_cpu_percent == 80


def test_tracking(connected):
    assert connected.get_agent_usage("agent-1") is None
    connected.track_agent_usage("agent-1", ResourceUsage(cpu_percent=5.0, memory_mb=100.0, file_descriptors=7))
    usage = connected.get_agent_usage("agent-1")
    assert (usage.cpu_percent, usage.memory_mb, usage.file_descriptors, usage.disk_io_mbps) == (5, 100, 7, None)
    assert connected.get_agents() == ["agent-1"]
    wait_for(lambda: connected.get_usage_history("agent-1"))
    assert connected._monitor.get_usage_history("agent-1")[-1].cpu_percent == 5
    wait_for(lambda: len(connected.get_usage_history("system", duration_minutes=1)) >= 2)
    assert connected.get_usage_history("nobody") == []
    assert connected.cleanup_agent_resources("agent-1") is True
    assert connected.cleanup_agent_resources("agent-1") is False


def test_alerts_and_handlers(connected):
    seen = []
    connected.register_alert_handler(lambda alert: seen.append(alert) if alert.agent_id == "agent-1" else None)
    connected.track_agent_usage("agent-1", ResourceUsage(cpu_percent=90.0))
    wait_for(lambda: seen)
    (alert,) = [a for a in connected.get_alerts(severity=AlertSeverity.CRITICAL) if a.agent_id == "agent-1"]
    assert seen[0] == alert and alert.threshold == 80 and alert.timestamp.tzinfo is not None
    assert connected._monitor.acknowledge_alert(alert.alert_id) is True
    assert connected.acknowledge_alert(alert.alert_id) is False
    assert connected.acknowledge_alert("../../x") is False
    assert "agent-1" not in [a.agent_id for a in connected.get_alerts()]
    connected.cleanup_agent_resources("agent-1")
    wait_for(lambda: seen[-1].state == "resolved")


async def test_async_handlers_and_life(daemon):
    manager = await asyncio.to_thread(ResourceManager.connect, daemon.socket)
    loops = []

    async def handler(alert):
        loops.append(asyncio.get_running_loop())

    manager.register_alert_handler(handler)
    await manager.start()
    assert manager._monitor._monitoring_task is not None
    manager.track_agent_usage("agent-1", ResourceUsage(cpu_percent=90.0))
    deadline = time.monotonic() + BUG_SECONDS
    while not loops and time.monotonic() < deadline:
        await asyncio.sleep(0.005)
    assert loops[0] is asyncio.get_running_loop()
    await manager.stop()
    assert manager._monitor._monitoring_task is None


def test_scaling_is_the_daemons(connected):
    scaler = connected._scaler
    assert scaler.get_current_scale("react") == 1 and scaler.should_scale_up(AgentPhilosophy.REACT, current_usage=80)
    scaler.record_scale_action(AgentPhilosophy.REACT, 3)
    assert scaler.get_current_scale("react") == 3 and scaler._current_scale["react"] == 3
    assert scaler.cooling_down("react") and not scaler.should_scale_up("react", 99)
    assert not scaler.should_scale_down("react", 1) and scaler.should_scale_up("cot", 80)


@pytest.mark.parametrize("call, error, text", [
    (lambda m: m.track_agent_usage("../x", ResourceUsage()), ValueError, "agent_id"),
    (lambda m: m.track_agent_usage("a", ResourceUsage(cpu_percent=500)), ValueError, "cpu_percent"),
    (lambda m: m.track_agent_usage("a", 5), TypeError, "ResourceUsage"),
    (lambda m: m.get_agent_usage(5), TypeError, "agent_id"),
    (lambda m: m.allocate_resources(CONFIG, policy="greedy"), ValueError, "policy"),
    (lambda m: m.attach(CONFIG, 2**22 + 1), ValueError, "pid|process"),
    (lambda m: m.get_alerts("loud"), ValueError, "loud"),
    (lambda m: m.get_usage_history("a", -1), ValueError, "duration_minutes"),
    (lambda m: setattr(m, "_limits", None), NotImplementedError, "agentcored"),
    (lambda m: m._monitor._trigger_alert("cpu", "info", "x"), NotImplementedError, "agentcored"),
    (lambda m: m._scaler.record_scale_action("react", 0), ValueError, "new_scale"),
])
def test_refusals(connected, call, error, text):
    with pytest.raises(error, match=text):
        call(connected)


def test_attach_meters_a_process(connected):
    child = subprocess.Popen(["sleep", "60"], env={})
    try:
        connected.attach(CONFIG, child.pid)
        wait_for(lambda: connected.get_agent_usage("agent-1").memory_mb)
        with pytest.raises(AgentCoreHTTPError) as refused:
            connected.attach(CONFIG, child.pid)
        assert refused.value.status == 409
    finally:
        child.kill()
        child.wait()


def test_a_process_attaches_itself(connected):
    connected.attach(CONFIG, os.getpid())
    assert connected.get_agents() == ["agent-1"]
    assert connected.cleanup_agent_resources("agent-1")


# ---- Discovery


def test_discovery_lists_what_rules_find(connected, tmp_path):
    value = f"py-{os.getpid()}"
    child = subprocess.Popen(["sleep", "60"], env={"AGENTCORE_AGENT_ID": value}, start_new_session=True)
    try:
        found = {agent.id: agent for agent in connected.discover("environment")}
        assert (found[value].pid, found[value].rule, found[value].processes) == (child.pid, "environment", 1)
        assert (found[value].managed, found[value].agent_id, found[value].cgroup) == (False, None, None)
        connected.attach(CONFIG, child.pid)
        wait_for(lambda: connected.get_agent_usage("agent-1").memory_mb)
        found = {agent.id: agent for agent in connected.discover(["environment", "docker"])}
        assert (found[value].managed, found[value].agent_id) == (True, "agent-1")
        assert connected.discover() is not None
        with pytest.raises(ValueError, match="preset"):
            connected.discover("nothing")
        with pytest.raises(NotImplementedError, match="connect"):
            ResourceManager().discover()
    finally:
        child.kill()
        child.wait()


# ---- Loss


@pytest.mark.parametrize("make, text", [
    (lambda folder: str(folder / "nothing"), "no agentcored at .*: start one"),
    (lambda folder: str(folder), "agentcored at"),
])
def test_no_daemon_is_said_clearly(tmp_path, make, text):
    with pytest.raises(AgentCoreConnectionError, match=text) as lost:
        ResourceManager.connect(make(tmp_path))
    assert isinstance(lost.value, ConnectionError) and str(tmp_path) in str(lost.value)


def test_all_places_that_were_searched_are_named(tmp_path, monkeypatch):
    if os.path.exists("/run/agentcore/agentcore.sock"):
        pytest.skip("a daemon of the system is here")
    monkeypatch.delenv("AGENTCORE_SOCKET", raising=False)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    with pytest.raises(AgentCoreConnectionError) as lost:
        ResourceManager.connect()
    assert f"/run/agentcore/agentcore.sock or {tmp_path}/agentcore.sock: start one" in str(lost.value)
    monkeypatch.setenv("AGENTCORE_SOCKET", str(tmp_path / "named"))
    with pytest.raises(AgentCoreConnectionError, match="named .from AGENTCORE_SOCKET.: start one"):
        ResourceManager.connect()


def test_the_socket_of_the_environment(daemon, monkeypatch):
    monkeypatch.setenv("AGENTCORE_SOCKET", daemon.socket)
    assert ResourceManager.connect().socket_path == daemon.socket


def test_a_lost_daemon_is_an_exception_and_the_next_call_reconnects(daemon, connected, caplog):
    seen = []
    connected.register_alert_handler(lambda alert: seen.append(alert.agent_id))
    connected.get_system_metrics()
    daemon.stop(signal.SIGKILL)
    for call in (connected.get_system_metrics, connected.get_alerts,
                 lambda: connected.track_agent_usage("a", ResourceUsage())):
        with pytest.raises(AgentCoreConnectionError, match="no agentcored at .*: start one"):
            call()
    wait_for(lambda: "retrying" in caplog.text)
    os.unlink(daemon.socket) if os.path.exists(daemon.socket) else None
    daemon.start()
    assert connected.get_system_metrics()["active_agents"] == 0

    def heard():
        connected.track_agent_usage("agent-9", ResourceUsage(cpu_percent=90.0))
        connected.cleanup_agent_resources("agent-9")
        return "agent-9" in seen

    wait_for(heard)


def test_a_restart_between_two_calls_is_not_noticed(daemon, connected):
    connected.get_system_metrics()
    daemon.stop()
    daemon.start()
    assert connected.get_system_metrics()["active_agents"] == 0


class _Hostile(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True


@pytest.mark.parametrize("answer", [
    b"", b"nonsense\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{", b"HTTP/1.1 200 OK\r\n\r\n{\"a\":",
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n\xff\xfe\xfd\xfc\xfb", None,
])
def test_answers_that_are_none(tmp_path, answer):
    class Handler(socketserver.StreamRequestHandler):
        def handle(self):
            self.rfile.readline()
            if answer is None:
                release.wait(BUG_SECONDS)
            else:
                self.wfile.write(answer)

    release = threading.Event()
    with _Hostile(str(tmp_path / "s"), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            with pytest.raises(AgentCoreConnectionError, match="agentcored at"):
                ResourceManager.connect(tmp_path / "s", timeout=0.5)
        finally:
            release.set()
            server.shutdown()


@pytest.mark.parametrize("error", [None, "disk I/O error"])
def test_a_slow_history_is_waited_for_and_a_cut_one_is_told(tmp_path, error):
    total = {"agents": 0, "samples": 0, "cpu_seconds": None, "memory_gib_hours": None, "disk_bytes": None,
             "network_bytes": None}
    info = {"resolution_seconds": 0, "gaps": 0, "gap_seconds": 0, "damaged": 0, "error_bound": 0, "limited": False}

    class Handler(socketserver.StreamRequestHandler):
        def handle(self):
            late = b"/v1/usage" in self.rfile.readline()
            time.sleep(4 if late else 0)
            body = json.dumps({"by": "agent", "rows": [], "total": total, "error": error, **info}).encode()
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))

    with _Hostile(str(tmp_path / "s"), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            manager = ResourceManager.connect(tmp_path / "s", timeout=3)
            if error is None:
                assert manager.history_usage().rows == []
            else:
                with pytest.raises(AgentCoreHTTPError, match="not whole: disk I/O error"):
                    manager.history_usage()
        finally:
            server.shutdown()


def test_many_threads(connected):
    errors = []

    def work(number):
        try:
            for i in range(20):
                connected.track_agent_usage(f"agent-{number}", ResourceUsage(cpu_percent=i))
                assert connected.get_agent_usage(f"agent-{number}").cpu_percent == i
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(BUG_SECONDS)
    assert errors == [] and len(connected.get_agents()) == 6


def test_fork_and_exit_with_events_running(daemon, python):
    done = python(f"""
        import os, warnings
        from agentcore import *
        warnings.simplefilter("ignore")  # newer interpreters warn of any fork with threads
        manager = ResourceManager.connect({daemon.socket!r})
        manager.register_alert_handler(lambda alert: None)
        manager.get_system_metrics()
        pid = os.fork()
        if pid == 0:
            manager.get_system_metrics()
            os._exit(0)
        print(os.waitpid(pid, 0)[1], manager.get_system_metrics()["active_agents"])
    """, timeout=60)
    assert done.stdout == "0 0\n" and done.stderr == ""
