"""Engines on a real GPU, in this process: the device they report, their share of its memory, recovery from out of memory."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.models import model as real_model
from tests.unit.serving.fakes import calibration
from xinfer.batching.work import WorkItem
from xinfer.catalog.spec import Dtype, LocalSource, ModelSpec, ModelType
from xinfer.cluster.device import DeviceKind
from xinfer.cluster.ids import DeviceUuid
from xinfer.engines import cuda_driver, registry
from xinfer.engines.base import LoadContext, LoadedModel
from xinfer.errors import OutOfMemory
from xinfer.serving.calibrate import ModelKind
from xinfer.serving.compute import ComputeThread
from xinfer.serving.server import MAX_SHARDS, ModelServer

torch = pytest.importorskip("torch")
pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="this torch sees no CUDA device")]

QUERY = "how many people live in berlin?"
TEXTS = ["Berlin has 3.5 million inhabitants.", "The cat sat upon the mat.", "", "word " * 700, "日本 🎉"]


@pytest.fixture
def uuids() -> Iterator[list[str]]:
    """NVML's names of the GPUs, by PCI bus id as CUDA orders them here: a set is what tests compare."""
    import pynvml

    pynvml.nvmlInit()
    yield [pynvml.nvmlDeviceGetUUID(pynvml.nvmlDeviceGetHandleByIndex(i)) for i in range(pynvml.nvmlDeviceGetCount())]
    pynvml.nvmlShutdown()


def load(path: Path, type_: ModelType, memory: int = 0, **fields: Any) -> LoadedModel:
    spec = ModelSpec(name="m", type=type_, engine="sentence_transformers", sources=(LocalSource(path=str(path)),), **fields)
    return registry.get(spec.engine).load(LoadContext(path, spec, DeviceKind.GPU, (DeviceUuid("?"),), 1, memory))


def test_the_report_names_the_device_as_nvml_does_with_the_memory_it_takes(uuids: list[str]) -> None:
    model = load(real_model("reranker-torch"), ModelType.RERANK)
    model.forward(model.tokenize([WorkItem(QUERY, text) for text in TEXTS]))
    report = model.reports()[0]
    assert report.uuid in uuids or report.uuid.startswith("MIG-")
    assert report.uuid == cuda_driver.seen_devices()[0].uuid
    assert report.kind is DeviceKind.GPU
    assert report.used_bytes > 128 << 20
    assert cuda_driver.free_bytes() < cuda_driver.seen_devices()[0].total_bytes
    model.close()


@pytest.mark.parametrize(("dtype", "tolerance"), [(Dtype.FLOAT32, 2e-3), (Dtype.FLOAT16, 3e-2), (Dtype.BFLOAT16, 1e-1)])
def test_scores_on_the_gpu_are_those_of_the_cpu(dtype: Dtype, tolerance: float) -> None:
    from tests.contract.references import cross_encoder

    model = load(real_model("reranker-torch"), ModelType.RERANK, dtype=dtype)
    logits = model.forward(model.tokenize([WorkItem(QUERY, text) for text in TEXTS]))
    assert np.abs(1 / (1 + np.exp(-logits)) - cross_encoder(real_model("reranker-torch"), TEXTS, QUERY)).max() < tolerance
    model.close()


def test_vectors_on_the_gpu_are_those_of_the_cpu() -> None:
    from tests.contract.references import sentence_transformer

    model = load(real_model("minilm-embedding"), ModelType.EMBEDDING)
    vectors = model.forward(model.tokenize([WorkItem(text) for text in TEXTS]))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    assert np.abs(vectors - sentence_transformer(real_model("minilm-embedding"), TEXTS, "")).max() < 2e-3
    model.close()


@pytest.mark.parametrize("dtype", [Dtype.FLOAT32, Dtype.FLOAT16])
def test_a_closed_model_leaves_nothing_on_the_card(dtype: Dtype) -> None:
    square = torch.ones((64, 64), device="cuda")
    square @ square  # since then the library keeps a workspace, 32 MiB on a Hopper card
    del square
    before = torch.cuda.memory_allocated()
    model = load(real_model("reranker-torch"), ModelType.RERANK, dtype=dtype)
    model.forward(model.tokenize([WorkItem(QUERY, text) for text in TEXTS]))
    assert torch.cuda.memory_allocated() - before > 32 << 20
    model.close()
    assert torch.cuda.memory_allocated() - before < 16 << 20


async def test_a_batch_beyond_the_reservation_is_split_and_nothing_is_lost() -> None:
    """1 GiB for a batch that wants several: torch really runs out, the budget learns, every text is answered."""
    model = load(real_model("minilm-embedding"), ModelType.EMBEDDING, memory=1 << 30)
    try:
        items = tuple(WorkItem("word " * 300) for _ in range(4096))
        encoded = model.tokenize(items)
        with pytest.raises(OutOfMemory):
            model.forward(encoded)
        server = ModelServer(model, ModelKind(pairs=False), calibration(1 << 20), ComputeThread())
        result = await server.run(items)
        assert result.errors == ()
        assert np.abs(result.values - result.values[0]).max() < 1e-3
        assert server.stats().oom_splits > 0
        assert torch.cuda.max_memory_reserved() <= 1 << 30
        model.release_memory()
        assert torch.cuda.memory_reserved() < 512 << 20
        await server.close()
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, 0)


async def test_shards_whose_batches_overlap_on_the_device_each_get_their_own_answers() -> None:
    model = load(real_model("reranker-torch"), ModelType.RERANK, dtype=Dtype.BFLOAT16)
    assert model.in_flight == 2
    shards = [tuple(WorkItem(QUERY, f"{text} {n}") for text in TEXTS) for n in range(MAX_SHARDS)]
    expected = [model.forward(model.tokenize(items)) for items in shards]
    server = ModelServer(model, ModelKind(pairs=True), calibration(1 << 12), ComputeThread())
    results = await asyncio.gather(*(server.run(items) for items in shards))
    for result, logits in zip(results, expected, strict=True):
        assert result.errors == ()
        assert np.abs(result.values - 1 / (1 + np.exp(-logits))).max() < 5e-2
    await server.health()
    await server.close()
