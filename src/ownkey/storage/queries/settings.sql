-- name: get_settings
-- The user's general settings; no row means the defaults.
select payer, allow_fallback, default_task, shared_consent_at, cap_day_microdollars, cap_month_microdollars, cap_action
from ownkey.user_llm_settings;

-- name: put_settings
-- All of the user's general settings.
insert into ownkey.user_llm_settings (
    payer, allow_fallback, default_task, shared_consent_at, cap_day_microdollars, cap_month_microdollars, cap_action
) values ($1, $2, $3, $4, $5, $6, $7)
on conflict (user_id) do update set
    payer = excluded.payer, allow_fallback = excluded.allow_fallback, default_task = excluded.default_task,
    shared_consent_at = excluded.shared_consent_at, cap_day_microdollars = excluded.cap_day_microdollars,
    cap_month_microdollars = excluded.cap_month_microdollars, cap_action = excluded.cap_action;

-- name: list_preferences
-- What the user wishes of each provider.
select provider, enabled, priority, default_model, may_fall_back, backup_only
from ownkey.provider_preferences
order by priority, provider;

-- name: put_preference
-- The wish for one provider; a row that would not change is left alone, so that no process reads again for nothing.
insert into ownkey.provider_preferences as p
    (provider, enabled, priority, default_model, may_fall_back, backup_only)
values ($1, $2, $3, $4, $5, $6)
on conflict (user_id, provider) do update set
    enabled = excluded.enabled, priority = excluded.priority, default_model = excluded.default_model,
    may_fall_back = excluded.may_fall_back, backup_only = excluded.backup_only
where (p.enabled, p.priority, p.default_model, p.may_fall_back, p.backup_only)
    is distinct from
    (excluded.enabled, excluded.priority, excluded.default_model, excluded.may_fall_back, excluded.backup_only);

-- name: delete_preference
-- Back to the defaults for one provider.
delete from ownkey.provider_preferences where provider = $1 returning provider;

-- name: list_task_overrides
-- The user's override of each task.
select task, provider, model, credential_id::text, payer, allow_fallback from ownkey.task_overrides order by task;

-- name: put_task_override
-- The override of one task.
insert into ownkey.task_overrides as t (task, provider, model, credential_id, payer, allow_fallback)
values ($1, $2, $3, $4, $5, $6)
on conflict (user_id, task) do update set
    provider = excluded.provider, model = excluded.model, credential_id = excluded.credential_id,
    payer = excluded.payer, allow_fallback = excluded.allow_fallback
where (t.provider, t.model, t.credential_id, t.payer, t.allow_fallback)
    is distinct from
    (excluded.provider, excluded.model, excluded.credential_id, excluded.payer, excluded.allow_fallback);

-- name: delete_task_override
-- The task follows the preferences again.
delete from ownkey.task_overrides where task = $1 returning task;
