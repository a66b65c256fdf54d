"""Tokenising isolates the items that cannot be."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tests.unit.serving.fakes import UNREADABLE, FakeModel, item
from xinfer.batching.work import WorkItem
from xinfer.engines.base import Encoded
from xinfer.errors import EngineError, InvalidItem
from xinfer.serving.isolate import tokenize_each


@pytest.mark.parametrize("bad", [[], [0], [12], [5, 6], list(range(13))])
def test_only_the_bad_rows_fail(bad: list[int]) -> None:
    items = [item(UNREADABLE if row in bad else "word " * (row + 1)) for row in range(13)]
    encoded, errors = tokenize_each(FakeModel(), items)
    assert sorted(errors) == bad
    assert [row for row, one in enumerate(encoded) if one is None] == bad
    assert all(one is None or one.tokens == row + 1 for row, one in enumerate(encoded))
    assert all(isinstance(error, InvalidItem) for error in errors.values())


def test_nothing_in_nothing_out() -> None:
    assert tokenize_each(FakeModel(), []) == ([], {})


def test_an_engine_that_loses_items_is_caught() -> None:
    class Loses(FakeModel):
        def tokenize(self, items: Sequence[WorkItem]) -> list[Encoded]:
            return []

    _, errors = tokenize_each(Loses(), [item("a"), item("b")])
    assert all(isinstance(error, EngineError) for error in errors.values())
    assert len(errors) == 2


def test_what_an_engine_raises_by_accident_belongs_to_the_item() -> None:
    class Chokes(FakeModel):
        def tokenize(self, items: Sequence[WorkItem]) -> list[Encoded]:
            if any(one.pair == "b" for one in items):
                raise KeyError("b")
            return super().tokenize(items)

    encoded, errors = tokenize_each(Chokes(), [item("a"), item("b"), item("c")])
    assert list(errors) == [1]
    assert "KeyError" in errors[1].message
    assert encoded[0] is not None
    assert encoded[2] is not None
