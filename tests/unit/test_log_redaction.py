"""What a library logs is none of our business, and the secrets in it are."""

from __future__ import annotations

import base64
import io
import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ownkey.domain.credential import Secret
from ownkey.providers.catalog import load_catalog
from ownkey.services.log_redaction import REDACTED, LogRedaction

ENVIRON = {
    "OPENAI_API_KEY": "operator/key+0000001=",
    "OWNKEY_WRAPPING_KEYS": "k1:QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVo=,k2:enl4d3Z1dHNycXBvbm1sa2ppaGdmZWRjYmE=",
    "OWNKEY_DATABASE_URL": "postgresql://carol:hunter2hunter2@db.example/ownkey",
    "HOME": "/home/carol",
    "GITHUB_TOKEN": "",
}
PREFIXES = {prefix for provider in load_catalog().values() for prefix in provider.key_prefixes}


@pytest.fixture
def redaction() -> LogRedaction:
    return LogRedaction("%(levelname)s %(name)s: %(message)s", ENVIRON, PREFIXES)


@pytest.fixture
def log(redaction: LogRedaction) -> Iterator[Callable[[], str]]:
    """Logs as a library does; gives what was written."""
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(redaction)
    library = logging.getLogger("a.library")
    library.addHandler(handler)
    yield written.getvalue
    library.removeHandler(handler)


@pytest.mark.parametrize(
    "secret",
    [
        "operator/key+0000001=",
        quote("operator/key+0000001=", safe=""),
        b"operator/key+0000001=".hex(),
        base64.b64encode(b"operator/key+0000001=").decode(),
        "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVo=",
        "enl4d3Z1dHNycXBvbm1sa2ppaGdmZWRjYmE=",
        "hunter2hunter2",
    ],
)
def test_what_the_process_was_started_with_is_taken_out(redaction: LogRedaction, secret: str) -> None:
    line = redaction.scrub(f"a library says <{secret}> and goes on")
    assert secret[:-2] not in line
    assert line.startswith("a library says <") and line.endswith("> and goes on")


@pytest.mark.parametrize(
    ("line", "secret"),
    [
        ("GET https://x.example/v1?key=AbCdEfGh12345678&alt=sse", "AbCdEfGh12345678"),
        ("connecting to postgresql://ann:open-sesame@db/ownkey", "open-sesame"),
        ("headers: {'Authorization': 'Bearer abcdefgh.12345678'}", "abcdefgh.12345678"),
        ('{"api_key": "0123456789abcdef0123456789abcdef"}', "0123456789abcdef"),
        ("x-api-key: zzzzyyyyxxxx1111", "zzzzyyyyxxxx1111"),
        ("password=correct-horse-battery", "correct-horse-battery"),
        ("(b'x-api-key', b'zzzzyyyyxxxx1111')", "zzzzyyyyxxxx1111"),
        (r'{"body": "{\"api_key\": \"zzzzyyyyxxxx1111\"}"}', "zzzzyyyyxxxx1111"),
        (r"b'x\nsk-proj-zzzzyyyyxxxx1111'", "zzzzyyyyxxxx1111"),
        ("?authorization=Bearer%20sk-proj-zzzzyyyyxxxx1111", "zzzzyyyyxxxx1111"),
        (r"key\u003dsk-proj-zzzzyyyyxxxx1111", "zzzzyyyyxxxx1111"),
        ("http://ann:p@ssword-of-ann@db.example/x", "ssword-of-ann"),
        ("the token ok-" + "a" * 49 + " is not known", "ok-aaaa"),
        ("claims of eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhbm4ifQ.c2lnbmF0dXJl refused", "eyJzdWIi"),
        *[(f"a key such as {prefix}0123456789abcdefXYZ", "0123456789abcdef") for prefix in sorted(PREFIXES)],
    ],
)
def test_what_has_the_form_of_a_secret_is_taken_out(redaction: LogRedaction, line: str, secret: str) -> None:
    assert secret in line
    assert secret not in redaction.scrub(line)
    assert REDACTED in redaction.scrub(line)


@pytest.mark.parametrize(
    "line",
    [
        "request 01a21884-0f11-731b-9936-643562b14629: 429 too_many_at_once",
        "applying migration 20261126150000_seal_audit.sql",
        "1 usage events wait for the database: The database cannot be reached. Try again shortly.",
        "http://127.0.0.1:8484/admin is ready",
        "skipped groq: no_credential, and task: coding",
    ],
)
def test_what_people_need_stays(redaction: LogRedaction, line: str) -> None:
    assert redaction.scrub(line) == line


def test_our_own_settings_are_no_secrets_because_their_names_hold_a_key() -> None:
    """OWNKEY_DATA_DIR holds KEY; only its place does not."""
    redaction = LogRedaction("", {
        "OWNKEY_HOST": "127.0.0.1", "OWNKEY_DATA_DIR": "/var/lib/ownkey", "OWNKEY_USAGE_DURABILITY": "database",
        "OWNKEY_ALLOWED_PROVIDERS": "anthropic,groq", "OWNKEY_WRAPPING_KEY_FILE": "/etc/ownkey/wrapping.key",
    })  # fmt: skip
    line = "127.0.0.1 keeps /var/lib/ownkey, the database of anthropic and /etc/ownkey/wrapping.key"
    assert redaction.scrub(line) == line


