"""How a loaded model computes, settled once at load: by what it allows, by measurement, and only where the answers stay the same."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch

from xinfer.engines import torch_onednn, torch_unpadded
from xinfer.engines.base import Encoded
from xinfer.engines.failures import first_line
from xinfer.engines.torch_recorded import PAYS, SIZES, Recorded, Shape
from xinfer.engines.torch_rows import blank
from xinfer.engines.torch_runtime import BATCH_ERRORS, TorchModel
from xinfer.errors import XinferError

log = logging.getLogger(__name__)

PROBE_LENGTHS = (29, 29, 13, 5)
"""Rows of one length beside each other, others, and padding."""

Model = TypeVar("Model", bound=TorchModel)


def tuned(model: Model) -> Model:
    """Set the fastest way to compute that this model and device have, and say which it is."""
    if not model.tune:
        return model
    kernels = "torch"
    if model.device.type == "cpu" and _kept(model, "oneDNN weights", _onednn, _no_onednn):
        kernels = "oneDNN"
    attention = f"padded rows, {model.transformer.config._attn_implementation}"
    if _kept(model, "unpadded rows", _unpad, _repad) and model.unpadded is not None:
        model.packs = True
        attention = "unpadded rows, " + ("flash" if model.device.type == "cuda" else "explicit" if model.unpadded.explicit else "sdpa")
    model.compute_path = f"{attention}; {kernels} linear layers"
    if model.device.type == "cuda" and _kept(model, "CUDA graphs", record, _forget) and model.recorded is not None:
        model.compute_path += f"; CUDA graphs up to {model.recorded.largest} tokens"
    if model.split is not None:
        model.compute_path += f"; layers {' + '.join(map(str, model.split.counts))} on {len(model.split.counts)} devices"
    log.info("computes with %s", model.compute_path)
    return model


def _kept(model: TorchModel, name: str, change: Callable[[TorchModel], bool], undo: Callable[[TorchModel], None]) -> bool:
    """Try one change; it stays when the probe's answers do."""
    before = _answers(model)
    problem = "other answers"
    try:
        if not change(model):
            return False
        if _same(before, _answers(model), model.dtype):
            return True
    except XinferError as error:
        problem = error.message
    except BATCH_ERRORS as error:
        problem = first_line(error)
    undo(model)
    log.info("no %s: %s", name, problem)
    return False


def _answers(model: TorchModel) -> npt.NDArray[np.float32]:
    dice = np.random.default_rng(0)
    lengths = [min(length, model.max_tokens) for length in PROBE_LENGTHS]
    ids = [dice.integers(0, model.vocabulary, length) for length in lengths]
    zeros = [np.zeros_like(row) for row in ids]
    return model.forward([Encoded({"input_ids": row, "token_type_ids": kinds}, len(row)) for row, kinds in zip(ids, zeros, strict=True)])


def _same(before: npt.NDArray[np.float32], after: npt.NDArray[np.float32], dtype: torch.dtype) -> bool:
    tolerance = 1e-4 if dtype is torch.float32 else 5e-2
    return before.shape == after.shape and bool(np.abs(before - after).max() <= tolerance * max(1e-3, np.abs(before).max()))


def _onednn(model: TorchModel) -> bool:
    if not torch_onednn.is_faster(model.transformer):
        return False
    torch_onednn.adopt(model.transformer)
    return True


def _no_onednn(model: TorchModel) -> None:
    torch_onednn.abandon(model.transformer)


def _unpad(model: TorchModel) -> bool:
    if not torch_unpadded.can_attend(model.device, model.dtype):
        return False
    config, on_cpu = model.transformer.config, model.device.type == "cpu"
    explicit = on_cpu and torch_unpadded.explicit_is_faster(config, model.dtype)
    model.unpadded = torch_unpadded.Unpadded(model.transformer, explicit)
    return True


def _repad(model: TorchModel) -> None:
    if model.unpadded is not None:
        model.unpadded.restore()
        model.unpadded = None


def record(model: TorchModel, clock: Callable[[], float] = time.perf_counter) -> bool:
    """Record small batches, from the smallest shape up, for as long as that pays; whether any does.

    Joined rows on one device only: padded ones have too many shapes, and layers on several devices too many streams.
    """
    if model.unpadded is None or model.split is not None:
        return False
    plain, recorded = model.recorded, Recorded(model.computed, model.device)
    for tokens in SIZES:
        shape = Shape.of(tokens, model.max_tokens)
        batch = blank(shape.lengths())
        model.recorded = plain
        eager = _seconds(model, batch, clock)
        try:
            with torch.inference_mode():
                recorded.record(shape, model.joined_inputs())
        except BATCH_ERRORS as error:
            log.info("no CUDA graph of %d tokens: %s", tokens, first_line(error))
            break
        model.recorded = recorded
        if eager < PAYS * _seconds(model, batch, clock):
            recorded.forget(shape)
            break
    model.recorded = recorded if recorded.largest else plain
    return model.recorded is recorded


def _forget(model: TorchModel) -> None:
    model.recorded = None


def _seconds(model: TorchModel, batch: tuple[Encoded, ...], clock: Callable[[], float]) -> float:
    best = math.inf
    for _ in range(5):
        started = clock()
        model.forward(batch)
        best = min(best, clock() - started)
    return best
