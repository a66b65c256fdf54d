"""Rerankers that are language models: the score is how much likelier "yes" is than "no" behind the prompt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from xinfer.batching.work import WorkItem
from xinfer.catalog.spec import RerankTraits
from xinfer.engines.base import Encoded, LoadContext
from xinfer.engines.files import longest_input
from xinfer.engines.prompts import Template
from xinfer.engines.torch_rows import Rows
from xinfer.engines.torch_runtime import TorchModel, divided, load_guarded, pad_id_of, prepare, text_tokenizer, weights_kwargs
from xinfer.engines.torch_tuning import tuned
from xinfer.errors import LaunchFailed


class TorchCausalScorer(TorchModel):
    """logit(yes) − logit(no) at the last position; its sigmoid is the probability of yes among the two."""

    def __init__(self, context: LoadContext, device: torch.device, model: Any, tokenizer: Any) -> None:
        traits = context.spec.rerank or RerankTraits(scorer="causal_lm")
        limit = longest_input(model.config.to_dict(), context.spec.max_tokens, tokenizer.model_max_length)
        super().__init__(context, device, text_tokenizer(tokenizer, limit), pad_id_of(tokenizer))
        self._names = ["input_ids", "attention_mask"]
        self._template = Template(traits)
        self.activation = traits.activation or "sigmoid"
        head = model.get_output_embeddings()
        yes, no = _token_id(tokenizer, traits.yes_token), _token_id(tokenizer, traits.no_token)
        # Two rows of the vocabulary are enough, and one position: no (n, longest, vocabulary) array is ever made.
        self._direction = (head.weight[yes].float() - head.weight[no].float()).detach().to(device)
        bias = getattr(head, "bias", None)
        self._offset = 0.0 if bias is None else float(bias[yes] - bias[no])
        self._body: Any = model.base_model.eval()

    def tokenize(self, items: Sequence[WorkItem]) -> list[Encoded]:
        """Prompt and document, the document cut where too long, then the rest of the template."""
        parts = [self._template.parts(item) for item in items]
        encoded: dict[int, Encoded] = {}
        for tail in {tail for _, tail in parts}:
            tail_ids = np.asarray(self._tokenizer.ids(tail), dtype=np.int64)
            rows = [row for row, (_, own) in enumerate(parts) if own == tail]
            room = max(1, self.max_tokens - len(tail_ids))
            for row, head in zip(rows, self._tokenizer.encode([parts[r][0] for r in rows], special=False, max_tokens=room), strict=True):
                ids = np.concatenate([head.features["input_ids"], tail_ids])[-self.max_tokens :]
                encoded[row] = Encoded({"input_ids": ids}, len(ids), head.truncated)
        return [encoded[row] for row in range(len(parts))]

    @property
    def transformer(self) -> Any:
        """See the base class."""
        return self._body

    def compute(self, inputs: Mapping[str, torch.Tensor], rows: Rows) -> torch.Tensor:
        """Logit differences (n,). Padding stands behind the last token, where causal attention never looks."""
        hidden: torch.Tensor = self._body(**inputs, use_cache=False).last_hidden_state
        final = hidden[torch.arange(hidden.shape[0], device=hidden.device), rows.last()]
        return torch.mv(final.float(), self._direction) + self._offset

    def unload(self) -> None:
        """Drop the weights."""
        self._body = None


def load(context: LoadContext) -> TorchCausalScorer:
    """Load a causal language model as a reranker.

    Raises:
        LaunchFailed: no template, or "yes" and "no" are not single tokens.
    """
    devices = prepare(context)

    def build() -> TorchCausalScorer:
        shared = {"local_files_only": True, "trust_remote_code": context.spec.trust_remote_code}
        tokenizer = AutoTokenizer.from_pretrained(str(context.path), **shared)
        model: Any = AutoModelForCausalLM.from_pretrained(str(context.path), **shared, **weights_kwargs(context.spec.dtype))
        split = divided(model.base_model, devices, context)
        made = TorchCausalScorer(context, devices[0], model, tokenizer)
        made.split = split
        return tuned(made)

    return load_guarded(context.path, build)


def _token_id(tokenizer: Any, token: str) -> int:
    ids = tokenizer.backend_tokenizer.encode(token, add_special_tokens=False).ids
    if len(ids) != 1:
        raise LaunchFailed(f"rerank.yes_token, rerank.no_token: {token!r} is {len(ids)} tokens in this model; it must be one.")
    return int(ids[0])
