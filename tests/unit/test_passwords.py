"""Which passwords somebody may choose, beyond their form."""

from __future__ import annotations

import pytest
from zxcvbn.frequency_lists import FREQUENCY_LISTS

from ownkey.crypto.password_strength import is_easily_guessed
from ownkey.domain.account import PASSWORD_MAX_LENGTH, PASSWORD_MIN_LENGTH
from ownkey.errors import RequestError
from ownkey.services.password_work import PasswordWork


@pytest.mark.parametrize(
    "weak",
    [
        "password123", "P@ssw0rd123", "qwertyuiop", "aaaaaaaaaaaaaa", "abababababababab", "1234567890", "changeme123",
        "November2026", "summer2026!", "ownkeyownkey", "ann@example.com1", "qwertyuiop" * 25,
    ],
)  # fmt: skip
async def test_what_is_easily_guessed_is_refused(weak: str) -> None:
    with pytest.raises(RequestError) as refused:
        await PasswordWork().hash_new(weak, login="ann@example.com")
    assert refused.value.code == "password_refused"
    assert weak not in refused.value.message


@pytest.mark.parametrize(
    "strong",
    [
        "a walk in the evening",
        "xkq9fvw2lmpz",
        "Donaudampfschiff im Regen",
        "皇帝の新しい鍵は青い庭に",
        "🐢" * 3 + "lwqz 8 trams",
    ],
)
async def test_what_is_long_and_its_own_is_taken(strong: str) -> None:
    assert (await PasswordWork().hash_new(strong, login="ann@example.com")).startswith("$argon2id$")


def test_the_three_thousand_commonest_passwords_are_refused() -> None:
    """The list holds 30,000; those of them that are too short are refused for that."""
    known = [word for word in FREQUENCY_LISTS["passwords"] if len(word) >= PASSWORD_MIN_LENGTH]
    assert len(FREQUENCY_LISTS["passwords"]) == 30_000
    assert len(known) > 1000
    assert [word for word in known if not is_easily_guessed(word, login="ann")] == []


def test_the_longest_password_is_looked_at_in_bounded_time() -> None:
    """By what is looked at and not by the clock: the rest changes nothing."""
    weak_beginning = "qwertyuiop" * 8
    longest = (weak_beginning + "v9#kq2!z" * 40)[:PASSWORD_MAX_LENGTH]
    assert is_easily_guessed(longest, login="ann")
