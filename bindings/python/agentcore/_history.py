# SPDX-License-Identifier: Apache-2.0
"""Questions to the history: points over time, the largest, quantiles, what was used. One set of
arguments and answers for the history in memory and for the daemon's."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Protocol

from agentcore import _core
from agentcore._config import AgentPhilosophy
from agentcore._usage import ResourceUsage
from agentcore._values import ResourceType, nanoseconds, when

AGENT_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")
HOUR = timedelta(hours=1)
TOP_AGGREGATES = ("mean", "max", "sum")
RANGE_AGGREGATES = ("mean", "min", "max")
UNITS = {"cpu": "cores", "memory": "MiB", "disk_io": "MiB/s", "network_io": "MiB/s", "file_descriptors": "count"}
FIELDS = {
    "cpu": ("cpu_percent", "cpu_cores"),
    "memory": ("memory_mb", "memory_percent"),
    "disk_io": ("disk_io_mbps",),
    "network_io": ("network_io_mbps",),
    "file_descriptors": ("file_descriptors",),
}

Moment = datetime | timedelta | float
Agents = str | Iterable[str] | None
Labels = Mapping[str, str | None] | None


@dataclass(frozen=True, kw_only=True)
class HistoryInfo:
    """What an answer is made of.

    resolution_seconds: of the coarsest data in it; 0 = single samples only. gaps, gap_seconds:
    spans of more than three usual steps without a sample. damaged: parts that could not be read
    and are missing. error_bound: relative error at most; 0 = exact. limited: there is more.
    """

    resolution_seconds: float = 0.0
    gaps: int = 0
    gap_seconds: float = 0.0
    damaged: int = 0
    error_bound: float = 0.0
    limited: bool = False


@dataclass(frozen=True)
class HistoryPoint:
    """A step of usage over time: where it begins, how long it is (0 = a single sample), how many
    samples it sums up, and their aggregate. What was not asked for or measured is None."""

    time: datetime
    step_seconds: float
    samples: int
    usage: ResourceUsage


@dataclass(frozen=True, kw_only=True)
class HistorySeries(HistoryInfo):
    """One subject over time, oldest first; times without a sample have no point. agent_id None =
    the machine."""

    agent_id: str | None
    points: list[HistoryPoint]


@dataclass(frozen=True, kw_only=True)
class HistoryTop(HistoryInfo):
    """The agents that used most, the largest first. Values are in .unit (cores, MiB, MiB/s,
    count), a "sum" in that times seconds."""

    metric: str
    aggregate: str
    unit: str
    top: list[tuple[str, float]]


@dataclass(frozen=True, kw_only=True)
class HistoryQuantile(HistoryInfo):
    """A quantile over all samples of all subjects together, in .unit; None = there is no sample.
    exact: from the samples themselves; else off by .error_bound at most."""

    metric: str
    q: float
    unit: str
    value: float | None
    exact: bool
    subjects: int


@dataclass(frozen=True, kw_only=True)
class UsageTotal:
    """What one group used. name None: agents without that label, or of whom it is not known. What
    was not measured is None. Bytes are both directions together."""

    name: str | None
    agents: int = 0
    samples: int = 0
    cpu_seconds: float | None = None
    memory_gib_hours: float | None = None
    disk_bytes: float | None = None
    network_bytes: float | None = None


@dataclass(frozen=True, kw_only=True)
class UsageTotals(HistoryInfo):
    """What was used in a span, for charge-back: the most CPU time first, and all together."""

    by: str
    rows: list[UsageTotal] = field(default_factory=list)
    total: UsageTotal = UsageTotal(name=None)


# ---- Arguments


def _moment(name: str, value: Moment, now_ns: int) -> int:
    if isinstance(value, timedelta):
        return now_ns - int(value.total_seconds() * 1e9)
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{name}: {value!r} is no time")
    try:
        return nanoseconds(value)
    except TypeError:
        raise TypeError(f"{name}: a datetime, a timedelta or seconds since 1970 are needed, not {value!r}") from None


def span(since: Moment, until: Moment | None) -> tuple[int, int]:
    """Nanoseconds since 1970; ValueError where since is not before until."""
    now_ns = time.time_ns()
    begin = max(_moment("since", since, now_ns), 0)
    end = now_ns + 1 if until is None else _moment("until", until, now_ns)
    if begin >= end:
        raise ValueError("since: is not before until")
    return begin, end


def names(agents: Agents) -> tuple[str, ...]:
    """Checked ids; "system" is the machine."""
    if agents is None:
        return ()
    ids = (agents,) if isinstance(agents, str) else tuple(agents)
    for agent_id in ids:
        if not isinstance(agent_id, str):
            raise TypeError(f"agents: a str is needed, not {agent_id!r}")
        if not AGENT_ID.fullmatch(agent_id):
            raise ValueError(f"agents: {agent_id!r} is not 1 to 128 of A-Z a-z 0-9 _ -")
    if not ids:
        raise ValueError("agents: is empty; None means no choice")
    return tuple(dict.fromkeys(ids))


def word(name: str, value: str, words: tuple[str, ...]) -> str:
    if value not in words:
        raise ValueError(f"{name}: {value!r} is none of {', '.join(words)}")
    return value


def metric_of(metric: str) -> str:
    return str(ResourceType(metric).value)


def philosophy_of(philosophy: str | None) -> str | None:
    return None if philosophy is None else str(AgentPhilosophy(philosophy).value)


def number(name: str, value: int, least: int, most: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise ValueError(f"{name}: {value!r} is outside {least} to {most}")
    return value


def quantile_of(q: float) -> float:
    if isinstance(q, bool) or not isinstance(q, (int, float)) or not 0 <= q <= 1:
        raise ValueError(f"q: {q!r} is outside 0 to 1")
    return float(q)


def seconds(name: str, value: float) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 31_536_000:
        raise ValueError(f"{name}: {value!r} is outside 0 to 31536000")
    return float(value)


def group_of(by: str) -> str:
    if by in ("agent", "philosophy") or (isinstance(by, str) and by.startswith("label:") and by[6:]):
        return by
    raise ValueError(f"by: {by!r} is not agent, philosophy or label:KEY")


def wanted_fields(metrics: str | Iterable[str] | None) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The metrics' names and the fields of usage that are theirs; empty = all."""
    chosen = () if metrics is None else (metrics,) if isinstance(metrics, str) else tuple(metrics)
    words = tuple(metric_of(metric) for metric in chosen)
    return words, tuple(name for metric in words for name in FIELDS[metric])


