# SPDX-License-Identifier: Apache-2.0
"""ResourceMonitor without its clockwork: thresholds, alerts, handlers, history."""

import asyncio
import gc
import weakref
from datetime import datetime, timedelta, timezone

import pytest

from agentcore import AlertSeverity, ResourceAlert, ResourceLimits, ResourceMonitor, ResourceType, ResourceUsage


def check(monitor, **fields):
    return monitor._check_thresholds(ResourceUsage(**fields))


# ---- Thresholds


@pytest.mark.parametrize("fields, resource, severity", [
    ({"cpu_percent": 75.0}, "cpu", "warning"),
    ({"cpu_percent": 79.9}, "cpu", "warning"),
    ({"cpu_percent": 80.0}, "cpu", "critical"),
    ({"memory_percent": 76.0}, "memory", "warning"),
    ({"memory_percent": 85.0}, "memory", "critical"),
    ({"memory_percent": 95.0}, "memory", "emergency"),
    ({"disk_io_mbps": 75.0}, "disk_io", "warning"),
    ({"disk_io_mbps": 100.0}, "disk_io", "critical"),
    ({"network_io_mbps": 80.0}, "network_io", "warning"),
    ({"network_io_mbps": 1e6}, "network_io", "critical"),
    ({"file_descriptors": 750}, "file_descriptors", "warning"),
    ({"file_descriptors": 1000}, "file_descriptors", "critical"),
])
def test_severity_by_threshold(monitor, fields, resource, severity):
    assert check(monitor, **fields) == 1
    (alert,) = monitor.get_active_alerts()
    assert isinstance(alert, ResourceAlert)
    assert alert.resource_type is ResourceType(resource) and alert.severity is AlertSeverity(severity)
    assert alert.current_value == list(fields.values())[0] >= alert.threshold
    assert alert.message and alert.alert_id and alert.agent_id is None


@pytest.mark.parametrize("fields", [
    {}, {"cpu_percent": 74.9}, {"memory_percent": 0}, {"disk_io_mbps": 74}, {"file_descriptors": 749},
    {"cpu_percent": None}, {"memory_mb": 1e9},
])
def test_no_alert_below_the_threshold_or_for_the_unknown(monitor, fields):
    assert check(monitor, **fields) == 0
    assert monitor.get_active_alerts() == []


def test_one_alert_rises_and_falls_and_resolves(monitor):
    seen = []
    monitor.register_alert_handler(lambda alert: seen.append((alert.severity.value, alert.state)))
    for cpu in (76, 77, 85, 85, 76, 76, 60, 60):
        check(monitor, cpu_percent=cpu)
        assert len(monitor.get_active_alerts()) == (0 if cpu == 60 else 1)
    # 76 is within the clear margin below 80, so critical holds; a resolved alert keeps its severity.
    assert seen == [("warning", "firing"), ("critical", "firing"), ("critical", "resolved")]


def test_limits_may_be_changed_while_in_use():
    limits = ResourceLimits()
    monitor = ResourceMonitor(limits=limits)
    assert monitor._limits is limits
    assert check(monitor, cpu_percent=60) == 0
    limits.alert_threshold_percent = 50
    assert check(monitor, cpu_percent=60) == 1
    monitor._limits = ResourceLimits(max_cpu_percent=55, alert_threshold_percent=50)
    assert check(monitor, cpu_percent=60) == 1
    assert monitor.get_alerts()[0].severity is AlertSeverity.CRITICAL
    limits.alert_threshold_percent = 99  # no longer its
    assert check(monitor, cpu_percent=60) == 0


def test_results_may_be_awaited(monitor):
    async def main():
        assert await monitor._check_thresholds(ResourceUsage(cpu_percent=99)) == 1
        assert await monitor._check_thresholds(ResourceUsage(cpu_percent=99)) == 0
        await monitor._trigger_alert(ResourceType.MEMORY, AlertSeverity.INFO, "x")

    asyncio.run(main())


# ---- Alerts


