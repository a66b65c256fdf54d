"""API keys: make, list, revoke."""

from __future__ import annotations

import secrets
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from xinfer.access import grants, permit, secret
from xinfer.api.gate import caller
from xinfer.api.limits import read, service
from xinfer.api.reply import ERRORS, body_of, json_reply
from xinfer.cluster.keys import Action, Grant, Key
from xinfer.errors import InvalidRequest
from xinfer.schemas.keys import KeyEntry, KeyList, KeyRequest, MadeKey

router = APIRouter(prefix="/v1/keys", tags=["keys"], responses=ERRORS)


@router.post("", response_model=MadeKey, openapi_extra=body_of(KeyRequest), summary="Make an API key")
async def create(request: Request) -> Response:
    """The secret is in this answer and nowhere else. The first key must be an admin's; from then on every request needs one."""
    permit.demand_keys(caller(request))
    asked = await read(request, KeyRequest)
    now = service(request).clock()
    key_id, made = secret.make(secrets.token_bytes(secret.ENTROPY))
    expires = None if asked.expires_in is None else now + asked.expires_in
    key = Key(key_id, asked.name, secret.digest(made), asked.admin, _grants(asked), now, expires)
    await service(request).control.make_key(key)
    return json_reply(_entry(key, now) | {"secret": made})


def _grants(asked: KeyRequest) -> tuple[Grant, ...]:
    if not asked.admin:
        return (Grant(Action.INFER),) if asked.allow is None else grants.parse(asked.allow)
    if asked.allow:
        raise InvalidRequest("allow must be left out where admin is true: an admin may do everything.", param="allow")
    return ()


@router.get("", response_model=KeyList, summary="List API keys")
async def keys(request: Request) -> Response:
    """Expired and revoked ones too; never a secret."""
    permit.demand_keys(caller(request))
    it = service(request)
    snapshot, now = await it.control.snapshot(), it.clock()
    every = sorted(snapshot.keys.values(), key=lambda key: (key.created_at, key.id))
    return json_reply({"keys": [_entry(key, now) for key in every]})


@router.delete("/{name}", response_model=KeyEntry, summary="Revoke an API key")
async def revoke(request: Request, name: str) -> Response:
    """By name or id. It is not taken any more from when this is answered; other API processes hear of it at once."""
    permit.demand_keys(caller(request))
    it = service(request)
    return json_reply(_entry(await it.control.revoke_key(name), it.clock()))


def _entry(key: Key, now: float) -> dict[str, Any]:
    state = "revoked" if key.revoked_at is not None else "valid" if key.valid(now) else "expired"
    times = {"created_at": key.created_at, "expires_at": key.expires_at, "revoked_at": key.revoked_at}
    return {"id": key.id, "name": key.name, "admin": key.admin, "allow": grants.written(key.grants), "state": state, **times}
