-- name: record_usage
-- Store a JSON array of events of any users; gives how many were new.
select ownkey_private.record_usage($1);

-- name: ensure_usage_partitions
-- Make the monthly partitions for the months ahead.
select ownkey_private.ensure_usage_partitions($1);

-- name: query_usage
-- Sums over days from $1 to $2, by the keys that $3 names; the other keys are NULL.
select
    case when 'user' = any ($3::text[]) then user_id end as user_id,
    case when 'day' = any ($3) then day end as day,
    case when 'provider' = any ($3) then provider end as provider,
    case when 'model' = any ($3) then model end as model,
    case when 'task' = any ($3) then nullif(task, '') end as task,
    case when 'credential' = any ($3)
        then nullif(credential_id, '00000000-0000-0000-0000-000000000000')::text end as credential_id,
    case when 'payer' = any ($3) then payer end as payer,
    sum(requests)::bigint as requests,
    sum(errors)::bigint as errors,
    sum(input_uncached)::bigint as input_uncached,
    sum(cache_read)::bigint as cache_read,
    sum(cache_write)::bigint as cache_write,
    sum(output_text)::bigint as output_text,
    sum(output_reasoning)::bigint as output_reasoning,
    sum(cost_microdollars)::bigint as cost_microdollars,
    sum(unpriced_requests)::bigint as unpriced_requests,
    sum(duration_ms)::bigint as duration_ms,
    sum(first_byte_ms)::bigint as first_byte_ms,
    sum(first_byte_requests)::bigint as first_byte_requests
from ownkey.usage_daily
where day between $1 and $2
group by 1, 2, 3, 4, 5, 6, 7
order by 2 nulls first, sum(cost_microdollars) desc, sum(requests) desc, 1, 3, 4, 5, 6, 7
limit $4;

-- name: measure_calls
-- What the daily sums cannot say, from the single calls of the days from $1 to $2 and by the keys that $3 names: how many took
-- over from another key or provider, and how long the middle and the slow ones took.
select
    case when 'day' = any ($3::text[]) then (e.occurred_at at time zone 'UTC')::date end as day,
    case when 'provider' = any ($3) then e.provider end as provider,
    case when 'model' = any ($3) then e.model end as model,
    case when 'task' = any ($3) then e.task end as task,
    case when 'credential' = any ($3) then e.credential_id::text end as credential_id,
    case when 'payer' = any ($3) then e.payer end as payer,
    count(*) filter (where e.attempt > 1 and exists (
        select from ownkey.usage_events earlier
        where earlier.request_id collate "C" = e.request_id collate "C" and earlier.attempt < e.attempt
            and (earlier.provider, earlier.credential_id) is distinct from (e.provider, e.credential_id)
    )) as fallback_requests,
    percentile_disc(0.5) within group (order by e.duration_ms) as p50_duration_ms,
    percentile_disc(0.95) within group (order by e.duration_ms) as p95_duration_ms
from ownkey.usage_events e
where e.occurred_at >= $1::date::timestamp at time zone 'UTC'
    and e.occurred_at < ($2::date + 1)::timestamp at time zone 'UTC'
group by 1, 2, 3, 4, 5, 6;

-- name: list_usage_events
-- Single events from $1 to before $2, the newest first.
select
    id::text, request_id, user_id, occurred_at, attempt, task, provider, model, requested_model, credential_id::text,
    payer, operation, streamed, outcome, http_status, input_uncached, cache_read, cache_write, output_text,
    output_reasoning, tokens_source, raw_usage, cost_microdollars, price_version, duration_ms, first_byte_ms,
    provider_request_id, finish_reason
from ownkey.usage_events
where occurred_at >= $1 and occurred_at < $2
order by occurred_at desc, id desc
limit $3;

-- name: list_usage_days
-- The user's daily sums in the order of their key, behind the row that $1 to $6 name.
select
    day, provider, model, nullif(task, '') as task,
    nullif(credential_id, '00000000-0000-0000-0000-000000000000')::text as credential_id, payer, requests, errors,
    input_uncached, cache_read, cache_write, output_text, output_reasoning, cost_microdollars, unpriced_requests,
    duration_ms, first_byte_ms, first_byte_requests
from ownkey.usage_daily
where (day, provider, model, task, credential_id, payer) > ($1::date, $2::text, $3::text, $4::text, $5::uuid, $6::text)
order by usage_daily.day, usage_daily.provider, usage_daily.model, usage_daily.task, usage_daily.credential_id,
    usage_daily.payer
limit $7;