def test_alerts_by_severity_newest_first(monitor):
    check(monitor, cpu_percent=76)
    check(monitor, memory_percent=85)
    assert {alert.severity.value for alert in monitor.get_active_alerts()} == {"warning", "critical"}
    for severity in (AlertSeverity.CRITICAL, "critical"):
        assert [a.resource_type for a in monitor.get_active_alerts(severity=severity)] == [ResourceType.MEMORY]
    assert monitor.get_active_alerts(AlertSeverity.EMERGENCY) == []
    with pytest.raises(ValueError, match="severity: 'loud'"):
        monitor.get_active_alerts("loud")


def test_acknowledged_alerts_leave_the_active_list_until_they_rise(monitor):
    check(monitor, cpu_percent=76)
    (alert,) = monitor.get_active_alerts()
    assert monitor.acknowledge_alert(alert.alert_id) is True
    assert monitor.get_active_alerts() == []
    assert monitor.acknowledge_alert(alert.alert_id) is False
    check(monitor, cpu_percent=77)
    assert monitor.get_active_alerts() == []
    check(monitor, cpu_percent=90)
    assert [a.severity for a in monitor.get_active_alerts()] == [AlertSeverity.CRITICAL]


@pytest.mark.parametrize("unknown", ["", "nonsense", "al-1", "x" * 10000])
def test_acknowledging_what_does_not_exist_is_false(monitor, unknown):
    assert monitor.acknowledge_alert(unknown) is False


def test_alerts_by_hand(monitor):
    seen = []
    monitor.register_alert_handler(seen.append)
    monitor._trigger_alert(ResourceType.DISK_IO, AlertSeverity.EMERGENCY, "disk on fire", agent_id="agent-1",
                           threshold=1.5, current_value=2.5)
    (alert,) = monitor.get_active_alerts()
    assert alert == seen[0]
    assert (alert.agent_id, alert.message, alert.threshold, alert.current_value) == ("agent-1", "disk on fire", 1.5, 2.5)
    assert (alert.rule, alert.resource_type, alert.severity) == ("manual", "disk_io", "emergency")
    monitor._trigger_alert("cpu", "info", "note")
    assert monitor.get_active_alerts("info")[0].threshold is None


@pytest.mark.parametrize("arguments, error", [
    (("nonsense", "info", "x"), ValueError), (("cpu", "loud", "x"), ValueError), (("cpu", "info"), TypeError),
    (("cpu", "info", 5), TypeError), (("cpu", "info", "x", "bad id"), ValueError),
    (("cpu", "info", "x", None, float("inf")), ValueError), (("cpu", "info", "x", None, "1"), TypeError),
])
def test_wrong_alerts_by_hand_are_refused(monitor, arguments, error):
    with pytest.raises(error):
        monitor._trigger_alert(*arguments)


# ---- Handlers


def test_handlers_are_called_once_per_transition_in_order(monitor):
    calls = []
    monitor.register_alert_handler(lambda alert: calls.append(("first", alert.alert_id)))
    monitor.register_alert_handler(lambda alert: calls.append(("second", alert.alert_id)))
    for _ in range(5):
        check(monitor, cpu_percent=90)
    assert [name for name, _ in calls] == ["first", "second"]
    assert calls[0][1] == calls[1][1] == monitor.get_active_alerts()[0].alert_id


def test_a_handler_that_raises_is_logged_and_stops_nobody(monitor, caplog):
    calls = []
    monitor.register_alert_handler(lambda alert: 1 / 0)
    monitor.register_alert_handler(calls.append)
    assert check(monitor, cpu_percent=90) == 1
    assert len(calls) == 1
    assert "ZeroDivisionError" in caplog.text and caplog.records[0].name == "agentcore"


def test_the_list_of_handlers_is_a_list(monitor):
    def handler(alert):
        calls.append(alert)

    calls = []
    monitor.register_alert_handler(handler)
    assert handler in monitor._alert_handlers and len(monitor._alert_handlers) == 1
    assert monitor._alert_handlers == [handler]
    monitor._alert_handlers.append(handler)
    check(monitor, cpu_percent=90)
    assert len(calls) == 2
    monitor.unregister_alert_handler(handler)
    monitor._alert_handlers.clear()
    check(monitor, cpu_percent=10)
    assert len(calls) == 2
    monitor._alert_handlers = [handler]
    check(monitor, cpu_percent=90)
    assert len(calls) == 3
    with pytest.raises(TypeError):
        monitor.register_alert_handler("nonsense")


