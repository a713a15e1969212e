"""Wrapping keys: bound wraps, and the refusal of every key and file that is not safe."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import socket
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ownkey.crypto.envelope import Binding, open_secret, seal_secret
from ownkey.crypto.key_text import generate_key_line
from ownkey.crypto.wrapping import LocalWrappingKeys
from ownkey.domain.credential import Secret
from ownkey.errors import ConfigError, CredentialUnreadable, DataKeyClosed

DATA_KEY = bytes(range(7, 39))


def line(key: bytes, key_id: str = "k1") -> str:
    return f"{key_id}:{base64.b64encode(key).decode()}"


def good_key() -> bytes:
    return base64.b64decode(generate_key_line().partition(":")[2])


def two_keys() -> LocalWrappingKeys:
    return LocalWrappingKeys.parse(f"{line(good_key(), 'new')},{line(good_key(), 'old')}")


texts = st.text(st.characters(codec="utf-8"), max_size=10)


@given(texts, texts, st.integers(1, 2**32 - 1), st.binary(min_size=32, max_size=32))
def test_what_was_wrapped_unwraps(user_id: str, deployment_id: str, version: int, data_key: bytes) -> None:
    keys = two_keys()
    key_id, wrapped = keys.wrap(data_key, user_id=user_id, deployment_id=deployment_id, version=version)
    assert key_id == keys.primary_id == "new"
    assert data_key not in wrapped
    assert keys.unwrap(key_id, wrapped, user_id=user_id, deployment_id=deployment_id, version=version) == data_key


def test_a_wrapped_key_opens_only_for_its_user_deployment_version_and_key() -> None:
    keys = two_keys()
    key_id, wrapped = keys.wrap(DATA_KEY, user_id="alice", deployment_id="prod", version=1)
    for wrong in (
        {"key_id": "old"},
        {"user_id": "bob"},
        {"deployment_id": "staging"},
        {"version": 2},
        {"version": -1},
        {"user_id": "alicep", "deployment_id": "rod"},
        {"user_id": "alice\ud800"},
    ):
        asked = {"key_id": key_id, "wrapped": wrapped, "user_id": "alice", "deployment_id": "prod", "version": 1}
        with pytest.raises(CredentialUnreadable) as caught:
            keys.unwrap(**{**asked, **wrong})  # type: ignore[arg-type]
        assert caught.value.__context__ is None


def test_a_key_that_is_not_held_is_no_verdict_on_what_it_wrapped() -> None:
    keys = two_keys()
    _, wrapped = keys.wrap(DATA_KEY, user_id="alice", deployment_id="prod", version=1)
    with pytest.raises(DataKeyClosed):
        keys.unwrap("unknown", wrapped, user_id="alice", deployment_id="prod", version=1)
    with pytest.raises(DataKeyClosed):
        keys.wrap(DATA_KEY, user_id="alice", deployment_id="prod", version=1, key_id="unknown")


def test_every_flipped_bit_and_every_cut_of_a_wrapped_key_fails_closed() -> None:
    keys = two_keys()
    key_id, wrapped = keys.wrap(DATA_KEY, user_id="alice", deployment_id="prod", version=1)
    broken = [wrapped[:size] for size in range(len(wrapped))] + [wrapped + b"\0", DATA_KEY]
    for position in range(len(wrapped) * 8):
        flipped = bytearray(wrapped)
        flipped[position // 8] ^= 1 << position % 8
        broken.append(bytes(flipped))
    for value in broken:
        with pytest.raises(CredentialUnreadable):
            keys.unwrap(key_id, value, user_id="alice", deployment_id="prod", version=1)


def test_a_wrapped_key_is_no_secret_and_a_secret_is_no_wrapped_key() -> None:
    """One key is given both jobs on purpose: the purposes still do not meet."""
    key = good_key()
    keys = LocalWrappingKeys({"k1": key})
    _, wrapped = keys.wrap(DATA_KEY, user_id="alice", deployment_id="prod", version=1)
    binding = Binding(deployment_id="prod", user_id="alice", provider="k1", record_id="1", generation=1, purpose="dek")
    sealed = seal_secret(key, Secret("s" * 32), binding)
    with pytest.raises(CredentialUnreadable):
        open_secret(key, wrapped, binding)
    for value in (sealed, b"OW" + sealed[2:]):
        with pytest.raises(CredentialUnreadable):
            keys.unwrap("k1", value, user_id="alice", deployment_id="prod", version=1)


def test_a_data_key_of_the_wrong_length_is_neither_wrapped_nor_handed_out() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        two_keys().wrap(b"short", user_id="alice", deployment_id="prod", version=1)


def test_several_keys_keep_their_order_and_all_unwrap() -> None:
    old, new = line(good_key(), "old"), line(good_key(), "new")
    before = LocalWrappingKeys.parse(old)
    key_id, wrapped = before.wrap(DATA_KEY, user_id="alice", deployment_id="prod", version=1)
    after = LocalWrappingKeys.parse(f" # rotated in November\n {new} ,\n\n{old}\n")
    assert after.ids == ("new", "old")
    assert after.primary_id == "new"
    assert after.unwrap(key_id, wrapped, user_id="alice", deployment_id="prod", version=1) == DATA_KEY


def test_the_url_safe_alphabet_is_read_too() -> None:
    key = good_key()[:-2] + b"\xfb\xff"
    standard = LocalWrappingKeys.parse(line(key))
    key_id, wrapped = standard.wrap(DATA_KEY, user_id="a", deployment_id="d", version=1)
    url_safe = LocalWrappingKeys.parse(f"k1:{base64.urlsafe_b64encode(key).decode()}")
    assert url_safe.unwrap(key_id, wrapped, user_id="a", deployment_id="d", version=1) == DATA_KEY


# Fixed bytes that pass every check, so that each case below has exactly one thing wrong with it.
GOOD_BYTES = bytes((index * 37 + index * index * 11) % 256 for index in range(32))
GOOD = base64.b64encode(GOOD_BYTES).decode()
UNSAFE = {
    "nothing": "",
    "blanks": " \n ",
    "only a comment": "# k1",
    "no id": GOOD,
    "empty id": f":{GOOD}",
    "a path as id": f"../k:{GOOD}",
    "an endless id": f"{'k' * 65}:{GOOD}",
    "no key": "k1:",
    "a placeholder": "k1:changeme-changeme",
    "cut": f"k1:{GOOD[:-4]}",
    "too long": line(GOOD_BYTES + b"x"),
    "a stray character": f"k1:{GOOD[:20]}!{GOOD[21:]}",
    "16 bytes": line(GOOD_BYTES[:16]),
    "zeros": line(bytes(32)),
    "one byte repeated": line(b"\xff" * 32),
    "two bytes repeated": line(b"\x13\x37" * 16),
    "a half repeated": line(GOOD_BYTES[:16] * 2),
    "counting up": line(bytes(range(32))),
    "counting down": line(bytes(range(200, 168, -1))),
    "words": line(b"correct horse battery staple 123"),
    "hex text": line(hashlib.md5(b"x").hexdigest().encode()),
    "the hash of nothing": line(hashlib.sha256(b"").digest()),
    "the hash of a word": line(hashlib.sha256(b"secret").digest()),
    "another hash of a word": line(hashlib.sha3_256(b"password").digest()),
    "a typed word's hash": line(hashlib.sha256(b"hunter2").digest()),
    "the hash of a word and a line break": line(hashlib.sha256(b"changeme\n").digest()),
    "the hash of a capital word": line(hashlib.sha256(b"Welcome1").digest()),
    "half of a long hash of a word": line(hashlib.sha512(b"letmein").digest()[:32]),
    "the hash of a hash of a word": line(hashlib.sha256(hashlib.sha256(b"master-key").digest()).digest()),
    "a word to the end": line(b"password".ljust(32, b"\0")),
    "a key of an unknown service": "k1:gopher://host/key",
    "the same service twice": "k1:openbao://h/transit/keys/a,k2:openbao://h/transit/keys/a",
    "a double id": f"k1:{GOOD},{line(GOOD_BYTES[::-1])}",
    "the same key twice": f"k1:{GOOD},k2:{GOOD}",
}


def test_the_key_behind_the_unsafe_ones_is_good() -> None:
    assert LocalWrappingKeys.parse(line(GOOD_BYTES)).ids == ("k1",)
    assert LocalWrappingKeys.parse(f"k1:{GOOD},{line(GOOD_BYTES[::-1], 'k2')}").ids == ("k1", "k2")


@pytest.mark.parametrize("text", UNSAFE.values(), ids=UNSAFE)
def test_an_unsafe_key_is_refused_without_being_repeated(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        LocalWrappingKeys.parse(text)
    assert caught.value.__context__ is None
    assert all(len(part) < 12 or part not in str(caught.value) for part in re.split("[:,]", text))


def test_random_keys_are_accepted() -> None:
    for _ in range(2000):
        LocalWrappingKeys.parse(generate_key_line())


def test_keys_do_not_print() -> None:
    key = good_key()
    shown = repr(LocalWrappingKeys.parse(line(key))) + str(LocalWrappingKeys.parse(line(key)))
    assert "k1" in shown
    assert base64.b64encode(key).decode() not in shown
    assert repr(key) not in shown


def test_a_generated_file_is_private_complete_and_opens(tmp_path: Path) -> None:
    path = tmp_path / "wrapping.key"
    made = LocalWrappingKeys.generate_file(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]
    key_id, wrapped = made.wrap(DATA_KEY, user_id="a", deployment_id="d", version=1)
    read = LocalWrappingKeys.from_file(path)
    assert read.unwrap(key_id, wrapped, user_id="a", deployment_id="d", version=1) == DATA_KEY


def test_an_existing_key_file_is_never_replaced(tmp_path: Path) -> None:
    path = tmp_path / "wrapping.key"
    path.write_text("precious")
    with pytest.raises(ConfigError, match="exists already"):
        LocalWrappingKeys.generate_file(path)
    assert path.read_text() == "precious"
    assert list(tmp_path.iterdir()) == [path]


def test_of_many_that_generate_at_once_one_wins_whole(tmp_path: Path) -> None:
    path = tmp_path / "wrapping.key"

    def generate(_: int) -> str | None:
        try:
            return LocalWrappingKeys.generate_file(path).primary_id
        except ConfigError:
            return None

    with ThreadPoolExecutor(8) as pool:
        winners = [winner for winner in pool.map(generate, range(16)) if winner]
    assert winners == [LocalWrappingKeys.from_file(path).primary_id]
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_cannot_be_written_is_one_clear_sentence(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be written: No such file or directory"):
        LocalWrappingKeys.generate_file(tmp_path / "missing" / "wrapping.key")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o610, 0o666, 0o644])
def test_a_file_that_others_may_touch_is_refused_with_the_repair(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "wrapping.key"
    LocalWrappingKeys.generate_file(path)
    path.chmod(mode)
    with pytest.raises(ConfigError, match="chmod 600"):
        LocalWrappingKeys.from_file(path)
    path.chmod(0o400)
    assert LocalWrappingKeys.from_file(path)


def test_a_file_of_another_user_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "wrapping.key"
    LocalWrappingKeys.generate_file(path)
    if os.geteuid() == 0:
        os.chown(path, 65534, -1)
    else:
        path = Path("/etc/passwd")
    with pytest.raises(ConfigError, match="belongs to another user"):
        LocalWrappingKeys.from_file(path)


def test_what_is_not_a_regular_file_is_refused_and_does_not_hang(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)
    (tmp_path / "directory").mkdir(mode=0o700)
    # A socket's name may be 108 bytes at most, which the temporary directory can exceed.
    with socket.socket(socket.AF_UNIX) as listener:
        monkeypatch.chdir(tmp_path)
        listener.bind("socket")
    for name in ("pipe", "directory", "socket", "missing"):
        with pytest.raises(ConfigError, match=str(tmp_path)):
            LocalWrappingKeys.from_file(tmp_path / name)


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00", b"k1:" + b"A" * 70_000, b"hunter2-hunter2"])
def test_a_file_with_the_wrong_content_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "wrapping.key"
    path.touch(mode=0o600)
    path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        LocalWrappingKeys.from_file(path)
    assert "hunter2" not in str(caught.value)
    assert caught.value.__context__ is None
