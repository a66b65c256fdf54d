"""What work is told while no replica can take it."""

from __future__ import annotations

import pytest

from tests.support.nouns import spec
from xinfer.cluster.ids import Address, Epoch, ModelUid, ReplicaId
from xinfer.cluster.routes import ModelRoutes, Route
from xinfer.errors import ModelLoading, ModelNotFound, Unavailable, XinferError
from xinfer.routing.holding import refusal

M = ModelUid("m")
THERE = (Route(ReplicaId("a"), Epoch(1), "a@1", Address("127.0.0.1:1")),)


def told(routes: ModelRoutes | None, was_ready: bool = True, waited: float = 0.0) -> XinferError | None:
    return refusal("m", routes, was_ready, waited, hold=30.0)


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
