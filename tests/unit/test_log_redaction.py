"""What a library logs is none of our business, and the secrets in it are."""

from __future__ import annotations

import base64
import io
import logging
import os
import subprocess
import sys
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
        "import logging, os; from ownkey.cli.logs import open_log; open_log('debug', '%(name)s: %(message)s');"
        "logging.getLogger('asyncpg').debug('starts with %s', os.environ['OPENAI_API_KEY'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], env={**os.environ, **ENVIRON}, capture_output=True, text=True, check=True
    )
    assert done.stderr == f"asyncpg: starts with {REDACTED}\n"


@given(st.text(min_size=12, max_size=60, alphabet=st.characters(codec="ascii", categories=("L", "N"))))
def test_no_prefix_lets_the_rest_through(rest: str) -> None:
    redaction = LogRedaction("", {}, PREFIXES)
    for prefix in PREFIXES:
        assert rest not in redaction.scrub(f"key: {prefix}{rest}.")
