"""Logins, passwords and origins: the rules that need no database."""

from __future__ import annotations

import asyncio

import pytest

from ownkey.crypto.password_hash import hash_password, needs_rehash, verify_password
from ownkey.domain.account import check_password, clean_login
from ownkey.domain.origin import is_loopback_host, parse_origin, split_base_url
from ownkey.domain.user import check_user_id
from ownkey.errors import RequestError, TooManyAttempts
from ownkey.services.password_work import PasswordWork


@pytest.mark.parametrize(
    ("typed", "stored"),
    [
        ("Ann", "ann"),
        ("  ann@Example.COM ", "ann@example.com"),
        ("\uff21\uff4e\uff4e", "ann"),
        ("ÅSA", "åsa"),
        ("A\u030asa", "åsa"),
    ],
)
def test_logins_that_look_the_same_are_the_same(typed: str, stored: str) -> None:
    assert clean_login(typed) == stored


@pytest.mark.parametrize(
    "wrong", ["", "   ", "a\0b", "a\nb", "x" * 256, "\ud800", "ann\u200b", "a\u00adnn", "\u202enna", "\ufeffann"]
)
def test_what_is_no_login(wrong: str) -> None:
    with pytest.raises(RequestError):
        clean_login(wrong)


@pytest.mark.parametrize("wrong", ["", "a\0b", "x" * 256, "\ud800", "\u202enimda", "a\u2066b", "a\u2069"])
def test_what_is_no_user_id(wrong: str) -> None:
    with pytest.raises(RequestError):
        check_user_id(wrong)


@pytest.mark.parametrize("fine", ["Ann", "auth0|5f7c", "a/b", "\u05d0\u05e0\u05d4", "👩\u200d💻", "a b"])
def test_ids_are_the_hosts(fine: str) -> None:
    assert check_user_id(fine) == fine


@pytest.mark.parametrize(
    "fine", ["0123456789x", "correct horse battery", "x1y" * 85, "ÄÖÜäöüßéèê", "😀😁😂🤣😃😄😅😆😉😊"]
)
def test_length_is_what_counts(fine: str) -> None:
    assert check_password(fine, login="ann")


def test_passwords_agree_over_keyboards() -> None:
    assert check_password("cafe\u0301 au lait", login="ann") == check_password("caf\u00e9 au lait", login="ann")


@pytest.mark.parametrize("wrong", ["short", "x" * 257, "ANN@example.com", "a bell\x07 rings"])
def test_refused_passwords(wrong: str) -> None:
    with pytest.raises(RequestError) as refused:
        check_password(wrong, login="ann@example.com")
    assert refused.value.code == "password_refused"
    assert wrong not in refused.value.message


def test_a_hash_fits_only_its_password() -> None:
    stored = hash_password("a walk in the evening")
    assert stored.startswith("$argon2id$v=19$m=47104,t=2,p=1$")
    assert verify_password(stored, "a walk in the evening")
    assert not verify_password(stored, "a walk in the morning")
    assert not verify_password(None, "a walk in the evening")
    assert not verify_password("not a hash", "a walk in the evening")
    assert not needs_rehash(stored)


async def test_only_so_many_wait_for_a_hash() -> None:
    work = PasswordWork(workers=1, waiting_limit=3)
    results = await asyncio.gather(*(work.hash("a walk in the evening") for _ in range(6)), return_exceptions=True)
    assert sum(isinstance(one, TooManyAttempts) for one in results) == 3
    assert sum(isinstance(one, str) for one in results) == 3
    assert await work.verify(None, "x") is False
    work.close()


@pytest.mark.parametrize(
    ("text", "origin"),
    [
        ("https://app.example.com", "https://app.example.com"),
        ("https://APP.example.com:443/", "https://app.example.com"),
        ("http://localhost:5173", "http://localhost:5173"),
        ("http://[::1]:80", "http://[::1]"),
        ("https://app.example.com/path", None),
        ("app.example.com", None),
        ("null", None),
        ("*", None),
        ("https://", None),
        ("https://a b", None),
        ("https://a:99999", None),
        ("https://user@a", None),
        ("https://a?x", None),
        ("https://a#x", None),
        (" https://a", None),
        ("javascript://a", None),
    ],
)
def test_origins(text: str, origin: str | None) -> None:
    assert parse_origin(text) == origin


def test_base_urls_and_loopback() -> None:
    assert split_base_url("https://a.example/keys/") == ("https://a.example", "/keys")
    hosts = {"localhost": True, "localhost:80": True, "127.0.0.1:8484": True, "[::1]:8484": True, "[::1]": True}
    hosts |= {"a.localhost": True, "localhost.evil.example": False, "10.0.0.1": False, "127.evil.example": False}
    assert {host: is_loopback_host(host) for host in hosts} == hosts
