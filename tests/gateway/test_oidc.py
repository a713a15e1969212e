"""Signing in through an identity provider that lies, breaks or is away. A real one is in tests/panel."""

from __future__ import annotations

import hashlib
import hmac
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2
import msgspec
import pytest
import pytest_asyncio
from joserfc.jwk import OctKey, RSAKey
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from ownkey import Config, Ownkey
from ownkey.domain.user import Role, UserStatus
from ownkey.errors import ConfigError, NotFound
from ownkey.http import session_cookie
from ownkey.http.oidc_api import ATTEMPT_COOKIE
from ownkey.services.oidc_rules import read_oidc_rules
from ownkey.services.sessions import Visitor
from ownkey.testing import SimulatedProviders
from tests.gateway.api_client import unique
from tests.gateway.conftest import serve
from tests.gateway.token_issuer import TokenIssuer, encode, sign

CLIENT = "ownkey"
SECRET = "the-secret-of-this-client-000000001"


class Liar:
    """An identity provider that says whatever a test wants. `id_token` and the others are spoilt before each answer."""

    def __init__(self) -> None:
        self.signer = TokenIssuer()
        self.url = ""
        self.forget()

    def forget(self) -> None:
        """Honest again."""
        self.subject = unique("person")
        self.description: dict[str, Any] = {}
        self.claims: dict[str, Any] = {}
        self.id_token: str | None = None
        self.answer: Response | None = None
        self.userinfo: dict[str, Any] = {}
        self.nonce = ""
        self.asked: list[dict[str, str]] = []

    async def describe(self, _: Request) -> Response:
        """Discovery."""
        said = {
            "issuer": self.url,
            "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": f"{self.url}/token",
            "jwks_uri": f"{self.url}/jwks.json",
            "userinfo_endpoint": f"{self.url}/userinfo",
        }
        return JSONResponse({**said, **self.description})

    async def give_token(self, request: Request) -> Response:
        """The exchange of a code."""
        self.asked.append({**{key: str(value) for key, value in (await request.form()).items()}, **request.headers})
        if self.answer is not None:
            return self.answer
        token = self.id_token or self.make_token()
        return JSONResponse({"access_token": "access", "token_type": "Bearer", "id_token": token, "expires_in": 60})

    def make_token(self, *, header: dict[str, Any] | None = None, key: Any = None, **changes: Any) -> str:
        """An ID token for this sign-in; None leaves a claim out."""
        now = int(time.time())
        claims = {"iss": self.url, "aud": CLIENT, "sub": self.subject, "iat": now, "exp": now + 300}
        claims |= {"nonce": self.nonce, **self.claims, **changes}
        fields = {"alg": "RS256", "kid": "rsa", **(header or {})}
        said = {name: value for name, value in claims.items() if value is not None}
        return sign(fields, said, key or self.signer.keys["rsa"])

    async def give_userinfo(self, request: Request) -> Response:
        """More about the person."""
        assert request.headers["authorization"] == "Bearer access"
        return JSONResponse({"sub": self.subject, **self.userinfo})


class Platform:
    """A server that trusts the liar."""

    def __init__(self, ok: Ownkey, url: str, liar: Liar) -> None:
        self.ok, self.url, self.liar = ok, url, liar

    async def begin(self, client: httpx2.AsyncClient, *, confirm: bool = False) -> dict[str, str]:
        """Leave for the provider; gives what it is told."""
        answer = await client.get("/api/sign-in/oidc/sso", params={"confirm": confirm})
        assert answer.status_code == 303
        sent = {name: values[0] for name, values in parse_qs(urlsplit(answer.headers["location"]).query).items()}
        self.liar.nonce = sent["nonce"]
        return sent

    async def come_back(self, client: httpx2.AsyncClient, **parameters: str) -> str:
        """Come back from it; gives where to, below the server's address."""
        answer = await client.get("/api/sign-in/oidc/sso/callback", params=parameters)
        assert answer.status_code == 303
        assert answer.headers["cache-control"] == "no-store"
        return str(answer.headers["location"]).removeprefix(self.url)

    async def sign_in(self, client: httpx2.AsyncClient) -> str:
        """There and back."""
        sent = await self.begin(client)
        return await self.come_back(client, state=sent["state"], code="a-code")


