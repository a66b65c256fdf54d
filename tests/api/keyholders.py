"""People with keys of every kind, and the application that they ask."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import httpx
from fastapi import FastAPI

from tests.api.fakes import FakeControl, FakeInference
from xinfer.access import secret
from xinfer.access.grants import parse
from xinfer.cluster.keys import Key

TOKEN = "a cluster token, long enough"
NOW = 2_000_000_000.0
WHO = {
    "root": ("admin",),
    "ce": ("infer:ce",),
    "all": ("infer",),
    "launcher": ("launch:new,ce",),
    "stopper": ("stop:ce",),
    "reader": ("read",),
    "none": (),
}
SECRETS = {name: secret.make(bytes([number]) * secret.ENTROPY) for number, name in enumerate([*WHO, "expired", "revoked"], 1)}
RERANK: dict[str, Any] = {"model": "ce", "query": "q", "documents": ["a", "bb"]}


def key(name: str, *allow: str, **fields: Any) -> Key:
    key_id, made = SECRETS[name]
    admin = allow == ("admin",)
    return Key(key_id, name, secret.digest(made), admin, () if admin else parse(allow), **fields)


KEYS = {
    k.id: k
    for k in [*(key(n, *a) for n, a in WHO.items()), key("expired", "infer", expires_at=NOW), key("revoked", "infer", revoked_at=1.0)]
}


@dataclass
class Guarded:
    """The application with keys, and a client of each holder."""

    app: FastAPI
    inference: FakeInference
    control: FakeControl
    http: httpx.AsyncClient

    async def ask(self, who: str | None, method: str, path: str, **options: Any) -> httpx.Response:
        headers = {} if who is None else {"Authorization": f"Bearer {SECRETS[who][1] if who in SECRETS else who}"}
        return await self.http.request(method, path, headers=headers, **options)

    async def status(self, who: str | None, method: str, path: str, **options: Any) -> int:
        return (await self.ask(who, method, path, **options)).status_code
