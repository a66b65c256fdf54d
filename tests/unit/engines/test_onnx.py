"""What only the onnxruntime engine can get wrong."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.checkpoints import copy_model
from tests.unit.engines.test_loading import load
from xinfer.catalog.spec import ModelType, RerankTraits
from xinfer.cluster.device import DeviceKind
from xinfer.errors import LaunchFailed


def test_no_fast_tokeniser(reranker_onnx: Path, tmp_path: Path) -> None:
    folder = copy_model(reranker_onnx, tmp_path / "mute", without=("tokenizer.json",))
    with pytest.raises(LaunchFailed, match=r"mute has no tokenizer.json"):
        load(folder, ModelType.RERANK, "onnxruntime")
    (folder / "tokenizer.json").write_text("{}", encoding="utf-8")
    with pytest.raises(LaunchFailed, match=r"tokenizer.json of mute cannot be read"):
        load(folder, ModelType.RERANK, "onnxruntime")


def test_a_file_that_is_no_graph(reranker_onnx: Path, tmp_path: Path) -> None:
    folder = copy_model(reranker_onnx, tmp_path / "broken", without=("model.onnx",))
    (folder / "model.onnx").write_bytes(b"not a graph")
    with pytest.raises(LaunchFailed, match=r"model.onnx could not be loaded"):
        load(folder, ModelType.RERANK, "onnxruntime")


def test_an_embedding_graph_is_no_reranker(bge_small_onnx: Path) -> None:
    with pytest.raises(LaunchFailed, match=r"gives 384 numbers per pair"):
        load(bge_small_onnx, ModelType.RERANK, "onnxruntime")


def test_llm_rerankers_are_for_the_other_engine(reranker_onnx: Path) -> None:
    with pytest.raises(LaunchFailed, match=r"choose sentence_transformers"):
        load(reranker_onnx, ModelType.RERANK, "onnxruntime", rerank=RerankTraits(scorer="causal_lm"))


def test_a_gpu_without_the_gpu_build(reranker_onnx: Path) -> None:
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("onnxruntime-gpu is installed")
    with pytest.raises(LaunchFailed, match=r"install onnxruntime-gpu"):
        load(reranker_onnx, ModelType.RERANK, "onnxruntime", DeviceKind.GPU)


def test_it_needs_neither_torch_nor_transformers(reranker_onnx: Path) -> None:
    script = f"""
import sys
sys.modules["torch"] = sys.modules["transformers"] = None
from pathlib import Path
from xinfer.batching.work import WorkItem
from xinfer.catalog.spec import LocalSource, ModelSpec, ModelType
from xinfer.cluster.device import DeviceKind
from xinfer.engines import registry
from xinfer.engines.base import LoadContext
path = Path({str(reranker_onnx)!r})
spec = ModelSpec(name="m", type=ModelType.RERANK, engine="onnxruntime", sources=(LocalSource(path=str(path)),))
model = registry.get("onnxruntime").load(LoadContext(path, spec, DeviceKind.CPU, (), 1, 0))
print(model.forward(model.tokenize([WorkItem("a", "b")])).shape)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "(1,)", done.stderr
