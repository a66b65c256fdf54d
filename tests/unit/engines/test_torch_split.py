"""A model over several devices gives what it gives on one, and every operation finds its tensors on one device."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from transformers import AutoModel, AutoModelForSequenceClassification, BertConfig, Qwen3Config, XLMRobertaConfig

from tests.support import checkpoints
from tests.unit.engines.test_torch_paths import TEXTS
from xinfer.batching.work import WorkItem
from xinfer.catalog.spec import LocalSource, ModelSpec, ModelType, RerankTraits
from xinfer.cluster.device import DeviceKind
from xinfer.cluster.ids import DeviceUuid
from xinfer.engines import registry, torch_split
from xinfer.engines.base import LoadContext, LoadedModel
from xinfer.errors import LaunchFailed

CPU, META = torch.device("cpu"), torch.device("meta")
SMALL = {"vocab_size": 60, "hidden_size": 16, "num_hidden_layers": 4, "num_attention_heads": 2, "intermediate_size": 32}
TEMPLATE = "{instruction} {query} {document} answer:"

MAKERS: dict[str, tuple[Any, ModelType, dict[str, Any]]] = {
    "reranker": (checkpoints.tiny_xlm_roberta_reranker, ModelType.RERANK, {}),
    "embedding": (checkpoints.tiny_qwen3_embedding, ModelType.EMBEDDING, {}),
    "causal": (
        checkpoints.tiny_qwen3_reranker,
        ModelType.RERANK,
        {"rerank": RerankTraits(scorer="causal_lm", template=TEMPLATE, instruction="find it")},
    ),
}


@pytest.fixture(scope="module", params=sorted(MAKERS))
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ModelType, dict[str, Any]]:
    make, type_, fields = MAKERS[request.param]
    folder = tmp_path_factory.mktemp("split") / request.param
    make(folder)
    return folder, type_, fields


def load(
    made: tuple[Path, ModelType, dict[str, Any]], devices: int, kind: DeviceKind = DeviceKind.SIMULATED, **options: Any
) -> LoadedModel:
    path, type_, fields = made
    spec = ModelSpec(name="m", type=type_, engine="torch", sources=(LocalSource(path=str(path)),), **fields)
    uuids = tuple(DeviceUuid(f"SIM-{i}") for i in range(devices))
    return registry.get("torch").load(LoadContext(path, spec, kind, uuids, 1, 0, options))


def values(model: LoadedModel, made: tuple[Path, ModelType, dict[str, Any]]) -> np.ndarray:
    pairs = made[1] is ModelType.RERANK
    return model.forward(model.tokenize([WorkItem("where is the cat", text) if pairs else WorkItem(text) for text in TEXTS]))


@pytest.mark.parametrize("tune", [False, True])
def test_answers_on_two_devices_are_those_on_one(made: tuple[Path, ModelType, dict[str, Any]], tune: bool) -> None:
    one, two = load(made, 1, tune=tune), load(made, 2, tune=tune)
    assert np.abs(values(one, made) - values(two, made)).max() < 1e-5
    assert (one.compute_path + "; layers 1 + 1 on 2 devices" if tune else "") == two.compute_path


def test_more_devices_than_layers_are_refused_and_cpu_slots_are_one_device(made: tuple[Path, ModelType, dict[str, Any]]) -> None:
    with pytest.raises(LaunchFailed, match="n_gpu must be at most 2, the number of this model's layers, not 3"):
        load(made, 3)
    assert "devices" not in load(made, 3, DeviceKind.CPU).compute_path


def sequence(kind: Any) -> Any:
    extra = {"num_key_value_heads": 1, "head_dim": 8} if kind is Qwen3Config else {}
    return kind(**SMALL, **extra, max_position_embeddings=64, num_labels=1, pad_token_id=0, use_cache=False)


@pytest.mark.parametrize("kind", [BertConfig, XLMRobertaConfig, Qwen3Config])
@pytest.mark.parametrize("count", [2, 3])
def test_on_accelerators_each_operation_finds_its_tensors_on_one_device(kind: Any, count: int) -> None:
    """Pretended tensors know their devices, and an operation on two of them at once raises."""
    # Of a kind that every build of torch can pretend to have: one for the CPU cannot index pretended CUDA tensors.
    devices = [torch.device("lazy", index) for index in range(count)]
    config = sequence(kind)
    with FakeTensorMode(allow_non_fake_inputs=True):
        maker = AutoModel if kind is Qwen3Config else AutoModelForSequenceClassification
        model = maker.from_config(config, attn_implementation="sdpa").eval()
        plan = torch_split.spread(model, devices)
        assert plan is not None
        where = [{each.device for each in layer.parameters()} for layer in torch_split.layers_of(model)]
        assert where == [{devices[place]} for place in plan.places]
        assert {each.device for each in model.get_input_embeddings().parameters()} == {devices[0]}
        ids = torch.ones((2, 5), dtype=torch.int64, device=devices[0])
        with torch.inference_mode():
            output = model(input_ids=ids, attention_mask=torch.ones_like(ids))
        answer = output.last_hidden_state if kind is Qwen3Config else output.logits
        assert answer.device == devices[0]


def bert(layers: int = 4) -> Any:
    torch.manual_seed(0)
    return AutoModel.from_config(BertConfig(**{**SMALL, "num_hidden_layers": layers})).eval()


def test_masks_cross_to_a_device_once_and_states_at_each_border(monkeypatch: pytest.MonkeyPatch) -> None:
    model = bert()
    torch_split.spread(model, [CPU, CPU])
    carried: Counter[tuple[int, ...]] = Counter()
    plain = torch_split.moved

    def counting(value: Any, device: torch.device) -> Any:
        if isinstance(value, torch.Tensor):
            carried[tuple(value.shape)] += 1
        return plain(value, device)

    monkeypatch.setattr(torch_split, "moved", counting)
    ids = torch.ones((2, 5), dtype=torch.int64)
    model(input_ids=ids, attention_mask=torch.ones_like(ids))
    assert carried[2, 5, 16] == 5, "in front of each layer, and behind the last"

    copies = torch_split.Carried()
    hook, mask = copies.to(META), torch.ones(3)
    (_, first), _ = hook(model, (torch.ones(2), mask), {})
    (_, again), named = hook(model, (torch.ones(2), mask), {"cos": (mask, None), "hidden_states": mask})
    assert first is again is named["cos"][0]
    assert first.device == META
    assert named["hidden_states"] is not first
    copies.begin(model, ())
    (_, later), _ = hook(model, (torch.ones(2), mask), {})
    assert later is not first


def test_a_part_that_does_not_fit_is_refused_before_anything_moves() -> None:
    model = bert()
    with pytest.raises(LaunchFailed, match=r"memory: part \d of 2 has .* of weights, and 512 MiB are reserved on each device; reserve"):
        torch_split.spread(model, [CPU, META], reserved=512 << 20)
    assert {each.device for each in model.parameters()} == {CPU}
    torch_split.spread(model, [CPU, META], reserved=513 << 20)
    assert {each.device for each in model.parameters()} == {CPU, META}


def test_what_has_no_stack_of_layers_is_refused() -> None:
    with pytest.raises(LaunchFailed, match="n_gpu must be 1 for this model: Linear has no stack"):
        torch_split.spread(torch.nn.Linear(2, 2), [CPU, CPU])


def test_weights_that_are_shared_stay_shared_and_count_once() -> None:
    class Tied(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = torch.nn.Embedding(10, 4)
            self.layers = torch.nn.ModuleList([torch.nn.Linear(4, 4) for _ in range(2)])
            self.head = torch.nn.Linear(4, 10, bias=False)
            self.head.weight = self.embed.weight
            self.register_buffer("scale", torch.ones(3))

    model = Tied()
    plan = torch_split.spread(model, [META, CPU])
    assert plan is not None
    assert model.head.weight is model.embed.weight
    assert model.embed.weight.device == model.scale.device == META
    assert plan.weight_bytes == ((20 + 40 + 3) * 4, 20 * 4)
