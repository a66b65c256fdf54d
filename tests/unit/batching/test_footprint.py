"""The memory model of a batch: above everything measured, square in length only where that was seen."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from xinfer.batching.footprint import MARGIN, Footprint, Sample


def measured(items: int, longest: int, per_token: float, per_area: float) -> Sample:
    return Sample(items, longest, int(items * longest * (per_token + per_area * longest)))


@given(
    st.floats(1, 1e5),
    st.floats(0, 500),
    st.lists(st.tuples(st.integers(1, 64), st.integers(8, 512)), min_size=2, max_size=6, unique_by=lambda shape: shape[1]),
)
def test_above_all_samples_and_near_them(per_token: float, per_area: float, shapes: list[tuple[int, int]]) -> None:
    samples = [measured(items, longest, per_token, per_area) for items, longest in shapes]
    found = Footprint.fit(samples)
    for sample in samples:
        assert sample.size - 1 <= found.size(sample.items, sample.longest) <= sample.size * MARGIN * 1.05 + sample.items * 600


def test_one_length_says_nothing_about_a_square() -> None:
    assert Footprint.fit([Sample(4, 128, 4 * 128 * 1000)]).size(1, 1024) == int(1024 * 1000 * MARGIN)


def test_a_square_is_carried_on_to_longer_items() -> None:
    found = Footprint.fit([measured(8, 128, 1000, 20), measured(1, 512, 1000, 20)])
    assert found.size(1, 4096) >= measured(1, 4096, 1000, 20).size


def test_less_per_token_at_greater_length_is_no_negative_square() -> None:
    found = Footprint.fit([Sample(8, 128, 8 * 128 * 1000), Sample(1, 512, 512 * 500)])
    assert found.size(1, 8192) == int(8192 * 1000 * MARGIN)


def test_most_is_what_fits_and_never_none() -> None:
    found = Footprint(1000.0, 0.0)
    assert found.most(100, 1_000_000) == 10
    assert found.most(100, 1) == 1
    assert found.size(found.most(77, 10**8), 77) <= 10**8


def test_a_batch_that_took_more_raises_the_prediction() -> None:
    found = Footprint(1000.0, 1.0)
    seen = Sample(2, 100, 2 * found.size(2, 100))
    assert found.at_least(seen).size(2, 100) >= seen.size - 2
    assert found.at_least(Sample(2, 100, 1)) is found
