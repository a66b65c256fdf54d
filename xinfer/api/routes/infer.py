"""What the inference routes share: find the model, run the items, check the numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from fastapi import Request

from xinfer.access import permit
from xinfer.api.gate import caller
from xinfer.api.limits import fairness_key, lane, request_id, service, unless_gone
from xinfer.api.ports import Result
from xinfer.api.present import model_not_found
from xinfer.batching.work import WorkItem
from xinfer.catalog.spec import LlmTraits, ModelSpec, ModelType
from xinfer.cluster.ids import ModelUid
from xinfer.cluster.keys import Action
from xinfer.cluster.routes import ModelRoutes
from xinfer.errors import EngineError, InvalidRequest, PayloadTooLarge, Unavailable

_USE = {
    ModelType.RERANK: "POST /v1/rerank",
    ModelType.EMBEDDING: "POST /v1/embeddings",
    ModelType.LLM: "POST /v1/chat/completions",
}
_A = {ModelType.RERANK: "a rerank model", ModelType.EMBEDDING: "an embedding model", ModelType.LLM: "an LLM"}


def target(request: Request, uid: str, wanted: ModelType) -> ModelSpec:
    """The model that a request names.

    Raises:
        Forbidden; ModelNotFound; InvalidRequest: it is made for another task; Unavailable: no routes yet.
    """
    permit.demand(caller(request), Action.INFER, uid)
    models = _models(request)
    found = models.get(ModelUid(uid))
    if found is None:
        raise model_not_found(uid, _usable(request, wanted), "model")
    if found.spec.type is not wanted:
        raise InvalidRequest(
            f"model must be {_A[wanted]}; {uid} is {_A[found.spec.type]}, which {_USE[found.spec.type]} serves.", param="model"
        )
    return found.spec


def traits_of(request: Request, uid: str) -> LlmTraits:
    """How the language model that a request names speaks. Raises as ``target``."""
    return target(request, uid, ModelType.LLM).llm or LlmTraits()


def _models(request: Request) -> Mapping[ModelUid, ModelRoutes]:
    table = service(request).inference.routes()
    if table.version < 0:
        raise Unavailable("This API process does not know the routes yet; ask again.", retry_after=1)
    return table.models


def only_model(request: Request, wanted: ModelType) -> str:
    """The model of a request that cannot name one in its body: ``?model=``, else the only one of its type.

    Raises:
        ModelNotFound: none is running; InvalidRequest: there are several, and the sentence names them.
    """
    named = request.query_params.get("model")
    if named:
        return named
    uids = _usable(request, wanted)
    if not uids:
        raise model_not_found("", (), "model")
    if len(uids) > 1:
        raise InvalidRequest(f"Several models could answer; add ?model= with one of {', '.join(uids[:16])}.", param="model")
    return str(uids[0])


def _usable(request: Request, wanted: ModelType) -> list[ModelUid]:
    """Running models of that type that the caller may use, by name."""
    who = caller(request)
    return sorted(u for u, m in _models(request).items() if m.spec.type is wanted and permit.may(who, Action.INFER, u))


async def run(request: Request, uid: str, items: Sequence[WorkItem]) -> tuple[npt.NDArray[np.float32], Result]:
    """Dispatch, give up with the client, and let no NaN or infinity through.

    Returns:
        (n,) scores or (n, dim) vectors, and the whole result.

    Raises:
        EngineError: a value is not finite or the count is wrong; Cancelled; whatever the dispatcher raises.
    """
    dispatched = service(request).inference.run(
        ModelUid(uid), items, key=fairness_key(request), lane=lane(request), request_id=request_id(request)
    )
    result = await unless_gone(request, dispatched)
    values = result.values
    if len(values) != len(items):
        raise EngineError(f"Model {uid} answered {len(values)} of {len(items)} items.")
    finite = np.isfinite(values).reshape(len(items), -1).all(axis=1)
    if not finite.all():
        raise EngineError(f"Model {uid} gave a number that is not finite for item {int(np.argmin(finite))}.")
    return values, result


def refuse_truncated(result: Result, asked: bool | None, param: str, spec: ModelSpec) -> None:
    """For callers that said ``truncate: false``.

    Raises:
        PayloadTooLarge: some item was cut.
    """
    if asked is False and len(result.truncated):
        first = int(result.truncated[0])
        raise PayloadTooLarge(f"{param}[{first}] must have at most {spec.max_tokens} tokens, or truncate must be true.", param=param)


def best_first(scores: npt.NDArray[np.float32], top_n: int | None = None) -> list[int]:
    """Positions by falling score; ties keep the request's order."""
    order: list[int] = np.argsort(-scores, kind="stable")[: top_n or len(scores)].tolist()
    return order
