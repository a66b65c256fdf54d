"""Desired state on disk: one SQLite file, one process that has it open."""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from pydantic import TypeAdapter, ValidationError

from xinfer.cluster.deployment import Deployment
from xinfer.cluster.ids import Epoch, KeyId, WorkerId
from xinfer.cluster.keys import Key, Keys
from xinfer.cluster.snapshot import Snapshot
from xinfer.errors import ConfigError, StoreError
from xinfer.store.figures import Figures
from xinfer.store.history import History
from xinfer.store.migrations import MIGRATIONS, VERSION

EPOCHS_PER_BLOCK = 10_000
"""Epochs set aside on disk at a time, so that giving one out costs no write."""

T = TypeVar("T")
_MAGIC = b"SQLite format 3\x00"
_DEPLOYMENT: TypeAdapter[Deployment] = TypeAdapter(Deployment)
_KEY: TypeAdapter[Key] = TypeAdapter(Key)


@dataclass(frozen=True, slots=True)
class Stored:
    """What a supervisor begins with.

    Attributes:
        deployments: in order of creation.
        workers: known when the last supervisor ended.
        draining: workers that people want empty, known or not.
        keys: API keys, revoked ones too.
    """

    deployments: tuple[Deployment, ...]
    workers: frozenset[WorkerId]
    draining: frozenset[WorkerId] = frozenset()
    keys: Keys = field(default_factory=dict)


