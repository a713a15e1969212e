"""Tokens that the host application signs: who gets in with one, and every way that must not work."""

from __future__ import annotations

import asyncio
import hmac
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
import pytest_asyncio
from joserfc.errors import SecurityWarning
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey
from msgspec import Struct
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route

from ownkey import Config, Ownkey
from ownkey.domain.user import Role, UserStatus
from ownkey.services import signing_keys
from ownkey.testing import SimulatedProviders
from tests.gateway.api_client import unique
from tests.gateway.conftest import SHARED, serve
from tests.gateway.token_issuer import AUDIENCE, TokenIssuer, decode, encode, running_issuer, sign

CHAT = "/v1/chat/completions"
BODY: dict[str, Any] = {"model": "auto", "messages": [{"role": "user", "content": "hi"}]}
SECRET = "a-supabase-project's-legacy-secret-of-40b"


class Hosted(Struct):
    """A server, the issuer it trusts, and a client of the server."""

    ok: Ownkey
    issuer: TokenIssuer
    client: httpx2.AsyncClient

    async def ask(self, token: str, path: str = "/api/settings", **headers: str) -> httpx2.Response:
        """One request with this token; under /v1 a chat."""
        headers = {"Authorization": f"Bearer {token}", **headers}
        if path == CHAT:
            return await self.client.post(path, json=BODY, headers=headers)
        return await self.client.get(path, headers=headers)


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@asynccontextmanager
async def hosting(
    data_dir: Path, providers: SimulatedProviders, issuer: TokenIssuer, **settings: Any
) -> AsyncIterator[Hosted]:
    """A server that trusts this issuer. It may share its database with another one."""
    settings = {
        "jwt_issuer": issuer.issuer,
        "jwt_audience": AUDIENCE,
        "jwt_jwks_url": issuer.jwks_url,
        **settings,
    }
    config = Config(data_dir=data_dir, catalog=providers.write_catalog(data_dir / "catalog.toml"), **settings)
    async with (
        Ownkey.open(config, environ=SHARED) as ok,
        serve(ok.asgi()) as url,
        httpx2.AsyncClient(base_url=url, timeout=20) as client,
    ):
        yield Hosted(ok, issuer, client)


@pytest_asyncio.fixture(scope="module")
async def hosted(data_dir: Path, providers: SimulatedProviders) -> AsyncIterator[Hosted]:
    async with running_issuer() as issuer, hosting(data_dir, providers, issuer, jwt_max_lifetime_seconds=3600) as made:
        yield made


@pytest_asyncio.fixture
async def own(
    data_dir: Path, providers: SimulatedProviders, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[Hosted, Clock]]:
    """A server that has fetched nothing yet, with a clock for its key set."""
    clock = Clock()
    monkeypatch.setattr(signing_keys, "monotonic", clock)
    async with running_issuer() as issuer, hosting(data_dir, providers, issuer) as made:
        yield made, clock


@pytest.mark.parametrize("kid", ["rsa", "ec", "ed"])
async def test_a_good_token_opens_both_doors(hosted: Hosted, kid: str) -> None:
    user = unique("ann")
    token = hosted.issuer.token(user, kid=kid)
    for _ in range(2):
        chat = await hosted.ask(token, CHAT)
        assert chat.status_code == 200, chat.text
        assert (await hosted.ask(token)).status_code == 200
    assert (await hosted.ok.users.get(user)).role is Role.USER
    created = [entry.action for entry in await hosted.ok.audit.list_entries(user)]
    assert created == ["user.created"]


@pytest.mark.parametrize(
    ("changes", "header"),
    [
        ({"aud": ["another", AUDIENCE]}, {}),
        ({"nbf": time.time() + 20.5, "iat": None}, {}),
        ({"iat": int(time.time()) + 20}, {}),
        ({"iat": None}, {}),
        ({"role": "editor", "nested": {"a": [1, None]}}, {"typ": "at+jwt"}),
        ({"role": ["editor", "anon"]}, {}),
        ({"role": {"name": "editor"}}, {}),
        ({}, {"kid": None}),
        ({}, {"x5t": "thumbprint", "jku": "https://evil.example/jwks.json", "x5u": "https://evil.example/x5u"}),
    ],
    ids=[
        "audiences",
        "nbf within leeway",
        "iat within leeway",
        "no iat",
        "access token",
        "a list of roles",
        "a role with parts",
        "no kid",
        "unread headers",
    ],
)
async def test_what_else_is_good(hosted: Hosted, changes: dict[str, Any], header: dict[str, Any]) -> None:
    fetches = hosted.issuer.fetches
    answer = await hosted.ask(hosted.issuer.token(unique("ann"), header=header, **changes))
    assert answer.status_code == 200, answer.text
    assert hosted.issuer.fetches - fetches <= 1


