"""What the supervisor asks of workers before a launch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.unit.control.clusters import worker
from xinfer.actors.refs import WorkerRef
from xinfer.actors.survey import Survey
from xinfer.catalog.files import ModelFiles
from xinfer.cluster.ids import Address
from xinfer.errors import Forbidden, ModelNotFound, XinferError
from xinfer.schemas.launch import LaunchRequest

FILES = ModelFiles(path="/m/ce")


class Asked(WorkerRef):
    """A worker that answers as the test says and notes what it was asked."""

    def __init__(self, answer: ModelFiles | XinferError) -> None:
        self.answer = answer
        self.roots: list[Sequence[Path] | None] = []

    async def inspect(self, path: str, roots: Sequence[Path] | None = None) -> ModelFiles:
        self.roots.append(roots)
        if isinstance(self.answer, XinferError):
            raise self.answer
        return self.answer


class Prepared(Survey):
    """Of two workers."""

    def __init__(self, *answers: ModelFiles | XinferError) -> None:
        super().__init__()
        self.workers = [worker("a"), worker("b")]
        self.asked = dict(zip((w.address for w in self.workers), map(Asked, answers), strict=True))

    def ref(self, address: Address) -> WorkerRef:
        return self.asked[address]


async def test_every_worker_is_told_the_roots_that_a_path_must_be_in() -> None:
    roots = (Path("/m"),)
    survey = Prepared(FILES, ModelNotFound("not here"))
    assert (await survey.look(LaunchRequest(model_path="/m/ce"), survey.workers, roots)).files is FILES
    assert [each.roots for each in survey.asked.values()] == [[roots], [roots]]
    assert (await survey.look(LaunchRequest(model_path="/m/ce"), survey.workers)).files is FILES
    assert [each.roots[-1] for each in survey.asked.values()] == [None, None]


async def test_a_path_that_leads_out_on_one_worker_is_taken_on_none() -> None:
    survey = Prepared(FILES, Forbidden("outside"))
    with pytest.raises(Forbidden, match="outside"):
        await survey.look(LaunchRequest(model_path="/m/ce"), survey.workers, (Path("/m"),))
