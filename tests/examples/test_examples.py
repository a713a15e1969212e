"""Every example, started as its README says and clicked through: a key goes in, and a request can be answered."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from playwright.async_api import Page, expect

from ownkey.testing import SimulatedProviders
from tests.cli.shell import Shell
from tests.examples.process import EXAMPLES, find_port, python, run, vite
from tests.panel.driver import add_key, wait_until_settled
from tests.panel.host_pages import wait_until_ready
from tests.panel.hosts import install_packages
from tests.panel.watch import Watch

KEY = "gsk_example_000000000000000001"
LIMIT_LINES = 150


@pytest.fixture
def start_ownkey(place: Path, stack: ExitStack) -> Callable[..., tuple[str, str]]:
    """`ownkey serve` with these variables; gives its address and the administrator's token."""

    def start(**variables: str) -> tuple[str, str]:
        data = place / f"data-{find_port()}"
        shell = Shell(data, OWNKEY_CATALOG=str(place / "catalog.toml"), **variables)
        serving = stack.enter_context(shell.serve())
        assert serving.token is not None
        return serving.url, serving.token

    return start


@pytest.mark.parametrize("example", sorted(path.name for path in EXAMPLES.iterdir() if path.is_dir()))
def test_an_example_is_read_in_two_minutes(example: str) -> None:
    lines = 0
    for file in (EXAMPLES / example).rglob("*"):
        if file.is_file() and not {"node_modules", "__pycache__"} & set(file.parts) and file.name != "README.md":
            lines += len(file.read_text(encoding="utf-8").splitlines())
    assert lines <= LIMIT_LINES
    assert len((EXAMPLES / example / "README.md").read_text(encoding="utf-8").splitlines()) <= 30


def refusal_of(asked: Request) -> tuple[int, str]:
    """The status and the code of an answer that refuses."""
    with pytest.raises(HTTPError) as refused:
        urlopen(asked, timeout=30)
    detail = json.load(refused.value)["detail"]
    assert detail["message"]
    return refused.value.status, detail["code"]


async def test_fastapi(
    watch: Watch, place: Path, stack: ExitStack, providers: SimulatedProviders, secrets: list[str]
) -> None:
    port = find_port()
    secrets.append(KEY)
    stack.enter_context(
        run(
            python("-m", "uvicorn", "server:app", "--port", str(port)),
            cwd=EXAMPLES / "fastapi",
            port=port,
            OWNKEY_DATA_DIR=str(place / "fastapi"),
            OWNKEY_CATALOG=str(place / "catalog.toml"),
        )
    )
    asked = Request(f"http://127.0.0.1:{port}/ask", b'{"question": "Hello"}', {"content-type": "application/json"})
    # Before anybody has opened the page nobody is known, and without a key nobody can be asked: each is told as such.
    assert refusal_of(asked) == (404, "user_not_found")
    page = await watch.new_page()
    await page.goto(f"http://127.0.0.1:{port}")
    await page.get_by_role("button", name="Add key").first.wait_for()
    assert refusal_of(asked) == (424, "no_provider_available")
    await add_first_key(page)
    with urlopen(asked, timeout=30) as answer:
        reply = json.load(answer)
    assert reply["provider"] == "groq"
    assert reply["credential"] == "own"
    assert providers.ledger("groq")[-1].key == KEY


