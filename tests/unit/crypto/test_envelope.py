"""A sealed secret opens with its data key in its own place, and nowhere else."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable
from itertools import pairwise

import msgspec
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from ownkey.crypto.envelope import (
    Binding,
    SecretOpener,
    fingerprint,
    open_secret,
    read_data_key_version,
    seal_secret,
)
from ownkey.domain.credential import Secret
from ownkey.errors import CredentialUnreadable, OwnkeyError, RequestError

DATA_KEY = bytes(range(7, 39))
SECRET = Secret("sk-canary-0123456789-canary")
BINDING = Binding(deployment_id="prod", user_id="alice", provider="openai", record_id="r1", generation=3)

texts = st.text(st.characters(codec="utf-8"), max_size=12)
bindings = st.builds(
    Binding,
    deployment_id=texts,
    user_id=texts,
    provider=texts,
    record_id=texts,
    generation=st.integers(0, 2**64 - 1),
    purpose=texts,
)
keys = st.binary(min_size=32, max_size=32)
secrets = st.text(st.characters(codec="utf-8"), min_size=1, max_size=40).map(Secret)


def assert_unreadable(open_it: Callable[[], object], *canaries: str) -> None:
    """The call fails closed, and nothing that hangs on the exception holds a canary."""
    with pytest.raises(CredentialUnreadable) as caught:
        open_it()
    error = caught.value
    assert error.__cause__ is None
    assert error.__context__ is None
    shown = "".join(traceback.format_exception(error)) + repr(vars(error)) + repr(error.args)
    for canary in canaries:
        assert canary not in shown


@given(keys, secrets, bindings, st.integers(1, 2**32 - 1))
def test_what_was_sealed_opens_in_its_place(data_key: bytes, secret: Secret, binding: Binding, version: int) -> None:
    sealed = seal_secret(data_key, secret, binding, data_key_version=version)
    assert open_secret(data_key, sealed, binding) == secret
    assert read_data_key_version(sealed) == version
    assert len(sealed) == 100 + len(secret.reveal().encode())


def test_the_same_secret_is_sealed_differently_every_time() -> None:
    boxes = {seal_secret(DATA_KEY, SECRET, BINDING) for _ in range(50)}
    assert len({box[8:40] for box in boxes}) == len({box[40:52] for box in boxes}) == 50


@given(bindings, bindings, keys, keys, st.data())
@settings(max_examples=300)
def test_any_field_from_another_record_fails_closed(
    binding: Binding, other: Binding, data_key: bytes, other_key: bytes, data: st.DataObject
) -> None:
    fields = data.draw(st.sets(st.sampled_from(Binding.__struct_fields__), min_size=1))
    moved = msgspec.structs.replace(binding, **{field: getattr(other, field) for field in fields})
    assume(moved != binding)
    sealed = seal_secret(data_key, SECRET, binding)
    assert_unreadable(lambda: open_secret(data_key, sealed, moved), SECRET.reveal())
    assume(other_key != data_key)
    assert_unreadable(lambda: open_secret(other_key, sealed, binding), SECRET.reveal())


@given(bindings, st.data())
def test_a_character_moved_between_two_fields_fails_closed(binding: Binding, data: st.DataObject) -> None:
    names = [name for name in Binding.__struct_fields__ if name != "generation"]
    giver, taker = data.draw(st.permutations(names))[:2]
    assume(getattr(binding, giver))
    changes = {
        giver: getattr(binding, giver)[:-1],
        taker: getattr(binding, giver)[-1] + getattr(binding, taker),
    }
    sealed = seal_secret(DATA_KEY, SECRET, binding)
    assert_unreadable(lambda: open_secret(DATA_KEY, sealed, msgspec.structs.replace(binding, **changes)))


def test_every_flipped_bit_fails_closed() -> None:
    sealed = seal_secret(DATA_KEY, SECRET, BINDING)
    for position in range(len(sealed) * 8):
        broken = bytearray(sealed)
        broken[position // 8] ^= 1 << position % 8
        with pytest.raises(CredentialUnreadable):
            open_secret(DATA_KEY, bytes(broken), BINDING)


@given(st.data())
def test_parts_of_two_sealed_secrets_do_not_mix(data: st.DataObject) -> None:
    first = seal_secret(DATA_KEY, SECRET, BINDING)
    second = seal_secret(DATA_KEY, Secret("sk-other-0123456789-canary!"), BINDING)
    ends = [0, 8, 40, 52, 84, len(first) - 16, len(first)]
    parts = list(pairwise(ends))
    from_second = data.draw(st.sets(st.sampled_from(parts[1:]), min_size=1, max_size=len(parts) - 2))
    mixed = b"".join((second if part in from_second else first)[slice(*part)] for part in parts)
    assert_unreadable(lambda: open_secret(DATA_KEY, mixed, BINDING))


@given(st.binary(max_size=300))
def test_bytes_that_were_never_sealed_fail_closed(junk: bytes) -> None:
    assert_unreadable(lambda: open_secret(DATA_KEY, junk, BINDING))
    assert_unreadable(lambda: open_secret(DATA_KEY, b"OK\x01\x01" + junk, BINDING))


def test_every_cut_and_every_extension_fails_closed() -> None:
    sealed = seal_secret(DATA_KEY, SECRET, BINDING)
    for size in range(len(sealed)):
        with pytest.raises(CredentialUnreadable):
            open_secret(DATA_KEY, sealed[:size], BINDING)
    with pytest.raises(CredentialUnreadable):
        open_secret(DATA_KEY, sealed + b"\0", BINDING)


@pytest.mark.parametrize("stored", [b"", SECRET.reveal().encode(), b"OK", b"\0" * 200])
def test_plaintext_in_the_column_is_refused_and_not_repeated(stored: bytes) -> None:
    assert_unreadable(lambda: open_secret(DATA_KEY, stored, BINDING), SECRET.reveal())
    assert_unreadable(lambda: read_data_key_version(stored), SECRET.reveal())


def test_unknown_version_and_algorithm_are_refused() -> None:
    sealed = seal_secret(DATA_KEY, SECRET, BINDING)
    for place in (2, 3):
        for value in [0, *range(2, 256)]:
            with pytest.raises(CredentialUnreadable):
                open_secret(DATA_KEY, sealed[:place] + bytes([value]) + sealed[place + 1 :], BINDING)


def test_a_binding_that_cannot_be_packed_is_unreadable_when_opening() -> None:
    sealed = seal_secret(DATA_KEY, SECRET, BINDING)
    for generation in (-1, 2**64):
        wrong = msgspec.structs.replace(BINDING, generation=generation)
        assert_unreadable(lambda wrong=wrong: open_secret(DATA_KEY, sealed, wrong))
        with pytest.raises(ValueError, match="bound number"):
            seal_secret(DATA_KEY, SECRET, wrong)


@pytest.mark.parametrize("data_key", [b"", DATA_KEY[:16], DATA_KEY + b"\0"])
def test_a_data_key_of_the_wrong_length_is_refused(data_key: bytes) -> None:
    sealed = seal_secret(DATA_KEY, SECRET, BINDING)
    assert_unreadable(lambda: open_secret(data_key, sealed, BINDING))
    with pytest.raises(ValueError, match="32 bytes"):
        seal_secret(data_key, SECRET, BINDING)
    with pytest.raises(ValueError, match="32 bytes"):
        fingerprint(data_key, "alice", "openai", SECRET)


@pytest.mark.parametrize("value", ["", "sk-canary\ud800"])
def test_an_unsealable_secret_is_refused_without_being_shown(value: str) -> None:
    with pytest.raises(RequestError) as caught:
        seal_secret(DATA_KEY, Secret(value), BINDING)
    assert caught.value.code == "invalid_secret"
    # A UnicodeEncodeError would carry the whole key in its attributes.
    assert caught.value.__context__ is None
    assert "sk-canary" not in repr(vars(caught.value)) + str(caught.value)


def test_no_failure_names_its_cause() -> None:
    """What differs between causes would tell a forger how far they came."""
    sealed = seal_secret(DATA_KEY, SECRET, BINDING)
    moved = msgspec.structs.replace(BINDING, user_id="bob")
    causes: list[tuple[bytes, bytes, Binding]] = [
        (DATA_KEY, b"", BINDING),
        (DATA_KEY, sealed[:-1], BINDING),
        (DATA_KEY, sealed, moved),
        (DATA_KEY[::-1], sealed, BINDING),
    ]
    messages = set()
    for data_key, stored, binding in causes:
        with pytest.raises(OwnkeyError) as caught:
            open_secret(data_key, stored, binding)
        messages.add((caught.value.message, caught.value.code, caught.value.status))
    assert len(messages) == 1


@given(keys, secrets, secrets)
def test_fingerprints_are_equal_for_equal_secrets_only(data_key: bytes, one: Secret, other: Secret) -> None:
    first = fingerprint(data_key, "alice", "openai", one)
    assert len(first) == 32
    assert first == fingerprint(data_key, "alice", "openai", Secret(one.reveal()))
    assert (first == fingerprint(data_key, "alice", "openai", other)) == (one == other)


def test_fingerprints_say_nothing_across_users_providers_and_keys() -> None:
    marks = {
        fingerprint(data_key, user, provider, SECRET)
        for data_key in (DATA_KEY, DATA_KEY[::-1])
        for user, provider in (("alice", "openai"), ("bob", "openai"), ("alice", "groq"), ("aliceo", "penai"))
    }
    assert len(marks) == 8


def test_what_is_kept_to_open_again_opens_nothing_else() -> None:
    """The same ciphertext with another key, user, row or generation is not the same question."""
    data_key, binding = os.urandom(32), BINDING
    sealed = seal_secret(data_key, Secret("sk-kept-00000001"), binding)
    opener = SecretOpener()
    assert opener.open(data_key, sealed, binding).reveal() == "sk-kept-00000001"
    for other in (
        replace(binding, record_id="another"),
        replace(binding, user_id="another"),
        replace(binding, generation=binding.generation + 1),
        replace(binding, provider="another"),
    ):
        with pytest.raises(CredentialUnreadable):
            opener.open(data_key, sealed, other)
    with pytest.raises(CredentialUnreadable):
        opener.open(os.urandom(32), sealed, binding)
    assert opener.open(data_key, sealed, binding).reveal() == "sk-kept-00000001"


def test_no_more_than_so_many_users_are_kept_and_each_can_be_forgotten() -> None:
    opener, data_key = SecretOpener(users=2), os.urandom(32)
    for user in ("ada", "bea", "cyd"):
        binding = replace(BINDING, user_id=user)
        opener.open(data_key, seal_secret(data_key, Secret("sk-kept-00000001"), binding), binding)
    assert list(opener._kept) == ["bea", "cyd"]
    opener.forget("cyd")
    opener.forget("nobody")
    assert list(opener._kept) == ["bea"]
