"""Secrets of API keys, and the proof of whoever runs the server.

A secret holds 256 random bits, so one SHA-256 is apt at rest: nobody can try them all, which is what slow hashes and salts are
for, and it costs every request about a microsecond instead of a tenth of a second.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re

from xinfer.cluster.ids import KeyId

ENTROPY = 36
"""Random bytes that a secret is made of: 4 for the id, 32 for the secret itself."""
PROOF_SECONDS = 300.0
"""A proof is good so long before and after the time that it names."""

_SECRET = re.compile(r"xk-([0-9a-f]{8})-[A-Za-z0-9_-]{43}", re.ASCII)
_PROOF = re.compile(r"xhost-(\d{1,12})-([0-9a-f]{64})", re.ASCII)


def make(entropy: bytes) -> tuple[KeyId, str]:
    """A key's id and its secret, which begins with it.

    Args:
        entropy: ENTROPY random bytes.
    """
    name = entropy[:4].hex()
    return KeyId(name), f"xk-{name}-{base64.urlsafe_b64encode(entropy[4:]).decode().rstrip('=')}"


def id_of(secret: str) -> KeyId | None:
    """The id that a secret begins with; None for what is no secret of ours."""
    found = _SECRET.fullmatch(secret)
    return KeyId(found[1]) if found else None


def digest(secret: str) -> str:
    """What is kept of a secret."""
    return hashlib.sha256(secret.encode()).hexdigest()


def same(given: str, kept: str) -> bool:
    """Whether two digests are equal, in a time that does not say where they differ."""
    return hmac.compare_digest(given, kept)


def proof(cluster_token: str, now: float) -> str:
    """That the caller has the cluster token, without sending it; good for some minutes."""
    return f"xhost-{int(now)}-{_signature(cluster_token, int(now))}"


def is_proof(given: str) -> bool:
    """Whether it claims to be one."""
    return given.startswith("xhost-")


def proves(given: str, cluster_token: str, now: float) -> bool:
    """Whether the proof is good now; an empty token proves nothing."""
    found = _PROOF.fullmatch(given)
    if not found or not cluster_token:
        return False
    moment = int(found[1])
    return same(found[2], _signature(cluster_token, moment)) and abs(now - moment) <= PROOF_SECONDS


def _signature(cluster_token: str, moment: int) -> str:
    return hmac.new(cluster_token.encode(), f"xinfer host {moment}".encode(), hashlib.sha256).hexdigest()
