"""Keys in front of every path: who comes in, what a key changes, and what is said to those who may not."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from tests.api.conftest import Api
from tests.api.keyholders import KEYS, NOW, RERANK, SECRETS, TOKEN, Guarded
from xinfer.access import secret
from xinfer.api.gate import OPEN
from xinfer.cluster.routes import RouteTable

# --- who comes in ---------------------------------------------------------------------------------


@pytest.mark.parametrize("who", [None, "any", "expired", "revoked", secret.make(bytes(36))[1]])
async def test_no_good_key_is_401_in_the_usual_shape_and_nothing_has_run(guarded: Guarded, who: str | None) -> None:
    reply = await guarded.ask(who, "POST", "/v1/rerank", json=RERANK)
    body = reply.json()
    assert reply.status_code == 401
    assert reply.headers["www-authenticate"] == "Bearer"
    assert reply.headers["x-request-id"]
    assert body["detail"] == body["error"]["message"]
    assert (body["error"]["code"], body["error"]["type"], body["error"]["param"]) == (
        "unauthorized",
        "authentication_error",
        "Authorization",
    )
    assert guarded.inference.calls == []


@pytest.mark.parametrize("path", ["/", "/embed"])
async def test_no_key_is_401_in_the_shape_of_those_who_ask(guarded: Guarded, path: str) -> None:
    reply = await guarded.ask(None, "POST", path, json={"inputs": "a"})
    assert (reply.status_code, set(reply.json()), reply.json()["error_type"]) == (401, {"error", "error_type"}, "Validation")


async def test_a_good_key_comes_in_by_either_header_and_has_its_own_turn(guarded: Guarded) -> None:
    assert await guarded.status("ce", "POST", "/v1/rerank", json=RERANK) == 200
    reply = await guarded.http.post("/v1/rerank", json=RERANK, headers={"x-api-key": SECRETS["all"][1]})
    assert reply.status_code == 200
    assert [call["key"] for call in guarded.inference.calls] == [SECRETS["ce"][0], SECRETS["all"][0]]


async def test_what_needs_no_key_answers_without_one(guarded: Guarded) -> None:
    for path in sorted(OPEN - {"/token"} | {"/"}):
        assert await guarded.status(None, "GET", path) in (200, 307), path
        assert (await guarded.http.head(path)).status_code in (200, 307), path
    assert (await guarded.ask(None, "GET", "/v1/cluster/auth")).json() == {"auth": True}


async def test_without_keys_all_is_open_and_says_so(api: Api) -> None:
    assert (await api.http.get("/v1/cluster/auth")).json() == {"auth": False}
    for headers in ({}, {"Authorization": "Bearer any"}):
        assert (await api.http.post("/v1/rerank", json=RERANK, headers=headers)).status_code == 200
    assert [bool(call["key"]) for call in api.inference.calls] == [False, True]


async def test_until_the_keys_are_known_nobody_comes_in(guarded: Guarded) -> None:
    guarded.inference.table = RouteTable()
    for who in (None, "root", "any"):
        reply = await guarded.ask(who, "GET", "/v1/models")
        assert (reply.status_code, reply.headers["retry-after"]) == (503, "1")
    assert await guarded.status(None, "GET", "/v1/cluster/auth") == 503
    assert await guarded.status(None, "GET", "/v1/address") == 200, "workers that join have the cluster token"
    assert await guarded.status(None, "GET", "/healthz") == 200
    guarded.inference.table = RouteTable(epoch=guarded.control.state.epoch, keys=KEYS)
    assert await guarded.status("root", "GET", "/v1/models") == 200
    assert await guarded.status(None, "GET", "/v1/models") == 401
    assert await guarded.status("root", "POST", "/v1/rerank", json=RERANK) == 503


async def test_a_refused_body_is_not_read(guarded: Guarded) -> None:
    pulled = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal pulled
        for _ in range(1000):
            pulled += 1
            yield b" " * 1000

    assert await guarded.status(None, "POST", "/v1/rerank", content=endless()) == 401
    assert pulled <= 1


async def test_a_log_in_takes_a_key_for_a_password(guarded: Guarded, api: Api) -> None:
    good = SECRETS["ce"][1]
    reply = await guarded.ask(None, "POST", "/token", json={"username": "me", "password": good})
    assert reply.json() == {"access_token": good, "token_type": "bearer"}
    for bad in ("", "any", SECRETS["expired"][1], secret.proof(TOKEN, NOW)):
        assert await guarded.status(None, "POST", "/token", json={"username": "me", "password": bad}) == 401
    assert (await api.http.post("/token", json={"username": "me", "password": "any"})).json()["access_token"] == "none-needed"


# --- what a key changes ----------------------------------------------------------------------------


async def test_non_admins_are_confined_to_the_model_roots_and_admins_are_not(guarded: Guarded, api: Api) -> None:
    for who in ("launcher", "root"):
        for path in ("/v1/plan", "/v1/models"):
            assert await guarded.status(who, "POST", path, json={"model_path": "/m", "model_uid": "new"}) == 200
        guarded.control.state = replace(guarded.control.state, deployments={})
    assert guarded.control.confined == [True, True, False, False]
    await api.http.post("/v1/models", json={"model_path": "/m", "model_uid": "new", "trust_remote_code": True})
    assert api.control.confined == [False]
    assert api.control.launched[0].trust_remote_code is True


async def test_models_of_others_are_not_shown(guarded: Guarded) -> None:
    for who, seen in (
        ("ce", {"ce"}),
        ("launcher", {"ce"}),
        ("all", {"ce", "emb", "plain"}),
        ("reader", {"ce", "emb", "plain"}),
        ("none", set()),
    ):
        listed = (await guarded.ask(who, "GET", "/v1/models")).json()["data"]
        assert {entry["id"] for entry in listed} == seen
        assert {entry["model_uid"] for entry in (await guarded.ask(who, "GET", "/v1/models/instances")).json()} == seen
        for path in ("", "/replicas", "/progress", "/ready"):
            assert await guarded.status(who, "GET", f"/v1/models/emb{path}") == (200 if "emb" in seen else 404), (who, path)
    for who, method, path in (
        ("ce", "GET", "/v1/models/emb"),
        ("launcher", "POST", "/v1/models/new/replicas/0/move"),
        ("launcher", "POST", "/v1/models/new/scale"),
    ):
        unknown = await guarded.ask(who, method, path, json={"replica": 1} if path.endswith("scale") else {})
        assert (unknown.status_code, "plain" in unknown.text) == (404, False), path


async def test_nor_where_the_supervisor_is_away(guarded: Guarded) -> None:
    from xinfer.errors import SupervisorUnreachable

    guarded.control.down = SupervisorUnreachable("away")
    assert [entry["id"] for entry in (await guarded.ask("ce", "GET", "/v1/models")).json()["data"]] == ["ce"]
    assert await guarded.status("ce", "GET", "/v1/models/ce") == 200
    other = await guarded.ask("ce", "GET", "/v1/models/emb")
    assert (other.status_code, "plain" in other.text) == (404, False)


async def test_the_only_model_is_that_of_those_that_the_key_may_use(guarded: Guarded) -> None:
    guarded.inference.table = replace(
        guarded.inference.table,
        models={**guarded.inference.table.models, "ce2": guarded.inference.table.models["ce"]},  # type: ignore[dict-item,index]
    )
    texts = {"query": "q", "texts": ["a"]}
    assert await guarded.status("ce", "POST", "/rerank", json=texts) == 200
    both = await guarded.ask("all", "POST", "/rerank", json=texts)
    assert (both.status_code, "ce, ce2" in both.text) == (400, True)


async def test_a_request_is_aborted_and_told_of_by_those_who_may(guarded: Guarded) -> None:
    guarded.inference.block = asyncio.Event()
    headers = {"Authorization": f"Bearer {SECRETS['ce'][1]}", "X-Request-ID": "mine"}
    running = asyncio.create_task(guarded.http.post("/v1/rerank", json=RERANK, headers=headers))
    await guarded.inference.entered.wait()
    path = "/v1/models/ce/requests/mine/abort"
    assert (await guarded.ask("all", "POST", path, json={})).json() == {"aborted": 0}
    assert (await guarded.ask("ce", "POST", path, json={})).json() == {"aborted": 1}
    assert (await running).status_code == 499
    guarded.inference.entered.clear()
    running = asyncio.create_task(guarded.http.post("/v1/rerank", json=RERANK, headers=headers))
    await guarded.inference.entered.wait()
    assert (await guarded.ask("root", "POST", path, json={})).json() == {"aborted": 1}
    await running
    guarded.inference.stories["mine"] = {"model": "ce"}
    assert [await guarded.status(who, "GET", "/v1/requests/mine/why") for who in ("ce", "root", "none")] == [200, 200, 404]


# --- keys themselves ------------------------------------------------------------------------------


async def test_the_first_key_is_made_by_the_host_and_nobody_else(api: Api, guarded: Guarded) -> None:
    body = {"name": "root", "admin": True}
    for headers in ({}, {"Authorization": "Bearer any"}):
        reply = await api.http.post("/v1/keys", json=body, headers=headers)
        assert (reply.status_code, "xinfer key create" in reply.json()["detail"]) == (401, True)
        assert (await api.http.get("/v1/keys", headers=headers)).status_code == 401
    assert api.control.made == []
    assert await guarded.status(secret.proof(TOKEN, NOW), "POST", "/v1/keys", json={"name": "another", "admin": True}) == 200
    for bad in (secret.proof(TOKEN, NOW - 3600), secret.proof("another token of a cluster", NOW)):
        assert await guarded.status(bad, "POST", "/v1/keys", json=body) == 401
    for method, path in (("GET", "/v1/models"), ("GET", "/v1/cluster/slots"), ("DELETE", "/v1/models/ce")):
        assert await guarded.status(secret.proof(TOKEN, NOW), method, path) in (200, 403)
    assert (await guarded.ask(secret.proof(TOKEN, NOW), "GET", "/v1/models")).json()["data"] == []
    assert await guarded.status(secret.proof(TOKEN, NOW), "DELETE", "/v1/models/ce") == 403


async def test_a_key_is_made_told_once_and_kept_as_a_digest(guarded: Guarded) -> None:
    body = {"name": "ci", "allow": ["infer:ce", "launch,stop"], "expires_in": 60}
    made = (await guarded.ask("root", "POST", "/v1/keys", json=body)).json()
    assert (made["name"], made["admin"], made["state"]) == ("ci", False, "valid")
    assert made["allow"] == ["infer:ce", "launch:*", "stop:*"]
    assert made["expires_at"] == pytest.approx(made["created_at"] + 60)
    (kept,) = guarded.control.made
    assert (kept.id, kept.digest) == (secret.id_of(made["secret"]), secret.digest(made["secret"]))
    listed = await guarded.ask("root", "GET", "/v1/keys")
    assert made["secret"] not in listed.text
    assert kept.digest not in listed.text
    by_name = {entry["name"]: entry for entry in listed.json()["keys"]}
    assert {n: by_name[n]["state"] for n in ("ci", "revoked")} == {"ci": "valid", "revoked": "revoked"}
    default = (await guarded.ask("root", "POST", "/v1/keys", json={"name": "plain"})).json()
    assert default["allow"] == ["infer:*"]
    gone = (await guarded.ask("root", "DELETE", "/v1/keys/ci")).json()
    assert (gone["id"], gone["state"]) == (made["id"], "revoked")
    assert await guarded.status("root", "DELETE", "/v1/keys/nobody") == 404


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "name"),
        ({"name": ""}, "name"),
        ({"name": "a b"}, "name"),
        ({"name": "x" * 65}, "name"),
        ({"name": 7}, "name"),
        ({"name": "a", "allow": ["everything"]}, "allow"),
        ({"name": "a", "allow": "infer"}, "allow"),
        ({"name": "a", "admin": True, "allow": ["infer"]}, "allow"),
        ({"name": "a", "expires_in": 0}, "expires_in"),
        ({"name": "a", "expires_in": "soon"}, "expires_in"),
        ({"name": "a", "expire": 7}, "expire"),
    ],
)
async def test_a_key_that_cannot_be_made_is_refused_by_the_field(guarded: Guarded, body: Any, param: str) -> None:
    reply = await guarded.ask("root", "POST", "/v1/keys", json=body)
    error = reply.json()["error"]
    assert (reply.status_code, error["param"]) == (400, param)
    assert error["message"].startswith(f"{param} ")
    assert "String should" not in error["message"]
    assert guarded.control.made == []


async def test_no_line_of_the_log_has_a_key(guarded: Guarded, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    guarded.inference.error = RuntimeError("broken")
    for who in ("ce", "expired", "any"):
        await guarded.ask(who, "POST", "/v1/rerank", json=RERANK)
    assert "broken" in caplog.text
    assert not any(made in caplog.text for _, made in SECRETS.values())
