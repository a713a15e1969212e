"""`/api/settings`, `/api/preferences`, `/api/tasks` and `/api/route/preview`."""

from __future__ import annotations

from collections.abc import Sequence

from fastapi import APIRouter, Response
from msgspec import structs

from ownkey.domain.routing import Needs, RouteRequest
from ownkey.domain.settings import Preference, Settings, TaskOverride, check_task
from ownkey.domain.version import preferences_version, settings_version, task_version, tasks_version
from ownkey.http.access import Caller, CoreDep, Reader
from ownkey.http.api_inputs import (
    ListedPreference,
    PreferenceChange,
    RoutePreviewInput,
    SettingsChange,
    TaskChange,
)
from ownkey.http.api_outputs import AttemptOut, CapsOut, PreferenceOut, RouteOut, SettingsOut, SkippedOut, TaskOut
from ownkey.http.if_match import (
    VERSIONED,
    VERSIONED_GONE,
    SeenPreferences,
    SeenSettings,
    SeenTask,
    put_etag,
)
from ownkey.services.core import Core
from ownkey.services.route_preview import PreviewedHop, RoutePreview, explain_skip

router = APIRouter(prefix="/api")


@router.get("/settings", tags=["Settings"], responses=VERSIONED)
async def get_settings(core: CoreDep, caller: Reader, response: Response) -> SettingsOut:
    """Your general settings."""
    found = await core.settings.get_settings(caller.user_id)
    put_etag(response, settings_version(found))
    return describe_settings(core, found)


@router.patch("/settings", tags=["Settings"], responses=VERSIONED)
async def update_settings(
    core: CoreDep, caller: Caller, change: SettingsChange, seen: SeenSettings, response: Response
) -> SettingsOut:
    """Change what is given."""
    changed = await core.settings.expecting(seen).update_settings(
        caller.user_id, actor=caller.actor, **change.model_dump(exclude_unset=True)
    )
    put_etag(response, seen.version)
    return describe_settings(core, changed)


@router.get("/preferences", tags=["Preferences"], responses=VERSIONED)
async def list_preferences(core: CoreDep, caller: Caller, response: Response) -> list[PreferenceOut]:
    """Your wishes per provider. A provider that is not listed has the defaults."""
    found = await core.settings.list_preferences(caller.user_id)
    put_etag(response, preferences_version(found))
    return _describe_preferences(core, found)


@router.put("/preferences", tags=["Preferences"], responses=VERSIONED)
async def put_preferences(
    core: CoreDep, caller: Caller, wishes: list[ListedPreference], seen: SeenPreferences, response: Response
) -> list[PreferenceOut]:
    """Set several wishes at once, all or none. Providers that are not listed keep theirs."""
    await core.settings.expecting(seen).put_preferences(
        caller.user_id, [Preference(**wish.model_dump()) for wish in wishes], actor=caller.actor
    )
    put_etag(response, seen.version)
    return _describe_preferences(core, await core.settings.list_preferences(caller.user_id))


@router.put("/preferences/{provider}", tags=["Preferences"], responses=VERSIONED)
async def put_preference(
    core: CoreDep, caller: Caller, provider: str, wish: PreferenceChange, seen: SeenPreferences, response: Response
) -> PreferenceOut:
    """Set your wish for one provider."""
    stored = await core.settings.expecting(seen).put_preference(
        caller.user_id, provider, actor=caller.actor, **wish.model_dump()
    )
    put_etag(response, seen.version)
    return PreferenceOut.model_validate(stored)


@router.get("/tasks", tags=["Tasks"], responses=VERSIONED)
async def list_tasks(core: CoreDep, caller: Caller, response: Response) -> list[TaskOut]:
    """Your overrides by task. A task that is not listed follows the general preferences."""
    found = await core.settings.list_task_overrides(caller.user_id)
    put_etag(response, tasks_version(found))
    return [_describe_task(one) for one in found]


@router.get("/tasks/{task}", tags=["Tasks"])
async def get_task(core: CoreDep, caller: Caller, task: str) -> TaskOut:
    """Your override for one task."""
    return _describe_task(await core.settings.get_task_override(caller.user_id, task))


@router.put("/tasks/{task}", tags=["Tasks"], responses=VERSIONED)
async def put_task(
    core: CoreDep, caller: Caller, task: str, change: TaskChange, seen: SeenTask, response: Response
) -> TaskOut:
    """Set provider, model and payer for one task, built in or of your own."""
    stored = await core.settings.expecting(seen).put_task_override(
        caller.user_id, task, actor=caller.actor, **change.model_dump()
    )
    put_etag(response, seen.version)
    return _describe_task(stored)


@router.delete("/tasks/{task}", status_code=204, tags=["Tasks"], responses=VERSIONED_GONE)
async def remove_task(core: CoreDep, caller: Caller, task: str, seen: SeenTask) -> Response:
    """Let a task follow the general preferences again."""
    await core.settings.expecting(seen).remove_task_override(caller.user_id, task, actor=caller.actor)
    response = Response(status_code=204)
    put_etag(response, seen.version)
    return response


@router.post("/route/preview", tags=["Routing"])
async def preview_route(core: CoreDep, caller: Caller, asked: RoutePreviewInput) -> RouteOut:
    """What a request would do, with your keys, now: every hop in order, who pays, what it may cost, and why the others
    are left out. Nothing is sent.
    """
    request = RouteRequest(
        model=asked.model,
        operation=asked.operation,
        task=None if asked.task is None else check_task(asked.task),
        needs=Needs(**asked.needs.model_dump()),
        allow_fallback=asked.allow_fallback,
        max_output_tokens=asked.max_output_tokens,
    )
    return _describe_route(core, await core.previews.preview(caller.user_id, request))


def _describe_task(override: TaskOverride) -> TaskOut:
    return TaskOut.model_validate({**structs.asdict(override), "version": task_version(override)})


def describe_settings(core: Core, chosen: Settings) -> SettingsOut:
    """What a user chose, and what the policy says where they chose nothing or may not choose."""
    return SettingsOut(
        payer=core.router.policy.payer_for(chosen.payer),
        payer_chosen=chosen.payer is not None,
        allow_fallback=chosen.allow_fallback,
        default_task=chosen.default_task,
        shared_consent_at=chosen.shared_consent_at,
        shared_consent_needed=core.router.policy.consent and chosen.shared_consent_at is None,
        caps=CapsOut.model_validate(chosen.caps),
    )


def _describe_preferences(core: Core, found: Sequence[Preference]) -> list[PreferenceOut]:
    """Wishes for providers that are gone wait for their return: nobody could send them back."""
    return [PreferenceOut.model_validate(one) for one in found if one.provider in core.catalog]


def _describe_route(core: Core, route: RoutePreview) -> RouteOut:
    hops = [_describe_hop(hop) for hop in route.hops]
    return RouteOut(
        task=route.task,
        best=hops[0] if hops else None,
        attempts=hops,
        skipped=[
            SkippedOut.model_validate({**structs.asdict(one), "explanation": explain_skip(one, core.catalog)})
            for one in route.skipped
        ],
    )


def _describe_hop(hop: PreviewedHop) -> AttemptOut:
    attempt, quote = hop.attempt, hop.quote
    return AttemptOut.model_validate(
        {
            "provider": attempt.provider.id,
            "model": attempt.model,
            "payer": attempt.payer,
            "credential": attempt.credential,
            "price": None if quote is None else {**structs.asdict(quote), "output_tokens": hop.output_tokens},
        }
    )
