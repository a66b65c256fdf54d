"""Every endpoint once, without I/O: what to send and how to read the answer. Both clients are made of these functions."""

from __future__ import annotations

import array
import base64
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypeVar
from urllib.parse import quote

from pydantic import TypeAdapter

from xinfer.client import talking
from xinfer.client.talking import Messages, body_of
from xinfer.schemas.chat import ChatReply
from xinfer.schemas.cluster import DrainReply, NodeEntry, RebalanceReply, SlotsReply, UpgradeReply, WorkerEntry
from xinfer.schemas.keys import KeyEntry, KeyList, MadeKey
from xinfer.schemas.launch import Placement, PlanReply, ReplicaChoice
from xinfer.schemas.models import (
    AddedReplica,
    AddReplicasReply,
    InstanceEntry,
    LogsReply,
    ModelEntry,
    ModelList,
    MoveReply,
    ProgressReply,
    ReplicaEntry,
    ScaleReply,
)
from xinfer.schemas.rerank import RerankReply

T = TypeVar("T")
Document = str | Mapping[str, Any]
TextInput = str | Sequence[str] | Sequence[int] | Sequence[Sequence[int]]
Priority = Literal["interactive", "bulk"]


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """One request.

    Attributes:
        parse: the reply's JSON to the result.
        repeatable: sending it twice does no harm, so that it may be sent again when the link breaks in the middle.
        read_timeout: seconds to wait for the answer; None = the client's.
    """

    method: str
    path: str
    parse: Callable[[Any], T]
    params: Mapping[str, str] = field(default_factory=dict)
    json: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    repeatable: bool = True
    read_timeout: float | None = None


@dataclass(frozen=True, slots=True)
class Embeddings:
    """Vectors in the order of the texts.

    Attributes:
        vectors: (n, dim) as lists of floats.
        tokens: tokens read, over all texts.
    """

    model: str
    vectors: list[list[float]]
    tokens: int


def model_of(result: type[T]) -> Callable[[Any], T]:
    """A reply's JSON to that type."""
    return TypeAdapter(result).validate_python


def _path(*parts: str) -> str:
    return "/v1/models" + "".join(f"/{quote(p, safe='')}" for p in parts)


def given(**fields: Any) -> dict[str, Any]:
    """Those that are not None."""
    return {k: v for k, v in fields.items() if v is not None}


# --- inference ----------------------------------------------------------------------------------


def rerank(
    model: str,
    query: str,
    documents: Sequence[Document],
    *,
    top_n: int | None = None,
    return_documents: bool | None = None,
    instruction: str | None = None,
    priority: Priority | None = None,
    request_id: str | None = None,
) -> Call[RerankReply]:
    """Rank documents by relevance to a query, best first.

    Args:
        documents: strings or objects with ``text``.
        priority: lane of the queue; by default the size decides.
        request_id: name of this request for ``why``.
    """
    body = given(
        model=model, query=query, documents=list(documents), top_n=top_n, return_documents=return_documents, instruction=instruction
    )
    return Call("POST", "/v1/rerank", model_of(RerankReply), json=body, headers=_headers(priority, request_id))


def embed(
    model: str,
    texts: TextInput,
    *,
    dimensions: int | None = None,
    prompt_name: str | None = None,
    priority: Priority | None = None,
    request_id: str | None = None,
) -> Call[Embeddings]:
    """Embed one text, several, the token ids of one or those of several.

    Args:
        dimensions: cut the vectors to this length and normalise them again (models that were trained for it).
        prompt_name: one of the model's own prompts, such as "query".
    """
    input_ = texts if isinstance(texts, str) else list(texts)
    body = given(model=model, input=input_, encoding_format="base64", dimensions=dimensions, prompt_name=prompt_name)
    return Call("POST", "/v1/embeddings", _embeddings, json=body, headers=_headers(priority, request_id))


def chat(model: str, messages: Messages, *, request_id: str | None = None, **options: Any) -> Call[ChatReply]:
    """Go on with a conversation; the whole answer at once.

    Args:
        messages: with ``role`` and ``content`` each; a text is one message of the user.
        options: as in ``ChatRequest``: ``max_tokens``, ``temperature``, ``seed``, ``stop``, ``tools``, …
    """
    return Call("POST", talking.PATH, model_of(ChatReply), json=body_of(model, messages, options), headers=_headers(None, request_id))


def _headers(priority: Priority | None, request_id: str | None) -> dict[str, str]:
    return {k: v for k, v in (("X-Priority", priority), ("X-Request-ID", request_id)) if v}


def _embeddings(reply: Any) -> Embeddings:
    vectors = [_floats(entry["embedding"]) for entry in sorted(reply["data"], key=lambda e: e["index"])]
    return Embeddings(reply["model"], vectors, reply["usage"]["total_tokens"])


def _floats(packed: str) -> list[float]:
    values = array.array("f", base64.b64decode(packed))
    if sys.byteorder == "big":
        values.byteswap()
    return values.tolist()