@dataclass(frozen=True)
class Question:
    """Whose usage over which span, checked."""

    begin_ns: int
    end_ns: int
    ids: tuple[str, ...]
    philosophy: str | None
    labels: dict[str, str | None]


def question(since: Moment, until: Moment | None, agents: Agents, philosophy: str | None,
             labels: Labels) -> Question:
    begin, end = span(since, until)
    return Question(begin, end, names(agents), philosophy_of(philosophy), dict(labels or {}))


class History(Protocol):
    """What answers questions, in memory or over the daemon. All arguments are checked."""

    def range(self, asked: Question, metrics: tuple[str, ...], fields: tuple[str, ...], step_seconds: float,
              aggregate: str, limit: int) -> list[HistorySeries]: ...
    def top(self, asked: Question, metric: str, aggregate: str, n: int) -> HistoryTop: ...
    def quantile(self, asked: Question, q: float, metric: str) -> HistoryQuantile: ...
    def usage(self, asked: Question, by: str, limit: int) -> UsageTotals: ...


# ---- The history in memory. Agents in it have a philosophy, but no labels.


_NOTHING: tuple[list[Any], tuple[int, int, int, float]] = ([], (0, 0, 0, 0.0))


def _info(about: tuple[int, int, int, float]) -> dict[str, Any]:
    return {"gaps": about[2], "gap_seconds": about[3]}


_USAGE_FIELDS = tuple(name for fields in FIELDS.values() for name in fields)


def _only(usage: ResourceUsage, fields: tuple[str, ...]) -> ResourceUsage:
    if not fields:
        return usage
    values: dict[str, Any] = {name: getattr(usage, name) if name in fields else None for name in _USAGE_FIELDS}
    return ResourceUsage(**values, timestamp=usage.timestamp)


