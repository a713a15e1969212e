"""`UserLLMSettingsService`: settings, preferences, task overrides and the best provider."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ownkey.domain.audit import AuditAction
from ownkey.domain.routing import RouteRequest
from ownkey.domain.settings import Payer, PayerRule, Preference, Settings, TaskOverride
from ownkey.errors import NotFound, RequestError
from ownkey.services.choices import OVERRIDES_LIMIT, PRIORITY_LIMIT
from tests.services.stand import Stand, unique

SECRET = "sk-abcdefghijklmnopqrstuvwx0001"


async def test_a_new_user_has_the_defaults_and_no_rows(stand: Stand) -> None:
    user = unique("ann")
    assert await stand.settings.get_settings(user) == Settings()
    assert await stand.settings.list_preferences(user) == []
    assert await stand.settings.list_task_overrides(user) == []
    assert await stand.generation_of(user) == 0, "looking must not create a user"


async def test_settings_change_field_by_field(stand: Stand) -> None:
    user = unique("ann")
    await stand.settings.update_settings(user, payer="own_only")
    after = await stand.settings.update_settings(user, default_task=" Coding ", allow_fallback=False)
    assert after == Settings(payer=PayerRule.OWN_ONLY, allow_fallback=False, default_task="coding")
    assert (await stand.settings.update_settings(user, default_task=None)).default_task is None
    assert [(entry.action, entry.details) for entry in await stand.audit_of(user)] == [
        (AuditAction.SETTINGS_UPDATED, {"payer": "own_only"}),
        (AuditAction.SETTINGS_UPDATED, {"default_task": "coding", "allow_fallback": False}),
        (AuditAction.SETTINGS_UPDATED, {"default_task": None}),
    ]


async def test_what_changes_nothing_writes_nothing(stand: Stand) -> None:
    user = unique("ann")
    await stand.settings.update_settings(user, payer="own_only")
    await stand.settings.put_preference(user, "groq", priority=5)
    await stand.settings.put_task_override(user, "coding", "groq", model="llama-3.3-70b-versatile")
    generation, trail, changed = await stand.generation_of(user), await stand.audit_of(user), list(stand.changed)
    await stand.settings.update_settings(user)
    await stand.settings.update_settings(user, payer="own_only", allow_fallback=True)
    await stand.settings.put_preference(user, "groq", priority=5, enabled=True)
    await stand.settings.put_preferences(user, [Preference(provider="groq", priority=5)])
    await stand.settings.put_task_override(user, "Coding", "groq", model="llama-3.3-70b-versatile")
    assert await stand.generation_of(user) == generation
    assert await stand.audit_of(user) == trail
    assert stand.changed == changed


@pytest.mark.parametrize(
    "changes",
    [
        {"payer": "nobody"},
        {"allow_fallback": "yes"},
        {"allow_fallback": None},
        {"default_task": "no spaces"},
        {"default_task": ""},
        {"default_task": "x" * 41},
        {"generation": 1},
    ],
)
async def test_wrong_settings_change_nothing(stand: Stand, changes: dict[str, object]) -> None:
    user = unique("ann")
    with pytest.raises(RequestError):
        await stand.settings.update_settings(user, **changes)
    assert await stand.generation_of(user) == 0


async def test_a_preference_keeps_what_is_left_out(stand: Stand) -> None:
    user = unique("ann")
    await stand.settings.put_preference(user, "groq", priority=5, default_model="llama-3.1-8b-instant")
    after = await stand.settings.put_preference(user, "groq", enabled=False)
    assert after == Preference(provider="groq", enabled=False, priority=5, default_model="llama-3.1-8b-instant")
    assert await stand.settings.list_preferences(user) == [after]
    assert (await stand.audit_of(user))[-1].details == {"enabled": False}


async def test_several_preferences_are_set_all_or_none(stand: Stand) -> None:
    user = unique("ann")
    wishes = [Preference(provider="groq", priority=1), Preference(provider="mistral", priority=2)]
    await stand.settings.put_preferences(user, wishes)
    for wrong in (
        [Preference(provider="groq", priority=9), Preference(provider="nobody")],
        [Preference(provider="groq", priority=9), Preference(provider="groq", priority=8)],
        [Preference(provider="groq", priority=9), Preference(provider="openai", priority=PRIORITY_LIMIT + 1)],
    ):
        with pytest.raises(RequestError):
            await stand.settings.put_preferences(user, wrong)
    assert sorted(await stand.settings.list_preferences(user), key=lambda one: one.priority) == wishes


@pytest.mark.parametrize(
    ("provider", "changes"),
    [
        ("nobody", {}),
        ("groq\0", {}),
        ("groq", {"priority": -1}),
        ("groq", {"priority": 1.5}),
        ("groq", {"priority": True}),
        ("groq", {"enabled": None}),
        ("groq", {"default_model": "../../admin"}),
        ("groq", {"default_model": ""}),
        ("groq", {"default_model": "x" * 201}),
        ("groq", {"default_model": "a\nb"}),
        ("groq", {"user": "somebody-else"}),
        ("groq", {"colour": "red"}),
    ],
)
async def test_wrong_preferences_change_nothing(stand: Stand, provider: str, changes: dict[str, object]) -> None:
    user = unique("ann")
    with pytest.raises(RequestError):
        await stand.settings.put_preference(user, provider, **changes)
    assert await stand.settings.list_preferences(user) == []


async def test_a_task_override_is_set_replaced_and_removed(stand: Stand) -> None:
    user = unique("ann")
    credential = await stand.settings.add_credential(user, "groq", SECRET)
    await stand.settings.put_task_override(
        user, "coding", "groq", model="llama-3.3-70b-versatile", credential_id=credential.id, payer="own_only"
    )
    after = await stand.settings.put_task_override(user, "coding", "mistral", allow_fallback=False)
    assert after == TaskOverride(task="coding", provider="mistral", allow_fallback=False)
    assert await stand.settings.list_task_overrides(user) == [after]
    assert await stand.settings.get_task_override(user, "coding") == after
    assert (await stand.audit_of(user))[-1].details == {
        "provider": "mistral",
        "model": None,
        "credential_id": None,
        "payer": None,
        "allow_fallback": False,
    }
    await stand.settings.remove_task_override(user, "coding")
    assert await stand.settings.list_task_overrides(user) == []
    for call in (stand.settings.remove_task_override, stand.settings.get_task_override):
        with pytest.raises(NotFound):
            await call(user, "coding")


@pytest.mark.parametrize(
    ("task", "provider", "options"),
    [
        ("no spaces", "groq", {}),
        ("", "groq", {}),
        ("9lives", "groq", {}),
        ("coding", "nobody", {}),
        ("coding", "groq", {"model": "a b"}),
        ("coding", "groq", {"model": "/etc/passwd"}),
        ("coding", "groq", {"payer": "the king"}),
        ("coding", "groq", {"credential_id": "not-an-id"}),
        ("coding", "groq", {"credential_id": "00000000-0000-7000-8000-000000000000"}),
        ("coding", "groq", {"credential_id": "00000000-0000-7000-8000-000000000000", "payer": "shared_only"}),
        ("embedding", "anthropic", {}),
    ],
)
async def test_wrong_task_overrides_change_nothing(
    stand: Stand, task: str, provider: str, options: dict[str, str]
) -> None:
    user = unique("ann")
    with pytest.raises(RequestError):
        await stand.settings.put_task_override(user, task, provider, **options)
    assert await stand.settings.list_task_overrides(user) == []


async def test_a_task_cannot_pin_a_credential_of_another_provider(stand: Stand) -> None:
    user = unique("ann")
    credential = await stand.settings.add_credential(user, "mistral", SECRET)
    with pytest.raises(RequestError) as caught:
        await stand.settings.put_task_override(user, "coding", "groq", credential_id=credential.id)
    assert caught.value.param == "credential_id"


async def test_there_is_room_for_a_hundred_tasks(stand: Stand) -> None:
    user = unique("ann")
    for number in range(OVERRIDES_LIMIT):
        await stand.settings.put_task_override(user, f"task-{number}", "groq")
    await stand.settings.put_task_override(user, "task-0", "mistral")
    with pytest.raises(RequestError) as caught:
        await stand.settings.put_task_override(user, "one-more", "groq")
    assert caught.value.code == "task_limit"


async def test_a_provider_that_is_switched_off_takes_no_new_keys(narrow_stand: Stand) -> None:
    user = unique("ann")
    await narrow_stand.settings.add_credential(user, "groq", SECRET)
    for call in (
        narrow_stand.settings.add_credential(user, "openai", SECRET),
        narrow_stand.settings.test_secret(user, "openai", SECRET),
        narrow_stand.settings.put_task_override(user, "coding", "openai"),
    ):
        with pytest.raises(RequestError) as caught:
            await call
        assert (caught.value.code, caught.value.status) == ("provider_not_allowed", 403)


async def test_the_best_provider_follows_the_users_choices(stand: Stand) -> None:
    user = unique("ann")
    best = await stand.best(user)
    assert (best.provider.id, best.payer) == ("openai", Payer.SHARED), "the operator's key serves who has none"
    await stand.settings.add_credential(user, "groq", SECRET)
    mistral = await stand.settings.add_credential(user, "mistral", SECRET)
    await stand.settings.put_preference(user, "mistral", priority=1)
    await stand.settings.put_preference(user, "groq", priority=2)
    assert (await stand.best(user)).provider.id == "mistral"
    await stand.settings.put_task_override(user, "coding", "groq", model="llama-3.1-8b-instant")
    best = await stand.best(user, "coding")
    assert (best.provider.id, best.model, best.payer) == ("groq", "llama-3.1-8b-instant", Payer.OWN)
    await stand.settings.put_preference(user, "mistral", enabled=False)
    assert (await stand.best(user)).provider.id == "groq"
    await stand.settings.put_preference(user, "mistral", enabled=True)
    await stand.settings.update_credential(user, mistral.id, enabled=False)
    assert (await stand.best(user)).provider.id == "groq"
    assert (await stand.settings.select_best(user, model="mistral/mistral-large-latest")) is not None
    with pytest.raises(NotFound):
        await stand.settings.get_task_override(user, "research")
    route = await stand.settings.preview_route(user, RouteRequest(model="auto"))
    assert {(hop.provider, hop.reason) for hop in route.skipped} >= {("mistral", "credential_disabled")}


async def test_concurrent_changes_of_different_fields_are_all_kept(stand: Stand) -> None:
    user = unique("ann")
    await asyncio.gather(
        stand.settings.update_settings(user, payer="own_only"),
        stand.settings.update_settings(user, allow_fallback=False),
        stand.settings.update_settings(user, default_task="chat"),
        *(stand.settings.put_preference(user, "groq", **change) for change in ({"priority": 7}, {"enabled": False})),
    )
    assert await stand.settings.get_settings(user) == Settings(
        payer=PayerRule.OWN_ONLY, allow_fallback=False, default_task="chat"
    )
    (preference,) = await stand.settings.list_preferences(user)
    assert (preference.priority, preference.enabled) == (7, False)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(task=st.text(max_size=60), model=st.text(max_size=220), label=st.text(max_size=100))
async def test_any_text_is_stored_or_refused_with_a_clear_error(
    stand: Stand, task: str, model: str, label: str
) -> None:
    """Whatever a person types, PostgreSQL and the audit chain never see what they cannot hold."""
    user = unique("ann")
    try:
        stored = await stand.settings.put_task_override(user, task, "groq", model=model)
    except RequestError as error:
        error.message.encode()
    else:
        assert await stand.settings.list_task_overrides(user) == [stored]
    try:
        credential = await stand.settings.add_credential(user, "groq", SECRET, label=label)
    except RequestError as error:
        error.message.encode()
    else:
        assert await stand.settings.list_credentials(user) == [credential]
