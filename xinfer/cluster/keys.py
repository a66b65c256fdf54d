"""API keys as the cluster keeps them: who may do what, never the secret itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from xinfer.cluster.ids import KeyId

EVERY = "*"
"""In place of a model: all of them, those to come included."""


class Action(StrEnum):
    """What a key may do with a model.

    LAUNCH: start it, add, scale or move replicas. STOP: stop it, or one replica. READ: see it; for every model, the cluster
    and its figures, too.
    """

    INFER = "infer"
    LAUNCH = "launch"
    STOP = "stop"
    READ = "read"


@dataclass(frozen=True, slots=True)
class Grant:
    """One action on one model, by uid, or on EVERY."""

    action: Action
    model: str = EVERY


@dataclass(frozen=True, slots=True)
class Key:
    """One API key; kept after it was revoked, so that a server with keys never becomes an open one.

    Attributes:
        digest: of the secret (``access.secret.digest``).
        admin: may do everything; ``grants`` is empty then.
        created_at, expires_at, revoked_at: unix seconds; None = never.
    """

    id: KeyId
    name: str
    digest: str
    admin: bool = False
    grants: tuple[Grant, ...] = ()
    created_at: float = 0.0
    expires_at: float | None = None
    revoked_at: float | None = None

    def valid(self, now: float) -> bool:
        """Neither revoked nor expired."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)


Keys = Mapping[KeyId, Key]
"""Every key there was; none at all = the server is open to everyone who reaches it."""
