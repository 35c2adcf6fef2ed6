# SPDX-License-Identifier: Apache-2.0
"""The clockwork: providers, handlers, loops, threads. Nothing sleeps: tests wait for what they
expect, under a timeout that only a bug reaches."""

import asyncio
import threading
import time

import pytest

from agentcore import AlertSeverity, ResourceManager, ResourceMonitor, ResourceType, ResourceUsage

BUG_SECONDS = 30


async def until(condition):
    deadline = time.monotonic() + BUG_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "what the test waits for did not happen"
        await asyncio.sleep(0.002)


def fast(**options):
    return ResourceMonitor(check_interval_seconds=0.01, **options)


def failing_alerts(monitor):
    return [alert for alert in monitor.get_active_alerts() if alert.rule == "provider"]


class Provider:
    """Counts its calls and answers with a usage, or does what it is told."""

    def __init__(self, *actions):
        self.calls = 0
        self.threads = set()
        self.actions = list(actions)

    def next(self):
        self.calls += 1
        self.threads.add(threading.current_thread())
        if self.actions:
            action = self.actions.pop(0)
            if isinstance(action, BaseException):
                raise action
            return action
        return ResourceUsage(cpu_percent=90.0)

    def plain(self):
        return self.next()

    async def coroutine(self):
        return self.next()

    def hidden(self):
        """A plain function that returns an awaitable."""
        return self.coroutine()


KINDS = ["plain", "coroutine", "hidden"]


# ---- Start and stop


@pytest.mark.parametrize("kind", KINDS)
async def test_start_checks_and_stop_ends_it(kind):
    provider, monitor = Provider(), fast()
    assert monitor._monitoring_task is None and not monitor.running
    await monitor.start(getattr(provider, kind))
    assert isinstance(monitor._monitoring_task, asyncio.Task) and monitor.running
    await until(lambda: provider.calls >= 3)
    await until(lambda: len(monitor.get_usage_history("system")) >= 2)
    await monitor.stop()
    assert monitor._monitoring_task is None and not monitor.running
    calls = provider.calls
    await asyncio.sleep(0.05)
    assert provider.calls == calls
    assert [alert.severity for alert in monitor.get_active_alerts()] == [AlertSeverity.CRITICAL]
    await monitor.stop()


async def test_a_second_start_is_ignored_and_a_restart_works(caplog):
    first, second, monitor = Provider(), Provider(), fast()
    await monitor.start(first.coroutine)
    await monitor.start(second.coroutine)
    assert "already" in caplog.text
    await until(lambda: first.calls >= 2)
    assert second.calls == 0
    await monitor.stop()
    await monitor.start(second.coroutine)
    await until(lambda: second.calls >= 2)
    await monitor.stop()


async def test_the_task_may_be_cancelled():
    provider, monitor = Provider(), fast()
    await monitor.start(provider.plain)
    task = monitor._monitoring_task
    task.cancel()
    await asyncio.wait({task})
    assert task.cancelled() and monitor._monitoring_task is None
    await monitor.start(provider.plain)
    await until(lambda: provider.calls >= 2)
    await monitor.stop()


async def test_stop_in_the_middle_of_a_call():
    started = asyncio.Event()

    async def slow():
        started.set()
        await asyncio.sleep(BUG_SECONDS)

    monitor = fast()
    await monitor.start(slow)
    await started.wait()
    await asyncio.wait_for(monitor.stop(), BUG_SECONDS / 2)


async def test_a_plain_provider_never_blocks_the_loop():
    release, entered = threading.Event(), threading.Event()

    def blocks():
        entered.set()
        release.wait(BUG_SECONDS)
        return ResourceUsage(cpu_percent=1)

    monitor = fast(provider_timeout_seconds=BUG_SECONDS)
    await monitor.start(blocks)
    await until(entered.is_set)  # the loop turns while the provider hangs
    release.set()
    await until(lambda: monitor.get_usage_history("system"))
    await monitor.stop()


@pytest.mark.parametrize("wrong", [5, "x", None])
async def test_what_is_no_provider_is_refused(wrong):
    with pytest.raises(TypeError):
        await fast().start(wrong)


# ---- Providers that fail


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("action, text", [
    (ValueError("no sensor"), "ValueError: no sensor"),
    (SystemError(), "SystemError"),
    (None, "NoneType instead of ResourceUsage"),
    ({"cpu_percent": 5}, "dict instead of ResourceUsage"),
    (ResourceUsage(cpu_percent=-5), "cpu_percent: -5"),
])
async def test_a_provider_that_fails_is_counted_alerted_on_and_retried(kind, action, text):
    provider, monitor = Provider(action, action), fast()
    seen = []
    monitor.register_alert_handler(lambda alert: seen.append(alert) if alert.rule == "provider" else None)
    await monitor.start(getattr(provider, kind))
    await until(lambda: monitor.get_usage_history("system"))
    await until(lambda: not failing_alerts(monitor))
    await monitor.stop()
    assert monitor.get_stats()["provider_failures"] == 2
    assert [alert.state for alert in seen] == ["firing", "resolved"]
    assert text in seen[0].message and seen[0].severity is AlertSeverity.WARNING


