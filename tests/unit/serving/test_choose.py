"""Which number format wins: made-up models of known speed and error, the clock moved by them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pytest

from tests.unit.serving.fakes import FakeEngine, FakeModel, context
from xinfer.catalog.spec import Dtype, ModelType
from xinfer.cluster.device import DeviceKind
from xinfer.engines.base import Encoded, LoadContext, LoadedModel
from xinfer.errors import EngineError, LaunchFailed
from xinfer.serving.calibrate import ModelKind
from xinfer.serving.choose import difference, load_chosen

F32, F16, BF16 = Dtype.FLOAT32, Dtype.FLOAT16, Dtype.BFLOAT16


class Rounded(FakeModel):
    """Scores of about 1, off by ``error``; a batch takes ``seconds``."""

    activation = "sigmoid"

    def __init__(self, bench: Bench, dtype: Dtype) -> None:
        super().__init__(before=lambda batch: bench.took(dtype))
        self.dtype = dtype
        self._error = bench.errors.get(dtype, 0.0)

    def forward(self, batch: Sequence[Encoded]) -> npt.NDArray[np.float32]:
        values = super().forward(batch)
        return np.asarray(np.sin(values) + self._error, dtype=np.float32)


class Bench(FakeEngine):
    """Loads models of the dtype that is asked for.

    Args:
        seconds: of a batch, by dtype; a function may give other times later.
        errors: by dtype, added to every raw score.
    """

    name: ClassVar[str] = "bench"

    def __init__(self, seconds: dict[Dtype, Callable[[], float]], errors: dict[Dtype, float], refuses: frozenset[Dtype] = frozenset()):
        self.now = 0.0
        self.errors = errors
        self.loaded: list[Rounded] = []
        self._seconds = seconds
        self._refuses = refuses

    def took(self, dtype: Dtype) -> None:
        self.now += self._seconds[dtype]()

    def load(self, context: LoadContext) -> LoadedModel:
        if context.spec.dtype in self._refuses:
            raise LaunchFailed(f"no {context.spec.dtype} here.")
        self.loaded.append(Rounded(self, context.spec.dtype))
        return self.loaded[-1]


def bench(float32: float = 0.1, half: float = 0.05, error: float = 0.0, **more: Any) -> Bench:
    return Bench({F32: lambda: float32, F16: lambda: half, BF16: lambda: half}, {F16: error, BF16: error}, **more)


def chosen(engine: Bench, *dtypes: Dtype, kind: DeviceKind = DeviceKind.CPU) -> tuple[Dtype, str]:
    """The choice; the model that is kept is open and of that dtype, all others are closed."""
    where = replace(context(), device_kind=kind)
    model, choice = load_chosen(engine, where, ModelKind(pairs=True), dtypes, lambda: engine.now)
    assert isinstance(model, Rounded)
    assert model.dtype is choice.dtype
    assert [other for other in engine.loaded if not other.closed.is_set()] == [model]
    return choice.dtype, choice.why


def test_nothing_open_loads_what_the_spec_says() -> None:
    engine = bench()
    assert chosen(engine) == (F32, "")
    assert len(engine.loaded) == 1


def test_a_cpu_takes_the_half_that_is_faster_and_agrees() -> None:
    assert chosen(bench(0.1, 0.058), F32, BF16) == (BF16, "measured 1.7× float32")


def test_a_gain_that_is_not_worth_its_rounding_is_left() -> None:
    assert chosen(bench(0.1, 0.09), F32, BF16) == (F32, "bfloat16 measured 1.1× as fast")


def test_a_half_that_strays_is_not_even_timed() -> None:
    engine = bench(0.1, 0.01, error=0.2)
    dtype, why = chosen(engine, F32, BF16)
    assert dtype is F32
    assert why.startswith("bfloat16 strays by 0.0")


def test_a_half_without_usable_numbers_is_left() -> None:
    assert chosen(bench(0.1, 0.01, error=float("nan")), F32, BF16) == (F32, "bfloat16 gives no usable numbers")


def test_a_half_that_cannot_be_loaded_is_left() -> None:
    assert chosen(bench(refuses=frozenset({BF16})), F32, BF16) == (F32, "bfloat16 cannot be loaded: no bfloat16 here")


def test_other_load_on_the_core_does_not_decide() -> None:
    """Every other batch of either takes three times as long."""
    turns = iter([1.0, 3.0, 3.0, 1.0, 1.0] * 40)
    engine = Bench({F32: lambda: 0.1 * next(turns), BF16: lambda: 0.058 * next(turns)}, {})
    assert chosen(engine, F32, BF16) == (BF16, "measured 1.7× float32")


def test_a_slow_model_is_timed_fewer_times() -> None:
    engine = bench(2.0, 1.0)
    assert chosen(engine, F32, BF16)[0] is BF16
    probes = 16
    assert len(engine.loaded[0].forwards) + len(engine.loaded[1].forwards) == probes + 2 * 3


def test_a_model_that_fails_on_plain_text_in_float32_does_not_load() -> None:
    def fail() -> float:
        raise ValueError("no kernel")

    with pytest.raises(EngineError, match="no kernel"):
        chosen(Bench({F32: fail, BF16: lambda: 0.1}, {}), F32, BF16)


def test_a_gpu_takes_half_precision_without_a_race() -> None:
    engine = bench()
    assert chosen(engine, F16, F32, kind=DeviceKind.GPU) == (F16, "the GPU's own, checked on probes")
    assert len(engine.loaded) == 1


def test_a_gpu_goes_back_to_float32_where_half_precision_overflows() -> None:
    engine = bench(error=float("inf"))
    assert chosen(engine, F16, F32, kind=DeviceKind.GPU) == (F32, "float16 failed on a probe: The model gave a number that is not finite")


def test_unbounded_scores_may_differ_by_a_part_of_the_largest() -> None:
    one = np.array([11.0, -9.0], dtype=np.float32)
    assert difference(one, one + 0.11) == pytest.approx(0.01, rel=1e-3)
    assert difference(one * np.float32(0.01), one * np.float32(0.01) + np.float32(0.01)) == pytest.approx(0.01, rel=1e-3)


def test_vectors_differ_by_what_a_search_would_see() -> None:
    one = np.eye(3, dtype=np.float32)
    assert difference(one, 7 * one) == 0.0
    assert difference(one, one[[1, 0, 2]]) == 1.0
    assert difference(one, one[:2]) == float("inf")


def test_embeddings_are_probed_with_texts() -> None:
    engine = bench()
    model, _ = load_chosen(
        engine,
        replace(context(), spec=context().spec.model_copy(update={"type": ModelType.EMBEDDING})),
        ModelKind(False),
        (F32, BF16),
        lambda: engine.now,
    )
    assert model is engine.loaded[1]