def test_a_handler_may_use_the_monitor_that_calls_it(monitor):
    def handler(alert):
        if alert.severity is AlertSeverity.CRITICAL and not alert.acknowledged:
            monitor._trigger_alert("memory", "info", "from within")
            monitor.acknowledge_alert(alert.alert_id)
            monitor.get_active_alerts()

    monitor.register_alert_handler(handler)
    check(monitor, cpu_percent=90)
    assert [alert.message for alert in monitor.get_active_alerts()] == ["from within"]


def test_a_monitor_that_its_handler_knows_is_collected():
    monitor = ResourceMonitor()
    monitor.itself = monitor
    monitor.register_alert_handler(lambda alert: monitor.get_active_alerts())
    gone = weakref.ref(monitor)
    del monitor
    gc.collect()
    assert gone() is None


# ---- History


def test_history_is_what_was_recorded_oldest_first(monitor):
    now = datetime.now(timezone.utc)
    for i in range(10):
        monitor._record_usage("system", ResourceUsage(cpu_percent=i, timestamp=now - timedelta(seconds=100 - i)))
    history = monitor.get_usage_history(resource_type="system", duration_minutes=60)
    assert [usage.cpu_percent for usage in history] == list(range(10))
    assert history[0].memory_mb is None
    assert abs((history[-1].timestamp - (now - timedelta(seconds=91))).total_seconds()) < 0.01
    assert monitor.get_usage_history() == history


def test_history_covers_the_minutes_asked_for(monitor):
    now = datetime.now(timezone.utc)
    for minutes in range(120, 0, -1):
        monitor._record_usage("a", ResourceUsage(cpu_percent=1, timestamp=now - timedelta(minutes=minutes, seconds=-1)))
    for minutes in (1, 5, 60, 119):
        assert len(monitor.get_usage_history("a", duration_minutes=minutes)) == minutes
    assert len(monitor.get_usage_history("a", 1e9)) == 120


def test_history_is_kept_per_agent(monitor):
    monitor._record_usage("agent-1", ResourceUsage(cpu_percent=1))
    monitor._record_usage("system", ResourceUsage(cpu_percent=2))
    assert [u.cpu_percent for u in monitor.get_usage_history("agent-1")] == [1]
    assert [u.cpu_percent for u in monitor.get_usage_history("system")] == [2]
    assert monitor.get_usage_history("agent-2") == []


@pytest.mark.parametrize("minutes", [0, -1, float("nan"), float("inf")])
def test_wrong_durations_are_refused(monitor, minutes):
    with pytest.raises(ValueError, match="duration_minutes"):
        monitor.get_usage_history("system", minutes)


@pytest.mark.parametrize("call", [
    lambda m: m._record_usage("bad id", ResourceUsage(cpu_percent=1)),
    lambda m: m._record_usage("a", ResourceUsage(cpu_percent=-1)),
])
def test_what_cannot_be_recorded_is_refused(monitor, call):
    with pytest.raises(ValueError):
        call(monitor)


@pytest.mark.parametrize("arguments", [
    {"check_interval_seconds": 0}, {"check_interval_seconds": -1}, {"check_interval_seconds": "5"},
    {"check_interval_seconds": float("nan")}, {"provider_timeout_seconds": 0}, {"history_minutes": 0},
    {"history_budget_mb": 0}, {"max_agents": 0},
])
def test_wrong_options_are_refused(arguments):
    with pytest.raises(ValueError, match=next(iter(arguments)) if "max_agents" not in arguments else "max_"):
        ResourceMonitor(**arguments)


def test_objects_that_were_not_initialised_are_refused():
    with pytest.raises(RuntimeError, match="__init__"):
        ResourceMonitor.__new__(ResourceMonitor).get_active_alerts()
