"""The registry: names, aliases, options, and that asking imports nothing heavy."""

from __future__ import annotations

import subprocess
import sys

import pytest

from xinfer.cluster.device import Division
from xinfer.engines import registry
from xinfer.engines.installed import installed
from xinfer.errors import InvalidRequest

HEAVY = ("torch", "transformers", "sentence_transformers", "onnxruntime", "tokenizers")


@pytest.mark.parametrize(
    ("spelling", "name"),
    [
        ("sentence_transformers", "sentence_transformers"),
        ("sentence-transformers", "sentence_transformers"),
        ("Sentence_Transformers", "sentence_transformers"),
        ("torch", "sentence_transformers"),
        (" onnx ", "onnxruntime"),
        ("ONNXRuntime", "onnxruntime"),
    ],
)
def test_spellings_of_an_engine(spelling: str, name: str) -> None:
    assert registry.canonical(spelling) == name
    assert registry.get(spelling).name == name


def test_an_unknown_engine_is_refused_with_the_ones_there_are() -> None:
    with pytest.raises(InvalidRequest, match=r"model_engine: 'vllm' is not an engine; .*onnxruntime") as caught:
        registry.get("vllm")
    assert caught.value.param == "model_engine"


def test_every_engine_declares_itself() -> None:
    for name in registry.names():
        engine = registry.get(name)
        assert engine.name == name
        assert registry.base_bytes(name) == engine.base_bytes > 50 << 20
        assert registry.declared_options(name)["max_batch_ms"] is float
        assert engine.types
        assert engine.dtypes


@pytest.mark.parametrize("barred", [False, True])
def test_asking_imports_nothing_heavy_and_does_not_mind_that_torch_is_barred(barred: bool) -> None:
    script = f"""
import sys
if {barred}:
    sys.modules["torch"] = None
from xinfer.cluster.device import Division
from xinfer.engines import registry
print(sorted(registry.available()))
for name in registry.names():
    registry.base_bytes(name), registry.declared_options(name)
loaded = [name for name in {HEAVY!r} if sys.modules.get(name) is not None]
assert not loaded, loaded
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(sorted(registry.available()))


def test_a_missing_package_makes_an_engine_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    assert installed("json")
    assert not installed("json", "no_such_package_at_all")
    monkeypatch.setattr("xinfer.engines.onnxruntime.installed", lambda *packages: False)
    assert "onnxruntime" not in registry.available()


def test_engines_say_whether_they_can_divide_a_model() -> None:
    assert registry.divisions() == {"sentence_transformers": Division.LAYERS}