async def test_an_async_provider_that_hangs_is_abandoned_and_retried():
    calls = []

    async def provider():
        calls.append(asyncio.current_task())
        if len(calls) == 1:
            await asyncio.Event().wait()
        return ResourceUsage(cpu_percent=1)

    monitor = fast(provider_timeout_seconds=0.02)
    await monitor.start(provider)
    await until(lambda: monitor.get_usage_history("system"))
    assert calls[0].cancelled()
    await monitor.stop()
    assert monitor.get_stats()["provider_failures"] >= 1 and monitor.get_stats()["provider_hanging"] == 0


async def test_an_async_provider_that_ignores_cancellation_is_left_behind():
    release = asyncio.Event()
    calls = []

    async def provider():
        calls.append(1)
        while len(calls) == 1 and not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                pass
        return ResourceUsage(cpu_percent=1)

    monitor = fast(provider_timeout_seconds=0.02)
    await monitor.start(provider)
    await until(lambda: monitor.get_usage_history("system"))
    assert monitor.get_stats()["provider_hanging"] == 1
    release.set()
    await until(lambda: monitor.get_stats()["provider_hanging"] == 0)
    await monitor.stop()


async def test_hanging_threads_are_counted_and_capped():
    release = threading.Event()
    threads = set()

    def hangs():
        threads.add(threading.current_thread())
        release.wait(BUG_SECONDS)
        return ResourceUsage(cpu_percent=1)

    monitor = fast(provider_timeout_seconds=0.01)
    await monitor.start(hangs)
    await until(lambda: monitor.get_stats()["provider_failures"] >= 8)
    assert len(threads) == monitor.get_stats()["provider_hanging"] == 4
    assert "too many" in failing_alerts(monitor)[0].message
    release.set()
    await until(lambda: monitor.get_usage_history("system"))
    await monitor.stop()


# ---- Handlers


async def test_async_handlers_run_in_the_loop_where_they_were_registered():
    loop, seen = asyncio.get_running_loop(), []

    async def handler(alert):
        await asyncio.sleep(0)
        seen.append((asyncio.get_running_loop(), alert.severity))

    monitor = fast()
    monitor.register_alert_handler(handler)
    await monitor.start(Provider().plain)
    await until(lambda: seen)
    await monitor.stop()
    assert seen == [(loop, AlertSeverity.CRITICAL)]


async def test_async_handlers_of_no_loop_run_where_the_monitor_was_started():
    monitor, seen = fast(), []

    async def handler(alert):
        seen.append(asyncio.get_running_loop())

    thread = threading.Thread(target=monitor.register_alert_handler, args=(handler,))
    thread.start()
    thread.join()
    await monitor.start(Provider().plain)
    await until(lambda: seen)
    await monitor.stop()
    assert seen == [asyncio.get_running_loop()]


def test_async_handlers_without_any_loop_run_all_the_same(monitor):
    done = threading.Event()

    async def handler(alert):
        done.set()

    monitor.register_alert_handler(handler)
    monitor._trigger_alert(ResourceType.CPU, AlertSeverity.INFO, "x")
    assert done.wait(BUG_SECONDS)


async def test_async_handlers_that_raise_stop_nobody(caplog):
    seen = []

    async def broken(alert):
        raise RuntimeError("handler is broken")

    monitor = ResourceMonitor()
    monitor.register_alert_handler(broken)
    monitor.register_alert_handler(seen.append)
    monitor._check_thresholds(ResourceUsage(cpu_percent=90))
    monitor._check_thresholds(ResourceUsage(memory_percent=90))
    await until(lambda: caplog.text.count("handler is broken") >= 2)
    assert len(seen) == 2


async def test_a_handler_may_stop_its_monitor():
    monitor = fast()

    async def handler(alert):
        await monitor.stop()

    monitor.register_alert_handler(handler)
    await monitor.start(Provider().plain)
    await until(lambda: monitor._monitoring_task is None)


async def test_a_slow_handler_does_not_block_the_loop():
    release, entered = threading.Event(), threading.Event()

    def slow(alert):
        entered.set()
        release.wait(BUG_SECONDS)

    monitor = fast()
    monitor.register_alert_handler(slow)
    await monitor.start(Provider().coroutine)
    await until(entered.is_set)
    release.set()
    await monitor.stop()


