"""`rebalance`: show the moves, follow them, say what failed or still finds no room."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.unit.cli.conftest import ADDRESS, FakeServer, model, models, replica, run
from xinfer.cli import rebalance as module
from xinfer.schemas.cluster import RebalanceReply
from xinfer.schemas.launch import PlannedMove

PATH = "/v1/cluster/rebalance"
MOVE = PlannedMove(
    model_uid="rr",
    replica_model_uid="rr-0",
    slot=f"{ADDRESS}@0",
    to_slot=f"{ADDRESS}@3",
    reserved_bytes=6 << 30,
    why="makes room for big-0, which needs 20 GiB on a device",
)
BEGUN = MOVE.model_copy(update={"successor": "rr-2"})
OTHER = MOVE.model_copy(update={"replica_model_uid": "rr-1", "successor": "rr-3"})


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "POLL", 0.0)


def reply(*moves: PlannedMove, dry_run: bool = False, unmet: tuple[str, ...] = ()) -> RebalanceReply:
    return RebalanceReply(dry_run=dry_run, moves=list(moves), freed=[f"{ADDRESS}@0"] if moves else [], unmet=list(unmet))


def looks(server: FakeServer, *looks: list[Any]) -> None:
    left = iter(looks)
    server.on("GET", "/v1/models", models(model()))
    server.on("GET", "/v1/models/rr/replicas", lambda request: [entry.model_dump() for entry in next(left)])


def begun(server: FakeServer, *then: PlannedMove) -> None:
    """The first moves begin; asked again, ``then``, and after that nothing."""
    answers = iter([reply(BEGUN), *([reply(*then)] if then else []), reply()])
    server.on("POST", PATH, lambda request: next(answers))


def test_a_dry_run_shows_the_moves_and_asks_for_none(server: FakeServer) -> None:
    server.on("POST", PATH, reply(MOVE, dry_run=True))
    done = run("rebalance", "--dry-run", "--max-moves", "3")
    assert done.exit_code == 0
    assert server.sent("POST", PATH) == {"dry_run": True, "max_moves": 3}
    assert done.stdout.splitlines()[1].split("\t")[:3] == ["rr-0", f"{ADDRESS}@0", f"{ADDRESS}@3"]
    assert "makes room for big-0" in done.stdout
    assert len(server.requests) == 1
    assert json.loads(run("rebalance", "--dry-run", "--json").stdout)["moves"][0]["to_slot"] == f"{ADDRESS}@3"
    assert run("rebalance", "--dry-run", "--quiet").stdout == "rr-0\n"


def test_it_waits_until_the_old_ones_are_gone_and_goes_on_until_nothing_is_left(server: FakeServer, terminal: None) -> None:
    begun(server, OTHER)
    looks(
        server,
        [replica(0), replica(2, "loading")],
        [replica(0, "draining"), replica(2)],
        [replica(1), replica(2)],
        [replica(2), replica(3)],
    )
    done = run("rebalance")
    assert done.exit_code == 0
    assert f"rr-0 has moved to {ADDRESS}@3: it is rr-2 now." in done.stderr
    assert f"rr-1 has moved to {ADDRESS}@3: it is rr-3 now." in done.stderr
    assert done.stderr.count(f"Free as a whole when this is done: {ADDRESS}@0.") == 2
    assert "Nothing would be gained" not in done.stderr
    assert len([r for r in server.requests if r.method == "POST"]) == 3


def test_programs_get_all_of_it_at_once_and_a_limit_is_of_all_of_it(server: FakeServer) -> None:
    begun(server, OTHER)
    looks(server, [replica(2)], [replica(3)])
    done = json.loads(run("rebalance", "--max-moves", "2", "--json").stdout)
    assert [move["replica_model_uid"] for move in done["moves"]] == ["rr-0", "rr-1"]
    assert [json.loads(r.content)["max_moves"] for r in server.requests if r.method == "POST"] == [2, 1]


def test_a_move_that_fails_is_an_error_with_its_reason(server: FakeServer) -> None:
    begun(server)
    looks(server, [replica(0, error_message="It was not moved: No such file.")])
    done = run("rebalance")
    assert done.exit_code == 1
    assert "rr-0 was not moved: No such file." in done.stderr
    assert len([r for r in server.requests if r.method == "POST"]) == 1


def test_a_dry_run_says_what_would_find_no_room(server: FakeServer) -> None:
    server.on("POST", PATH, reply(dry_run=True, unmet=("big-0",)))
    done = run("rebalance", "--dry-run")
    assert (done.exit_code, "There would still be no room for big-0." in done.stderr) == (1, True)


def test_without_waiting(server: FakeServer) -> None:
    begun(server)
    assert run("rebalance", "--no-wait").exit_code == 0
    assert [r.method for r in server.requests] == ["POST"]


def test_room_for_a_launch_and_what_finds_none(server: FakeServer) -> None:
    server.on("POST", PATH, reply(unmet=("a replica of 20 GiB on a device",)))
    done = run("rebalance", "--memory", "20GiB", "--n-gpu", "2", "-r", "3", "-en", "onnxruntime")
    assert done.exit_code == 1
    assert "There is no room for a replica of 20 GiB on a device." in done.stderr
    sent = {"dry_run": False, "memory": "20GiB", "n_gpu": 2, "replica": 3, "model_engine": "onnxruntime"}
    assert server.sent("POST", PATH) == sent


def test_where_all_is_well_nothing_is_done(server: FakeServer, terminal: None) -> None:
    server.on("POST", PATH, reply())
    done = run("rebalance")
    assert done.exit_code == 0
    assert "Nothing would be gained." in done.stderr
    assert len(server.requests) == 1
