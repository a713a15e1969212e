"""Who is asking is said by one credential. No other header, and no second credential, changes that."""

from __future__ import annotations

from collections.abc import AsyncIterator
from itertools import combinations
from typing import Any

import httpx2
import pytest

from tests.gateway.conftest import Platform, User

BODY: dict[str, Any] = {"model": "auto", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}
CHAT = "/v1/chat/completions"
ADA_KEY, BOB_KEY = "gsk_spoofed_000000000000Ada", "gsk_spoofed_000000000000Bob"
# What proxies, clouds, meshes and applications say about who is asking and where they were sent.
NAMES = """
    X-User-Id X-User X-Username X-Remote-User Remote-User REMOTE_USER X-Authenticated-User X-Auth-Request-User
    X-Auth-Request-Email X-Auth-User X-Email X-User-Email X-Forwarded-User X-Forwarded-Email X-Forwarded-Groups
    X-Forwarded-Preferred-Username X-Forwarded-Access-Token X-Account-Id X-Tenant-Id X-Org-Id X-Consumer-Id
    X-Consumer-Username X-Credential-Identifier X-Anonymous-Consumer X-Goog-Authenticated-User-Email
    X-Goog-Authenticated-User-Id X-Goog-IAP-JWT-Assertion CF-Access-Authenticated-User-Email Cf-Access-Jwt-Assertion
    X-Amzn-Oidc-Identity X-Amzn-Oidc-Data X-Ms-Client-Principal X-Ms-Client-Principal-Id X-Ms-Client-Principal-Name
    X-Ownkey-User X-Ownkey-User-Id X-Ownkey-Token X-Ownkey-Admin Ownkey.user_id X-Impersonate-User X-Sudo X-Act-As
    X-On-Behalf-Of X-Role X-Roles X-Scopes X-Admin X-Is-Admin X-Internal X-Original-URL X-Rewrite-URL X-Original-URI
    X-Forwarded-Uri X-Forwarded-Prefix X-Forwarded-Host X-Forwarded-Server X-Forwarded-For X-Forwarded-Proto X-Real-IP
    X-Client-IP True-Client-IP CF-Connecting-IP Forwarded X-HTTP-Method-Override X-Method-Override Proxy-Authorization
    X-Access-Token X-Auth-Token X-Api-Token X-Session-Id OpenAI-Organization OpenAI-Project
""".split()  # noqa: SIM905  # a list that people read


@pytest.fixture
async def client(platform: Platform) -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(base_url=platform.url, timeout=20) as made:
        yield made


@pytest.fixture
async def ada(platform: Platform) -> User:
    return await platform.user(groq=ADA_KEY)


@pytest.fixture
async def bob(platform: Platform) -> User:
    return await platform.user(groq=BOB_KEY)


def hints(listed: httpx2.Response) -> list[str]:
    """The ends of the keys in a list of somebody's."""
    assert listed.status_code == 200, listed.text
    return [one["hint"][-3:] for one in listed.json()]


async def test_no_header_makes_one_user_another(
    platform: Platform, client: httpx2.AsyncClient, ada: User, bob: User
) -> None:
    assert len(NAMES) >= 60
    admitted = {"Authorization": f"Bearer {ada.token}"}
    for name in NAMES:
        assert (await client.post(CHAT, headers={**admitted, name: bob.id}, json=BODY)).status_code == 200, name
    for value in (bob.id, f"Bearer {bob.token}", "/api/admin/users"):
        spoofed = dict.fromkeys(NAMES, value)
        assert hints(await client.get("/api/credentials", headers={**admitted, **spoofed})) == ["Ada"]
        assert (await client.get("/api/admin/users", headers={**admitted, **spoofed})).status_code == 403
        assert (await client.post(CHAT, headers={**admitted, **spoofed}, json=BODY)).status_code == 200
        for path in ("/api/credentials", "/v1/models"):
            assert (await client.get(path, headers=spoofed)).status_code == 401
        assert (await client.post(CHAT, headers=spoofed, json=BODY)).status_code == 401
    ledger = platform.providers.ledger()
    assert [entry.key for entry in ledger] == [ADA_KEY] * (len(NAMES) + 3)
    sent = {name for entry in ledger for name in entry.headers}
    # What a client of OpenAI may tell OpenAI is told; the rest is nobody's business behind here.
    assert sent & {name.lower() for name in NAMES} <= {"openai-organization", "openai-project"}


CARRIERS = ("authorization", "x-api-key", "x-goog-api-key", "api-key", "?key")
PATHS = (
    ("POST", CHAT),
    ("POST", "/v1/messages"),
    ("POST", "/v1/responses"),
    ("POST", "/v1beta/models/auto:generateContent"),
    ("GET", "/v1/models"),
    ("GET", "/api/credentials"),
    ("GET", "/api/settings"),
)


