"""The server as commands see it: calls in, plain JSON values out."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from xinfer.cli import options
from xinfer.client import ChatPiece, Client, calls
from xinfer.errors import ModelNotFound

if TYPE_CHECKING:
    from collections.abc import Callable

    from xinfer.schemas.models import LogsReply

Row = dict[str, Any]
SETTLE = 10.0
"""Seconds that the routes may lag behind a replica that is ready."""


def open_server(endpoint: str, api_key: str | None) -> Server:
    """A connection; nothing is sent yet."""
    return Server(make_client(endpoint, api_key))


def _real_client(endpoint: str, api_key: str | None) -> Client:
    return Client(endpoint, api_key, ca_file=options.ca_file())


make_client: Callable[[str, str | None], Client] = _real_client
"""Tests put a client on a transport of theirs here."""


class Server:
    """A context manager over `Client`; every method raises the errors of ``xinfer.errors``."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def __enter__(self) -> Server:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._client.close()

    def chat(self, model: str, messages: list[Row], **more: Any) -> Generator[ChatPiece, None, None]:
        """An answer as it grows."""
        return self._client.chat_stream(model, messages, **more)

    def launch(self, body: Mapping[str, Any]) -> str:
        """Place a model without waiting for it; its uid."""
        return self._client.send(calls.start(**body))

    def settle(self, uid: str) -> None:
        """After the last replica became ready: return once requests find them."""
        self._client.wait_ready(uid, SETTLE)

    def plan(self, body: Mapping[str, Any]) -> Row:
        """``PlanReply``."""
        return plain(self._client.plan(**body))

    def progress(self, uid: str) -> Row:
        """``ProgressReply``."""
        return plain(self._client.progress(uid))

    def models(self) -> list[Row]:
        """``ModelEntry`` each."""
        return rows(self._client.list())

    def model(self, uid: str) -> Row:
        """``ModelEntry``."""
        return plain(self._client.show(uid))

    def replicas(self, uid: str) -> list[Row]:
        """``ReplicaEntry`` each, of one model."""
        return rows(self._client.replicas(uid))

    def all_replicas(self, models: Iterable[Row]) -> list[Row]:
        """``ReplicaEntry`` each, with the model's uid beside it."""
        found = []
        for model in models:
            with suppress(ModelNotFound):  # stopped since it was listed
                found += [{"model_uid": model["id"], **replica} for replica in self.replicas(model["id"])]
        return found

    def logs(self, uid: str, replica: str, lines: int, after: LogsReply | None = None) -> LogsReply:
        """The last lines of a replica's stderr, or what was written ``after``."""
        return self._client.logs(uid, replica, lines, after)

    def stop(self, uid: str, drain: bool) -> None:
        """Stop a model."""
        self._client.stop(uid, drain)

    def scale(self, uid: str, replica: int | None, **bounds: Any) -> Row:
        """``ScaleReply``."""
        return plain(self._client.scale(uid, replica, **bounds))

    def move(self, uid: str, replica: str, slot: str | None, worker_ip: str | None) -> Row:
        """``MoveReply``."""
        return plain(self._client.move(uid, replica, slot, worker_ip=worker_ip))

    def registrations(self, model_type: str) -> list[Row]:
        """Families of one type, with details."""
        return [dict(entry) for entry in self._client.registrations(model_type, detailed=True)]

    def slots(self) -> Row:
        """``SlotsReply``."""
        return plain(self._client.slots())

    def drain(self, worker: str, undo: bool) -> Row:
        """``DrainReply``."""
        return plain(self._client.drain(worker, undo))

    def drained(self, worker: str) -> Row:
        """``DrainReply``; changes nothing."""
        return plain(self._client.drained(worker))

    def rebalance(self, **body: Any) -> Row:
        """``RebalanceReply``."""
        return plain(self._client.rebalance(**body))

    def create_key(self, name: str, *, admin: bool, allow: list[str] | None, expires_in: float | None) -> Row:
        """``MadeKey``."""
        return plain(self._client.create_key(name, admin=admin, allow=allow, expires_in=expires_in))

    def keys(self) -> list[Row]:
        """``KeyEntry`` each."""
        return rows(self._client.keys())

    def revoke_key(self, name: str) -> Row:
        """``KeyEntry``."""
        return plain(self._client.revoke_key(name))

    def upgrade(self, worker: str) -> Row:
        """``UpgradeReply``."""
        return plain(self._client.upgrade(worker))

    def history(self, limit: int, **about: Any) -> list[Row]:
        """``EventEntry`` each."""
        return rows(self._client.history(limit, **about))

    def launches(self, limit: int) -> list[Row]:
        """``LaunchEntry`` each."""
        return rows(self._client.launches(limit))

    def readings(self) -> list[Row]:
        """``FeedReading`` each."""
        return rows(self._client.readings())

    def version(self) -> str:
        """Of the server."""
        return self._client.version()

    def rerank(self, uid: str, query: str, documents: list[str], top_n: int | None) -> Row:
        """``RerankReply``."""
        return plain(self._client.rerank(uid, query, documents, top_n=top_n))

    def why(self, request_id: str) -> Row:
        """Where a recent request's time went."""
        return self._client.why(request_id)

    def embed(self, uid: str, texts: list[str], dimensions: int | None) -> Row:
        """Like ``EmbeddingsReply``, with floats."""
        reply = self._client.embed(uid, texts, dimensions=dimensions)
        data = [{"index": index, "embedding": vector} for index, vector in enumerate(reply.vectors)]
        return {"model": reply.model, "data": data, "usage": {"total_tokens": reply.tokens}}


def plain(reply: BaseModel) -> Row:
    """JSON values."""
    return reply.model_dump(mode="json")


def rows(replies: Iterable[BaseModel]) -> list[Row]:
    """JSON values of each."""
    return [plain(reply) for reply in replies]
