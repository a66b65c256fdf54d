"""Encoders as plain onnxruntime sessions: what a runtime is compared with."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
from tokenizers import Tokenizer

from xinfer.bench.bare import Bare, Encoded, Pair

LONGEST = 512


class Graph(Bare):
    """A graph that ends in logits, or in token states that are pooled by their mean."""

    def __init__(self, path: Path, embeds: bool, threads: int) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        files = sorted(path.rglob("*.onnx"))
        named = [file for file in files if file.name == "model.onnx"] or files
        self._session = onnxruntime.InferenceSession(str(named[0]), options, providers=["CPUExecutionProvider"])
        self._inputs = {node.name: node.type for node in self._session.get_inputs()}
        self._embeds = embeds
        self._tokenizer = Tokenizer.from_file(str(path / "tokenizer.json"))
        self._tokenizer.enable_truncation(LONGEST)
        self._tokenizer.no_padding()

    def encode(self, pairs: Sequence[Pair]) -> list[Encoded]:
        """Token ids of (query, document), or of the texts alone."""
        texts: list[Any] = [text for _, text in pairs] if self._embeds else list(pairs)
        found = self._tokenizer.encode_batch(texts)
        return [{"input_ids": each.ids, "attention_mask": each.attention_mask, "token_type_ids": each.type_ids} for each in found]

    def forward(self, batch: Sequence[Encoded]) -> list[Any]:
        """One number, or one vector each."""
        longest = max(len(item["input_ids"]) for item in batch)
        arrays = {name: _padded([item[name] for item in batch], longest, kind) for name, kind in self._inputs.items()}
        first = self._session.run(None, arrays)[0]
        if not self._embeds:
            logits = first.reshape(len(batch), -1)[:, 0]
            return list(1 / (1 + np.exp(-logits)))
        if first.ndim == 3:
            mask = arrays["attention_mask"][:, :, None]
            first = (first * mask).sum(1) / mask.sum(1)
        return list(first / np.linalg.norm(first, axis=1, keepdims=True))


def load(path: Path, embeds: bool, threads: int) -> Bare:
    """The only graph of a folder, or its ``model.onnx``."""
    return Graph(path, embeds, threads)


def _padded(rows: Sequence[Sequence[int]], longest: int, kind: str) -> npt.NDArray[Any]:
    made = np.zeros((len(rows), longest), np.int32 if kind == "tensor(int32)" else np.int64)
    for row, values in zip(made, rows, strict=True):
        row[: len(values)] = values
    return made
