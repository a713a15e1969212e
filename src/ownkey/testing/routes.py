"""Where each provider of the catalogue lives on the simulation's one port, and which of llmock's routes answers.

The path is `/<provider>` and then the path of the provider's real base URL, so that a gateway which builds a
URL wrongly gets the 404 that it would get in the world.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

from ownkey.domain.provider import Dialect, Provider, Quirk

# llmock speaks these with the providers' own extra fields; everybody else copies OpenAI.
_NATIVE: Final = {
    "groq": "/groq/openai/v1",
    "mistral": "/mistral/v1",
    "together": "/together/v1",
    "perplexity": "/perplexity/v1",
    "xai": "/xai/v1",
}
_OPENAI: Final = "/v1"
_ANTHROPIC: Final = "/anthropic"


def base_path(provider: Provider) -> str:
    """The path under which a provider is found here, without a slash at the end."""
    # A field of the base URL stands for a part of the host almost always; in a path it keeps its name.
    path = urlsplit(re.sub(r"[{}]", "", provider.base_url)).path
    return f"/{provider.id}{path.rstrip('/')}"


def find_provider(providers: Mapping[str, Provider], path: str) -> tuple[Provider, str] | None:
    """The provider at this path and the rest of the path, such as `/chat/completions`."""
    name = path.split("/", 2)[1] if path.startswith("/") else ""
    provider = providers.get(name)
    if provider is None:
        return None
    base = base_path(provider)
    return (provider, path[len(base) :]) if path.startswith(base + "/") else (provider, "")


def llmock_path(provider: Provider, rest: str) -> str:
    """The route of llmock for this provider's `rest`."""
    if provider.dialect is Dialect.ANTHROPIC_MESSAGES:
        return _ANTHROPIC + (rest if rest.startswith("/v1/") else "/v1" + rest)
    if rest == "/embeddings" and Quirk.NO_EMBEDDINGS not in provider.quirks:
        return _OPENAI + rest
    if rest == "/embeddings":
        return "/no-such-route"
    return _NATIVE.get(provider.id, _OPENAI) + rest


def read_key(provider: Provider, keys: Mapping[str, str]) -> str | None:
    """The key where this provider looks for it; a key anywhere else is no key."""
    if provider.auth == "none":
        return next(iter(keys.values()), "")
    if provider.dialect is Dialect.ANTHROPIC_MESSAGES:
        # Anthropic's own client sends the key as a bearer token now; with both, `x-api-key` wins.
        return keys.get("x-api-key") or keys.get("authorization")
    if provider.auth == "bearer":
        return keys.get("authorization")
    return keys.get(provider.auth.removeprefix("header:"))


def catalog_overrides(providers: Mapping[str, Provider], url: str) -> str:
    """A catalogue file (TOML) that points every provider here."""
    lines = ["# Points every provider of the catalogue at the simulation."]
    for provider in providers.values():
        target = json.dumps(url + base_path(provider))
        lines += ["", f"[{provider.id}]", f"base_url = {target}", "local = true", "fields = []"]
    return "\n".join(lines) + "\n"
