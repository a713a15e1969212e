"""Every row of the catalogue is well-formed and works; an operator's file adds to it and is checked as strictly."""

from __future__ import annotations

import json
import re
import runpy
from pathlib import Path
from typing import Any

import pytest

from ownkey.domain.provider import Dialect, Provider, Quirk
from ownkey.domain.settings import BUILT_IN_TASKS
from ownkey.errors import ConfigError, RequestError
from ownkey.providers.adapters import get_adapter
from ownkey.providers.catalog import load_catalog
from ownkey.providers.dialect import Call
from ownkey.providers.side_operations.peek import FORMS

WIRE = Path(__file__).parents[2] / "wire"
CATALOG = load_catalog()
ROWS = [pytest.param(provider, id=provider.id) for provider in CATALOG.values()]


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "extra.toml"
    path.write_text(text)
    return path


@pytest.mark.parametrize("provider", ROWS)
def test_golden_requests(provider: Provider) -> None:
    render = runpy.run_path(str(WIRE / "write_requests.py"))["render"]
    golden = WIRE / "requests" / f"{provider.id}.http"

    assert golden.exists(), (
        f"No golden request for {provider.id}: run `python {WIRE.name}/write_requests.py` in tests/."
    )
    assert render(provider) == golden.read_bytes()


def test_no_golden_request_is_left_over() -> None:
    assert {path.stem for path in (WIRE / "requests").glob("*.http")} == set(CATALOG)


@pytest.mark.parametrize("provider", ROWS)
def test_a_row_says_what_a_person_needs(provider: Provider) -> None:
    assert provider.docs_url
    if not provider.local:
        assert provider.get_key_url
        assert provider.environment
    if provider.auth != "none":
        assert provider.environment
    assert len(provider.key_prefixes) == len(set(provider.key_prefixes))


@pytest.mark.parametrize("provider", ROWS)
def test_defaults_are_models_that_the_row_describes(provider: Provider) -> None:
    for task, model_id in provider.defaults.items():
        model = provider.find_model(model_id)
        assert model is not None, f"{task}: {model_id}"
        assert model.embedding is (task == "embedding")
        assert task == "default" or task in BUILT_IN_TASKS
        # A default must be able to do what most requests for that task ask.
        if task in ("default", "coding"):
            assert model.tools, f"{task}: {model_id}"
    if provider.defaults:
        assert "default" in provider.defaults


@pytest.mark.parametrize("provider", ROWS)
def test_every_priced_row_has_prices_for_its_defaults(provider: Provider) -> None:
    if provider.prices is None:
        return
    genai_prices = pytest.importorskip("genai_prices")
    usage = genai_prices.Usage(input_tokens=1000, output_tokens=1000)
    for task, model in provider.defaults.items():
        if (provider.id, task) == ("openrouter", "embedding"):
            continue  # not in the price table yet: recorded as unpriced, never as free
        assert genai_prices.calc_price(usage, model, provider_id=provider.prices).total_price >= 0


def test_model_names_lead_to_their_maker() -> None:
    def serving(model: str) -> set[str]:
        return {provider.id for provider in CATALOG.values() if provider.serves_model(model)}

    assert serving("gpt-4o-mini") == {"openai"}
    assert serving("o3") == {"openai"}
    assert serving("claude-3-5-haiku-latest") == {"anthropic"}
    assert serving("gemini-2.0-flash") == {"gemini"}
    assert serving("mistral-large-2402") == {"mistral"}
    assert serving("grok-4.20") == {"xai"}
    assert serving("deepseek-chat") == {"deepseek"}
    assert serving("command-r-plus") == {"cohere"}
    assert serving("us.anthropic.claude-sonnet-4-20250514-v1:0") == {"bedrock"}
    assert serving("my-own-model") == set()


@pytest.mark.parametrize("provider", ROWS)
def test_no_example_of_a_field_can_move_the_host(provider: Provider) -> None:
    for field in provider.fields:
        assert re.fullmatch(field.pattern, field.example, re.ASCII)
        for hostile in (
            "evil.example/",
            "evil.example#",
            "a@evil.example",
            "evil.example?",
            "a\n",
            "a:1",
            "a.b/c",
            "",
            "é",
        ):
            assert not re.fullmatch(field.pattern, hostile, re.ASCII), hostile


@pytest.mark.parametrize("provider", ROWS)
def test_every_operation_of_the_catalogue_has_a_request(provider: Provider) -> None:
    for operation, offer in provider.operations.items():
        assert offer.model is None or provider.find_model(offer.model) is None, "a model of text"
        if operation in FORMS:
            body, kind = (
                b'--b\r\ncontent-disposition: form-data; name="prompt"\r\n\r\na\r\n--b--',
                "multipart/form-data; boundary=b",
            )
        else:
            body, kind = b"{}", "application/json"
        base_url = provider.base_url.format_map({field.name: field.example for field in provider.fields})
        call = Call(operation=operation, body=body, model=offer.model or "m", content_type=kind)
        request = get_adapter(Dialect.OPENAI_CHAT, provider.dialect, operation).encode(provider, base_url, call)
        assert request.url.startswith(base_url.split("//")[0] + "//" + base_url.split("/")[2])


