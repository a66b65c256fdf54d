"""Rerankers with a classification head, loaded by sentence-transformers' CrossEncoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from sentence_transformers import CrossEncoder

from xinfer.batching.work import WorkItem
from xinfer.engines.base import Encoded, LoadContext
from xinfer.engines.files import longest_input, read_json
from xinfer.engines.prompts import pair_of
from xinfer.engines.torch_rows import Rows
from xinfer.engines.torch_runtime import TorchModel, divided, load_guarded, loads_on, pad_id_of, prepare, text_tokenizer, weights_kwargs
from xinfer.engines.torch_tuning import tuned
from xinfer.errors import LaunchFailed

_ACTIVATIONS: Mapping[str, Literal["sigmoid", "identity"]] = {"Sigmoid": "sigmoid", "Identity": "identity"}


class TorchCrossEncoder(TorchModel):
    """One logit per (query, document) pair."""

    def __init__(self, context: LoadContext, device: torch.device, encoder: Any) -> None:
        tokenizer, model = encoder.tokenizer, encoder.model
        limit = longest_input(model.config.to_dict(), context.spec.max_tokens, tokenizer.model_max_length)
        super().__init__(context, device, text_tokenizer(tokenizer, limit), pad_id_of(tokenizer))
        self._model: Any = model.eval()
        self._traits = context.spec.rerank
        asked = self._traits.activation if self._traits is not None else None
        self.activation = asked or _own_activation(encoder)

    def tokenize(self, items: Sequence[WorkItem]) -> list[Encoded]:
        """Pairs, longest part truncated first."""
        return self._tokenizer.encode([pair_of(item, self._traits) for item in items])

    @property
    def transformer(self) -> Any:
        """See the base class."""
        return self._model

    def compute(self, inputs: Mapping[str, torch.Tensor], rows: Rows) -> torch.Tensor:
        """Logits (n,)."""
        logits: torch.Tensor = self._model(**inputs).logits
        return logits[:, 0]

    def unload(self) -> None:
        """Drop the weights."""
        self._model = None


def load(context: LoadContext) -> TorchCrossEncoder:
    """Load a cross-encoder.

    Raises:
        LaunchFailed: no classification head with one label, or an activation that is not offered.
    """
    devices = prepare(context)
    _require_head(context)

    def build() -> TorchCrossEncoder:
        encoder = CrossEncoder(
            str(context.path),
            device=str(loads_on(devices)),
            trust_remote_code=context.spec.trust_remote_code,
            local_files_only=True,
            model_kwargs=weights_kwargs(context.spec.dtype),
        )
        labels = encoder.model.config.num_labels if encoder.model is not None else 0
        if labels != 1:
            raise LaunchFailed(f"{context.path.name} has {labels} labels; a reranker's classification head has one.")
        split = divided(encoder.model, devices, context)
        model = TorchCrossEncoder(context, devices[0], encoder)
        model.split = split
        return tuned(model)

    return load_guarded(context.path, build)


def _require_head(context: LoadContext) -> None:
    # transformers draws a missing head at random and only warns: the scores would mean nothing.
    architectures = read_json(context.path / "config.json").get("architectures") or ["none"]
    if not str(architectures[0]).endswith("ForSequenceClassification"):
        raise LaunchFailed(
            f"{context.path.name} holds a {architectures[0]}, not a reranker; "
            "a cross-encoder's config.json names a …ForSequenceClassification in architectures."
        )


def _own_activation(encoder: Any) -> Literal["sigmoid", "identity"]:
    name = type(encoder.activation_fn).__name__
    if name not in _ACTIVATIONS:
        raise LaunchFailed(f"rerank.activation: the model asks for {name}; set sigmoid or identity in its family.")
    return _ACTIVATIONS[name]
