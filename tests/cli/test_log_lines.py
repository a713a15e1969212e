"""What the server writes to standard error."""

from __future__ import annotations

import re

import httpx

from tests.cli.shell import Shell

_LINE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (DEBUG|INFO|WARNING|ERROR) [\w.]+: ")


def test_every_line_carries_its_time_in_utc(shell: Shell) -> None:
    far = shell.with_variables(TZ="Asia/Tokyo", OWNKEY_LOG_LEVEL="info")
    with far.serve() as serving:
        httpx.post(
            f"{serving.url}/api/sign-in", json={"login": "nobody", "password": "x"}, headers={"origin": serving.url}
        )
    # What is said to whoever typed the command comes without.
    lines = [line for line in serving.errors.splitlines() if " ownkey." in line or "sign-in refused" in line]
    assert any("sign-in refused" in line for line in lines), serving.errors
    assert [line for line in lines if not _LINE.match(line)] == []
