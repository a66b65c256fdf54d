"""What may be asked for as a package."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.requirements import Requirement

from xinfer.catalog.packages import LONGEST, MOST, checked
from xinfer.errors import InvalidRequest


def test_equal_wishes_are_equal_texts() -> None:
    assert checked(["Einops", "transformers == 4.57.*"]) == checked(["transformers==4.57.*", "einops", "einops"])
    assert checked(["Foo_Bar[x]>=1,<2; python_version > '3'"]) == ('foo-bar[x]<2,>=1; python_version > "3"',)
    assert checked([]) == ()


@pytest.mark.parametrize(
    "text",
    [
        "--index-url=https://evil.example",
        "-r requirements.txt",
        "-e .",
        "./folder",
        "/abs/folder",
        "git+https://evil.example/x.git",
        "https://evil.example/x.whl",
        "einops --hash=sha256:00",
        "einops\n--index-url=https://evil.example",
        "einops transformers",
        "",
        " ",
        "einops==",
        "a" * (LONGEST + 1),
    ],
)
def test_options_files_and_nonsense_are_refused_with_the_field(text: str) -> None:
    with pytest.raises(InvalidRequest, match="packages must hold requirements such as") as refused:
        checked(["einops", text])
    assert refused.value.param == "packages"
    assert len(refused.value.message) < 2 * LONGEST + 200


def test_an_address_is_refused_with_its_own_sentence() -> None:
    with pytest.raises(InvalidRequest, match="packages must name versions, not addresses, as 'einops @ https"):
        checked(["einops @ https://evil.example/einops.whl"])


def test_not_too_many() -> None:
    assert len(checked([f"p{n}" for n in range(MOST)])) == MOST
    with pytest.raises(InvalidRequest, match="at most 32 requirements, not 33"):
        checked([f"p{n}" for n in range(MOST + 1)])


@given(st.text(max_size=60))
def test_whatever_passes_is_a_requirement_that_no_option_hides_in(text: str) -> None:
    try:
        (found,) = checked([text])
    except InvalidRequest:
        return
    assert found[0].isalnum()
    assert Requirement(found).url is None
    assert checked([found]) == (found,)