@pytest.mark.parametrize("provider", [provider for provider in CATALOG.values() if provider.fields])
def test_a_template_that_nobody_filled_in_is_never_sent_anywhere(provider: Provider) -> None:
    call = Call(operation="chat", body=b'{"messages":[{"role":"user","content":"x"}]}', model="m")

    with pytest.raises(RequestError, match=provider.fields[0].label):
        get_adapter(Dialect.OPENAI_CHAT, provider.dialect).encode(provider, provider.base_url, call)


def test_an_operator_fills_a_template_in_the_file(tmp_path: Path) -> None:
    extra = write(tmp_path, '[azure_openai]\nbase_url = "https://us.openai.azure.com/openai/v1"\nfields = []')

    assert load_catalog(extra)["azure_openai"].base_url == "https://us.openai.azure.com/openai/v1"


def test_the_order_is_the_files_order() -> None:
    assert next(iter(CATALOG)) == "openai"


def test_the_catalogue_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        CATALOG["evil"] = CATALOG["openai"]  # type: ignore[index]
    with pytest.raises(AttributeError):
        CATALOG["openai"].base_url = "https://evil.example"  # type: ignore[misc]


def test_an_operators_file_adds_a_provider(tmp_path: Path) -> None:
    extra = write(
        tmp_path,
        """
        [house]
        label = "Our own"
        dialect = "openai_chat"
        base_url = "http://10.0.0.5:9000/v1"
        local = true
        defaults = { default = "big" }
        """,
    )

    provider = load_catalog(extra)["house"]

    assert (provider.label, provider.local, provider.default_model("coding")) == ("Our own", True, "big")
    assert provider.dialect is Dialect.OPENAI_CHAT
    request = get_adapter(Dialect.OPENAI_CHAT, provider.dialect).encode(
        provider, provider.base_url, Call(operation="chat", body=b'{"messages":[]}', model="big")
    )
    assert request.url == "http://10.0.0.5:9000/v1/chat/completions"


def test_an_operators_file_changes_single_keys(tmp_path: Path) -> None:
    extra = write(
        tmp_path,
        """
        [openai]
        base_url = "https://openai.internal.example/v1"
        defaults = { coding = "gpt-4.1" }
        [openai.models."our-tune"]
        context_tokens = 1000
        """,
    )

    changed, original = load_catalog(extra)["openai"], CATALOG["openai"]

    assert changed.base_url == "https://openai.internal.example/v1"
    assert changed.default_model("coding") == "gpt-4.1"
    assert changed.default_model("chat") == original.default_model("chat")
    assert changed.models["our-tune"].context_tokens == 1000
    assert changed.models["gpt-4o"] == original.models["gpt-4o"]
    assert changed.label == original.label
    assert list(load_catalog(extra)) == list(CATALOG)


def encode_toml(row: dict[str, Any]) -> str:
    def inline(value: Any) -> str:
        if isinstance(value, dict):
            return "{" + ", ".join(f"{json.dumps(key)} = {inline(item)}" for key, item in value.items()) + "}"
        if isinstance(value, list):
            return "[" + ", ".join(map(inline, value)) + "]"
        return json.dumps(value)

    return "[house]\n" + "\n".join(f"{json.dumps(key)} = {inline(value)}" for key, value in row.items())


