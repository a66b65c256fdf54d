"""Which replica has read the beginning of a conversation already: its KV cache may still hold it."""

from __future__ import annotations

import zlib
from collections import OrderedDict
from collections.abc import Sequence

from xinfer.cluster.ids import ReplicaId
from xinfer.generation.job import GenerationJob

KEPT = 4096
BLOCK = 256
"""Letters, or token ids, of a plain prompt between two places at which it may be known."""


def prefixes(job: GenerationJob) -> tuple[int, ...]:
    """Names of the beginnings that another prompt may share, the shortest first: after each message, or after each block of text.

    Equal beginnings have equal names in every process.
    """
    if job.messages:
        parts = [repr(job.tools), *(repr(sorted(message.items())) for message in job.messages)]
    else:
        parts = [repr(job.prompt[start : start + BLOCK]) for start in range(0, len(job.prompt), BLOCK)]
    names: list[int] = []
    name = 0
    for part in parts:
        name = zlib.crc32(part.encode("utf-8", "surrogatepass"), name) | (len(names) + 1) << 32
        names.append(name)
        name &= 0xFFFFFFFF
    return tuple(names[1:] if job.messages else names)


class Affinity:
    """Of one model; forgets what was used longest ago."""

    def __init__(self) -> None:
        self._homes: OrderedDict[int, ReplicaId] = OrderedDict()

    def home(self, names: Sequence[int]) -> ReplicaId | None:
        """The replica that read the longest of these beginnings last."""
        return next((self._homes[name] for name in reversed(names) if name in self._homes), None)

    def note(self, names: Sequence[int], replica_id: ReplicaId) -> None:
        """That replica reads all of these now."""
        for name in names:
            self._homes[name] = replica_id
            self._homes.move_to_end(name)
        while len(self._homes) > KEPT:
            self._homes.popitem(last=False)
