"""The table of moves."""

from __future__ import annotations

import pytest

from xinfer.cluster.ids import Epoch, ModelUid
from xinfer.cluster.replica import HOLDS_SLOT, STARTING, Phase, Progress, Replica
from xinfer.control.lifecycle import TABLE, legal, move, replica_id


def at(phase: Phase) -> Replica:
    return Replica(replica_id("m", 0), ModelUid("m"), 0, Epoch(1), phase=phase, progress=Progress(phase.value, 0.5, (("f", 1, 2),), 10.0))


def test_every_phase_has_a_row_and_an_end() -> None:
    assert set(TABLE) == set(Phase)
    for phase in Phase:
        reached, frontier = {phase}, [phase]
        while frontier:
            for after in TABLE[frontier.pop()] - reached:
                reached.add(after)
                frontier.append(after)
        assert Phase.STOPPED in reached


def test_what_leaves_never_comes_back() -> None:
    for phase in (Phase.DRAINING, Phase.STOPPING, Phase.STOPPED):
        assert TABLE[phase] <= {Phase.STOPPING, Phase.STOPPED}


def test_every_life_may_end_badly_at_any_point() -> None:
    for phase in STARTING | {Phase.READY}:
        assert TABLE[phase] >= {Phase.BACKOFF, Phase.FAILED, Phase.QUEUED}


def test_only_queued_and_backoff_become_spawning() -> None:
    assert {phase for phase in Phase if phase not in HOLDS_SLOT and legal(phase, Phase.SPAWNING)} == {Phase.QUEUED, Phase.BACKOFF}


@pytest.mark.parametrize(("before", "after"), [(Phase.READY, Phase.LOADING), (Phase.FAILED, Phase.READY), (Phase.DRAINING, Phase.READY)])
def test_an_illegal_move_is_none(before: Phase, after: Phase) -> None:
    assert move(at(before), after, 20.0) is None


def test_a_new_phase_begins_its_progress_anew() -> None:
    after = move(at(Phase.LOADING), Phase.WARMING, 20.0, pid=3)
    assert after is not None
    assert (after.progress, after.pid) == (Progress("warming_up", 0.0, (), 20.0), 3)


def test_progress_within_a_phase_keeps_its_beginning() -> None:
    after = move(at(Phase.LOADING), Phase.LOADING, 20.0, progress=Progress("loading", 0.9))
    assert after is not None
    assert after.progress == Progress("loading", 0.9, (), 10.0)
