"""Secrets do not show themselves, and what people paste is understood or refused clearly."""

from __future__ import annotations

import copy
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ownkey.domain.credential import Secret, clean_label, clean_secret, mask_secret
from ownkey.errors import RequestError

KEY = "sk-proj-0123456789abcdefghij"


@pytest.mark.parametrize(
    "pasted",
    [
        KEY,
        f"  {KEY}\n",
        f'"{KEY}"',
        f"'{KEY}'",
        f"`{KEY}`",
        f'\t" {KEY} "\r\n',
        f"Bearer {KEY}",
        f'"Authorization: Bearer {KEY}"',
    ],
)
def test_what_surrounds_a_pasted_key_is_dropped(pasted: str) -> None:
    assert clean_secret(pasted).reveal() == KEY


@pytest.mark.parametrize(
    "pasted",
    [
        "",
        "   ",
        '""',
        "abc-12",
        "sk-a b c d e f g",
        "sk-abc\ndef-ghi",
        "sk-abc\x00defghi",
        "schlüssel-für-alles",
        "x" * 513,
    ],
)
def test_a_malformed_key_is_refused_without_being_repeated(pasted: str) -> None:
    with pytest.raises(RequestError) as caught:
        clean_secret(pasted)
    assert caught.value.code == "invalid_secret"
    assert caught.value.param == "secret"
    if len(pasted.strip()) > 2:
        assert pasted.strip() not in caught.value.message


@given(st.text(max_size=600))
def test_nothing_gets_through_that_could_split_a_header(pasted: str) -> None:
    try:
        value = clean_secret(pasted).reveal()
    except RequestError:
        return
    assert 8 <= len(value) <= 512 and all(0x21 <= ord(character) <= 0x7E for character in value)


def test_a_secret_does_not_print_pickle_copy_or_hash() -> None:
    secret = Secret(KEY)
    for shown in (
        repr(secret),
        str(secret),
        f"{secret}",
        f"{secret!r:>40}",
        repr([secret]),
        repr({1: secret}),
    ):
        assert KEY not in shown and KEY[-4:] not in shown
    for action in (pickle.dumps, copy.copy, copy.deepcopy, hash):
        with pytest.raises(TypeError):
            action(secret)
    assert not hasattr(secret, "__dict__")


def test_secrets_compare_by_value() -> None:
    assert Secret(KEY) == Secret(KEY)
    assert Secret(KEY) != Secret(KEY + "x")
    assert Secret(KEY) != KEY


def test_a_secret_is_scrubbed_from_what_a_provider_says() -> None:
    assert Secret(KEY).scrub(f"Incorrect API key provided: {KEY}.") == "Incorrect API key provided: [key]."


@given(st.text(alphabet=st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=8, max_size=200))
def test_the_hint_gives_away_little(value: str) -> None:
    hint = mask_secret(Secret(value))
    shown = hint.replace("…", "")
    assert len(shown) <= min(10, len(value) // 2 + 2)
    assert value not in hint


def test_the_hint_of_a_common_key() -> None:
    assert mask_secret(Secret(KEY)) == "sk-…ghij"
    assert mask_secret(Secret("gsk_0123456789abcdefghij")) == "gsk_…ghij"


def test_labels_are_tidied_and_bounded() -> None:
    assert clean_label("  my \n work\tkey ") == "my work key"
    assert clean_label("   ") == "default"
    for wrong in ("a\x00b", "x" * 81):
        with pytest.raises(RequestError):
            clean_label(wrong)
