"""Write down what goes to each provider of the catalogue, for `test_golden_requests`.

Run it after a change that is meant to change requests, and read the difference before committing it.
"""

from __future__ import annotations

import sys
from pathlib import Path

from ownkey.domain.exchange import UpstreamRequest
from ownkey.domain.provider import Dialect, Provider, Quirk
from ownkey.providers.adapters import get_adapter
from ownkey.providers.catalog import load_catalog
from ownkey.providers.dialect import Call

DIRECTORY = Path(__file__).parent / "requests"

CHAT = (
    b'{"messages": [{"role": "user", "content": "Gr\xc3\xbc\xc3\x9f dich \\u00e9 \\ud83d\\ude00"}],'
    b' "model":"task:coding","max_completion_tokens":64, "temperature": 1.0,"stream":true, "user":"u-1" }'
)
EMBEDDINGS = b'{"input":["a","b"], "model":"task:embedding","encoding_format":"float"}'


def fill(provider: Provider) -> str:
    """The base URL with the example of each field."""
    return provider.base_url.format_map({field.name: field.example for field in provider.fields})


def requests(provider: Provider) -> dict[str, UpstreamRequest]:
    """One request per operation that the provider has."""
    adapter = get_adapter(Dialect.OPENAI_CHAT, provider.dialect)
    base_url = fill(provider)
    chat = Call(operation="chat", body=CHAT, model=provider.default_model(None) or "a-model", stream=True)
    made = {"chat": adapter.encode(provider, base_url, chat)}
    if Quirk.NO_EMBEDDINGS not in provider.quirks:
        model = provider.default_model("embedding") or "an-embedding-model"
        embeddings = Call(operation="embeddings", body=EMBEDDINGS, model=model)
        made["embeddings"] = get_adapter(Dialect.OPENAI_CHAT, provider.dialect, "embeddings").encode(
            provider, base_url, embeddings
        )
    return made


def render(provider: Provider) -> bytes:
    """The requests as text with the bodies' own bytes; `{secret}` is where the key will be."""
    parts = []
    for request in requests(provider).values():
        lines = [f"{request.method} {request.url}", *(f"{name}: {value}" for name, value in request.headers)]
        if request.auth_header is not None:
            lines.append(f"{request.auth_header[0]}: {request.auth_header[1]}{{secret}}")
        parts.append("\n".join(lines).encode() + b"\n\n" + request.body + b"\n")
    return b"\n".join(parts)


def main() -> int:
    """Write one file per provider, and remove those of providers that are gone."""
    catalog = load_catalog()
    for path in DIRECTORY.glob("*.http"):
        if path.stem not in catalog:
            path.unlink()
    for provider in catalog.values():
        (DIRECTORY / f"{provider.id}.http").write_bytes(render(provider))
    return 0


if __name__ == "__main__":
    sys.exit(main())
