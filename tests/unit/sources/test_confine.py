"""Callers who are no admins stay within the folders they were given, by whatever path they ask."""

from __future__ import annotations

from pathlib import Path

import pytest

from xinfer.errors import Forbidden, ModelNotFound
from xinfer.sources.inspect import inspect


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root with a model in it, and secrets beside it."""
    for folder in ("models/ce", "secrets/ce", "models-too/ce"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "config.json").write_text("{}")
    return tmp_path / "models"


def test_within_a_root_it_is_looked_at(root: Path) -> None:
    link = root.parent / "linked-root"
    link.symlink_to(root)
    for given, roots in (
        (root / "ce", [root]),
        (root / "ce", [link]),
        (link / "ce", [root]),
        (root / "ce" / ".." / "ce", [Path("/none"), root]),
    ):
        assert inspect(given, roots).path == str(given)


def test_outside_nothing_is_said_of_it(root: Path) -> None:
    (root / "out").symlink_to(root.parent / "secrets")
    outside = [
        root.parent / "secrets" / "ce",
        root / ".." / "secrets" / "ce",
        root / "out" / "ce",
        root.parent / "models-too" / "ce",
        root.parent,
        Path("/"),
        root.parent / "nothing",
    ]
    for given in outside:
        with pytest.raises(Forbidden, match=f"model_path must be within {root}") as error:
            inspect(given, [root])
        assert error.value.param == "model_path"
        assert str(given) not in str(error.value).replace(str(root), "")


def test_a_file_that_leads_out_is_no_file_of_the_model(root: Path) -> None:
    for name, target in (("model.safetensors", "secrets/ce/config.json"), ("1_Pooling", "secrets")):
        link = root / "ce" / name
        link.symlink_to(root.parent / target)
        with pytest.raises(Forbidden):
            inspect(root / "ce", [root])
        link.unlink()
    (root / "ce" / "vocab.txt").symlink_to(root / "ce" / "config.json")
    inspect(root / "ce", [root])


def test_without_roots_there_is_no_path(root: Path) -> None:
    with pytest.raises(Forbidden, match="the server names no --model-root"):
        inspect(root / "ce", [])


def test_admins_are_free(root: Path) -> None:
    assert inspect(root.parent / "secrets" / "ce").path.endswith("secrets/ce")
    with pytest.raises(ModelNotFound, match="must be absolute"):
        inspect(Path("ce"), [root])