@pytest.fixture(scope="module")
def place(data_dir: Path) -> Path:
    place = data_dir / "oidc"
    place.mkdir(mode=0o755)
    return place


@pytest_asyncio.fixture(scope="module")
async def shared(place: Path, providers: SimulatedProviders) -> AsyncIterator[Platform]:
    liar = Liar()
    routes = [
        Route("/.well-known/openid-configuration", liar.describe),
        Route("/token", liar.give_token, methods=["POST"]),
        Route("/jwks.json", liar.signer.answer),
        Route("/userinfo", liar.give_userinfo),
    ]
    async with serve(Starlette(routes=routes)) as issuer:
        liar.url = issuer
        config = Config(
            data_dir=place,
            catalog=providers.write_catalog(place / "catalog.toml"),
            oidc_issuer=issuer,
            oidc_client_id=CLIENT,
            oidc_client_secret=SECRET,
        )
        async with Ownkey.open(config, environ={}) as ok, serve(ok.asgi()) as url:
            yield Platform(ok, url, liar)


@pytest.fixture
def federated(shared: Platform) -> Platform:
    shared.liar.forget()
    return shared


@pytest_asyncio.fixture
async def browser(federated: Platform) -> AsyncIterator[httpx2.AsyncClient]:
    """Keeps cookies as a browser does, and `Secure` ones for this machine too."""
    async with httpx2.AsyncClient(base_url=federated.url) as client:
        client.event_hooks["response"].append(lambda answer: keep_cookies(client, answer))
        yield client


async def keep_cookies(client: httpx2.AsyncClient, answer: httpx2.Response) -> None:
    """httpx keeps `Secure` cookies back from http, where a browser sends them to loopback."""
    for line in answer.headers.get_list("set-cookie"):
        name, _, value = line.partition(";")[0].partition("=")
        jar = dict(part.split("=", 1) for part in client.headers.get("cookie", "").split("; ") if part)
        client.headers["cookie"] = "; ".join(f"{key}={text}" for key, text in {**jar, name: value}.items() if text)


def signed_in(client: httpx2.AsyncClient) -> bool:
    return session_cookie.NAME in client.headers.get("cookie", "")


async def test_an_honest_answer_signs_in_under_the_subject(federated: Platform, browser: httpx2.AsyncClient) -> None:
    liar = federated.liar
    sent = await federated.begin(browser)
    assert sent["redirect_uri"] == f"{federated.url}/api/sign-in/oidc/sso/callback"
    assert (sent["response_type"], sent["client_id"], sent["code_challenge_method"]) == ("code", CLIENT, "S256")
    assert sent["scope"] == "openid profile email"
    liar.id_token = liar.make_token()
    assert await federated.come_back(browser, state=sent["state"], code="a-code", iss=liar.url) == "/"
    (asked,) = liar.asked
    digest = hashlib.sha256(asked["code_verifier"].encode()).digest()
    assert urlsafe_b64encode(digest).rstrip(b"=").decode() == sent["code_challenge"]
    assert asked["authorization"].startswith("Basic ")
    session = (await browser.get("/api/session")).json()
    assert (session["user_id"], session["via"], session["role"]) == (liar.subject, "session", "user")
    assert ATTEMPT_COOKIE not in browser.headers["cookie"]
    for part in liar.id_token.split("."):
        assert part not in browser.headers["cookie"], "the provider's tokens stay in the server"
    assert (await browser.get("/api/sign-in")).json()["oidc"] == [{"id": "sso", "label": "SSO"}]


def confuse(liar: Liar) -> str:
    """Signed by HMAC with what everybody knows."""
    _, payload, _ = liar.make_token().split(".")
    signed = f"{encode({'alg': 'HS256', 'kid': 'rsa'})}.{payload}"
    public = liar.signer.keys["rsa"].as_pem(private=False)
    return f"{signed}.{encode(hmac.digest(public, signed.encode(), 'sha256'))}"


