# SPDX-License-Identifier: Apache-2.0
"""ResourceManager over a running agentcored."""

from __future__ import annotations

import asyncio
import math
import os
import re
import time
import weakref
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote, urlencode

from agentcore import _core, _history
from agentcore._activity import Activity
from agentcore._config import AgentPhilosophy
from agentcore._handlers import AlertHandler, Handlers, logger
from agentcore._history import (
    HistoryPoint,
    HistoryQuantile,
    HistorySeries,
    HistoryTop,
    UsageTotal,
    UsageTotals,
)
from agentcore._http import AgentCoreConnectionError, AgentCoreHTTPError, DaemonClient, EventStream, find_socket
from agentcore._manager import ResourceManager
from agentcore._monitor import ResourceMonitor
from agentcore._scaler import DynamicScaler
from agentcore._usage import ResourceUsage
from agentcore._values import AlertSeverity, DiscoveredAgent, Done, ResourceAlert, ResourceLimits, ResourceType

__all__ = ["AgentCoreConnectionError", "AgentCoreHTTPError", "RemoteResourceManager"]

_AGENT_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")
_USAGE_FIELDS = ("cpu_percent", "cpu_cores", "memory_mb", "memory_percent", "disk_io_mbps", "network_io_mbps",
                 "file_descriptors")
_LIMIT_FIELDS = ("max_cpu_cores", "max_memory_mb", "max_execution_time_seconds", "max_file_descriptors")
# Points of history per call; more minutes take more calls.
_HISTORY_LIMIT = 10_000
_NO_DISK = "no history on disk"
# A query may run for 30 s, and wait for others before.
_HISTORY_TIMEOUT_SECONDS = 45.0


