# SPDX-License-Identifier: Apache-2.0
"""ResourceManager: tracking, allocation, metrics, alerts, prediction, what is off."""

import gc
import os
import subprocess
import sys
import time
import weakref
from datetime import datetime

import pytest

from agentcore import (
    AgentConfig,
    AgentPhilosophy,
    AlertSeverity,
    PerformanceOptimizer,
    ResourceLimits,
    ResourceManager,
    ResourcePredictor,
    ResourceUsage,
    get_performance_optimizer,
    get_resource_manager,
)
from agentcore.agent_runtime.models.agent_config import ResourceLimits as AgentLimits

CONFIG = AgentConfig("agent-1")


def alerts(manager, severity=None):
    """Those of agents: the machine may be busy, and have its own."""
    return [alert for alert in manager.get_alerts(severity=severity) if alert.agent_id]


# ---- Tracking


def test_tracked_usage_comes_back(manager):
    usage = ResourceUsage(cpu_percent=50.0, memory_percent=60.0, memory_mb=1024.0, file_descriptors=100)
    manager.track_agent_usage("agent-123", usage)
    assert manager.get_agent_usage("agent-123") == usage
    assert manager.get_agent_usage("agent-123").disk_io_mbps is None
    assert manager.get_agents() == ["agent-123"]
    manager.track_agent_usage(agent_id="agent-123", usage=ResourceUsage(cpu_percent=1.0))
    assert manager.get_agent_usage("agent-123").cpu_percent == 1.0


def test_an_agent_that_is_unknown_has_no_usage(manager):
    assert manager.get_agent_usage("nobody") is None
    assert manager.cleanup_agent_resources("nobody") is False


def test_cleanup_forgets_usage_history_and_alerts(manager):
    manager.track_agent_usage("a", ResourceUsage(cpu_percent=99.0))
    assert [alert.agent_id for alert in alerts(manager)] == ["a"]
    assert manager.cleanup_agent_resources("a") is True
    assert manager.get_agent_usage("a") is None and alerts(manager) == []
    assert manager.get_usage_history("a") == [] and manager.get_agents() == []


def test_tracked_usage_is_in_the_history(manager):
    for cpu in (1, 2, 3):
        manager.track_agent_usage("a", ResourceUsage(cpu_percent=cpu))
    assert [u.cpu_percent for u in manager._monitor.get_usage_history("a", duration_minutes=1)] == [1, 2, 3]


@pytest.mark.parametrize("agent_id, usage, error, text", [
    ("", ResourceUsage(), ValueError, "agent_id: ''"),
    ("a b", ResourceUsage(), ValueError, "agent_id: 'a b'"),
    ("x" * 129, ResourceUsage(), ValueError, "agent_id"),
    (5, ResourceUsage(), TypeError, "agent_id"),
    (None, ResourceUsage(), TypeError, "agent_id"),
    ("a\0b", ResourceUsage(), ValueError, "null|agent_id"),
    ("a\ud800", ResourceUsage(), UnicodeEncodeError, "surrogates"),
    ("a", {"cpu_percent": 1}, TypeError, "ResourceUsage"),
    ("a", None, TypeError, "ResourceUsage"),
    ("a", ResourceUsage(cpu_percent=200), ValueError, "cpu_percent: 200"),
])
def test_wrong_reports_are_refused(manager, agent_id, usage, error, text):
    with pytest.raises(error, match=text):
        manager.track_agent_usage(agent_id, usage)
    assert manager.get_agents() == []


def test_more_agents_than_allowed_are_refused():
    manager = ResourceManager(max_agents=2)
    manager.track_agent_usage("a", ResourceUsage())
    manager.track_agent_usage("b", ResourceUsage())
    with pytest.raises(OSError, match="max_agents"):
        manager.track_agent_usage("c", ResourceUsage())


def test_agents_that_are_not_tracked_any_more_exit_where_that_is_wanted():
    """Without the option they stay until they are cleaned up, as the guide has it."""
    for timeout in (1, 0):
        manager = ResourceManager(check_interval_seconds=0.01, report_timeout_seconds=timeout)
        manager.track_agent_usage("a", ResourceUsage(cpu_percent=99.0))
        assert manager.get_system_metrics()["active_agents"] == 1
        deadline = time.monotonic() + (20 if timeout else 1.2)
        while manager.get_system_metrics()["active_agents"] and time.monotonic() < deadline:
            time.sleep(0.02)
        assert manager.get_system_metrics()["active_agents"] == (0 if timeout else 1)
        assert len(alerts(manager)) == (0 if timeout else 1)
        assert manager.get_agent_usage("a").cpu_percent == 99.0
        manager.track_agent_usage("a", ResourceUsage(cpu_percent=10.0))
        assert manager.get_system_metrics()["active_agents"] == 1
        assert manager.get_agents() == ["a"]


