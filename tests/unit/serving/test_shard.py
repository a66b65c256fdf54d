"""Answers: activation, normalisation, raw items, failed rows."""

from __future__ import annotations

import numpy as np
import pytest

from tests.unit.serving.fakes import FakeModel, item
from xinfer.errors import EngineError
from xinfer.serving.shard import Shard, finish, result_of


def test_sigmoid_of_large_numbers_is_exact_and_never_overflows() -> None:
    model = FakeModel()
    model.activation = "sigmoid"
    with np.errstate(all="raise"):
        values = finish(np.array([0.0, 2.0, -2.0, 1e4, -1e4], dtype=np.float32), model)
    assert values.dtype == np.float32
    assert values == pytest.approx([0.5, 1 / (1 + np.exp(-2)), 1 / (1 + np.exp(2)), 1.0, 0.0], abs=1e-7)


def test_vectors_become_unit_length_and_a_zero_vector_stays_zero() -> None:
    model = FakeModel()
    model.normalize = True
    values = finish(np.array([[3.0, 4.0], [0.0, 0.0]], dtype=np.float32), model)
    assert values == pytest.approx(np.array([[0.6, 0.8], [0.0, 0.0]]))


def test_raw_items_keep_the_models_number() -> None:
    model = FakeModel()
    model.activation = "sigmoid"
    shard = settled(model, [item("a"), item("a", raw=True)])
    assert result_of(shard, model).values == pytest.approx([1 / (1 + np.exp(-1)), 1.0])


def test_a_failed_row_is_nan_with_its_error_and_the_others_stand() -> None:
    model = FakeModel()
    shard = settled(model, [item("aa"), item("bbb"), item("cccc")], failed=1)
    result = result_of(shard, model)
    assert np.isnan(result.values[1])
    assert result.values[[0, 2]].tolist() == [2.0, 4.0]
    assert [row for row, _ in result.errors] == [1]


def test_all_rows_failed_keeps_the_shape_of_vectors() -> None:
    model = FakeModel()
    model.dimensions = 3
    shard = settled(model, [item("a")], failed=0)
    assert result_of(shard, model).values.shape == (1, 3)


def settled(model: FakeModel, items: list, failed: int | None = None) -> Shard:
    shard = Shard(items, lambda outcome: None, 0.0)
    encoded = model.tokenize(items)
    shard.tokenized(list(encoded), {}, 0.0, 0.0)
    for row, value in enumerate(model.forward(encoded)):
        shard.settle(row, EngineError("no") if row == failed else value)
    assert shard.left == 0
    return shard
