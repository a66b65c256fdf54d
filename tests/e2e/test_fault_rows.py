"""Rows of scripts/faults, shortened: whatever one process, host or link does, requests that could be served are served."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.fault_suite.__main__ import ROWS, place
from scripts.fault_suite.ground import SHORT, Ground
from scripts.fault_suite.grounds import GROUNDS
from scripts.fault_suite.row import Row, run


def chosen() -> list[object]:
    """Rows with the cluster they run on; those of one cluster together, so that it is started once."""
    places = {row.name: place(row) for row in ROWS.values()}
    found: list[object] = []
    for ground in ("", *GROUNDS):
        for row in ROWS.values():
            if places[row.name][0] == ground:
                marks = [] if ground else [pytest.mark.skip(reason=f"not possible here: {places[row.name][1]}")]
                found.append(pytest.param(ground, row, id=row.name, marks=marks))
    return found


@pytest.fixture(scope="module")
def ground(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, reranker_onnx: Path) -> Iterator[Ground]:
    with GROUNDS[request.param](tmp_path_factory.mktemp("faults"), reranker_onnx, SHORT) as made:
        yield made


@pytest.mark.parametrize(("ground", "row"), chosen(), indirect=["ground"])
def test_a_fault_is_survived(ground: Ground, row: Row) -> None:
    finding = run(row, ground)
    assert finding.held, finding