BAD: dict[str, Any] = {
    "no signature": lambda liar: f"{encode({'alg': 'none'})}.{liar.make_token().split('.')[1]}.",
    "the client's secret as key": lambda liar: liar.make_token(header={"alg": "HS256"}, key=OctKey.import_key(SECRET)),
    "the public key as secret": lambda liar: confuse(liar),
    "somebody else's key": lambda liar: liar.make_token(key=RSAKey.generate_key(2048)),
    "a key that comes along": lambda liar: liar.make_token(header={"jwk": liar.signer.keys["rsa"].as_dict()}),
    "another issuer": lambda liar: liar.make_token(iss="https://elsewhere.example"),
    "another audience": lambda liar: liar.make_token(aud="another-client"),
    "two audiences and nobody to whom it was given": lambda liar: liar.make_token(aud=[CLIENT, "another-client"]),
    "given to another client": lambda liar: liar.make_token(aud=[CLIENT, "other"], azp="other"),
    "the nonce of another sign-in": lambda liar: liar.make_token(nonce="another"),
    "no nonce": lambda liar: liar.make_token(nonce=None),
    "over": lambda liar: liar.make_token(iat=1_000_000_000, exp=1_000_000_300),
    "not yet": lambda liar: liar.make_token(iat=int(time.time()) + 3600, exp=int(time.time()) + 7200),
    "no end": lambda liar: liar.make_token(exp=None),
    "of another access token": lambda liar: liar.make_token(at_hash="AAAAAAAAAAAAAAAAAAAAAA"),
    "about nobody": lambda liar: liar.make_token(sub=None),
    "about nobody that could be a user": lambda liar: liar.make_token(sub="a\x00b"),
    "not a token": lambda _: "abc",
}


@pytest.mark.parametrize("name", BAD)
async def test_a_bad_id_token_signs_nobody_in(federated: Platform, browser: httpx2.AsyncClient, name: str) -> None:
    sent = await federated.begin(browser)
    federated.liar.id_token = BAD[name](federated.liar)
    assert await federated.come_back(browser, state=sent["state"], code="a-code") == "/#error=sign_in_failed"
    assert not signed_in(browser)
    with pytest.raises(NotFound):
        await federated.ok.users.get(federated.liar.subject)


@pytest.mark.parametrize(
    "answer",
    [
        JSONResponse({"error": "invalid_grant"}, 400),
        JSONResponse({"access_token": "access", "token_type": "Bearer"}),
        JSONResponse(["a list"]),
        PlainTextResponse("nothing that can be read"),
    ],
    ids=["refused", "no id token", "a list", "no json"],
)
async def test_an_exchange_that_fails_signs_nobody_in(
    federated: Platform, browser: httpx2.AsyncClient, answer: Response
) -> None:
    federated.liar.answer = answer
    assert await federated.sign_in(browser) == "/#error=sign_in_failed"
    assert not signed_in(browser)


async def test_the_answer_of_another_provider_is_not_taken(federated: Platform, browser: httpx2.AsyncClient) -> None:
    """Mix-up: the code of one provider must not be shown to another."""
    sent = await federated.begin(browser)
    where = await federated.come_back(browser, state=sent["state"], code="a-code", iss="https://elsewhere.example")
    assert where == "/#error=sign_in_failed"
    assert federated.liar.asked == []


@pytest.mark.parametrize("error", ["access_denied", "login_required", "server_error", "<script>"])
async def test_a_refusal_is_passed_on_as_one_of_our_words(
    federated: Platform, browser: httpx2.AsyncClient, error: str
) -> None:
    sent = await federated.begin(browser)
    where = await federated.come_back(browser, state=sent["state"], error=error, error_description="<script>")
    words = {"access_denied": "sign_in_denied", "login_required": "sign_in_not_fresh"}
    assert where == f"/#error={words.get(error, 'sign_in_failed')}"


