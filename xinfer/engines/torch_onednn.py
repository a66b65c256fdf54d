"""Linear layers on the CPU through oneDNN, their weights stored in its own blocked layout once instead of at every call."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch

SMALLEST = 1 << 14
"""Weights below this many numbers are not worth it."""
PROBE_TOKENS = 256
GAIN = 0.98
ROUNDS = 12
KERNELS_KEPT = 16
"""Kernels that oneDNN keeps ready, with a buffer as large as their output each; its own 1,024 come to a gigabyte or more."""


class OneDnnLinear(torch.nn.Module):
    """A linear layer that keeps nothing but the blocked weights. Not for training, and it stays on the CPU."""

    def __init__(self, linear: torch.nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        # Neither parameter nor buffer: no module-wide conversion may touch this layout.
        self._blocked: torch.Tensor = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach(), PROBE_TOKENS)
        self._bias = None if linear.bias is None else linear.bias.detach()

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """(..., in_features) to (..., out_features)."""
        made: torch.Tensor = torch.ops.mkldnn._linear_pointwise(states, self._blocked, self._bias, "none", [], "")
        return made

    def plain(self) -> torch.nn.Linear:
        """torch's own layer with the same weights."""
        linear = torch.nn.Linear(self.in_features, self.out_features, bias=self._bias is not None, device="meta")
        linear.weight = torch.nn.Parameter(self._blocked.to_dense(), requires_grad=False)
        if self._bias is not None:
            linear.bias = torch.nn.Parameter(self._bias, requires_grad=False)
        return linear.eval()


def bound_kernels() -> None:
    """Bound the memory that oneDNN takes, in torch's own bfloat16 layers too. Before its first use in the process, or it does nothing."""
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", str(KERNELS_KEPT))


def is_faster(model: torch.nn.Module, clock: Callable[[], float] = time.process_time) -> bool:
    """Measure on the model's largest linear layer whether oneDNN gains here; which library torch uses by itself differs by CPU.

    The clock counts this process's CPU time, and of each the best counts: other processes load the host while a model loads.
    """
    largest = max((linear for _, _, linear in _linears(model)), key=lambda linear: linear.weight.numel(), default=None)
    if largest is None or not _offered(largest.weight.dtype):
        return False
    blocked = OneDnnLinear(largest)
    states = torch.randn(PROBE_TOKENS, largest.in_features).to(largest.weight.dtype)
    best: dict[torch.nn.Module, float] = {largest: math.inf, blocked: math.inf}
    with torch.inference_mode():
        for _ in range(ROUNDS):
            for layer in best:
                started = clock()
                layer(states)
                best[layer] = min(best[layer], clock() - started)
    return best[blocked] < GAIN * best[largest]


def adopt(model: torch.nn.Module) -> None:
    """Exchange the linear layers, one by one, so that memory holds one weight twice at most."""
    for parent, name, linear in list(_linears(model)):
        setattr(parent, name, OneDnnLinear(linear))


def abandon(model: torch.nn.Module) -> None:
    """Undo ``adopt``."""
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, OneDnnLinear):
                setattr(parent, name, child.plain())


def _linears(model: torch.nn.Module) -> Iterator[tuple[Any, str, torch.nn.Linear]]:
    for parent in model.modules():
        for name, child in parent.named_children():
            # Not its subclasses: what they do beside multiplying is unknown.
            if type(child) is torch.nn.Linear and child.weight.numel() >= SMALLEST and child.weight.device.type == "cpu":
                yield parent, name, child


def _offered(dtype: torch.dtype) -> bool:
    backend: Any = torch.backends.mkldnn
    if not backend.is_available() or not hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        return False
    return dtype is torch.float32 or (dtype is torch.bfloat16 and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported()))
