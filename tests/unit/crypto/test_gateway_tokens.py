"""Gateway tokens: long, recognisable, and a mistyped one is known without a look-up."""

from __future__ import annotations

import hashlib
import re
import string

from hypothesis import given
from hypothesis import strategies as st

from ownkey.crypto.tokens import TOKEN_LENGTH, hash_token, mint_token, token_hint

ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase


def test_a_minted_token_has_its_form_and_its_hash() -> None:
    token, digest = mint_token()
    assert re.fullmatch(r"ok-[0-9A-Za-z]{49}", token)
    assert len(token) == TOKEN_LENGTH
    assert digest == hash_token(token) == hashlib.sha256(token.encode()).digest()


def test_minted_tokens_differ_in_every_place_of_their_randomness() -> None:
    tokens = [mint_token()[0] for _ in range(500)]
    assert len(set(tokens)) == 500
    # The first place holds two bits less than a digit; every other one uses nearly the whole alphabet.
    assert all(len({token[place] for token in tokens}) > 40 for place in range(4, TOKEN_LENGTH - 6))


def test_every_single_mistyped_character_is_noticed() -> None:
    token, _ = mint_token()
    for place in range(TOKEN_LENGTH):
        for character in ALPHABET + "-_ ":
            typed = token[:place] + character + token[place + 1 :]
            assert typed == token or hash_token(typed) is None


def test_swapped_neighbours_are_noticed() -> None:
    token, _ = mint_token()
    for place in range(3, TOKEN_LENGTH - 1):
        typed = token[:place] + token[place + 1] + token[place] + token[place + 2 :]
        assert typed == token or hash_token(typed) is None


@given(st.text(max_size=80))
def test_no_other_text_is_a_token(text: str) -> None:
    assert hash_token(text) is None


def test_surroundings_are_not_ignored() -> None:
    token, _ = mint_token()
    for typed in (token + "\n", " " + token, token[:-1], token + "0", token.lower(), "sk-" + token[3:], ""):
        assert hash_token(typed) is None


def test_the_hint_shows_nothing_of_the_randomness() -> None:
    token, _ = mint_token()
    assert token_hint(token) == "ok-…" + token[-4:]
