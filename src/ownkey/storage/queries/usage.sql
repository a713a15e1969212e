-- name: record_usage
-- Store a JSON array of events of any users; gives how many were new.
select ownkey_private.record_usage($1);

-- name: drop_old_usage
-- Drop the partitions of months that ended that many months ago; says how many.
select ownkey_private.drop_old_usage($1);

-- name: ensure_usage_partitions
-- Make the monthly partitions for the months ahead.
select ownkey_private.ensure_usage_partitions($1);

-- name: query_usage
-- Sums over days from $1 to $2, by the keys that $3 names; the other keys are NULL. $5 to $10 choose rows, where given.
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
    sum(estimated_requests)::bigint as estimated_requests,
    sum(fallback_requests)::bigint as fallback_requests,
    sum(duration_ms)::bigint as duration_ms,
    sum(first_byte_ms)::bigint as first_byte_ms,
    sum(first_byte_requests)::bigint as first_byte_requests
from ownkey.usage_daily
where day between $1 and $2
    and ($5::text is null or provider = $5)
    and ($6::text is null or model = $6)
    and ($7::text is null or task = $7)
    and ($8::uuid is null or credential_id = $8)
    and ($9::text is null or payer = $9)
    and ($10::text is null or user_id = $10)
group by 1, 2, 3, 4, 5, 6, 7
order by 2 nulls first, sum(cost_microdollars) desc, sum(requests) desc, 1, 3, 4, 5, 6, 7
limit $4;

-- name: query_usage_total
-- The same of everybody together, where neither users nor credentials matter: few rows, however many users there are.
select
    case when 'day' = any ($3::text[]) then day end as day,
    case when 'provider' = any ($3) then provider end as provider,
    case when 'model' = any ($3) then model end as model,
    case when 'task' = any ($3) then nullif(task, '') end as task,
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
    sum(estimated_requests)::bigint as estimated_requests,
    sum(fallback_requests)::bigint as fallback_requests,
    sum(duration_ms)::bigint as duration_ms,
    sum(first_byte_ms)::bigint as first_byte_ms,
    sum(first_byte_requests)::bigint as first_byte_requests
from ownkey_private.usage_daily_total
where day between $1 and $2
    and ($5::text is null or provider = $5)
    and ($6::text is null or model = $6)
    and ($7::text is null or task = $7)
    and ($8::text is null or payer = $8)
group by 1, 2, 3, 4, 5
order by 1 nulls first, sum(cost_microdollars) desc, sum(requests) desc, 2, 3, 4, 5
limit $4;

-- name: query_usage_spans
-- The same by user and payer alone: the spans of $1 days that begin at $2, in pairs, lie side by side. $5 and $6 choose.
select
    case when 'user' = any ($3::text[]) then s.owner end as user_id,
    case when 'payer' = any ($3) then s.payer end as payer,
    sum(s.requests)::bigint as requests,
    sum(s.errors)::bigint as errors,
    sum(s.input_uncached)::bigint as input_uncached,
    sum(s.cache_read)::bigint as cache_read,
    sum(s.cache_write)::bigint as cache_write,
    sum(s.output_text)::bigint as output_text,
    sum(s.output_reasoning)::bigint as output_reasoning,
    sum(s.cost_microdollars)::bigint as cost_microdollars,
    sum(s.unpriced_requests)::bigint as unpriced_requests,
    sum(s.estimated_requests)::bigint as estimated_requests,
    sum(s.fallback_requests)::bigint as fallback_requests,
    sum(s.duration_ms)::bigint as duration_ms,
    sum(s.first_byte_ms)::bigint as first_byte_ms,
    sum(s.first_byte_requests)::bigint as first_byte_requests
from unnest($1::smallint[], $2::date[]) a (days, first_day)
-- What is behind an offset is planned by itself: span by span from the index, and not from all that there are.
cross join lateral (
    select * from ownkey_private.usage_spans k where k.days = a.days and k.first_day = a.first_day offset 0
) s
where ($5::text is null or s.payer = $5)
    and ($6::text is null or s.owner = $6)
group by 1, 2
order by sum(s.cost_microdollars) desc, sum(s.requests) desc, 1, 2
limit $4;

-- name: measure_days
-- The histograms of how long calls took; days, keys and rows as in query_usage.
select
    case when 'user' = any ($3::text[]) then user_id end as user_id,
    case when 'day' = any ($3) then day end as day,
    case when 'provider' = any ($3) then provider end as provider,
    case when 'model' = any ($3) then model end as model,
    case when 'task' = any ($3) then nullif(task, '') end as task,
    case when 'credential' = any ($3)
        then nullif(credential_id, '00000000-0000-0000-0000-000000000000')::text end as credential_id,
    case when 'payer' = any ($3) then payer end as payer,
    sum(duration_histogram)::text as duration,
    sum(first_byte_histogram)::text as first_byte
