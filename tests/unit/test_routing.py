"""The chain: who is tried, in which order, and why others are left out."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from ownkey.domain.credential import CredentialStatus, SealedCredential
from ownkey.domain.exchange import Failure
from ownkey.domain.policy import Policy, PolicyDefaults, PolicyDocument, SharedAccess, TaskDefault, narrow
from ownkey.domain.provider import Dialect, Model, Offer, Provider, Quirk
from ownkey.domain.routing import Needs, Route, RouteRequest, SkipReason, attempts, select_best
from ownkey.domain.settings import Payer, PayerRule, Preference, Settings, Snapshot, TaskOverride
from ownkey.domain.usage import Outcome
from ownkey.errors import NotFound
from ownkey.services.policy_board import PolicyBoard
from ownkey.services.router import Router
from ownkey.storage.policy import StoredPolicy
from ownkey.upstream.health import HealthBoard

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


def provider(name: str, *models: Model, **fields: object) -> Provider:
    values: dict[str, object] = {
        "id": name,
        "label": name.title(),
        "dialect": Dialect.OPENAI_CHAT,
        "base_url": f"https://api.{name}.test/v1",
        "defaults": {"default": f"{name}-large", "embedding": f"{name}-embed"},
        "serves": (f"{name}-*",),
        "models": {model.id: model for model in models},
    }
    return Provider(**{**values, **fields})  # type: ignore[arg-type]


CATALOG = {one.id: one for one in (provider("openai"), provider("groq"), provider("mistral"), provider("anthropic"))}


def credential(where: str, name: str = "1", **fields: object) -> SealedCredential:
    values: dict[str, object] = {
        "id": f"{where}-{name}",
        "provider": where,
        "label": name,
        "hint": "…",
        "base_url": None,
        "position": 0,
        "enabled": True,
        "status": CredentialStatus.OK,
        "status_until": None,
        "expires_at": None,
        "generation": 1,
        "sealed": b"",
    }
    return SealedCredential(**{**values, **fields})  # type: ignore[arg-type]


def snapshot(
    *credentials: SealedCredential,
    preferences: tuple[Preference, ...] = (),
    overrides: tuple[TaskOverride, ...] = (),
    settings: Settings | None = None,
) -> Snapshot:
    return Snapshot(
        user_id="ada",
        generation=1,
        settings=settings or Settings(),
        preferences={one.provider: one for one in preferences},
        overrides={one.task: one for one in overrides},
        credentials=credentials,
        wrapped_data_key=None,
        wrapping_key_id=None,
    )


class Board:
    """A health board that knows what it is told."""

    def __init__(self, down: dict[str, datetime] | None = None, blocked: dict[str, datetime] | None = None) -> None:
        self.down, self.blocked = down or {}, blocked or {}

    def provider_down_until(self, base_url: str) -> datetime | None:
        return self.down.get(base_url)

    def credential_blocked_until(self, credential_id: str) -> datetime | None:
        return self.blocked.get(credential_id)

    def credential_blocked_as(self, credential_id: str) -> CredentialStatus | None:
        return CredentialStatus.OUT_OF_CREDIT if credential_id in self.blocked else None


def route(
    of: Snapshot,
    model: str = "auto",
    *,
    policy: Policy | None = None,
    health: Board | None = None,
    catalog: dict[str, Provider] = CATALOG,
    **fields: object,
) -> Route:
    request = RouteRequest(model=model, **fields)  # type: ignore[arg-type]
    return attempts(of, request, catalog=catalog, policy=policy or Policy(), health=health or Board(), now=NOW)


def hops(found: Route) -> list[tuple[str, str, str]]:
    return [(one.provider.id, one.model, one.payer.value) for one in found.attempts]


def reasons(found: Route) -> dict[tuple[str, str], str]:
    return {(one.provider, one.payer.value): one.reason for one in found.skipped}


def test_the_missions_order_when_everything_is_there() -> None:
    of = snapshot(
        credential("groq"),
        credential("mistral"),
        preferences=(Preference(provider="mistral", priority=1), Preference(provider="groq", priority=2)),
    )
    found = route(of, policy=Policy(shared=frozenset({"openai", "groq", "mistral"})))
    assert hops(found) == [
        ("mistral", "mistral-large", "own"),
        ("groq", "groq-large", "own"),
        ("mistral", "mistral-large", "shared"),
        ("groq", "groq-large", "shared"),
        ("openai", "openai-large", "shared"),
    ]


def test_a_task_goes_to_its_own_provider_and_model() -> None:
    of = snapshot(
        credential("groq"),
        credential("mistral"),
        overrides=(TaskOverride(task="research", provider="mistral", model="mistral-small"),),
        preferences=(Preference(provider="groq", priority=1),),
    )
    assert hops(route(of, "task:research")) == [("mistral", "mistral-small", "own"), ("groq", "groq-large", "own")]
    assert hops(route(of, task="research"))[0] == ("mistral", "mistral-small", "own")
    assert hops(route(of, "task:coding"))[0] == ("groq", "groq-large", "own")
    assert route(of, "task:research").task == "research"


def test_a_task_that_nobody_made_is_told_and_not_served_as_something_else() -> None:
    of = snapshot(credential("groq"), overrides=(TaskOverride(task="release-notes", provider="groq", model=None),))
    policy = narrow(Policy(), PolicyDocument(defaults=PolicyDefaults(tasks={"triage": TaskDefault(provider="groq")})))
    for known in ("coding", "embedding", "release-notes", "triage"):
        assert route(of, f"task:{known}", policy=policy).task == known
    with pytest.raises(NotFound) as caught:
        route(of, "task:releasenotes", policy=policy)
    assert (caught.value.code, caught.value.param, caught.value.status) == ("unknown_task", "model", 404)
    assert "Did you mean task:release-notes?" in str(caught.value)
    assert "coding, research, writing, chat, embedding, triage, release-notes" in str(caught.value)
    # The header and `task=` name what a request is for, and an application may have words of its own for that.
    assert route(of, task="nonsense", policy=policy).task == "nonsense"


def test_a_model_named_with_its_provider_is_taken_at_its_word() -> None:
    of = snapshot(credential("groq"), credential("mistral"))
    assert hops(route(of, "mistral/some-new-model"))[0] == ("mistral", "some-new-model", "own")


def test_a_slash_that_names_no_provider_belongs_to_the_model() -> None:
    of = snapshot(credential("groq"))
    assert hops(route(of, "meta-llama/llama-9"))[0] == ("groq", "meta-llama/llama-9", "own")


def test_a_bare_model_goes_to_a_provider_that_serves_it() -> None:
    of = snapshot(credential("groq"), credential("mistral"), preferences=(Preference(provider="groq", priority=1),))
    assert hops(route(of, "mistral-tiny")) == [("mistral", "mistral-tiny", "own"), ("groq", "groq-large", "own")]


def test_the_model_changes_with_the_provider() -> None:
    of = snapshot(
        credential("groq"),
        credential("mistral"),
        preferences=(Preference(provider="mistral", default_model="mistral-7"),),
    )
    assert hops(route(of, "groq-fast")) == [("groq", "groq-fast", "own"), ("mistral", "mistral-7", "own")]


def test_a_bare_model_of_a_shared_provider_is_asked_there() -> None:
    found = route(snapshot(), "groq-fast", policy=Policy(shared=frozenset({"openai", "groq"})))
    assert hops(found) == [("groq", "groq-fast", "shared"), ("openai", "openai-large", "shared")]


def test_several_credentials_are_tried_in_their_order() -> None:
    of = snapshot(credential("groq", "a"), credential("groq", "b"))
    assert [one.credential.id for one in route(of).attempts if one.credential] == ["groq-a", "groq-b"]


def test_a_pinned_credential_is_the_only_one_of_its_provider() -> None:
    of = snapshot(
        credential("groq", "a"),
        credential("groq", "b"),
        overrides=(TaskOverride(task="coding", provider="groq", credential_id="groq-b"),),
    )
    assert [one.credential.id for one in route(of, "task:coding").attempts if one.credential] == ["groq-b"]


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"enabled": False}, SkipReason.CREDENTIAL_DISABLED),
        ({"expires_at": NOW}, SkipReason.CREDENTIAL_EXPIRED),
        ({"status": CredentialStatus.INVALID}, SkipReason.CREDENTIAL_INVALID),
        ({"status": CredentialStatus.UNREADABLE}, SkipReason.CREDENTIAL_UNREADABLE),
        (
            {"status": CredentialStatus.RATE_LIMITED, "status_until": NOW + timedelta(seconds=1)},
            SkipReason.COOLING_DOWN,
        ),
    ],
)
def test_a_credential_that_cannot_work_is_skipped_with_its_reason(fields: dict[str, object], reason: str) -> None:
    found = route(snapshot(credential("groq", **fields), credential("mistral")))
    assert hops(found) == [("mistral", "mistral-large", "own")]
    assert reasons(found) == {("groq", "own"): reason}


def test_a_credential_works_again_when_its_time_is_over() -> None:
    of = snapshot(credential("groq", status=CredentialStatus.OUT_OF_CREDIT, status_until=NOW - timedelta(seconds=1)))
    assert hops(route(of)) == [("groq", "groq-large", "own")]


def test_what_the_health_board_knows_is_respected() -> None:
    later = NOW + timedelta(seconds=5)
    board = Board(down={"https://api.groq.test/v1": later}, blocked={"mistral-1/1": later})
    found = route(snapshot(credential("groq"), credential("mistral"), credential("openai")), health=board)
    assert hops(found) == [("openai", "openai-large", "own")]
    assert {(one.provider, one.reason, one.until) for one in found.skipped} == {
        ("groq", SkipReason.PROVIDER_DOWN, later),
        ("mistral", SkipReason.COOLING_DOWN, later),
    }


def test_one_users_own_url_does_not_suffer_from_the_public_host_being_down() -> None:
    board = Board(down={"https://api.groq.test/v1": NOW + timedelta(seconds=5)})
    of = snapshot(credential("groq", base_url="https://proxy.test/v1"))
    assert hops(route(of, health=board)) == [("groq", "groq-large", "own")]
    assert route(of).attempts[0].base_url == "https://proxy.test/v1"


def test_a_disabled_provider_is_left_out_even_when_asked_for() -> None:
    of = snapshot(credential("groq"), preferences=(Preference(provider="groq", enabled=False),))
    found = route(of, "groq/groq-large", policy=Policy(shared=frozenset({"groq", "openai"})))
    assert hops(found) == [("openai", "openai-large", "shared")]
    assert reasons(found)["groq", "own"] == SkipReason.DISABLED


def test_backups_come_last_whatever_their_priority() -> None:
    of = snapshot(
        credential("groq"),
        credential("mistral"),
        preferences=(
            Preference(provider="groq", priority=1, backup_only=True),
            Preference(provider="mistral", priority=9),
        ),
    )
    assert [name for name, _, _ in hops(route(of))] == ["mistral", "groq"]


def test_the_operators_frame_holds() -> None:
    of = snapshot(credential("groq"), credential("mistral"))
    found = route(of, policy=Policy(allowed=frozenset({"mistral"}), shared=frozenset({"openai"})))
    assert hops(found) == [("mistral", "mistral-large", "own")]
    assert reasons(found) == {
        ("groq", "own"): SkipReason.NOT_ALLOWED,
        ("openai", "shared"): SkipReason.NOT_ALLOWED,
    }


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (PayerRule.OWN_ONLY, [("groq", "own")]),
        (PayerRule.SHARED_ONLY, [("groq", "shared"), ("openai", "shared")]),
        (PayerRule.OWN_THEN_SHARED, [("groq", "own"), ("groq", "shared"), ("openai", "shared")]),
    ],
)
def test_who_may_pay(rule: PayerRule, expected: list[tuple[str, str]]) -> None:
    policy = Policy(shared=frozenset({"groq", "openai"}))
    of = snapshot(credential("groq"), settings=Settings(payer=rule))
    assert [(name, payer) for name, _, payer in hops(route(of, policy=policy))] == expected
    by_task = snapshot(credential("groq"), overrides=(TaskOverride(task="coding", provider="groq", payer=rule),))
    assert [(name, payer) for name, _, payer in hops(route(by_task, "task:coding", policy=policy))] == expected


def test_refused_shared_keys_are_named_where_nothing_else_is_left() -> None:
    policy = Policy(shared=frozenset({"openai"}))
    of = snapshot(settings=Settings(payer=PayerRule.OWN_ONLY))
    assert reasons(route(of, policy=policy)) == {("openai", "shared"): SkipReason.SHARED_REFUSED}
    assert reasons(route(replace(of, credentials=(credential("groq"),)), policy=policy)) == {}
    not_lent = replace(policy, shared_users=frozenset({"bob"}))
    assert reasons(route(of, policy=not_lent)) == {}, "to let it pay would change nothing"


def test_shared_keys_serve_only_those_who_may() -> None:
    policy = Policy(shared=frozenset({"groq", "openai"}), shared_users=frozenset({"bob"}))
    of = snapshot(credential("groq"))
    found = route(of, policy=policy)
    assert hops(found) == [("groq", "groq-large", "own")]
    assert reasons(found) == {
        ("groq", "shared"): SkipReason.SHARED_NOT_GRANTED,
        ("openai", "shared"): SkipReason.SHARED_NOT_GRANTED,
    }
    assert route(snapshot(), "groq-fast", policy=policy).attempts == ()
    granted = route(replace(of, user_id="bob"), policy=policy)
    assert [payer for _, _, payer in hops(granted)] == ["own", "shared", "shared"]


def test_a_default_holds_where_the_user_has_chosen_nothing() -> None:
    default = TaskOverride(task="coding", provider="mistral", model="mistral-code")
    policy = Policy(task_defaults={"coding": default})
    of = snapshot(credential("groq"), credential("mistral"))
    assert hops(route(of, "task:coding", policy=policy))[0] == ("mistral", "mistral-code", "own")
    assert hops(route(of, "groq/x", task="coding", policy=policy))[0] == ("groq", "x", "own"), "named models stand"
    chosen = replace(of, overrides={"coding": TaskOverride(task="coding", provider="groq")})
    assert hops(route(chosen, "task:coding", policy=policy))[0] == ("groq", "groq-large", "own")
    without_a_key = route(snapshot(credential("groq")), "task:coding", policy=policy)
    assert hops(without_a_key) == [("groq", "groq-large", "own")]


@pytest.mark.parametrize("lock", ["tasks", "tasks:coding"])
def test_a_locked_task_is_the_administrators(lock: str) -> None:
    default = TaskOverride(task="coding", provider="mistral")
    own = TaskOverride(task="coding", provider="groq", payer=PayerRule.SHARED_ONLY, allow_fallback=False)
    of = snapshot(credential("groq"), credential("mistral"), overrides=(own, replace(own, task="writing")))
    policy = Policy(locks=frozenset({lock}), task_defaults={"coding": default})
    assert [name for name, _, _ in hops(route(of, "task:coding", policy=policy))] == ["mistral", "groq"]
    assert bool(hops(route(of, "task:writing", policy=policy))) == (lock == "tasks")
    no_default = Policy(locks=frozenset({lock}))
    assert [name for name, _, _ in hops(route(of, "task:coding", policy=no_default))] == ["groq", "mistral"]


def test_a_locked_payer_is_the_administrators() -> None:
    override = TaskOverride(task="coding", provider="groq", payer=PayerRule.SHARED_ONLY)
    of = snapshot(credential("groq"), settings=Settings(payer=PayerRule.SHARED_ONLY), overrides=(override,))
    policy = Policy(shared=frozenset({"groq"}), payer=PayerRule.OWN_ONLY, locks=frozenset({"payer"}))
    for model in ("auto", "task:coding"):
        assert [payer for _, _, payer in hops(route(of, model, policy=policy))] == ["own"]
        assert [payer for _, _, payer in hops(route(of, model, policy=replace(policy, locks=frozenset())))] == [
            "shared"
        ]


def test_under_a_lock_of_preferences_only_a_no_is_left() -> None:
    of = snapshot(
        credential("openai"),
        credential("groq"),
        credential("mistral"),
        preferences=(
            Preference(provider="mistral", priority=1, default_model="mine"),
            Preference(provider="openai", backup_only=True),
            Preference(provider="groq", enabled=False),
        ),
    )
    found = route(of, policy=Policy(locks=frozenset({"preferences"})))
    assert hops(found) == [("openai", "openai-large", "own"), ("mistral", "mistral-large", "own")]
    assert reasons(found) == {("groq", "own"): SkipReason.DISABLED}


def test_what_is_left_of_a_provider_that_is_gone_breaks_nothing() -> None:
    of = snapshot(
        credential("gone"),
        credential("groq"),
        preferences=(Preference(provider="gone", priority=1),),
        overrides=(TaskOverride(task="coding", provider="gone", model="x"),),
    )
    for model in ("auto", "task:coding", "gone/x"):
        assert [name for name, _, _ in hops(route(of, model))] == ["groq"]
    default = {"coding": TaskOverride(task="coding", provider="gone")}
    assert hops(route(of, "task:coding", policy=Policy(task_defaults=default))) == [("groq", "groq-large", "own")]


names = st.sampled_from(list(CATALOG))
documents = st.builds(
    PolicyDocument,
    allowed_providers=st.one_of(st.none(), st.lists(names, max_size=4).map(tuple)),
    shared=st.builds(
        SharedAccess,
        access=st.sampled_from(["everyone", "nobody", "listed"]),
        users=st.lists(st.sampled_from(["ada", "bob"]), max_size=2).map(tuple),
    ),
    defaults=st.builds(
        PolicyDefaults,
        payer=st.sampled_from(list(PayerRule)),
        tasks=st.dictionaries(st.sampled_from(["coding", "chat"]), st.builds(TaskDefault, provider=names)),
    ),
    locks=st.lists(st.sampled_from(["payer", "preferences", "tasks", "tasks:coding"]), max_size=4).map(tuple),
)


@given(st.lists(st.builds(credential, names), max_size=4), st.sets(names), st.sets(names), documents)
def test_a_stored_policy_only_narrows(
    held: list[SealedCredential], shared: set[str], allowed: set[str], document: PolicyDocument
) -> None:
    frame = Policy(shared=frozenset(shared), allowed=frozenset(allowed))
    for model in ("auto", "task:coding", "groq/x"):
        for one in route(snapshot(*held), model, policy=narrow(frame, document)).attempts:
            assert one.provider.id in allowed
            assert document.allowed_providers is None or one.provider.id in document.allowed_providers
            if one.payer is Payer.SHARED:
                listed = document.shared.access == "listed" and "ada" in document.shared.users
                assert one.provider.id in shared and (document.shared.access == "everyone" or listed)


def test_a_fallback_can_be_refused_by_the_user_and_by_the_request() -> None:
    policy = Policy(shared=frozenset({"openai"}))
    strict = snapshot(credential("groq"), credential("mistral"), settings=Settings(allow_fallback=False))
    assert hops(route(strict, "groq-fast", policy=policy)) == [("groq", "groq-fast", "own")]
    free = snapshot(credential("groq"), credential("mistral"))
    refused = route(free, "groq-fast", policy=policy, allow_fallback=False)
    assert hops(refused) == [("groq", "groq-fast", "own")]
    assert reasons(refused)["mistral", "own"] == SkipReason.FALLBACK_REFUSED
    kept_out = snapshot(
        credential("groq"), credential("mistral"), preferences=(Preference(provider="mistral", may_fall_back=False),)
    )
    assert [name for name, _, _ in hops(route(kept_out, "groq-fast"))] == ["groq"]
    assert [name for name, _, _ in hops(route(kept_out, "mistral-tiny"))] == ["mistral", "groq"]


@pytest.mark.parametrize(
    ("needs", "reason"),
    [
        (Needs(tools=True), SkipReason.LACKS_TOOLS),
        (Needs(images=True), SkipReason.LACKS_IMAGES),
        (Needs(documents=True), SkipReason.LACKS_DOCUMENTS),
        (Needs(audio=True), SkipReason.LACKS_AUDIO),
        (Needs(json_schema=True), SkipReason.LACKS_JSON_SCHEMA),
        (Needs(input_tokens=1001), SkipReason.CONTEXT_TOO_SMALL),
    ],
)
def test_a_hop_that_lacks_an_ability_is_skipped(needs: Needs, reason: str) -> None:
    weak = Model(id="groq-large", tools=False, images=False, json_schema=False, context_tokens=1000)
    catalog = {**CATALOG, "groq": provider("groq", weak)}
    found = route(snapshot(credential("groq"), credential("mistral")), catalog=catalog, needs=needs)
    assert hops(found) == [("mistral", "mistral-large", "own")]
    assert reasons(found)["groq", "own"] == reason


def test_embeddings_never_change_their_model() -> None:
    of = snapshot(credential("groq"), credential("mistral"))
    found = route(of, "groq-embed", operation="embeddings", policy=Policy(shared=frozenset({"groq", "openai"})))
    assert hops(found) == [("groq", "groq-embed", "own"), ("groq", "groq-embed", "shared")]
    assert reasons(found)["mistral", "own"] == SkipReason.MODEL_PINNED
    by_default = route(of, operation="embeddings")
    assert hops(by_default) == [("groq", "groq-embed", "own")]


DRAWING = {
    **CATALOG,
    "openai": provider("openai", operations={"images": Offer(model="openai-paint")}),
    "mistral": provider("mistral", operations={"images": Offer(model="mistral-paint"), "rerank": Offer()}),
}


def test_a_picture_is_drawn_by_the_first_provider_that_can_and_by_no_other() -> None:
    of = snapshot(credential("groq"), credential("mistral"), credential("openai"))
    found = route(of, operation="images", catalog=DRAWING)
    assert hops(found) == [("openai", "openai-paint", "own")]
    assert reasons(found) == {
        ("groq", "own"): SkipReason.LACKS_OPERATION,
        ("mistral", "own"): SkipReason.MODEL_PINNED,
    }
    assert found.task == "image"
    # The first that can is the one that was asked: a fallback would be another one.
    assert hops(route(of, operation="images", catalog=DRAWING, allow_fallback=False)) == hops(found)


def test_a_named_model_draws_or_nobody_does() -> None:
    of = snapshot(credential("groq"), credential("mistral"), credential("openai"))
    named = route(of, "mistral/fresco", operation="images", catalog=DRAWING)
    assert hops(named) == [("mistral", "fresco", "own")]
    unable = route(of, "groq/fresco", operation="images", catalog=DRAWING)
    assert hops(unable) == [] and reasons(unable)["groq", "own"] == SkipReason.LACKS_OPERATION
    assert reasons(route(of, operation="rerank", catalog=DRAWING))["mistral", "own"] == SkipReason.NO_MODEL


def test_what_a_user_chose_for_conversations_says_nothing_of_pictures() -> None:
    of = snapshot(
        credential("mistral"),
        credential("openai"),
        preferences=(Preference(provider="mistral", priority=1, default_model="mistral-chatty"),),
        overrides=(
            TaskOverride(task="coding", provider="groq", model="groq-coder"),
            TaskOverride(task="image", provider="openai", model="openai-oil"),
        ),
    )
    drawn = route(of, operation="images", task="coding", catalog=DRAWING)
    assert hops(drawn)[0] == ("openai", "openai-oil", "own")
    # The header still says what it was for.
    assert drawn.task == "coding"
    assert hops(route(of, operation="embeddings", task="coding"))[0] == ("mistral", "mistral-embed", "own")


def test_a_model_may_bear_its_providers_name() -> None:
    catalog = {**CATALOG, "mistral": provider("mistral", Model(id="mistral/tiny"))}
    of = snapshot(credential("mistral"))
    for name in ("mistral/tiny", "mistral/mistral/tiny"):
        assert hops(route(of, name, catalog=catalog))[0] == ("mistral", "mistral/tiny", "own")
    assert hops(route(of, "mistral/other", catalog=catalog))[0] == ("mistral", "other", "own")


def test_which_dialect_is_spoken() -> None:
    row = provider(
        "openai",
        Model(id="new", dialect=Dialect.OPENAI_RESPONSES),
        also=(Dialect.OPENAI_RESPONSES, Dialect.ANTHROPIC_MESSAGES),
    )
    for client, known, other in (
        (Dialect.OPENAI_CHAT, Dialect.OPENAI_RESPONSES, Dialect.OPENAI_CHAT),
        (Dialect.OPENAI_RESPONSES, Dialect.OPENAI_RESPONSES, Dialect.OPENAI_RESPONSES),
        (Dialect.ANTHROPIC_MESSAGES, Dialect.OPENAI_RESPONSES, Dialect.ANTHROPIC_MESSAGES),
        (Dialect.GEMINI, Dialect.OPENAI_RESPONSES, Dialect.OPENAI_CHAT),
    ):
        assert (row.choose_dialect("new", client), row.choose_dialect("any", client)) == (known, other)


def test_a_provider_without_embeddings_is_skipped() -> None:
    catalog = {**CATALOG, "groq": provider("groq", quirks=frozenset({Quirk.NO_EMBEDDINGS}))}
    of = snapshot(credential("groq"), credential("mistral"))
    found = route(of, operation="embeddings", catalog=catalog)
    assert hops(found) == [("mistral", "mistral-embed", "own")]


def test_without_the_ultimate_provider_any_shared_key_stands_behind() -> None:
    assert hops(route(snapshot(), policy=Policy(shared=frozenset({"mistral"})))) == [
        ("mistral", "mistral-large", "shared")
    ]


def test_with_nothing_there_is_no_attempt_and_no_best() -> None:
    found = route(snapshot())
    assert found.attempts == () and select_best(found) is None


statuses = st.sampled_from(list(CredentialStatus))
credentials = st.lists(
    st.builds(
        credential,
        st.sampled_from(list(CATALOG)),
        st.sampled_from("abc"),
        status=statuses,
        enabled=st.booleans(),
        expires_at=st.sampled_from([None, NOW - timedelta(days=1), NOW + timedelta(days=1)]),
    ),
    max_size=6,
)
preferences = st.lists(
    st.builds(
        Preference,
        provider=st.sampled_from(list(CATALOG)),
        enabled=st.booleans(),
        priority=st.integers(0, 9),
        may_fall_back=st.booleans(),
        backup_only=st.booleans(),
    ),
    max_size=4,
)


@given(
    credentials,
    preferences,
    st.sampled_from(list(PayerRule)),
    st.booleans(),
    st.sampled_from(["auto", "task:coding", "groq/x", "mistral-1", "unheard-of"]),
    st.sets(st.sampled_from(list(CATALOG))),
)
def test_what_always_holds(
    held: list[SealedCredential],
    wishes: list[Preference],
    rule: PayerRule,
    fallback: bool,
    model: str,
    shared: set[str],
) -> None:
    of = snapshot(*held, preferences=tuple(wishes), settings=Settings(payer=rule, allow_fallback=fallback))
    found = route(of, model, policy=Policy(shared=frozenset(shared)))
    for one in found.attempts:
        # Only this user's own usable credentials, or an operator's key that exists: nothing in between.
        if one.payer is Payer.OWN:
            assert one.credential in held and one.credential.provider == one.provider.id
            assert one.credential.enabled and not one.credential.is_expired(NOW)
            assert rule is not PayerRule.SHARED_ONLY
        else:
            assert one.credential is None and one.provider.id in shared and rule is not PayerRule.OWN_ONLY
        assert of.preferences.get(one.provider.id, Preference(provider="x")).enabled
    own = [one.payer is Payer.OWN for one in found.attempts]
    assert own == sorted(own, reverse=True)
    if not fallback:
        assert len({one.provider.id for one in found.attempts}) <= 1
    assert replace(of) == of


def test_a_kept_chain_never_outlives_what_it_follows_from() -> None:
    """The router keeps chains; trouble, a new snapshot and a date must each be seen at once."""
    board = HealthBoard(now=lambda: NOW)
    policy = Policy(shared=frozenset({"openai"}))
    policies = PolicyBoard(policy)
    router = Router(catalog=CATALOG, policies=policies, health=board)
    request = RouteRequest(model="auto")
    of = snapshot(credential("groq"), credential("mistral"))
    before = router.route(of, request)
    assert router.route(of, request) is before
    failure = Failure(outcome=Outcome.CREDIT_EXHAUSTED, message="")
    board.note_failure(CATALOG["groq"].base_url, credential("groq").health_key, failure)
    assert hops(router.route(of, request))[0][0] == "mistral"
    board.note_success(CATALOG["groq"].base_url, credential("groq").health_key)
    assert hops(router.route(of, request)) == hops(before)
    changed = replace(of, generation=2, credentials=(credential("mistral"),))
    assert hops(router.route(changed, request))[0][0] == "mistral"
    router.forget("ada")
    assert router.route(of, request) is not before
    document = PolicyDocument(allowed_providers=("mistral",))
    policies.adopt(StoredPolicy(document=document, generation=2))
    assert hops(router.route(of, request)) == [("mistral", "mistral-large", "own")]
    policies.adopt(StoredPolicy(generation=1))
    assert router.policy.allowed == {"mistral"}, "a slow read brings nothing old back"
    dated = snapshot(credential("groq", expires_at=NOW + timedelta(days=400)))
    assert router.route(dated, request) is not router.route(dated, request)
