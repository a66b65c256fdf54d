"""scripts/simulate, cut short: middle-sized and larger clusters keep every invariant. Speed is the script's own matter."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from scripts.simulation import __main__ as script
from scripts.simulation.figures import Figure, quantile
from scripts.simulation.histories import Outcome, Task, full_shape, run, shape_of
from tests.simulation import invariants


def test_the_drawn_sizes_are_of_both_kinds() -> None:
    shapes = [shape_of(seed) for seed in range(60)]
    assert 10 < sum(shape is not None for shape in shapes) < 40


@pytest.mark.parametrize("seed", [seed for seed in range(12) if shape_of(seed) is not None][:2])
def test_a_middle_sized_cluster_comes_through(seed: int) -> None:
    outcome = run(Task(seed, 400))
    assert outcome.broken == ""
    assert outcome.workers >= 5
    assert outcome.steps >= 400
    assert outcome.events["ReplicaReady"] > 5
    assert outcome.started > 5
    assert outcome.wholes >= 4


def test_a_full_cluster_restarts_with_its_supervisor_and_comes_through() -> None:
    outcome = run(Task(1, 600, full_shape(60, 4, 300)))
    assert outcome.broken == ""
    assert outcome.events["WorkerJoined"] >= 60
    assert outcome.events["WorkerBeat"] > 100
    assert outcome.started > 0
    assert set(outcome.seconds) == set(outcome.events)


def test_a_broken_invariant_is_told_with_its_seed_its_step_and_how_to_have_it_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(invariants, "usable_bytes", lambda device: 1)
    outcome = run(Task(5, 300))
    assert outcome.broken.startswith("seed 5, step ")
    assert "bytes reserved of 1" in outcome.broken
    assert outcome.task.replay == "scripts/simulate --replay 5 --steps 300"


def test_the_command_prints_writes_and_judges(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "found.json"
    small = ["--workers", "12", "--devices", "2", "--replicas", "30", "--full-steps", "100", "--full-histories", "1"]
    argv = [*small, "--histories", "2", "--steps", "100", "--jobs", "1", "--tries", "3", "--requests", "20", "--json", str(out)]
    script.main(argv)
    found = json.loads(out.read_text())["figures"]
    assert {figure["part"] for figure in found} == {"histories", "full size", "core", "router"}
    broken = next(figure for figure in found if figure["name"] == "broken invariants")
    assert (broken["value"], broken["held"]) == (0, True)
    assert "WorkerBeat" in capsys.readouterr().out
    monkeypatch.setattr(script, "run_histories", lambda asked, console: [Figure("histories", "broken invariants", 1, most=0)])
    assert script.main([*argv, "--parts", "histories"]) == 1
    monkeypatch.setattr(script, "run_histories", lambda asked, console: [Figure("histories", "broken invariants", 0, most=0)])
    assert script.main([*argv, "--parts", "histories"]) == 0


def test_a_replay_is_the_same_history() -> None:
    one, other = run(Task(3, 200)), run(Task(3, 200))
    assert isinstance(one, Outcome)
    assert (one.steps, one.events, one.started) == (other.steps, other.events, other.started)


def test_quantiles_are_values_that_were_seen() -> None:
    assert quantile([], 0.5) == 0.0
    assert quantile([3.0, 1.0, 2.0], 0.5) == 2.0
    assert quantile([float(n) for n in range(1, 101)], 0.99) == 99.0
