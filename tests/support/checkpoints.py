"""Makes a float32 torch checkpoint of a dynamically quantised int8 ONNX reranker (BERT), and tiny random models of other shapes.

The ONNX file is read by hand (protobuf's wire format is a page): no package more for the tests.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

# ONNX: ModelProto.graph, GraphProto.node / initializer, TensorProto.DataType
_GRAPH, _NODE, _INITIALIZER = 7, 1, 5
_NUMPY = {1: np.float32, 2: np.uint8, 3: np.int8, 6: np.int32, 7: np.int64}


@dataclass
class Node:
    """One operation: its name, kind, inputs."""

    name: str = ""
    kind: str = ""
    inputs: list[str] = field(default_factory=list)


def read_graph(file: Path) -> tuple[list[Node], dict[str, np.ndarray]]:
    """The nodes and the constant tensors by name."""
    model = memoryview(file.read_bytes())
    graph = next(value for number, value in _fields(model) if number == _GRAPH)
    nodes: list[Node] = []
    tensors: dict[str, np.ndarray] = {}
    for number, value in _fields(graph):
        if number == _NODE:
            nodes.append(_node(value))
        elif number == _INITIALIZER:
            name, tensor = _tensor(value)
            tensors[name] = tensor
    return nodes, tensors


def _node(data: memoryview) -> Node:
    node = Node()
    for number, value in _fields(data):
        if number == 1:
            node.inputs.append(bytes(value).decode())
        elif number == 3:
            node.name = bytes(value).decode()
        elif number == 4:
            node.kind = bytes(value).decode()
    return node


def _tensor(data: memoryview) -> tuple[str, np.ndarray]:
    dims: list[int] = []
    kind, name, values = 1, "", None
    for number, value in _fields(data):
        if number == 1:
            dims += [value] if isinstance(value, int) else list(_varints(value))
        elif number == 2:
            kind = value
        elif number == 4:
            values = np.frombuffer(value, np.float32)
        elif number == 5:
            values = np.array(list(_varints(value)) if not isinstance(value, int) else [value]).astype(_NUMPY[kind])
        elif number == 8:
            name = bytes(value).decode()
        elif number == 9:
            values = np.frombuffer(value, _NUMPY[kind])
    if values is None:
        values = np.zeros(0, _NUMPY.get(kind, np.float32))
    return name, values.reshape(dims) if values.size == int(np.prod(dims)) else values


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    result = shift = 0
    while True:
        byte = data[at]
        at += 1
        result |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return result, at


def _varints(data: memoryview) -> Iterator[int]:
    at = 0
    while at < len(data):
        value, at = _varint(data, at)
        yield value - (1 << 64) if value >> 63 else value


def _fields(data: memoryview) -> Iterator[tuple[int, Any]]:
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        wire = key & 7
        if wire == 0:
            value, at = _varint(data, at)
            yield key >> 3, value
            continue
        if wire == 2:
            length, at = _varint(data, at)
        else:
            length = {1: 8, 5: 4}[wire]
        yield key >> 3, data[at : at + length]
        at += length


def dequantized_state(file: Path) -> dict[str, np.ndarray]:
    """float32 weights by PyTorch's names: weight = (q - zero point) * scale."""
    nodes, tensors = read_graph(file)
    state = {name: value for name, value in tensors.items() if name.endswith((".bias", "LayerNorm.weight"))}
    for node in nodes:
        if node.kind == "DequantizeLinear" and node.inputs[1].endswith(".weight_scale"):
            name = node.inputs[1].removesuffix("_scale")
            state[name] = _real(tensors, name)
        elif node.kind == "MatMulInteger":
            place, _, operation = node.name.strip("/").rpartition("/")
            source = node.inputs[1].removesuffix("_quantized")
            if not operation.endswith("_quant") or f"{source}_quantized" not in tensors:
                raise ValueError(f"{node.name} is not a quantised linear layer")
            # x @ W in the graph, x @ W.T in nn.Linear.
            state[place.replace("/", ".") + ".weight"] = np.ascontiguousarray(_real(tensors, source).T)
    return state


def _real(tensors: dict[str, np.ndarray], name: str) -> np.ndarray:
    quantized, zero, scale = (tensors[f"{name}_{part}"] for part in ("quantized", "zero_point", "scale"))
    return (quantized.astype(np.float32) - np.float32(zero)) * np.float32(scale)


def make_torch_reranker(onnx_folder: Path, target: Path) -> None:
    """Write ``target`` as a float32 BERT cross-encoder with the weights of ``onnx_folder/model.onnx``."""
    import torch
    from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

    config = BertConfig(
        vocab_size=30522, hidden_size=384, num_hidden_layers=12, num_attention_heads=12, intermediate_size=1536, num_labels=1
    )
    model = BertForSequenceClassification(config).eval()
    state = {name: torch.from_numpy(np.array(value)) for name, value in dequantized_state(onnx_folder / "model.onnx").items()}
    missing, unexpected = model.load_state_dict(state, strict=False)
    if unexpected or [name for name in missing if not name.endswith("position_ids")]:
        raise ValueError(f"weights do not match: missing {missing}, unexpected {unexpected}")
    model.save_pretrained(target)
    AutoTokenizer.from_pretrained(str(onnx_folder)).save_pretrained(target)


