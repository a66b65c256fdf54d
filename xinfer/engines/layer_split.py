"""Which layers of a model go to which device, by their bytes. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from xinfer.errors import LaunchFailed


@dataclass(frozen=True, slots=True)
class Split:
    """Consecutive layers on consecutive devices; whatever is no layer stays on the first.

    Attributes:
        counts: layers of each device, at least one.
        weight_bytes: of each device, what is no layer counted with the first.
    """

    counts: tuple[int, ...]
    weight_bytes: tuple[int, ...]

    @property
    def places(self) -> tuple[int, ...]:
        """Device of each layer, by position."""
        return tuple(device for device, count in enumerate(self.counts) for _ in range(count))


def split(layers: Sequence[int], rest: int, devices: int) -> Split:
    """The cut whose fullest device holds least.

    Args:
        layers: bytes of each layer, in order.
        rest: bytes of all that is no layer: embeddings, heads.
        devices: how many, at least one.

    Raises:
        LaunchFailed: fewer layers than devices.
    """
    if len(layers) < devices:
        raise LaunchFailed(f"n_gpu must be at most {len(layers)}, the number of this model's layers, not {devices}.")
    sums = [0]
    for size in layers:
        sums.append(sums[-1] + size)
    # best[k]: of the first k layers on the devices so far, the least that the fullest can hold; cuts[d][k]: where its last part begins.
    best = [rest + total for total in sums]
    cuts: list[list[int]] = []
    for device in range(1, devices):
        after, cut = [0] * len(sums), [0] * len(sums)
        for k in range(device + 1, len(sums)):
            after[k], cut[k] = min((max(best[j], sums[k] - sums[j]), j) for j in range(device, k))
        best = after
        cuts.append(cut)
    ends = [len(layers)]
    for cut in reversed(cuts):
        ends.append(cut[ends[-1]])
    bounds = [0, *reversed(ends)]
    counts = tuple(end - start for start, end in pairwise(bounds))
    sizes = [sums[end] - sums[start] for start, end in pairwise(bounds)]
    return Split(counts, (sizes[0] + rest, *sizes[1:]))
