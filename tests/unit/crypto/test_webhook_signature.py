"""Webhooks are signed as the Standard Webhooks specification says."""

from __future__ import annotations

import base64

import pytest

from ownkey.crypto.webhook_signature import parse_secrets, sign
from ownkey.errors import ConfigError

# The example that the specification's reference implementations are tested with.
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OTHER = "whsec_" + base64.b64encode(bytes(range(32))).decode()


def test_the_published_example_has_the_published_signature() -> None:
    signature = sign(parse_secrets(SECRET), "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert signature == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_every_secret_signs_while_a_receiver_changes_over() -> None:
    both = sign(parse_secrets(f"{SECRET}, {OTHER}"), "1", 2, b"{}").split()
    assert both == [sign(parse_secrets(one), "1", 2, b"{}") for one in (SECRET, OTHER)]
    assert both[0] != both[1]


def test_id_time_and_body_are_all_signed() -> None:
    secrets = parse_secrets(SECRET)
    differing = [("1", 2, b"{}"), ("3", 2, b"{}"), ("1", 4, b"{}"), ("1", 2, b"")]
    assert len({sign(secrets, *parts) for parts in differing}) == len(differing)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " , ",
        "secret-of-mine",
        "whsec_",
        "whsec_not*base64",
        "whsec_" + base64.b64encode(b"short").decode(),
        "whsec_" + base64.b64encode(b"x" * 65).decode(),
        SECRET.removeprefix("whsec_"),
        f"{SECRET},whsec_nonsense-of-mine",
    ],
)
def test_other_secrets_are_refused_and_never_repeated(text: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parse_secrets(text)
    for part in text.split(","):
        if len(part) > 8:
            assert part not in refused.value.message
            assert part.removeprefix("whsec_") not in refused.value.message