def header_of(token: str, **changes: Any) -> str:
    """The same token under another header, with the signature as it was."""
    header, payload, signature = token.split(".")
    del header
    return ".".join((encode({"alg": "ES256", "kid": "ec", **changes}), payload, signature))


def unsigned(issuer: TokenIssuer, algorithm: str, signature: str = "") -> str:
    return f"{encode({'alg': algorithm})}.{encode(issuer.claims('mallory'))}.{signature}"


def rsa_as_secret(issuer: TokenIssuer, pem: bool) -> str:
    """By hand: no library signs with a public key."""
    public = issuer.keys["rsa"]
    secret = public.as_pem(private=False) if pem else json.dumps(public.as_dict(private=False)).encode()
    signed = f"{encode({'alg': 'HS256', 'kid': 'rsa'})}.{encode(issuer.claims('mallory'))}"
    return f"{signed}.{encode(hmac.digest(secret, signed.encode(), 'sha256'))}"


def with_own_key(issuer: TokenIssuer, **header: Any) -> str:
    """Signed by a key of the attacker's, which the header offers."""
    key = ECKey.generate_key("P-256")
    offers = header or {"jwk": key.as_dict(private=False)}
    return sign({"alg": "ES256", "kid": "ec", **offers}, issuer.claims("mallory"), key)


def duplicated(issuer: TokenIssuer, name: str, first: str) -> str:
    payload = json.dumps(issuer.claims("mallory"))
    return sign({"alg": "ES256", "kid": "ec"}, f'{{"{name}":"{first}",{payload[1:]}', issuer.keys["ec"])


