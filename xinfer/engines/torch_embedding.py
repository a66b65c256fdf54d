"""Embedding models, loaded by SentenceTransformer with their own pooling, prompts and layers behind it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from sentence_transformers import SentenceTransformer

from xinfer.batching.work import WorkItem
from xinfer.engines.base import Encoded, LoadContext
from xinfer.engines.files import longest_input
from xinfer.engines.prompts import Prompts
from xinfer.engines.torch_rows import Rows
from xinfer.engines.torch_runtime import TorchModel, divided, load_guarded, loads_on, pad_id_of, prepare, text_tokenizer, weights_kwargs
from xinfer.engines.torch_tuning import tuned
from xinfer.errors import LaunchFailed

_POOLING = {"mean": "mean", "cls": "cls", "max": "max", "last_token": "lasttoken"}


class TorchEmbedding(TorchModel):
    """Runs the model's modules in order; a closing Normalize is left to the caller, who may not want it."""

    def __init__(self, context: LoadContext, device: torch.device, encoder: Any) -> None:
        traits = context.spec.embedding
        tokenizer = encoder.tokenizer
        config = encoder[0].auto_model.config.to_dict()
        limit = longest_input(config, context.spec.max_tokens, encoder.max_seq_length)
        super().__init__(context, device, text_tokenizer(tokenizer, limit), pad_id_of(tokenizer))
        modules: list[Any] = list(encoder.eval())
        normalizes = type(modules[-1]).__name__ == "Normalize"
        self._modules = modules[:-1] if normalizes else modules
        if traits is not None and traits.pooling is not None:
            self._repool(_POOLING[traits.pooling], device)
        for module in self._modules:
            if getattr(module, "include_prompt", True) is False:
                raise LaunchFailed(f"{context.path.name} pools without its prompt (include_prompt: false), which is not offered.")
        self.normalize = traits.normalize if traits is not None else normalizes
        self._prompts = Prompts(traits, encoder.prompts or {}, encoder.default_prompt_name)
        token = np.ones(1, dtype=np.int64)
        self.dimensions = int(self.forward([Encoded({"input_ids": token, "token_type_ids": np.zeros_like(token)}, 1)]).shape[-1])

    def _repool(self, mode: str, device: torch.device) -> None:
        for place, module in enumerate(self._modules):
            if type(module).__name__ == "Pooling":
                width = self._modules[0].auto_model.config.hidden_size
                self._modules[place] = type(module)(width, pooling_mode=mode).to(device).eval()

    def tokenize(self, items: Sequence[WorkItem]) -> list[Encoded]:
        """Prompted texts, or token ids as they came."""
        texts = [self._prompts.apply(item) for item in items if isinstance(item.text, str)]
        encoded = iter(self._tokenizer.encode(texts))
        return [next(encoded) if isinstance(item.text, str) else self._tokenizer.given(item.text) for item in items]

    @property
    def transformer(self) -> Any:
        """See the base class."""
        return self._modules[0].auto_model

    def compute(self, inputs: Mapping[str, torch.Tensor], rows: Rows) -> torch.Tensor:
        """Vectors (n, dimensions), not normalised."""
        features: dict[str, Any] = self._modules[0](dict(inputs))
        if rows.joined:
            features["attention_mask"] = rows.mask()
        for module in self._modules[1:]:
            features = module(features)
        vectors: torch.Tensor = features["sentence_embedding"]
        return vectors

    def unload(self) -> None:
        """Drop the weights."""
        self._modules = []


def load(context: LoadContext) -> TorchEmbedding:
    """Load an embedding model.

    Raises:
        LaunchFailed: files missing, or a kind of model that has no transformer in front.
    """
    devices = prepare(context)

    def build() -> TorchEmbedding:
        encoder = SentenceTransformer(
            str(context.path),
            device=str(loads_on(devices)),
            trust_remote_code=context.spec.trust_remote_code,
            local_files_only=True,
            model_kwargs=weights_kwargs(context.spec.dtype),
        )
        if not hasattr(encoder[0], "auto_model"):
            raise LaunchFailed(f"{context.path.name} begins with a {type(encoder[0]).__name__}; only transformer models are offered.")
        split = divided(encoder[0].auto_model, devices, context)
        for behind in list(encoder)[1:]:
            behind.to(devices[0])
        model = TorchEmbedding(context, devices[0], encoder)
        model.split = split
        return tuned(model)

    return load_guarded(context.path, build)
