"""`UserLLMSettingsService`: credentials, on a real PostgreSQL and against simulated providers."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta, timezone

import pytest

from ownkey.domain.audit import AuditAction
from ownkey.domain.credential import CredentialStatus, Secret
from ownkey.domain.exchange import Failure
from ownkey.domain.recovery import Finding
from ownkey.domain.usage import Outcome
from ownkey.errors import Conflict, CredentialUnreadable, DataKeyClosed, NotFound, OwnkeyError, RequestError
from ownkey.services.credential_status import StatusKeeper
from ownkey.services.credential_test import CredentialProber, ProbeOutcome
from ownkey.services.credentials import CREDENTIALS_LIMIT
from ownkey.testing import SimulatedProviders
from tests.services.stand import Stand, unique

SECRET = "gsk_abcdefghijklmnopqrstuvwx0001"
OTHER = "gsk_abcdefghijklmnopqrstuvwx0002"


async def test_a_stored_credential_is_listed_masked_and_opens_for_its_owner(stand: Stand) -> None:
    user = unique("ann")
    stored = await stand.settings.add_credential(user, "groq", f'  "{SECRET}"\n', label="  work  ")
    assert (stored.provider, stored.label, stored.hint) == ("groq", "work", "gsk_…0001")
    assert stored.status is CredentialStatus.UNVERIFIED
    assert await stand.settings.list_credentials(user) == [stored]
    assert SECRET not in repr(stored)
    assert await stand.open_stored(user, stored.id) == SECRET


async def test_credentials_of_one_provider_keep_their_order(stand: Stand) -> None:
    user = unique("ann")
    first = await stand.settings.add_credential(user, "groq", SECRET)
    second = await stand.settings.add_credential(user, "groq", OTHER)
    await stand.settings.add_credential(user, "mistral", SECRET)
    assert [first.position, second.position] == [0, 1]
    ordered = await stand.settings.reorder_credentials(user, "groq", [second.id, first.id])
    assert [one.id for one in ordered] == [second.id, first.id]
    assert [one.id for one in await stand.settings.list_credentials(user) if one.provider == "groq"] == [
        second.id,
        first.id,
    ]
    for wrong in ([], [first.id], [first.id, first.id], [first.id, second.id, second.id], ["x", second.id]):
        with pytest.raises(RequestError):
            await stand.settings.reorder_credentials(user, "groq", wrong)


async def test_keys_without_a_label_are_told_apart(stand: Stand) -> None:
    user = unique("ann")
    labels = [(await stand.settings.add_credential(user, "groq", f"{SECRET}{n}")).label for n in range(3)]
    assert labels == ["default", "default 2", "default 3"]
    assert (await stand.settings.add_credential(user, "mistral", SECRET)).label == "default"
    # What somebody chose themselves is theirs, even twice.
    assert (await stand.settings.add_credential(user, "groq", OTHER, label=" default ")).label == "default"


async def test_the_same_secret_is_refused_at_the_same_provider_and_user_only(stand: Stand) -> None:
    ann, bob = unique("ann"), unique("bob")
    stored = await stand.settings.add_credential(ann, "groq", SECRET)
    with pytest.raises(Conflict) as caught:
        await stand.settings.add_credential(ann, "groq", SECRET, label="again")
    assert caught.value.code == "duplicate_secret"
    assert caught.value.extra == {"credential_id": stored.id}
    await stand.settings.add_credential(ann, "openai", SECRET)
    await stand.settings.add_credential(bob, "groq", SECRET)
    assert len(await stand.settings.list_credentials(ann)) == 2


async def test_concurrent_first_credentials_share_one_data_key_and_one_duplicate_wins(stand: Stand) -> None:
    user = unique("ann")
    secrets = [f"{SECRET}{number % 4}" for number in range(12)]
    results = await asyncio.gather(
        *(stand.settings.add_credential(user, "groq", secret) for secret in secrets), return_exceptions=True
    )
    refused = [result for result in results if isinstance(result, BaseException)]
    assert all(isinstance(error, Conflict) and error.code == "duplicate_secret" for error in refused), refused
    stored = await stand.settings.list_credentials(user)
    assert len(stored) == 4
    assert {await stand.open_stored(user, one.id) for one in stored} == set(secrets)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"secret": ""}, "invalid_secret"),
        ({"secret": "short"}, "invalid_secret"),
        ({"secret": "gsk_with\r\nHost: evil.example"}, "invalid_secret"),
        ({"secret": "gsk_" + "x" * 600}, "invalid_secret"),
        ({"secret": "gsk_nul\0character"}, "invalid_secret"),
        ({"secret": "gsk_half\ud800surrogate"}, "invalid_secret"),
        ({"provider": "nobody"}, "unknown_provider"),
        ({"provider": ""}, "unknown_provider"),
        ({"label": "x" * 81}, "invalid_request"),
        ({"label": "a\0b"}, "invalid_request"),
        ({"label": "a\ud800b"}, "invalid_request"),
        ({"position": -1}, "invalid_request"),
        ({"position": 2**31}, "invalid_request"),
        ({"position": True}, "invalid_request"),
        ({"expires_at": datetime(2020, 1, 1, tzinfo=UTC)}, "invalid_request"),
        ({"expires_at": datetime(2100, 1, 1)}, "invalid_request"),  # noqa: DTZ001  # that is the fault
        ({"expires_at": datetime(9999, 12, 31, 23, tzinfo=timezone(timedelta(hours=-12)))}, "invalid_request"),
        ({"base_url": "https://llm.example.com/v1"}, "invalid_base_url"),
        ({"fields": {"resource": "x"}}, "invalid_request"),
        ({"provider": "azure_openai"}, "invalid_request"),
        ({"provider": "azure_openai", "fields": {"resource": "evil.example/"}}, "invalid_request"),
        ({"provider": "azure_openai", "fields": {"resource": "fine", "more": "x"}}, "invalid_request"),
    ],
)
async def test_a_refused_credential_changes_nothing(stand: Stand, changes: dict[str, object], code: str) -> None:
    user = unique("ann")
    wanted = {"provider": "groq", "secret": SECRET, **changes}
    with pytest.raises(RequestError) as caught:
        await stand.settings.add_credential(user, wanted.pop("provider"), wanted.pop("secret"), **wanted)  # type: ignore[arg-type]
    assert caught.value.code == code
    assert "gsk_" not in caught.value.message
    assert await stand.settings.list_credentials(user) == []
    assert await stand.audit_of(user) == []


async def test_a_template_field_makes_the_base_url(stand: Stand) -> None:
    user = unique("ann")
    stored = await stand.settings.add_credential(user, "azure_openai", SECRET, fields={"resource": "my-team"})
    assert stored.base_url is not None
    assert "my-team" in stored.base_url
    assert "{" not in stored.base_url


async def test_only_what_differs_is_written_and_audited(stand: Stand) -> None:
    user = unique("ann")
    stored = await stand.settings.add_credential(user, "groq", SECRET, label="work")
    generation = await stand.generation_of(user)
    same = await stand.settings.update_credential(user, stored.id, label="work", enabled=True, expires_at=None)
    assert same == stored
    assert await stand.generation_of(user) == generation
    assert stand.changed == [user]
    changed = await stand.settings.update_credential(user, stored.id, label="work", enabled=False)
    assert not changed.enabled
    assert await stand.generation_of(user) > generation
    last = (await stand.audit_of(user))[-1]
    assert last.action is AuditAction.CREDENTIAL_UPDATED
    assert last.details == {"provider": "groq", "enabled": False}
    assert stand.changed == [user, user]


async def test_an_expiry_can_be_set_and_taken_back(stand: Stand) -> None:
    user = unique("ann")
    stored = await stand.settings.add_credential(user, "groq", SECRET)
    end = datetime.now(timezone(timedelta(hours=5))) + timedelta(days=30)
    assert (await stand.settings.update_credential(user, stored.id, expires_at=end)).expires_at == end
    assert (await stand.settings.update_credential(user, stored.id, expires_at=None)).expires_at is None


@pytest.mark.parametrize("changes", [{"provider": "openai"}, {"status": "ok"}, {"id": "x"}, {"enabled": "no"}])
async def test_what_is_not_a_users_to_change_is_refused(stand: Stand, changes: dict[str, object]) -> None:
    user = unique("ann")
    stored = await stand.settings.add_credential(user, "groq", SECRET)
    with pytest.raises(RequestError):
        await stand.settings.update_credential(user, stored.id, **changes)
    assert await stand.settings.list_credentials(user) == [stored]


async def test_a_new_base_url_erases_the_secret_until_it_is_entered_again(custom_stand: Stand) -> None:
    stand, user = custom_stand, unique("ann")
    stored = await stand.settings.add_credential(user, "groq", SECRET, label="work")
    moved = await stand.settings.update_credential(user, stored.id, base_url="https://llm.example.com/v1/")
    assert moved.base_url == "https://llm.example.com/v1"
    assert moved.status is CredentialStatus.INVALID
    assert await stand.sealed_of(user, stored.id) == b""
    with pytest.raises(Conflict) as caught:
        await stand.settings.test_credential(user, stored.id)
    assert caught.value.code == "secret_missing"
    assert (await stand.settings.list_credentials(user))[0].last_tested_at is None
    assert await stand.settings.select_best(user) is None or (await stand.best(user)).credential is None
    again = await stand.settings.replace_credential(user, stored.id, SECRET)
    assert (again.id, again.label, again.base_url) == (stored.id, "work", "https://llm.example.com/v1")
    assert again.status is CredentialStatus.UNVERIFIED
    assert await stand.open_stored(user, stored.id) == SECRET


@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254/latest",
        "https://169.254.169.254/latest",
        "https://user:pass@llm.example.com/v1",
        "https://llm.example.com/v1?key=1",
        "https://llm.example.com/v1#x",
        "https://llm.example.com/../v1",
        "ftp://llm.example.com",
        "file:///etc/passwd",
        "llm.example.com",
        "https://2130706433/v1",
        "https://llm.example.com/" + "x" * 300,
        "https://llm.example.com/\n",
        "",
    ],
)
async def test_an_unsafe_base_url_is_refused(custom_stand: Stand, url: str) -> None:
    user = unique("ann")
    with pytest.raises(RequestError) as caught:
        await custom_stand.settings.add_credential(user, "groq", SECRET, base_url=url)
    assert caught.value.code == "invalid_base_url"
    assert await custom_stand.settings.list_credentials(user) == []


async def test_replacing_keeps_everything_but_the_secret(stand: Stand) -> None:
    user = unique("ann")
    stored = await stand.settings.add_credential(user, "groq", SECRET, label="work", position=3)
    await stand.settings.put_task_override(user, "coding", "groq", credential_id=stored.id)
    replaced = await stand.settings.replace_credential(user, stored.id, OTHER)
    assert (replaced.id, replaced.label, replaced.position, replaced.hint) == (stored.id, "work", 3, "gsk_…0002")
    assert await stand.open_stored(user, stored.id) == OTHER
    with pytest.raises(Conflict):
        await stand.settings.replace_credential(user, stored.id, OTHER)
    second = await stand.settings.add_credential(user, "groq", SECRET)
    with pytest.raises(Conflict):
        await stand.settings.replace_credential(user, second.id, OTHER)
    assert await stand.open_stored(user, second.id) == SECRET


async def test_removal_names_the_tasks_that_need_the_credential(stand: Stand) -> None:
    user = unique("ann")
    stored = await stand.settings.add_credential(user, "groq", SECRET)
    await stand.settings.put_task_override(user, "coding", "groq", credential_id=stored.id)
    with pytest.raises(Conflict) as caught:
        await stand.settings.remove_credential(user, stored.id)
    assert caught.value.code == "credential_in_use"
    assert caught.value.extra == {"tasks": ["coding"]}
    await stand.settings.remove_credential(user, stored.id, force=True)
    assert await stand.settings.list_credentials(user) == []
    (override,) = await stand.settings.list_task_overrides(user)
    assert (override.provider, override.credential_id) == ("groq", None)
    with pytest.raises(NotFound):
        await stand.settings.remove_credential(user, stored.id)
    actions = [entry.action for entry in await stand.audit_of(user)]
    assert actions[-2:] == [AuditAction.TASK_UPDATED, AuditAction.CREDENTIAL_REMOVED]


async def test_nobody_reaches_the_credential_of_somebody_else(stand: Stand) -> None:
    ann, bob = unique("ann"), unique("bob")
    theirs = await stand.settings.add_credential(ann, "groq", SECRET)
    before = await stand.audit_of(ann)
    for call in (
        stand.settings.update_credential(bob, theirs.id, label="mine"),
        stand.settings.replace_credential(bob, theirs.id, OTHER),
        stand.settings.remove_credential(bob, theirs.id, force=True),
        stand.settings.test_credential(bob, theirs.id),
    ):
        with pytest.raises(NotFound) as caught:
            await call
        assert caught.value.message == "There is no such API key."
    with pytest.raises(RequestError):
        await stand.settings.reorder_credentials(bob, "groq", [theirs.id])
    with pytest.raises(RequestError):
        await stand.settings.put_task_override(bob, "coding", "groq", credential_id=theirs.id)
    assert await stand.settings.list_credentials(ann) == [theirs]
    assert await stand.audit_of(ann) == before


async def test_there_is_room_for_fifty(stand: Stand) -> None:
    user = unique("ann")
    for number in range(CREDENTIALS_LIMIT):
        await stand.settings.add_credential(user, "groq", f"{SECRET}{number}")
    with pytest.raises(RequestError) as caught:
        await stand.settings.add_credential(user, "groq", SECRET)
    assert caught.value.code == "credential_limit"


async def test_a_failed_audit_takes_the_change_with_it(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    user = unique("ann")
    stored = await stand.settings.add_credential(user, "groq", SECRET)

    async def fail(*_: object, **__: object) -> None:
        raise OwnkeyError("the audit chain is not there")

    with monkeypatch.context() as patch:
        patch.setattr("ownkey.storage.audit.append", fail)
        with pytest.raises(OwnkeyError):
            await stand.settings.update_credential(user, stored.id, label="new")
        with pytest.raises(OwnkeyError):
            await stand.settings.add_credential(user, "groq", OTHER)
    assert await stand.settings.list_credentials(user) == [stored]
    assert stand.changed == [user]


@pytest.mark.parametrize("user", ["", "x" * 256, "a\0b", "a\nb", "a\ud800"])
async def test_an_impossible_user_id_is_refused(stand: Stand, user: str) -> None:
    with pytest.raises(RequestError):
        await stand.settings.add_credential(user, "groq", SECRET)
    with pytest.raises(RequestError):
        await stand.settings.list_credentials(user)


async def test_user_ids_are_told_apart_by_case_and_may_be_long(stand: Stand) -> None:
    lower = unique("ann")
    for user in (lower, lower.upper(), (lower + "é" * 300)[:255]):
        assert await stand.settings.list_credentials(user) == []
        await stand.settings.add_credential(user, "groq", SECRET)
        assert len(await stand.settings.list_credentials(user)) == 1


@pytest.mark.parametrize(
    ("fault", "outcome", "status"),
    [
        (None, ProbeOutcome.WORKS, CredentialStatus.OK),
        ("bad_key", ProbeOutcome.WRONG_KEY, CredentialStatus.INVALID),
        ("no_credit", ProbeOutcome.NO_CREDIT, CredentialStatus.OUT_OF_CREDIT),
        ("no_permission", ProbeOutcome.LIMITED, CredentialStatus.LIMITED),
        ("rate_limited", ProbeOutcome.RATE_LIMITED, CredentialStatus.RATE_LIMITED),
        ("unavailable", ProbeOutcome.UNREACHABLE, CredentialStatus.UNVERIFIED),
    ],
)
async def test_what_a_test_finds_becomes_the_status(
    stand: Stand, providers: SimulatedProviders, fault: str | None, outcome: ProbeOutcome, status: CredentialStatus
) -> None:
    user = unique("ann")
    secret = f"gsk_{unique('probe')}"
    stored = await stand.settings.add_credential(user, "groq", secret)
    if fault is not None:
        providers.break_provider("groq", fault, key=secret)  # type: ignore[arg-type]
    result = await stand.settings.test_credential(user, stored.id)
    assert result.outcome is outcome
    assert secret not in result.message
    assert (result.model_count or 0) > 0 or outcome is not ProbeOutcome.WORKS
    (after,) = await stand.settings.list_credentials(user)
    assert after.status is status
    assert after.last_tested_at is not None
    last = (await stand.audit_of(user))[-1]
    assert (last.action, last.details) == (
        AuditAction.CREDENTIAL_TESTED,
        {"provider": "groq", "outcome": outcome.value} | ({} if status is stored.status else {"status": status.value}),
    )
    assert [entry.key for entry in providers.ledger("groq") if entry.key == secret] == [secret]


async def test_a_secret_can_be_tried_before_it_is_saved(stand: Stand, providers: SimulatedProviders) -> None:
    user, secret = unique("ann"), f"gsk_{unique('probe')}"
    providers.break_provider("groq", "bad_key", key=secret)
    assert (await stand.settings.test_secret(user, "groq", secret)).outcome is ProbeOutcome.WRONG_KEY
    assert (await stand.settings.test_secret(user, "groq", secret + "x")).outcome is ProbeOutcome.WORKS
    assert await stand.settings.list_credentials(user) == []
    assert await stand.audit_of(user) == []


async def test_every_provider_of_the_catalogue_can_be_tested(stand: Stand, providers: SimulatedProviders) -> None:
    for provider in stand.catalog.values():
        if provider.fields:
            continue
        secret = f"key-{unique('probe')}"
        result = await stand.settings.test_secret(unique("ann"), provider.id, secret)
        assert result.outcome is ProbeOutcome.WORKS, provider.id
        if provider.auth != "none":
            providers.break_provider(provider.id, "bad_key", key=secret)
            result = await stand.settings.test_secret(unique("ann"), provider.id, secret)
            assert result.outcome is ProbeOutcome.WRONG_KEY, provider.id


async def test_a_result_does_not_land_on_a_secret_that_came_later(stand: Stand, providers: SimulatedProviders) -> None:
    user, old = unique("ann"), f"gsk_{unique('probe')}"
    stored = await stand.settings.add_credential(user, "groq", old)
    providers.break_provider("groq", "hold", key=old)
    providers.clear_ledger()
    testing = asyncio.create_task(stand.settings.test_credential(user, stored.id))
    assert await asyncio.to_thread(providers.wait_for_requests, 1)
    await stand.settings.replace_credential(user, stored.id, old + "new")
    providers.release("groq")
    await testing
    (after,) = await stand.settings.list_credentials(user)
    assert after.status is CredentialStatus.UNVERIFIED
    assert after.last_tested_at is None


async def test_a_result_does_not_land_on_a_secret_whose_address_changed(
    custom_stand: Stand, providers: SimulatedProviders
) -> None:
    stand, user, secret = custom_stand, unique("ann"), f"gsk_{unique('probe')}"
    stored = await stand.settings.add_credential(user, "groq", secret)
    providers.break_provider("groq", "hold", key=secret)
    providers.clear_ledger()
    testing = asyncio.create_task(stand.settings.test_credential(user, stored.id))
    assert await asyncio.to_thread(providers.wait_for_requests, 1)
    await stand.settings.update_credential(user, stored.id, base_url="https://llm.example.com/v1")
    providers.release("groq")
    assert (await testing).outcome is ProbeOutcome.WORKS
    (after,) = await stand.settings.list_credentials(user)
    assert (after.status, after.last_tested_at) == (CredentialStatus.INVALID, None)


async def test_a_new_address_can_come_with_its_secret_at_once(custom_stand: Stand) -> None:
    stand, user = custom_stand, unique("ann")
    stored = await stand.settings.add_credential(user, "groq", SECRET)
    url = "https://llm.example.com/v1"
    moved = await stand.settings.replace_credential(user, stored.id, OTHER, base_url=url)
    assert (moved.base_url, moved.status) == (url, CredentialStatus.UNVERIFIED)
    assert await stand.open_stored(user, stored.id) == OTHER
    back = await stand.settings.replace_credential(user, stored.id, SECRET, base_url=None)
    assert back.base_url is None
    assert (await stand.audit_of(user))[-1].details == {"provider": "groq", "base_url": None}
    with pytest.raises(RequestError):
        await stand.settings.add_credential(user, "azure_openai", SECRET, base_url=url, fields={"resource": "x"})


async def test_other_template_fields_are_another_address(stand: Stand) -> None:
    user = unique("ann")
    stored = await stand.settings.add_credential(user, "azure_openai", SECRET, fields={"resource": "one"})
    assert await stand.settings.update_credential(user, stored.id, fields={}) == stored
    moved = await stand.settings.update_credential(user, stored.id, fields={"resource": "two"})
    assert moved.base_url == str(stored.base_url).replace("one", "two")
    assert await stand.sealed_of(user, stored.id) == b""


async def test_a_secret_under_a_key_that_is_not_loaded_here_is_not_called_unreadable(
    stand: Stand, stranger_stand: Stand
) -> None:
    """Another process opens it: this one says so, and keeps nothing of it."""
    user = unique("ann")
    stored = await stand.settings.add_credential(user, "groq", SECRET)
    for call in (
        stranger_stand.settings.test_credential(user, stored.id),
        stranger_stand.settings.add_credential(user, "groq", OTHER),
        stranger_stand.settings.replace_credential(user, stored.id, OTHER),
    ):
        with pytest.raises(DataKeyClosed) as caught:
            await call
        assert (caught.value.status, caught.value.code) == (503, "wrapping_key_not_loaded")
        assert caught.value.retry_after_seconds
    assert (await stranger_stand.settings.list_credentials(user))[0].status is CredentialStatus.UNVERIFIED
    assert await stand.open_stored(user, stored.id) == SECRET


async def test_a_secret_under_a_lost_wrapping_key_is_unreadable_and_nothing_is_overwritten(
    stand: Stand, impostor_stand: Stand
) -> None:
    """A key of the same name and other content: the cure may be the right file, so no key is replaced."""
    user = unique("ann")
    stored = await stand.settings.add_credential(user, "groq", SECRET)
    with pytest.raises(CredentialUnreadable) as caught:
        await impostor_stand.settings.test_credential(user, stored.id)
    assert caught.value.status == 424
    assert (await impostor_stand.settings.list_credentials(user))[0].status is CredentialStatus.UNREADABLE
    for call in (
        impostor_stand.settings.add_credential(user, "groq", OTHER),
        impostor_stand.settings.replace_credential(user, stored.id, OTHER),
    ):
        with pytest.raises(CredentialUnreadable, match="Ask the administrator"):
            await call
    assert await stand.open_stored(user, stored.id) == SECRET
    again = await stand.settings.replace_credential(user, stored.id, OTHER)
    assert again.status is CredentialStatus.UNVERIFIED


async def test_a_credential_whose_date_has_passed_says_so(stand: Stand) -> None:
    user = unique("ann")
    now = datetime.now(UTC)
    stored = await stand.settings.add_credential(user, "groq", SECRET, expires_at=now + timedelta(hours=1))
    assert stored.status is CredentialStatus.UNVERIFIED
    stand.travel(timedelta(hours=2))
    assert (await stand.settings.list_credentials(user))[0].status is CredentialStatus.EXPIRED
    best = await stand.best(user)
    assert best.credential is None, "the operator's key takes over"
    extended = await stand.settings.update_credential(user, stored.id, expires_at=now + timedelta(days=2))
    assert extended.status is CredentialStatus.UNVERIFIED
    assert (await stand.best(user)).credential is not None


@pytest.mark.parametrize("fault", ["reset", "not_json", "redirect", "server_error", "overloaded"])
async def test_a_provider_that_does_not_answer_properly_is_unreachable(
    stand: Stand, providers: SimulatedProviders, fault: str
) -> None:
    secret = f"gsk_{unique('probe')}"
    providers.break_provider("groq", fault, key=secret)  # type: ignore[arg-type]
    result = await stand.settings.test_secret(unique("ann"), "groq", secret)
    assert (result.outcome, result.status) == (ProbeOutcome.UNREACHABLE, None)


async def test_a_provider_that_never_answers_is_given_up(stand: Stand, providers: SimulatedProviders) -> None:
    secret = f"gsk_{unique('probe')}"
    providers.break_provider("groq", "hold", key=secret)
    prober = CredentialProber(stand.pool, timeout_seconds=0.2)
    result = await prober.probe(stand.catalog["groq"], None, Secret(secret))
    assert result.outcome is ProbeOutcome.UNREACHABLE
    assert await asyncio.to_thread(providers.wait_until_idle), "the request was cancelled, not left behind"


async def test_one_users_tests_do_not_take_everybodys_turn(stand: Stand, providers: SimulatedProviders) -> None:
    ann, bob, secret = unique("ann"), unique("bob"), f"gsk_{unique('probe')}"
    providers.break_provider("groq", "hold", key=secret)
    providers.clear_ledger()
    running = [asyncio.create_task(stand.settings.test_secret(ann, "groq", secret)) for _ in range(10)]
    assert await asyncio.to_thread(providers.wait_for_requests, 10)
    with pytest.raises(RequestError) as caught:
        await stand.settings.test_secret(ann, "groq", SECRET)
    assert (caught.value.code, caught.value.status) == ("too_many_tests", 429)
    assert (await stand.settings.test_secret(bob, "groq", SECRET)).outcome is ProbeOutcome.WORKS
    providers.release("groq")
    assert {result.outcome for result in await asyncio.gather(*running)} == {ProbeOutcome.WORKS}
    assert (await stand.settings.test_secret(ann, "groq", SECRET)).outcome is ProbeOutcome.WORKS


async def test_a_new_secret_or_a_good_test_ends_a_cool_down(stand: Stand, providers: SimulatedProviders) -> None:
    user = unique("ann")
    stored = await stand.settings.add_credential(user, "groq", SECRET)
    failure = Failure(outcome=Outcome.CREDIT_EXHAUSTED, message="no credit")
    for cure in (
        lambda: stand.settings.test_credential(user, stored.id),
        lambda: stand.settings.replace_credential(user, stored.id, OTHER),
    ):
        # The first secret is in trouble both times: it is remembered by secret, not by credential.
        stand.health.note_failure(stand.catalog["groq"].base_url, f"{stored.id}/1", failure)
        assert (await stand.best(user)).credential is None
        await cure()
        assert (await stand.best(user)).credential is not None


async def test_a_provider_without_keys_needs_none(stand: Stand) -> None:
    user = unique("ann")
    assert (await stand.settings.test_secret(user, "ollama", "")).outcome is ProbeOutcome.WORKS
    first = await stand.settings.add_credential(user, "ollama", "")
    second = await stand.settings.add_credential(user, "ollama", "  ", label="second")
    assert first.id != second.id


async def test_a_process_whose_clock_is_wrong_lets_no_credential_wait_for_that(stand: Stand) -> None:
    """What is stored is what the database's clock will show: every process reads it."""
    user = unique("ann")
    stored = await stand.settings.add_credential(user, "groq", SECRET)
    for days in (40, -40):
        wrong = datetime.now(UTC) + timedelta(days=days)
        finding = Finding(status=CredentialStatus.RATE_LIMITED, until=wrong + timedelta(seconds=60))
        async with stand.database.transaction(user) as tx:
            await StatusKeeper(now=lambda wrong=wrong: wrong).keep(tx, user, stored.id, finding)
        [kept] = await stand.settings.list_credentials(user)
        assert kept.status_until is not None
        assert abs(kept.status_until - datetime.now(UTC)) < timedelta(minutes=2)
