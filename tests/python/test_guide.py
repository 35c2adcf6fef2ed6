# SPDX-License-Identifier: Apache-2.0
"""What the guide's examples do, in versions of our own, through the guide's import paths. Names
that an example leaves to its reader are doubles here that note what they were called with."""

import asyncio
import logging

import pytest

from agentcore.agent_runtime.models.agent_config import AgentConfig, AgentPhilosophy, SecurityProfile
from agentcore.agent_runtime.models.agent_config import ResourceLimits as ConfigResourceLimits
from agentcore.agent_runtime.services.performance_optimizer import get_performance_optimizer
from agentcore.agent_runtime.services.resource_manager import (
    AlertSeverity,
    DynamicScaler,
    ResourceAlert,
    ResourceLimits,
    ResourceManager,
    ResourceMonitor,
    ResourceType,
    ResourceUsage,
    get_resource_manager,
)


class Calls(list):
    def __call__(self, *arguments):
        self.append(arguments)

    async def later(self, *arguments):
        self.append(arguments)


@pytest.fixture
def calls():
    return Calls()


def test_a_manager_with_limits_of_ones_own():
    manager = ResourceManager(
        limits=ResourceLimits(max_cpu_percent=80.0, max_memory_percent=80.0, max_disk_io_mbps=100.0,
                              max_network_io_mbps=100.0, max_file_descriptors=1000, alert_threshold_percent=75.0),
        enable_monitoring=True, enable_dynamic_scaling=True)
    assert manager._monitor is not None and manager._scaler is not None
    assert get_resource_manager() is get_resource_manager() is not manager


async def test_a_monitor_and_its_provider():
    asked = asyncio.Event()

    async def measure() -> ResourceUsage:
        asked.set()
        return ResourceUsage(cpu_percent=50.0, memory_percent=60.0, memory_mb=1024.0)

    monitor = ResourceMonitor(limits=ResourceLimits(max_cpu_percent=80.0), check_interval_seconds=5)
    await monitor.start(measure)
    await asyncio.wait_for(asked.wait(), 30)
    await monitor.stop()


def test_scale_up_and_down_with_a_cooldown(clock, calls):
    scaler = DynamicScaler(scale_up_threshold=75.0, scale_down_threshold=25.0, cooldown_seconds=60, clock=clock)
    philosophy = AgentPhilosophy.REACT
    if scaler.should_scale_up(philosophy, current_usage=80.0):
        scale = scaler.get_current_scale(philosophy) + 1
        calls(philosophy, scale)
        scaler.record_scale_action(philosophy, scale)
    assert calls == [(AgentPhilosophy.REACT, 2)]
    assert not scaler.should_scale_up(philosophy, 80.0)
    clock.now += 60
    assert scaler.should_scale_up(philosophy, 80.0)
    if scaler.should_scale_down(philosophy, current_usage=20.0):
        scaler.record_scale_action(philosophy, scaler.get_current_scale(philosophy) - 1)
    assert scaler.get_current_scale(philosophy) == 1
    clock.now += 60
    assert not scaler.should_scale_down(philosophy, 20.0)


def test_the_five_resources():
    assert [ResourceType.CPU, ResourceType.MEMORY, ResourceType.DISK_IO, ResourceType.NETWORK_IO,
            ResourceType.FILE_DESCRIPTORS] == list(ResourceType)


def test_an_agents_usage_from_first_to_last():
    manager = ResourceManager(enable_monitoring=True)
    manager.track_agent_usage("agent-123", ResourceUsage(
        cpu_percent=50.0, memory_percent=60.0, memory_mb=1024.0, disk_io_mbps=10.0, network_io_mbps=5.0,
        file_descriptors=100))
    usage = manager.get_agent_usage("agent-123")
    assert (usage.cpu_percent, usage.file_descriptors) == (50.0, 100)
    manager.cleanup_agent_resources("agent-123")
    assert manager.get_agent_usage("agent-123") is None


def test_printing_history_and_metrics():
    manager = ResourceManager()
    manager.track_agent_usage("a", ResourceUsage(cpu_percent=12.5))
    lines = [f"{usage.timestamp}: CPU {usage.cpu_percent}%"
             for usage in manager._monitor.get_usage_history(resource_type="a", duration_minutes=60)]
    assert len(lines) == 1 and lines[0].endswith("CPU 12.5%")
    metrics = manager.get_system_metrics()
    text = (f"{metrics['current_usage']['cpu_percent']} {metrics['current_usage']['memory_percent']} "
            f"{metrics['active_agents']} {metrics.get('active_alerts', 0)}")
    assert len(text.split()) == 4


