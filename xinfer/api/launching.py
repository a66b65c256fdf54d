"""Launch bodies as they come: Xinference's client sends many fields, and a typo must never turn a pin into automatic placement."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel

from xinfer.api.limits import parse
from xinfer.errors import InvalidPlacement, InvalidRequest
from xinfer.placement.compile import MAX_REPLICAS
from xinfer.schemas.launch import LaunchRequest, Placement
from xinfer.schemas.models import AddReplicasRequest, ScaleRequest

NEAR = 0.75
"""From this similarity (difflib) on, an unknown field is taken for a misspelt known one."""

RESERVED = frozenset({"instances"})
"""Uids that ``/v1/models/{uid}`` could not reach."""

M = TypeVar("M", bound=BaseModel)
_COUNTS = ("replica", "n_gpu", "n_worker", "min_replica", "max_replica")


def launch_request(data: Any) -> LaunchRequest:
    """A launch body; unknown top-level fields with a value become options, for the engine to accept or refuse.

    Raises:
        InvalidRequest, InvalidPlacement: naming the field.
    """
    if not isinstance(data, dict):
        return parse(LaunchRequest, data)
    known = {k: v for k, v in data.items() if k in LaunchRequest.model_fields and v is not None}
    extra = {k: v for k, v in data.items() if k not in LaunchRequest.model_fields and v not in (None, "", [], {})}
    refuse_misspelt(extra, LaunchRequest)
    _check_counts(known)
    request = parse(LaunchRequest, known)
    if request.model_uid in RESERVED:
        raise InvalidRequest(f"model_uid must not be {request.model_uid}: that is a path of its own under /v1/models.", param="model_uid")
    for name in extra:
        if name in request.options:
            raise InvalidRequest(f"{name} must be given once, at top level or in options.", param=name)
    request.options.update(extra)
    request._top_level = frozenset(extra)
    return request


def placement(data: Any) -> Placement:
    """The body of a scale-up.

    Raises:
        InvalidRequest, InvalidPlacement: naming the field.
    """
    if not isinstance(data, dict):
        return parse(AddReplicasRequest, data).placement()
    given = {k: v for k, v in data.items() if v is not None}
    _check_counts(given)
    request = parse(AddReplicasRequest, given)
    if request.model_engine:
        raise InvalidRequest("model_engine must be left out: all replicas of a model run on the same engine.", param="model_engine")
    return request.placement()


def scaling(data: Any) -> ScaleRequest:
    """The body of a scaling.

    Raises:
        InvalidRequest, InvalidPlacement: naming the field.
    """
    if isinstance(data, dict):
        _check_counts(data, least=0)
    request = parse(ScaleRequest, data)
    if request.replica is not None and request.replica > MAX_REPLICAS:
        raise InvalidPlacement(f"replica must be between 1 and {MAX_REPLICAS}, not {request.replica}.", param="replica")
    return request


def refuse_misspelt(extra: Mapping[str, Any], model: type[BaseModel]) -> None:
    """Refuse unknown fields that are nearly a known one.

    Raises:
        InvalidRequest.
    """
    for name in extra:
        near = difflib.get_close_matches(name.lower(), list(model.model_fields), 1, NEAR)
        if near:
            raise InvalidRequest(f"{name[:100]} is not a known field; did you mean {near[0]}?", param=name[:100])


def _check_counts(data: Mapping[str, Any], least: int = 1) -> None:
    for name in _COUNTS:
        value = data.get(name)
        if isinstance(value, bool):
            raise InvalidPlacement(f"{name} must be a whole number, not {str(value).lower()}.", param=name)
        if name == "replica" and isinstance(value, int) and value < least:
            raise InvalidPlacement(f"replica must be at least {least}, not {value}.", param=name)