# ---- Metrics


def test_system_metrics_have_the_guides_keys(manager):
    manager.track_agent_usage("a", ResourceUsage(cpu_percent=99.0))
    metrics = manager.get_system_metrics()
    usage = metrics["current_usage"]
    assert set(usage) >= {"cpu_percent", "memory_percent", "memory_mb", "disk_io_mbps", "network_io_mbps",
                          "file_descriptors"}
    assert 0 < usage["memory_percent"] <= 100 and usage["memory_mb"] > 0
    assert usage["cpu_percent"] is None or 0 <= usage["cpu_percent"] <= 100
    assert isinstance(usage["timestamp"], datetime)
    assert metrics["limits"]["max_cpu_percent"] == 80.0 and metrics["limits"]["max_file_descriptors"] == 1000
    assert metrics["active_agents"] == 1 and metrics["active_alerts"] >= 1
    assert metrics["capacity_cores"] > 0 and metrics["capacity_memory_mb"] > 0


def test_rates_are_unknown_at_first_and_then_rates():
    manager = ResourceManager(check_interval_seconds=0.01)
    assert manager.get_system_metrics()["current_usage"]["disk_io_mbps"] in (None,)
    time.sleep(0.15)
    manager.get_system_metrics()
    rate = manager.get_system_metrics()["current_usage"]["disk_io_mbps"]
    assert rate is None or 0 <= rate < 1e6


def test_limits_show_in_the_metrics_and_may_change():
    limits = ResourceLimits(max_cpu_percent=70.0)
    manager = ResourceManager(limits=limits)
    assert manager._limits is limits and manager.limits is limits
    limits.max_cpu_percent = 60
    assert manager.get_system_metrics()["limits"]["max_cpu_percent"] == 60
    manager._limits = ResourceLimits(max_cpu_percent=50)
    assert manager.get_system_metrics()["limits"]["max_cpu_percent"] == 50
    manager.track_agent_usage("a", ResourceUsage(cpu_percent=55))
    assert alerts(manager)[0].severity is AlertSeverity.CRITICAL


# ---- Allocation


def test_an_allocation_has_the_guides_keys_and_ours(manager):
    allocation = manager.allocate_resources(CONFIG)
    assert set(allocation) >= {"cpu_percent", "memory_mb", "execution_time_seconds", "available_cpu_percent",
                               "available_memory_percent", "id", "confidence", "explanation"}
    assert allocation["status"] == "granted" and allocation["policy"] == "recommend"
    assert allocation["execution_time_seconds"] == 60 and allocation["confidence"] == 0
    assert 0 <= allocation["cpu_percent"] <= max(0.8 * allocation["available_cpu_percent"], 0) + 1e-6
    assert 0 < allocation["memory_mb"] <= 256
    assert allocation["explanation"]


def test_an_agents_own_limits_cap_its_allocation(manager):
    limits = AgentLimits(max_memory_mb=128, max_cpu_cores=0.1)
    allocation = manager.allocate_resources(AgentConfig("a", resource_limits=limits))
    assert allocation["memory_mb"] <= 128
    assert allocation["cpu_percent"] <= 0.1 / manager.get_system_metrics()["capacity_cores"] * 100 + 1e-6


def test_two_allocations_never_promise_the_same_memory(manager):
    first = manager.allocate_resources(AgentConfig("a"))
    second = manager.allocate_resources(AgentConfig("b"))
    assert second["available_memory_mb"] <= first["available_memory_mb"] - first["memory_mb"] + 1e-6
    again = manager.allocate_resources(AgentConfig("a"))
    assert again["id"] != "" and manager.get_system_metrics() is not None


def test_policies(manager):
    for policy in ("recommend", "strict", "queue"):
        assert manager.allocate_resources(CONFIG, policy=policy)["policy"] == policy
    with pytest.raises(ValueError, match="policy: 'greedy' is none of recommend, strict, queue"):
        manager.allocate_resources(CONFIG, "greedy")


def test_anything_with_the_attributes_is_a_config(manager):
    class Config:
        agent_id = "duck"
        philosophy = AgentPhilosophy.COT
        resource_limits = None

    assert manager.allocate_resources(Config())["status"] == "granted"
    with pytest.raises(AttributeError):
        manager.allocate_resources(object())
    with pytest.raises(AttributeError):
        manager.allocate_resources(None)
    Config.agent_id = "bad id"
    with pytest.raises(ValueError, match="agent_id"):
        manager.allocate_resources(Config())


# ---- Alerts


