"""The same models through the libraries themselves, written without a line of xinfer."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]


def cross_encoder(folder: Path, texts: Sequence[str], query: str) -> Array:
    """CrossEncoder.predict."""
    return _cross_encoder(folder).predict([(query, text) for text in texts], show_progress_bar=False)


def cross_encoder_logits(folder: Path, texts: Sequence[str], query: str) -> Array:
    """CrossEncoder.predict without its activation."""
    import torch

    pairs = [(query, text) for text in texts]
    return _cross_encoder(folder).predict(pairs, activation_fn=torch.nn.Identity(), show_progress_bar=False)


def sentence_transformer(folder: Path, texts: Sequence[str], query: str) -> Array:
    """SentenceTransformer.encode."""
    return _sentence_transformer(folder).encode(list(texts), show_progress_bar=False)


def sentence_transformer_prompted(folder: Path, texts: Sequence[str], prompt: str) -> Array:
    """SentenceTransformer.encode with a prompt's name."""
    return _sentence_transformer(folder).encode(list(texts), prompt_name=prompt, show_progress_bar=False)


def onnx_reranker(folder: Path, texts: Sequence[str], query: str) -> Array:
    """Pairs one by one through onnxruntime, then the sigmoid."""
    logits = [_onnx(folder, (query, text))[0].reshape(-1)[0] for text in texts]
    return (1 / (1 + np.exp(-np.array(logits, dtype=np.float64)))).astype(np.float32)


def onnx_cls_embedding(folder: Path, texts: Sequence[str], query: str) -> Array:
    """Texts one by one through onnxruntime, first token, unit length."""
    vectors = np.stack([_onnx(folder, text)[0][0, 0] for text in texts])
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def qwen3_reranker(folder: Path, texts: Sequence[str], query: str) -> Array:
    """Each prompt alone, no padding: probability of yes against no at the last position."""
    import torch

    tokenizer, model = _causal(folder)
    prefix = tokenizer.encode("<|im_start|>system\nIs it relevant? yes or no.<|im_end|>\n<|im_start|>user\n", add_special_tokens=False)
    suffix = tokenizer.encode("<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n", add_special_tokens=False)
    yes, no = tokenizer.convert_tokens_to_ids("yes"), tokenizer.convert_tokens_to_ids("no")
    scores = []
    for text in texts:
        middle = tokenizer.encode(f"<Instruct>: find it\n<Query>: {query}\n<Document>: {text}", add_special_tokens=False)
        ids = prefix + middle[: 256 - len(prefix) - len(suffix)] + suffix
        with torch.inference_mode():
            logits = model(input_ids=torch.tensor([ids])).logits[0, -1]
        scores.append(torch.softmax(logits[[no, yes]], dim=0)[1].item())
    return np.array(scores, dtype=np.float32)


@cache
def _cross_encoder(folder: Path) -> Any:
    from sentence_transformers import CrossEncoder

    longest = min(512, json.loads((folder / "config.json").read_text())["max_position_embeddings"])
    # Positions of XLM-RoBERTa begin behind the padding id.
    return CrossEncoder(str(folder), device="cpu", max_length=longest if longest == 512 else longest - 2)


@cache
def _sentence_transformer(folder: Path) -> Any:
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(str(folder), device="cpu")


@cache
def _causal(folder: Path) -> Any:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    return AutoTokenizer.from_pretrained(str(folder)), AutoModelForCausalLM.from_pretrained(str(folder)).eval()


@cache
def _session(folder: Path) -> Any:
    import onnxruntime
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_truncation(512)
    tokenizer.no_padding()
    return tokenizer, onnxruntime.InferenceSession(str(folder / "model.onnx"), providers=["CPUExecutionProvider"])


def _onnx(folder: Path, text: str | tuple[str, str]) -> list[Any]:
    tokenizer, session = _session(folder)
    encoding = tokenizer.encode(*text) if isinstance(text, tuple) else tokenizer.encode(text)
    feed = {"input_ids": encoding.ids, "attention_mask": encoding.attention_mask, "token_type_ids": encoding.type_ids}
    return session.run(None, {name: np.array([values], dtype=np.int64) for name, values in feed.items()})
