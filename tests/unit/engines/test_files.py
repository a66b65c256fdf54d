"""JSON beside the weights, the graph among several, pooling in numpy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from xinfer.engines.files import activation_of, longest_input, read_json
from xinfer.engines.onnx_models import graph_file
from xinfer.engines.onnx_pooling import pool, pooling_of
from xinfer.errors import LaunchFailed


@pytest.mark.parametrize(
    ("config", "limits", "expected"),
    [
        ({}, (), 512),
        ({}, (8192, 10**30, None), 8192),
        ({"max_position_embeddings": 512}, (8192, 10**30), 512),
        ({"max_position_embeddings": 514, "model_type": "xlm-roberta", "pad_token_id": 1}, (8192,), 512),
        ({"max_position_embeddings": 512}, (512, 256), 256),
        ({"max_position_embeddings": 32768, "model_type": "qwen3"}, (8192, 131072), 8192),
    ],
)
def test_the_smallest_known_limit_counts(config: dict, limits: tuple, expected: int) -> None:
    assert longest_input(config, *limits) == expected


def test_json_files(tmp_path: Path) -> None:
    assert read_json(tmp_path / "config.json") == {}
    (tmp_path / "config.json").write_text("{", encoding="utf-8")
    with pytest.raises(LaunchFailed, match=r"not valid JSON"):
        read_json(tmp_path / "config.json")


def test_activations_of_old_and_new_configurations() -> None:
    assert activation_of({}) is None
    assert activation_of({"sentence_transformers": {"activation_fn": "torch.nn.modules.linear.Identity"}}).endswith("Identity")
    assert activation_of({"sbert_ce_default_activation_function": "torch.nn.modules.linear.Identity"}).endswith("Identity")


def test_the_graph_is_the_one_named_or_the_only_one(tmp_path: Path) -> None:
    with pytest.raises(LaunchFailed, match=r"its .onnx files: none"):
        graph_file(tmp_path, "model.onnx")
    (tmp_path / "onnx").mkdir()
    (tmp_path / "onnx" / "model_int8.onnx").touch()
    assert graph_file(tmp_path, "model.onnx").name == "model_int8.onnx"
    (tmp_path / "onnx" / "model_fp16.onnx").touch()
    with pytest.raises(LaunchFailed, match=r"model_fp16.onnx, onnx/model_int8.onnx"):
        graph_file(tmp_path, "model.onnx")
    assert graph_file(tmp_path, "model_fp16.onnx").name == "model_fp16.onnx"
    (tmp_path / "onnx" / "model.onnx").touch()
    assert graph_file(tmp_path, "model.onnx") == tmp_path / "onnx" / "model.onnx"


def test_pooling_leaves_padding_out() -> None:
    states = np.array([[[1, 5], [3, 1], [100, 100]], [[2, 2], [4, 4], [6, 0]]], dtype=np.float32)
    lengths = [2, 3]
    assert pool(states, lengths, "mean").tolist() == [[2, 3], [4, 2]]
    assert pool(states, lengths, "cls").tolist() == [[1, 5], [2, 2]]
    assert pool(states, lengths, "last_token").tolist() == [[3, 1], [6, 0]]
    assert pool(states, lengths, "max").tolist() == [[3, 5], [6, 4]]


def test_pooling_as_the_model_says() -> None:
    assert pooling_of({}) == "mean"
    assert pooling_of({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}) == "cls"
    assert pooling_of({"pooling_mode": "lasttoken"}) == "last_token"
    for config in (
        {"pooling_mode_mean_sqrt_len_tokens": True},
        {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": True},
        {"pooling_mode": ["cls", "mean"]},
    ):
        with pytest.raises(LaunchFailed, match=r"embedding.pooling"):
            pooling_of(config)
