"""The model cache on disk: one entry per source, complete only once its marker is written.

``KIND/KEY/`` holds the files, ``KIND/KEY.partial/`` a download under way, ``KIND/KEY.lock`` who is at it and
``KIND/KEY.json`` the marker: written last, listing every file with its size.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from xinfer.catalog.spec import HubSource, WheelSource
from xinfer.catalog.uri import cache_key
from xinfer.errors import SourceError
from xinfer.sources.inspect import file_names
from xinfer.sources.select import Format

_READABLE = re.compile(r"[^A-Za-z0-9._-]+")


@dataclass(frozen=True, slots=True)
class Entry:
    """Where one source, in one format, lives in the cache."""

    key: str
    folder: Path
    partial: Path
    lock: Path
    marker: Path

    @property
    def label(self) -> str:
        """The key as people want to read it."""
        return self.key.split("#")[0]

    @property
    def complete(self) -> bool:
        """The marker is there and every file it lists has its size."""
        return read_marker(self.marker) is not None

    @property
    def files(self) -> Path:
        """Where a download gathers the files before they are adopted."""
        return self.partial / "files"

    def note_total(self, total: int) -> None:
        """Tell the processes that wait for this download how much it will be."""
        (self.partial / "total").write_text(str(total), encoding="utf-8")

    def noted_total(self) -> int:
        """Bytes that the download under way will be, 0 if unknown."""
        try:
            return int((self.partial / "total").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return 0

    def adopt(self) -> Path:
        """Move the finished download into place and write the marker; returns the folder."""
        files = {name: (self.files / name).stat().st_size for name in file_names(self.files)}
        self.marker.unlink(missing_ok=True)
        if self.folder.exists():
            shutil.rmtree(self.folder)
        self.files.rename(self.folder)
        draft = self.marker.with_suffix(".json.new")
        with draft.open("w", encoding="utf-8") as stream:
            json.dump({"source": self.key, "files": files}, stream)
            stream.flush()
            os.fsync(stream.fileno())
        draft.replace(self.marker)
        shutil.rmtree(self.partial, ignore_errors=True)
        return self.folder


def read_marker(marker: Path) -> str | None:
    """The key of a complete entry, None if any of its files is missing or has another size."""
    folder = marker.with_suffix("")
    try:
        noted = json.loads(marker.read_text(encoding="utf-8"))
        files = noted["files"]
        whole = bool(files) and all((folder / name).stat().st_size == size for name, size in files.items())
        return str(noted["source"]) if whole else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def entry(cache: Path, source: HubSource | WheelSource, form: Format, weight_file: str) -> Entry:
    """The cache entry of a source; the files of another format of the same repository are another entry."""
    key = cache_key(source, form, weight_file)
    tail = hashlib.sha256(key.encode()).hexdigest()[:10]
    readable = _READABLE.sub("--", key.split("://", 1)[1].split("#")[0])[:120]
    base = cache / source.kind / f"{readable}-{tail}"
    return Entry(
        key=key,
        folder=base,
        partial=base.with_name(base.name + ".partial"),
        lock=base.with_name(base.name + ".lock"),
        marker=base.with_name(base.name + ".json"),
    )


def tree_bytes(path: Path) -> int:
    """Bytes of all files below, counting what is there at this moment."""
    total = 0
    for folder, _, names in os.walk(path):
        for name in names:
            try:
                total += os.lstat(os.path.join(folder, name)).st_size
            except OSError:
                continue
    return total


_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_REFUSED = frozenset({errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST})


def is_disk_error(error: BaseException) -> bool:
    """Whether the disk said no, rather than the network."""
    return isinstance(error, OSError) and error.errno in _FULL | _REFUSED


@contextmanager
def disk_errors(label: str, cache: Path) -> Iterator[None]:
    """Turn what a disk can say into one sentence.

    Raises:
        SourceError: instead of OSError, for a full or read-only disk or a folder of somebody else.
    """
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise SourceError(f"no space left in the model cache {cache} for {label}: free some, or set XINFER_MODEL_CACHE") from error
        if error.errno in _REFUSED:
            reason = error.strerror or type(error).__name__
            raise SourceError(
                f"the model cache {cache} cannot be written ({reason}): set XINFER_MODEL_CACHE to a folder that can"
            ) from error
        raise SourceError(f"{label} could not be fetched: {error}") from error
