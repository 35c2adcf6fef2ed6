# SPDX-License-Identifier: Apache-2.0
"""ResourceManager: monitor, scaler, predictor and allocation of one process."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Iterable
from typing import Any

from agentcore import _core, _history
from agentcore._activity import Activity
from agentcore._handlers import AlertHandler
from agentcore._history import HOUR, Agents, HistoryQuantile, HistorySeries, HistoryTop, Labels, Moment, UsageTotals
from agentcore._monitor import ResourceMonitor
from agentcore._scaler import DynamicScaler
from agentcore._usage import ResourceUsage
from agentcore._values import AlertSeverity, DiscoveredAgent, ResourceAlert, ResourceLimits


class ResourceManager(_core.Manager):
    """Meters the machine and the agents of this process, and answers for them.

    limits: thresholds of alerts, default ResourceLimits(). enable_monitoring: without it there are
    no alerts and no history, and start() does nothing. enable_dynamic_scaling: without it _scaler
    is None. check_interval_seconds: between samples of the machine, default 5. history_minutes:
    default a day; history_budget_mb: memory for it, default 64 MiB. max_agents: default 100,000.
    report_timeout_seconds: an agent that is only tracked and was not for so long has exited, until
    it is tracked again; 0, the default: agents stay until cleanup_agent_resources.

    A process that forks gets fresh managers in the child: same limits and handlers, no agents, no
    history, not started. Safe to use from several threads. ValueError for a value out of range.
    """

    def __init__(
        self,
        limits: ResourceLimits | None = None,
        enable_monitoring: bool = True,
        enable_dynamic_scaling: bool = True,
        *,
        check_interval_seconds: float = 5,
        history_minutes: int = 1440,
        history_budget_mb: int = 64,
        max_agents: int = 100_000,
        report_timeout_seconds: int = 0,
    ) -> None:
        self._limits_object = limits if limits is not None else ResourceLimits()
        super().__init__(
            self._limits_object,
            enable_monitoring,
            enable_dynamic_scaling,
            check_interval_seconds,
            history_minutes,
            history_budget_mb,
            max_agents,
            report_timeout_seconds,
        )
        self._limits_object._bind(self)
        self._activity = Activity()
        self._monitor: ResourceMonitor | None = None
        self._scaler: DynamicScaler | None = None
        self._unused_handlers: list[AlertHandler] = []
        if enable_monitoring:
            self._monitor = ResourceMonitor(self._limits_object, check_interval_seconds, _manager=self)
        if enable_dynamic_scaling:
            self._scaler = DynamicScaler(_manager=self)

    @classmethod
    def connect(cls, socket_path: str | os.PathLike[str] | None = None, *, timeout: float = 10.0) -> ResourceManager:
        """The same over a running agentcored: socket_path is its unix socket, by default
        $AGENTCORE_SOCKET, else the first that answers of the system's and this user's. timeout:
        seconds per call; questions to the history have 45 at least.

        AgentCoreConnectionError, also later from any call, where the daemon cannot be reached; the
        next call tries again.
        """
        from agentcore._remote import RemoteResourceManager

        return RemoteResourceManager(socket_path, timeout=timeout)

    # ---- Life

    async def start(self) -> None:
        """Starts sampling in a thread of the library. Idempotent; nothing with monitoring off. It
        stops with stop(), or with the event loop that started it."""
        if self._monitor is None:
            return
        self._monitor._handlers.started_in = asyncio.get_running_loop()
        self._start()
        self._activity.start(self._run, "agentcore-manager")

    async def stop(self) -> None:
        """Stops sampling and waits until it has stopped. Idempotent; from any loop and thread."""
        if self._monitor is None:
            return
        await self._activity.stop()
        await asyncio.to_thread(self._stop)

    async def _run(self) -> None:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            await asyncio.to_thread(self._stop)

    async def __aenter__(self) -> ResourceManager:
        await self.start()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.stop()

    # ---- Alerts and history

    def register_alert_handler(self, handler: AlertHandler) -> None:
        """Calls @handler with a ResourceAlert once per transition, see ResourceMonitor. With
        monitoring off there are no alerts, and it is never called."""
        if self._monitor is None:
            self._unused_handlers.append(handler)
        else:
            self._monitor.register_alert_handler(handler)

    def get_alerts(self, severity: AlertSeverity | str | None = None) -> list[ResourceAlert]:
        """Firing alerts that nobody acknowledged, newest first; [] with monitoring off."""
        return [] if self._monitor is None else self._monitor.get_active_alerts(severity)

    def acknowledge_alert(self, alert_id: str) -> bool:
        """Takes an alert off the active list until its severity rises. False where no such alert
        lives or it was acknowledged before."""
        return False if self._monitor is None else self._monitor.acknowledge_alert(alert_id)

    def get_usage_history(self, resource_type: str = "system", duration_minutes: float = 60) -> list[ResourceUsage]:
        """Usage of the machine ("system") or an agent (its id) over the last minutes, oldest
        first; [] for an unknown one and with monitoring off."""
        return [] if self._monitor is None else self._monitor.get_usage_history(resource_type, duration_minutes)

    def history_range(
        self,
        agents: Agents = None,
        *,
        metrics: str | Iterable[str] | None = None,
        since: Moment = HOUR,
        until: Moment | None = None,
        step_seconds: float = 0.0,
        aggregate: str = "mean",
        philosophy: str | None = None,
        labels: Labels = None,
        limit: int = 10_000,
    ) -> list[HistorySeries]:
        """Usage over time, one series per subject, oldest first.

        agents: an id or several, "system" = the machine; with none of agents, philosophy and
        labels the machine. metrics: of ResourceType, all by default. since, until: a datetime, a
        timedelta back from now, or seconds since 1970; the last hour by default. step_seconds: the
        length of a point, 0 = the finest there is. aggregate: "mean", "min" or "max" of a point's
        samples. labels: {"team": "web"}, None as value = whatever it is. limit: points per series.

        Embedded it answers from memory, where agents have no labels: back to when the manager was
        made, at most history_minutes, and less where history_budget_mb is full. Over the daemon it
        answers from the history on disk. ValueError names what is wrong.
        """
        words, fields = _history.wanted_fields(metrics)
        return self._recorded.range(
            _history.question(since, until, agents, philosophy, labels), words, fields,
            _history.seconds("step_seconds", step_seconds),
            _history.word("aggregate", aggregate, _history.RANGE_AGGREGATES),
            _history.number("limit", limit, 1, 100_000))

    def history_top(
        self,
        metric: str = "cpu",
        *,
        aggregate: str = "mean",
        n: int = 10,
        since: Moment = HOUR,
        until: Moment | None = None,
        agents: Agents = None,
        philosophy: str | None = None,
        labels: Labels = None,
    ) -> HistoryTop:
        """The n (1 to 1000) agents with the largest "mean", "max" or "sum" of a metric, of all
        agents or of those that are named. Times and filters as in history_range."""
        return self._recorded.top(
            _history.question(since, until, agents, philosophy, labels), _history.metric_of(metric),
            _history.word("aggregate", aggregate, _history.TOP_AGGREGATES), _history.number("n", n, 1, 1000))

    def history_quantile(
        self,
        q: float = 0.95,
        metric: str = "cpu",
        *,
        since: Moment = HOUR,
        until: Moment | None = None,
        agents: Agents = None,
        philosophy: str | None = None,
        labels: Labels = None,
    ) -> HistoryQuantile:
        """The quantile q (0 to 1) of a metric over all samples of all subjects together; of the
        machine where nobody is named. Times and filters as in history_range."""
        return self._recorded.quantile(_history.question(since, until, agents, philosophy, labels),
                                       _history.quantile_of(q), _history.metric_of(metric))

    def history_usage(
        self,
        by: str = "agent",
        *,
        since: Moment = HOUR,
        until: Moment | None = None,
        agents: Agents = None,
        philosophy: str | None = None,
        labels: Labels = None,
        limit: int = 1000,
    ) -> UsageTotals:
        """What agents used: CPU seconds, GiB-hours of memory, bytes of disk and network; by
        "agent", "philosophy" or "label:KEY", for charge-back. Over the daemon from exact totals,
        embedded integrated from the samples. Times and filters as in history_range."""
        return self._recorded.usage(_history.question(since, until, agents, philosophy, labels),
                                    _history.group_of(by), _history.number("limit", limit, 1, 10_000))

    @property
    def _recorded(self) -> _history.History:
        return _history.MemoryHistory(self._monitor)

    def attach(self, config: Any, pid: int) -> None:
        """Meters the process tree of @pid as @config's agent. ProcessLookupError, FileExistsError
        (the agent has a tree already), ValueError."""
        self._attach(config, pid)

    def discover(self, presets: str | Iterable[str] | None = None) -> list[DiscoveredAgent]:
        """Which processes agentcored's rules of discovery would make agents now; changes nothing.

        presets: of "docker", "podman", "kubernetes", "systemd-slice", "coding-agents" and
        "environment"; by default the rules of its configuration, all presets where it has none. An
        ordinary user sees own processes. Over the daemon only: see connect().
        """
        raise NotImplementedError("discover: agentcored looks for agents; use ResourceManager.connect()")

    # ---- What existing code reaches into

    @property
    def _limits(self) -> ResourceLimits:
        return self._limits_object

    @_limits.setter
    def _limits(self, limits: ResourceLimits) -> None:
        self._limits_object._give_way(limits, self)

    @property
    def limits(self) -> ResourceLimits:
        """The limits in force; a change of a field takes effect at once."""
        return self._limits


_global_lock = threading.Lock()
_global_manager: ResourceManager | None = None


def get_resource_manager() -> ResourceManager:
    """The manager of this process, made with the defaults at the first call."""
    global _global_manager
    with _global_lock:
        if _global_manager is None:
            _global_manager = ResourceManager()
        return _global_manager


def _unlock_in_child() -> None:
    global _global_lock
    _global_lock = threading.Lock()


os.register_at_fork(after_in_child=_unlock_in_child)
