"""Examples as a reader would start them, with the providers simulated."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from importlib.resources import files
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser

from ownkey.testing import SimulatedProviders
from tests.panel.conftest import browser, providers
from tests.panel.watch import Watch

__all__ = ["browser", "providers"]


@pytest.fixture(scope="session")
def place(providers: SimulatedProviders) -> Iterator[Path]:
    """A directory that the account of the embedded PostgreSQL can enter too."""
    if not files("ownkey.http").joinpath("static", "panel.js").is_file():
        pytest.skip("the panel is not built: run `make panel` with npm")
    path = Path(tempfile.mkdtemp(prefix="ownkey-examples-", dir="/var/tmp"))
    path.chmod(0o755)
    providers.write_catalog(path / "catalog.toml")
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def secrets() -> list[str]:
    """Provider keys that the test types in."""
    return []


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    """Ends what was started, in reverse."""
    with ExitStack() as stack:
        yield stack


@pytest_asyncio.fixture
async def watch(browser: Browser, secrets: list[str], stack: ExitStack) -> AsyncIterator[Watch]:
    """Opens pages; the test fails at its end for whatever they did that it did not expect.

    Its pages are closed before the programs of `stack` end.
    """
    watch = Watch(browser, secrets=secrets)
    yield watch
    await watch.close()
    watch.assert_clean()