async def test_an_attempt_is_answered_once_in_its_time_and_by_its_own_browser(
    federated: Platform, browser: httpx2.AsyncClient
) -> None:
    expired = "/#error=sign_in_expired"
    assert await federated.come_back(browser, state="x", code="a-code") == expired
    sent = await federated.begin(browser)
    begun = browser.headers["cookie"]
    for state in ("", "other", sent["state"] + "x", "ä"):
        browser.headers["cookie"] = begun
        assert await federated.come_back(browser, state=state, code="a-code") == expired
    name, _, value = begun.partition("=")
    attempt = msgspec.json.decode(urlsafe_b64decode(value + "=" * (-len(value) % 4)))
    for change in ({"began_at": attempt["began_at"] - 601}, {"began_at": attempt["began_at"] + 60}, {"state": 7}):
        old = urlsafe_b64encode(msgspec.json.encode({**attempt, **change})).decode().rstrip("=")
        browser.headers["cookie"] = f"{name}={old}"
        assert await federated.come_back(browser, state=sent["state"], code="a-code") == expired
    browser.headers["cookie"] = begun
    assert await federated.come_back(browser, state=sent["state"], code="a-code") == "/"
    assert await federated.come_back(browser, state=sent["state"], code="a-code") == expired
    assert len(federated.liar.asked) == 1


async def test_a_suspended_user_stays_outside(federated: Platform, browser: httpx2.AsyncClient) -> None:
    assert await federated.sign_in(browser) == "/"
    await federated.ok.users.set_status(federated.liar.subject, UserStatus.SUSPENDED, actor="boss")
    async with httpx2.AsyncClient(base_url=federated.url) as other:
        other.event_hooks["response"].append(lambda answer: keep_cookies(other, answer))
        assert await federated.sign_in(other) == "/#error=user_suspended"
        assert not signed_in(other)


@pytest.mark.parametrize(("ago", "fresh"), [(0, True), (3600, False), (None, False), (-3600, True)], ids=str)
async def test_who_was_let_through_without_a_question_has_proved_nothing_now(
    federated: Platform, browser: httpx2.AsyncClient, ago: int | None, fresh: bool
) -> None:
    """At an abandoned desk, one click signs in: that is not the fresh sign-in that a reset link or a key asks for."""
    federated.liar.claims = {"auth_time": None if ago is None else int(time.time()) - ago}
    assert await federated.sign_in(browser) == "/"
    await federated.ok.users.set_role(federated.liar.subject, Role.ADMIN)
    headers = {"x-ownkey-panel": "1", "origin": federated.url}
    answer = await browser.post(f"/api/admin/users/{federated.liar.subject}/reset", headers=headers)
    if fresh:
        assert answer.status_code == 201, answer.text
    else:
        assert (answer.status_code, answer.json()["code"]) == (403, "fresh_sign_in_required")


async def test_a_confirmation_needs_a_proof_of_now_by_the_same_person(
    federated: Platform, browser: httpx2.AsyncClient
) -> None:
    assert await federated.sign_in(browser) == "/"
    session = browser.headers["cookie"]
    now = int(time.time())
    for claims, where in (
        ({"auth_time": None}, "/#error=sign_in_not_fresh"),
        ({"auth_time": now - 3600}, "/#error=sign_in_not_fresh"),
        ({"auth_time": now, "sub": "somebody-else"}, "/#error=sign_in_other_user"),
    ):
        browser.headers["cookie"] = session
        sent = await federated.begin(browser, confirm=True)
        assert (sent["prompt"], sent["max_age"]) == ("login", "0")
        federated.liar.claims = claims
        assert await federated.come_back(browser, state=sent["state"], code="a-code") == where
        browser.headers["cookie"] = session
        assert (await browser.get("/api/session")).status_code == 200, "the session is as it was"
    browser.headers["cookie"] = session
    sent = await federated.begin(browser, confirm=True)
    federated.liar.claims = {"auth_time": int(time.time())}
    assert await federated.come_back(browser, state=sent["state"], code="a-code") == "/"
    assert (await browser.get("/api/session")).status_code == 200
    assert (await browser.get("/api/session", headers={"cookie": session})).status_code == 401, "rotated"
    browser.headers.pop("cookie")
    sent = await federated.begin(browser, confirm=True)
    where = await federated.come_back(browser, state=sent["state"], code="a-code")
    assert where == "/#error=sign_in_expired", "nobody is there whose session could be made fresh"


async def test_no_claim_makes_an_administrator_and_a_role_stays(
    federated: Platform, browser: httpx2.AsyncClient
) -> None:
    federated.liar.claims = {"role": "admin", "roles": ["admin"], "groups": ["admin"], "scope": "admin"}
    assert await federated.sign_in(browser) == "/"
    assert (await browser.get("/api/session")).json()["role"] == "user"
    await federated.ok.users.set_role(federated.liar.subject, Role.ADMIN, actor="boss")
    assert await federated.sign_in(browser) == "/"
    assert (await browser.get("/api/session")).json()["role"] == "admin"


