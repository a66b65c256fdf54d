"""Tokenising: truncation, long texts cut first, padding."""

from __future__ import annotations

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from xinfer.engines.base import Encoded
from xinfer.engines.tokens import TextTokenizer, pad
from xinfer.errors import InvalidItem

WORDS = ("[UNK]", "[CLS]", "[SEP]", "a", "b", "c")


def make(max_tokens: int = 16, *, side: str = "right", special: bool = True) -> TextTokenizer:
    backend = Tokenizer(models.WordLevel({word: index for index, word in enumerate(WORDS)}, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    if special:
        backend.post_processor = processors.TemplateProcessing(
            single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
        )
    backend.enable_padding(length=99)
    return TextTokenizer(backend, max_tokens, side, type_ids=True)


def ids(encoded: Encoded) -> list[int]:
    return encoded.features["input_ids"].tolist()


def test_pairs_carry_types_and_no_padding() -> None:
    (encoded,) = make().encode([("a b", "c")])
    assert ids(encoded) == [1, 3, 4, 2, 5, 2]
    assert encoded.features["token_type_ids"].tolist() == [0, 0, 0, 0, 1, 1]
    assert (encoded.tokens, encoded.truncated) == (6, False)
    assert encoded.features["input_ids"].dtype == np.int64


def test_exactly_full_is_not_truncated_and_one_more_is() -> None:
    full, over = make().encode(["a " * 14, "a " * 15])
    assert (full.tokens, full.truncated) == (16, False)
    assert (over.tokens, over.truncated) == (16, True)


def test_the_longer_part_of_a_pair_is_cut() -> None:
    (encoded,) = make().encode([("a a", "b " * 50)])
    assert ids(encoded) == [1, 3, 3, 2, *[4] * 11, 2]


@pytest.mark.parametrize("text", ["a " * 100_000, "a" + " " * 100_000 + "b " * 40, "a" * 100_000 + " b", " " * 50_000 + "c"])
@pytest.mark.parametrize("pair", [False, True])
def test_a_text_cut_beforehand_gives_what_the_whole_text_gives(text: str, pair: bool) -> None:
    tokenizer = make()
    whole = Tokenizer.from_str(tokenizer._backend.to_str())
    whole.enable_truncation(16)
    expected = whole.encode("b", text) if pair else whole.encode(text)
    (encoded,) = tokenizer.encode([("b", text) if pair else text])
    assert ids(encoded) == expected.ids
    assert encoded.truncated == bool(expected.overflowing)


def test_a_tokeniser_that_keeps_the_end_is_never_cut_beforehand() -> None:
    (encoded,) = make(side="left").encode(["a " * 10_000 + "b c"])
    assert ids(encoded) == [1, *[3] * 12, 4, 5, 2]


def test_pieces_of_templates_get_no_special_tokens_and_are_never_truncated() -> None:
    assert make().ids("a " * 100) == [3] * 100


@pytest.mark.parametrize("text", ["\ud800", "fine \udfff"])
def test_lone_surrogates_are_refused(text: str) -> None:
    with pytest.raises(InvalidItem, match=r"Unicode"):
        make().encode([text])


def test_a_text_of_no_tokens_is_refused_where_the_model_adds_none() -> None:
    assert make().encode([""])[0].tokens == 2
    with pytest.raises(InvalidItem, match=r"empty"):
        make(special=False).encode([""])


def test_given_ids_are_checked_and_cut() -> None:
    tokenizer = make()
    assert ids(tokenizer.given((3, 4, 5))) == [3, 4, 5]
    assert tokenizer.given((3,) * 17).truncated
    for wrong in ((), (6,), (-1,)):
        with pytest.raises(InvalidItem):
            tokenizer.given(wrong)


def test_padding_is_on_the_right_and_masked() -> None:
    batch = make().encode(["a", "a b c"])
    arrays = pad(batch, 9, ("input_ids", "attention_mask", "token_type_ids", "position_ids"))
    assert arrays["input_ids"].tolist() == [[1, 3, 2, 9, 9], [1, 3, 4, 5, 2]]
    assert arrays["attention_mask"].tolist() == [[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]]
    assert arrays["token_type_ids"].sum() == 0
    assert arrays["position_ids"].tolist() == [[0, 1, 2, 3, 4]] * 2