def carry(carriers: dict[str, str]) -> dict[str, Any]:
    headers = {name: value for name, value in carriers.items() if not name.startswith("?")}
    if "authorization" in headers:
        headers["authorization"] = f"Bearer {headers['authorization']}"
    return {"headers": headers, "params": {"key": carriers["?key"]} if "?key" in carriers else {}}


@pytest.mark.parametrize(("method", "path"), PATHS)
async def test_two_credentials_that_differ_are_refused_everywhere(
    platform: Platform, client: httpx2.AsyncClient, ada: User, bob: User, method: str, path: str
) -> None:
    for one, other in combinations(CARRIERS, 2):
        for first, second in ((ada.token, bob.token), (bob.token, ada.token), (ada.token, "ok-nonsense")):
            answer = await client.request(method, path, **carry({one: first, other: second}))
            assert answer.status_code == 400, (one, other, answer.text)
            assert "ambiguous_credentials" in answer.text.lower()
        same = await client.request(method, path, **carry({one: ada.token, other: ada.token}))
        assert "ambiguous" not in same.text.lower()
        assert same.status_code != 401, (one, other)
    assert {entry.method for entry in platform.providers.ledger()} <= {"GET"}, "nothing but lists of models was read"


@pytest.mark.parametrize(("method", "path"), PATHS)
async def test_a_credential_in_the_url_alone_is_none(
    client: httpx2.AsyncClient, ada: User, method: str, path: str
) -> None:
    answer = await client.request(method, path, **carry({"?key": ada.token}))
    assert answer.status_code == 401
    assert "in the URL" in answer.text
    assert ada.token not in answer.text


async def test_the_same_header_twice_with_two_values(client: httpx2.AsyncClient, ada: User, bob: User) -> None:
    for name in ("authorization", "x-api-key"):
        prefix = "Bearer " if name == "authorization" else ""
        headers = [(name, prefix + ada.token), (name, prefix + bob.token)]
        for method, path in PATHS:
            assert (await client.request(method, path, headers=headers)).status_code == 400


async def test_a_cookie_beside_a_token_changes_nothing(
    platform: Platform, client: httpx2.AsyncClient, ada: User
) -> None:
    """A browser sends cookies by itself, so they are no statement: a token decides, under /v1 always."""
    cookie = {"Cookie": "__Host-ownkey_session=oks-somebody-elses"}
    both = {"Authorization": f"Bearer {ada.token}", **cookie}
    assert hints(await client.get("/api/credentials", headers=both)) == ["Ada"]
    assert (await client.post(CHAT, headers=both, json=BODY)).status_code == 200
    assert (await client.post(CHAT, headers=cookie, json=BODY)).status_code == 401
    assert [entry.key for entry in platform.providers.ledger()] == [ADA_KEY]


DEEP = b"[" * 100_000 + b"]" * 100_000
DEEP_OBJECTS = b'{"a":' * 30_000 + b"1" + b"}" * 30_000
WRITING = (
    ("POST", CHAT),
    ("POST", "/v1/messages"),
    ("POST", "/v1/messages/count_tokens"),
    ("POST", "/v1/responses"),
    ("POST", "/v1/embeddings"),
    ("POST", "/v1/images/generations"),
    ("POST", "/v1/rerank"),
    ("POST", "/v1/moderations"),
    ("POST", "/v1beta/models/auto:generateContent"),
    ("PATCH", "/api/settings"),
    ("POST", "/api/credentials"),
    ("POST", "/api/route/preview"),
    ("POST", "/api/sign-in/password"),
    ("POST", "/api/sign-in/link/check"),
)


@pytest.mark.parametrize(("method", "path"), WRITING)
@pytest.mark.parametrize(
    "body",
    [DEEP, DEEP_OBJECTS, b'{"messages":%b}' % DEEP, b'{"messages":[{"role":"user","content":%b}]}' % DEEP],
    ids=["arrays", "objects", "field", "inside"],
)
async def test_a_body_of_a_hundred_thousand_levels_is_a_mistake_of_the_caller(
    client: httpx2.AsyncClient, ada: User, method: str, path: str, body: bytes
) -> None:
    headers = {"Authorization": f"Bearer {ada.token}", "Content-Type": "application/json"}
    answer = await client.request(method, path, headers=headers, content=body)
    assert answer.status_code in (400, 404), answer.text[:300]
    assert answer.status_code == 400 or path.startswith("/api/sign-in"), answer.text[:300]
    assert (await client.get("/healthz")).status_code == 200


@pytest.mark.parametrize(("method", "path"), WRITING)
async def test_a_compressed_body_is_refused_by_name(
    client: httpx2.AsyncClient, ada: User, method: str, path: str
) -> None:
    headers = {"Authorization": f"Bearer {ada.token}", "Content-Encoding": "gzip", "Content-Type": "application/json"}
    answer = await client.request(method, path, headers=headers, content=b"\x1f\x8b")
    assert (answer.status_code, "unsupported_encoding" in answer.text.lower()) == (415, True)