def why(request_id: str) -> Call[dict[str, Any]]:
    """Where a recent request's time went."""
    return Call("GET", f"/v1/requests/{quote(request_id, safe='')}/why", dict)


def abort(model_uid: str, request_id: str) -> Call[int]:
    """Abort a running request; how many calls that stopped."""
    return Call("POST", _path(model_uid, "requests", request_id, "abort"), lambda r: int(r["aborted"]), json={})


# --- models -------------------------------------------------------------------------------------


def start(model_name: str | None = None, **fields: Any) -> Call[str]:
    """Begin a launch and return its uid without waiting; fields as in ``LaunchRequest``, engine options among them."""
    body = given(model_name=model_name, **fields)
    return Call("POST", "/v1/models", lambda r: str(r["model_uid"]), params={"wait_ready": "false"}, json=body, repeatable=False)


def plan(model_name: str | None = None, **fields: Any) -> Call[PlanReply]:
    """What a launch with these fields would do."""
    return Call("POST", "/v1/plan", model_of(PlanReply), json=given(model_name=model_name, **fields))


def ready(model_uid: str, timeout: float = 30.0) -> Call[bool]:
    """Wait up to ``timeout`` seconds; whether every replica is ready. A launch that failed raises its reason."""
    params = {"timeout": f"{timeout:g}"}
    return Call("GET", _path(model_uid, "ready"), lambda r: bool(r["ready"]), params=params, read_timeout=timeout + 30)


def stop(model_uid: str, drain: bool = True) -> Call[None]:
    """Stop a model once what it has accepted is answered, or at once; returns when its name is free again."""
    return Call("DELETE", _path(model_uid), lambda _: None, params={} if drain else {"drain": "false"}, repeatable=False)


def cancel(model_uid: str) -> Call[None]:
    """Cancel a launch."""
    return Call("POST", _path(model_uid, "cancel"), lambda _: None, json={}, repeatable=False)


def list_models() -> Call[list[ModelEntry]]:
    """Every model, whatever its status."""
    return Call("GET", "/v1/models", lambda r: ModelList.model_validate(r).data)


def show(model_uid: str) -> Call[ModelEntry]:
    """One model."""
    return Call("GET", _path(model_uid), model_of(ModelEntry))


def instances(model_name: str | None = None, model_uid: str | None = None) -> Call[list[InstanceEntry]]:
    """Models with their replicas."""
    params = given(model_name=model_name, model_uid=model_uid)
    return Call("GET", _path("instances"), TypeAdapter(list[InstanceEntry]).validate_python, params=params)


def progress(model_uid: str) -> Call[ProgressReply]:
    """How far a launch has come."""
    return Call("GET", _path(model_uid, "progress"), model_of(ProgressReply))


def replicas(model_uid: str) -> Call[list[ReplicaEntry]]:
    """A model's replicas with the devices that they report."""
    return Call("GET", _path(model_uid, "replicas"), TypeAdapter(list[ReplicaEntry]).validate_python)


def add_replicas(
    model_uid: str,
    replica: int | None = None,
    *,
    slots: Sequence[str] | None = None,
    n_gpu: int | None = None,
    gpu_idx: Sequence[int] | None = None,
    worker_ip: str | None = None,
    replica_config: Sequence[ReplicaChoice | Mapping[str, Any]] | None = None,
) -> Call[list[AddedReplica]]:
    """Add replicas to a running model: a count, or pins such as ``ADDR@0``."""
    asked = given(
        replica=replica,
        slots=slots and list(slots),
        n_gpu=n_gpu,
        gpu_idx=gpu_idx and list(gpu_idx),
        worker_ip=worker_ip,
        replica_config=replica_config,
    )
    body = Placement.model_validate(asked).model_dump(exclude_none=True)
    return Call("POST", _path(model_uid, "replicas"), _added, json=body, repeatable=False)


def _added(reply: Any) -> list[AddedReplica]:
    return AddReplicasReply.model_validate(reply).replicas


def remove_replica(model_uid: str, replica_id: int | str) -> Call[int]:
    """Remove one replica, by number or id; how many remain."""
    return Call("DELETE", _path(model_uid, "replicas", str(replica_id)), lambda r: int(r["remaining_replicas"]), repeatable=False)


def logs(model_uid: str, replica_id: int | str, lines: int = 200, after: LogsReply | None = None) -> Call[LogsReply]:
    """What the processes of a replica wrote last, by number or id, of dead ones too; or what they wrote ``after`` an earlier reply."""
    path = _path(model_uid, "replicas", str(replica_id), "logs")
    given = {"lines": str(lines)} if after is None else {"after": str(after.position), "worker_id": after.worker_id}
    return Call("GET", path, model_of(LogsReply), params=given)


def scale(
    model_uid: str,
    replica: int | None = None,
    *,
    min_replica: int | None = None,
    max_replica: int | None = None,
    idle_seconds: float | None = None,
) -> Call[ScaleReply]:
    """Have so many replicas, or let the load decide between two bounds; returns when new ones are placed, not when they are ready.

    Args:
        min_replica: 0 lets the model sleep after ``idle_seconds`` without a request; the next request wakes it.
    """
    body = given(replica=replica, min_replica=min_replica, max_replica=max_replica, idle_seconds=idle_seconds)
    return Call("POST", _path(model_uid, "scale"), model_of(ScaleReply), json=body)