GOOD = {"label": "X", "dialect": "openai_chat", "base_url": "https://x.test/v1"}
FIELD = {"name": "resource", "label": "R", "pattern": "[a-z]{2,9}"}
BAD_ROWS = [
    ({"label": 3}, "label"),
    ({"label": " "}, "label"),
    ({"lable": "X"}, "lable"),
    ({"dialect": "palm"}, "dialect"),
    ({"base_url": "http://x.test/v1"}, "base_url"),
    ({"base_url": "https://x.test/v1/"}, "base_url"),
    ({"base_url": "https://user:pass@x.test/v1"}, "base_url"),
    ({"base_url": "https://x.test/v1?key=1"}, "base_url"),
    ({"base_url": "https:///v1"}, "base_url"),
    ({"base_url": "https://x.test:99999/v1"}, "base_url"),
    ({"base_url": "https://{resource}.x.test/v1"}, "base_url"),
    ({"base_url": "https://x.test/v1", "fields": [FIELD]}, "base_url"),
    ({"base_url": "https://{}.x.test/v1", "fields": [FIELD]}, "base_url"),
    ({"base_url": "https://{resource}.x.test", "fields": [{**FIELD, "pattern": ".*"}]}, "fields[0].pattern"),
    ({"base_url": "https://{resource}.x.test", "fields": [{**FIELD, "pattern": "["}]}, "fields[0].pattern"),
    ({"base_url": "https://{resource}.x.test", "fields": [{**FIELD, "example": "9"}]}, "fields[0].example"),
    ({"base_url": "https://{resource}.x.test", "fields": [{**FIELD, "hint": "?"}]}, "fields[0].hint"),
    ({"base_url": "https://{resource}.x.test", "fields": [FIELD, FIELD]}, "fields[0].name"),
    ({"auth": "basic"}, "auth"),
    ({"auth": "header:X-Key"}, "auth"),
    ({"auth": "header:"}, "auth"),
    ({"environment": "my key"}, "environment"),
    ({"get_key_url": "http://x.test"}, "get_key_url"),
    ({"docs_url": "javascript:alert(1)"}, "docs_url"),
    ({"billing_url": "http://x.test"}, "billing_url"),
    ({"limits_url": "https://u:p@x.test"}, "limits_url"),
    ({"probe": "models"}, "probe"),
    ({"probe": "GET /a b"}, "probe"),
    ({"headers": {"authorization": "x"}}, "headers.authorization"),
    ({"headers": {"X-A": "x"}}, "headers.X-A"),
    ({"headers": {"x-a": "a\r\nb: c"}}, "headers.x-a"),
    ({"headers": {"x-a": ""}}, "headers.x-a"),
    ({"quirks": ["odd"]}, "quirks"),
    ({"serves": ["*"]}, "serves"),
    ({"defaults": {"Coding!": "m"}}, "defaults.Coding!"),
    ({"defaults": {"default": ""}}, "defaults.default"),
    ({"defaults": {"embedding": "m"}, "models": {"m": {}}}, "defaults.embedding"),
    ({"defaults": {"default": "m"}, "models": {"m": {"embedding": True}}}, "defaults.default"),
    ({"defaults": {"embedding": "m"}, "quirks": ["no_embeddings"]}, "defaults.embedding"),
    ({"also": ["openai_chat"]}, "also"),
    ({"also": ["gemini", "gemini"]}, "also"),
    ({"also": ["palm"]}, "also"),
    ({"operations": {"paint": {}}}, "operations.paint"),
    ({"operations": {"images": {"size": 3}}}, "operations.images.size"),
    ({"operations": {"images": "m"}}, "operations"),
    ({"operations": {"images": {"model": ""}}}, "operations.images.model"),
    ({"operations": {"rerank": {"path": "//evil.example/x"}}}, "operations.rerank.path"),
    ({"operations": {"rerank": {"path": "v2/rerank"}}}, "operations.rerank.path"),
    ({"operations": {"rerank": {"path": "/a/../b"}}}, "operations.rerank.path"),
    ({"models": {"m": {"dialect": "gemini"}}}, "models.m.dialect"),
    ({"models": {"m": {"tool": True}}}, "models.m.tool"),
    ({"models": {"m": {"context_tokens": 0}}}, "models.m.context_tokens"),
    ({"models": {"m": {"context_tokens": "many"}}}, "models"),
    ({"models": 3}, "models"),
    ({"models": {"m": 3}}, "models.m"),
]


@pytest.mark.parametrize(("change", "field"), BAD_ROWS, ids=[f"{field}: {change}" for change, field in BAD_ROWS])
def test_a_faulty_row_names_its_table_and_its_field(tmp_path: Path, change: dict[str, Any], field: str) -> None:
    extra = write(tmp_path, encode_toml({**GOOD, **change}))

    with pytest.raises(ConfigError) as caught:
        load_catalog(extra)

    assert f"[house] {field}" in caught.value.message
    assert str(extra) in caught.value.message


@pytest.mark.parametrize("missing", ["label", "dialect", "base_url"])
def test_a_missing_field_is_named(tmp_path: Path, missing: str) -> None:
    row = {key: value for key, value in GOOD.items() if key != missing}
    extra = write(tmp_path, encode_toml(row))

    with pytest.raises(ConfigError, match=rf"\[house\] {missing}: is missing"):
        load_catalog(extra)


@pytest.mark.parametrize("text", ["[house", "label = 'x'", "[Big-House]\nlabel = 'x'", "\udcff"])
def test_a_file_that_is_no_catalogue_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "extra.toml"
    path.write_bytes(text.encode(errors="surrogateescape"))

    with pytest.raises(ConfigError, match=re.escape(str(path))):
        load_catalog(path)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load_catalog(tmp_path / "missing.toml")


def test_every_quirk_is_used_by_a_row() -> None:
    assert {quirk for provider in CATALOG.values() for quirk in provider.quirks} == set(Quirk)
