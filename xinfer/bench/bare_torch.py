"""Encoders as sentence-transformers loads them, called directly: what a runtime is compared with."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from sentence_transformers import CrossEncoder, SentenceTransformer

from xinfer.bench.bare import Bare, Encoded, Pair

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
LONGEST = 512


def load(path: Path, embeds: bool, dtype: str, threads: int, device: str = "cpu") -> Bare:
    """A cross-encoder or an embedding model on a device as torch names it."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    torch.set_num_threads(threads)
    quiet: Any = transformers.logging
    quiet.disable_progress_bar()
    weights: dict[str, Any] = {"dtype": DTYPES[dtype]}
    if embeds:
        return Embedding(SentenceTransformer(str(path), device=device, local_files_only=True, model_kwargs=weights))
    return Reranker(CrossEncoder(str(path), device=device, local_files_only=True, model_kwargs=weights))


class Reranker(Bare):
    """Scores after the sigmoid."""

    def __init__(self, encoder: Any) -> None:
        self._tokenizer = encoder.tokenizer
        self._model = encoder.model.eval()

    def encode(self, pairs: Sequence[Pair]) -> list[Encoded]:
        """Token ids of (query, document)."""
        longest = min(LONGEST, self._tokenizer.model_max_length)
        queries, texts = [query for query, _ in pairs], [text for _, text in pairs]
        return _rows(self._tokenizer(queries, texts, truncation=True, max_length=longest))

    def forward(self, batch: Sequence[Encoded]) -> list[Any]:
        """One number each."""
        with torch.inference_mode():
            logits = self._model(**_padded(self._tokenizer, batch, self._model.device)).logits[:, 0]
            return list(torch.sigmoid(logits.float()).tolist())


class Embedding(Bare):
    """Pooled and normalised as the model's own modules do it."""

    def __init__(self, model: Any) -> None:
        self._tokenizer = model.tokenizer
        self._longest = model.max_seq_length or LONGEST
        self._model = model.eval()

    def encode(self, pairs: Sequence[Pair]) -> list[Encoded]:
        """Token ids of the texts; there are no queries."""
        return _rows(self._tokenizer([text for _, text in pairs], truncation=True, max_length=self._longest))

    def forward(self, batch: Sequence[Encoded]) -> list[Any]:
        """One vector each."""
        with torch.inference_mode():
            vectors = self._model(_padded(self._tokenizer, batch, self._model.device))["sentence_embedding"]
            return list(vectors.float().cpu().numpy())


def _rows(encoding: Mapping[str, list[list[int]]]) -> list[Encoded]:
    names = list(encoding)
    return [dict(zip(names, row, strict=True)) for row in zip(*(encoding[name] for name in names), strict=True)]


def _padded(tokenizer: Any, batch: Sequence[Encoded], device: torch.device) -> dict[str, torch.Tensor]:
    padded = tokenizer.pad({name: [item[name] for item in batch] for name in batch[0]}, padding=True, return_tensors="pt")
    return dict(padded.to(device))
