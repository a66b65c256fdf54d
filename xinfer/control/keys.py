"""API keys are made and revoked, like everything else that is desired."""

from __future__ import annotations

from dataclasses import replace

from xinfer.cluster.keys import Key, Keys
from xinfer.control.draft import Draft
from xinfer.control.events import KeyMade, KeyRevoked
from xinfer.errors import AlreadyExists, InvalidRequest, KeyNotFound


def make(draft: Draft, event: KeyMade) -> None:
    """From now on the server asks for keys.

    Raises:
        InvalidRequest: the first key is no admin's, so nobody could make another; AlreadyExists: the name is taken.
    """
    key, known = event.key, draft.keys
    if not known and not key.admin:
        raise InvalidRequest("admin must be true for the first key: only an admin's key can make others.", param="admin")
    if any(other.name == key.name and other.revoked_at is None for other in known.values()):
        raise AlreadyExists(f"A key {key.name} exists: choose another name, or revoke that one first.", param="name")
    if key.id in known:
        raise AlreadyExists(f"The key id {key.id} is taken: ask again, for another one.", param="name")
    draft.keys = {**known, key.id: key}


def revoke(draft: Draft, event: KeyRevoked) -> None:
    """The key stays known, as revoked.

    Raises:
        KeyNotFound; InvalidRequest: it is the last valid key of an admin.
    """
    key = find(draft.keys, event.name)
    others = (other for other in draft.keys.values() if other.id != key.id)
    if key.admin and key.valid(draft.now) and not any(other.admin and other.valid(draft.now) for other in others):
        raise InvalidRequest(f"{key.name} is the last key of an admin: make another one first, then revoke this.", param="name")
    draft.keys = {**draft.keys, key.id: replace(key, revoked_at=draft.now)}


def find(keys: Keys, name: str) -> Key:
    """The key of that name or id that is not revoked.

    Raises:
        KeyNotFound.
    """
    live = [key for key in keys.values() if key.revoked_at is None]
    found = next((key for key in live if key.name == name), None) or next((key for key in live if key.id == name), None)
    if found is None:
        raise KeyNotFound(f"There is no key {name[:64]!r}, or it is revoked already.", param="name")
    return found
