"""Bodies are a pure function of (seed, number); arrivals of (rate, seed)."""

from __future__ import annotations

import itertools

import orjson
import pytest

from xinfer.bench.load import Kind, Load, arrivals, parse_sizes, parse_words, request


def test_the_same_seed_and_number_give_the_same_bytes_for_good() -> None:
    load = Load(model="ce", sizes=(2,), words=(3, 5), seed=7)
    assert request(load, 0).body == request(load, 0).body
    # Written down: figures of different days compare only while the bytes stay what they are.
    assert orjson.loads(request(load, 0).body) == {
        "model": "ce",
        "query": "Been responsibility ability way last expression order laboratory population watch think.",
        "documents": ["Will quick make plain.", "Opportunity cold measurement help."],
    }


def test_other_numbers_and_seeds_give_other_texts() -> None:
    first = Load(model="ce")
    assert len({request(load, number).body for load in (first, Load(model="ce", seed=8)) for number in range(3)}) == 6


def test_sizes_go_in_turn_and_words_stay_in_their_range() -> None:
    load = Load(model="ce", sizes=(60, 1), words=(20, 30))
    made = [request(load, number) for number in range(4)]
    assert [each.size for each in made] == [60, 1, 60, 1]
    for each in made:
        documents = orjson.loads(each.body)["documents"]
        assert len(documents) == each.size
        assert all(20 <= len(document.split()) <= 30 for document in documents)


def test_mixed_asks_both_models_in_turn() -> None:
    load = Load(Kind.MIXED, model="ce", embedding_model="emb", sizes=(1,))
    first, second = request(load, 0), request(load, 1)
    assert (first.kind, second.kind) == (Kind.RERANK, Kind.EMBEDDING)
    assert orjson.loads(second.body)["model"] == "emb"
    assert sorted(orjson.loads(second.body)) == ["input", "model"]


def test_arrivals_ascend_at_their_rate_and_repeat() -> None:
    moments = list(itertools.islice(arrivals(50.0, 3), 5000))
    assert moments == sorted(moments)
    assert moments[-1] / 5000 == pytest.approx(1 / 50, rel=0.05)
    assert moments == list(itertools.islice(arrivals(50.0, 3), 5000))


@pytest.mark.parametrize("text", ["", "0", "60,", "a,1", "-3"])
def test_sizes_that_are_none(text: str) -> None:
    with pytest.raises(ValueError, match="such as 60,1"):
        parse_sizes(text)


@pytest.mark.parametrize("text", ["", "9-3", "0-4", "x", "3-"])
def test_words_that_are_none(text: str) -> None:
    with pytest.raises(ValueError, match="FEWEST-MOST"):
        parse_words(text)


def test_sizes_and_words_as_people_write_them() -> None:
    assert parse_sizes("60, 1") == (60, 1)
    assert (parse_words("20-200"), parse_words("20")) == ((20, 200), (20, 20))
