-- name: measure_providers
-- How each provider answered everybody's calls since $1: how many, how fast, with which errors.
with recent as materialized (
    select provider, outcome, duration_ms, first_byte_ms from ownkey.usage_events where occurred_at >= $1
),
failed as (
    select counted.provider, json_object_agg(counted.outcome, counted.number) as errors
    from (
        select provider, outcome, count(*) as number from recent
        where outcome not in ('ok', 'client_gone') group by provider, outcome
    ) counted
    group by counted.provider
)
select
    recent.provider,
    count(*) as requests,
    (percentile_disc(0.5) within group (order by recent.duration_ms) filter (where recent.outcome = 'ok'))::bigint
        as p50_duration_ms,
    (percentile_disc(0.95) within group (order by recent.duration_ms) filter (where recent.outcome = 'ok'))::bigint
        as p95_duration_ms,
    (percentile_disc(0.5) within group (order by recent.first_byte_ms) filter (where recent.outcome = 'ok'))::bigint
        as p50_first_byte_ms,
    coalesce(max(failed.errors::text), '{}') as errors
from recent
left join failed using (provider)
group by recent.provider;

-- name: list_fallbacks
-- Which provider requests fell to from which on the days from $1 to $2, by the error that made them fall.
select
    from_provider, from_payer, to_provider, to_payer, error, sum(requests)::bigint as requests,
    sum(answered)::bigint as answered, max(last_at) as last_at
from ownkey_private.usage_fallbacks_daily
where day between $1 and $2
group by 1, 2, 3, 4, 5
order by sum(requests) desc, 1, 2, 3, 4, 5
limit $3;

-- name: list_shared_users
-- Who used the operator's keys on the days from $1 to $2, the most expensive first.
select
    user_id,
    sum(requests)::bigint as requests,
    sum(errors)::bigint as errors,
    sum(input_uncached + cache_read + cache_write)::bigint as input_tokens,
    sum(output_text + output_reasoning)::bigint as output_tokens,
    sum(cost_microdollars) filter (where unpriced_requests < requests)::bigint as cost_microdollars,
    sum(unpriced_requests)::bigint as unpriced_requests,
    array_agg(distinct provider) as providers,
    max(day) as last_day
from ownkey.usage_daily
where payer = 'shared' and day between $1 and $2
group by user_id
order by sum(cost_microdollars) desc, sum(requests) desc, user_id
limit $3;
