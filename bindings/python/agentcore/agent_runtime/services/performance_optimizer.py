# SPDX-License-Identifier: Apache-2.0
"""Prediction of what an agent will need."""

from agentcore._optimizer import PerformanceOptimizer, ResourcePredictor, get_performance_optimizer

__all__ = ["PerformanceOptimizer", "ResourcePredictor", "get_performance_optimizer"]
