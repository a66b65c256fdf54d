"""Secrets and proofs: what is kept, what is taken."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xinfer.access import secret

TOKEN = "a cluster token, long enough"


@given(st.binary(min_size=secret.ENTROPY, max_size=secret.ENTROPY))
def test_a_secret_names_its_key_and_keeps_all_its_random_bits(entropy: bytes) -> None:
    key_id, made = secret.make(entropy)
    assert secret.id_of(made) == key_id == entropy[:4].hex()
    other = secret.make(entropy[:-1] + bytes([entropy[-1] ^ 1]))[1]
    assert not secret.same(secret.digest(made), secret.digest(other))
    assert made not in secret.digest(made)


@pytest.mark.parametrize(
    "text", ["", "any", "xk-", "xk-00000000-short", "sk-" + "a" * 48, "xk-0000000g-" + "a" * 43, "xk-00000000-" + "a" * 44]
)
def test_what_is_no_secret_names_no_key(text: str) -> None:
    assert secret.id_of(text) is None


def test_a_proof_is_good_for_some_minutes_and_for_its_token_only() -> None:
    given_at = 1_000_000.0
    made = secret.proof(TOKEN, given_at)
    assert TOKEN not in made
    assert secret.is_proof(made)
    assert secret.proves(made, TOKEN, given_at + secret.PROOF_SECONDS)
    assert secret.proves(made, TOKEN, given_at - secret.PROOF_SECONDS)
    assert not secret.proves(made, TOKEN, given_at + secret.PROOF_SECONDS + 1)
    assert not secret.proves(made, TOKEN, given_at - secret.PROOF_SECONDS - 1)
    assert not secret.proves(made, TOKEN + "x", given_at)
    assert not secret.proves(made.replace("-1000000-", "-1000009-"), TOKEN, given_at), "the time is signed too"
    assert not secret.proves(secret.proof("", given_at), "", given_at), "a server without a token takes no proof"
