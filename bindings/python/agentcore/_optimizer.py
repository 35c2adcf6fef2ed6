# SPDX-License-Identifier: Apache-2.0
"""Prediction of what an agent will need, by the C library's decaying histories."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from typing import Any

from agentcore import _core
from agentcore._config import AgentConfig


class ResourcePredictor(_core.Predictor):
    """Learns from finished runs and predicts the next one.

    A prediction rests on the runs of the agent's template, else of its philosophy, else of all,
    whichever is the first to hold enough; before any run it is 50 % CPU, 256 MiB and 60 s.
    """

    def __init__(self, *, _manager: Any = None) -> None:
        # A connected manager's runs are the daemon's, which learns from them by itself.
        self._remote: Callable[[AgentConfig], dict[str, Any]] | None = getattr(_manager, "_remote_prediction", None)
        super().__init__(None if self._remote else _manager)

    def predict_resource_requirements(self, config: AgentConfig) -> dict[str, Any]:
        """cpu_percent (of the machine's capacity), memory_mb (MiB, peak), execution_time_seconds,
        confidence (0-1), basis ("default", "all", "philosophy", "template") and runs (how many it
        rests on)."""
        return self._remote(config) if self._remote else self._predict(config)

    def record_usage(
        self,
        config: AgentConfig,
        cpu_percent: float | None = None,
        memory_mb: float | None = None,
        execution_time_seconds: float | None = None,
    ) -> None:
        """Learns from a finished run: its peaks of CPU (percent of capacity) and memory (MiB), and
        its time. None = unknown. ValueError for negative or infinite values."""
        if self._remote:
            raise NotImplementedError("record_usage: agentcored learns from the runs that it meters")
        self._record(config, _number(cpu_percent), _number(memory_mb), _number(execution_time_seconds))

    def get_prediction_confidence(self, config: AgentConfig) -> float:
        """0 (nothing known) to 1."""
        return float(self.predict_resource_requirements(config)["confidence"])


def _number(value: float | None) -> float:
    return math.nan if value is None else value


class PerformanceOptimizer:
    """The predictor that allocations rest on.

    manager: whose predictor it is; default one of its own.
    """

    def __init__(self, manager: Any = None) -> None:
        self._predictor = ResourcePredictor(_manager=manager)

    @property
    def predictor(self) -> ResourcePredictor:
        """The predictor behind it."""
        return self._predictor

    def predict_resource_requirements(self, config: AgentConfig) -> dict[str, Any]:
        """See ResourcePredictor."""
        return self._predictor.predict_resource_requirements(config)

    def record_usage(
        self,
        config: AgentConfig,
        cpu_percent: float | None = None,
        memory_mb: float | None = None,
        execution_time_seconds: float | None = None,
    ) -> None:
        """See ResourcePredictor."""
        self._predictor.record_usage(config, cpu_percent, memory_mb, execution_time_seconds)

    def get_prediction_confidence(self, config: AgentConfig) -> float:
        """See ResourcePredictor."""
        return self._predictor.get_prediction_confidence(config)


_global_lock = threading.Lock()
_global_optimizer: PerformanceOptimizer | None = None


def get_performance_optimizer() -> PerformanceOptimizer:
    """The optimizer of this process, on the predictor of get_resource_manager()."""
    from agentcore._manager import get_resource_manager

    global _global_optimizer
    with _global_lock:
        if _global_optimizer is None:
            _global_optimizer = PerformanceOptimizer(get_resource_manager())
        return _global_optimizer
