"""Every route of the application and who may use it: one table, which a route that is in no row of it fails."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.routing import BaseRoute, Route

from tests.api.keyholders import RERANK, WHO, Guarded
from xinfer.api.gate import OPEN, is_page
from xinfer.web import static

LAUNCH = {"model_name": "bge-reranker-base", "model_uid": "new"}
EVERYONE = set(WHO)
NAMES = {"model_uid": "ce", "replica_id": "0", "worker": "w", "name": "none", "wanted_id": "1", "model_type": "rerank"}
"""What stands in place of a path's parameters."""

# Method, route, what follows the path, body, and who may beside admins. Others are refused by 403.
TABLE: list[tuple[str, str, str, Any, set[str]]] = [
    # Inference takes `infer` of that model.
    ("POST", "/v1/rerank", "", RERANK, {"ce", "all"}),
    ("POST", "/v2/rerank", "", RERANK, {"ce", "all"}),
    ("POST", "/rerank", "", RERANK, {"ce", "all"}),
    ("POST", "/rerank", "?model=ce", {"query": "q", "texts": ["a"]}, {"ce", "all"}),
    ("POST", "/v1/embeddings", "", {"model": "emb", "input": "x"}, {"all"}),
    ("POST", "/v1/chat/completions", "", {"model": "chat", "messages": [{"role": "user", "content": "x"}]}, {"all"}),
    ("POST", "/v1/completions", "", {"model": "chat", "prompt": "x"}, {"all"}),
    ("POST", "/v1/messages", "", {"model": "chat", "max_tokens": 5, "messages": [{"role": "user", "content": "x"}]}, {"all"}),
    ("POST", "/anthropic/v1/messages", "", {"model": "chat", "max_tokens": 5, "messages": [{"role": "user", "content": "x"}]}, {"all"}),
    ("POST", "/embed", "?model=emb", {"inputs": "x"}, {"all"}),
    ("POST", "/", "?model=emb", {"inputs": "x"}, {"all"}),
    ("POST", "/v1/models/{model_uid:path}/requests/{wanted_id}/abort", "", {}, {"ce", "all"}),
    # Whatever begins or moves replicas takes `launch` of that model.
    ("POST", "/v1/models", "", LAUNCH, {"launcher"}),
    ("POST", "/v1/plan", "", LAUNCH, {"launcher"}),
    ("POST", "/v1/models", "", {**LAUNCH, "model_uid": "other"}, set()),
    ("POST", "/v1/models", "", {**LAUNCH, "model_uid": None}, set()),
    ("POST", "/v1/models/{model_uid:path}/replicas", "", {"replica": 1}, {"launcher"}),
    ("POST", "/v1/models/{model_uid:path}/scale", "", {"replica": 3}, {"launcher"}),
    ("POST", "/v1/models/{model_uid:path}/scale", "", {"min_replica": 0, "max_replica": 3}, {"launcher"}),
    ("POST", "/v1/models/{model_uid:path}/replicas/{replica_id}/move", "", {}, {"launcher"}),
    # So do their logs: a library may print anything, and who only reads may be a scraper.
    ("GET", "/v1/models/{model_uid:path}/replicas/{replica_id}/logs", "", None, {"launcher"}),
    # Whatever only ends them takes `stop`.
    ("DELETE", "/v1/models/{model_uid:path}/replicas/{replica_id}", "", None, {"stopper"}),
    ("POST", "/v1/models/{model_uid:path}/cancel", "", {}, {"stopper"}),
    ("DELETE", "/v1/models/{model_uid:path}", "", None, {"stopper"}),
    ("DELETE", "/v1/models/{model_uid:path}", "?drain=false", None, {"stopper"}),
    # A look at the whole cluster takes `read` of all models.
    ("GET", "/v1/cluster/slots", "", None, {"reader"}),
    ("GET", "/v1/cluster/info", "", None, {"reader"}),
    ("GET", "/v1/cluster/events", "", None, {"reader"}),
    ("GET", "/v1/cluster/history", "", None, {"reader"}),
    ("GET", "/v1/cluster/readings", "", None, {"reader"}),
    ("GET", "/v1/cluster/series", "?worker=a", None, {"reader"}),
    ("GET", "/v1/cluster/devices", "", None, {"reader"}),
    ("GET", "/v1/workers", "", None, {"reader"}),
    ("GET", "/v1/workers/{worker}/drain", "", None, {"reader"}),
    ("GET", "/v1/supervisor", "", None, {"reader"}),
    ("GET", "/status", "", None, {"reader"}),
    ("GET", "/metrics", "", None, {"reader"}),
    # What touches models of everybody, runs code, or makes keys is for admins.
    ("POST", "/v1/models", "", {**LAUNCH, "trust_remote_code": True}, set()),
    ("POST", "/v1/plan", "", {**LAUNCH, "trust_remote_code": True}, set()),
    ("POST", "/v1/models", "", {**LAUNCH, "packages": ["einops"]}, set()),
    ("POST", "/v1/plan", "", {**LAUNCH, "packages": ["einops"]}, set()),
    ("POST", "/v1/workers/{worker}/drain", "", {"undo": False}, set()),
    ("POST", "/v1/workers/{worker}/upgrade", "", None, set()),
    ("POST", "/v1/cluster/rebalance", "", {"dry_run": True}, set()),
    ("POST", "/v1/cluster/rebalance", "", {}, set()),
    ("GET", "/v1/keys", "", None, set()),
    ("POST", "/v1/keys", "", {"name": "mine"}, set()),
    ("DELETE", "/v1/keys/{name}", "", None, set()),
]
REFUSED_TO_ALL = [("POST", "/v1/model_registrations/{model_type}"), ("DELETE", "/v1/model_registrations/{model_type}/{model_name:path}")]
"""Not offered yet: 403 but for admins, who are told so by 400."""
FOR_EVERY_KEY = [
    # Models that the key has nothing to do with are not there; `tests/api/test_keys.py` looks at what is shown.
    ("GET", "/v1/models"),
    ("GET", "/v1/models/instances"),
    ("GET", "/v1/launches"),
    ("GET", "/v1/models/{model_uid:path}"),
    ("GET", "/v1/models/{model_uid:path}/replicas"),
    ("GET", "/v1/models/{model_uid:path}/progress"),
    ("GET", "/v1/models/{model_uid:path}/ready"),
    ("GET", "/v1/requests/{wanted_id}/why"),
    # What could be launched, the same for all.
    ("GET", "/v1/model_registrations/{model_type}"),
    ("GET", "/v1/model_registrations/{model_type}/{model_name:path}"),
    ("GET", "/v1/engines/{model_type}/{model_name:path}"),
    ("GET", "/v1/engines/{model_name}"),
    ("GET", "/v1/cache/models"),
]


