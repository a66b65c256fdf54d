"""A number format chosen where it will be used: by speed on a CPU, by soundness on a GPU, and never against the float32 answers."""

from __future__ import annotations

import gc
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from xinfer.catalog.spec import Dtype
from xinfer.cluster.device import DeviceKind
from xinfer.engines.base import EncoderEngine, LoadContext, LoadedModel
from xinfer.errors import EngineError, XinferError
from xinfer.serving.calibrate import ModelKind
from xinfer.serving.forward import attempt
from xinfer.serving.shard import finish

FASTER = 1.15
"""Half precision has to be this much faster to be worth its rounding."""
AGREES = 2e-2
"""Largest difference of finished scores, or of similarities between finished vectors; of unbounded scores, relative to the largest."""
BATCH, ITEM_TOKENS = 4, 96
ROUNDS, FEWEST, SECONDS = 6, 2, 3.0
"""Batches per format, taken in turn; fewer once ``SECONDS`` are over."""

PROBES: tuple[tuple[str, str], ...] = (
    ("how tall is the eiffel tower", "The Eiffel Tower is 330 metres tall and stands on the Champ de Mars in Paris."),
    ("how tall is the eiffel tower", "Bread rises because yeast turns sugar into carbon dioxide."),
    ("什么是机器学习", "机器学习是人工智能的一个分支，研究如何让计算机从数据中学习。"),
    ("symptoms of iron deficiency", "Tiredness, pale skin and shortness of breath may come from too little iron in the blood."),
    ("python list comprehension", "squares = [n * n for n in range(10) if n % 2 == 0]"),
    ("a", "b"),
    ("capital of australia", "Sydney is the largest city of Australia, but Canberra has been its capital since 1913. " * 6),
    ("refund policy", "12.99 € !!! ??? https://example.org/?q=1&p=2 #42"),
)
"""(query, document): apt and not, short and long, several scripts."""


@dataclass(frozen=True, slots=True)
class Choice:
    """In which dtype a model runs; ``why`` is for people, "" where nothing was open."""

    dtype: Dtype
    why: str = ""


def load_chosen(
    engine: EncoderEngine, context: LoadContext, kind: ModelKind, dtype_open: Sequence[Dtype], clock: Callable[[], float]
) -> tuple[LoadedModel, Choice]:
    """Load in the spec's dtype, or in the one of ``dtype_open`` that proves best here. Runs on the compute thread.

    Raises:
        LaunchFailed, OutOfMemory: from the engine; EngineError: the model fails on plain text.
    """
    if not dtype_open:
        return engine.load(context), Choice(context.spec.dtype)
    first, *others = dtype_open
    model = engine.load(_in(context, first))
    if not others:
        return model, Choice(first, "the only one offered")
    if context.device_kind is DeviceKind.GPU:
        return _sound(engine, context, kind, model, first, others[0])
    return _faster(engine, context, kind, model, first, others[0], clock)


def _sound(
    engine: EncoderEngine, context: LoadContext, kind: ModelKind, model: LoadedModel, half: Dtype, safe: Dtype
) -> tuple[LoadedModel, Choice]:
    """Half precision, unless a probe overflows or fails in it."""
    values = _values(model, kind)
    if not isinstance(values, XinferError):
        return model, Choice(half, "the GPU's own, checked on probes")
    _drop(model)
    del model
    return engine.load(_in(context, safe)), Choice(safe, f"{half.value} failed on a probe: {values.message.rstrip('.')}")


def _faster(
    engine: EncoderEngine,
    context: LoadContext,
    kind: ModelKind,
    safe_model: LoadedModel,
    safe: Dtype,
    half: Dtype,
    clock: Callable[[], float],
) -> tuple[LoadedModel, Choice]:
    """Half precision if it is faster here and says the same. Both models are held for the comparison."""
    expected = _values(safe_model, kind)
    if isinstance(expected, XinferError):
        raise EngineError(f"The model fails on plain text: {expected.message}")
    try:
        half_model = engine.load(_in(context, half))
    except XinferError as error:
        return safe_model, Choice(safe, f"{half.value} cannot be loaded: {error.message.rstrip('.')}")
    values = _values(half_model, kind)
    apart = math.inf if isinstance(values, XinferError) else difference(expected, values)
    gain = 0.0
    if apart > AGREES:
        why = f"{half.value} strays by {apart:.2g}" if math.isfinite(apart) else f"{half.value} gives no usable numbers"
    else:
        gain = _gain(safe_model, half_model, kind, clock)
        why = f"measured {gain:.1f}× {safe.value}" if gain >= FASTER else f"{half.value} measured {gain:.1f}× as fast"
    if gain >= FASTER:
        _drop(safe_model)
        return half_model, Choice(half, why)
    _drop(half_model)
    return safe_model, Choice(safe, why)


def difference(expected: npt.NDArray[np.float32], found: npt.NDArray[np.float32]) -> float:
    """How far ``found`` is from ``expected``, both finished, scores (n,) or vectors (n, dim)."""
    if expected.shape != found.shape:
        return math.inf
    if expected.ndim == 1:
        return float(np.abs(expected - found).max()) / max(1.0, float(np.abs(expected).max()))
    one, other = (values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12) for values in (expected, found))
    # What a search sees whose index was made by the one and whose queries by the other.
    return float(np.abs(one @ one.T - one @ other.T).max())


def _gain(one: LoadedModel, other: LoadedModel, kind: ModelKind, clock: Callable[[], float]) -> float:
    """Time of ``one`` ÷ time of ``other``: the best of batches taken in turn, so that other load slows both."""
    length = min(ITEM_TOKENS, one.max_tokens)
    batches = [(model, [kind.item(model, length)] * BATCH) for model in (one, other)]
    best = [math.inf, math.inf]
    end = clock() + SECONDS
    for turn in range(-1, ROUNDS):  # the first turn pays for set-up
        for place, (model, batch) in enumerate(batches):
            started = clock()
            if isinstance(attempt(model, batch), XinferError):
                return 0.0
            if turn >= 0:
                best[place] = min(best[place], clock() - started)
        if turn + 1 >= FEWEST and clock() > end:
            break
    return best[0] / max(best[1], 1e-9)


def _values(model: LoadedModel, kind: ModelKind) -> npt.NDArray[np.float32] | XinferError:
    """Finished values of the probes, each alone: other rows must not decide what overflows."""
    rows = []
    for encoded in model.tokenize([kind.of(query, document) for query, document in PROBES]):
        value = attempt(model, [encoded])
        if isinstance(value, XinferError):
            return value
        if not np.isfinite(value).all():  # before the activation, which would hide it
            return EngineError("The model gave a number that is not finite.")
        rows.append(value)
    return finish(np.concatenate(rows), model)


def _in(context: LoadContext, dtype: Dtype) -> LoadContext:
    return replace(context, spec=context.spec.in_dtype(dtype))


def _drop(model: LoadedModel) -> None:
    model.close()
    gc.collect()
    model.release_memory()
