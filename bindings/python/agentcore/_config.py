# SPDX-License-Identifier: Apache-2.0
"""What an agent is and what it may use."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from agentcore._values import _Word

MAX_TOOLS = 100
PROTECTED_VARIABLES = frozenset({"PATH", "HOME", "USER", "SHELL"})
_AGENT_ID = re.compile(r"[a-zA-Z0-9_-]+")
_AGENT_ID_MAX = 128


class AgentPhilosophy(_Word):
    """How an agent works; pools of one philosophy are scaled and predicted together."""

    REACT = "react"
    COT = "cot"
    MULTI_AGENT = "multi_agent"
    AUTONOMOUS = "autonomous"


def _in_range(name: str, value: Any, low: float, high: float, kind: type) -> Any:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f"{name}: {value!r} is not a number from {low} to {high}")
    if kind is int and value != int(value if value == value and abs(value) < 1e18 else 0):
        raise ValueError(f"{name}: {value!r} is not a whole number from {low} to {high}")
    if not low <= value <= high:
        raise ValueError(f"{name}: {value!r} is outside {low} to {high}")
    return kind(value)


def _one_of(name: str, value: Any, words: tuple[str, ...]) -> None:
    if value not in words:
        raise ValueError(f"{name}: {value!r} is none of {', '.join(words)}")


@dataclass
class ResourceLimits:
    """An agent's own maxima. A wrong value is a ValueError that names field, value and range.

    max_memory_mb: MiB, 128-8192 (512). max_cpu_cores: 0.1-8.0 (1.0).
    max_execution_time_seconds: 30-3600 (300). max_file_descriptors: 10-1000 (100).
    network_access: none, restricted or full (restricted). storage_quota_mb: MiB, 100-10240 (1024).
    """

    max_memory_mb: int = 512
    max_cpu_cores: float = 1.0
    max_execution_time_seconds: int = 300
    max_file_descriptors: int = 100
    network_access: str = "restricted"
    storage_quota_mb: int = 1024

    def __post_init__(self) -> None:
        self.max_memory_mb = _in_range("max_memory_mb", self.max_memory_mb, 128, 8192, int)
        self.max_cpu_cores = _in_range("max_cpu_cores", self.max_cpu_cores, 0.1, 8.0, float)
        self.max_execution_time_seconds = _in_range(
            "max_execution_time_seconds", self.max_execution_time_seconds, 30, 3600, int)
        self.max_file_descriptors = _in_range("max_file_descriptors", self.max_file_descriptors, 10, 1000, int)
        _one_of("network_access", self.network_access, ("none", "restricted", "full"))
        self.storage_quota_mb = _in_range("storage_quota_mb", self.storage_quota_mb, 100, 10240, int)


class SecurityProfile:
    """What a runtime's sandbox is told about an agent. AgentCore keeps it and applies none of it.

    profile_name: a name for people, "standard" by default; any other keyword becomes an attribute.
    """

    def __init__(self, profile_name: str = "standard", **settings: Any) -> None:
        self.profile_name = profile_name
        for name, value in settings.items():
            setattr(self, name, value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SecurityProfile) and vars(self) == vars(other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"SecurityProfile({', '.join(f'{name}={value!r}' for name, value in vars(self).items())})"


@dataclass
class AgentConfig:
    """One agent.

    agent_id: 1 to 128 of A-Z a-z 0-9 _ -. philosophy: an AgentPhilosophy or its value.
    tools: at most 100 names. environment_variables: may not set PATH, HOME, USER or SHELL.
    agent_template: agents of one template are predicted together; None = by philosophy only.

    A wrong value is a ValueError that names the field, the value and the range.
    """

    agent_id: str
    philosophy: AgentPhilosophy = AgentPhilosophy.REACT
    resource_limits: ResourceLimits = field(default_factory=ResourceLimits)
    security_profile: SecurityProfile = field(default_factory=SecurityProfile)
    tools: list[str] = field(default_factory=list)
    environment_variables: dict[str, str] = field(default_factory=dict)
    agent_template: str | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.agent_id, str) or not _AGENT_ID.fullmatch(self.agent_id):
            raise ValueError(f"agent_id: {self.agent_id!r} is not made of [a-zA-Z0-9_-]+")
        if len(self.agent_id) > _AGENT_ID_MAX:
            raise ValueError(f"agent_id: {self.agent_id!r} is longer than {_AGENT_ID_MAX} characters")
        try:
            self.philosophy = AgentPhilosophy(self.philosophy)
        except ValueError:
            words = ", ".join(p.value for p in AgentPhilosophy)
            raise ValueError(f"philosophy: {self.philosophy!r} is none of {words}") from None
        if isinstance(self.resource_limits, dict):
            self.resource_limits = ResourceLimits(**self.resource_limits)
        if isinstance(self.security_profile, dict):
            self.security_profile = SecurityProfile(**self.security_profile)
        self.tools = list(self.tools)
        if len(self.tools) > MAX_TOOLS:
            raise ValueError(f"tools: {len(self.tools)} of them are outside 0 to {MAX_TOOLS}")
        self.environment_variables = dict(self.environment_variables)
        for name in self.environment_variables:
            if name in PROTECTED_VARIABLES:
                raise ValueError(
                    f"environment_variables: {name!r} is one of those that may not be set: PATH, HOME, USER, SHELL")
