"""How a torch model computes: unpadded rows, oneDNN weights, staging; each against the plain way, and the way back."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModel, BertConfig, RobertaConfig

from tests.support import checkpoints
from xinfer.batching.work import WorkItem
from xinfer.catalog.spec import Dtype, EmbeddingTraits, LocalSource, ModelSpec, ModelType
from xinfer.cluster.device import DeviceKind
from xinfer.cluster.ids import DeviceUuid
from xinfer.engines import registry, torch_onednn, torch_tuning, torch_unpadded
from xinfer.engines.base import Encoded, LoadContext, LoadedModel
from xinfer.engines.torch_rows import Rows, filler, join, positions, starts_of
from xinfer.engines.torch_staging import SMALLEST, Staging
from xinfer.errors import OutOfMemory

CPU = torch.device("cpu")
TEXTS = ("the cat", "brown", "a dog sleeps in the sun and the cat upon the mat", "the dog", "berlin " * 40)


def item(*ids: int) -> Encoded:
    return Encoded({"input_ids": np.array(ids, dtype=np.int64)}, len(ids))


def rows_of(*lengths: int) -> Rows:
    return Rows.of(lengths, torch.from_numpy(starts_of(lengths)).to(torch.int32), True)


@pytest.fixture(scope="module")
def reranker(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("paths") / "reranker"
    checkpoints.tiny_xlm_roberta_reranker(folder)
    return folder


@pytest.fixture(scope="module")
def embedding(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("paths") / "embedding"
    checkpoints.tiny_qwen3_embedding(folder)
    return folder


def load(path: Path, type_: ModelType, *, tune: bool, dtype: Dtype = Dtype.FLOAT32, **fields: Any) -> LoadedModel:
    spec = ModelSpec(name="m", type=type_, engine="torch", sources=(LocalSource(path=str(path)),), dtype=dtype, **fields)
    context = LoadContext(path, spec, DeviceKind.CPU, (DeviceUuid("x"),), 1, 0, {"tune": tune})
    return registry.get("torch").load(context)


def scores(model: LoadedModel, pairs: bool) -> np.ndarray:
    return model.forward(model.tokenize([WorkItem("where is the cat", text) if pairs else WorkItem(text) for text in TEXTS]))


def test_rows_are_joined_end_to_end() -> None:
    batch = [item(5, 6), item(7), item(8, 9, 3)]
    arrays = join(batch, ("input_ids", "attention_mask", "token_type_ids"), None)
    assert arrays["input_ids"].tolist() == [[5, 6, 7, 8, 9, 3]]
    assert arrays["position_ids"].tolist() == [[0, 1, 0, 0, 1, 2]]
    assert arrays["token_type_ids"].tolist() == [[0] * 6]
    assert "attention_mask" not in arrays


def test_roberta_counts_positions_behind_the_padding_id_and_skips_it() -> None:
    from transformers.models.roberta.modeling_roberta import RobertaEmbeddings

    ids = np.array([0, 9, 1, 8, 1, 2], dtype=np.int64)
    embeddings: Any = RobertaEmbeddings
    theirs = embeddings.create_position_ids_from_input_ids(torch.from_numpy(ids)[None], 1)
    assert positions(ids, 1).tolist() == theirs[0].tolist()


def test_joined_states_come_back_padded() -> None:
    rows = rows_of(2, 1, 3)
    padded = rows.padded(torch.arange(6.0).view(1, 6, 1))[:, :, 0]
    assert padded[rows.mask().bool()].tolist() == [0, 1, 2, 3, 4, 5]
    assert rows.mask().tolist() == [[1, 1, 0], [1, 0, 0], [1, 1, 1]]
    assert rows.last().tolist() == [1, 0, 2]
    assert rows_of(2, 2).padded(torch.arange(4.0).view(1, 4, 1)).shape == (2, 2, 1)
    with pytest.raises(ValueError, match="joined"):
        rows.padded(torch.zeros(1, 5, 1))


def test_filling_bounds_the_sizes_of_batches_at_little_cost() -> None:
    sizes = [tokens + sum(row.tokens for row in filler([tokens])) for tokens in range(1, 4097)]
    assert len({size for size in sizes if size <= 2048}) <= 128
    assert all(0 <= size - tokens < max(8, tokens / 31) for tokens, size in enumerate(sizes, 1))
    assert filler([60, 4]) == ()


def test_no_row_of_filling_is_longer_than_what_the_model_was_given() -> None:
    """It would have more positions than the model knows."""
    lengths = [300] * 217 + [5]
    rows = filler(lengths)
    assert (sum(lengths) + sum(row.tokens for row in rows)) % 1024 == 0
    assert sum(row.tokens for row in rows) > 300 >= max(row.tokens for row in rows)


def test_neighbours_of_one_length_are_one_run() -> None:
    assert rows_of(3, 3, 2, 3).runs() == [(0, 2, 3), (6, 1, 2), (8, 1, 3)]


@pytest.mark.parametrize("dtype", [Dtype.FLOAT32, Dtype.BFLOAT16])
def test_a_reranker_gives_unpadded_what_it_gives_padded(reranker: Path, dtype: Dtype) -> None:
    plain, tuned = (load(reranker, ModelType.RERANK, tune=tune, dtype=dtype) for tune in (False, True))
    assert (plain.packs, tuned.packs) == (False, True)
    assert tuned.compute_path.startswith("unpadded rows")
    tolerance = 1e-5 if dtype is Dtype.FLOAT32 else 3e-2
    assert np.abs(scores(plain, True) - scores(tuned, True)).max() < tolerance


@pytest.mark.parametrize("pooling", ["mean", "cls", "max", "last_token"])
def test_every_pooling_sees_each_row_alone(embedding: Path, pooling: Any) -> None:
    traits = EmbeddingTraits(pooling=pooling)
    plain, tuned = (load(embedding, ModelType.EMBEDDING, tune=tune, embedding=traits) for tune in (False, True))
    assert tuned.packs
    assert np.abs(scores(plain, False) - scores(tuned, False)).max() < 1e-5


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("explicit", [False, True])
@pytest.mark.parametrize("key_heads", [4, 2])
def test_attention_keeps_rows_apart(causal: bool, explicit: bool, key_heads: int) -> None:
    torch.manual_seed(0)
    lengths = (3, 3, 7, 1)
    query = torch.randn(1, 4, 14, 8)
    key, value = torch.randn(1, key_heads, 14, 8), torch.randn(1, key_heads, 14, 8)
    unpadded = torch_unpadded.Unpadded(model_of(bert()), explicit)
    with unpadded.running(rows_of(*lengths)):
        made, _ = torch_unpadded._attend(torch.nn.Identity(), query, key, value, None, scaling=0.3, is_causal=causal)
    library: Any = torch
    allowed = library.block_diag(*(torch.ones(length, length) for length in lengths)).bool()
    allowed = allowed.tril() if causal else allowed
    group = 4 // key_heads
    weights = query @ key.repeat_interleave(group, 1).transpose(2, 3) * 0.3
    expected = weights.masked_fill(~allowed, -torch.inf).softmax(-1) @ value.repeat_interleave(group, 1)
    assert (made - expected.transpose(1, 2)).abs().max() < 1e-5


def bert(**fields: Any) -> BertConfig:
    return BertConfig(vocab_size=50, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, **fields)


def model_of(config: Any, **more: Any) -> Any:
    make: Any = AutoModel.from_config
    return make(config, **more)


@pytest.mark.parametrize("config", [bert(), RobertaConfig(**{**bert().to_dict(), "pad_token_id": 1})], ids=["bert", "roberta"])
def test_pooler_and_states_of_real_architectures(config: Any) -> None:
    torch.manual_seed(0)
    model = model_of(config).eval()
    batch = [item(*(3 + (7 * i + n) % 40 for i in range(n))) for n in (4, 4, 9, 2)]
    alone = [model(input_ids=torch.from_numpy(one.features["input_ids"])[None]) for one in batch]
    unpadded = torch_unpadded.Unpadded(model)
    joined = {name: torch.from_numpy(array) for name, array in join(batch, ("input_ids",), unpadded.position_pad).items()}
    with unpadded.running(rows_of(4, 4, 9, 2)):
        output = model(**joined)
    for row, one in enumerate(alone):
        assert (output.last_hidden_state[row, : batch[row].tokens] - one.last_hidden_state[0]).abs().max() < 1e-5
        assert (output.pooler_output[row] - one.pooler_output[0]).abs().max() < 1e-5
    unpadded.restore()
    again = model(input_ids=torch.from_numpy(batch[0].features["input_ids"])[None])
    assert (again.last_hidden_state - alone[0].last_hidden_state).abs().max() < 1e-6


def test_other_attention_than_the_usual_stays_padded() -> None:
    with pytest.raises(ValueError, match="eager"):
        torch_unpadded.Unpadded(model_of(bert(), attn_implementation="eager"))


def test_a_joined_batch_outside_its_rows_is_refused() -> None:
    model = model_of(bert())
    torch_unpadded.Unpadded(model)
    with pytest.raises(RuntimeError, match="not joined"):
        model(input_ids=torch.ones(1, 3, dtype=torch.int64))


def test_a_change_that_alters_the_answers_is_taken_back(reranker: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def mixed(module: Any, query: torch.Tensor, *others: Any, **more: Any) -> tuple[torch.Tensor, None]:
        return torch.nn.functional.scaled_dot_product_attention(query, *others[:2]).transpose(1, 2), None

    plain = load(reranker, ModelType.RERANK, tune=False)
    monkeypatch.setattr(torch_unpadded, "_attend", mixed)
    fallen = load(reranker, ModelType.RERANK, tune=True)
    assert not fallen.packs
    assert fallen.compute_path.startswith("padded rows, sdpa")
    assert np.abs(scores(plain, True) - scores(fallen, True)).max() < 1e-5


def test_the_faster_linear_layer_is_taken() -> None:
    model: Any = torch.nn.Sequential(torch.nn.Linear(256, 128), torch.nn.Linear(8, 8)).eval()
    if not torch_onednn._offered(torch.float32):
        pytest.skip("this torch has no oneDNN")
    assert torch_onednn.is_faster(model, alternating(1.0, 0.9))
    assert not torch_onednn.is_faster(model, alternating(0.9, 1.0))
    assert not torch_onednn.is_faster(model[1], alternating(1.0, 0.1))


def alternating(first: float, second: float) -> Callable[[], float]:
    """A clock on which two pieces, timed in turn, take so many seconds."""
    now, calls = 0.0, count()

    def read() -> float:
        nonlocal now
        place = next(calls) % 4
        now += {1: first, 3: second}.get(place, 0.0)
        return now

    return read


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.bfloat16, 2e-1)])
def test_onednn_layers_compute_the_same_and_give_the_weights_back(dtype: torch.dtype, tolerance: float) -> None:
    if not torch_onednn._offered(dtype):
        pytest.skip("this CPU has no such oneDNN")
    torch.manual_seed(0)
    model: Any = torch.nn.Sequential(torch.nn.Linear(256, 128), torch.nn.GELU(), torch.nn.Linear(128, 256, bias=False)).to(dtype).eval()
    weights = [model[place].weight.detach().clone() for place in (0, 2)]
    for tokens in (1, 7, 300):
        states = torch.randn(2, tokens, 256).to(dtype)
        with torch.inference_mode():
            expected = model(states)
            torch_onednn.adopt(model)
            assert isinstance(model[0], torch_onednn.OneDnnLinear)
            assert (model(states) - expected).abs().max() < tolerance
        torch_onednn.abandon(model)
        assert all(torch.equal(model[place].weight, weight) for place, weight in zip((0, 2), weights, strict=True))


def test_staging_keeps_its_buffers_and_turns() -> None:
    staging = Staging(CPU)
    first, second = staging.begin(), staging.begin()
    assert first is not second
    sent = staging.send(first, {"a": np.arange(6).reshape(2, 3), "b": np.array([7])})
    assert sent["a"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert sent["b"].tolist() == [7]
    held = first.host.data_ptr(), first.device.data_ptr()
    assert staging.begin() is first
    assert staging.send(first, {"a": np.ones((1, SMALLEST), dtype=np.int64)})["a"].sum() == SMALLEST
    assert (first.host.data_ptr(), first.device.data_ptr()) == held
    staging.send(first, {"a": np.ones((1, SMALLEST + 1), dtype=np.int64)})
    assert first.host.numel() == 2 * SMALLEST
    answer = staging.fetch(second, torch.tensor([[1.0, 2.0]]))
    assert answer.tolist() == [[1.0, 2.0]]


def test_batches_in_flight_each_get_their_own_answer(reranker: Path) -> None:
    """The path of a GPU, with ordinary memory: the second batch is launched before the first is waited for."""
    model: Any = load(reranker, ModelType.RERANK, tune=True)
    batches = [model.tokenize([WorkItem("where", text) for text in texts]) for texts in (TEXTS[:3], TEXTS[3:], TEXTS[1:4])]
    expected = [model.forward(batch) for batch in batches]
    pending = [model.launch(batch) for batch in batches[:2]]
    assert all(np.array_equal(wait.result(), answer) for wait, answer in zip(pending, expected, strict=False))

    def fails(*_: Any) -> Any:
        raise MemoryError

    going, compute = model.launch(batches[0]), model.compute
    model.compute = fails
    with pytest.raises(OutOfMemory):
        model.launch(batches[1])
    model.compute = compute
    assert np.array_equal(going.result(), expected[0])
    assert np.array_equal(model.forward(batches[2]), expected[2])


def test_the_probe_has_padding_and_neighbours_of_one_length() -> None:
    assert len(set(torch_tuning.PROBE_LENGTHS)) < len(torch_tuning.PROBE_LENGTHS)
    assert len(set(torch_tuning.PROBE_LENGTHS)) > 1


@pytest.mark.parametrize("tune", [False, True])
def test_a_closed_model_keeps_none_of_its_weights(reranker: Path, tune: bool) -> None:
    model: Any = load(reranker, ModelType.RERANK, tune=tune)
    scores(model, pairs=True)
    weights = [weakref.ref(weight) for weight in model.transformer.parameters()]
    gc.disable()
    try:
        model.close()
    finally:
        gc.enable()
    assert weights
    assert not [weight for weight in weights if weight() is not None]
