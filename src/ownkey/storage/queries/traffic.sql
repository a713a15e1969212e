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
-- Who used the operator's keys on the days from $1 to $2, the most expensive first. The spans of $4 days that begin at
-- $5, in pairs, are those days: they say who it was, and the daily sums are looked at for those few alone.
with users as materialized (
    select
        s.owner as user_id,
        sum(s.requests)::bigint as requests,
        sum(s.errors)::bigint as errors,
        sum(s.input_uncached + s.cache_read + s.cache_write)::bigint as input_tokens,
        sum(s.output_text + s.output_reasoning)::bigint as output_tokens,
        sum(s.cost_microdollars) filter (where s.unpriced_requests < s.requests)::bigint as cost_microdollars,
        sum(s.unpriced_requests)::bigint as unpriced_requests,
        sum(s.cost_microdollars) as cost
    from unnest($4::smallint[], $5::date[]) a (days, first_day)
    cross join lateral (
        select * from ownkey_private.usage_spans k
        where k.days = a.days and k.first_day = a.first_day and k.payer = 'shared' offset 0
    ) s
    group by s.owner
    order by sum(s.cost_microdollars) desc, sum(s.requests) desc, s.owner
    limit $3
),
-- Put below each other and grouped: of a join with daily sums behind row-level security the planner thinks too little.
found as (
    select
        u.user_id, u.requests, u.errors, u.input_tokens, u.output_tokens, u.cost_microdollars, u.unpriced_requests,
        u.cost, null as provider, null::date as day
    from users u
    union all
    select d.user_id collate "C", null, null, null, null, null, null, null, d.provider, d.day
    from ownkey.usage_daily d
    where d.user_id = any (array(select user_id from users)) and d.payer = 'shared' and d.day between $1 and $2
)
select
    user_id, max(requests) as requests, max(errors) as errors, max(input_tokens) as input_tokens,
    max(output_tokens) as output_tokens, max(cost_microdollars) as cost_microdollars,
    max(unpriced_requests) as unpriced_requests,
    array_agg(distinct provider) filter (where provider is not null) as providers, max(day) as last_day
from found
group by user_id
order by max(cost) desc, max(requests) desc, user_id;