# --- tiny random models ---------------------------------------------------------------------------


def byte_tokenizer(target: Path, specials: tuple[str, ...] = (), *, append: str | None = None, words: tuple[str, ...] = ()) -> int:
    """A byte-level BPE tokeniser without merges but for ``words``, which are tokens; returns the vocabulary's size."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: index for index, token in enumerate(alphabet)}
    tokenizer = Tokenizer(models.BPE(vocabulary, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in ("<|endoftext|>", *specials)])
    tokenizer.add_tokens([AddedToken(word, normalized=False) for word in words])
    if append is not None:
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"$A {append}", special_tokens=[(append, tokenizer.token_to_id(append))]
        )
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<|endoftext|>", eos_token="<|endoftext|>", padding_side="left")
    fast.model_max_length = 256
    fast.save_pretrained(target)
    return tokenizer.get_vocab_size(with_added_tokens=True)


def tiny_qwen3_reranker(target: Path) -> None:
    """Qwen3ForCausalLM of two layers."""
    import torch
    from transformers import Qwen3Config, Qwen3ForCausalLM

    size = byte_tokenizer(target, ("<|im_start|>", "<|im_end|>"), words=("yes", "no"))
    torch.manual_seed(1)
    _spread(Qwen3ForCausalLM(_qwen3_config(Qwen3Config, size))).save_pretrained(target)


def tiny_qwen3_embedding(target: Path) -> None:
    """Qwen3Model of two layers, last-token pooling, a query prompt, normalised."""
    import torch
    from transformers import Qwen3Config, Qwen3Model

    size = byte_tokenizer(target, append="<|endoftext|>")
    torch.manual_seed(2)
    _spread(Qwen3Model(_qwen3_config(Qwen3Config, size))).save_pretrained(target)
    modules = [("0", "", "Transformer"), ("1", "1_Pooling", "Pooling"), ("2", "2_Normalize", "Normalize")]
    _write(
        target / "modules.json",
        [
            {"idx": index, "name": name, "path": path, "type": f"sentence_transformers.models.{kind}"}
            for index, (name, path, kind) in enumerate(modules)
        ],
    )
    _write(target / "1_Pooling" / "config.json", {"word_embedding_dimension": 32, "pooling_mode_lasttoken": True})
    _write(
        target / "config_sentence_transformers.json",
        {"prompts": {"query": "Instruct: find it\nQuery:", "document": ""}, "default_prompt_name": None, "similarity_fn_name": "cosine"},
    )
    _write(target / "sentence_bert_config.json", {"max_seq_length": 200, "do_lower_case": False})


def tiny_xlm_roberta_reranker(target: Path, *, activation: str | None = None) -> None:
    """XLMRobertaForSequenceClassification of two layers (bge-reranker, jina-reranker): positions begin at 2, no token types."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast, XLMRobertaConfig, XLMRobertaForSequenceClassification

    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    specials = ["<s>", "<pad>", "</s>", "<unk>"]
    trainer = trainers.UnigramTrainer(vocab_size=120, special_tokens=specials, unk_token="<unk>")
    tokenizer.train_from_iterator(["where is the cat that sat upon the mat", "a dog sleeps in the quick brown sun"] * 4, trainer)
    ids = [(token, tokenizer.token_to_id(token)) for token in ("<s>", "</s>")]
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=ids)
    names = dict(zip(("bos_token", "pad_token", "eos_token", "unk_token"), specials, strict=True))
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, cls_token="<s>", sep_token="</s>", **names)
    fast.model_input_names = ["input_ids", "attention_mask"]
    fast.save_pretrained(target)
    torch.manual_seed(3)
    config = XLMRobertaConfig(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=66,
        type_vocab_size=1,
        num_labels=1,
        pad_token_id=1,
    )
    if activation is not None:
        config.sentence_transformers = {"activation_fn": activation}
    _spread(XLMRobertaForSequenceClassification(config)).save_pretrained(target)


def _qwen3_config(kind: Any, vocabulary: int) -> Any:
    return kind(
        vocab_size=vocabulary,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        max_position_embeddings=512,
    )


def _spread(model: Any) -> Any:
    """Ten times the usual spread, so that different texts give clearly different results."""
    import torch

    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.ndim > 1 and "norm" not in name.lower():
                weight.mul_(10)
    return model.eval()


def _write(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")


def copy_model(source: Path, target: Path, without: tuple[str, ...] = ()) -> Path:
    """A copy of a model's folder, to spoil in a test."""
    shutil.copytree(source, target, ignore=shutil.ignore_patterns(*without))
    return target
