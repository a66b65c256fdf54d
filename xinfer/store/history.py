"""Launches that people asked for, to be looked at and used again."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

KEPT = 200


@dataclass(frozen=True, slots=True)
class Launched:
    """One launch that was accepted.

    Attributes:
        at: unix seconds.
        body: of the request, JSON.
    """

    id: int
    at: float
    uid: str
    body: str


class History:
    """The newest launches, on the store's connection."""

    def __init__(self, connection: sqlite3.Connection, transaction: Callable[[], AbstractContextManager[None]]) -> None:
        self._db, self._transaction = connection, transaction

    def add(self, at: float, uid: str, body: str) -> None:
        """Note one; the oldest beyond ``KEPT`` goes. Raises StoreError."""
        with self._transaction():
            self._db.execute("INSERT INTO launches (at, uid, body) VALUES (?, ?, ?)", (at, uid, body))
            self._db.execute("DELETE FROM launches WHERE id <= (SELECT max(id) FROM launches) - ?", (KEPT,))

    def newest(self, limit: int) -> tuple[Launched, ...]:
        """Newest first."""
        rows = self._db.execute("SELECT id, at, uid, body FROM launches ORDER BY id DESC LIMIT ?", (limit,))
        return tuple(Launched(*row) for row in rows)
