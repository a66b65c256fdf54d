"""GET /v1/launches: what was launched lately, for those who may see it."""

from __future__ import annotations

from tests.api.conftest import Api
from tests.api.keyholders import Guarded
from xinfer.store.history import Launched

PAST = (
    Launched(3, 3.0, "ce", '{"model_name": "a", "slots": ["h:1@0", "auto"]}'),
    Launched(2, 2.0, "other", "{}"),
    Launched(1, 1.0, "ce", "{}"),
)


async def test_newest_first_with_the_body_to_send_again(api: Api) -> None:
    api.control.past = PAST
    found = (await api.http.get("/v1/launches", params={"limit": 2})).json()["data"]
    assert [it["id"] for it in found] == [3, 2]
    assert found[0] == {"id": 3, "at": 3.0, "model_uid": "ce", "request": {"model_name": "a", "slots": ["h:1@0", "auto"]}}
    assert (await api.http.get("/v1/launches?limit=0")).status_code == 400


async def test_a_key_sees_launches_of_its_models_alone(guarded: Guarded) -> None:
    guarded.control.past = PAST
    seen = {}
    for who in ("root", "ce", "none"):
        seen[who] = [it["id"] for it in (await guarded.ask(who, "GET", "/v1/launches?limit=2")).json()["data"]]
    assert seen == {"root": [3, 2], "ce": [3, 1], "none": []}
