"""Launches that must fail, each with a sentence that says what would be right; and what the model's own files decide."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support import checkpoints
from xinfer.catalog.spec import Dtype, EmbeddingTraits, LocalSource, ModelSpec, ModelType, RerankTraits
from xinfer.cluster.device import DeviceKind
from xinfer.cluster.ids import DeviceUuid
from xinfer.engines import registry
from xinfer.engines.base import EncoderEngine, LoadContext
from xinfer.errors import LaunchFailed

ENCODERS = tuple(name for name in registry.names() if isinstance(registry.get(name), EncoderEngine))


@pytest.fixture(scope="module")
def reranker(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "tiny-reranker"
    checkpoints.tiny_xlm_roberta_reranker(folder)
    return folder


@pytest.fixture(scope="module")
def embedding(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "tiny-embedding"
    checkpoints.tiny_qwen3_embedding(folder)
    return folder


def load(path: Path, type_: ModelType, engine: str = "torch", kind: DeviceKind = DeviceKind.CPU, **fields: Any) -> Any:
    spec = ModelSpec(name="m", type=type_, engine=engine, sources=(LocalSource(path=str(path)),), **fields)
    chosen: Any = registry.get(engine)
    return chosen.load(LoadContext(path, spec, kind, (DeviceUuid("x"),), 1, 1 << 30))


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    for engine in ENCODERS:
        with pytest.raises(LaunchFailed, match=r"model_path: .*nowhere is not a folder"):
            load(tmp_path / "nowhere", ModelType.RERANK, engine)


def test_an_empty_folder(tmp_path: Path) -> None:
    for type_ in (ModelType.RERANK, ModelType.EMBEDDING):
        for engine in registry.names():
            with pytest.raises(LaunchFailed):
                load(tmp_path, type_, engine)


def test_a_type_that_the_engine_does_not_run(reranker: Path) -> None:
    for engine in ENCODERS:
        with pytest.raises(LaunchFailed, match=r"runs rerank and embedding models, not LLM"):
            load(reranker, ModelType.LLM, engine)
    with pytest.raises(LaunchFailed, match=r"llamacpp runs language models, not rerank"):
        load(reranker, ModelType.RERANK, "llamacpp")
    with pytest.raises(LaunchFailed, match=r"is not a GGUF file"):
        load(reranker, ModelType.LLM, "llamacpp")


def test_float16_is_refused_on_the_cpu(reranker: Path) -> None:
    for kind in (DeviceKind.CPU, DeviceKind.SIMULATED):
        with pytest.raises(LaunchFailed, match=r"dtype: float16 is not offered on the CPU; choose float32 or bfloat16"):
            load(reranker, ModelType.RERANK, kind=kind, dtype=Dtype.FLOAT16)


def test_a_gpu_without_cuda(reranker: Path, tmp_path: Path) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    with pytest.raises(LaunchFailed, match=r"sees no CUDA device"):
        load(reranker, ModelType.RERANK, kind=DeviceKind.GPU)


def test_an_embedding_model_is_no_reranker(embedding: Path) -> None:
    with pytest.raises(LaunchFailed, match=r"holds a Qwen3Model, not a reranker"):
        load(embedding, ModelType.RERANK)


def test_a_classifier_of_several_labels_is_no_reranker(reranker: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForSequenceClassification

    folder = checkpoints.copy_model(reranker, tmp_path / "three", without=("model.safetensors",))
    AutoModelForSequenceClassification.from_pretrained(str(reranker), num_labels=3, ignore_mismatched_sizes=True).save_pretrained(folder)
    with pytest.raises(LaunchFailed, match=r"three has 3 labels"):
        load(folder, ModelType.RERANK)


def test_missing_weights(reranker: Path, tmp_path: Path) -> None:
    folder = checkpoints.copy_model(reranker, tmp_path / "hollow", without=("model.safetensors",))
    with pytest.raises(LaunchFailed, match=r"hollow could not be loaded"):
        load(folder, ModelType.RERANK)


def test_cut_off_weights(reranker: Path, tmp_path: Path) -> None:
    folder = checkpoints.copy_model(reranker, tmp_path / "short")
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(LaunchFailed, match=r"short could not be loaded"):
        load(folder, ModelType.RERANK)


def test_an_llm_reranker_without_a_template(embedding: Path) -> None:
    with pytest.raises(LaunchFailed, match=r"rerank.template"):
        load(embedding, ModelType.RERANK, rerank=RerankTraits(scorer="causal_lm"))


def test_a_yes_token_that_is_not_one(tmp_path: Path) -> None:
    checkpoints.tiny_qwen3_reranker(tmp_path / "m")
    traits = RerankTraits(scorer="causal_lm", template="{query}{document}", yes_token="certainly")
    with pytest.raises(LaunchFailed, match=r"'certainly' is 9 tokens"):
        load(tmp_path / "m", ModelType.RERANK, rerank=traits)


def test_the_activation_is_the_models_unless_the_family_says_otherwise(reranker: Path, tmp_path: Path) -> None:
    assert load(reranker, ModelType.RERANK).activation == "sigmoid"
    assert load(reranker, ModelType.RERANK, rerank=RerankTraits(activation="identity")).activation == "identity"
    folder = tmp_path / "identity"
    checkpoints.tiny_xlm_roberta_reranker(folder, activation="torch.nn.modules.linear.Identity")
    assert load(folder, ModelType.RERANK).activation == "identity"
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config["sentence_transformers"]["activation_fn"] = "torch.nn.modules.activation.Tanh"
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(LaunchFailed, match=r"rerank.activation: the model asks for Tanh"):
        load(folder, ModelType.RERANK)


def test_pooling_and_normalising_follow_the_family_where_it_speaks(embedding: Path) -> None:
    import numpy as np

    from xinfer.batching.work import WorkItem

    own = load(embedding, ModelType.EMBEDDING)
    mean = load(embedding, ModelType.EMBEDDING, embedding=EmbeddingTraits(pooling="mean", normalize=False))
    assert (own.normalize, mean.normalize) == (True, False)
    batch = own.tokenize([WorkItem("some text")])
    assert np.abs(own.forward(batch) - mean.forward(batch)).max() > 0.01
    assert own.dimensions == mean.dimensions == 32


def test_bfloat16_is_near_float32(reranker: Path) -> None:
    import numpy as np

    from xinfer.batching.work import WorkItem

    items = [WorkItem("where is the cat", text) for text in ("the mat", "a dog sleeps in the sun", "brown")]
    full, half = (load(reranker, ModelType.RERANK, dtype=dtype) for dtype in (Dtype.FLOAT32, Dtype.BFLOAT16))
    scores, rough = full.forward(full.tokenize(items)), half.forward(half.tokenize(items))
    assert rough.dtype == np.float32
    assert 0 < np.abs(scores - rough).max() < 0.05


def test_a_smaller_maximum_of_the_family_counts(reranker: Path) -> None:
    assert load(reranker, ModelType.RERANK, max_tokens=32).max_tokens == 32
    assert load(reranker, ModelType.RERANK, max_tokens=8192).max_tokens == 64
