"""One replica over two real GPUs: it reports both, in the order of its slot, holds weights on each and answers as on one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest

from tests.gpu.conftest import gpus
from tests.support.cluster import Cluster
from xinfer.catalog.spec import Dtype, ModelType

torch = pytest.importorskip("torch")
pytestmark = [pytest.mark.gpu, pytest.mark.skipif(gpus() < 2, reason="fewer than two NVIDIA GPUs on this machine")]

DOCUMENTS = ["Berlin has 3.5 million inhabitants.", "The cat sat upon the mat.", "a b c"] * 40


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    made = Cluster(tmp_path / "home")
    yield made
    made.end()


def test_a_replica_on_two_cards_reports_both_and_ranks_as_on_one(cluster: Cluster, reranker_torch: Path) -> None:
    cluster.serve()
    (worker,) = cluster.slots()["workers"]
    address, uuids = worker["address"], [device["uuid"] for device in worker["devices"]]
    model = ("-t", "rerank", "-mp", str(reranker_torch), "--dtype", "float32")
    cluster.launch(*model, "-u", "one", "--pin", f"{address}@0")
    cluster.launch(*model, "-u", "two", "--pin", f"{address}@1,0")
    (replica,) = cluster.replicas("two")
    assert [device["uuid"] for device in replica["devices"]] == [uuids[1], uuids[0]]
    held = [r["used_bytes"] for d in cluster.slots()["workers"][0]["devices"][:2] for r in d["replicas"] if r["model_uid"] == "two"]
    assert len(held) == 2
    assert min(held) > 32 << 20
    scores = []
    for uid in ("one", "two"):
        reply = httpx.post(cluster.url + "/v1/rerank", json={"model": uid, "query": "berlin", "documents": DOCUMENTS}, timeout=120)
        scores.append({hit["index"]: hit["relevance_score"] for hit in reply.json()["results"]})
    assert max(abs(scores[0][index] - scores[1][index]) for index in scores[0]) < 1e-3


@pytest.mark.parametrize("dtype", [Dtype.FLOAT32, Dtype.FLOAT16])
def test_layers_are_on_both_cards_and_batches_in_flight_get_their_own_answers(reranker_torch: Path, dtype: Dtype) -> None:
    from tests.gpu.test_speed_paths import TEXTS, pairs
    from xinfer.catalog.spec import LocalSource, ModelSpec
    from xinfer.cluster.device import DeviceKind
    from xinfer.cluster.ids import DeviceUuid
    from xinfer.engines import registry
    from xinfer.engines.base import LoadContext

    source = (LocalSource(path=str(reranker_torch)),)
    spec = ModelSpec(name="m", type=ModelType.RERANK, engine="sentence_transformers", sources=source, dtype=dtype)
    one, two = (
        registry.get(spec.engine).load(LoadContext(reranker_torch, spec, DeviceKind.GPU, (DeviceUuid("?"),) * count, 1, 0))
        for count in (1, 2)
    )
    assert torch.cuda.memory_allocated(1) > 16 << 20
    batches = [pairs(two, [f"{text} {n}" for text in TEXTS]) for n in range(10)]
    launched = [two.launch(batches[0])]
    answers = []
    for batch in batches[1:]:
        launched.append(two.launch(batch))
        answers.append(launched.pop(0).result())
    answers.append(launched.pop().result())
    for batch, answer in zip(batches, answers, strict=True):
        assert np.abs(one.forward(batch) - answer).max() < (1e-3 if dtype is Dtype.FLOAT32 else 1e-1)
    one.close()
    two.close()
