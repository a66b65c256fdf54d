"""The server under load, as the driver sees it: requests in, what came of them out."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import aiohttp
import orjson

from xinfer.bench.figures import Done
from xinfer.bench.load import Kind, Request
from xinfer.bench.verdict import Failure, judge
from xinfer.processes.tls import trusting

PATHS: Mapping[Kind, str] = {Kind.RERANK: "/v1/rerank", Kind.EMBEDDING: "/v1/embeddings"}
KEEP_ALIVE = 4.0
"""Seconds; uvicorn closes a connection that was idle for 5, and a request on one just being closed would fail."""
ASIDE = 30.0
"""Seconds that a look at the figures may take."""


@dataclass(frozen=True, slots=True)
class Sent:
    """One request that has ended, its answer not looked at yet."""

    request: Request
    begun: float
    ended: float
    status: int = 0
    body: bytes = b""
    failure: Failure | None = None

    def done(self) -> Done:
        """Look at the answer."""
        if self.failure is not None:
            return Done(self.begun, self.ended, self.request.size, self.failure)
        verdict = judge(self.request.kind, self.request.size, self.status, self.body)
        return Done(self.begun, self.ended, self.request.size, verdict.failure, verdict.tokens)


class Connection:
    """An async context manager over one aiohttp session.

    Args:
        base_url: with or without ``/v1``.
        timeout: seconds for one request.
        ca_file: authority of an https server's certificate; None = those that the system trusts.
    """

    def __init__(self, base_url: str, api_key: str | None = None, timeout: float = 600.0, ca_file: Path | None = None) -> None:
        self.base_url = root(base_url)
        headers = {"content-type": "application/json"} | ({"authorization": f"Bearer {api_key}"} if api_key else {})
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEP_ALIVE, ssl=trusting(ca_file)),
            timeout=aiohttp.ClientTimeout(total=timeout, sock_connect=min(timeout, 30.0)),
            headers=headers,
        )

    async def __aenter__(self) -> Connection:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self._session.close()

    async def send(self, request: Request, begun: float, headers: Mapping[str, str] | None = None) -> Sent:
        """One request to its end; failures are values."""
        try:
            async with self._session.post(self.base_url + PATHS[request.kind], data=request.body, headers=headers) as reply:
                body = await reply.read()
                return Sent(request, begun, time.perf_counter(), reply.status, body)
        except TimeoutError:
            failure = Failure("timed out", "No answer within the time-out.")
        except (aiohttp.ClientError, OSError) as error:
            failure = Failure(f"connection: {type(error).__name__}", f"{type(error).__name__}: {error}")
        return Sent(request, begun, time.perf_counter(), failure=failure)

    async def get(self, path: str) -> bytes | None:
        """A page of the server, None if it has none."""
        try:
            async with self._session.get(self.base_url + path, timeout=aiohttp.ClientTimeout(total=ASIDE)) as reply:
                return await reply.read() if reply.status == 200 else None
        except (TimeoutError, aiohttp.ClientError, OSError):
            return None

    async def slots(self, model: str) -> dict[str, str]:
        """Name of each replica -> its slot; empty where the server is not one of ours."""
        found = await self.get(f"/v1/models/{model}/replicas")
        try:
            replicas: Any = orjson.loads(found or b"[]")
        except orjson.JSONDecodeError:
            return {}
        if isinstance(replicas, dict):
            replicas = replicas.get("replicas", [])
        if not isinstance(replicas, list) or not all(isinstance(replica, dict) for replica in replicas):
            return {}
        return {str(replica.get("replica_model_uid")): str(replica.get("slot", "")) for replica in replicas}


def root(base_url: str) -> str:
    """Without a slash or ``/v1`` at its end, and with a scheme."""
    url = base_url.strip().rstrip("/").removesuffix("/v1").rstrip("/")
    return url if "://" in url else f"http://{url}"
