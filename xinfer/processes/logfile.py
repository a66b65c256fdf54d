"""What one replica's processes write: a file that is appended to, cut when it is long, and read by position.

A position counts bytes since the first that was ever written. Processes hold the file open, so it is copied and emptied rather than
renamed; the copy's name says at which position the emptied file begins, and nothing else has to be remembered.
"""

from __future__ import annotations

import codecs
import contextlib
import os
import threading
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import IO

MOST_BYTES = 8 << 20
"""A file longer than this is cut; as much of what it held is kept beside it."""
READ_BYTES = 64 << 10
"""At most that much is read at once."""
MOST_FILES = 200
"""Files of replicas that are gone: the youngest so many stay."""
_CHUNK = 1 << 20
_GUARD = threading.Lock()  # a reader between copy and cut would take one for the other


@dataclass(frozen=True, slots=True)
class Slice:
    """``text`` that ends at ``position``, where the next reading goes on."""

    position: int
    text: str


@dataclass(frozen=True, slots=True)
class LogFile:
    """One file and its older part, if it has one."""

    path: Path

    def open(self) -> tuple[int, int]:
        """A descriptor to append by, and where in the file it begins. Raises OSError."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        fd = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        return fd, os.fstat(fd).st_size

    def tail(self, lines: int) -> Slice:
        """The last lines, at most 64 KiB of them."""
        with _GUARD:
            begin, end = self._span()
            data = self._read(begin, max(begin, end - READ_BYTES), end)
        kept = data.splitlines(keepends=True)[-lines:]
        return _decoded(b"".join(kept), end)

    def after(self, position: int) -> Slice:
        """What follows ``position``, at most 64 KiB, from the oldest that is kept. Of a file that is shorter: all, it is another."""
        with _GUARD:
            begin, end = self._span()
            start = begin if position > end else max(begin, position)
            stop = min(end, start + READ_BYTES)
            data = self._read(begin, start, stop)
        return _decoded(data, start + len(data))

    def cut(self, most: int = MOST_BYTES) -> bool:
        """Whether the file was longer than ``most`` bytes, and is empty now; what it held is kept, or lost on a full disk."""
        with _GUARD:
            try:
                if self.path.stat().st_size <= most:
                    return False
            except OSError:
                return False
            older = self._older()
            begin = _begin_of(older)
            with self.path.open("rb+") as file:
                copy = self.path.with_name(f"{self.path.name}.new")
                try:
                    copied = _copy(file, copy)
                    copy.replace(self.path.with_name(f"{self.path.name}.{begin + copied}"))
                except OSError:
                    copy.unlink(missing_ok=True)
                file.truncate(0)
            if older is not None:
                older.unlink(missing_ok=True)
        return True

    def remove(self) -> None:
        """The file and its older part."""
        with _GUARD:
            for path in (self._older(), self.path):
                if path is not None:
                    path.unlink(missing_ok=True)

    def _older(self) -> Path | None:
        """Of two, left by a cut that was cut short, the younger."""
        found = [path for path in self.path.parent.glob(f"{self.path.name}.*") if path.suffix[1:].isdecimal()]
        return max(found, key=_begin_of, default=None)

    def _span(self) -> tuple[int, int]:
        """Positions of the first byte that is kept, and after the last."""
        older = self._older()
        middle = _begin_of(older)
        return middle - (_size(older) if older is not None else 0), middle + _size(self.path)

    def _read(self, begin: int, start: int, stop: int) -> bytes:
        older = self._older()
        middle = _begin_of(older)
        data = b""
        if older is not None and start < middle:
            data = _bytes_of(older, start - begin, min(stop, middle) - start)
        if stop > middle:
            data += _bytes_of(self.path, max(0, start - middle), stop - max(start, middle))
        return data


def forget(folder: Path, used: Collection[Path], most: int = MOST_FILES) -> None:
    """Remove the oldest files in ``folder`` that are not ``used``, beyond ``most``."""
    aged = []
    for path in folder.glob("*.stderr"):
        with contextlib.suppress(FileNotFoundError):
            aged.append((path.stat().st_mtime, path))
    for _, path in sorted(((at, path) for at, path in aged if path not in used), reverse=True)[most:]:
        LogFile(path).remove()


def _begin_of(older: Path | None) -> int:
    return 0 if older is None else int(older.suffix[1:])


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _bytes_of(path: Path, start: int, count: int) -> bytes:
    try:
        with path.open("rb") as file:
            file.seek(start)
            return file.read(count)
    except OSError:
        return b""


def _copy(source: IO[bytes], target: Path) -> int:
    """Bytes copied, those too that came meanwhile."""
    copied = 0
    with open(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb") as file:
        while chunk := os.pread(source.fileno(), _CHUNK, copied):
            file.write(chunk)
            copied += len(chunk)
    return copied


def _decoded(data: bytes, position: int) -> Slice:
    """A character whose end has not been written yet is left for the next reading."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    text = decoder.decode(data)
    return Slice(position - len(decoder.getstate()[0]), text)
