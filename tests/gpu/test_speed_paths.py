"""The fast path on a real GPU: unpadded rows, batches in flight, pinned buffers; each against the plain path."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.models import model as real_model
from xinfer.batching.work import WorkItem
from xinfer.catalog.spec import Dtype, LocalSource, ModelSpec, ModelType
from xinfer.cluster.device import DeviceKind
from xinfer.cluster.ids import DeviceUuid
from xinfer.engines import registry
from xinfer.engines.base import Encoded, LoadContext
from xinfer.errors import OutOfMemory

torch = pytest.importorskip("torch")
pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="this torch sees no CUDA device")]

QUERY = "how many people live in berlin?"
TEXTS = ["Berlin has 3.5 million inhabitants.", "The cat sat upon the mat.", "", "word " * 700, "日本 🎉", "a b c", "c b a"]


def load(path: Path, type_: ModelType, memory: int = 0, options: dict[str, Any] | None = None, **fields: Any) -> Any:
    spec = ModelSpec(name="m", type=type_, engine="sentence_transformers", sources=(LocalSource(path=str(path)),), **fields)
    return registry.get(spec.engine).load(LoadContext(path, spec, DeviceKind.GPU, (DeviceUuid("?"),), 1, memory, options or {}))


def pairs(model: Any, texts: list[str]) -> list[Encoded]:
    encoded: list[Encoded] = model.tokenize([WorkItem(QUERY, text) for text in texts])
    return encoded


@pytest.mark.parametrize(("dtype", "tolerance"), [(Dtype.FLOAT16, 3e-2), (Dtype.BFLOAT16, 1e-1)])
def test_half_precision_computes_no_padding_and_scores_as_padded(dtype: Dtype, tolerance: float) -> None:
    plain, tuned = (load(real_model("reranker-torch"), ModelType.RERANK, options={"tune": tune}, dtype=dtype) for tune in (False, True))
    assert tuned.packs, tuned.compute_path
    assert tuned.compute_path.startswith("unpadded rows, flash")
    assert np.abs(plain.forward(pairs(plain, TEXTS)) - tuned.forward(pairs(tuned, TEXTS))).max() < tolerance * 4
    for model in (plain, tuned):
        model.close()


@pytest.mark.parametrize(("dtype", "tolerance"), [(Dtype.FLOAT16, 1e-2), (Dtype.BFLOAT16, 5e-2)])
def test_unpadded_vectors_are_those_of_the_cpu(dtype: Dtype, tolerance: float) -> None:
    from tests.contract.references import sentence_transformer

    model = load(real_model("minilm-embedding"), ModelType.EMBEDDING, dtype=dtype)
    assert model.packs, model.compute_path
    vectors = model.forward(model.tokenize([WorkItem(text) for text in TEXTS]))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    assert np.abs(vectors - sentence_transformer(real_model("minilm-embedding"), TEXTS, "")).max() < tolerance
    model.close()


def test_float32_stays_padded_and_tf32_is_near_it() -> None:
    exact, rough = (load(real_model("reranker-torch"), ModelType.RERANK, options={"tf32": tf32}) for tf32 in (False, True))
    try:
        assert not exact.packs
        rounded = rough.forward(pairs(rough, TEXTS))
        torch.set_float32_matmul_precision("highest")
        sigmoid = [1 / (1 + np.exp(-logits)) for logits in (exact.forward(pairs(exact, TEXTS)), rounded)]
        assert np.abs(sigmoid[0] - sigmoid[1]).max() < 5e-3
    finally:
        torch.set_float32_matmul_precision("highest")
        exact.close()
        rough.close()


@pytest.mark.parametrize("dtype", [Dtype.FLOAT32, Dtype.BFLOAT16])
def test_batches_in_flight_each_get_their_own_answer_and_buffers_are_kept(dtype: Dtype) -> None:
    model = load(real_model("reranker-torch"), ModelType.RERANK, dtype=dtype)
    assert model.in_flight == 2
    batches = [pairs(model, [f"{text} {n}" for text in TEXTS]) for n in range(20)]
    expected = [model.forward(batch) for batch in batches]
    buffers = [(slot.host.data_ptr(), slot.device.data_ptr(), slot.answer.data_ptr()) for slot in model._staging._slots]
    answers, waiting = [], None
    for batch in batches:
        launched = model.launch(batch)
        if waiting is not None:
            answers.append(waiting.result())
        waiting = launched
    assert waiting is not None
    answers.append(waiting.result())
    for answer, right in zip(answers, expected, strict=True):
        assert np.abs(answer - right).max() < 1e-3
    assert [(slot.host.data_ptr(), slot.device.data_ptr(), slot.answer.data_ptr()) for slot in model._staging._slots] == buffers
    assert all(slot.host.is_pinned() and slot.answer.is_pinned() for slot in model._staging._slots)
    model.close()


@pytest.fixture
def whole_card() -> Iterator[None]:
    yield
    torch.cuda.set_per_process_memory_fraction(1.0, 0)


def test_out_of_memory_is_of_the_batch_that_was_too_large_alone(whole_card: None) -> None:
    model = load(real_model("minilm-embedding"), ModelType.EMBEDDING, memory=1 << 30, dtype=Dtype.FLOAT16)
    small = model.tokenize([WorkItem(text) for text in TEXTS])
    expected = model.forward(small)
    large = model.tokenize([WorkItem("word " * 300)]) * 16384
    going = model.launch(small)
    with pytest.raises(OutOfMemory):
        model.launch(large).result()
    assert np.array_equal(going.result(), expected)
    model.release_memory()
    assert torch.cuda.memory_reserved() < 512 << 20
    assert np.array_equal(model.forward(small), expected)
    model.close()


def test_recorded_batches_answer_as_those_computed_kernel_by_kernel(capsys: pytest.CaptureFixture[str]) -> None:
    model = load(real_model("reranker-torch"), ModelType.RERANK, dtype=Dtype.FLOAT16)
    recorded = model.recorded
    assert recorded is not None, model.compute_path
    assert "CUDA graphs up to" in model.compute_path
    batches = [pairs(model, (TEXTS * 5)[:count]) for count in (1, 2, 3, 5, 7, 20, 35)] + [
        pairs(model, ["word " * n]) for n in (20, 90, 300)
    ]
    replayed = [model.forward(batch) for batch in batches for _ in range(2)][1::2]
    used = {recorded.fitting([item.tokens for item in batch]) for batch in batches}
    model.recorded = None
    for batch, answer in zip(batches, replayed, strict=True):
        assert np.abs(model.forward(batch) - answer).max() < 3e-2
    assert len(used - {None}) > 3
    with capsys.disabled():
        print(f"\n{model.compute_path}; {torch.cuda.memory_reserved() >> 20} MiB reserved")
    model.close()


def test_recorded_batches_in_flight_each_get_their_own_answer() -> None:
    model = load(real_model("minilm-embedding"), ModelType.EMBEDDING, dtype=Dtype.FLOAT16)
    assert model.recorded is not None, model.compute_path
    batches = [model.tokenize([WorkItem(f"{n} {text}") for text in TEXTS[: 1 + n % 3]]) for n in range(20)]
    expected = [model.forward(batch) for batch in batches]
    answers, waiting = [], model.launch(batches[0])
    for batch in batches[1:]:
        launched = model.launch(batch)
        answers.append(waiting.result())
        waiting = launched
    answers.append(waiting.result())
    assert all(np.array_equal(answer, right) for answer, right in zip(answers, expected, strict=True))
    model.close()