async def test_django(
    watch: Watch, stack: ExitStack, start_ownkey: Callable[..., tuple[str, str]], secrets: list[str]
) -> None:
    pytest.importorskip("django")
    port = find_port()
    url, token = start_ownkey(OWNKEY_PANEL_ORIGINS=f"http://127.0.0.1:{port}")
    secrets += [KEY, token]
    stack.enter_context(
        run(
            python("site.py", "runserver", "--noreload", str(port)),
            cwd=EXAMPLES / "django",
            port=port,
            OWNKEY_URL=url,
            OWNKEY_ADMIN_TOKEN=token,
            PYTHONDONTWRITEBYTECODE="1",
        )
    )
    page = await watch.new_page()
    await page.goto(f"http://127.0.0.1:{port}")
    await page.get_by_label("Name").fill("<b>Dana</b>")
    await page.get_by_role("button", name="Sign in").click()
    await expect(page.get_by_role("heading", level=1)).to_have_text("Settings of <b>Dana</b>")
    await add_first_key(page)
    await expect(page.get_by_text("gsk_…0001")).to_be_visible()
    # Somebody else on the same site sees nothing of it.
    other = await watch.new_page()
    await other.goto(f"http://127.0.0.1:{port}")
    await other.get_by_label("Name").fill("Ben")
    await other.get_by_role("button", name="Sign in").click()
    await wait_until_ready(other)
    await wait_until_settled(other)
    await expect(other.get_by_text("gsk_…0001")).to_have_count(0)


async def test_react_and_vite(
    watch: Watch, place: Path, stack: ExitStack, start_ownkey: Callable[..., tuple[str, str]], secrets: list[str]
) -> None:
    port = find_port()
    url, token = start_ownkey(OWNKEY_PANEL_ORIGINS=f"http://127.0.0.1:{port}")
    secrets += [KEY, token]
    project = copy_project(place, "react-vite")
    stack.enter_context(run(vite(port), cwd=project, port=port, VITE_OWNKEY_URL=url, OWNKEY_ADMIN_TOKEN=token))
    watch.expect(r"console.debug: \[vite\]", "console.info: .*React DevTools")
    page = await watch.new_page()
    await page.goto(f"http://127.0.0.1:{port}")
    await expect(page.get_by_text("Changes so far: 0")).to_be_visible()
    await add_first_key(page)
    await expect(page.get_by_text(re.compile("Changes so far: [1-9]"))).to_be_visible()


@pytest.mark.parametrize("algorithm", ["ES256", "HS256"])
async def test_supabase(
    watch: Watch,
    place: Path,
    stack: ExitStack,
    start_ownkey: Callable[..., tuple[str, str]],
    secrets: list[str],
    algorithm: str,
) -> None:
    port, auth_port = find_port(), find_port()
    supabase = f"http://127.0.0.1:{auth_port}"
    jwt_secret = "super-secret-jwt-token-with-at-least-32-characters-long"
    secrets.append(KEY)
    stack.enter_context(
        run(
            python("local_auth.py", str(auth_port), algorithm),
            cwd=EXAMPLES / "supabase",
            port=auth_port,
            SUPABASE_JWT_SECRET=jwt_secret,
        )
    )
    legacy = {"OWNKEY_JWT_SECRET": jwt_secret} if algorithm == "HS256" else {}
    url, _ = start_ownkey(OWNKEY_PANEL_ORIGINS=f"http://127.0.0.1:{port}", OWNKEY_SUPABASE_URL=supabase, **legacy)
    project = copy_project(place, "supabase")
    stack.enter_context(
        run(
            vite(port),
            cwd=project,
            port=port,
            VITE_OWNKEY_URL=url,
            VITE_SUPABASE_URL=supabase,
            VITE_SUPABASE_KEY="sb_publishable_example",
        )
    )
    watch.expect(r"console.debug: \[vite\]")
    page = await watch.new_page()
    await page.goto(f"http://127.0.0.1:{port}")
    await page.get_by_label("E-mail").fill("dana@example.com")
    await page.get_by_label("Password").fill("open sesame")
    await page.get_by_role("button", name="Sign in").click()
    await add_first_key(page)
    await expect(page.get_by_text("gsk_…0001")).to_be_visible()


async def add_first_key(page: Page) -> None:
    """What a new user does first."""
    await wait_until_ready(page)
    await wait_until_settled(page)
    await add_key(page, KEY)
    await expect(page.get_by_text("Key for Groq saved.")).to_be_visible()


def copy_project(place: Path, example: str) -> Path:
    """An example in a directory of its own, with the packages that its README installs."""
    project = place / f"{example}-{find_port()}"
    shutil.copytree(EXAMPLES / example, project, ignore=shutil.ignore_patterns("node_modules", "dist"))
    install_packages(project)
    return project
