# SPDX-License-Identifier: Apache-2.0
"""Monitoring, alerts, scaling and allocation."""

from agentcore._manager import ResourceManager, get_resource_manager
from agentcore._monitor import ResourceMonitor
from agentcore._scaler import DynamicScaler
from agentcore._usage import ResourceUsage
from agentcore._values import AlertSeverity, ResourceAlert, ResourceLimits, ResourceType

__all__ = [
    "AlertSeverity",
    "DynamicScaler",
    "ResourceAlert",
    "ResourceLimits",
    "ResourceManager",
    "ResourceMonitor",
    "ResourceType",
    "ResourceUsage",
    "get_resource_manager",
]