def test_alerts_of_agents_and_handlers(manager):
    seen = []
    manager.register_alert_handler(seen.append)
    manager.track_agent_usage("a", ResourceUsage(cpu_percent=76.0, memory_percent=85.0))
    assert {(a.agent_id, a.resource_type.value, a.severity.value) for a in seen if a.agent_id} == {
        ("a", "cpu", "warning"), ("a", "memory", "critical")}
    (critical,) = alerts(manager, AlertSeverity.CRITICAL)
    assert manager.acknowledge_alert(critical.alert_id)
    assert alerts(manager, AlertSeverity.CRITICAL) == []
    assert [a.severity for a in alerts(manager)] == [AlertSeverity.WARNING]


def test_without_monitoring_there_are_no_alerts_and_no_history():
    manager = ResourceManager(enable_monitoring=False)
    assert manager._monitor is None
    manager.register_alert_handler(lambda alert: pytest.fail("called"))
    manager.track_agent_usage("a", ResourceUsage(cpu_percent=99))
    assert manager.get_agent_usage("a").cpu_percent == 99
    assert manager.get_alerts() == [] and manager.get_usage_history("a") == []
    assert manager.acknowledge_alert("x") is False
    assert manager.get_system_metrics().get("active_alerts", 0) == 0
    assert manager.allocate_resources(CONFIG)["status"] == "granted"


def test_without_scaling_there_is_no_scaler():
    manager = ResourceManager(enable_dynamic_scaling=False)
    assert manager._scaler is None and manager._monitor is not None


# ---- Prediction


def test_cold_start_and_learning():
    predictor = ResourcePredictor()
    cold = predictor.predict_resource_requirements(CONFIG)
    assert (cold["cpu_percent"], cold["memory_mb"], cold["execution_time_seconds"]) == (50.0, 256.0, 60.0)
    assert cold["basis"] == "default" and predictor.get_prediction_confidence(CONFIG) == 0
    for _ in range(50):
        predictor.record_usage(CONFIG, cpu_percent=10.0, memory_mb=100.0, execution_time_seconds=5.0)
    warm = predictor.predict_resource_requirements(CONFIG)
    assert 5 < warm["cpu_percent"] < 20 and 90 < warm["memory_mb"] < 200 and warm["runs"] == 50
    assert 0 < predictor.get_prediction_confidence(CONFIG) <= 1


@pytest.mark.parametrize("values", [{"cpu_percent": -1}, {"memory_mb": float("inf")}])
def test_wrong_runs_are_refused(values):
    with pytest.raises(ValueError):
        ResourcePredictor().record_usage(CONFIG, **values)


def test_the_global_optimizer_predicts_for_the_global_manager():
    optimizer = get_performance_optimizer()
    assert optimizer is get_performance_optimizer() and isinstance(optimizer, PerformanceOptimizer)
    for _ in range(50):
        optimizer.record_usage(CONFIG, 10.0, 100.0, 5.0)
    assert get_resource_manager().allocate_resources(CONFIG)["execution_time_seconds"] < 30
    assert optimizer.get_prediction_confidence(CONFIG) > 0
    assert get_resource_manager() is get_resource_manager()


# ---- Metering


def test_attach_meters_a_process(manager):
    child = subprocess.Popen([sys.executable, "-S", "-c", "input()"], stdin=subprocess.PIPE,
                             env={k: v for k, v in os.environ.items() if k != "LD_PRELOAD"})
    try:
        manager.attach(CONFIG, child.pid)
        usage = manager.get_agent_usage("agent-1")
        assert usage.memory_mb > 0 and usage.file_descriptors != 0
        with pytest.raises(FileExistsError):
            manager.attach(CONFIG, child.pid)
    finally:
        child.communicate(b"\n")
    with pytest.raises(ProcessLookupError):
        manager.attach(AgentConfig("other"), 2**22 + 1)
    with pytest.raises(ValueError):
        manager.attach(AgentConfig("other"), -1)


# ---- Life of the object


def test_a_manager_is_collected():
    manager = ResourceManager()
    manager.register_alert_handler(lambda alert: manager)
    gone = weakref.ref(manager)
    del manager
    gc.collect()
    assert gone() is None


def test_a_monitor_keeps_its_manager():
    monitor = ResourceManager()._monitor
    gc.collect()
    monitor._record_usage("a", ResourceUsage(cpu_percent=1))
    assert len(monitor.get_usage_history("a")) == 1


@pytest.mark.parametrize("arguments", [
    {"check_interval_seconds": 0}, {"check_interval_seconds": 1e9}, {"max_agents": 0}, {"history_minutes": 0},
    {"history_budget_mb": 0}, {"report_timeout_seconds": 604801},
])
def test_wrong_options_are_refused(arguments):
    with pytest.raises(ValueError, match=next(iter(arguments))):
        ResourceManager(**arguments)


def test_objects_cannot_be_initialised_twice_or_never(manager):
    with pytest.raises(RuntimeError):
        manager.__init__()
    with pytest.raises(RuntimeError):
        ResourceManager.__new__(ResourceManager).get_system_metrics()
