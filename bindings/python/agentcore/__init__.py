# SPDX-License-Identifier: Apache-2.0
"""AgentCore: meters AI agents, alerts, keeps history, predicts, allocates and scales.

    from agentcore import ResourceManager

    manager = ResourceManager()
    await manager.start()

Every decision is made by the C library inside. Percentages of CPU and memory are of what this
machine may use, memory is MiB, rates are MiB per second, and what could not be measured is None.
"""

from agentcore import _core  # isort: skip  first: it says where the package cannot work
from agentcore._config import AgentConfig, AgentPhilosophy, SecurityProfile
from agentcore._history import (
    HistoryInfo,
    HistoryPoint,
    HistoryQuantile,
    HistorySeries,
    HistoryTop,
    UsageTotal,
    UsageTotals,
)
from agentcore._manager import ResourceManager, get_resource_manager
from agentcore._monitor import ResourceMonitor
from agentcore._optimizer import PerformanceOptimizer, ResourcePredictor, get_performance_optimizer
from agentcore._remote import AgentCoreConnectionError, AgentCoreHTTPError
from agentcore._scaler import DynamicScaler
from agentcore._usage import ResourceUsage
from agentcore._values import AlertSeverity, DiscoveredAgent, ResourceAlert, ResourceLimits, ResourceType

__version__ = _core.__version__

__all__ = [
    "AgentConfig",
    "AgentCoreConnectionError",
    "AgentCoreHTTPError",
    "AgentPhilosophy",
    "AlertSeverity",
    "DiscoveredAgent",
    "DynamicScaler",
    "HistoryInfo",
    "HistoryPoint",
    "HistoryQuantile",
    "HistorySeries",
    "HistoryTop",
    "PerformanceOptimizer",
    "ResourceAlert",
    "ResourceLimits",
    "ResourceManager",
    "ResourceMonitor",
    "ResourcePredictor",
    "ResourceType",
    "ResourceUsage",
    "SecurityProfile",
    "UsageTotal",
    "UsageTotals",
    "__version__",
    "get_performance_optimizer",
    "get_resource_manager",
]
