"""Batches to a CUDA device and answers back, through pinned memory that is kept, beside the stream that computes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

SMALLEST = 1 << 12


@dataclass(slots=True)
class Slot:
    """Buffers of one batch in flight.

    Attributes:
        host, device: int64, one behind the other all inputs of a batch.
        answer: float32, on the host.
        done: recorded behind the batch's last use of any of them.
    """

    host: torch.Tensor
    device: torch.Tensor
    answer: torch.Tensor
    done: Any


class Staging:
    """Two slots in turn: while one batch computes, the next is written into the other and copied.

    On a CPU, where tests run it, it does the same with ordinary memory and without streams.
    """

    def __init__(self, device: torch.device, slots: int = 2) -> None:
        self._device = device
        self._cuda = device.type == "cuda"
        cuda: Any = torch.cuda
        self._copies: Any = cuda.Stream(device) if self._cuda else None
        self._slots = [self._fresh() for _ in range(slots)]
        self._turn = 0

    def begin(self) -> Slot:
        """The next slot. Waits for the batch that had it last, which was two batches ago."""
        slot = self._slots[self._turn]
        self._turn = (self._turn + 1) % len(self._slots)
        if self._cuda:
            slot.done.synchronize()
        return slot

    def send(self, slot: Slot, arrays: Mapping[str, npt.NDArray[np.int64]]) -> dict[str, torch.Tensor]:
        """Copy a batch's inputs; later work on the compute stream sees them. They are views, good until the slot's next turn."""
        total = sum(array.size for array in arrays.values())
        if slot.host.numel() < total:
            slot.host = self._pinned(_grown(total), torch.int64)
            slot.device = torch.empty(_grown(total), dtype=torch.int64, device=self._device)
            if self._cuda:
                # The allocator may have given memory that the compute stream still uses.
                self._copies.wait_stream(torch.cuda.current_stream(self._device))
        flat, start, places = slot.host.numpy(), 0, {}
        for name, array in arrays.items():
            flat[start : start + array.size] = array.ravel()
            places[name] = (start, array.shape)
            start += array.size
        if self._cuda:
            with torch.cuda.stream(self._copies):
                slot.device[:total].copy_(slot.host[:total], non_blocking=True)
            torch.cuda.current_stream(self._device).wait_stream(self._copies)
        else:
            slot.device[:total].copy_(slot.host[:total])
        return {name: slot.device[at : at + int(np.prod(shape))].view(shape) for name, (at, shape) in places.items()}

    def fetch(self, slot: Slot, result: torch.Tensor) -> torch.Tensor:
        """Begin to copy ``result`` (float32) to the host; good once ``slot.done``, until the slot's next turn."""
        if slot.answer.numel() < result.numel():
            slot.answer = self._pinned(_grown(result.numel()), torch.float32)
        answer = slot.answer[: result.numel()].view(result.shape)
        answer.copy_(result, non_blocking=True)
        return answer

    def end(self, slot: Slot) -> None:
        """The batch has nothing more to launch, or has failed."""
        if self._cuda:
            slot.done.record(torch.cuda.current_stream(self._device))

    def _fresh(self) -> Slot:
        empty = torch.empty(0, dtype=torch.int64)
        cuda: Any = torch.cuda
        return Slot(empty, empty.to(self._device), self._pinned(0, torch.float32), cuda.Event() if self._cuda else None)

    def _pinned(self, size: int, dtype: torch.dtype) -> torch.Tensor:
        return torch.empty(size, dtype=dtype, pin_memory=self._cuda)


def _grown(size: int) -> int:
    """The power of two that holds ``size``: buffers are made anew a few times, then never."""
    return max(SMALLEST, 1 << (size - 1).bit_length())