from ownkey.usage_daily
where day between $1 and $2
    and ($4::text is null or provider = $4)
    and ($5::text is null or model = $5)
    and ($6::text is null or task = $6)
    and ($7::uuid is null or credential_id = $7)
    and ($8::text is null or payer = $8)
    and ($9::text is null or user_id = $9)
group by 1, 2, 3, 4, 5, 6, 7;

-- name: measure_days_total
-- The same of everybody together; as query_usage_total.
select
    case when 'day' = any ($3::text[]) then day end as day,
    case when 'provider' = any ($3) then provider end as provider,
    case when 'model' = any ($3) then model end as model,
    case when 'task' = any ($3) then nullif(task, '') end as task,
    case when 'payer' = any ($3) then payer end as payer,
    sum(duration_histogram)::text as duration,
    sum(first_byte_histogram)::text as first_byte
from ownkey_private.usage_daily_total
where day between $1 and $2
    and ($4::text is null or provider = $4)
    and ($5::text is null or model = $5)
    and ($6::text is null or task = $6)
    and ($7::text is null or payer = $7)
group by 1, 2, 3, 4, 5;

-- name: measure_calls
-- How long the middle and the slow ones of the single calls took, in the days from $1 to $2; keys and rows as in
-- query_usage. Reads every one of them.
select
    case when 'user' = any ($3::text[]) then e.user_id end as user_id,
    case when 'day' = any ($3) then (e.occurred_at at time zone 'UTC')::date end as day,
    case when 'provider' = any ($3) then e.provider end as provider,
    case when 'model' = any ($3) then e.model end as model,
    case when 'task' = any ($3) then e.task end as task,
    case when 'credential' = any ($3) then e.credential_id::text end as credential_id,
    case when 'payer' = any ($3) then e.payer end as payer,
    count(*) as calls,
    percentile_disc(0.5) within group (order by e.duration_ms) as p50_duration_ms,
    percentile_disc(0.95) within group (order by e.duration_ms) as p95_duration_ms,
    percentile_disc(0.99) within group (order by e.duration_ms) as p99_duration_ms,
    percentile_disc(0.5) within group (order by e.first_byte_ms) as p50_first_byte_ms,
    percentile_disc(0.95) within group (order by e.first_byte_ms) as p95_first_byte_ms,
    percentile_disc(0.99) within group (order by e.first_byte_ms) as p99_first_byte_ms
from ownkey.usage_events e
where e.occurred_at >= $1::date::timestamp at time zone 'UTC'
    and e.occurred_at < ($2::date + 1)::timestamp at time zone 'UTC'
    and ($4::text is null or e.provider = $4)
    and ($5::text is null or e.model = $5)
    and ($6::text is null or e.task = $6)
    and ($7::uuid is null or e.credential_id = $7)
    and ($8::text is null or e.payer = $8)
    and ($9::text is null or e.user_id = $9)
group by 1, 2, 3, 4, 5, 6, 7;

-- name: prepare_report
-- For this transaction: a plan for what is really asked, and memory, because many histograms would be put aside on disk.
select set_config('plan_cache_mode', 'force_custom_plan', true), set_config('work_mem', '32MB', true);

-- name: list_credential_labels
-- What the user calls these credentials; one that was removed has no row any more.
select id::text, label from ownkey.credentials where id = any ($1::uuid[]);

-- name: list_usage_events
-- Single events from $1 to before $2, the newest first.
select
    id::text, request_id, user_id, occurred_at, attempt, task, provider, model, requested_model, credential_id::text,
    payer, operation, streamed, outcome, http_status, input_uncached, cache_read, cache_write, output_text,
    output_reasoning, tokens_source, raw_usage, service_tier, coalesce(fallback, false) as fallback, cost_microdollars,
    cost_source, price_version, duration_ms, first_byte_ms, provider_request_id, finish_reason, skipped
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
    estimated_requests, fallback_requests, duration_ms, first_byte_ms, first_byte_requests
from ownkey.usage_daily
where (day, provider, model, task, credential_id, payer) > ($1::date, $2::text, $3::text, $4::text, $5::uuid, $6::text)
order by usage_daily.day, usage_daily.provider, usage_daily.model, usage_daily.task, usage_daily.credential_id,
    usage_daily.payer
limit $7;