def _plus(left: float | None, right: float | None) -> float | None:
    return right if left is None else left if right is None else left + right


def _sum(name: str | None, rows: list[tuple[Any, ...]]) -> UsageTotal:
    parts: list[float | None] = [None] * 4
    for row in rows:
        parts = [_plus(part, value) for part, value in zip(parts, row[3:], strict=True)]
    return UsageTotal(name=name, agents=len(rows), samples=sum(row[2] for row in rows), cpu_seconds=parts[0],
                      memory_gib_hours=parts[1], disk_bytes=parts[2], network_bytes=parts[3])


class MemoryHistory:
    """What the monitor of an embedded manager keeps; nothing with monitoring off."""

    def __init__(self, monitor: _core.Monitor | None) -> None:
        self._monitor = monitor

    def _subjects(self, asked: Question) -> tuple[str, ...]:
        """Whom a question of named subjects means: the machine where it names nobody."""
        if self._monitor is None:
            return asked.ids
        if asked.labels:
            return ()
        if asked.ids or not asked.philosophy:
            return asked.ids or ("system",)
        rows = self._monitor._history_usage((), asked.philosophy, asked.begin_ns, asked.end_ns)[0]
        return tuple(row[0] for row in rows)

    def range(self, asked: Question, metrics: tuple[str, ...], fields: tuple[str, ...], step_seconds: float,
              aggregate: str, limit: int) -> list[HistorySeries]:
        place, step_ns = RANGE_AGGREGATES.index(aggregate), int(step_seconds * 1e9)
        answer = []
        for agent_id in self._subjects(asked):
            rows, about = _NOTHING
            if self._monitor is not None:
                rows, about = self._monitor._history_range(agent_id, asked.begin_ns, asked.end_ns, step_ns)
            points = [HistoryPoint(when(row[0]), row[1] / 1e9, row[2], _only(row[3:][place], fields))
                      for row in rows[:limit]]
            answer.append(HistorySeries(agent_id=None if agent_id == "system" else agent_id, points=points,
                                        resolution_seconds=0.0, limited=len(rows) > limit, **_info(about)))
        return answer

    def top(self, asked: Question, metric: str, aggregate: str, n: int) -> HistoryTop:
        rows, about = _NOTHING
        if self._monitor is not None and not asked.labels:
            rows, about = self._monitor._history_top(asked.ids, asked.philosophy, asked.begin_ns, asked.end_ns, metric,
                                                     TOP_AGGREGATES.index(aggregate), n)
        return HistoryTop(metric=metric, aggregate=aggregate, unit=UNITS[metric], top=rows, **_info(about))

    def quantile(self, asked: Question, q: float, metric: str) -> HistoryQuantile:
        ids = asked.ids or (() if asked.philosophy else ("system",))
        value, about = None, _NOTHING[1]
        if self._monitor is not None and not asked.labels:
            value, about = self._monitor._history_quantile(ids, asked.philosophy, asked.begin_ns, asked.end_ns, metric,
                                                           q)
        return HistoryQuantile(metric=metric, q=q, unit=UNITS[metric], value=value, exact=True, subjects=about[0],
                               **_info(about))

    def usage(self, asked: Question, by: str, limit: int) -> UsageTotals:
        rows, about = _NOTHING
        if self._monitor is not None and not asked.labels:
            rows, about = self._monitor._history_usage(asked.ids, asked.philosophy, asked.begin_ns, asked.end_ns)
        rows = [row for row in rows if row[0]]
        groups: dict[str | None, list[tuple[Any, ...]]] = {}
        for row in rows:
            groups.setdefault(row[0] if by == "agent" else row[1] if by == "philosophy" else None, []).append(row)
        totals = sorted((_sum(name, group) for name, group in groups.items()),
                        key=lambda total: (-(total.cpu_seconds or 0.0), total.name or ""))
        return UsageTotals(by=by, rows=totals[:limit], total=_sum(None, rows), limited=len(totals) > limit,
                           **_info(about))
