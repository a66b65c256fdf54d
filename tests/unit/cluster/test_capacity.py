"""Which prompts fit ever, which now, and how long their answers may be."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xinfer.cluster.capacity import Capacity
from xinfer.errors import InvalidItem

sizes = st.integers(1, 10_000)


@given(sizes, sizes, st.integers(1, 64), sizes, st.none() | sizes)
def test_an_answer_stays_within_the_context_and_the_cache(context: int, kv: int, places: int, prompt: int, wanted: int | None) -> None:
    capacity = Capacity(context, kv, places)
    if prompt >= min(context, kv):
        with pytest.raises(InvalidItem, match=f"{prompt:,} tokens"):
            capacity.answer_tokens(prompt, wanted)
        return
    answer = capacity.answer_tokens(prompt, wanted)
    assert 1 <= answer <= (wanted or answer)
    assert prompt + answer <= min(context, kv)
    assert wanted is not None or prompt + answer == min(context, kv)
    assert capacity.has_room([], prompt + answer)


def test_room_ends_with_the_places_or_with_the_tokens() -> None:
    capacity = Capacity(context_tokens=100, kv_tokens=250, places=3)
    assert capacity.has_room([100, 100], 50)
    assert not capacity.has_room([100, 100], 51)
    assert not capacity.has_room([1, 1, 1], 1)
