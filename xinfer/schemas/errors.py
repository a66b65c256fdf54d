"""The one error body: some clients read ``detail``, some ``error``."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from xinfer.schemas.base import Reply


class ErrorObject(Reply):
    """What went wrong, for programs.

    Attributes:
        type: OpenAI's class of error, such as ``invalid_request_error``.
        code: ours, such as ``model_not_found``.
        param: the field at fault.
        details: JSON values, such as every refused slot with its reason.
    """

    message: str
    type: str
    code: str
    param: str | None = None
    details: dict[str, Any] = Field(default_factory=dict)


class ErrorBody(Reply):
    """The body of every reply that is not a success."""

    detail: str
    error: ErrorObject
