"""Recordings of small batches: any rows come out as without one. On the CPU a recording computes anew, all else is as on a GPU."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.support import checkpoints
from xinfer.batching.work import WorkItem
from xinfer.catalog.spec import Dtype, EmbeddingTraits, LocalSource, ModelSpec, ModelType, RerankTraits
from xinfer.cluster.device import DeviceKind
from xinfer.cluster.ids import DeviceUuid
from xinfer.engines import registry, torch_tuning
from xinfer.engines.base import LoadContext
from xinfer.engines.torch_recorded import SIZES, TOKENS_A_ROW, Recorded, Shape
from xinfer.engines.torch_rows import blank_rows

CPU = torch.device("cpu")
TEMPLATE = "find {query} in {document} yes or no"
BATCHES = (
    ("the cat",),
    ("the dog", "brown", "the dog"),
    ("a dog sleeps in the sun and the cat upon the mat", "", "berlin " * 20, "mat"),
    ("the cat",) * 16,
    ("berlin " * 40, "the dog") * 4,
)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    base = tmp_path_factory.mktemp("recorded")
    checkpoints.tiny_xlm_roberta_reranker(base / "cross-encoder")
    checkpoints.tiny_qwen3_embedding(base / "embedding")
    checkpoints.tiny_qwen3_reranker(base / "causal")
    return {name: base / name for name in ("cross-encoder", "embedding", "causal")}


def load(path: Path, type_: ModelType, *, tune: bool = True, **fields: Any) -> Any:
    spec = ModelSpec(name="m", type=type_, engine="torch", sources=(LocalSource(path=str(path)),), dtype=Dtype.FLOAT32, **fields)
    return registry.get("torch").load(LoadContext(path, spec, DeviceKind.CPU, (DeviceUuid("x"),), 1, 0, {"tune": tune}))


def recorded(model: Any, sizes: tuple[int, ...] = SIZES) -> Any:
    model.recorded = Recorded(model.computed, CPU)
    with torch.inference_mode():
        for tokens in sizes:
            model.recorded.record(Shape.of(tokens, model.max_tokens), model.joined_inputs())
    return model


def watch_replays(model: Any) -> list[Shape]:
    used: list[Shape] = []
    replay = model.recorded.replay

    def watched(shape: Shape, inputs: Any) -> Any:
        used.append(shape)
        return replay(shape, inputs)

    model.recorded.replay = watched
    return used


@pytest.mark.parametrize("kind", ["cross-encoder", "causal", "mean", "cls", "max", "last_token"])
def test_any_rows_come_out_as_without_a_recording(folders: dict[str, Path], kind: Any) -> None:
    if kind in ("cross-encoder", "causal"):
        fields: dict[str, Any] = {"rerank": RerankTraits(scorer="causal_lm", template=TEMPLATE)} if kind == "causal" else {}
        model = load(folders[kind], ModelType.RERANK, **fields)
    else:
        model = load(folders["embedding"], ModelType.EMBEDDING, embedding=EmbeddingTraits(pooling=kind))
    pairs = kind in ("cross-encoder", "causal")
    batches = [model.tokenize([WorkItem("where", text) if pairs else WorkItem(text) for text in texts]) for texts in BATCHES]
    expected = [model.forward(batch) for batch in batches]
    used = watch_replays(recorded(model))
    for _ in range(2):  # what the batch before left in the inputs means nothing
        for batch, answer in zip(batches, expected, strict=True):
            made = model.forward(batch)
            assert made.shape == answer.shape
            assert np.abs(made - answer).max() < 1e-5
    assert len(used) == 2 * len(batches)
    assert len(set(used)) > 2


def test_a_batch_beyond_the_shapes_is_computed_as_before(folders: dict[str, Path]) -> None:
    model = load(folders["cross-encoder"], ModelType.RERANK)
    large = model.tokenize([WorkItem("where", "the cat")] * 40)
    expected = model.forward(large)
    used = watch_replays(recorded(model, (32, 64)))
    assert np.array_equal(model.forward(large), expected)
    assert used == []


@given(st.lists(st.integers(1, 512), min_size=1, max_size=300), st.sampled_from([128, 512, 8192]))
def test_the_shape_is_the_smallest_that_holds_the_rows_and_what_fills_it_up(lengths: list[int], max_tokens: int) -> None:
    lengths = [min(length, max_tokens) for length in lengths]
    of_sizes = Recorded(lambda inputs, rows: torch.zeros(1), CPU)
    shapes = [Shape.of(tokens, max_tokens) for tokens in SIZES]
    for shape in shapes:
        of_sizes.record(shape, ["input_ids"])
    found = of_sizes.fitting(lengths)
    assert found == next((shape for shape in shapes if shape.holds(lengths)), None)
    if found is None:
        assert sum(lengths) > SIZES[-1] or len(lengths) > SIZES[-1] // TOKENS_A_ROW - SIZES[-1] // max_tokens
        return
    everything = [*lengths, *(row.tokens for row in blank_rows(found.tokens - sum(lengths), found.longest))]
    assert sum(everything) == found.tokens
    assert max(everything) <= found.longest <= max_tokens
    starts = found.starts(everything)
    assert len(starts) == found.rows + 1
    assert (starts[0], starts[-1]) == (0, found.tokens)
    assert np.diff(starts)[: len(everything)].tolist() == everything
    assert not np.diff(starts)[len(everything) :].any()


def paced(eager: float, replays: list[float]) -> Callable[[], float]:
    """A clock on which batches without a recording take ``eager``, and those of the nth shape ``replays[n]``; read twice a batch."""

    def ticks() -> Iterator[float]:
        now = 0.0
        for replay in replays:
            for seconds in (eager, replay):
                for _ in range(5):
                    yield now
                    now += seconds
                    yield now

    it = ticks()
    return lambda: next(it)


def test_shapes_are_recorded_for_as_long_as_they_pay(folders: dict[str, Path]) -> None:
    model = load(folders["cross-encoder"], ModelType.RERANK)
    assert torch_tuning.record(model, paced(1.2, [0.5, 0.9, 1.1]))
    assert model.recorded.largest == SIZES[1]
    assert model.recorded.fitting([SIZES[2]]) is None


def test_what_is_timed_is_the_recording(folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    model, used, replay = load(folders["cross-encoder"], ModelType.RERANK), [], Recorded.replay
    sizes = SIZES[: len(SIZES) - 2]

    def watched(self: Recorded, shape: Shape, inputs: Any) -> Any:
        used.append(shape.tokens)
        return replay(self, shape, inputs)

    monkeypatch.setattr(Recorded, "replay", watched)
    assert torch_tuning.record(model, paced(1.0, [0.5] * (len(sizes) - 1) + [0.9]))
    assert used == [tokens for tokens in sizes for _ in range(5)]


@given(st.sampled_from(SIZES), st.sampled_from([32, 128, 512, 8192]))
def test_a_shape_holds_the_rows_that_use_all_of_it(tokens: int, max_tokens: int) -> None:
    shape = Shape.of(tokens, max_tokens)
    assert sum(shape.lengths()) == tokens
    assert shape.holds(shape.lengths())


def test_nothing_is_kept_where_even_the_smallest_does_not_pay(folders: dict[str, Path]) -> None:
    model = load(folders["cross-encoder"], ModelType.RERANK)
    assert not torch_tuning.record(model, paced(1.0, [0.9]))
    assert model.recorded is None


def test_a_shape_that_cannot_be_recorded_ends_it_and_those_before_stay(folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    model, made = load(folders["cross-encoder"], ModelType.RERANK), Recorded.record

    def fails(self: Recorded, shape: Shape, names: Any) -> None:
        if shape.tokens > SIZES[1]:
            raise torch.OutOfMemoryError("no room for another graph")
        made(self, shape, names)

    monkeypatch.setattr(Recorded, "record", fails)
    assert torch_tuning.record(model, paced(1.0, [0.1] * 8))
    assert model.recorded.largest == SIZES[1]


def test_padded_rows_are_not_recorded(folders: dict[str, Path]) -> None:
    model = load(folders["cross-encoder"], ModelType.RERANK, tune=False)
    assert not torch_tuning.record(model)
    assert model.recorded is None


def test_a_closed_model_with_recordings_keeps_none_of_its_weights(folders: dict[str, Path]) -> None:
    model = recorded(load(folders["cross-encoder"], ModelType.RERANK))
    weights = [weakref.ref(weight) for weight in model.transformer.parameters()]
    gc.disable()
    try:
        model.close()
    finally:
        gc.enable()
    assert weights
    assert not [weight for weight in weights if weight() is not None]
