"""Which models can be launched: registrations, engines, cache."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from xinfer.access import permit
from xinfer.api.gate import caller
from xinfer.api.limits import read
from xinfer.api.reply import ERRORS, body_of, json_reply
from xinfer.catalog.families import Families, Family, load_builtin
from xinfer.catalog.spec import ModelType
from xinfer.errors import InvalidRequest, ModelNotFound
from xinfer.schemas.cluster import CacheReply
from xinfer.schemas.models import RegistrationEntry, RegistrationRequest

router = APIRouter(prefix="/v1", tags=["catalogue"], responses=ERRORS)

_TYPES = {t.value.lower(): t for t in ModelType}
_NOT_OFFERED = "Custom registrations are not offered yet; launch a folder directly with model_path."
_OTHER_TYPES = frozenset({"image", "audio", "video", "flexible", "world"})
"""Types of Xinference that clients list although nothing of the kind is served here."""


def _type(name: str) -> ModelType | None:
    found = _TYPES.get(name.lower())
    if found is None and name.lower() not in _OTHER_TYPES:
        raise InvalidRequest(f"model_type must be one of {', '.join(t.value for t in ModelType)}, not {name[:40]!r}.", param="model_type")
    return found


def _family(families: Families, kind: ModelType | None, name: str) -> Family:
    found = families.get(name, kind)
    other = families.get(name, None) if found is None and kind is not None else None
    if other is not None and kind is not None:
        raise ModelNotFound(f"{other.name} is a model of type {other.type.value}, not {kind.value}.", param="model_type")
    if found is None:
        raise ModelNotFound(f"No model {name[:100]!r} is registered; GET /v1/model_registrations/TYPE lists them.", param="model_name")
    return found


@router.get("/model_registrations/{model_type}", response_model=list[RegistrationEntry], summary="Models that can be launched by name")
async def registrations(model_type: str, detailed: bool = False) -> Response:
    """The built-in families of one type."""
    kind = _type(model_type)
    return json_reply(load_builtin().listing(kind, detailed) if kind else [])


@router.get("/model_registrations/{model_type}/{model_name:path}", response_model=None, summary="One registered model")
async def registration(model_type: str, model_name: str) -> Response:
    """By name or alias, with every variant."""
    kind = _type(model_type)
    if kind is None:
        raise ModelNotFound(f"No model {model_name[:100]!r} of type {model_type} is registered.", param="model_name")
    return json_reply({**_family(load_builtin(), kind, model_name).listing(), "is_builtin": True})


@router.post("/model_registrations/{model_type}", response_model=None, openapi_extra=body_of(RegistrationRequest), summary="Register")
async def register(request: Request, model_type: str) -> Response:
    """Not offered yet."""
    permit.demand_admin(caller(request), "register models")
    _type(model_type)
    await read(request, RegistrationRequest)
    raise InvalidRequest(_NOT_OFFERED, param="model")


@router.delete("/model_registrations/{model_type}/{model_name:path}", response_model=None, summary="Unregister a model")
async def unregister(request: Request, model_type: str, model_name: str) -> Response:
    """Not offered yet; built-in models cannot be removed."""
    permit.demand_admin(caller(request), "unregister models")
    kind = _type(model_type)
    family = _family(load_builtin(), kind, model_name)
    raise InvalidRequest(f"{family.name} is built in and cannot be unregistered.", param="model_name")


@router.get("/engines/{model_type}/{model_name:path}", response_model=None, summary="Engines that run a model")
async def engines(model_type: str, model_name: str) -> Response:
    """Engine → the variants it runs."""
    kind = _type(model_type)
    return json_reply(_family(load_builtin(), kind, model_name).engine_specs())


@router.get("/engines/{model_name}", response_model=None, summary="Engines that run a model, whatever its type")
async def engines_of(model_name: str) -> Response:
    """The same without a type."""
    return json_reply(_family(load_builtin(), None, model_name).engine_specs())


@router.get("/cache/models", response_model=CacheReply, summary="Cached model files")
async def cache() -> Response:
    """Workers do not report their caches yet, so the list is empty."""
    return json_reply({"list": []})