async def test_what_the_browser_brought_is_over(federated: Platform, browser: httpx2.AsyncClient) -> None:
    planted = await federated.ok.core.sessions.start(unique("planter"), Visitor(), method="password")
    browser.headers["cookie"] = f"{session_cookie.NAME}={planted.token}"
    assert await federated.sign_in(browser) == "/"
    assert planted.token not in browser.headers["cookie"]
    assert await federated.ok.core.sessions.find(planted.token) is None


@pytest.mark.parametrize("path", ["/api/sign-in/oidc/other", "/api/sign-in/oidc/other/callback"])
async def test_another_provider_is_not_known(federated: Platform, browser: httpx2.AsyncClient, path: str) -> None:
    assert (await browser.get(path)).status_code == 404


@pytest.mark.parametrize(
    "description",
    [
        {"issuer": "https://elsewhere.example"},
        {"token_endpoint": "http://elsewhere.example/token"},
        {"jwks_uri": None},
        {"token_endpoint_auth_methods_supported": ["private_key_jwt"]},
    ],
    ids=["another issuer", "in the clear", "no keys", "no way to show the secret"],
)
async def test_a_description_that_cannot_be_used_is_as_if_the_provider_were_away(
    federated: Platform, description: dict[str, Any]
) -> None:
    liar = federated.liar
    liar.description = description
    async with fresh_server(federated) as client:
        answer = await client.get("/api/sign-in/oidc/sso")
        assert answer.headers["location"].endswith("/#error=identity_provider_unavailable")
        liar.forget()
        answer = await client.get("/api/sign-in/oidc/sso")
        assert answer.headers["location"].startswith(f"{liar.url}/authorize?"), "asked again when it is back"


async def test_claims_that_the_id_token_leaves_out_are_asked_for(federated: Platform) -> None:
    liar = federated.liar
    address = f"{unique('ann')}@example.com"
    async with fresh_server(federated, oidc_user_claim="email") as client:
        server = Platform(federated.ok, str(client.base_url).rstrip("/"), liar)
        for userinfo, where in (
            ({"email": address, "email_verified": True, "sub": "somebody-else"}, "/#error=sign_in_failed"),
            ({"email": address, "email_verified": "true"}, "/#error=sign_in_failed"),
            ({"email": address}, "/#error=sign_in_failed"),
            ({"email": address, "email_verified": True}, "/"),
        ):
            liar.userinfo = userinfo
            assert await server.sign_in(client) == where
        assert (await client.get("/api/session")).json()["user_id"] == address


@asynccontextmanager
async def fresh_server(federated: Platform, **changes: Any) -> AsyncIterator[httpx2.AsyncClient]:
    """Another process: nothing is known yet of the provider."""
    config = msgspec.structs.replace(federated.ok.config, **changes)
    async with (
        Ownkey.open(config, environ={}) as ok,
        serve(ok.asgi()) as url,
        httpx2.AsyncClient(base_url=url) as client,
    ):
        client.event_hooks["response"].append(lambda answer: keep_cookies(client, answer))
        yield client


@pytest.mark.parametrize(
    "settings",
    [
        {"oidc_issuer": "https://login.example.com"},
        {"oidc_client_id": "ownkey"},
        {"oidc_client_secret": "secret"},
        {"oidc_issuer": "http://login.example.com", "oidc_client_id": "ownkey"},
        {"oidc_issuer": "https://user@login.example.com", "oidc_client_id": "ownkey"},
        {"oidc_issuer": "https://login.example.com", "oidc_client_id": "ownkey", "oidc_scopes": ("email",)},
    ],
)
def test_half_a_configuration_is_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"OWNKEY_OIDC|OpenID"):
        read_oidc_rules(Config(**settings))


def test_secrets_are_in_no_representation() -> None:
    rules = read_oidc_rules(
        Config(oidc_issuer="https://login.example.com", oidc_client_id="ownkey", oidc_client_secret=SECRET)
    )
    assert SECRET not in repr(rules)