def move(
    model_uid: str,
    replica_id: int | str,
    slot: str | None = None,
    *,
    gpu_idx: Sequence[int] | None = None,
    worker_ip: str | None = None,
) -> Call[MoveReply]:
    """Move one replica, by number or id, to a slot such as ``ADDR@0``, or to any other; the old one serves until the new one is ready."""
    asked = given(slots=[slot] if slot else None, gpu_idx=gpu_idx and list(gpu_idx), worker_ip=worker_ip)
    body = Placement.model_validate(asked).model_dump(exclude_none=True)
    return Call("POST", _path(model_uid, "replicas", str(replica_id), "move"), model_of(MoveReply), json=body, repeatable=False)


def registrations(model_type: str, detailed: bool = False) -> Call[list[dict[str, Any]]]:
    """Models that can be launched by name."""
    params = {"detailed": "true"} if detailed else {}
    return Call("GET", f"/v1/model_registrations/{quote(model_type, safe='')}", list, params=params)


# --- cluster ------------------------------------------------------------------------------------


def slots() -> Call[SlotsReply]:
    """Workers × devices × replicas."""
    return Call("GET", "/v1/cluster/slots", model_of(SlotsReply))


def workers() -> Call[list[WorkerEntry]]:
    """Workers with their models."""
    return Call("GET", "/v1/workers", TypeAdapter(list[WorkerEntry]).validate_python)


def drain(worker: str, undo: bool = False) -> Call[DrainReply]:
    """Empty a worker, by address, ip, host name or id; ``undo`` ends it."""
    return Call("POST", f"/v1/workers/{quote(worker, safe='')}/drain", model_of(DrainReply), json={"undo": undo})


def drained(worker: str) -> Call[DrainReply]:
    """How far a worker is from being empty; changes nothing."""
    return Call("GET", f"/v1/workers/{quote(worker, safe='')}/drain", model_of(DrainReply))


def rebalance(
    *,
    dry_run: bool = False,
    max_moves: int | None = None,
    memory: str | int | None = None,
    n_gpu: int | None = None,
    replica: int | None = None,
    model_engine: str | None = None,
) -> Call[RebalanceReply]:
    """Move unpinned replicas so that what waits finds room, or else so that whole devices become free; returns when the moves have begun.

    Args:
        dry_run: only name the moves.
        max_moves: at most so many; of what would take more, none is begun.
        memory: make room for ``replica`` replicas (1) that need so much ("20GiB") on each of ``n_gpu`` devices (1), and do nothing else.
    """
    body = given(dry_run=dry_run, max_moves=max_moves, memory=memory, n_gpu=n_gpu, replica=replica, model_engine=model_engine)
    return Call("POST", "/v1/cluster/rebalance", model_of(RebalanceReply), json=body, repeatable=dry_run)


def upgrade(worker: str) -> Call[UpgradeReply]:
    """Have a worker, by address, ip, host name or id, take up the code installed on its host, while its replicas serve on."""
    return Call("POST", f"/v1/workers/{quote(worker, safe='')}/upgrade", model_of(UpgradeReply), json={}, repeatable=False)


def nodes() -> Call[list[NodeEntry]]:
    """The supervisor and the workers."""
    return Call("GET", "/v1/cluster/info", TypeAdapter(list[NodeEntry]).validate_python)


def create_key(name: str, *, admin: bool = False, allow: Sequence[str] | None = None, expires_in: float | None = None) -> Call[MadeKey]:
    """Make an API key; its ``secret`` is told this once.

    Args:
        allow: such as ``infer:bge-m3`` or ``launch,stop``; without it, all inference.
        expires_in: seconds.
    """
    body = given(name=name, admin=admin, allow=None if allow is None else list(allow), expires_in=expires_in)
    return Call("POST", "/v1/keys", model_of(MadeKey), json=body, repeatable=False)


def keys() -> Call[list[KeyEntry]]:
    """Every API key there was, without its secret."""
    return Call("GET", "/v1/keys", lambda r: KeyList.model_validate(r).keys)


def revoke_key(name: str) -> Call[KeyEntry]:
    """Revoke an API key, by name or id."""
    return Call("DELETE", f"/v1/keys/{quote(name, safe='')}", model_of(KeyEntry), repeatable=False)


def version() -> Call[str]:
    """Version of the server."""
    return Call("GET", "/v1/cluster/version", lambda r: str(r["version"]))


def healthz() -> Call[bool]:
    """Whether an API process answers."""
    return Call("GET", "/healthz", lambda r: bool(r["status"] == "ok"))


def readyz() -> Call[bool]:
    """Whether an API process knows where models are; raises Unavailable until then."""
    return Call("GET", "/readyz", lambda r: bool(r["status"] == "ready"))
