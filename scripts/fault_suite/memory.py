"""Memory of every process of a cluster over time: does any of them grow?"""

from __future__ import annotations

import contextlib
import statistics
import threading
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType

import psutil

from scripts.fault_suite.ground import Ground

SAMPLE = 2.0
"""Seconds."""
MOST = 1.05
"""Of the median at the end ÷ that in the middle."""
Sample = tuple[float, int]


@dataclass(frozen=True, slots=True)
class Growth:
    """Of one process.

    Attributes:
        middle, last: median bytes in the sixth of the time after its first third, and in its last sixth (of half an hour: minutes
            10–15 and 25–30); 0 where the process was not there.
    """

    process: str
    middle: int
    last: int

    @property
    def held(self) -> bool:
        """Whether it was there in both, and did not grow."""
        return bool(self.middle and self.last) and self.last <= MOST * self.middle

    def __str__(self) -> str:
        if not (self.middle and self.last):
            return f"{self.process}: NOT THERE {'at the end' if self.middle else 'in the middle'}"
        grows = "" if self.held else "  GROWS"
        return f"{self.process}: {self.middle / 2**20:.1f} MiB, then {self.last / 2**20:.1f}: {self.last / self.middle:.3f}{grows}"


def growth(samples: Mapping[str, Sequence[Sample]], seconds: float) -> list[Growth]:
    """By process, from its (seconds since the beginning, bytes); those that were there in neither part are left out."""
    found = []
    for process, each in sorted(samples.items()):
        middle = [rss for at, rss in each if seconds / 3 <= at < seconds / 2]
        last = [rss for at, rss in each if at >= seconds * 5 / 6]
        if middle or last:
            found.append(Growth(process, _median(middle), _median(last)))
    return found


def _median(values: Sequence[int]) -> int:
    return int(statistics.median(values)) if values else 0


class Memory:
    """RSS of every process of a ground, every few seconds, from ``with`` to its end."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="memory", daemon=True)
        self.samples: dict[str, list[Sample]] = defaultdict(list)

    def __enter__(self) -> Memory:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        began = time.monotonic()
        while not self._over.wait(SAMPLE):
            for process in self._ground.processes():
                with contextlib.suppress(psutil.Error):
                    self.samples[f"{_role(process)} {process.pid}"].append((time.monotonic() - began, process.memory_info().rss))


def _role(process: psutil.Process) -> str:
    mark = process.environ().get("XINFER_PROCESS", "")
    return mark.partition(":")[0].rpartition(".")[2] or "launcher"
