"""API keys on the wire."""

from __future__ import annotations

import re

from pydantic import Field, field_validator

from xinfer.schemas.base import Reply, Strict

_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)


class KeyRequest(Strict):
    """POST /v1/keys.

    Attributes:
        admin: may do everything; ``allow`` is left out then.
        allow: ``ACTION[,ACTION][:MODEL[,MODEL]]`` each, actions being infer, launch, stop and read; all inference if left out.
        expires_in: seconds from now; never if left out.
    """

    name: str
    admin: bool = False
    allow: list[str] | None = None
    expires_in: float | None = Field(default=None, gt=0, le=3.2e9)

    @field_validator("name")
    @classmethod
    def _a_name(cls, name: str) -> str:
        if not _NAME.fullmatch(name):
            raise ValueError("1 to 64 letters, digits, dots, underscores or hyphens")
        return name


class KeyEntry(Reply):
    """One key, without its secret; times in unix seconds."""

    id: str
    name: str
    admin: bool
    allow: list[str]
    state: str
    """valid, expired or revoked."""
    created_at: float
    expires_at: float | None = None
    revoked_at: float | None = None


class MadeKey(KeyEntry):
    """A key that was just made, the only time that its secret is told."""

    secret: str


class KeyList(Reply):
    """GET /v1/keys, oldest first."""

    keys: list[KeyEntry]
