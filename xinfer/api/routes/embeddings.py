"""Embeddings: OpenAI's shape at /v1/embeddings, that of text-embeddings-inference at /embed."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import numpy.typing as npt
from fastapi import APIRouter, Request
from starlette.responses import Response

from xinfer.api.limits import parse, read, read_json, service, within
from xinfer.api.reply import ERRORS, TEI_ERRORS, body_of, list_reply
from xinfer.api.routes.infer import only_model, refuse_truncated, run, target
from xinfer.batching.work import WorkItem
from xinfer.catalog.spec import ModelSpec, ModelType
from xinfer.errors import EngineError, InvalidRequest
from xinfer.schemas.embeddings import EmbeddingsReply, EmbeddingsRequest
from xinfer.schemas.tei import TeiEmbedRequest

router = APIRouter(tags=["inference"], responses=ERRORS)

Vectors = npt.NDArray[np.float32]
NUMBERS_AT_ONCE = 1 << 17
"""Written as text in about 10 ms."""


@router.post("/v1/embeddings", response_model=EmbeddingsReply, openapi_extra=body_of(EmbeddingsRequest), summary="Embed texts or token ids")
async def embeddings(request: Request) -> Response:
    """Floats, or base64 of little-endian float32."""
    body = await read(request, EmbeddingsRequest)
    inputs = body.inputs()
    within(len(inputs), service(request).limits.documents, "input")
    spec = target(request, body.model, ModelType.EMBEDDING)
    if body.dimensions is not None:
        check_dimensions(body.model, spec, body.dimensions, spec.embedding.dimensions if spec.embedding else 0)
    values, result = await run(request, body.model, [WorkItem(text, prompt=body.prompt_name) for text in inputs])
    vectors = _two_dimensional(body.model, values)
    if body.dimensions is not None:
        check_dimensions(body.model, spec, body.dimensions, vectors.shape[1])
        vectors = cut(vectors, body.dimensions)
    vectors = np.ascontiguousarray(vectors, "<f4")
    form = _base64 if body.encoding_format == "base64" else list

    def entries(first: int, last: int) -> list[Any]:
        return [{"object": "embedding", "index": i, "embedding": entry} for i, entry in enumerate(form(vectors[first:last]), first)]

    usage = {"prompt_tokens": result.tokens, "total_tokens": result.tokens}
    frame = {"object": "list", "model": body.model, "data": None, "usage": usage}
    return await list_reply(frame, "data", len(vectors), _step(vectors), entries)


@router.post("/", response_model=list[list[float]], responses=TEI_ERRORS, openapi_extra=body_of(TeiEmbedRequest), summary="The same")
@router.post(
    "/embed",
    response_model=list[list[float]],
    responses=TEI_ERRORS,
    openapi_extra=body_of(TeiEmbedRequest),
    summary="Embed (text-embeddings-inference)",
)
async def embed(request: Request) -> Response:
    """A bare list of vectors; the model is ``?model=`` or the only one. Hugging Face's client posts to the root."""
    body = parse(TeiEmbedRequest, await read_json(request))
    inputs = body.items()
    within(len(inputs), service(request).limits.documents, "inputs")
    uid = only_model(request, ModelType.EMBEDDING)
    spec = target(request, uid, ModelType.EMBEDDING)
    raw = body.normalize is False
    if body.dimensions is not None:
        check_dimensions(uid, spec, body.dimensions, spec.embedding.dimensions if spec.embedding else 0)
    values, result = await run(request, uid, [WorkItem(text, prompt=body.prompt_name, raw=raw) for text in inputs])
    refuse_truncated(result, body.truncate, "inputs", spec)
    vectors = _two_dimensional(uid, values)
    if body.dimensions is not None:
        check_dimensions(uid, spec, body.dimensions, vectors.shape[1])
        vectors = vectors[:, : body.dimensions]
    vectors = np.ascontiguousarray(vectors if raw else unit(vectors))
    return await list_reply(None, "", len(vectors), _step(vectors), lambda first, last: list(vectors[first:last]))


def check_dimensions(uid: str, spec: ModelSpec, asked: int, length: int) -> None:
    """Refuse a length that the model was not trained for; ``length`` 0 means not known yet.

    Raises:
        InvalidRequest: naming ``dimensions``.
    """
    if length and asked > length:
        raise InvalidRequest(f"dimensions must be at most {length}, the length of {uid}'s vectors, not {asked}.", param="dimensions")
    if length and asked < length and not (spec.embedding and spec.embedding.matryoshka):
        raise InvalidRequest(f"dimensions must be {length} or left out: {uid}'s vectors are not made to be cut.", param="dimensions")


def cut(vectors: Vectors, dimensions: int) -> Vectors:
    """The first ``dimensions`` of each vector, of unit length again; (n, dim) → (n, dimensions)."""
    return unit(vectors[:, :dimensions]) if dimensions < vectors.shape[1] else vectors


def unit(vectors: Vectors) -> Vectors:
    """Rows of unit length; a row of zeros stays one."""
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.where(norms > 0, norms, 1), np.float32)


def _base64(vectors: Vectors) -> list[str]:
    return [base64.b64encode(row).decode("ascii") for row in vectors]


def _step(vectors: Vectors) -> int:
    width: int = vectors.shape[1]
    return max(1, NUMBERS_AT_ONCE // max(1, width))


def _two_dimensional(uid: str, values: Vectors) -> Vectors:
    if values.ndim != 2:
        raise EngineError(f"Model {uid} answered with {values.ndim}-dimensional values instead of one vector per text.")
    return np.asarray(values, np.float32)