async def test_stop_waits_for_a_handler_that_runs():
    entered, events = threading.Event(), []

    def slow(alert):
        entered.set()
        time.sleep(0.05)
        events.append("handler ended")

    monitor = fast()
    monitor.register_alert_handler(slow)
    await monitor.start(Provider().coroutine)
    await until(entered.is_set)
    await monitor.stop()
    events.append("stopped")
    assert events == ["handler ended", "stopped"]


# ---- The manager


async def test_a_manager_samples_alerts_and_stops():
    manager = ResourceManager(check_interval_seconds=0.01)
    assert manager._monitor._monitoring_task is None
    await manager.start()
    await manager.start()
    assert manager._monitor._monitoring_task is not None
    await until(lambda: len(manager.get_usage_history("system")) >= 3)
    await manager.stop()
    assert manager._monitor._monitoring_task is None
    samples = len(manager.get_usage_history("system"))
    await asyncio.sleep(0.05)
    assert len(manager.get_usage_history("system")) == samples
    await manager.stop()
    await manager.start()
    await until(lambda: len(manager.get_usage_history("system")) > samples)
    await manager._monitor.stop()
    assert manager._monitor._monitoring_task is None


async def test_a_manager_is_a_context():
    async with ResourceManager(check_interval_seconds=0.01) as manager:
        assert manager._monitor.running
    assert not manager._monitor.running


async def test_without_monitoring_start_does_nothing():
    manager = ResourceManager(enable_monitoring=False)
    await manager.start()
    await manager.stop()


async def test_a_managers_handlers_hear_its_sampler():
    seen = []
    manager = ResourceManager(check_interval_seconds=0.01)
    manager.limits.alert_threshold_percent = 1
    manager.limits.clear_margin_percent = 0

    async def handler(alert):
        seen.append(alert.agent_id)

    manager.register_alert_handler(handler)
    await manager.start()
    await until(lambda: None in seen)  # the machine's memory is above 1 %
    await manager.stop()


# ---- Loops and threads


def test_one_monitor_in_one_loop_after_the_other():
    provider, monitor = Provider(), fast()

    async def main():
        before = provider.calls
        await monitor.start(provider.coroutine)
        await until(lambda: provider.calls >= before + 2)

    for _ in range(3):
        asyncio.run(main())  # never stopped: it ends with its loop
        assert monitor._monitoring_task is None


def test_one_manager_in_one_loop_after_the_other():
    manager = ResourceManager(check_interval_seconds=0.01)

    async def main():
        await manager.start()
        assert manager._monitor.running

    for _ in range(3):
        asyncio.run(main())
        assert not manager._monitor.running


def test_stop_from_another_loop():
    provider, monitor = Provider(), fast()
    started, stopped = threading.Event(), threading.Event()

    async def runs():
        await monitor.start(provider.coroutine)
        started.set()
        await until(stopped.is_set)

    async def stops():
        await monitor.stop()

    thread = threading.Thread(target=asyncio.run, args=(runs(),))
    thread.start()
    assert started.wait(BUG_SECONDS)
    asyncio.run(stops())
    assert monitor._monitoring_task is None
    stopped.set()
    thread.join()


def test_many_threads_on_one_manager():
    manager = ResourceManager(check_interval_seconds=0.01)
    errors, seen = [], []
    manager.register_alert_handler(seen.append)

    def work(number):
        try:
            for i in range(300):
                agent = f"agent-{number}-{i % 5}"
                manager.track_agent_usage(agent, ResourceUsage(cpu_percent=i % 100, memory_mb=i))
                manager.get_agent_usage(agent)
                manager.get_system_metrics()
                for alert in manager.get_alerts()[:2]:
                    manager.acknowledge_alert(alert.alert_id)
                manager.get_usage_history(agent, 1)
                if i % 50 == 49:
                    manager.cleanup_agent_resources(agent)
        except BaseException as error:
            errors.append(error)

    async def main():
        await manager.start()
        threads = [threading.Thread(target=work, args=(n,)) for n in range(6)]
        for thread in threads:
            thread.start()
        await until(lambda: not any(thread.is_alive() for thread in threads))
        await manager.stop()

    asyncio.run(main())
    assert errors == [] and seen


def test_many_loops_at_once():
    """Four loops that each run a monitor of their own, and start and stop those of the others."""
    monitors = [fast() for _ in range(4)]
    errors, providers = [], [Provider() for _ in monitors]

    async def main(mine):
        for i in range(20):
            monitor = monitors[(mine + i) % len(monitors)]
            await monitor.start(providers[mine].coroutine)
            await asyncio.sleep(0)
            await monitor.stop()

    def run(mine):
        try:
            asyncio.run(main(mine))
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(n,)) for n in range(len(monitors))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(BUG_SECONDS)
    assert errors == [] and not any(thread.is_alive() for thread in threads)
    assert [monitor._monitoring_task for monitor in monitors] == [None] * 4
