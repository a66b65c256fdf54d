"""What the supervisor asks of workers before a launch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from tests.unit.control.clusters import worker
from xinfer.actors.refs import WorkerRef
from xinfer.actors.survey import Survey
from xinfer.catalog.files import ModelFiles
from xinfer.cluster.ids import Address, WorkerId
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
    """Of as many workers as there are answers."""

    def __init__(self, *answers: ModelFiles | XinferError) -> None:
        super().__init__()
        self.workers = [replace(worker(), id=WorkerId(f"w{n}"), address=Address(f"w{n}:1")) for n in range(len(answers))]
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


def asked(survey: Prepared) -> int:
    return sum(bool(each.roots) for each in survey.asked.values())


@pytest.mark.parametrize(("place", "expected"), [(0, 8), (7, 8), (8, 64), (199, 200)])
async def test_a_folder_is_looked_for_on_a_few_workers_first(place: int, expected: int) -> None:
    answers: list[ModelFiles | XinferError] = [ModelNotFound("not here")] * 200
    answers[place] = FILES
    survey = Prepared(*answers)
    assert (await survey.look(LaunchRequest(model_path="/m/ce"), survey.workers)).files is FILES
    assert asked(survey) == expected


async def test_with_roots_all_are_asked_at_once() -> None:
    survey = Prepared(FILES, *[ModelNotFound("not here")] * 99)
    await survey.look(LaunchRequest(model_path="/m/ce"), survey.workers, (Path("/m"),))
    assert asked(survey) == 100


async def test_a_folder_that_nobody_has_is_looked_for_everywhere() -> None:
    survey = Prepared(*[ModelNotFound("not here")] * 30)
    with pytest.raises(ModelNotFound, match="not here"):
        await survey.look(LaunchRequest(model_path="/m/ce"), survey.workers)
    assert asked(survey) == 30
