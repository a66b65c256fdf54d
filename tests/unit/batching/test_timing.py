"""The fit finds the line, and the slowdown does not care how large batches are."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xinfer.batching.timing import BatchTime, Slowdown


def test_fit_finds_base_and_slope() -> None:
    fitted = BatchTime.fit([(n, 0.006 + n / 1e6) for n in (64, 512, 2048, 8192)])
    assert fitted.base == pytest.approx(0.006)
    assert fitted.per_token == pytest.approx(1e-6)
    assert fitted.speed(8192) == pytest.approx(8192 / (0.006 + 0.008192))


def test_one_size_goes_through_the_origin_and_none_is_an_error() -> None:
    assert BatchTime.fit([(100, 0.2), (100, 0.4)]) == BatchTime(0.0, pytest.approx(0.003))
    with pytest.raises(ValueError, match="samples"):
        BatchTime.fit([])


@given(st.lists(st.tuples(st.integers(1, 10_000), st.floats(1e-6, 10)), min_size=1, max_size=20))
def test_predictions_are_never_negative_nor_falling(samples: list[tuple[int, float]]) -> None:
    fitted = BatchTime.fit(samples)
    assert fitted.base >= 0
    assert fitted.per_token >= 0
    assert fitted.predict(10_000) >= fitted.predict(1) >= 0


def test_slowdown_is_the_same_for_bulk_and_single_documents() -> None:
    line = BatchTime(0.006, 1e-6)
    bulk = single = Slowdown()
    for _ in range(40):
        bulk = bulk.after(4 * line.predict(8192), line.predict(8192))
        single = single.after(4 * line.predict(100), line.predict(100))
    assert bulk.value == pytest.approx(single.value) == pytest.approx(4.0, rel=0.01)


def test_no_prediction_changes_nothing_and_one_stall_is_bounded() -> None:
    assert Slowdown().after(1.0, 0.0).value == 1.0
    assert Slowdown().after(1000.0, 0.001).value == pytest.approx(1 + 0.2 * 19)
