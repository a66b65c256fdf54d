"""A look into folders, whole and broken ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from xinfer.catalog.families import load_builtin
from xinfer.catalog.find import ModelQuery, resolve
from xinfer.catalog.spec import ModelType
from xinfer.errors import ModelNotFound
from xinfer.sources.inspect import inspect

BOTH = frozenset({"sentence_transformers", "onnxruntime"})


def write(folder: Path, **files: Any) -> Path:
    for name, content in files.items():
        path = folder / name.replace("__", "/").replace("_DOT_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content) if isinstance(content, bytes) else path.write_text(json.dumps(content))
    return folder


def sentence_model(folder: Path) -> Path:
    return write(
        folder,
        config_DOT_json={"architectures": ["BertModel"], "model_type": "bert", "hidden_size": 32, "max_position_embeddings": 64},
        model_DOT_safetensors=b"x" * 100,
        pytorch_model_DOT_bin=b"x" * 999,
        onnx__model_DOT_onnx=b"x" * 7,
        onnx__model_DOT_onnx_data=b"x" * 70,
        tokenizer_DOT_json={},
        modules_DOT_json=[
            {"idx": 0, "path": "", "type": "sentence_transformers.models.Transformer"},
            {"idx": 1, "path": "1_Pool", "type": "sentence_transformers.models.Pooling"},
        ],
        **{"1_Pool__config_DOT_json": {"word_embedding_dimension": 32, "pooling_mode_cls_token": True}},
        config_sentence_transformers_DOT_json={"prompts": {"query": "q: "}},
        sentence_bert_config_DOT_json={"max_seq_length": 48},
        tokenizer_config_DOT_json={"model_max_length": 1e30},
    )


def test_a_sentence_transformers_folder(tmp_path: Path) -> None:
    files = inspect(sentence_model(tmp_path))
    assert files.pytorch_bytes == 100
    assert files.onnx_files == (("onnx/model.onnx", 77),)
    assert (files.prompts, files.max_tokens, files.has_tokenizer, files.needs_remote_code) == ({"query": "q: "}, 48, True, False)
    spec = resolve(ModelQuery(path=str(tmp_path)), load_builtin(), files, BOTH)
    assert spec.type is ModelType.EMBEDDING
    assert spec.embedding is not None
    assert (spec.embedding.pooling, spec.embedding.dimensions, spec.max_tokens) == ("cls", 32, 48)


def test_own_code_is_seen(tmp_path: Path) -> None:
    sentence_model(tmp_path)
    write(tmp_path, modules_DOT_json=[{"path": "", "type": "custom_st.Transformer"}])
    assert inspect(tmp_path).needs_remote_code
    sentence_model(tmp_path)
    write(tmp_path, config_DOT_json={"auto_map": {"AutoModel": "modeling_own.Model"}})
    assert inspect(tmp_path).needs_remote_code


def test_an_empty_folder_is_reported_as_it_is(tmp_path: Path) -> None:
    files = inspect(tmp_path)
    assert (files.pytorch_bytes, files.onnx_files, dict(files.config), files.has_tokenizer) == (0, (), {}, False)


def test_a_hub_cache_snapshot_is_followed_through_its_links(tmp_path: Path) -> None:
    blob = tmp_path / "blobs" / "abc"
    blob.parent.mkdir()
    blob.write_bytes(b"x" * 50)
    snapshot = tmp_path / "snapshots" / "1"
    snapshot.mkdir(parents=True)
    (snapshot / "model.safetensors").symlink_to(blob)
    assert inspect(snapshot).pytorch_bytes == 50


def test_what_is_no_folder_is_refused(tmp_path: Path) -> None:
    too_long = Path("/" + "a" * 5000)
    for path in (tmp_path / "none", Path("relative"), write(tmp_path, file=b"x") / "file", too_long, Path("/nul\0inside")):
        with pytest.raises(ModelNotFound, match="model_path"):
            inspect(path)
    (tmp_path / "config.json").write_text("{broken")
    with pytest.raises(ModelNotFound, match=r"config\.json is not valid JSON"):
        inspect(tmp_path)
