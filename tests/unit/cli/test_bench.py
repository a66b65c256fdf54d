"""`xinfer bench`: flags to a plan, and what it says without its package."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from xinfer.bench import driver
from xinfer.bench.figures import Done, summarise
from xinfer.bench.load import Kind
from xinfer.bench.plan import Plan, Run
from xinfer.bench.verdict import Failure
from xinfer.cli.main import cli


@pytest.fixture
def plans(monkeypatch: pytest.MonkeyPatch) -> list[Plan]:
    """Nothing is sent; every plan is noted and answered with one good request."""
    seen: list[Plan] = []

    def pretend(plan: Plan) -> Run:
        seen.append(plan)
        return Run(summarise([Done(0.0, 0.1, 20)], 1.0))

    monkeypatch.setattr(driver, "run", pretend)
    return seen


def call(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        cli.main(["bench", *arguments])
    return int(ended.value.code or 0)


def test_the_defaults_are_600_requests_of_20_documents_from_32_clients(plans: list[Plan]) -> None:
    assert call("-u", "ce") == 0
    (plan,) = plans
    assert (plan.requests, plan.load.sizes, plan.load.words, plan.concurrency, plan.rate) == (600, (20,), (20, 200), 32, None)
    assert (plan.load.kind, plan.load.seed) == (Kind.RERANK, 7)


def test_a_duration_alone_sends_as_many_as_it_takes(plans: list[Plan]) -> None:
    call("-u", "ce", "--duration", "5", "--docs-cycle", "60,1", "--words", "30", "--priority", "bulk", "--background", "3")
    (plan,) = plans
    assert (plan.requests, plan.duration, plan.load.sizes, plan.load.words) == (None, 5.0, (60, 1), (30, 30))
    assert (plan.priority, plan.background) == ("bulk", 3)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--docs", "3", "--docs-cycle", "1,2"], "--docs-cycle"),
        (["--rate", "3", "-c", "2"], "--rate"),
        (["--kind", "mixed"], "--embedding-model"),
        (["--docs-cycle", "0"], "--docs-cycle"),
        (["--words", "9-3"], "--words"),
        (["-n", "0"], "--requests"),
        (["--json", "/nowhere/x.json"], "/nowhere"),
    ],
)
def test_bad_input_is_one_sentence_that_names_the_flag(
    plans: list[Plan], capsys: pytest.CaptureFixture[str], arguments: list[str], named: str
) -> None:
    assert call("-u", "ce", *arguments) == 2
    error = capsys.readouterr().err
    assert named in error.splitlines()[0]
    assert plans == []


def test_a_missing_package_is_one_sentence_with_the_command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for name in [name for name in sys.modules if name.startswith("xinfer.bench")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delattr("xinfer.bench.driver", raising=False)
    monkeypatch.setitem(sys.modules, "aiohttp", None)
    assert call("-u", "ce") == 2
    error = capsys.readouterr().err
    assert "aiohttp" in error
    assert "pip install 'xinfer-runtime[bench]'" in error


def test_a_failed_request_ends_with_1_and_files_are_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    broken: Any = Run(summarise([Done(0, 1, 2), Done(0, 1, 2, Failure("HTTP 500", "HTTP 500: it broke"))], 1.0))
    monkeypatch.setattr(driver, "run", lambda plan: broken)
    assert call("-u", "ce", "--json", str(tmp_path / "a.json"), "--svg", str(tmp_path / "a.svg")) == 1
    assert '"failed": 1' in (tmp_path / "a.json").read_text()
    assert (tmp_path / "a.svg").read_text().startswith("<svg")
