"""Chromium before the real server: embedded PostgreSQL, simulated providers, uvicorn, and hosts of other origins."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

import pytest
import pytest_asyncio
import uvicorn
from playwright.async_api import Browser, Page

from ownkey import Config, Ownkey
from ownkey.domain.policy import PolicyDocument
from ownkey.domain.routing import shared_credential_id
from ownkey.testing import SimulatedProviders
from tests.listening import bind_loopback
from tests.panel.chromium import find_chromium, launch_chromium
from tests.panel.driver import open_tab, wait_until_settled
from tests.panel.host_pages import open_panel, put_plain, wait_until_ready
from tests.panel.hosts import Host
from tests.panel.site import SHARED, Person, Recorder, Site
from tests.panel.watch import Watch

Enter = Callable[..., Awaitable[Page]]
Decide = Callable[..., Awaitable[None]]

LIAR_LABEL: Final = "<img src=x onerror=__pwned('provider')> & Söhne"
_LIAR: Final = """
[liar]
label = "{label}"
dialect = "openai_chat"
base_url = "{origin}/liar/v1"
probe = "GET /models"
local = true

[liar.defaults]
default = "liar-1"
"""


@contextlib.asynccontextmanager
async def serve(application: object, listener: socket.socket) -> AsyncIterator[None]:
    """An ASGI application under uvicorn."""
    # Browsers keep connections open: a server that waits for them would never end.
    config = uvicorn.Config(
        application,  # type: ignore[arg-type]
        log_level="warning",
        lifespan="off",
        timeout_graceful_shutdown=1,
    )
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        yield
    finally:
        server.should_exit = True
        await task
        listener.close()


@pytest.fixture(scope="session")
def data_dir() -> Iterator[Path]:
    """Outside pytest's own directories: PostgreSQL runs as another user when we are root."""
    path = Path(tempfile.mkdtemp(prefix="ownkey-panel-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="session")
def providers() -> Iterator[SimulatedProviders]:
    with SimulatedProviders() as simulated:
        yield simulated


@pytest_asyncio.fixture(scope="session")
async def browser() -> AsyncIterator[Browser]:
    """One per worker, with a fresh profile."""
    executable = find_chromium()
    if executable is None:
        pytest.skip("Chromium is not installed (Debian: chromium)")
    async with launch_chromium(executable) as browser:
        yield browser


@pytest_asyncio.fixture(scope="session")
async def friendly_host() -> AsyncIterator[Host]:
    """A host whose origin the operator has named."""
    host = Host(bind_loopback())
    async with serve(host, host.listener):
        yield host


@pytest_asyncio.fixture(scope="session")
async def stranger() -> AsyncIterator[Host]:
    """A web server of somebody else's."""
    host = Host(bind_loopback())
    async with serve(host, host.listener):
        yield host


@pytest_asyncio.fixture(scope="session")
async def whole_site(
    data_dir: Path, providers: SimulatedProviders, friendly_host: Host, stranger: Host
) -> AsyncIterator[Site]:
    """The whole product on loopback, with an OpenAI and a Groq key of the operator.

    Besides the simulated providers its catalogue has one that lies: it answers whatever a test gives `other_host`.
    """
    catalog = providers.write_catalog(data_dir / "catalog.toml")
    with catalog.open("a", encoding="utf-8") as file:
        file.write(_LIAR.format(label=LIAR_LABEL, origin=stranger.origin))
    config = Config(
        data_dir=data_dir,
        catalog=catalog,
        usage_flush_seconds=0.05,
        panel_origins=(friendly_host.origin,),
    )
    listener = bind_loopback()
    async with Ownkey.open(config, environ=SHARED) as ok:
        recorder = Recorder(ok.asgi())
        async with serve(recorder, listener):
            yield Site(ok, f"http://127.0.0.1:{listener.getsockname()[1]}", providers, recorder.replies)


@pytest.fixture
def site(whole_site: Site) -> Site:
    """As every test finds it: healthy providers, nothing on record, nothing learnt from the test before."""
    if not files("ownkey.http").joinpath("static", "panel.js").is_file():
        pytest.skip("the panel is not built: run `make panel` with npm")
    whole_site.providers.reset()
    whole_site.replies.clear()
    for provider in whole_site.ok.core.catalog.values():
        whole_site.ok.core.router.health.note_success(provider.base_url, shared_credential_id(provider.id))
    return whole_site


@pytest.fixture
def host(friendly_host: Host) -> Host:
    """A host whose origin the operator has named, without pages yet."""
    friendly_host.reset()
    return friendly_host


@pytest.fixture
def other_host(stranger: Host) -> Host:
    """A host that nobody has named, without pages yet."""
    stranger.reset()
    return stranger


@pytest_asyncio.fixture
async def watch(browser: Browser, site: Site) -> AsyncIterator[Watch]:
    """Opens pages; the test fails at its end for whatever they did that it did not expect."""
    watch = Watch(browser, secrets=site.secrets, tokens=site.tokens, replies=site.replies)
    yield watch
    await watch.close()
    watch.assert_clean()


@pytest_asyncio.fixture
async def page(watch: Watch) -> Page:
    """An empty page in a fresh profile."""
    return await watch.new_page()


@pytest_asyncio.fixture
async def decide(site: Site) -> AsyncIterator[Decide]:
    """Decides the policy; afterwards nothing is decided."""
    admin = await site.admin("lender")

    async def decide(**parts: Any) -> None:
        await site.ok.policies.put(admin.id, PolicyDocument(**parts))

    yield decide
    await site.ok.policies.put(admin.id, PolicyDocument())


@pytest.fixture
def enter(watch: Watch, site: Site, host: Host) -> Enter:
    """Opens the panel of somebody on a page of the friendly host, ready and settled.

    `tab` opens one of its tabs; `attributes` and `html` are those of the element and of the page; further options
    are those of a browser context (`color_scheme`, `viewport`, `locale` …).
    """

    async def enter(
        person: Person, tab: str | None = None, *, attributes: str = "", html: str = 'lang="en"', **options: Any
    ) -> Page:
        host.token = await site.panel_token(person, host)
        page = await watch.new_page(**options)
        await open_panel(page, put_plain(host, site.url, attributes=attributes, html=html))
        await wait_until_settled(page)
        if tab is not None:
            await open_tab(page, tab)
        return page

    return enter


@pytest.fixture
def enter_own(watch: Watch, site: Site) -> Enter:
    """Opens the server's own page as somebody who is signed in; `path` "/admin" is the administrators'.

    Further options are those of a browser context.
    """

    async def enter_own(person: Person, tab: str | None = None, *, path: str = "/", **options: Any) -> Page:
        context = await watch.new_context(**options)
        await site.sign_in(context, person)
        page = await context.new_page()
        await page.goto(site.url + path)
        await wait_until_ready(page)
        await wait_until_settled(page)
        if tab is not None:
            await open_tab(page, tab)
        return page

    return enter_own
