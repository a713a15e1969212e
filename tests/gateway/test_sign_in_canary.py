"""Passwords, links, cookies and panel tokens are in no log, output, answer or column; and no outage is a 401."""

from __future__ import annotations

import logging
import os
import signal
from pathlib import Path

import httpx2
import pytest

from ownkey import Config, Ownkey
from ownkey.domain.user import Role
from tests.gateway.browser import Browser, problem
from tests.gateway.canary import dump, shapes
from tests.gateway.conftest import serve
from tests.gateway.test_outage import ended

PASSWORDS = {"first": "canary one sings +/%Z", "second": "canary two sings +/%Z", "wrong": "canary three sings +/%Z"}


@pytest.fixture(autouse=True)
def fresh_providers() -> None:
    """This test has a server of its own."""


async def test_no_password_link_or_session_shows(
    private_dir: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.INFO, "httpcore2")  # the browser's own diary
    secrets, answers = dict(PASSWORDS), list[str]()
    config = Config(data_dir=private_dir, shared_keys=False, log_level="debug")
    async with Ownkey.open(config, environ={}) as ok, serve(ok.asgi()) as url, Browser(url) as ann:

        async def note(answer: httpx2.Response) -> httpx2.Response:
            headers = {name: value for name, value in answer.headers.items() if name != "set-cookie"}
            answers.append(f"{headers} {answer.text}")
            if ann.session is not None:
                secrets[f"session {len(secrets)}"] = ann.session
            return answer

        link = await ok.core.links.invite("ann", role=Role.ADMIN)
        secrets["link"] = link.text
        await note(await ann.post("/api/sign-in/link/check", {"token": link.text}))
        for wrong in ({"password": ["x", PASSWORDS["first"]]}, {"password": PASSWORDS["first"], "pasword": "x"}):
            body = {"token": link.text, **wrong}
            assert (await note(await ann.post("/api/sign-in/link", body))).status_code == 400
        raw = ann._client.build_request("POST", "/api/sign-in", content=f'{{"login": "{PASSWORDS["first"]}" "x"}}')
        raw.headers["content-type"] = "application/json"
        assert (await note(await ann._client.send(raw))).status_code == 400
        assert (await note(await ann.use_link(link, PASSWORDS["first"]))).status_code == 200
        await note(await ann.sign_in(PASSWORDS["wrong"], "a password typed into the wrong field"))
        await note(await ann.sign_in("ann", PASSWORDS["wrong"]))
        await note(await ann.sign_in("ann", PASSWORDS["first"]))
        await note(await ann.post("/api/session/confirm", {"password": PASSWORDS["first"]}))
        change = {"current": PASSWORDS["first"], "new": PASSWORDS["second"]}
        assert (await note(await ann.post("/api/account/password", change))).status_code == 200
        await note(await ann.get("/api/session"))
        await note(await ann.get("/api/sessions"))
        await note(await ann.get("/api/audit"))
        await note(await ann.get("/api/export"))
        secrets["panel token"] = (await ok.panel_token("ann")).text
        shown = {"authorization": f"Bearer {secrets['panel token']}", "origin": "https://evil.example"}
        assert (await note(await ann.get("/api/session", headers=shown))).status_code == 403
        columns = await dump(ok)

        # The database goes: nobody is told that a password or a session was wrong.
        [pid_file] = private_dir.rglob("postmaster.pid")
        pid = int(pid_file.read_text().split()[0])
        os.kill(pid, signal.SIGQUIT)
        await ended(pid)
        away: list[tuple[str, str, dict[str, str] | None]] = [
            ("GET", "/api/session", None),
            ("POST", "/api/sign-in", {"login": "ann", "password": PASSWORDS["second"]}),
            ("POST", "/api/sign-in/link/check", {"token": link.text}),
        ]
        for method, path, sent in away:
            raw = ann._client.build_request(method, path, json=sent)
            raw.headers["cookie"] = f"__Host-ownkey_session={ann.session}"
            raw.headers |= {"origin": url, "x-ownkey-panel": "1"}
            answer = await note(await ann._client.send(raw))
            assert problem(answer) == (503, "database_unavailable"), path
            assert int(answer.headers["retry-after"]) >= 1
    output = capfd.readouterr()
    logs = "\n".join(f"{record.getMessage()} {record.exc_text or ''}" for record in caplog.records)
    assert "argon2id" in columns and len(secrets) >= 9, "signs of life"
    places = {"answers": "\n".join(answers), "logs": logs + caplog.text, "output": output.out + output.err}
    for place, text in (places | {"database": columns}).items():
        found = [name for name, secret in secrets.items() for shape in shapes(secret) if shape in text]
        assert found == [], f"{place} shows {found[:3]}"