def routes_in(routes: Iterable[BaseRoute]) -> Iterable[Route]:
    """With those of routers within routers; a kind of route that nobody has thought of is an error."""
    for route in routes:
        if isinstance(route, Route):
            yield route
        else:
            yield from routes_in(route.original_router.routes)  # type: ignore[attr-defined]


def operations(app: FastAPI) -> set[tuple[str, str]]:
    """Every method and path that the application answers; HEAD is answered as GET."""
    return {(method, route.path) for route in routes_in(app.routes) for method in route.methods or () if method != "HEAD"}


def path_of(route: str) -> str:
    """With something in place of each parameter."""
    return route.replace(":path}", "}").format(model_name="bge-reranker-base", rest="x", **NAMES)


async def test_every_route_is_in_the_table_once_and_no_other(guarded: Guarded) -> None:
    """Whoever adds a route says here who may use it."""
    every = operations(guarded.app)
    assert len(every) > 45
    open_ones = {(method, path) for method, path in every if path in OPEN or (method == "GET" and is_page(path))}
    assert {path for _, path in open_ones} == {*OPEN, "/", *static.PAGES, "/assets/{name:path}"}, "an open path that is none"
    table = {(method, path) for method, path, *_ in TABLE}
    parts = [open_ones, table, set(REFUSED_TO_ALL), set(FOR_EVERY_KEY)]
    assert set().union(*parts) == every
    assert sum(map(len, parts)) == len(every)


async def test_without_a_key_every_path_is_closed_but_those_that_are_named_open(guarded: Guarded) -> None:
    every = [(method, path_of(route)) for method, route in operations(guarded.app)]
    every.remove(("POST", "/token"))  # a log-in without a password is 401 as well
    others = [
        ("GET", "/nowhere"),
        ("PUT", "/v1/models"),
        ("POST", "/health/"),
        ("GET", "/docs/"),
        ("OPTIONS", "/v1/models"),
    ]
    for method, path in [*every, *others]:
        status = await guarded.status(None, method, path, json={})
        assert (status == 401) is not (path in OPEN or (method == "GET" and is_page(path))), (method, path, status)


@pytest.mark.parametrize(("method", "route", "more", "body", "allowed"), TABLE)
async def test_the_table(guarded: Guarded, method: str, route: str, more: str, body: Any, allowed: set[str]) -> None:
    """403 in the usual shape for all but those; an admin last, as it may change what is there."""
    path = path_of(route) + more
    for who in [*sorted(EVERYONE - {"root"} - allowed), *sorted(allowed), "root"]:
        before = guarded.control.state, len(guarded.inference.calls)
        reply = await guarded.ask(who, method, path, **({} if body is None else {"json": body}))
        if who in (*allowed, "root"):
            assert reply.status_code == 200, (who, reply.text)
            guarded.control.state = before[0]
            continue
        assert reply.status_code == 403, (who, reply.text)
        error = reply.json().get("error")
        assert "may not" in str(error) or "must be" in str(error)
        if isinstance(error, dict):
            assert (error["code"], error["type"]) == ("forbidden", "permission_error")
        assert (guarded.control.state, len(guarded.inference.calls)) == before, "nothing was done"


@pytest.mark.parametrize(("method", "route"), REFUSED_TO_ALL)
async def test_what_is_not_offered_is_not_said_to_those_who_might_not_anyway(guarded: Guarded, method: str, route: str) -> None:
    for who in EVERYONE:
        status = await guarded.status(who, method, path_of(route), json={"model": "{}", "persist": False})
        assert status == (400 if who == "root" else 403), who


@pytest.mark.parametrize(("method", "route"), FOR_EVERY_KEY)
async def test_what_every_key_may(guarded: Guarded, method: str, route: str) -> None:
    guarded.inference.stories["1"] = {"model": "ce"}
    for who in EVERYONE:
        seen = who not in ("none",) or ("{model_uid" not in route and "why" not in route)
        assert await guarded.status(who, method, path_of(route)) == (200 if seen else 404), who
