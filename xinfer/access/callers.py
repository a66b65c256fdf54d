"""Whose request it is."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from xinfer.access import secret
from xinfer.cluster.keys import Grant, Keys
from xinfer.errors import Unauthorized


class Role(StrEnum):
    """What a caller is.

    NOBODY asked for one of the pages that need no key. EVERYONE is each caller of a server without keys. HOST has the
    cluster token: makes and revokes keys, nothing else.
    """

    NOBODY = "nobody"
    EVERYONE = "everyone"
    HOST = "host"
    USER = "user"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Caller:
    """One caller; ``key_id`` and ``name`` are those of its key, empty without one."""

    role: Role
    key_id: str = ""
    name: str = ""
    grants: tuple[Grant, ...] = ()

    @property
    def free(self) -> bool:
        """Nothing is closed to it but, without keys, the making of the first one."""
        return self.role in (Role.ADMIN, Role.EVERYONE)


NOBODY = Caller(Role.NOBODY)
EVERYONE = Caller(Role.EVERYONE)
HOST = Caller(Role.HOST)


def authenticate(keys: Keys, given: str | None, cluster_token: str, now: float) -> Caller:
    """Who sent ``given``, what came in place of a key. While there are no keys, whatever comes is taken.

    Raises:
        Unauthorized: one sentence, which never repeats what was given.
    """
    if given is not None and secret.is_proof(given):
        if not secret.proves(given, cluster_token, now):
            raise Unauthorized(
                "The proof of the cluster token is not good: it must be this cluster's token, and the two clocks must agree.",
                param="XINFER_CLUSTER_TOKEN",
            )
        return HOST
    if not keys:
        return EVERYONE
    if not given:
        raise Unauthorized("An API key is needed: send the header Authorization: Bearer KEY.", param="Authorization")
    key_id = secret.id_of(given)
    key = keys.get(key_id) if key_id is not None else None
    if key is None or not secret.same(secret.digest(given), key.digest):
        raise Unauthorized("The API key is not known here.", param="Authorization")
    if key.revoked_at is not None:
        raise Unauthorized(f"The API key {key.name} was revoked.", param="Authorization")
    if not key.valid(now):
        raise Unauthorized(f"The API key {key.name} has expired.", param="Authorization")
    return Caller(Role.ADMIN if key.admin else Role.USER, key.id, key.name, key.grants)


def bearer(authorization: str | None, x_api_key: str | None) -> str | None:
    """The key in the headers that clients send it in; None where there is none."""
    scheme, _, value = (authorization or "").strip().partition(" ")
    if scheme.lower() == "bearer" and value.strip():
        return value.strip()
    return (x_api_key or "").strip() or None
