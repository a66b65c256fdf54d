"""Attention over rows joined end to end, so that no layer computes padding, through transformers' attention interface.

A model runs so when it takes its attention from that interface and its answers agree with its padded ones; never by its name.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from transformers import AttentionInterface

from xinfer.engines.torch_rows import Rows

NAME = "xinfer_unpadded"
"""No mask function is registered under this name, so transformers makes no mask: the rows are kept apart here."""
LONGEST_EXPLICIT = 512
"""Above, the (length, length) scores that the explicit form writes out cost more memory than it saves time."""

_UNKNOWN = ("softcap", "s_aux", "position_bias", "cache")


class Unpadded:
    """One model's unpadded attention.

    Args:
        model: a transformers model; its attention is switched over, and back by ``restore``.
        explicit: on the CPU, write the scores out instead of calling SDPA; see ``explicit_is_faster``.

    Raises:
        ValueError: the model does not take its attention from the interface, or looks only so far from each token.
    """

    def __init__(self, model: Any, explicit: bool = False) -> None:
        self._model, self.explicit = model, explicit
        self._before: str = model.config._attn_implementation
        if self._before != "sdpa":
            raise ValueError(f"its attention is {self._before}")
        if any(isinstance(getattr(module, "sliding_window", None), int) for module in model.modules()):
            raise ValueError("it attends within a window")
        AttentionInterface.register(NAME, _attend)
        model.set_attn_implementation(NAME)
        if model.config._attn_implementation != NAME:
            raise ValueError("its attention cannot be exchanged")
        self.position_pad = _position_pad(model)
        self._body = model.base_model
        # Not a hook: some callers name ``forward`` and pass hooks by.
        self._body.forward = _padding_output(self._body.forward)
        pooler = getattr(self._body, "pooler", None)
        self._hook = pooler.register_forward_pre_hook(_pad_input) if isinstance(pooler, torch.nn.Module) else None

    @contextmanager
    def running(self, rows: Rows) -> Iterator[None]:
        """Within it the model's forward takes joined rows and gives padded states."""
        token = _current.set((self, rows))
        try:
            yield
        finally:
            _current.reset(token)

    def restore(self) -> None:
        """Give the model its own attention back."""
        del self._body.forward
        if self._hook is not None:
            self._hook.remove()
        self._model.set_attn_implementation(self._before)


_current: ContextVar[tuple[Unpadded, Rows] | None] = ContextVar("unpadded", default=None)


def can_attend(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether rows can be kept apart here without a mask: always on the CPU, in half precision on CUDA."""
    return device.type == "cpu" or (dtype in (torch.float16, torch.bfloat16) and _varlen() is not None)


def explicit_is_faster(config: Any, dtype: torch.dtype, clock: Callable[[], float] = time.process_time) -> bool:
    """Measure on the CPU: SDPA against scores written out, for this model's heads and rows of 128 tokens.

    SDPA's kernel has no fast bfloat16 on every CPU, the matrix product has.
    """
    heads = int(getattr(config, "num_attention_heads", 0) or 0)
    width = int(getattr(config, "head_dim", 0) or (getattr(config, "hidden_size", 0) // heads if heads else 0))
    if heads * width == 0:
        return False
    states = torch.randn(4, 128, heads, width).to(dtype).transpose(1, 2)
    best = dict.fromkeys((True, False), math.inf)
    with torch.inference_mode():
        for _ in range(12):
            for sdpa in best:
                started = clock()
                F.scaled_dot_product_attention(states, states, states) if sdpa else _explicit(states, states, states, None)
                best[sdpa] = min(best[sdpa], clock() - started)
    return best[False] < 0.9 * best[True]


def _attend(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    is_causal: bool | None = None,
    **others: Any,
) -> tuple[torch.Tensor, None]:
    """transformers' attention function: query, key, value (1, heads, tokens, width) to (1, tokens, heads, width)."""
    current = _current.get()
    if current is None:
        raise RuntimeError("unpadded attention was called on a batch that is not joined")
    if attention_mask is not None or query.shape[2] != key.shape[2] or any(others.get(name) is not None for name in _UNKNOWN):
        raise NotImplementedError("this kind of attention is only known with padding")
    unpadded, rows = current
    causal = bool(getattr(module, "is_causal", True) if is_causal is None else is_causal)
    if query.is_cuda:
        return _attend_cuda(query, key, value, scaling, causal, rows), None
    grouped = query.shape[1] != key.shape[1]
    out = torch.empty((1, query.shape[2], query.shape[1], value.shape[3]), dtype=query.dtype)
    for start, count, length in rows.runs():
        end = start + count * length
        q, k, v = (x[0, :, start:end].view(x.shape[1], count, length, x.shape[3]).transpose(0, 1) for x in (query, key, value))
        if unpadded.explicit and not causal and not grouped and length <= LONGEST_EXPLICIT:
            made = _explicit(q, k, v, scaling)
        else:
            made = F.scaled_dot_product_attention(q, k, v, scale=scaling, is_causal=causal, enable_gqa=grouped)
        out[0, start:end].view(count, length, *out.shape[2:]).copy_(made.transpose(1, 2))
    return out, None


def _attend_cuda(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scaling: float | None, causal: bool, rows: Rows
) -> torch.Tensor:
    """Flash attention's kernel for rows of varying length, in torch itself since 2.10."""
    varlen = _varlen()
    flat = [x[0].transpose(0, 1) for x in (query, key, value)]
    more: dict[str, Any] = {"scale": scaling, "window_size": (-1, 0) if causal else (-1, -1)}
    if query.shape[1] != key.shape[1]:
        more["enable_gqa"] = True
    starts = rows.starts.to(query.device)  # a layer may be on another device than the batch came to
    made: torch.Tensor = varlen(*flat, starts, starts, rows.longest, rows.longest, **more)
    return made[None]


def _explicit(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scaling: float | None) -> torch.Tensor:
    """Softmax attention in three steps; (n, heads, length, width) as SDPA."""
    n, heads, length, width = query.shape
    scale = 1 / math.sqrt(width) if scaling is None else scaling
    rows, columns, values = (x.reshape(n * heads, length, -1) for x in (query, key, value))
    scores = torch.baddbmm(query.new_empty(1, 1, 1), rows, columns.transpose(1, 2), beta=0, alpha=scale)
    return torch.bmm(torch.softmax(scores, dim=-1), values).view(n, heads, length, -1)


def _varlen() -> Any:
    try:
        from torch.nn.attention.varlen import varlen_attn
    except ImportError:
        return None
    return varlen_attn


def _position_pad(model: Any) -> int | None:
    """The padding id behind which RoBERTa's kind of embeddings count positions; None for those that count from 0."""
    for module in model.modules():
        found = getattr(module, "padding_idx", None)
        if isinstance(found, int) and isinstance(getattr(module, "position_embeddings", None), torch.nn.Embedding):
            return found
    return None


def _padding_output(forward: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(forward)
    def padding(*args: Any, **kwargs: Any) -> Any:
        output = forward(*args, **kwargs)
        current = _current.get()
        if current is not None:
            output.last_hidden_state = current[1].padded(output.last_hidden_state)
        return output

    return padding


def _pad_input(module: torch.nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
    current = _current.get()
    return args if current is None else (current[1].padded(args[0]), *args[1:])