def varied(token: str) -> str:
    """The same bytes, another spelling: the last character holds bits that nobody decodes."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    last = alphabet.index(token[-1])
    return token[:-1] + alphabet[last + 1 if last % 4 < 3 else last - 1]


BAD: dict[str, Callable[[TokenIssuer], str]] = {
    "alg none": lambda i: unsigned(i, "none"),
    "alg None": lambda i: unsigned(i, "None", "AA"),
    "alg NONE": lambda i: unsigned(i, "NONE", "AA"),
    "alg nOnE": lambda i: unsigned(i, "nOnE", "AA"),
    "alg none with a good signature": lambda i: header_of(i.token("mallory"), alg="none"),
    "alg empty": lambda i: unsigned(i, "", "AA"),
    "alg missing": lambda i: f"{encode({'kid': 'ec'})}.{encode(i.claims('m'))}.AA",
    "alg a list": lambda i: sign({"alg": ["ES256"], "kid": "ec"}, i.claims("m"), i.keys["ec"], algorithm="ES256"),
    "alg es256": lambda i: sign({"alg": "es256", "kid": "ec"}, i.claims("m"), i.keys["ec"], algorithm="ES256"),
    "alg RS384, which is not ours": lambda i: sign({"alg": "RS384", "kid": "rsa"}, i.claims("m"), i.keys["rsa"]),
    "HS256 with the RSA key's PEM": lambda i: rsa_as_secret(i, pem=True),
    "HS256 with the RSA key's JWK": lambda i: rsa_as_secret(i, pem=False),
    "ES256 said, RSA signed": lambda i: sign({"alg": "ES256", "kid": "rsa"}, i.claims("m"), i.keys["rsa"], "RS256"),
    "RS256 said, EC signed": lambda i: sign({"alg": "RS256", "kid": "ec"}, i.claims("m"), i.keys["ec"], "ES256"),
    "RS256 said, RSA-PSS signed": lambda i: sign({"alg": "RS256", "kid": "rsa"}, i.claims("m"), i.keys["rsa"], "PS256"),
    "EC key under the RSA key's id": lambda i: sign({"alg": "ES256", "kid": "rsa"}, i.claims("m"), i.keys["ec"]),
    "wrong issuer": lambda i: i.token("m", iss="https://evil.example"),
    "issuer is a prefix": lambda i: i.token("m", iss=i.issuer + ".evil.example"),
    "issuer with a slash more": lambda i: i.token("m", iss=i.issuer + "/"),
    "issuer in capitals": lambda i: i.token("m", iss=i.issuer.upper()),
    "issuer a list": lambda i: i.token("m", iss=[i.issuer]),
    "no issuer": lambda i: i.token("m", iss=None),
    "wrong audience": lambda i: i.token("m", aud="another"),
    "audience is a prefix": lambda i: i.token("m", aud=AUDIENCE + "-2"),
    "audiences without ours": lambda i: i.token("m", aud=["one", "two"]),
    "audiences with something else": lambda i: i.token("m", aud=[AUDIENCE, 7]),
    "no audience": lambda i: i.token("m", aud=None),
    "no audience in an empty list": lambda i: i.token("m", aud=[]),
    "no exp": lambda i: i.token("m", exp=None),
    "exp is text": lambda i: i.token("m", exp=str(int(time.time()) + 60)),
    "exp is true": lambda i: i.token("m", exp=True),
    "exp is infinite": lambda i: sign(
        {"alg": "ES256", "kid": "ec"},
        json.dumps(i.claims("m", exp=0)).replace('"exp": 0', '"exp": 1e999'),
        i.keys["ec"],
    ),
    "exp is not a number": lambda i: sign(
        {"alg": "ES256", "kid": "ec"},
        json.dumps(i.claims("m", exp=0)).replace('"exp": 0', '"exp": NaN'),
        i.keys["ec"],
    ),
    "exp is huge": lambda i: i.token("m", exp=10**300),
    "lives too long": lambda i: i.token("m", exp=int(time.time()) + 4000),
    "lives too long and does not say since when": lambda i: i.token("m", iat=None, exp=int(time.time()) + 4000),
    "not yet valid": lambda i: i.token("m", nbf=int(time.time()) + 120),
    "issued in the future": lambda i: i.token("m", iat=int(time.time()) + 120),
    "iat is text": lambda i: i.token("m", iat="yesterday"),
    "no sub": lambda i: i.token("m", sub=None),
    "sub is a number": lambda i: i.token("m", sub=42),
    "sub is a list": lambda i: i.token("m", sub=["root"]),
    "sub is empty": lambda i: i.token(""),
    "sub holds a line break": lambda i: i.token("root\nadmin"),
    "sub holds a zero byte": lambda i: i.token("root\0"),
    "sub holds half a character": lambda i: i.token("root\ud800"),
    "sub turns the direction of writing": lambda i: i.token("\u202etoor"),
    "sub is too long": lambda i: i.token("m" * 256),
    "kid is a path": lambda i: with_own_key(i, kid="../../../../dev/null"),
    "kid is a URL": lambda i: with_own_key(i, kid="http://127.0.0.1:1/evil.json"),
    "kid is SQL": lambda i: with_own_key(i, kid="ec' or '1'='1"),
    "kid is a number": lambda i: sign({"alg": "ES256", "kid": 1}, i.claims("m"), i.keys["ec"]),
    "kid is very long": lambda i: sign({"alg": "ES256", "kid": "k" * 300}, i.claims("m"), i.keys["ec"]),
    "jwk brings its own key": with_own_key,
    "jwk beside a good signature": lambda i: i.token("m", header={"jwk": i.published["ec"]}),
    "jku names its own key set": lambda i: with_own_key(i, jku=i.url + "/evil.json"),
    "x5u names its own certificate": lambda i: with_own_key(i, x5u=i.url + "/evil.pem"),
    "x5c brings its own certificate": lambda i: with_own_key(i, x5c=["MIIB"]),
    "crit": lambda i: i.token("m", header={"crit": ["exp"]}),
    "crit is empty": lambda i: i.token("m", header={"crit": []}),
    "crit names what is unknown": lambda i: i.token("m", header={"crit": ["urn:x"], "urn:x": 1}),
    "b64 false": lambda i: i.token("m", header={"b64": False, "crit": ["b64"]}),
    "b64 false without crit": lambda i: i.token("m", header={"b64": False}),
    "another kind of token": lambda i: i.token("m", header={"typ": "logout+jwt"}),
    "signature cut short": lambda i: i.token("m")[:-4],
    "signature left out": lambda i: i.token("m").rpartition(".")[0] + ".",
    "signature of zeros": lambda i: i.token("m").rpartition(".")[0] + "." + encode(bytes(64)),
    "signature spelt differently": lambda i: varied(i.token("m")),
    "payload of another token": lambda i: ".".join(
        (i.token("m").split(".")[0], i.token("n").split(".")[1], i.token("m").split(".")[2])
    ),
    "padding": lambda i: i.token("m") + "=",
    "trailing data": lambda i: i.token("m") + ".AAAA",
    "something behind the signature": lambda i: i.token("m") + "AAAA",
    "space inside": lambda i: i.token("m").replace(".", ". ", 1),
    "not base64url": lambda i: i.token("m").replace(".", ".+/", 1),
    "a claim twice": lambda i: duplicated(i, "sub", "root"),
    "an issuer twice": lambda i: duplicated(i, "iss", "https://evil.example"),
    "a header twice": lambda i: sign(
        '{"alg":"none","alg":"ES256","kid":"ec"}', i.claims("m"), i.keys["ec"], algorithm="ES256"
    ),
    "huge": lambda i: i.token("m", padding="x" * 8192),
    "deeply nested payload": lambda i: sign(
        {"alg": "ES256", "kid": "ec"}, json.dumps(i.claims("m"))[:-1] + ',"x":' + "[" * 5000 + "}", i.keys["ec"]
    ),
    "nested a thousand times": lambda i: sign(
        {"alg": "ES256", "kid": "ec"},
        json.dumps(i.claims("m"))[:-1] + ',"x":' + "[" * 2400 + "]" * 2400 + "}",
        i.keys["ec"],
    ),
    "deeply nested header": lambda i: ".".join((encode('{"alg":' + "[" * 5000), encode(i.claims("m")), "AAAA")),
    "payload is a list": lambda i: sign({"alg": "ES256", "kid": "ec"}, "[]", i.keys["ec"]),
    "payload is no JSON": lambda i: sign({"alg": "ES256", "kid": "ec"}, "sub=root", i.keys["ec"]),
    "payload is empty": lambda i: i.token("m").split(".")[0] + ".." + i.token("m").split(".")[2],
    "key of the issuer's kind that it never had": lambda i: sign(
        {"alg": "EdDSA", "kid": "ed"}, i.claims("m"), OKPKey.generate_key("Ed25519")
    ),
    "Supabase anon": lambda i: i.token("m", role="anon"),
    "Supabase service role": lambda i: i.token("m", role="service_role"),
    "not signed up": lambda i: i.token("m", is_anonymous=True),
    "encrypted": lambda i: ".".join([encode({"alg": "dir", "enc": "A256GCM"}), "", "AAAA", "AAAA", "AAAA"]),
}


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("path", ["/api/settings", CHAT])
async def test_a_bad_token_is_refused_without_a_hint(hosted: Hosted, name: str, path: str) -> None:
    answer = await hosted.ask(BAD[name](hosted.issuer), path)
    assert answer.status_code == 401, answer.text
    problem = answer.json() if path != CHAT else answer.json()["error"]
    assert problem["code"] == "token_invalid"
    said = problem["detail" if path != CHAT else "message"]
    # One sentence for all that looks like a token, whatever was wrong; the other belongs to gateway tokens.
    assert said in (
        "This token is not valid here.",
        "This is not a gateway token: it is mistyped or belongs to something else.",
    )
    assert answer.headers["www-authenticate"].startswith("Bearer")


async def test_a_token_that_was_good_has_expired(hosted: Hosted) -> None:
    past = int(time.time()) - 10
    answer = await hosted.ask(hosted.issuer.token(unique("ann"), iat=past - 60, exp=past))
    assert (answer.status_code, answer.json()["code"]) == (401, "token_expired")
    # Of a token that is wrong besides, nobody says that it was good once.
    answer = await hosted.ask(hosted.issuer.token("m", iat=past - 60, exp=past, aud="another"))
    assert answer.json()["code"] == "token_invalid"


async def test_a_remembered_token_ends_when_it_says(hosted: Hosted, monkeypatch: pytest.MonkeyPatch) -> None:
    token = hosted.issuer.token(unique("ann"))
    assert (await hosted.ask(token)).status_code == 200
    later = time.time() + 601
    monkeypatch.setattr("ownkey.services.host_tokens.time", lambda: later)
    answer = await hosted.ask(token)
    assert (answer.status_code, answer.json()["code"]) == (401, "token_expired")


async def test_users_never_cross(hosted: Hosted) -> None:
    names = [unique("ann"), unique("bob")]
    tokens = [hosted.issuer.token(name) for name in names]
    for name, token in zip(names, tokens, strict=True):
        await hosted.ask(token)
        await hosted.ok.settings.add_credential(name, "groq", f"gsk_{name}", label=name)

    async def labels(token: str) -> list[str]:
        return [one["label"] for one in (await hosted.ask(token, "/api/credentials")).json()]

    answers = await asyncio.gather(*(labels(tokens[turn % 2]) for turn in range(40)))
    assert answers == [[names[turn % 2]] for turn in range(40)]


async def test_many_first_requests_make_one_user(hosted: Hosted) -> None:
    user = unique("ann")
    token = hosted.issuer.token(user)
    answers = await asyncio.gather(*(hosted.ask(token) for _ in range(12)))
    assert {answer.status_code for answer in answers} == {200}
    assert [entry.action for entry in await hosted.ok.audit.list_entries(user)] == ["user.created"]


async def test_a_suspended_user_is_refused_at_once(hosted: Hosted) -> None:
    user = unique("ann")
    token = hosted.issuer.token(user)
    assert (await hosted.ask(token)).status_code == 200
    await hosted.ok.users.set_status(user, UserStatus.SUSPENDED)
    for path in ("/api/settings", CHAT):
        answer = await hosted.ask(token, path)
        assert answer.status_code == 403
        assert "user_suspended" in answer.text
    await hosted.ok.users.set_status(user, UserStatus.ACTIVE)
    assert (await hosted.ask(token)).status_code == 200


async def test_no_claim_makes_an_administrator(hosted: Hosted) -> None:
    user = unique("root")
    await hosted.ok.users.create(user, role=Role.ADMIN)
    token = hosted.issuer.token(user, role="admin", scope="admin", scopes=["admin"])
    assert (await hosted.ask(token, "/api/admin/users")).status_code == 403


async def test_an_administrators_token_where_the_operator_allows_it(
    data_dir: Path, providers: SimulatedProviders
) -> None:
    async with running_issuer() as issuer, hosting(data_dir, providers, issuer, jwt_admins=True) as hosted:
        admin, user = unique("root"), unique("ann")
        await hosted.ok.users.create(admin, role=Role.ADMIN)
        assert (await hosted.ask(issuer.token(admin), "/api/admin/users")).status_code == 200
        assert (await hosted.ask(issuer.token(user), "/api/admin/users")).status_code == 403
        await hosted.ok.users.set_role(admin, Role.USER)
        assert (await hosted.ask(issuer.token(admin), "/api/admin/users")).status_code == 403


async def test_a_new_key_works_and_a_retired_one_does_not(own: tuple[Hosted, Clock]) -> None:
    hosted, clock = own
    issuer = hosted.issuer
    issuer.publish("rsa", "ec")
    old, new = issuer.token(unique("ann"), kid="ec"), issuer.token(unique("ann"), kid="ed")
    assert (await hosted.ask(old)).status_code == 200
    issuer.publish("rsa", "ed")
    clock.now += 31
    assert (await hosted.ask(new)).status_code == 200
    # It was verified before, and is remembered; its key is gone all the same.
    assert (await hosted.ask(old)).status_code == 401
    assert issuer.fetches == 2


async def test_a_retired_key_is_noticed_without_a_new_one(own: tuple[Hosted, Clock]) -> None:
    hosted, clock = own
    token = hosted.issuer.token(unique("ann"), kid="ec")
    assert (await hosted.ask(token)).status_code == 200
    hosted.issuer.publish("rsa")
    clock.now += 301
    # The first one after five minutes starts the fetch; whoever comes after it is refused.
    assert (await hosted.ask(token)).status_code == 200
    async with asyncio.timeout(10):
        while (await hosted.ask(token)).status_code != 401:
            await asyncio.sleep(0)
    assert hosted.issuer.fetches == 2


async def test_invented_key_ids_fetch_once_in_thirty_seconds(own: tuple[Hosted, Clock]) -> None:
    hosted, clock = own
    issuer = hosted.issuer

    def invented() -> str:
        return issuer.token("mallory", header={"kid": unique("kid")})

    good = issuer.token(unique("ann"))
    assert (await hosted.ask(good)).status_code == 200
    clock.now += 31
    issuer.held.clear()
    waiting = [asyncio.create_task(hosted.ask(invented())) for _ in range(20)]
    # Good tokens do not wait for what others have invented.
    assert (await hosted.ask(good)).status_code == 200
    issuer.held.set()
    assert {(await one).status_code for one in waiting} == {401}
    for _ in range(20):
        assert (await hosted.ask(invented())).status_code == 401
    assert issuer.fetches == 2
    clock.now += 31
    assert (await hosted.ask(invented())).status_code == 401
    assert issuer.fetches == 3


async def test_the_first_tokens_share_one_fetch(own: tuple[Hosted, Clock]) -> None:
    hosted, _ = own
    answers = await asyncio.gather(*(hosted.ask(hosted.issuer.token(unique("ann"))) for _ in range(10)))
    assert {answer.status_code for answer in answers} == {200}
    assert hosted.issuer.fetches == 1


async def test_an_issuer_that_is_away_refuses_nobody(own: tuple[Hosted, Clock]) -> None:
    hosted, clock = own
    issuer = hosted.issuer
    issuer.status = 503
    warm, cold = issuer.token(unique("ann")), issuer.token(unique("bob"), kid="rsa")
    answer = await hosted.ask(warm)
    assert (answer.status_code, answer.json()["code"]) == (503, "identity_provider_unavailable")
    assert int(answer.headers["retry-after"]) >= 1
    assert (await hosted.ask(warm, CHAT)).status_code == 503
    assert issuer.fetches == 1
    issuer.status = 200
    clock.now += 6
    assert (await hosted.ask(warm)).status_code == 200
    # Away again: the keys that are known serve on for hours, those that are not are no reason for a 401.
    issuer.status = 500
    for seconds in (400, 6 * 3600, 5 * 3600):
        clock.now += seconds
        assert (await hosted.ask(warm)).status_code == 200
        assert (await hosted.ask(cold)).status_code == 200
        assert (await hosted.ask(issuer.token("eve", header={"kid": "new"}))).status_code == 503
    clock.now += 2 * 3600
    for token in (warm, cold):
        answer = await hosted.ask(token)
        assert (answer.status_code, answer.json()["code"]) == (503, "identity_provider_unavailable")


@pytest.mark.parametrize("document", ["not json", "[]", '{"keys": []}', '{"keys": [{"kty": "RSA"}]}', "[" * 9000])
async def test_a_broken_key_set_does_not_replace_a_good_one(own: tuple[Hosted, Clock], document: str) -> None:
    hosted, clock = own
    token = hosted.issuer.token(unique("ann"))
    assert (await hosted.ask(token)).status_code == 200
    hosted.issuer.answer = lambda _: Response(document)  # type: ignore[method-assign,assignment,return-value]
    clock.now += 31
    assert (await hosted.ask(hosted.issuer.token("m", header={"kid": "new"}))).status_code in (401, 503)
    assert (await hosted.ask(token)).status_code == 200


async def test_weak_and_foreign_keys_in_a_set_are_left_out(own: tuple[Hosted, Clock]) -> None:
    hosted, _ = own
    issuer = hosted.issuer
    with pytest.warns(SecurityWarning):
        weak = RSAKey.generate_key(1024)
    issuer.keys |= {
        "weak": weak,
        "encryption": ECKey.generate_key("P-256"),
        "other": ECKey.generate_key("P-256"),
        "curve": ECKey.generate_key("secp256k1"),
    }
    issuer.publish(*issuer.keys)
    issuer.published["encryption"]["use"] = "enc"
    issuer.published["other"]["alg"] = "ES384"
    issuer.published["oct"] = {"kty": "oct", "k": encode(SECRET), "kid": "oct"}
    for kid in ("weak", "encryption", "other"):
        assert (await hosted.ask(issuer.token("m", kid=kid))).status_code == 401, kid
    secret = OctKey.import_key({"kty": "oct", "k": encode(SECRET)})
    assert (await hosted.ask(sign({"alg": "HS256", "kid": "oct"}, issuer.claims("m"), secret))).status_code == 401
    curve = sign({"alg": "ES256", "kid": "curve"}, issuer.claims("m"), issuer.keys["curve"], "ES256K")
    assert (await hosted.ask(curve)).status_code == 401
    assert (await hosted.ask(issuer.token(unique("ann")))).status_code == 200


@pytest_asyncio.fixture(scope="module")
async def legacy(data_dir: Path, providers: SimulatedProviders) -> AsyncIterator[Hosted]:
    issuer = TokenIssuer("https://project.supabase.test")
    settings = {"jwt_jwks_url": None, "jwt_issuer": None, "jwt_audience": None}
    async with hosting(data_dir, providers, issuer, supabase_url=issuer.url, jwt_secret=SECRET, **settings) as hosted:
        yield hosted


def supabase_token(subject: str, **changes: Any) -> str:
    now = int(time.time())
    claims = {
        "iss": "https://project.supabase.test/auth/v1",
        "aud": "authenticated",
        "sub": subject,
        "iat": now,
        "exp": now + 3600,
        "email": "ann@example.com",
        "phone": "",
        "app_metadata": {"provider": "email", "providers": ["email"]},
        "user_metadata": {"role": "service_role"},
        "role": "authenticated",
        "aal": "aal1",
        "amr": [{"method": "password", "timestamp": now}],
        "session_id": "a3f4c0f2-6d0e-4a0e-9a57-2f7f6f1f1d11",
        "is_anonymous": False,
        **changes,
    }
    key = OctKey.import_key({"kty": "oct", "k": encode(SECRET)})
    return sign({"alg": "HS256", "kid": "anything", "typ": "JWT"}, claims, key)


async def test_a_person_of_supabase_gets_in(legacy: Hosted) -> None:
    token = supabase_token(unique("ann"))
    assert (await legacy.ask(token)).status_code == 200
    assert (await legacy.ask(token, CHAT)).status_code == 200


@pytest.mark.parametrize(
    "changes",
    [
        {"role": "anon"},
        {"role": "service_role"},
        {"role": None},
        {"role": ["authenticated"]},
        {"is_anonymous": True},
        {"aud": "anon"},
        {"iss": "supabase"},
        {"exp": int(time.time()) + 10 * 365 * 86_400},
    ],
    ids=["anon", "service role", "no role", "a list of roles", "anonymous", "audience", "project key", "ten years"],
)
async def test_a_program_of_supabase_does_not(legacy: Hosted, changes: dict[str, Any]) -> None:
    answer = await legacy.ask(supabase_token("m", **changes))
    assert (answer.status_code, answer.json()["code"]) == (401, "token_invalid")


async def test_another_secret_or_kind_of_signature_does_not(legacy: Hosted) -> None:
    other = OctKey.import_key({"kty": "oct", "k": encode("another-secret-that-is-long-enough-0001")})
    claims = json.loads(decode(supabase_token("m").split(".")[1]))
    for token in (
        sign({"alg": "HS256"}, claims, other),
        sign({"alg": "ES256", "kid": "ec"}, claims, legacy.issuer.keys["ec"]),
        sign({"alg": "HS512"}, claims, OctKey.import_key({"kty": "oct", "k": encode(SECRET)})),
    ):
        assert (await legacy.ask(token)).status_code == 401


async def test_published_keys_of_supabase(data_dir: Path, providers: SimulatedProviders) -> None:
    issuer = TokenIssuer()
    routes = [Route("/auth/v1/.well-known/jwks.json", issuer.answer)]
    async with serve(Starlette(routes=routes)) as url:
        issuer.url = url
        settings = {"jwt_issuer": None, "jwt_audience": None, "jwt_jwks_url": None}
        async with hosting(data_dir, providers, issuer, supabase_url=f"{url}/", **settings) as hosted:
            claims = {"iss": f"{url}/auth/v1", "aud": "authenticated", "role": "authenticated"}
            assert (await hosted.ask(issuer.token(unique("ann"), **claims))).status_code == 200
            hs = OctKey.import_key({"kty": "oct", "k": encode(SECRET)})
            assert (await hosted.ask(sign({"alg": "HS256"}, issuer.claims("m", **claims), hs))).status_code == 401
