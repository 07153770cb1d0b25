"""Selective scan and causal depthwise convolution: one function each, the same result from every backend."""

from ecgbench.ops.backends import Backend, resolve_backend
from ecgbench.ops.causal_conv1d import causal_conv1d, causal_conv1d_step
from ecgbench.ops.selective_scan import selective_scan, selective_scan_step

__all__ = [
    "Backend",
    "causal_conv1d",
    "causal_conv1d_step",
    "resolve_backend",
    "selective_scan",
    "selective_scan_step",
]
