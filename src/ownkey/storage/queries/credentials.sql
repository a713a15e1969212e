-- name: insert_credential
-- The visible half of a credential.
insert into ownkey.credentials (user_id, id, provider, label, hint, base_url, position, expires_at)
values ($1, $2, $3, $4, $5, $6, $7, $8);

-- name: insert_secret
-- The sealed half, with the destination that it was given for.
insert into ownkey_private.credential_secrets (user_id, credential_id, base_url, sealed, fingerprint, generation)
values ($1, $2, $3, $4, $5, $6);

-- name: list_credentials
-- The user's credentials without secrets, in the order in which they are tried; with their sums of this month (UTC),
-- whose cost is NULL where nothing has a known price.
with month as (
    select
        credential_id, sum(requests)::bigint as requests, sum(errors)::bigint as errors,
        sum(cost_microdollars)::bigint as cost_microdollars, sum(unpriced_requests)::bigint as unpriced_requests
    from ownkey.usage_daily
    where day >= date_trunc('month', now() at time zone 'UTC')::date
    group by credential_id
)
select
    id::text, provider, label, hint, base_url, position, enabled, status, status_reason, status_until, status_since,
    probe_at, expires_at, created_at, updated_at, last_used_at, last_tested_at, request_count, input_tokens, output_tokens,
    coalesce(month.requests, 0) as requests_month, coalesce(month.errors, 0) as errors_month,
    case
        when month.cost_microdollars = 0 and month.unpriced_requests > 0 then null
        else coalesce(month.cost_microdollars, 0)
    end as cost_microdollars_month
from ownkey.credentials left join month on month.credential_id = id
order by provider, position, id;

-- name: find_credential
-- One credential without its secret, with its sums of this month.
with month as (
    select
        credential_id, sum(requests)::bigint as requests, sum(errors)::bigint as errors,
        sum(cost_microdollars)::bigint as cost_microdollars, sum(unpriced_requests)::bigint as unpriced_requests
    from ownkey.usage_daily
    where day >= date_trunc('month', now() at time zone 'UTC')::date and credential_id = $1
    group by credential_id
)
select
    id::text, provider, label, hint, base_url, position, enabled, status, status_reason, status_until, status_since,
    probe_at, expires_at, created_at, updated_at, last_used_at, last_tested_at, request_count, input_tokens, output_tokens,
    coalesce(month.requests, 0) as requests_month, coalesce(month.errors, 0) as errors_month,
    case
        when month.cost_microdollars = 0 and month.unpriced_requests > 0 then null
        else coalesce(month.cost_microdollars, 0)
    end as cost_microdollars_month
from ownkey.credentials left join month on month.credential_id = id
where id = $1;

-- name: find_sealed
-- One credential as the hot path needs it; the destination comes from the row of the secret.
select
    c.id::text, c.provider, c.label, c.hint, x.base_url, c.position, c.enabled, c.status, c.status_until, c.expires_at,
    x.generation, coalesce(x.sealed, ''::bytea) as sealed
from ownkey.credentials c
join ownkey_private.credential_secrets x on x.user_id = c.user_id and x.credential_id = c.id
where c.id = $1;

-- name: get_secret_generation
-- How often the secret of a credential was replaced, plus one.
select generation from ownkey_private.credential_secrets where credential_id = $1;

-- name: find_by_fingerprint
-- The credential at this provider that holds the same secret.
select c.id::text
from ownkey_private.credential_secrets x
join ownkey.credentials c on c.user_id = x.user_id and c.id = x.credential_id
where x.fingerprint = $2 and c.provider = $1;

-- name: update_credential
-- Columns whose flag is set get the new value, the others keep theirs.
update ownkey.credentials set
    label = case when 'label' = any ($2::text[]) then $3 else label end,
    hint = case when 'hint' = any ($2) then $4 else hint end,
    position = case when 'position' = any ($2) then $5 else position end,
    enabled = case when 'enabled' = any ($2) then $6 else enabled end,
    expires_at = case when 'expires_at' = any ($2) then $7 else expires_at end
where id = $1
returning id;

-- name: find_standing
-- What is known of a credential, locked, with the generation of its secret; NULL where that was erased. And what time it
-- is here: processes may think otherwise.
select
    c.provider, c.label, c.status, c.status_reason, c.status_until, c.status_since, c.probe_at, c.probes,
    c.last_tested_at, clock_timestamp() as now,
    (select x.generation from ownkey_private.credential_secrets x
        where x.user_id = c.user_id and x.credential_id = c.id and x.sealed is not null) as generation
from ownkey.credentials c
where c.id = $1
for no key update;

-- name: update_standing
-- What a test or a request taught; apart from update_credential, because it rarely concerns other processes.
update ownkey.credentials
set status = $2, status_reason = $3, status_until = $4, status_since = $5, probe_at = $6, probes = $7
where id = $1;

-- name: note_test
-- When a credential was tested last.
update ownkey.credentials set last_tested_at = $2 where id = $1;

-- name: claim_probes
-- Credentials that are due to be tried, which nobody else gets meanwhile.
select user_id, credential_id::text, probes from ownkey_private.claim_probes($1, $2);

-- name: plan_probe
-- When a credential is tried next.
update ownkey.credentials set probe_at = $2 where id = $1;

-- name: tell_recovery
-- Tell every process that a secret works again.
select ownkey_private.tell_recovery($1);

-- name: replace_secret
-- A new sealed secret in the place of the old one; never an older generation.
update ownkey_private.credential_secrets
set sealed = $2, fingerprint = $3, generation = $4, base_url = $5
where credential_id = $1 and generation < $4
returning credential_id;

-- name: update_after_replacement
-- The visible half of a replacement: nothing is known of the new secret yet.
update ownkey.credentials
set hint = $2, base_url = $3, status = 'unverified', status_reason = null, status_until = null, status_since = now(),
    probe_at = null, probes = 0
where id = $1;

-- name: clear_secret
-- Erase a secret whose destination changes; its generation stays, so that an old ciphertext cannot come back.
update ownkey_private.credential_secrets set sealed = null, fingerprint = null, base_url = null
where credential_id = $1
returning credential_id;

-- name: update_after_clearing
-- The visible half of a credential whose secret was erased: it names the new destination and asks for a secret.
update ownkey.credentials
set base_url = $2, hint = '', status = 'invalid', status_reason = 'base_url_changed', status_until = null,
    status_since = now(), probe_at = null, probes = 0
where id = $1;

-- name: delete_credential
-- The credential with its secret.
delete from ownkey.credentials where id = $1 returning id;

-- name: lock_credentials
-- The rows of one provider in the order of their keys, which the usage batches take as well.
select id::text from ownkey.credentials where provider = $1 order by user_id, id for no key update;

-- name: reorder_credentials
-- Positions in the order of the given ids.
update ownkey.credentials c set position = wanted.ordinality - 1
from unnest($2::uuid[]) with ordinality as wanted (id, ordinality)
where c.provider = $1 and c.id = wanted.id and c.position <> wanted.ordinality - 1;
