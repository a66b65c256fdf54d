"""What the header of a GGUF file says."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support import gguf_files
from xinfer.errors import ModelNotFound
from xinfer.sources import gguf
from xinfer.sources.inspect import inspect


def test_the_header_says_what_a_launch_needs(tmp_path: Path) -> None:
    found = gguf.read(gguf_files.write(tmp_path / "tiny.gguf"), "tiny.gguf")
    assert (found.architecture, found.name, found.context_tokens, found.template) == ("llama", "Tiny", 512, "{{ messages }}")
    assert found.kv_bytes_per_token == 4 * 2 * (8 + 8) * 2
    assert found.size == len(gguf_files.header()) + 1000


@pytest.mark.parametrize(
    ("more", "per_token"),
    [
        ({"llama__attention__head_count_kv": None}, 4 * 8 * 16 * 2),
        ({"llama__attention__key_length": 10, "llama__attention__value_length": 6}, 4 * 2 * 16 * 2),
        ({"llama__attention__head_count_kv": [2, 2, 4, 2]}, 4 * 4 * 16 * 2),
        ({"llama__block_count": None}, 0),
    ],
)
def test_the_kv_cache_of_a_token(tmp_path: Path, more: dict[str, object], per_token: int) -> None:
    assert gguf.read(gguf_files.write(tmp_path / "tiny.gguf", **more), "tiny.gguf").kv_bytes_per_token == per_token


@given(st.data())
def test_whatever_is_cut_off_or_changed_is_refused_or_read(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    whole = bytearray(gguf_files.header())
    for _ in range(data.draw(st.integers(0, 3))):
        whole[data.draw(st.integers(0, 200))] = data.draw(st.integers(0, 255))
    file = tmp_path_factory.getbasetemp() / "changed.gguf"
    file.write_bytes(whole[: data.draw(st.integers(0, len(whole)))])
    try:
        gguf.read(file, "changed.gguf")
    except gguf.NotGguf:
        return


def test_a_folder_and_a_file_are_looked_into_alike(tmp_path: Path) -> None:
    gguf_files.write(tmp_path / "tiny.Q4_K_M.gguf")
    gguf_files.write(tmp_path / "big-00001-of-00002.gguf")
    gguf_files.write(tmp_path / "big-00002-of-00002.gguf")
    gguf_files.write(tmp_path / "mmproj-tiny.gguf")
    assert [file.path for file in inspect(tmp_path).gguf_files] == ["big-00001-of-00002.gguf", "tiny.Q4_K_M.gguf"]
    one = inspect(tmp_path / "tiny.Q4_K_M.gguf")
    assert (one.path, [file.path for file in one.gguf_files]) == (str(tmp_path), ["tiny.Q4_K_M.gguf"])


def test_a_broken_one_beside_other_weights_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "x.gguf").write_bytes(b"GGUF")
    (tmp_path / "model.safetensors").write_bytes(bytes(10))
    found = inspect(tmp_path)
    assert (found.gguf_files, found.pytorch_bytes) == ((), 10)


def test_a_file_that_is_none_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "x.gguf").write_bytes(b"PK\x03\x04 not this")
    with pytest.raises(ModelNotFound, match=r"x\.gguf is not a GGUF file"):
        inspect(tmp_path)
