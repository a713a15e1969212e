"""Signing in through an identity provider: a real one (panva's certified `oidc-provider`), in a real browser."""

from __future__ import annotations

import shutil
import socket
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Final

import pytest
import pytest_asyncio
from playwright.async_api import Page, expect

from ownkey import Config, Ownkey
from ownkey.errors import NotFound
from ownkey.testing import SimulatedProviders
from tests.listening import bind_loopback
from tests.panel.accessibility import assert_accessible
from tests.panel.conftest import serve
from tests.panel.host_pages import wait_until_ready
from tests.panel.hosts import NODE_MODULES
from tests.panel.site import Person, Recorder, Site
from tests.panel.test_access import age_sessions
from tests.panel.watch import Watch, failed_load

SECRET: Final = "the-secret-of-the-tests-0000000001"


@contextmanager
def running_provider(port: int, redirect_uri: str) -> Iterator[None]:
    """The provider under its own name, which makes it another site than the server under test."""
    node = shutil.which("node")
    if node is None or not (NODE_MODULES / "oidc-provider").is_dir():
        pytest.skip("oidc-provider is not installed: run `make setup` with npm")
    script = NODE_MODULES.parent / "identity_provider.mjs"
    with subprocess.Popen(
        [node, str(script), str(port), redirect_uri], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            yield
        finally:
            process.terminate()


@pytest_asyncio.fixture(scope="module")
async def federated(tmp_path_factory: pytest.TempPathFactory, data_dir: Path) -> AsyncIterator[Site]:
    """A server that trusts the provider, for people with an address at example.com."""
    place = data_dir / "federated"
    place.mkdir(mode=0o755)
    listener = bind_loopback()
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    with socket.create_server(("localhost", 0)) as free:
        port = free.getsockname()[1]
    with SimulatedProviders() as providers, running_provider(port, f"{url}/api/sign-in/oidc/sso/callback"):
        config = Config(
            data_dir=place,
            catalog=providers.write_catalog(place / "catalog.toml"),
            oidc_issuer=f"http://localhost:{port}",
            oidc_client_id="ownkey",
            oidc_client_secret=SECRET,
            oidc_label="Example",
            oidc_user_claim="email",
            oidc_email_domains=("example.com",),
        )
        async with Ownkey.open(config, environ={}) as ok:
            recorder = Recorder(ok.asgi())
            async with serve(recorder, listener):
                yield Site(ok, url, providers, recorder.replies)


@pytest.fixture
def site(federated: Site) -> Site:
    if not files("ownkey.http").joinpath("static", "panel.js").is_file():
        pytest.skip("the panel is not built: run `make panel` with npm")
    federated.replies.clear()
    return federated


async def go_to_provider(page: Page, site: Site) -> None:
    """Press the button on the sign-in page."""
    await page.goto(site.url)
    await page.get_by_role("link", name="Continue with Example").click()
    await expect(page.get_by_role("heading", level=1)).to_have_text("Example")


async def say_who(page: Page, site: Site, name: str) -> None:
    """What the provider asks, and back."""
    await page.get_by_label("Name").fill(name)
    await page.get_by_role("button", name="Continue").click()
    await page.wait_for_url(lambda url: url.startswith(f"{site.url}/") and "/callback" not in url)


async def test_somebody_comes_in_through_their_identity_provider(page: Page, site: Site) -> None:
    await go_to_provider(page, site)
    assert "code_challenge_method=S256" in "".join(reply.head for reply in site.replies)
    await say_who(page, site, "ann@example.com")
    await wait_until_ready(page)
    assert page.url.rstrip("/") == site.url, "neither code nor state is left in the address"
    await expect(page.get_by_role("button", name="Account and appearance: ann@example.com")).to_be_visible()
    names = {cookie["name"] for cookie in await page.context.cookies(site.url.replace("http:", "https:"))}
    assert names == {"__Host-ownkey_session"}, "what was begun is answered and forgotten"
    await page.locator("#tab-access").click()
    await expect(page.get_by_text("through your identity provider")).to_be_visible()
    await expect(page.get_by_role("button", name="Change password")).to_have_count(0)
    (started,) = [one for one in await site.ok.audit.list_entries("ann@example.com") if one.action == "session.started"]
    assert started.details["method"] == "oidc"
    assert (await site.ok.users.get("ann@example.com")).role == "user"


async def test_who_gives_up_there_is_told_so_here(page: Page, watch: Watch, site: Site) -> None:
    watch.expect(failed_load(401))
    await go_to_provider(page, site)
    await page.get_by_role("button", name="Cancel").click()
    await expect(page.get_by_role("alert")).to_contain_text("The sign-in was cancelled")
    assert page.url.rstrip("/") == site.url
    await assert_accessible(page)


@pytest.mark.parametrize("name", ["eve@elsewhere.example", "unproved@example.com", "eve@notexample.com", "nobody"])
async def test_the_operator_says_who_may_come_in(page: Page, watch: Watch, site: Site, name: str) -> None:
    watch.expect(failed_load(401))
    await go_to_provider(page, site)
    await say_who(page, site, name)
    await expect(page.get_by_role("alert")).to_contain_text("you may not use this server")
    with pytest.raises(NotFound):
        await site.ok.users.get(name)


async def test_proving_again_who_one_is_goes_through_the_provider(page: Page, watch: Watch, site: Site) -> None:
    watch.expect(failed_load(403))
    await go_to_provider(page, site)
    await say_who(page, site, "leaver@example.com")
    await wait_until_ready(page)
    person = Person("leaver@example.com", "")
    # The provider still knows them: without being told to, it would not ask again.
    await age_sessions(site, person)
    await ask_to_leave(page)
    await page.get_by_role("link", name="Continue with Example").click()
    await say_who(page, site, "somebody.else@example.com")
    await expect(page.locator(".page-banner")).to_contain_text("another person")
    assert (await site.ok.users.get(person.id)).id == person.id
    await ask_to_leave(page)
    await page.get_by_role("link", name="Continue with Example").click()
    await say_who(page, site, person.id)
    await wait_until_ready(page)
    await ask_to_leave(page)
    await expect(page.get_by_role("heading", level=1, name="Everything of yours is deleted")).to_be_visible()
    with pytest.raises(NotFound):
        await site.ok.users.get(person.id)


async def ask_to_leave(page: Page) -> None:
    """Ask for the deletion of everything, which only somebody who has just signed in may do."""
    await page.locator("#tab-account").click()
    await page.get_by_role("button", name="Delete everything…").click()
    await page.get_by_role("dialog").get_by_role("textbox").fill("leaver@example.com")
    await page.keyboard.press("Enter")


async def test_an_answer_that_nobody_asked_for_signs_nobody_in(page: Page, watch: Watch, site: Site) -> None:
    """Somebody else's code and state, as a link in a mail: the browser did not begin that sign-in."""
    watch.expect(failed_load(401))
    attacker = await watch.new_page()
    seen: list[str] = []
    attacker.on("request", lambda request: seen.append(request.url))
    await go_to_provider(attacker, site)
    await say_who(attacker, site, "attacker@example.com")
    await wait_until_ready(attacker)
    (caught,) = [url for url in seen if "/callback?" in url]
    await page.goto(caught)
    await expect(page.get_by_role("alert")).to_contain_text("Start again")
    # Not even where the browser has begun one of its own.
    await go_to_provider(page, site)
    await page.goto(caught)
    await expect(page.get_by_role("alert")).to_contain_text("Start again")
    assert await page.context.cookies(site.url.replace("http:", "https:")) == []
