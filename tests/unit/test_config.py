"""The environment is read once, strictly."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ownkey.config import Config
from ownkey.errors import ConfigError
from ownkey.startup import find_spool_dir


def test_defaults_and_values() -> None:
    assert Config.from_env({}).embedded
    config = Config.from_env(
        {
            "OWNKEY_DATABASE_URL": "postgresql:///x",
            "OWNKEY_PORT": "0",
            "OWNKEY_DATA_DIR": "/srv/ownkey",
            "OWNKEY_SHARED_KEYS": "no",
            "OWNKEY_ALLOWED_PROVIDERS": "groq, openai,",
            "OWNKEY_RETRY_WAIT_SECONDS": "0.5",
            "OWNKEY_LOG_LEVEL": "",
            "OPENAI_API_KEY": "sk-elsewhere",
        }
    )
    assert not config.embedded
    assert (config.port, config.data_dir, config.shared_keys) == (0, Path("/srv/ownkey"), False)
    assert config.allowed_providers == ("groq", "openai")
    assert (config.retry_wait_seconds, config.log_level) == (0.5, "info")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OWNKEY_PROT", "1"),
        ("OWNKEY_PORT", "http"),
        ("OWNKEY_PORT", "-1"),
        ("OWNKEY_SHARED_KEYS", "perhaps"),
        ("OWNKEY_PORT", "99999"),
        ("OWNKEY_IDLE_TIMEOUT_SECONDS", "-0.1"),
        ("OWNKEY_USAGE_FLUSH_SECONDS", "nan"),
        ("OWNKEY_USAGE_FLUSH_SECONDS", "inf"),
        ("OWNKEY_USAGE_FLUSH_SECONDS", "0"),
        ("OWNKEY_SNAPSHOT_CACHE_SIZE", "0"),
        ("OWNKEY_LOG_LEVEL", "bogus"),
        ("OWNKEY_ALLOWED_PROVIDERS", " , "),
    ],
)
def test_a_wrong_variable_is_named_and_its_value_is_not(name: str, value: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Config.from_env({name: value})
    assert name in caught.value.message
    # A word that was typed where it does not belong could be a secret; a number is not.
    if value.isalpha():
        assert value not in caught.value.message.replace(name, "").split()


def test_each_database_has_a_spool_of_its_own(tmp_path: Path) -> None:
    def place(**fields: Any) -> Path | None:
        return find_spool_dir(Config(data_dir=tmp_path, **fields))

    assert place() == tmp_path / "spool"
    one, other = place(database_url="postgresql://a:x@db/one"), place(database_url="postgresql://a:x@db/other")
    assert one is not None and one.parent == tmp_path
    assert len({one, other, tmp_path / "spool"}) == 3
    assert place(database_url="postgresql://b:changed@db/one?sslmode=require") == one, "who asks does not matter"
    assert place(database_url="postgresql://db/one", spool_dir=tmp_path / "mine") == tmp_path / "mine"
    assert place(usage_durability="database") is None