def test_an_alert_handler_that_acts(calls):
    manager = ResourceManager(limits=ResourceLimits(
        max_cpu_percent=80.0, max_memory_percent=80.0, alert_threshold_percent=70.0))

    def handle(alert: ResourceAlert) -> None:
        text = (f"[{alert.severity.value}] {alert.message} {alert.resource_type.value} "
                f"{alert.threshold} {alert.current_value}")
        if alert.severity in (AlertSeverity.CRITICAL, AlertSeverity.EMERGENCY):
            calls("notify", text)
        if alert.resource_type == ResourceType.MEMORY:
            calls("collect")

    manager.register_alert_handler(handle)
    manager.track_agent_usage("a", ResourceUsage(cpu_percent=72.0, memory_percent=90.0))
    told = [call for call in calls if call[0] == "notify" and "memory at 90.0 %" in call[1]]
    assert len(told) == 1 and told[0][1].startswith("[critical] ") and told[0][1].endswith("memory 80.0 90.0")
    assert ("collect",) in calls


def test_alerts_by_severity_and_their_acknowledgement():
    manager = ResourceManager()
    monitor = manager._monitor
    manager.track_agent_usage("a", ResourceUsage(cpu_percent=76.0, memory_percent=85.0))
    for alert in manager.get_alerts():
        if alert.severity == AlertSeverity.WARNING:
            monitor.acknowledge_alert(alert.alert_id)
    left = [alert for alert in manager.get_alerts() if alert.agent_id == "a"]
    assert [alert.severity for alert in left] == [AlertSeverity.CRITICAL]
    assert left == [a for a in manager.get_alerts(severity=AlertSeverity.CRITICAL) if a.agent_id == "a"]
    assert manager.get_alerts(severity=AlertSeverity.WARNING) == []


def test_an_allocation_and_the_algorithm_behind_it():
    manager = ResourceManager()
    config = AgentConfig(agent_id="my-agent", philosophy=AgentPhilosophy.REACT,
                         resource_limits=ConfigResourceLimits(max_memory_mb=512, max_cpu_cores=1.0),
                         security_profile=SecurityProfile())
    allocation = manager.allocate_resources(config)
    metrics = manager.get_system_metrics()
    cores = 1.0 / metrics["capacity_cores"] * 100
    assert allocation["cpu_percent"] == pytest.approx(
        min(50.0, 0.8 * allocation["available_cpu_percent"], cores), abs=0.01)
    assert allocation["memory_mb"] == pytest.approx(min(256.0, 0.8 * allocation["available_memory_mb"], 512), abs=0.01)
    assert allocation["execution_time_seconds"] == 60
    predicted = get_performance_optimizer().predict_resource_requirements(config)
    assert set(predicted) >= {"cpu_percent", "memory_mb", "execution_time_seconds"}


async def test_an_agents_lifecycle():
    manager = ResourceManager()

    async def start(config):
        allocation = manager.allocate_resources(config)
        manager.track_agent_usage(config.agent_id, ResourceUsage(cpu_percent=0.0, memory_percent=0.0))
        return allocation

    async def run(config):
        try:
            await start(config)
            for cpu in (10.0, 20.0):
                manager.track_agent_usage(config.agent_id, ResourceUsage(cpu_percent=cpu))
                await asyncio.sleep(0)
            return manager.get_agent_usage(config.agent_id).cpu_percent
        finally:
            manager.cleanup_agent_resources(config.agent_id)

    configs = [AgentConfig(agent_id=f"agent-{n}") for n in range(3)]
    assert await asyncio.gather(*(run(config) for config in configs)) == [20.0] * 3
    assert manager.get_agents() == []


