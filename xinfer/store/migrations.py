"""The schema, as the list of changes that made it. Only ever append: a file's ``user_version`` is how many it has had."""

from __future__ import annotations

MIGRATIONS: tuple[str, ...] = (
    """
    CREATE TABLE deployments (uid TEXT PRIMARY KEY, body TEXT NOT NULL) STRICT, WITHOUT ROWID;
    CREATE TABLE workers (id TEXT PRIMARY KEY) STRICT, WITHOUT ROWID;
    CREATE TABLE epochs (only INTEGER PRIMARY KEY CHECK (only = 1), reserved INTEGER NOT NULL) STRICT;
    INSERT INTO epochs VALUES (1, 0);
    CREATE TABLE measurements (
        key TEXT NOT NULL,
        device TEXT NOT NULL,
        bytes INTEGER NOT NULL,
        PRIMARY KEY (key, device)
    ) STRICT, WITHOUT ROWID;
    """,
    """
    CREATE TABLE dtypes (
        key TEXT NOT NULL,
        device TEXT NOT NULL,
        dtype TEXT NOT NULL,
        why TEXT NOT NULL,
        PRIMARY KEY (key, device)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE calibrations (
        key TEXT NOT NULL,
        device TEXT NOT NULL,
        body TEXT NOT NULL,
        PRIMARY KEY (key, device)
    ) STRICT, WITHOUT ROWID;
    """,
    "CREATE TABLE draining (id TEXT PRIMARY KEY) STRICT, WITHOUT ROWID;",
    "CREATE TABLE keys (id TEXT PRIMARY KEY, body TEXT NOT NULL) STRICT, WITHOUT ROWID;",
    # Deployments may sleep: a body without replicas, which an older program would take for one that is being stopped.
    "SELECT 1",
    "CREATE TABLE launches (id INTEGER PRIMARY KEY AUTOINCREMENT, at REAL NOT NULL, uid TEXT NOT NULL, body TEXT NOT NULL) STRICT;",
)
VERSION = len(MIGRATIONS)
