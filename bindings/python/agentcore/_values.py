# SPDX-License-Identifier: Apache-2.0
"""Words and plain values: enums, alerts, limits, times."""

from __future__ import annotations

import weakref
from collections.abc import Generator
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from enum import Enum
from typing import Any

from agentcore import _core

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_MICROSECOND = timedelta(microseconds=1)


def when(nanoseconds: int) -> datetime:
    """Nanoseconds since 1970 UTC as a datetime in UTC, to the microsecond."""
    return EPOCH + timedelta(microseconds=nanoseconds // 1000)


def nanoseconds(value: datetime | float) -> int:
    """A datetime (a naive one is local time) or seconds since 1970 as nanoseconds."""
    if isinstance(value, datetime):
        return (value.astimezone(timezone.utc) - EPOCH) // _MICROSECOND * 1000
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return int(value * 1e9)
    raise TypeError(f"timestamp: a datetime or seconds since 1970 are needed, not {value!r}")


class _Word(str, Enum):
    def __str__(self) -> str:
        return str(self.value)


class ResourceType(_Word):
    """What is watched."""

    CPU = "cpu"
    MEMORY = "memory"
    DISK_IO = "disk_io"
    NETWORK_IO = "network_io"
    FILE_DESCRIPTORS = "file_descriptors"


class AlertSeverity(_Word):
    """How bad it is, from lowest to highest."""

    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"
    EMERGENCY = "emergency"


class Done(int):
    """A number of something that is done already; code that awaits it gets it at once."""

    def __await__(self) -> Generator[Any, None, int]:
        return int(self)
        yield


@dataclass(frozen=True, kw_only=True)
class DiscoveredAgent:
    """A process, or all of a cgroup (unit "cgroup"), that a rule of discovery would make an agent.

    id, philosophy and template are what the agent would have; rule found it. pid is its first
    process and uid that one's user. managed: the process is an agent's already, agent_id that
    agent's (None: nobody's, or another user's).
    """

    id: str
    rule: str
    unit: str
    pid: int
    uid: int
    philosophy: str
    template: str | None
    command: str | None
    cgroup: str | None
    processes: int
    managed: bool
    agent_id: str | None


@dataclass
class ResourceAlert:
    """An alert as it was when this copy was made.

    threshold and current_value are in the resource's unit, None where there is none; agent_id is
    None for the machine. timestamp is when it fired, updated its last transition, ended when it
    resolved (None while it lives). state is "pending", "firing" or "resolved"; rule names what
    raised it, such as "cpu_threshold", "oom_kill" or "manual".
    """

    alert_id: str
    resource_type: ResourceType
    severity: AlertSeverity
    message: str
    agent_id: str | None = None
    threshold: float | None = None
    current_value: float | None = None
    timestamp: datetime = field(default_factory=lambda: datetime.now(timezone.utc))
    acknowledged: bool = False
    rule: str = "manual"
    state: str = "firing"
    updated: datetime | None = None
    ended: datetime | None = None


@dataclass
class ResourceLimits:
    """Thresholds of alerts. A change of a field takes effect at once wherever the object is in use.

    A wrong value is a ValueError that names the field, the value and the range, and changes
    nothing.

    max_cpu_percent, max_memory_percent: critical from here, 0-100 of the machine's capacity.
    max_disk_io_mbps, max_network_io_mbps: critical from here, MiB/s.
    max_file_descriptors: critical from here.
    alert_threshold_percent: warning from here; of 100 for CPU and memory, of the maximum else.
    emergency_memory_percent: of capacity. emergency_file_descriptor_percent: of the hard limit.
    emergency_stall_percent: of the time in which every task waits for memory.
    clear_margin_percent: how far below a threshold an alert falls again.
    for_seconds: how long a threshold must be exceeded before its alert fires.
    renotify_seconds: repeats the event of an unacknowledged alert; 0 = never.
    """

    max_cpu_percent: float = 80.0
    max_memory_percent: float = 80.0
    max_disk_io_mbps: float = 100.0
    max_network_io_mbps: float = 100.0
    max_file_descriptors: int = 1000
    alert_threshold_percent: float = 75.0
    emergency_memory_percent: float = 95.0
    emergency_file_descriptor_percent: float = 95.0
    emergency_stall_percent: float = 40.0
    clear_margin_percent: float = 5.0
    for_seconds: float = 0.0
    renotify_seconds: float = 0.0

    def __post_init__(self) -> None:
        _core._check_limits(self)
        object.__setattr__(self, "_users", [])

    def __setattr__(self, name: str, value: Any) -> None:
        before = self.__dict__.get(name)
        object.__setattr__(self, name, value)
        if "_users" not in self.__dict__:
            return
        try:
            _core._check_limits(self)
        except (TypeError, ValueError):
            object.__setattr__(self, name, before)
            raise
        for reference in list(self._users):
            user = reference()
            if user is not None:
                user._set_limits(self)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_users"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _users=[])

    def _bind(self, user: Any) -> None:
        """Calls user._set_limits(self) after each change, as long as @user lives."""
        self._users: list[weakref.ref[Any]]
        self._users[:] = [known for known in self._users if known() is not None]
        self._users.append(weakref.ref(user))

    def _unbind(self, user: Any) -> None:
        self._users[:] = [known for known in self._users if known() not in (None, user)]

    def _give_way(self, limits: ResourceLimits, user: Any) -> None:
        """@limits become those of @user in place of these; ValueError changes nothing."""
        user._set_limits(limits)
        self._unbind(user)
        user._limits_object = limits
        limits._bind(user)
