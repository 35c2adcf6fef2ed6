# SPDX-License-Identifier: Apache-2.0
"""ResourceMonitor: limits, alerts and history by the C library; the clockwork around a provider by
asyncio."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import Any

from agentcore import _core
from agentcore._activity import Activity, Worker
from agentcore._handlers import AlertHandler, Handlers, logger
from agentcore._usage import ResourceUsage
from agentcore._values import ResourceLimits

UsageProvider = Callable[[], ResourceUsage | Awaitable[ResourceUsage]]

# Calls of a provider that may hang at once; further ticks fail without another call.
HANGING_MAX = 4

# How long a stop waits for handlers that run at that moment.
STOP_GRACE_SECONDS = 1.0


class ResourceMonitor(_core.Monitor):
    """Compares usage with limits, raises alerts and keeps history.

    limits: default ResourceLimits(). check_interval_seconds: 0.01 to 86400, default 5.
    provider_timeout_seconds: a provider's call that takes longer counts as failed; default the
    check interval, at least 1. history_minutes: how long usage is kept, default a day;
    history_budget_mb: memory for it, default 64 MiB, the oldest goes first.

    Safe to use from several threads. Raises ValueError for a value out of range.
    """

    def __init__(
        self,
        limits: ResourceLimits | None = None,
        check_interval_seconds: float = 5,
        *,
        provider_timeout_seconds: float | None = None,
        history_minutes: int = 1440,
        history_budget_mb: int = 64,
        max_agents: int = 100_000,
        _manager: Any = None,
    ) -> None:
        self._limits_object = limits if limits is not None else ResourceLimits()
        if _manager is not None:
            super().__init__(owner=_manager)
        else:
            super().__init__(
                self._limits_object,
                history_minutes=history_minutes,
                history_budget_mb=history_budget_mb,
                max_agents=max_agents,
            )
            self._limits_object._bind(self)
        self._check_interval = _seconds("check_interval_seconds", check_interval_seconds)
        self._provider_timeout = max(self._check_interval, 1.0)
        if provider_timeout_seconds is not None:
            self._provider_timeout = _seconds("provider_timeout_seconds", provider_timeout_seconds)
        self._owner = _manager
        self._handlers = Handlers()
        self._activity = Activity()
        self._hanging: set[Any] = set()
        self._failures = 0

    # ---- Life

    async def start(self, usage_provider: UsageProvider | None = None) -> None:
        """Calls the provider every check interval, keeps its usage as the machine's and checks it.

        The provider is async or plain; a plain one runs in a thread of its own. One that raises,
        answers with something else or takes longer than provider_timeout_seconds is counted,
        alerted on and tried again at the next interval. A second start is a no-op. The monitor
        stops with its event loop at the latest.
        """
        if usage_provider is None:
            if self._owner is None:
                raise TypeError("start() is missing the argument 'usage_provider'")
            await self._owner.start()
            return
        if not callable(usage_provider):
            raise TypeError(f"usage_provider: a callable is needed, not {usage_provider!r}")
        provider: UsageProvider = usage_provider
        self._handlers.started_in = asyncio.get_running_loop()
        if not self._activity.start(lambda: self._run(provider), "agentcore-monitor"):
            logger.warning("the resource monitor runs already")

    async def stop(self) -> None:
        """Stops it and waits for it. Idempotent; works from any loop and thread."""
        if self._owner is not None and self._owner._activity.task is not None:
            await self._owner.stop()
        await self._activity.stop()

    @property
    def running(self) -> bool:
        """Whether it checks now."""
        return self._monitoring_task is not None

    async def _run(self, provider: UsageProvider) -> None:
        loop = asyncio.get_running_loop()
        workers = [Worker("agentcore-monitor")]
        try:
            due = loop.time()
            while True:
                await self._tick(provider, workers)
                # A tick that was missed is skipped, never made up for in a burst.
                due += self._check_interval
                behind = loop.time() - due
                if behind > 0:
                    due += -(-behind // self._check_interval) * self._check_interval
                await asyncio.sleep(max(due - loop.time(), 0))
        finally:
            workers[0].close()

    async def _tick(self, provider: UsageProvider, workers: list[Worker]) -> None:
        try:
            usage = await self._ask(provider, workers)
            await self._finish(workers[0].call(lambda: self._judge(usage)))
        except asyncio.CancelledError:
            raise
        except Exception as error:
            self._failures += 1
            reason = str(error) or type(error).__name__
            if not isinstance(error, _ProviderError):
                reason = f"{type(error).__name__}: {error}"
                logger.warning("the usage provider failed", exc_info=error)
            await self._finish(workers[0].call(lambda: self._provider_result(reason)))

    @staticmethod
    async def _finish(judged: asyncio.Future[None]) -> None:
        """Waits for it; a stop in the meantime lets handlers that run already come to an end."""
        try:
            await asyncio.shield(judged)
        except asyncio.CancelledError:
            done, _ = await asyncio.wait({judged}, timeout=STOP_GRACE_SECONDS)
            if done and not judged.cancelled():
                judged.exception()  # seen; the stop is what counts
            raise

    async def _ask(self, provider: UsageProvider, workers: list[Worker]) -> Any:
        deadline = asyncio.get_running_loop().time() + self._provider_timeout
        if len(self._hanging) >= HANGING_MAX:
            raise _ProviderError("too many of its calls hang")
        if _is_async(provider):
            result: Any = provider()
        else:
            call = workers[0].submit(provider)
            waited = asyncio.wrap_future(call)
            if not await self._wait(waited, deadline):
                # A thread cannot be cancelled: it stays behind with its call, and counts.
                self._hang(call)
                waited.cancel()
                workers[0].close()
                workers[0] = Worker("agentcore-monitor")
                raise self._late()
            result = waited.result()
        if not inspect.isawaitable(result):
            return result
        task = asyncio.ensure_future(result)
        try:
            if await self._wait(task, deadline):
                return task.result()
        except asyncio.CancelledError:
            task.cancel()
            raise
        # It may ignore its cancellation for ever.
        task.cancel()
        self._hang(task)
        raise self._late()

    @staticmethod
    async def _wait(future: asyncio.Future[Any], deadline: float) -> bool:
        timeout = max(deadline - asyncio.get_running_loop().time(), 0)
        await asyncio.wait({future}, timeout=timeout)
        return future.done()

    def _hang(self, call: Any) -> None:
        self._hanging.add(call)
        call.add_done_callback(self._came_back)

    def _came_back(self, call: Any) -> None:
        self._hanging.discard(call)
        if not call.cancelled():
            call.exception()  # its answer is late, and dropped

    def _late(self) -> _ProviderError:
        return _ProviderError(f"it did not answer within {self._provider_timeout:g} s")

    def _judge(self, usage: Any) -> None:
        if not isinstance(usage, ResourceUsage):
            raise _ProviderError(f"it answered with {type(usage).__name__} instead of ResourceUsage")
        _core._check_usage(usage)
        self._provider_result(None)
        self._record_usage("system", usage)
        self._check_thresholds(usage)

    # ---- Alerts

    def register_alert_handler(self, handler: AlertHandler) -> None:
        """Calls @handler with a ResourceAlert once per transition: fired, severity changed,
        acknowledged, resolved. A plain one runs where the transition happens (a thread of the
        library, or the caller of track_agent_usage); an async one runs in the loop where it was
        registered, or else where the monitor was started. What it raises is logged."""
        self._handlers.append(handler)
        self._set_on_alert(self._handlers)

    def unregister_alert_handler(self, handler: AlertHandler) -> None:
        """ValueError where it is not registered."""
        self._handlers.remove(handler)

    get_alerts = _core.Monitor.get_active_alerts

    def get_stats(self) -> dict[str, int]:
        """checks, provider_failures, provider_hanging, alerts_dropped, subjects, and events_lost:
        beyond 4,096 at once, of which handlers were not told."""
        return {**self._stats(), "provider_hanging": len(self._hanging)}

    # ---- What existing code reaches into

    @property
    def _limits(self) -> ResourceLimits:
        limits: ResourceLimits = self._owner._limits if self._owner is not None else self._limits_object
        return limits

    @_limits.setter
    def _limits(self, limits: ResourceLimits) -> None:
        if self._owner is not None:
            self._owner._limits = limits
            return
        self._limits_object._give_way(limits, self)

    @property
    def limits(self) -> ResourceLimits:
        """The limits in force; a change of a field takes effect at once."""
        return self._limits

    @property
    def _monitoring_task(self) -> asyncio.Task[None] | None:
        mine = self._activity.task
        if mine is not None or self._owner is None:
            return mine
        managers: Activity = self._owner._activity
        return managers.task

    @property
    def _alert_handlers(self) -> Handlers:
        self._set_on_alert(self._handlers)
        return self._handlers

    @_alert_handlers.setter
    def _alert_handlers(self, handlers: list[AlertHandler]) -> None:
        self._handlers[:] = list(handlers)
        self._set_on_alert(self._handlers)


class _ProviderError(Exception):
    pass


def _is_async(provider: UsageProvider) -> bool:
    return inspect.iscoroutinefunction(provider) or inspect.iscoroutinefunction(getattr(provider, "__call__", None))


def _seconds(name: str, value: float) -> float:
    if isinstance(value, (int, float)) and 0.01 <= value <= 86400:
        return float(value)
    raise ValueError(f"{name}: {value!r} is outside 0.01 to 86400")
