"""Inference bodies ignore what they do not know, management bodies refuse it, replies survive additions."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from xinfer.schemas import cluster, embeddings, errors, launch, models, rerank, tei


@pytest.mark.parametrize(
    ("model", "body"),
    [
        (rerank.RerankRequest, {"model": "m", "query": "q", "documents": ["a"]}),
        (embeddings.EmbeddingsRequest, {"model": "m", "input": "a"}),
        (tei.TeiRerankRequest, {"query": "q", "texts": ["a"]}),
        (tei.TeiEmbedRequest, {"inputs": "a"}),
        (cluster.TokenRequest, {}),
    ],
)
def test_inference_bodies_ignore_unknown_fields(model: type[BaseModel], body: dict[str, Any]) -> None:
    assert "surprise" not in model.model_validate({**body, "surprise": 1}).model_dump()


@pytest.mark.parametrize(
    ("model", "body"),
    [
        (launch.LaunchRequest, {"model_name": "m"}),
        (launch.Placement, {}),
        (models.AddReplicasRequest, {"replica": 1}),
        (models.RegistrationRequest, {"model": "{}"}),
        (launch.ReplicaChoice, {"devices": [{"worker_ip": "a"}]}),
    ],
)
def test_management_bodies_refuse_unknown_fields(model: type[BaseModel], body: dict[str, Any]) -> None:
    model.model_validate(body)
    with pytest.raises(ValidationError, match="surprise"):
        model.model_validate({**body, "surprise": 1})


@pytest.mark.parametrize("said", ["true", "True", True, 1])
def test_booleans_may_be_words(said: Any) -> None:
    body = rerank.RerankRequest(model="m", query="q", documents=["a"], return_documents=said)
    assert body.return_documents is True


@pytest.mark.parametrize("said", ["3", 1.0, True, 0, -1, [1]])
def test_a_count_is_a_whole_number_of_at_least_one(said: Any) -> None:
    with pytest.raises(ValidationError):
        rerank.RerankRequest(model="m", query="q", documents=["a"], top_n=said)


def test_replies_ignore_what_a_newer_server_adds() -> None:
    body = errors.ErrorBody.model_validate({"detail": "x", "error": {"message": "x", "type": "t", "code": "c", "more": 1}, "more": 1})
    assert (body.error.code, body.error.details) == ("c", {})


def test_one_replica_config_or_several() -> None:
    one = models.AddReplicasRequest.model_validate({"replica_config": {"devices": [{"worker_ip": "a", "gpu_idx": 3}]}})
    several = models.AddReplicasRequest.model_validate({"replica_config": [{"devices": [{"worker_ip": "a", "gpu_idx": 3}]}]})
    assert one.placement() == several.placement()
    assert type(one.placement()) is launch.Placement
    assert models.AddReplicasRequest(replica=2).placement().replica_config is None


def test_what_came_at_top_level_survives_the_way_to_the_supervisor() -> None:
    request = launch.LaunchRequest(model_name="m", options={"threads": 4})
    request._top_level = frozenset({"threads"})
    assert pickle.loads(pickle.dumps(request)).top_level == frozenset({"threads"})


def test_the_work_ip_keeps_its_odd_spelling() -> None:
    entry = cluster.WorkerEntry.model_validate({"work-ip": "a:1", "models": ["m"]})
    assert entry.model_dump(by_alias=True)["work-ip"] == "a:1"


@pytest.mark.parametrize("said", [True, [False], [0, True]])
def test_true_is_no_device(said: Any) -> None:
    """Pydantic takes it for 1, and the replica would land where nobody wanted it."""
    with pytest.raises(ValidationError, match="whole number"):
        launch.Placement(gpu_idx=said)
    with pytest.raises(ValidationError, match="whole number"):
        launch.DeviceChoice(worker_ip="a", gpu_idx=said)


@pytest.mark.parametrize("said", [0, [0, 2], "0,2"])
def test_devices_in_every_spelling(said: Any) -> None:
    assert launch.Placement(gpu_idx=said).gpu_idx == said
