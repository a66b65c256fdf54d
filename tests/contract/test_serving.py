"""The serving loop around real models: out of memory, a poisonous item, merging, all unseen by the neighbours."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pytest

from tests.contract.cases import CASES, Case, answers, case_of, loaded
from tests.contract.test_engines import QUERY, TEXTS, TOLERANCE
from tests.unit.serving.fakes import calibration
from xinfer.batching.work import WorkItem
from xinfer.catalog.spec import ModelType
from xinfer.cluster.device import DeviceReport
from xinfer.engines.base import Encoded, LoadedModel
from xinfer.errors import EngineError, OutOfMemory
from xinfer.serving.calibrate import ModelKind
from xinfer.serving.compute import ComputeThread
from xinfer.serving.server import ModelServer


class Spoiled(LoadedModel):
    """A real model that runs out of memory above a hidden size, and chokes on items of one length."""

    def __init__(self, inner: LoadedModel, most_tokens: int | None = None, poison_tokens: int | None = None) -> None:
        self._inner, self._most, self._poison = inner, most_tokens, poison_tokens
        self.max_tokens, self.activation, self.normalize = inner.max_tokens, inner.activation, inner.normalize
        self.dimensions, self.scores_depend_on_batch = inner.dimensions, inner.scores_depend_on_batch

    def tokenize(self, items: Sequence[WorkItem]) -> list[Encoded]:
        return self._inner.tokenize(items)

    def forward(self, batch: Sequence[Encoded]) -> npt.NDArray[np.float32]:
        if self._most is not None and len(batch) * max(item.tokens for item in batch) > self._most:
            raise OutOfMemory("hidden size")
        if any(item.tokens == self._poison for item in batch):
            raise EngineError("poison")
        return self._inner.forward(batch)

    def reports(self) -> tuple[DeviceReport, ...]:
        return self._inner.reports()


def serve(case: Case, model: LoadedModel, budget: int = 4096) -> ModelServer:
    return ModelServer(model, ModelKind(case.type is ModelType.RERANK), calibration(budget), ComputeThread())


exact_cases = pytest.mark.parametrize("case", [case for case in CASES if case.exact], ids=lambda case: case.name)


@exact_cases
async def test_oom_above_a_hidden_size_is_not_seen(case: Case) -> None:
    model = loaded(case.name)
    items = case.items([*TEXTS, *TEXTS], QUERY)
    server = serve(case, Spoiled(model, most_tokens=model.max_tokens + 50))
    result = await server.run(tuple(items))
    assert result.errors == ()
    assert np.abs(result.values - answers(model, items)).max() < TOLERANCE
    assert server.stats().oom_splits > 0
    await server.close()


@exact_cases
async def test_twelve_good_items_beside_a_poisonous_one(case: Case) -> None:
    model = loaded(case.name)
    good = case.items([f"good text number {n} " * (n % 3 + 1) for n in range(12)], QUERY)
    (poison,) = case.items(["Berlin has 3.7 million"], QUERY)
    lengths = [item.tokens for item in model.tokenize([*good, poison])]
    assert lengths[-1] not in lengths[:-1]
    server = serve(case, Spoiled(model, poison_tokens=lengths[-1]))
    wanted = answers(model, good)
    for place in (0, 6, 12):
        items = [*good[:place], poison, *good[place:]]
        result = await server.run(tuple(items))
        assert [(row, type(error)) for row, error in result.errors] == [(place, EngineError)]
        assert np.abs(np.delete(result.values, place, axis=0) - wanted).max() < TOLERANCE
    await server.close()


@pytest.mark.parametrize("name", ["tiny-xlm-roberta"])
async def test_a_poisonous_caller_beside_twelve_good_ones_at_once_fifty_rounds(name: str) -> None:
    case, model = case_of(name), loaded(name)
    good = case.items([f"good text number {n} " * (n % 3 + 1) for n in range(12)], QUERY)
    (poison,) = case.items(["Berlin has 3.7 million"], QUERY)
    poison_tokens = model.tokenize([poison])[0].tokens
    assert poison_tokens not in [item.tokens for item in model.tokenize(good)]
    server = serve(case, Spoiled(model, most_tokens=2 * model.max_tokens, poison_tokens=poison_tokens))
    wanted = answers(model, good)
    for turn in range(50):
        place = turn % 13
        results = await asyncio.gather(*(server.run((item,)) for item in [*good[:place], poison, *good[place:]]))
        (own,) = results.pop(place).errors
        assert isinstance(own[1], EngineError)
        assert all(result.errors == () for result in results)
        assert np.abs(np.concatenate([result.values for result in results]) - wanted).max() < TOLERANCE
    await server.close()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
async def test_many_callers_at_once_get_their_own_answers(case: Case) -> None:
    model = loaded(case.name)
    server = serve(case, model, budget=512)
    items = case.items(TEXTS[:8], QUERY)
    results = await asyncio.gather(*(server.run((item,)) for item in items))
    together = np.concatenate([result.values for result in results])
    assert np.abs(together - answers(model, items)).max() < (TOLERANCE if case.exact else 0.2)
    assert all(result.meta.get("scores_depend_on_batch", False) is not case.exact for result in results)
    await server.health()


@pytest.mark.parametrize("case", CASES[:4], ids=lambda case: case.name)
async def test_raw_skips_what_comes_after_the_model(case: Case) -> None:
    model = loaded(case.name)
    server = serve(case, model)
    (cooked,), (raw,) = case.items(TEXTS[:1], QUERY), case.items(TEXTS[:1], QUERY, raw=True)
    result = await server.run((cooked, raw))
    (expected,) = model.forward(model.tokenize([raw]))
    assert np.abs(result.values[1] - expected).max() < (1e-3 if case.exact else 0.2)
    assert np.abs(result.values[0] - result.values[1]).max() > 1e-3
