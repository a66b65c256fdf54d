"""What work is told while no replica can take it."""

from __future__ import annotations

import pytest

from tests.support.nouns import spec
from xinfer.batching.work import WorkItem
from xinfer.cluster.ids import Address, Epoch, ModelUid, ReplicaId
from xinfer.cluster.routes import ModelRoutes, Route
from xinfer.errors import ModelLoading, ModelNotFound, Unavailable, XinferError
from xinfer.routing.holding import Hold, refusal
from xinfer.routing.pending import PendingRequest
from xinfer.routing.tokens import size

M = ModelUid("m")
THERE = (Route(ReplicaId("a"), Epoch(1), "a@1", Address("127.0.0.1:1")),)


def told(routes: ModelRoutes | None, was_ready: bool = True, waited: float = 0.0) -> XinferError | None:
    return refusal("m", routes, was_ready, waited, hold=30.0, wake=120.0)


@pytest.mark.parametrize(
    ("routes", "was_ready", "kind", "status", "sentence"),
    [
        (None, True, ModelNotFound, 404, "was stopped"),
        (ModelRoutes(M, spec(), was_ready=True), True, ModelNotFound, 404, "is being stopped"),
        (ModelRoutes(M, spec(), failed="no such file"), False, Unavailable, 503, "no such file"),
        (ModelRoutes(M, spec(), starting=1), False, ModelLoading, 503, "still loading"),
    ],
)
def test_what_waiting_cannot_help_is_refused_at_once(
    routes: ModelRoutes | None, was_ready: bool, kind: type[XinferError], status: int, sentence: str
) -> None:
    error = told(routes, was_ready)
    assert type(error) is kind
    assert error is not None
    assert error.http_status == status
    assert sentence in error.message


@pytest.mark.parametrize(
    "routes",
    [
        ModelRoutes(M, spec(), starting=1, was_ready=True),
        ModelRoutes(M, spec(), starting=1, was_ready=True, failed="one of two"),
        ModelRoutes(M, spec(), THERE, was_ready=True),  # listed but not answering: the next probe may pass
    ],
)
def test_a_replica_that_may_come_back_is_waited_for_so_long(routes: ModelRoutes) -> None:
    assert told(routes, waited=29.9) is None
    late = told(routes, waited=30.0)
    assert isinstance(late, ModelLoading)
    assert late.retry_after


def test_the_first_replica_is_waited_for_while_it_warms_up() -> None:
    warming = ModelRoutes(M, spec(), starting=1, warming=True)
    assert told(warming, was_ready=False, waited=29.9) is None
    late = told(warming, was_ready=False, waited=30.0)
    assert isinstance(late, ModelLoading)
    assert "within 30 s" in late.message


def test_what_was_held_for_a_replica_that_failed_to_warm_up_is_told_at_once() -> None:
    hold = Hold("m", 30.0, 120.0)
    hold.update(ModelRoutes(M, spec(), starting=1, warming=True))
    hold.watch(False, 0.0)
    assert hold.refusal(arrived=1.0, now=2.0) is None
    hold.update(ModelRoutes(M, spec(), starting=1))
    assert isinstance(hold.refusal(arrived=1.0, now=2.0), ModelLoading)


def test_time_without_a_replica_counts_from_when_both_were_there() -> None:
    hold = Hold("m", 30.0, 120.0)
    hold.update(ModelRoutes(M, spec(), THERE, was_ready=True))
    hold.watch(True, 0.0)
    assert hold.refusal(arrived=0.0, now=100.0) is None
    hold.watch(False, 100.0)
    hold.watch(False, 110.0)
    assert hold.refusal(arrived=0.0, now=129.0) is None
    assert isinstance(hold.refusal(arrived=0.0, now=130.0), ModelLoading)
    assert hold.refusal(arrived=120.0, now=149.0) is None


@pytest.mark.parametrize("routes", [ModelRoutes(M, spec(), asleep=True), ModelRoutes(M, spec(), starting=1, waking=True, was_ready=True)])
def test_a_model_that_sleeps_or_wakes_is_waited_for_longer(routes: ModelRoutes) -> None:
    assert told(routes, was_ready=False, waited=119.9) is None
    late = told(routes, was_ready=False, waited=120.0)
    assert isinstance(late, ModelLoading)
    assert late.retry_after
    assert "was asleep and did not wake within 120 s" in late.message
    hold = Hold("m", 30.0, 120.0)
    hold.update(routes)
    hold.watch(False, 0.0)
    request = PendingRequest([(WorkItem("x"), size(WorkItem("x")), 1)], lane="interactive", arrived=5.0)
    assert hold.wake_at([request]) == 125.0


def test_a_model_that_failed_to_wake_is_told_at_once() -> None:
    error = told(ModelRoutes(M, spec(), waking=True, was_ready=True, failed="no such file"))
    assert isinstance(error, Unavailable)
    assert "no such file" in error.message