class Store:
    """Blocking and quick: a write is one transaction that is on disk when it returns.

    Attributes:
        figures: what replicas measured and chose.
        history: what was launched.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection, lock: int) -> None:
        self._path = path
        self._db = connection
        self._lock = lock
        self.figures = Figures(path, connection, self._transaction)
        self.history = History(connection, self._transaction)
        self._reserved = int(connection.execute("SELECT reserved FROM epochs").fetchone()[0])

    @classmethod
    def open(cls, path: Path) -> Store:
        """Open or make the file; holds ``path.lock`` until ``close`` or the end of the process.

        Raises:
            ConfigError: another process has it open.
            StoreError: damaged, or written by a newer version; the file is left as it is.
        """
        lock = _take_lock(path)
        connection: sqlite3.Connection | None = None
        try:
            _look_before_opening(path)
            _keep_private(path)
            connection = sqlite3.connect(path, isolation_level=None, timeout=5.0)
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")  # a launch that was answered survives a power cut
            _migrate(connection, path)
            return cls(path, connection, lock)
        except BaseException as error:
            if connection is not None:
                connection.close()
            os.close(lock)
            if isinstance(error, sqlite3.Error):
                raise StoreError(f"The state file {path} cannot be opened: {error}.") from error
            raise

    def next_epoch(self) -> Epoch:
        """The epoch of a new supervisor's life, larger than any epoch that was ever given out; on disk when it returns.

        The lives of workers and replicas are numbered on from there.

        Raises:
            StoreError: it could not be written.
        """
        first = self._reserved + 1
        with self._transaction():
            self._reserve(self._reserved + EPOCHS_PER_BLOCK)
        return Epoch(first)

    def load(self) -> Stored:
        """Everything that is desired, and the workers to expect.

        Raises:
            StoreError: a row cannot be read; names it.
        """
        try:
            deployments = self._rows("deployment", "SELECT uid, body FROM deployments", _DEPLOYMENT)
            keys = {KeyId(key.id): key for key in self._rows("key", "SELECT id, body FROM keys", _KEY)}
            workers = frozenset(WorkerId(row[0]) for row in self._db.execute("SELECT id FROM workers"))
            draining = frozenset(WorkerId(row[0]) for row in self._db.execute("SELECT id FROM draining"))
        except sqlite3.Error as error:
            raise StoreError(f"The state file {self._path} cannot be read: {error}.") from error
        return Stored(tuple(sorted(deployments, key=lambda d: (d.created_at, d.uid))), workers, draining, keys)

    def _rows(self, noun: str, query: str, kind: TypeAdapter[T]) -> list[T]:
        found = []
        for name, body in self._db.execute(query):
            try:
                found.append(kind.validate_json(body))
            except ValidationError as error:
                part = ".".join(str(each) for each in error.errors()[0]["loc"])
                raise StoreError(f"The state file {self._path} holds {noun} {name!r} with a bad field {part or 'body'}.") from error
        return found

    def save(self, before: Snapshot, after: Snapshot) -> None:
        """Write what differs between two snapshots, in one transaction; nothing is written if nothing does.

        A deployment that is being stopped is taken off the disk at once and never comes back.

        Raises:
            StoreError: nothing was changed.
        """
        changed, removed = _deployments_delta(before, after)
        come, gone = _workers_delta(before, after)
        writes: list[tuple[str, Sequence[tuple[str, ...]]]] = [
            ("INSERT OR REPLACE INTO deployments VALUES (?, ?)", changed),
            ("DELETE FROM deployments WHERE uid = ?", removed),
            ("INSERT OR REPLACE INTO workers VALUES (?)", come),
            ("DELETE FROM workers WHERE id = ?", gone),
            ("INSERT OR REPLACE INTO draining VALUES (?)", [(worker,) for worker in after.draining - before.draining]),
            ("DELETE FROM draining WHERE id = ?", [(worker,) for worker in before.draining - after.draining]),
            ("INSERT OR REPLACE INTO keys VALUES (?, ?)", _keys_delta(before, after)),
        ]
        short = after.next_epoch > self._reserved - EPOCHS_PER_BLOCK // 2
        if not (short or any(rows for _, rows in writes)):
            return
        with self._transaction():
            for statement, rows in writes:
                if rows:
                    self._db.executemany(statement, rows)
            if short:
                self._reserve(max(self._reserved, after.next_epoch) + EPOCHS_PER_BLOCK)

    def close(self) -> None:
        """Let go of the file and its lock."""
        self._db.close()
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _reserve(self, upto: int) -> None:
        self._db.execute("UPDATE epochs SET reserved = ?", (upto,))

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        try:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise
            self._reserved = int(self._db.execute("SELECT reserved FROM epochs").fetchone()[0])
        except (sqlite3.Error, OSError) as error:
            raise StoreError(f"The state file {self._path} cannot be written: {error}. Nothing was changed.") from error


def _take_lock(path: Path) -> int:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ConfigError(f"The state file {path} cannot be made there: {error.strerror}; choose another --home.") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(lock)
        raise ConfigError(f"Another supervisor has {path} open: stop it, or choose another --home for this one.") from error
    return lock


def _look_before_opening(path: Path) -> None:
    """Refuse what is not ours to write, with nothing but reads. The version is at offset 60 of the header, big-endian."""
    try:
        with path.open("rb") as file:
            header = file.read(100)
    except FileNotFoundError:
        return
    except OSError as error:
        raise StoreError(f"The state file {path} cannot be read: {error.strerror}.") from error
    if not header:
        return
    if len(header) < 100 or not header.startswith(_MAGIC):
        raise StoreError(f"The state file {path} is not a state file or is damaged: move it away to begin anew.")
    version = int.from_bytes(header[60:64], "big")
    if version > VERSION:
        raise StoreError(f"The state file {path} has version {version} and this program knows {VERSION}: use a newer xinfer.")
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=5.0)
    try:
        verdict = str(connection.execute("PRAGMA quick_check(1)").fetchone()[0])
    except sqlite3.Error as error:
        verdict = str(error)
    finally:
        connection.close()
    if verdict != "ok":
        raise StoreError(f"The state file {path} is damaged ({verdict.splitlines()[-1]}): move it away to begin anew.")


def _keep_private(path: Path) -> None:
    """No other user reads what was asked for; SQLite gives its companion files the mode of this one."""
    try:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StoreError(f"The state file {path} cannot be opened: {error.strerror}.") from error
    with contextlib.suppress(PermissionError):  # another user's file that we may write: its mode is theirs
        os.fchmod(file, 0o600)
    os.close(file)


def _migrate(connection: sqlite3.Connection, path: Path) -> None:
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    if version > VERSION:
        raise StoreError(f"The state file {path} has version {version} and this program knows {VERSION}: use a newer xinfer.")
    for number, script in enumerate(MIGRATIONS[version:], start=version + 1):
        connection.executescript(f"BEGIN IMMEDIATE; {script}; PRAGMA user_version = {number}; COMMIT;")
    if version < VERSION:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # the header tells the version without opening the file


def _deployments_delta(before: Snapshot, after: Snapshot) -> tuple[list[tuple[str, str]], list[tuple[str]]]:
    if before.deployments is after.deployments:
        return [], []
    old = {uid: deployment for uid, deployment in before.deployments.items() if not deployment.stopping}
    new = {uid: deployment for uid, deployment in after.deployments.items() if not deployment.stopping}
    changed = [(str(uid), _DEPLOYMENT.dump_json(d).decode()) for uid, d in new.items() if old.get(uid) is not d and old.get(uid) != d]
    return changed, [(str(uid),) for uid in old if uid not in new]


def _workers_delta(before: Snapshot, after: Snapshot) -> tuple[list[tuple[str]], list[tuple[str]]]:
    if before.workers is after.workers and before.expected is after.expected:
        return [], []
    old = before.workers.keys() | before.expected
    new = after.workers.keys() | after.expected
    return [(worker,) for worker in new - old], [(worker,) for worker in old - new]


def _keys_delta(before: Snapshot, after: Snapshot) -> list[tuple[str, str]]:
    """Keys never leave: a revoked one stays as such."""
    if before.keys is after.keys:
        return []
    return [(key.id, _KEY.dump_json(key).decode()) for key in after.keys.values() if before.keys.get(key.id) != key]
