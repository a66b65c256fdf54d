"""One number of each of several sibling processes, in memory that all of them see."""

from __future__ import annotations

import mmap
import os

_WIDTH = 8


def shared_counts(processes: int) -> int:
    """A descriptor of memory for ``Counts``, to be inherited by that many processes."""
    fd = os.memfd_create("xinfer-counts")
    os.ftruncate(fd, _WIDTH * processes)
    return fd


class Counts:
    """The numbers; this process writes only its own, which starts at 0."""

    def __init__(self, fd: int, own: int) -> None:
        self._counts = memoryview(mmap.mmap(fd, 0)).cast("q")
        self._own = own
        self.say(0)

    def say(self, count: int) -> None:
        """The number of this process."""
        self._counts[self._own] = count

    def least(self) -> int:
        """The smallest of all."""
        return min(self._counts)
