"""What a replica counts, against what its shards say of themselves."""

from __future__ import annotations

import asyncio

import pytest

from tests.unit.serving.fakes import FakeEngine, FakeModel, context, item
from tests.unit.serving.test_runner import run, runner, shard_of
from xinfer.batching.work import BatchTrace
from xinfer.serving.server import ModelServer
from xinfer.serving.shard import Shard, result_of
from xinfer.serving.tally import Tally


def test_each_batch_is_in_every_histogram_of_batches() -> None:
    tally = Tally()
    for batch in (BatchTrace(4, 100, 400, 200, 0.02), BatchTrace(1, 70, 70, 70, 0.002)):
        tally.ran(batch)
    found = tally.histograms()
    assert {name: found[name].total for name in ("batch_tokens", "batch_items", "padding_ratio")} == {
        "batch_tokens": 470,
        "batch_items": 5,
        "padding_ratio": 3.0,
    }
    assert found["compute_seconds"].total == pytest.approx(0.022)
    assert {found[name].count for name in ("batch_tokens", "batch_items", "padding_ratio", "compute_seconds")} == {2}
    assert dict(found["padding_ratio"].cumulative())["1.0"] == 1


def test_a_pass_that_ran_out_of_memory_is_no_batch_and_its_time_is_the_shard_s() -> None:
    model = FakeModel(most_tokens=20)
    engine = runner(model, 64)
    shard = shard_of(model, ["a b c d e f g h i j"] * 4)
    run(engine, shard)
    assert shard.oom_splits == engine.budget.splits > 0
    assert engine.tally.histograms()["compute_seconds"].count == engine.tally.batches == len(shard.batches)
    assert shard.compute_seconds == pytest.approx(engine.tally.busy_seconds)
    assert shard.compute_seconds > sum(batch.seconds for batch in shard.batches)
    assert result_of(shard, model).oom_splits == shard.oom_splits


def test_wait_is_the_stay_less_what_was_done() -> None:
    """For the tokeniser, for the compute thread and between two batches."""
    shard = Shard([item("a")], lambda outcome: None, 10.0)
    shard.tokenized([None], {}, 0.25, 11.0)
    assert shard.wait_seconds == pytest.approx(0.75)
    shard.computed_at, shard.compute_seconds = 15.0, 2.0
    assert shard.wait_seconds == pytest.approx(2.75)


async def test_a_server_s_figures_are_the_sums_of_its_answers() -> None:
    server = await ModelServer.load(FakeEngine(FakeModel()), context())
    try:
        shards = [tuple(item("word " * n) for n in (1, 5, 9, 30)) for _ in range(6)]
        results = await asyncio.gather(*(server.run(each) for each in shards))
        stats = server.stats()
    finally:
        await server.close()
    found = stats.histograms
    assert found["wait_seconds"].count == found["tokenize_seconds"].count == len(shards)
    assert found["wait_seconds"].total == pytest.approx(sum(result.wait_seconds for result in results))
    assert found["tokenize_seconds"].total == pytest.approx(sum(result.tokenize_seconds for result in results))
    batches = {id(batch): batch for result in results for batch in result.batches}.values()  # merged ones are in several answers
    assert (found["batch_tokens"].count, found["batch_tokens"].total) == (stats.batches, stats.padded_tokens)
    assert (found["batch_items"].total, stats.tokens) == (24, sum(batch.real_tokens for batch in batches))
    assert found["compute_seconds"].total == pytest.approx(stats.busy_seconds)
