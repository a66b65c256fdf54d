"""Small batches in a few fixed shapes, each recorded once as a CUDA graph: then one launch a batch instead of one a kernel.

A batch of few tokens takes a card less time than the host needs to launch its kernels. A recording always computes the same
number of tokens and rows; rows of no meaning fill it up.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from xinfer.engines.torch_rows import Ints, Rows, starts_of

SIZES = (32, 64, 128, 256, 512, 1024, 2048, 4096)
"""Tokens of the shapes; a batch is filled up to less than twice its own tokens, in a shape that is bound by launches anyway."""
TOKENS_A_ROW = 32
"""A shape has a row for so many of its tokens; a batch of shorter rows takes a larger shape."""
LEAST_ROWS = 4
PAYS = 1.2
"""A shape is kept, and the next one tried, while a batch computed kernel by kernel takes at least so many times as long."""

Compute = Callable[[Mapping[str, torch.Tensor], Rows], torch.Tensor]


@dataclass(frozen=True, slots=True)
class Shape:
    """What a recording computes, whatever it is given.

    Attributes:
        tokens: of all rows together, those of no meaning among them.
        rows: their number; those behind the last one in use have no tokens.
        longest: tokens of a row at most.
    """

    tokens: int
    rows: int
    longest: int

    @classmethod
    def of(cls, tokens: int, max_tokens: int) -> Shape:
        """The shape of so many tokens for a model that takes rows of up to ``max_tokens``."""
        return cls(tokens, max(LEAST_ROWS, tokens // TOKENS_A_ROW), min(tokens, max_tokens))

    def holds(self, lengths: Sequence[int]) -> bool:
        """Whether rows of these lengths fit, with those that fill it up."""
        missing = self.tokens - sum(lengths)
        return missing >= 0 and len(lengths) + -(-missing // self.longest) <= self.rows and max(lengths) <= self.longest

    def lengths(self) -> list[int]:
        """Of rows that use all its tokens, none of them for filling up."""
        longest = min(self.longest, TOKENS_A_ROW)
        return [min(longest, self.tokens - start) for start in range(0, self.tokens, longest)]

    def starts(self, lengths: Sequence[int]) -> Ints:
        """(rows + 1,) where each row begins; rows without tokens begin at the end."""
        return np.concatenate([starts_of(lengths), np.full(self.rows - len(lengths), self.tokens, dtype=np.int64)])


class Recorded:
    """The recordings of one model.

    Args:
        compute: the model's forward pass over joined rows; must not ask the device for anything.
        device: where its weights are. On a CPU, where tests run it, a recording computes anew each time.
    """

    def __init__(self, compute: Compute, device: torch.device) -> None:
        self._compute, self._device = compute, device
        cuda: Any = torch.cuda
        self._pool: Any = cuda.graph_pool_handle() if device.type == "cuda" else None
        # One for all: libraries keep a workspace, 32 MiB on a Hopper card, for each stream that they have met.
        self._aside: Any = cuda.Stream(device) if device.type == "cuda" else None
        self._recordings: dict[Shape, _Recording] = {}

    @property
    def largest(self) -> int:
        """Tokens of the largest shape; 0 = there is none."""
        return max((shape.tokens for shape in self._recordings), default=0)

    def fitting(self, lengths: Sequence[int]) -> Shape | None:
        """The smallest shape that holds rows of these lengths."""
        return next((shape for shape in self._recordings if shape.holds(lengths)), None)

    def record(self, shape: Shape, names: Sequence[str]) -> None:
        """Make the recording of one shape, larger than those before it.

        Args:
            names: of the inputs, (1, tokens) each.

        Raises:
            RuntimeError: out of memory, or the model does what cannot be recorded.
        """
        self._recordings[shape] = _Recording(self._compute, shape, names, self._device, self._pool, self._aside)

    def close(self) -> None:
        """Drop all recordings, and the workspaces that libraries keep for their stream. Other models of the process must be at rest."""
        self._recordings.clear()
        library: Any = torch._C
        if self._pool is not None and hasattr(library, "_cuda_clearCublasWorkspaces"):
            torch.cuda.synchronize(self._device)
            library._cuda_clearCublasWorkspaces()

    def forget(self, shape: Shape) -> None:
        """Drop a recording."""
        del self._recordings[shape]

    def replay(self, shape: Shape, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """(rows, …) answers of the inputs given, good until the next replay of any shape begins on the device."""
        return self._recordings[shape].replay(inputs)


class _Recording:
    def __init__(self, compute: Compute, shape: Shape, names: Sequence[str], device: torch.device, pool: Any, aside: Any) -> None:
        self._inputs = {name: torch.zeros((1, shape.tokens), dtype=torch.int64, device=device) for name in names}
        self._inputs["starts"] = torch.from_numpy(shape.starts([])).to(device)
        self._compute, self._shape = compute, shape
        self._graph: Any = None
        if pool is None:
            return
        cuda: Any = torch.cuda
        aside.wait_stream(cuda.current_stream(device))
        with cuda.stream(aside):  # libraries set themselves up in a first pass, which must not be recorded
            self._pass()
        cuda.current_stream(device).wait_stream(aside)
        self._graph = cuda.CUDAGraph()
        with cuda.graph(self._graph, pool=pool, stream=aside, capture_error_mode="thread_local"):
            self._answers = self._pass()

    def replay(self, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        for name, kept in self._inputs.items():
            kept.copy_(inputs[name], non_blocking=True)
        if self._graph is None:
            return self._pass()
        self._graph.replay()
        return self._answers

    def _pass(self) -> torch.Tensor:
        tokens = {name: kept for name, kept in self._inputs.items() if name != "starts"}
        rows = Rows((), self._inputs["starts"].to(torch.int32), True, self._shape.longest, self._shape.tokens)
        return self._compute(tokens, rows)