def _time(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


def _agent_path(agent_id: str, *rest: str) -> str:
    if not isinstance(agent_id, str):
        raise TypeError(f"agent_id: a str is needed, not {agent_id!r}")
    if not _AGENT_ID.fullmatch(agent_id):
        raise ValueError(f"agent_id: {agent_id!r} is not 1 to 128 of A-Z a-z 0-9 _ -")
    return "/".join(["/v1/agents", agent_id, *rest])


def _usage(values: dict[str, Any]) -> ResourceUsage:
    return ResourceUsage(**{name: values[name] for name in _USAGE_FIELDS}, timestamp=_time(values["timestamp"]))


def _info(values: dict[str, Any]) -> dict[str, Any]:
    return {name: values[name] for name in _history.HistoryInfo.__dataclass_fields__}


def _point(values: dict[str, Any]) -> HistoryPoint:
    moment = datetime.fromisoformat(values["time"])
    return HistoryPoint(moment, values["step_seconds"], values["samples"],
                        _usage({**values["usage"], "timestamp": values["time"]}))


def _ask_history(client: DaemonClient, path: str, query: Any,
                 expected: tuple[int, ...] = (200,)) -> tuple[int, dict[str, Any]]:
    """Status and answer; AgentCoreHTTPError for an answer that is not whole."""
    status, answer = client.call("GET", f"{path}?{urlencode(query)}", expected=expected,
                                 least_timeout=_HISTORY_TIMEOUT_SECONDS)
    if status == 200 and answer.get("error"):
        raise AgentCoreHTTPError(status, f"the answer is not whole: {answer['error']}")
    return status, answer


def _alert(values: dict[str, Any]) -> ResourceAlert:
    return ResourceAlert(
        alert_id=values["id"],
        resource_type=ResourceType(values["resource"]),
        severity=AlertSeverity(values["severity"]),
        message=values["message"],
        agent_id=values["agent_id"],
        threshold=values["threshold"],
        current_value=values["current_value"],
        timestamp=_time(values["started"]),  # type: ignore[arg-type]
        acknowledged=values["acknowledged"],
        rule=values["rule"],
        state=values["state"],
        updated=_time(values["updated"]),
        ended=_time(values["ended"]),
    )


def _agent_body(config: Any) -> dict[str, Any]:
    body: dict[str, Any] = {"philosophy": str(AgentPhilosophy(config.philosophy).value)}
    if getattr(config, "agent_template", None) is not None:
        body["template"] = config.agent_template
    limits = getattr(config, "resource_limits", None)
    if limits is not None:
        given = {name: getattr(limits, name, None) for name in _LIMIT_FIELDS}
        body["limits"] = {name: value for name, value in given.items() if value is not None}
    return body


def _unavailable(what: str) -> NotImplementedError:
    return NotImplementedError(f"{what}: agentcored decides that by itself; use an embedded ResourceManager() for it")


class _RemoteMonitor(ResourceMonitor):
    """The daemon's alerts and history."""

    def __init__(self, manager: RemoteResourceManager) -> None:  # no handle of the library behind it
        self._client = manager._client
        self._handlers = Handlers()
        self._activity = Activity()
        self._owner: Any = weakref.proxy(manager)
        self._hanging = set()
        self._stream = EventStream(self._client, "/v1/events?kind=alert", self._deliver_to(self._handlers))

    @staticmethod
    def _deliver_to(handlers: Handlers) -> Any:
        def deliver(event: dict[str, Any]) -> None:
            if event.get("kind") == "lost":
                logger.warning("events: %s; handlers may lack transitions of alerts", event.get("text"))
            elif event.get("alert"):
                handlers(_alert(event["alert"]))

        return deliver

    async def start(self, usage_provider: Any = None) -> None:
        if usage_provider is not None:
            raise _unavailable("start(usage_provider)")
        await self._owner.start()

    def register_alert_handler(self, handler: AlertHandler) -> None:
        self._handlers.append(handler)
        self._stream.start()

    @property
    def _alert_handlers(self) -> Handlers:
        self._stream.start()
        return self._handlers

    @_alert_handlers.setter
    def _alert_handlers(self, handlers: list[AlertHandler]) -> None:
        self._handlers[:] = list(handlers)
        self._stream.start()

    def get_active_alerts(self, severity: AlertSeverity | str | None = None) -> list[ResourceAlert]:
        query = "" if severity is None else f"?severity={AlertSeverity(severity).value}"
        return [_alert(values) for values in self._client.call("GET", "/v1/alerts" + query)[1]["alerts"]]

    get_alerts = get_active_alerts

    def acknowledge_alert(self, alert_id: str, /) -> bool:
        if not alert_id:
            return False
        path = f"/v1/alerts/{quote(alert_id, safe='')}/acknowledge"
        return self._client.call("POST", path, expected=(200, 400, 404, 409))[0] == 200

    def get_usage_history(self, resource_type: str = "system", duration_minutes: float = 60) -> list[ResourceUsage]:
        if not 0 < duration_minutes < math.inf:
            raise ValueError(f"duration_minutes: {duration_minutes!r} is not above 0")
        path = "/v1/system/history" if resource_type in ("system", None) else _agent_path(resource_type, "history")
        now = time.time()
        since, until = max(now - duration_minutes * 60, 0.0), now + 1
        # The daemon's memory has every report, its disk every tick: the disk where memory has less,
        # or more than one answer tells without taking means.
        usages = self._in_memory(path, since, until)
        if usages is not None:
            return usages
        usages, since = self._on_disk(resource_type or "system", since)
        newer = self._in_memory(path, since, until)
        return usages + (self._in_parts(path, since, until) if newer is None else newer)

    def _in_memory(self, path: str, since: float, until: float) -> list[ResourceUsage] | None:
        """The samples; None where the daemon would rather tell means."""
        query = {"since": f"{since:.3f}", "until": f"{until:.3f}", "limit": _HISTORY_LIMIT}
        status, answer = _ask_history(self._client, path, query, (200, 404))
        if status == 404:
            return []
        points = answer["points"]
        if answer["step_seconds"] > 0 or len(points) >= _HISTORY_LIMIT:
            return None
        return [_usage({**point["mean"], "timestamp": point["time"]}) for point in points]

    def _in_parts(self, path: str, since: float, until: float) -> list[ResourceUsage]:
        """The samples that are in memory only, by spans short enough."""
        middle = (since + until) / 2
        usages: list[ResourceUsage] = []
        for begin, end in ((since, middle), (middle, until)):
            part = self._in_memory(path, begin, end)
            if part is None:
                part = self._in_parts(path, begin, end) if end - begin > 1 else []
            usages += [usage for usage in part if not usages or usage.timestamp > usages[-1].timestamp]
        return usages

    def _on_disk(self, subject: str, since: float) -> tuple[list[ResourceUsage], float]:
        """What the disk has, as finely as it has it, and from when on it has nothing."""
        usages: list[ResourceUsage] = []
        while True:
            query = {"agents": subject, "since": f"{since:.3f}", "limit": _HISTORY_LIMIT}
            status, answer = _ask_history(self._client, "/v1/history/range", query, (200, 404, 503))
            if status == 503 and _NO_DISK not in answer["detail"]:
                raise AgentCoreHTTPError(status, answer["detail"])
            series = answer["series"][0] if status == 200 else {"points": [], "limited": False}
            points = [_point(point) for point in series["points"]]
            usages += [point.usage for point in points]
            if points:
                since = (points[-1].time + timedelta(seconds=max(points[-1].step_seconds, 0.001))).timestamp()
            if not series["limited"] or not points:
                return usages, since

    def _record_usage(self, key: str, usage: ResourceUsage) -> None:
        if key == "system":
            raise _unavailable("_record_usage('system', ...)")
        self._owner.track_agent_usage(key, usage)

    def _check_thresholds(self, usage: ResourceUsage, agent_id: str | None = None) -> Done:
        raise _unavailable("_check_thresholds")

    def _trigger_alert(self, *args: Any, **kwargs: Any) -> Done:
        raise _unavailable("_trigger_alert")

    def get_stats(self) -> dict[str, int]:
        raise _unavailable("get_stats")


class _RemoteScaler(DynamicScaler):
    """The daemon's pools: their scale and cooldown; thresholds are this object's."""

    def __init__(self, client: DaemonClient) -> None:
        super().__init__()
        self._client = client

    def _pool(self, philosophy: str) -> dict[str, Any]:
        word = AgentPhilosophy(philosophy).value
        pool: dict[str, Any] = self._client.call("GET", f"/v1/pools/{word}")[1]
        return pool

    def _holds(self, philosophy: str) -> bool:
        """Takes the daemon's scale over; whether its cooldown runs."""
        pool = self._pool(philosophy)
        _core.Scaler._set_state(self, pool["philosophy"], max(pool["scale"], 1), None)
        return bool(pool["cooldown_seconds"] > 0)

    def should_scale_up(self, philosophy: str, *args: Any, **kwargs: Any) -> bool:
        return not self._holds(philosophy) and super().should_scale_up(philosophy, *args, **kwargs)

    def should_scale_down(self, philosophy: str, *args: Any, **kwargs: Any) -> bool:
        return not self._holds(philosophy) and super().should_scale_down(philosophy, *args, **kwargs)

    def record_scale_action(self, philosophy: str, new_scale: int) -> None:
        if isinstance(new_scale, bool) or not isinstance(new_scale, int) or not 1 <= new_scale < 2**32:
            raise ValueError(f"new_scale: {new_scale!r} is outside 1 to 4294967295")
        word = AgentPhilosophy(philosophy).value
        self._client.call("PUT", f"/v1/pools/{word}", {"scale": new_scale})

    def get_current_scale(self, philosophy: str, /) -> int:
        return int(self._pool(philosophy)["scale"])

    def cooling_down(self, philosophy: str, /) -> bool:
        return bool(self._pool(philosophy)["cooldown_seconds"] > 0)

    def _get_state(self, philosophy: str, /) -> tuple[int, float | None]:
        return self.get_current_scale(philosophy), None

    def _set_state(self, philosophy: str, scale: int, age: float | None, /) -> None:
        if age is not None:
            raise _unavailable("_last_scale_action")
        if scale != self.get_current_scale(philosophy):
            self.record_scale_action(philosophy, scale)


class _RemoteHistory:
    """The daemon's history on disk."""

    def __init__(self, client: DaemonClient) -> None:
        self._client = client

    def _ask(self, path: str, asked: _history.Question, **more: Any) -> dict[str, Any]:
        query: list[tuple[str, Any]] = [("since", f"{asked.begin_ns / 1e9:.3f}"),
                                        ("until", f"{asked.end_ns / 1e9:.3f}")]
        query += [("agents", ",".join(asked.ids))] if asked.ids else []
        query += [("philosophy", asked.philosophy)] if asked.philosophy else []
        query += [("label", key if value is None else f"{key}={value}") for key, value in asked.labels.items()]
        query += list(more.items())
        return _ask_history(self._client, path, query)[1]

    def range(self, asked: _history.Question, metrics: tuple[str, ...], fields: tuple[str, ...], step_seconds: float,
              aggregate: str, limit: int) -> list[HistorySeries]:
        chosen = {"metrics": ",".join(metrics)} if metrics else {}
        answer = self._ask("/v1/history/range", asked, aggregate=aggregate, limit=limit, step=f"{step_seconds:g}",
                           **chosen)
        return [HistorySeries(agent_id=series["agent_id"], points=[_point(point) for point in series["points"]],
                              **_info(series)) for series in answer["series"]]

    def top(self, asked: _history.Question, metric: str, aggregate: str, n: int) -> HistoryTop:
        answer = self._ask("/v1/history/top", asked, metric=metric, aggregate=aggregate, n=n)
        return HistoryTop(metric=answer["metric"], aggregate=answer["aggregate"], unit=answer["unit"],
                          top=[(row["agent_id"], row["value"]) for row in answer["top"]], **_info(answer))

    def quantile(self, asked: _history.Question, q: float, metric: str) -> HistoryQuantile:
        answer = self._ask("/v1/history/quantile", asked, metric=metric, q=q)
        names = ("metric", "q", "unit", "value", "exact", "subjects")
        return HistoryQuantile(**{name: answer[name] for name in names}, **_info(answer))

    def usage(self, asked: _history.Question, by: str, limit: int) -> UsageTotals:
        answer = self._ask("/v1/usage", asked, by=by, limit=limit)
        return UsageTotals(by=answer["by"], rows=[UsageTotal(**row) for row in answer["rows"]],
                           total=UsageTotal(name=None, **answer["total"]), **_info(answer))


class RemoteResourceManager(ResourceManager):
    """What ResourceManager.connect returns: the same calls, answered by agentcored.

    A call takes a round trip over the unix socket; from a coroutine that must not wait even for
    that, use asyncio.to_thread. Handlers hear the daemon's alerts through a thread that reconnects.
    Limits are the daemon's configuration and cannot be changed from here.
    """

    def __init__(self, socket_path: str | os.PathLike[str] | None = None, *, timeout: float = 10.0) -> None:
        # No handle of the library behind it.
        path, places = find_socket(socket_path)
        self._client = DaemonClient(path, timeout, places)
        self._activity = Activity()
        self._remote_monitor = _RemoteMonitor(self)
        self._monitor = self._remote_monitor
        self._scaler = _RemoteScaler(self._client)
        self._unused_handlers = []
        weakref.finalize(self, _close, self._remote_monitor._stream, self._client)
        self._client.call("GET", "/v1/system")

    @property
    def socket_path(self) -> str:
        """Where the daemon listens."""
        return self._client.path

    async def start(self) -> None:
        """Checks that the daemon is there, and hears its alerts. Sampling is the daemon's own."""
        self._remote_monitor._handlers.started_in = asyncio.get_running_loop()
        await asyncio.to_thread(self._client.call, "GET", "/v1/system")
        if len(self._remote_monitor._handlers):
            await asyncio.to_thread(self._remote_monitor._stream.start)
        self._activity.start(self._run, "agentcore-manager")

    async def stop(self) -> None:
        """Stops hearing alerts; the daemon goes on."""
        await self._activity.stop()
        await asyncio.to_thread(self._remote_monitor._stream.stop)

    async def _run(self) -> None:
        await asyncio.get_running_loop().create_future()

    def close(self) -> None:
        """Ends the thread of events and closes connections. A later call opens one again."""
        _close(self._remote_monitor._stream, self._client)

    def register_alert_handler(self, handler: AlertHandler) -> None:
        self._remote_monitor.register_alert_handler(handler)

    # ---- Agents

    def track_agent_usage(self, agent_id: str, usage: ResourceUsage) -> None:
        path = _agent_path(agent_id, "usage")
        _core._check_usage(usage)
        self._client.call("PUT", path, {name: getattr(usage, name) for name in usage.known_fields})

    def get_agent_usage(self, agent_id: str, /) -> ResourceUsage | None:
        status, answer = self._client.call("GET", _agent_path(agent_id, "usage"), expected=(200, 404))
        return _usage(answer) if status == 200 else None

    def cleanup_agent_resources(self, agent_id: str, /) -> bool:
        return self._client.call("DELETE", _agent_path(agent_id), expected=(204, 404))[0] == 204

    def get_agents(self) -> list[str]:
        return sorted(agent["id"] for agent in self._client.call("GET", "/v1/agents")[1]["agents"])

    def attach(self, config: Any, pid: int) -> None:
        body = {**_agent_body(config), "pid": pid}
        if pid == os.getpid():
            body["self"] = True  # also from a container, where it is another number
        self._client.call("PUT", _agent_path(config.agent_id), body, expected=(201,))

    # ---- Allocation, figures, prediction

    def allocate_resources(self, config: Any, policy: str = "recommend") -> dict[str, Any]:
        _agent_path(config.agent_id)
        body = {"agent_id": config.agent_id, "policy": policy, **_agent_body(config)}
        status, answer = self._client.call("POST", "/v1/allocations", body, expected=(201, 202, 409))
        if "status" not in answer or "cpu_percent" not in answer:
            raise AgentCoreHTTPError(status, answer.get("detail", ""))
        names = ("cpu_percent", "memory_mb", "execution_time_seconds", "available_cpu_percent",
                 "available_memory_percent", "available_memory_mb", "id", "policy", "status", "confidence",
                 "queue_position", "explanation")
        return {name: answer[name] for name in names}

    def get_system_metrics(self) -> dict[str, Any]:
        answer = self._client.call("GET", "/v1/system")[1]
        usage = answer["current_usage"]
        return {
            "current_usage": {**{name: usage[name] for name in _USAGE_FIELDS}, "timestamp": _time(usage["timestamp"])},
            "limits": answer["limits"],
            "active_agents": answer["active_agents"],
            "active_alerts": answer["active_alerts"],
            "capacity_cores": answer["capacity"]["cpu_cores"],
            "capacity_memory_mb": answer["capacity"]["memory_mb"],
        }

    def _remote_prediction(self, config: Any) -> dict[str, Any]:
        body = _agent_body(config)
        query = "?" + urlencode({"template": body["template"]}) if "template" in body else ""
        answer = self._client.call("GET", f"/v1/predictions/{body['philosophy']}{query}")[1]
        names = ("cpu_percent", "memory_mb", "execution_time_seconds", "confidence", "basis", "runs")
        return {name: answer[name] for name in names}

    @property
    def _recorded(self) -> _history.History:
        return _RemoteHistory(self._client)

    def discover(self, presets: str | Iterable[str] | None = None) -> list[DiscoveredAgent]:
        names = [presets] if isinstance(presets, str) else list(presets or ())
        query = "?" + urlencode([("preset", name) for name in names]) if names else ""
        return [DiscoveredAgent(**found) for found in self._client.call("GET", "/v1/discovery" + query)[1]["agents"]]

    # ---- Limits

    @property
    def _limits(self) -> ResourceLimits:
        known = ResourceLimits.__dataclass_fields__
        limits = self._client.call("GET", "/v1/system")[1]["limits"]
        return ResourceLimits(**{name: value for name, value in limits.items() if name in known})

    @_limits.setter
    def _limits(self, limits: ResourceLimits) -> None:
        raise _unavailable("_limits")


def _close(stream: EventStream, client: DaemonClient) -> None:
    stream.stop()
    client.close()
