"""Rerankers and embedding models as ONNX graphs: neither torch nor transformers is needed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from xinfer.batching.work import WorkItem
from xinfer.catalog.spec import ModelType
from xinfer.cluster.device import DeviceReport
from xinfer.engines.base import Encoded, LoadContext, LoadedModel
from xinfer.engines.failures import first_line
from xinfer.engines.files import activation_of, longest_input, read_json
from xinfer.engines.onnx_pooling import pool, pooling_of
from xinfer.engines.onnx_session import Session, quantizes_on_the_fly
from xinfer.engines.prompts import Prompts, pair_of
from xinfer.engines.tokens import TextTokenizer, pad
from xinfer.errors import LaunchFailed


class OnnxModel(LoadedModel):
    """A graph with its tokeniser."""

    def __init__(self, context: LoadContext, file: Path) -> None:
        self._path = context.path
        self._config = read_json(context.path / "config.json")
        tokenizer_config = read_json(context.path / "tokenizer_config.json")
        limits = [
            context.spec.max_tokens,
            _number(tokenizer_config.get("model_max_length")),
            _number(read_json(context.path / "sentence_bert_config.json").get("max_seq_length")),
        ]
        self._session = Session(file, context)
        self._tokenizer = TextTokenizer(
            _tokenizer(context.path),
            longest_input(self._config, *limits),
            str(tokenizer_config.get("truncation_side", "right")),
            "token_type_ids" in self._session.inputs,
        )
        self.max_tokens = self._tokenizer.max_tokens
        self._pad_id = _number(self._config.get("pad_token_id")) or _pad_id(self._tokenizer, tokenizer_config)
        self.scores_depend_on_batch = quantizes_on_the_fly(file)

    def _run(self, output: str, batch: Sequence[Encoded]) -> npt.NDArray[np.float32]:
        return self._session.run(output, pad(batch, self._pad_id, self._session.inputs))

    def reports(self) -> tuple[DeviceReport, ...]:
        """See the base class."""
        return self._session.reports()

    def release_memory(self) -> None:
        """Give cached blocks back."""
        self._session.release_memory()

    def close(self) -> None:
        """Free the session."""
        self._session.close()


class OnnxReranker(OnnxModel):
    """One logit per pair."""

    def __init__(self, context: LoadContext, file: Path) -> None:
        super().__init__(context, file)
        self._traits = context.spec.rerank
        self._output = self._session.output("logits", "scores")
        labels = self._session.width(self._output)
        if labels > 1:
            raise LaunchFailed(f"{file.name} gives {labels} numbers per pair ({self._output}); a reranker's graph gives one.")
        self.activation = (self._traits.activation if self._traits is not None else None) or _activation(self._config)

    def tokenize(self, items: Sequence[WorkItem]) -> list[Encoded]:
        """Pairs, longest part truncated first."""
        return self._tokenizer.encode([pair_of(item, self._traits) for item in items])

    def forward(self, batch: Sequence[Encoded]) -> npt.NDArray[np.float32]:
        """Logits (n,)."""
        return self._run(self._output, batch).reshape(len(batch), -1)[:, 0]


class OnnxEmbedding(OnnxModel):
    """Vectors, pooled here unless the graph does it."""

    def __init__(self, context: LoadContext, file: Path) -> None:
        super().__init__(context, file)
        traits = context.spec.embedding
        own = read_json(context.path / "config_sentence_transformers.json")
        self._prompts = Prompts(traits, own.get("prompts") or {}, own.get("default_prompt_name"))
        self._output = self._session.output("sentence_embedding", "last_hidden_state", "token_embeddings")
        asked = traits.pooling if traits is not None else None
        self._pooling = asked or pooling_of(read_json(context.path / "1_Pooling" / "config.json"))
        self.normalize = traits.normalize if traits is not None else True
        token = np.zeros(1, dtype=np.int64)
        self.dimensions = int(self.forward([Encoded({"input_ids": token, "token_type_ids": token}, 1)]).shape[-1])

    def tokenize(self, items: Sequence[WorkItem]) -> list[Encoded]:
        """Prompted texts, or token ids as they came."""
        encoded = iter(self._tokenizer.encode([self._prompts.apply(item) for item in items if isinstance(item.text, str)]))
        return [next(encoded) if isinstance(item.text, str) else self._tokenizer.given(item.text) for item in items]

    def forward(self, batch: Sequence[Encoded]) -> npt.NDArray[np.float32]:
        """Vectors (n, dimensions)."""
        result = self._run(self._output, batch)
        return pool(result, [item.tokens for item in batch], self._pooling) if result.ndim == 3 else result


def load(context: LoadContext) -> OnnxModel:
    """Load the graph of ``context.path``.

    Raises:
        LaunchFailed: no graph, no tokenizer.json, or a graph of another kind.
    """
    file = graph_file(context.path, context.spec.onnx_file)
    if context.spec.type is ModelType.EMBEDDING:
        return OnnxEmbedding(context, file)
    if context.spec.rerank is not None and context.spec.rerank.scorer != "cross_encoder":
        raise LaunchFailed("model_engine: onnxruntime runs cross-encoders only; choose sentence_transformers for an LLM-scored reranker.")
    return OnnxReranker(context, file)


def graph_file(path: Path, named: str) -> Path:
    """The graph: the one named, else onnx/model.onnx, else the only .onnx file there is.

    Raises:
        LaunchFailed: none, or several to choose from.
    """
    for candidate in (path / named, path / "onnx" / named, path / "model.onnx", path / "onnx" / "model.onnx"):
        if candidate.is_file():
            return candidate
    found = sorted(path.rglob("*.onnx"))
    if len(found) == 1:
        return found[0]
    names = ", ".join(str(file.relative_to(path)) for file in found[:8]) or "none"
    raise LaunchFailed(f"onnx_file: {named} is not in {path.name}; its .onnx files: {names}.")


def _tokenizer(path: Path) -> Tokenizer:
    file = path / "tokenizer.json"
    if not file.is_file():
        raise LaunchFailed(f"{path.name} has no tokenizer.json; the onnxruntime engine needs the fast tokeniser's file.")
    try:
        return Tokenizer.from_file(str(file))
    # The library raises bare Exception for a file that it cannot read.
    except Exception as error:  # noqa: BLE001
        problem = first_line(error)
    raise LaunchFailed(f"tokenizer.json of {path.name} cannot be read: {problem}")


def _number(value: object) -> int | None:
    return int(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _pad_id(tokenizer: TextTokenizer, config: dict[str, object]) -> int:
    token = config.get("pad_token")
    token = token.get("content") if isinstance(token, dict) else token
    return tokenizer.id_of(token) if isinstance(token, str) else 0


def _activation(config: dict[str, object]) -> Literal["sigmoid", "identity"]:
    name = (activation_of(config) or "Sigmoid").rpartition(".")[2]
    if name == "Sigmoid":
        return "sigmoid"
    if name == "Identity":
        return "identity"
    raise LaunchFailed(f"rerank.activation: the model asks for {name}; set sigmoid or identity in its family.")