async def test_scaling_from_the_machines_usage(calls):
    manager = ResourceManager()
    scaler = manager._scaler

    async def check(cpu_usage):
        if scaler.should_scale_up(AgentPhilosophy.REACT, cpu_usage):
            scale = scaler.get_current_scale(AgentPhilosophy.REACT) + 1
            await calls.later("provision", scale)
            scaler.record_scale_action(AgentPhilosophy.REACT, scale)
        elif scaler.should_scale_down(AgentPhilosophy.REACT, cpu_usage):
            scale = scaler.get_current_scale(AgentPhilosophy.REACT) - 1
            await calls.later("reduce", scale)
            scaler.record_scale_action(AgentPhilosophy.REACT, scale)

    await check(manager.get_system_metrics()["current_usage"]["cpu_percent"])  # whatever it is
    calls.clear()
    scaler._last_scale_action = {}
    scaler._current_scale = {}
    await check(None)
    await check(90.0)
    await check(90.0)
    scaler._last_scale_action.clear()
    await check(10.0)
    assert calls == [("provision", 2), ("reduce", 1)]


async def test_trends_of_an_agent(caplog):
    manager = ResourceManager()
    monitor, logger = manager._monitor, logging.getLogger("trends")

    async def analyze(agent_id):
        history = monitor.get_usage_history(agent_id, duration_minutes=60)
        if not history:
            return None
        result = {"avg_cpu": sum(u.cpu_percent for u in history) / len(history),
                  "avg_memory": sum(u.memory_percent for u in history) / len(history),
                  "peak_cpu": max(u.cpu_percent for u in history),
                  "peak_memory": max(u.memory_percent for u in history)}
        if result["avg_cpu"] > 70.0:
            logger.warning("high average")
        return result

    assert await analyze("a") is None
    for cpu, memory in ((60.0, 10.0), (90.0, 30.0)):
        manager.track_agent_usage("a", ResourceUsage(cpu_percent=cpu, memory_percent=memory))
    assert await analyze("a") == {"avg_cpu": 75.0, "avg_memory": 20.0, "peak_cpu": 90.0, "peak_memory": 30.0}
    assert "high average" in caplog.text


def test_limits_for_production_and_development():
    for limits in (ResourceLimits(max_cpu_percent=70.0, max_memory_percent=75.0, alert_threshold_percent=60.0),
                   ResourceLimits(max_cpu_percent=90.0, max_memory_percent=90.0, alert_threshold_percent=80.0)):
        assert ResourceManager(limits=limits)._limits == limits


def test_a_handler_for_production(calls):
    def handle(alert: ResourceAlert) -> None:
        calls("log", dict(alert_id=alert.alert_id, resource_type=alert.resource_type.value,
                          severity=alert.severity.value, message=alert.message))
        if alert.severity == AlertSeverity.CRITICAL and alert.resource_type == ResourceType.MEMORY:
            calls("page", alert.message)
        if alert.severity == AlertSeverity.EMERGENCY:
            calls("runbook", alert)

    monitor = ResourceMonitor()
    monitor.register_alert_handler(handle)
    monitor._check_thresholds(ResourceUsage(memory_percent=85.0))
    monitor._check_thresholds(ResourceUsage(memory_percent=96.0))
    assert [call[0] for call in calls] == ["log", "page", "log", "runbook"]


async def test_startup_and_shutdown_of_an_application():
    async def startup():
        await get_resource_manager().start()

    async def shutdown():
        await get_resource_manager().stop()

    await startup()
    assert get_resource_manager()._monitor._monitoring_task is not None
    await shutdown()
    assert get_resource_manager()._monitor._monitoring_task is None


async def test_processing_alerts():
    manager, handled = ResourceManager(), []
    manager.track_agent_usage("a", ResourceUsage(cpu_percent=76.0, memory_percent=90.0))
    for alert in [alert for alert in manager.get_alerts() if alert.agent_id == "a"]:
        if alert.severity == AlertSeverity.CRITICAL:
            handled.append(alert.resource_type)
        elif alert.severity == AlertSeverity.WARNING:
            manager._monitor.acknowledge_alert(alert.alert_id)
    assert handled == [ResourceType.MEMORY]
    assert [a.severity for a in manager.get_alerts() if a.agent_id == "a"] == [AlertSeverity.CRITICAL]


async def test_exporting_metrics_until_cancelled(calls):
    manager = ResourceManager()

    async def collect():
        while True:
            metrics = manager.get_system_metrics()
            calls("system.memory_percent", metrics["current_usage"]["memory_percent"])
            calls("system.active_agents", metrics["active_agents"])
            calls("system.active_alerts", metrics.get("active_alerts", 0))
            await asyncio.sleep(0)

    task = asyncio.create_task(collect())
    while len(calls) < 9:
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert {name for name, _ in calls} == {"system.memory_percent", "system.active_agents", "system.active_alerts"}
