"""Rerank: the Cohere, Jina and Xinference shape, and that of text-embeddings-inference on the same path."""

from __future__ import annotations

import uuid
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from xinfer.api.errors import TEI
from xinfer.api.limits import parse, read_json, request_id, service, within
from xinfer.api.ports import Result
from xinfer.api.reply import ERRORS, TEI_ERRORS, body_of, json_reply, list_reply
from xinfer.api.routes.infer import best_first, only_model, refuse_truncated, run, target
from xinfer.batching.work import WorkItem
from xinfer.catalog.spec import ModelSpec, ModelType
from xinfer.schemas.rerank import RerankReply, RerankRequest
from xinfer.schemas.tei import TeiRank, TeiRerankRequest

RESULTS_AT_ONCE = 2000
"""With their documents written in a few ms."""

router = APIRouter(tags=["inference"], responses=ERRORS)


@router.post("/v1/rerank", response_model=RerankReply, openapi_extra=body_of(RerankRequest), summary="Rank documents")
async def rerank_v1(request: Request) -> Response:
    """Cohere v1, Jina and Xinference."""
    return await _rerank(request, await read_json(request))


@router.post("/v2/rerank", response_model=RerankReply, openapi_extra=body_of(RerankRequest), summary="Rank documents (Cohere v2)")
async def rerank_v2(request: Request) -> Response:
    """The same under Cohere's v2 path."""
    return await _rerank(request, await read_json(request))


@router.post(
    "/rerank",
    response_model=RerankReply | list[TeiRank],
    responses=TEI_ERRORS,
    openapi_extra=body_of(RerankRequest, TeiRerankRequest),
    summary="Rank documents; with texts instead of documents as text-embeddings-inference does",
)
async def rerank(request: Request) -> Response:
    """With ``texts``: a bare list; the model is ``?model=`` or the only reranker."""
    body = await read_json(request)
    if isinstance(body, dict) and "texts" in body and "documents" not in body:
        return await _tei_rerank(request, body)
    return await _rerank(request, body)


async def _rerank(request: Request, data: Any) -> Response:
    body = parse(RerankRequest, data)
    within(len(body.documents), service(request).limits.documents, "documents")
    spec = target(request, body.model, ModelType.RERANK)
    texts = body.texts()
    items = [WorkItem(body.query, text, instruction=body.instruction) for text in texts]
    scores, result = await run(request, body.model, items)
    flat = scores.reshape(len(items))
    values = flat.tolist()
    order = best_first(flat, body.top_n)

    def entries(first: int, last: int) -> list[Any]:
        return [
            {"index": i, "relevance_score": values[i], "document": {"text": texts[i]} if body.return_documents else None}
            for i in order[first:last]
        ]

    frame = {
        "id": str(uuid.uuid5(uuid.NAMESPACE_OID, request_id(request))),
        "model": body.model,
        "results": None,
        "usage": {"prompt_tokens": result.tokens, "total_tokens": result.tokens},
        "meta": _meta(result, spec),
    }
    return await list_reply(frame, "results", len(order), RESULTS_AT_ONCE, entries)


def _meta(result: Result, spec: ModelSpec) -> dict[str, Any]:
    cut = [int(i) for i in result.truncated]
    warnings = []
    if cut:
        subject = "1 document was" if len(cut) == 1 else f"{len(cut)} documents were"
        warnings.append(f"{subject} longer than the model's {spec.max_tokens} tokens and cut.")
    if result.meta.get("scores_depend_on_batch"):
        warnings.append("This model's scores depend slightly on which documents share a batch.")
    return {
        "api_version": {"version": "2"},
        "billed_units": {"input_tokens": result.tokens, "search_units": 1},
        "tokens": {"input_tokens": result.tokens, "output_tokens": 0},
        "warnings": warnings or None,
        "truncated": cut,
    }


async def _tei_rerank(request: Request, data: Any) -> Response:
    request.scope[TEI] = True
    body = parse(TeiRerankRequest, data)
    within(len(body.texts), service(request).limits.documents, "texts")
    uid = only_model(request, ModelType.RERANK)
    spec = target(request, uid, ModelType.RERANK)
    scores, result = await run(request, uid, [WorkItem(body.query, text, raw=bool(body.raw_scores)) for text in body.texts])
    refuse_truncated(result, body.truncate, "texts", spec)
    flat = scores.reshape(len(body.texts))
    values = flat.tolist()
    ranks: list[dict[str, Any]] = [{"index": i, "score": values[i]} for i in best_first(flat)]
    if body.return_text:
        for rank in ranks:
            rank["text"] = body.texts[rank["index"]]
    return json_reply(ranks)