def test_values_that_hold_commas_addresses_or_one_another_are_taken_out_whole() -> None:
    redaction = LogRedaction("", {
        "OWNKEY_WRAPPING_KEYS": "k1:QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVo=,k2:openbao://host:8200/transit/keys/x",
        "OWNKEY_LIMITS_URL": "redis://:only%40here-too@cache/0", "OWNKEY_JWT_SECRET": "a,bc,defghijklmnop",
        "A_SECRET": "correct-horse", "B_SECRET": "correct-horse-battery",
    })  # fmt: skip
    text = (
        "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVo= and only%40here-too, only@here-too a,bc,defghijklmnop "
        "correct-horse-battery correct-horse"
    )
    r = REDACTED
    assert redaction.scrub(text) == f"{r} and {r}, {r} {r} {r} {r}"


def test_a_line_that_cannot_be_formatted_shows_no_arguments(
    redaction: LogRedaction, log: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`logging` prints message and arguments of such a line to standard error, past every formatter."""

    class Broken:
        def __str__(self) -> str:
            raise ValueError("no")

    failed: list[logging.LogRecord] = []
    library = logging.getLogger("a.library")
    monkeypatch.setattr(library, "propagate", False)  # the test runner's own handler raises
    monkeypatch.setattr(library.handlers[-1], "handleError", failed.append)
    library.error("%s and %s of sk-proj-0123456789ab", "operator/key+0000001=")
    library.error("%s", Broken())
    library.error(Broken())
    redaction.follow(lambda: 1 / 0, PREFIXES)  # type: ignore[arg-type, return-value]
    library.error("operator/key+0000001=")
    assert not failed
    lines = log().splitlines()
    assert lines[0] == f"ERROR a.library: TypeError in the log line '%s and %s of {REDACTED}'"
    assert [line.partition(":")[0] for line in lines[1:3]] == ["ERROR a.library"] * 2
    assert lines[3] == "a log line of a.library is withheld: ZeroDivisionError while secrets were looked for"


@pytest.mark.parametrize("part", ["eyJaaaaaaaa-", "sk-", "://a:", "bearer ", "token  ", "%20eyJaaaaaaaa", "\\", "@"])
def test_a_long_line_takes_a_time_that_grows_with_its_length(redaction: LogRedaction, part: str) -> None:
    """300 kB; what looked at the rest of the line from each place in it took half a minute."""
    line = part * (300_000 // len(part))
    began = time.process_time()
    redaction.scrub(line)
    assert time.process_time() - began < 3


def test_a_key_in_use_is_known_in_the_forms_in_which_it_is_written(redaction: LogRedaction) -> None:
    key = """a"b\\c'd/e+f=01"""
    redaction.follow(lambda: [Secret(key)], PREFIXES)
    for form in (key, quote(key, safe=""), json.dumps(key)[1:-1], repr(key)[1:-1]):
        assert form not in redaction.scrub(f"<{form}>"), form


def test_exceptions_and_their_causes_are_part_of_the_line(redaction: LogRedaction, log: Callable[[], str]) -> None:
    """A key without any form, of a request that runs."""
    key = Secret("d41d8cd98f00b204e9800998ecf8427e")
    running = [key]
    redaction.follow(lambda: running, PREFIXES)
    try:
        try:
            raise ValueError(f"sent {key.reveal()}")
        except ValueError as error:
            raise RuntimeError("could not connect") from error
    except RuntimeError:
        logging.getLogger("a.library").exception("failed with %s", key.reveal(), stack_info=True)
    assert "could not connect" in log()
    assert "Traceback" in log()
    assert key.reveal() not in log().replace('key = Secret("d41d8cd98f00b204e9800998ecf8427e")', "")
    running.clear()
    assert key.reveal() in redaction.scrub(key.reveal()), "nothing is known of it any more"


def test_the_servers_log_is_such_a_one() -> None:
    """Lines of all libraries, before anything is open."""
    program = (
        "import logging, os; from ownkey.cli.logs import open_log; open_log('debug');"
        "logging.getLogger('asyncpg').debug('starts with %s', os.environ['OPENAI_API_KEY'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], env={**os.environ, **ENVIRON}, capture_output=True, text=True, check=True
    )
    assert done.stderr.endswith(f"Z DEBUG asyncpg: starts with {REDACTED}\n")
    assert done.stderr.count("\n") == 1


@given(st.text(min_size=12, max_size=60, alphabet=st.characters(codec="ascii", categories=("L", "N"))))
def test_no_prefix_lets_the_rest_through(rest: str) -> None:
    redaction = LogRedaction("", {}, PREFIXES)
    for prefix in PREFIXES:
        assert rest not in redaction.scrub(f"key: {prefix}{rest}.")


def test_nobody_else_begins_a_line(log: Callable[[], str]) -> None:
    forged = "x\n2026-11-26T00:00:00.000Z WARNING ownkey.services.sign_in: all is well\r\nthe end"
    logging.getLogger("a.library").warning("heard %s", forged)
    try:
        raise ValueError(forged)
    except ValueError:
        logging.getLogger("a.library").exception("failed")
    lines = log().splitlines()
    assert [line.split(": ")[1] for line in lines if not line.startswith(" ")] == ["heard x", "failed"]
    assert "\r" not in log()
