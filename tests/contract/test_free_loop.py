"""A replica's event loop while a real model computes: it turns during every forward pass, and answers what it is asked."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pytest

from tests.contract.cases import CASES, Case, loaded
from tests.contract.test_serving import Spoiled, serve
from xinfer.engines.base import Encoded, LoadedModel


class Watched(Spoiled):
    """A real model that notes how often the event loop turned during each pass."""

    def __init__(self, inner: LoadedModel) -> None:
        super().__init__(inner)
        self.turns = 0
        self.during: list[int] = []

    def forward(self, batch: Sequence[Encoded]) -> npt.NDArray[np.float32]:
        before = self.turns
        values = super().forward(batch)
        self.during.append(self.turns - before)
        return values


@pytest.mark.parametrize("case", CASES[:2], ids=lambda case: case.name)
async def test_the_loop_turns_while_the_model_computes(case: Case) -> None:
    model = Watched(loaded(case.name))
    server = serve(case, model, budget=1024)
    items = tuple(case.items([f"a text of some length, number {n}, " * 12 for n in range(64)], "what is it about"))
    running = asyncio.create_task(server.run(items))
    while not running.done():
        model.turns += 1
        server.stats()
        await asyncio.sleep(0)
    assert len((await running).values) == 64
    assert len(model.during) >= 4
    assert min(model.during) > 0
    await server.close()
