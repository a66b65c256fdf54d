"""Virtual environments of single models: an overlay on this process's own environment, built once, kept under the home.

What a launch asks for is installed into a folder whose site-packages stand before those of the base, so the overlay's versions
win and everything else is the base's. One folder per key; a lock beside it is held alone while it is built or removed, and
shared by every process that runs in it. A folder without its record is what is left of a build that was cut short.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import site
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from xinfer.errors import ReplicaLost
from xinfer.processes.spawn import ProcessSpec

KEEP_UNUSED = 30 * 24 * 3600.0
"""Seconds after its last start at which an environment may be removed."""

BUILDER = "xinfer.processes.building:main"
SECRETS = ("XOSCAR_AUTH_KEY", "XINFER_CLUSTER_TOKEN", "XINFER_API_KEY")
"""Never shown to the code of a package that is being installed or probed."""
_RECORD = "environment.json"
_FLOCK_POLL = 0.02


@dataclass(frozen=True, slots=True)
class Base:
    """What an overlay is laid on.

    Attributes:
        prefix: of the interpreter's own environment.
        python: its version.
        paths: folders that its packages are found in.
        versions: of what a replica cannot do without, by package.
    """

    prefix: str
    python: str
    paths: tuple[str, ...]
    versions: Mapping[str, str]

    @classmethod
    def here(cls, packages: Iterable[str]) -> Base:
        """Of this process; ``packages`` are those of the engine."""
        # PYTHONPATH would stand before everything, so processes of an overlay go without it, and its folders become the base's.
        outer = [os.path.abspath(entry) for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry]
        paths = [*outer, *site.getsitepackages(), *([site.getusersitepackages()] if site.ENABLE_USER_SITE else [])]
        return cls(
            prefix=sys.prefix,
            python=sys.version.split()[0],
            paths=tuple(path for path in paths if Path(path).is_dir()),
            versions={name: _version(name) for name in ("xinfer-runtime", "xoscar", *packages)},
        )


def key_of(requirements: Sequence[str], base: Base) -> str:
    """Names the environment: another wish, another Python or another version of what matters is another environment."""
    facts = [list(requirements), base.prefix, base.python, sorted(base.versions.items())]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:20]


def sweep(root: Path, patience: float = 0.0) -> None:
    """Remove what is left of builds that were killed.

    Args:
        patience: seconds to wait for the lock of each, which the last process of a killed build lets go of when it has ended.
    """
    for folder in root.iterdir() if root.is_dir() else ():
        place = Place(root, folder.name)
        if folder.is_dir() and not place.built:
            with contextlib.suppress(BlockingIOError), place.locked(alone=True, patience=patience):
                if not place.built:
                    place.remove()


def unused(last_used: Mapping[str, float], now: float) -> list[str]:
    """Keys of environments that nobody has started anything in for a month; unix seconds."""
    return sorted(key for key, at in last_used.items() if now - at > KEEP_UNUSED)


@dataclass(frozen=True, slots=True)
class Place:
    """One environment on disk, built or not."""

    root: Path
    key: str

    @property
    def folder(self) -> Path:
        """The environment itself. It never moves: its scripts name their interpreter by its path."""
        return self.root / self.key

    @property
    def python(self) -> Path:
        """The interpreter that sees the overlay before the base."""
        return self.folder / "bin" / "python"

    @property
    def packages(self) -> Path:
        """Where pip installs to."""
        return self.folder / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"

    @property
    def built(self) -> bool:
        """Whether it is whole: installed and probed."""
        return (self.folder / _RECORD).exists()

    @property
    def last_used(self) -> float:
        """Unix seconds of the last start in it; 0 if it is not whole."""
        try:
            return (self.folder / _RECORD).stat().st_mtime
        except FileNotFoundError:
            return 0.0

    def finish(self, facts: Mapping[str, object]) -> None:
        """Call it whole, the last step of a build."""
        draft = self.folder / f"{_RECORD}.new"
        draft.write_text(json.dumps(facts, indent=1) + "\n")
        draft.replace(self.folder / _RECORD)

    def touch(self) -> None:
        """Note that it is used now."""
        os.utime(self.folder / _RECORD)

    def remove(self) -> None:
        """The record first, so that what a crash leaves is no environment; to be called with the lock held alone."""
        (self.folder / _RECORD).unlink(missing_ok=True)
        shutil.rmtree(self.folder, ignore_errors=True)

    @contextmanager
    def locked(self, *, alone: bool, patience: float | None = None) -> Iterator[int]:
        """Hold its lock; yields the descriptor that holds it, so that a child can hold it too.

        Args:
            patience: seconds to wait for it; None = for ever.

        Raises:
            BlockingIOError: somebody else holds it after that time.
        """
        lock, how = self._open_lock(), fcntl.LOCK_EX if alone else fcntl.LOCK_SH
        try:
            if patience is None:
                fcntl.flock(lock, how)
            else:
                _flock_within(lock, how, patience)
            yield lock
        finally:
            os.close(lock)

    def hold(self) -> int:
        """A descriptor that keeps the environment from being removed until the last copy of it is closed.

        Raises:
            ReplicaLost: it is being removed, or has been.
        """
        lock = self._open_lock()
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            pass
        else:
            if self.built:
                return lock
        os.close(lock)
        raise ReplicaLost(f"The environment {self.folder} was removed while it was about to be used.")

    def _open_lock(self) -> int:
        return os.open(self.root / f"{self.key}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def build_spec(
    root: Path, requirements: Sequence[str], packages: Sequence[str], name: str, cores: tuple[int, ...], stderr: Path
) -> ProcessSpec:
    """The process that finds or builds an environment; it announces ``key`` and ends.

    Args:
        root: folder of all environments.
        packages: what the engine imports, for the probe.
        stderr: gets what pip says.
    """
    payload = {"root": str(root), "requirements": list(requirements), "packages": list(packages)}
    env = {**dict.fromkeys(SECRETS), "XINFER_PROCESS": BUILDER}
    return ProcessSpec(BUILDER, payload, name, env, cores, stderr)


def _flock_within(lock: int, how: int, patience: float) -> None:
    # flock() knows no time-out.
    end = time.monotonic() + patience
    while True:
        try:
            return fcntl.flock(lock, how | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= end:
                raise
        time.sleep(_FLOCK_POLL)


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""
