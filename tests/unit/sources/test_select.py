"""What is fetched from a repository: one copy of the weights, nothing of other frameworks."""

from __future__ import annotations

from xinfer.sources.select import has_weights, select_files

BGE = [
    ".gitattributes",
    "1_Pooling/config.json",
    "README.md",
    "config.json",
    "config_sentence_transformers.json",
    "model.safetensors",
    "modules.json",
    "onnx/config.json",
    "onnx/model.onnx",
    "onnx/model.onnx_data",
    "onnx/model_quantized.onnx",
    "openvino/openvino_model.bin",
    "pytorch_model.bin",
    "rust_model.ot",
    "sentence_bert_config.json",
    "special_tokens_map.json",
    "tf_model.h5",
    "tokenizer.json",
    "training_args.bin",
    "vocab.txt",
]
SMALL = [
    "1_Pooling/config.json",
    "config.json",
    "config_sentence_transformers.json",
    "modules.json",
    "sentence_bert_config.json",
    "special_tokens_map.json",
    "tokenizer.json",
    "vocab.txt",
]


def test_safetensors_before_bin_and_never_both() -> None:
    assert select_files(BGE, "pytorch") == sorted([*SMALL, "model.safetensors"])
    assert select_files([n for n in BGE if n != "model.safetensors"], "pytorch") == sorted([*SMALL, "pytorch_model.bin"])


def test_onnx_brings_its_external_data_and_no_other_weights() -> None:
    assert select_files(BGE, "onnx", "onnx/model.onnx") == sorted([*SMALL, "onnx/model.onnx", "onnx/model.onnx_data"])
    assert select_files(BGE, "onnx", "onnx/model_quantized.onnx") == sorted([*SMALL, "onnx/model_quantized.onnx"])


def test_shards_modules_and_own_code() -> None:
    names = [
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
        "model.safetensors.index.json",
        "2_Dense/pytorch_model.bin",
        "2_Dense/config.json",
        "modeling_own.py",
        "sentencepiece.bpe.model",
        "consolidated.safetensors",
    ]
    assert select_files(names, "pytorch") == sorted(names[:-1])


def test_whether_there_is_anything_to_load() -> None:
    assert has_weights(BGE, "pytorch", "")
    assert not has_weights(["config.json", "training_args.bin", "onnx/model.onnx"], "pytorch", "model.onnx")
    assert not has_weights(BGE, "onnx", "model.onnx")
