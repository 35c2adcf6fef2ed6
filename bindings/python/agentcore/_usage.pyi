# SPDX-License-Identifier: Apache-2.0
from datetime import datetime
from typing import Any

from agentcore import _core

class ResourceUsage(_core.UsageBase):
    def __init__(
        self,
        cpu_percent: float | None = ...,
        memory_percent: float | None = ...,
        memory_mb: float | None = ...,
        disk_io_mbps: float | None = ...,
        network_io_mbps: float | None = ...,
        file_descriptors: int | None = ...,
        timestamp: datetime | float | None = ...,
        cpu_cores: float | None = ...,
    ) -> None: ...
    def to_dict(self) -> dict[str, Any]: ...
    def __eq__(self, other: object) -> bool: ...
