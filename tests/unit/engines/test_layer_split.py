"""The cut of a model's layers over devices: all of them, in order, none empty, the fullest as small as can be."""

from __future__ import annotations

from itertools import combinations, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xinfer.engines.layer_split import split
from xinfer.errors import LaunchFailed


def fullest(layers: list[int], rest: int, ends: tuple[int, ...]) -> int:
    parts = [sum(layers[start:end]) for start, end in pairwise((0, *ends, len(layers)))]
    return max(parts[0] + rest, *parts[1:], 0)


@given(st.lists(st.integers(0, 50), min_size=1, max_size=9), st.integers(0, 120), st.integers(1, 9))
def test_the_fullest_device_holds_as_little_as_any_cut_allows(layers: list[int], rest: int, devices: int) -> None:
    if len(layers) < devices:
        with pytest.raises(LaunchFailed, match=f"n_gpu must be at most {len(layers)}"):
            split(layers, rest, devices)
        return
    found = split(layers, rest, devices)
    assert len(found.counts) == len(found.weight_bytes) == devices
    assert min(found.counts) >= 1
    assert sum(found.counts) == len(layers)
    assert list(found.places) == sorted(found.places)
    held = [sum(size for size, place in zip(layers, found.places, strict=True) if place == device) for device in range(devices)]
    held[0] += rest
    assert tuple(held) == found.weight_bytes
    assert max(held) == min(fullest(layers, rest, ends) for ends in combinations(range(1, len(layers)), devices - 1))


def test_embeddings_take_layers_from_the_first_device() -> None:
    assert split([10] * 12, 0, 2).counts == (6, 6)
    assert split([10] * 12, 40, 2).counts == (4, 8)
    assert split([10] * 12, 1_000, 2).counts == (1, 11)
    assert split([10] * 12, 0, 1).counts == (12,)
    assert split([10] * 3, 5, 3).places == (0, 1, 2)
