"""Bounds that torch is given on a card."""

from __future__ import annotations

import pytest

from xinfer.cluster.memory import CUDA_CONTEXT
from xinfer.engines.torch_runtime import fraction_of

GIB = 1 << 30


@pytest.mark.parametrize("total", [8 * GIB, 80 * GIB, 141 * GIB])
@pytest.mark.parametrize("reserved", [GIB, 3 * GIB, 8 * GIB])
def test_torch_may_allocate_what_is_reserved_less_the_context_on_a_card_of_any_size(reserved: int, total: int) -> None:
    assert fraction_of(reserved, total) * total == pytest.approx(reserved - CUDA_CONTEXT)


def test_the_part_is_one_that_torch_takes() -> None:
    assert fraction_of(100 * GIB, 80 * GIB) == 1.0
    assert fraction_of(CUDA_CONTEXT // 2, 80 * GIB) == 0.0
