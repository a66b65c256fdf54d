"""Sources as text: parse and format are inverse, and nothing leaves the wheel."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xinfer.catalog.spec import HubSource, LocalSource, WheelSource
from xinfer.catalog.uri import format_source, format_wheel, parse_source, parse_wheel
from xinfer.errors import InvalidRequest

WORD = st.text(string.ascii_letters + string.digits, min_size=1, max_size=12)
PART = st.text(string.ascii_letters + string.digits + "._- +", min_size=1, max_size=12).filter(lambda p: p not in {".", ".."})


@given(
    st.builds(lambda a, b: f"{a}-{b}", WORD, WORD),
    st.builds(lambda a, b: f"{a}.{b}", WORD, WORD),
    st.lists(PART, min_size=1, max_size=4),
    st.none() | st.text("0123456789abcdef", min_size=64, max_size=64),
)
def test_wheels_survive_the_round_trip(package: str, version: str, parts: list[str], sha256: str | None) -> None:
    source = WheelSource(package=package, version=version, path="/".join(parts), sha256=sha256)
    assert parse_wheel(format_wheel(source)) == source
    assert parse_source(format_source(source)) == source


@given(st.text())
def test_any_text_is_a_safe_wheel_or_refused(text: str) -> None:
    try:
        source = parse_wheel("pypi://" + text)
    except InvalidRequest:
        return
    assert ".." not in source.path.split("/")
    assert not source.path.startswith("/")
    assert not source.package.startswith("-")


@pytest.mark.parametrize(
    "text",
    [
        "pypi://a==1",
        "pypi://a==1/",
        "pypi://a/b",
        "pypi://a>=1/b",
        "pypi://a==1/../b",
        "pypi://a==1/b/../../c",
        "pypi://a==1/b//c",
        "pypi://-r==1/b",
        "pypi://a==1/b\\..\\c",
        "pypi://a==1/b#sha256=abc",
        "pypi://a==1;x/b",
    ],
)
def test_refused_wheels(text: str) -> None:
    with pytest.raises(InvalidRequest):
        parse_wheel(text)


def test_hubs_and_folders() -> None:
    assert parse_source("huggingface://BAAI/bge-m3") == HubSource(kind="huggingface", repo="BAAI/bge-m3")
    pinned = HubSource(kind="modelscope", repo="Xorbits/bge-m3", revision="v0.0.1")
    assert parse_source("modelscope://Xorbits/bge-m3@v0.0.1") == pinned
    assert format_source(pinned) == "modelscope://Xorbits/bge-m3@v0.0.1"
    assert parse_source("/models/x") == LocalSource(path="/models/x")
    for wrong in ("BAAI/bge-m3", "s3://a/b", "huggingface://bge-m3", "models/x", ""):
        with pytest.raises(InvalidRequest):
            parse_source(wrong)
