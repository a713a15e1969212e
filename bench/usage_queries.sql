-- What bench/usage_queries.py loads: calls of $users users in $days days, of which one in sixteen took over from another.
-- Users, models and times are as uneven as they are in life: the first user has some six per cent of all calls.

-- part: prepare
set session_replication_role = replica;  -- the sums are made at the end, all at once
drop index ownkey.usage_events_user, ownkey.usage_events_request, ownkey.usage_events_failure,
    ownkey.usage_events_time;
insert into ownkey.users (id, role, status, generation, created_at)
    select 'user-' || n, 'user', 'active', n, now() from generate_series(0, $users - 1) n on conflict do nothing;
do $do$
declare
    first_day timestamptz := date_trunc('month', now() - interval '$days days');
    name text;
begin
    while first_day <= now() loop
        name := 'usage_events_' || to_char(first_day, 'YYYY_MM');
        if to_regclass('ownkey_private.' || name) is null then
            execute format('create table ownkey_private.%I (like ownkey.usage_events including defaults)', name);
            perform ownkey_private.protect_partition(name);
            execute format('alter table ownkey_private.%I owner to ownkey_owner', name);
            execute format(
                'alter table ownkey.usage_events attach partition ownkey_private.%I for values from (%L) to (%L)',
                name, first_day, first_day + interval '1 month');
        end if;
        first_day := first_day + interval '1 month';
    end loop;
end
$do$;

-- part: load
with dice as materialized (
    select
        n, now() - interval '$days days' * random() as at, floor($users * power(random(), 3))::int as person,
        floor(6 * random())::int as work, random() as luck,
        sqrt(-2 * ln(1 - random())) * cos(2 * pi() * random()) as bell
    from generate_series($first::bigint, $last::bigint) n
),
habits as (
    -- Most calls of a task go to the model that its user has chosen for it.
    select *, case when random() < 0.85 then (person * 7 + work / 2 * 5) % 12 else floor(12 * random())::int end as kind
    from dice
),
calls as (
    select d.*, a.attempt,
        d.n % 15 = 0 as moved,
        (array['openai', 'groq', 'anthropic', 'mistral', 'gemini', 'openrouter'])[1 + (d.kind + a.attempt - 1) % 6]
            as provider,
        lpad(to_hex((extract(epoch from d.at) * 1000)::bigint), 12, '0') as stamp,
        lpad(to_hex(d.n), 12, '0') as tail
    from habits d cross join lateral generate_series(1, case when d.n % 15 = 0 then 2 else 1 end) a (attempt)
)
insert into ownkey.usage_events (
    id, occurred_at, request_id, user_id, attempt, task, provider, model, requested_model, credential_id, payer,
    operation, streamed, outcome, http_status, input_uncached, cache_read, cache_write, output_text, output_reasoning,
    tokens_source, raw_usage, cost_microdollars, cost_source, price_version, duration_ms, first_byte_ms, fallback,
    provider_request_id, finish_reason
)
select
    (left(stamp, 8) || '-' || substr(stamp, 9) || '-7' || lpad(attempt::text, 3, '0') || '-8000-' || tail)::uuid,
    at + attempt * interval '200 milliseconds',
    left(stamp, 8) || '-' || substr(stamp, 9) || '-7000-8000-' || tail,
    'user-' || person, attempt, (array['coding', 'research', 'writing', 'chat', 'embedding', null])[1 + work],
    provider, provider || '-model-' || kind, 'auto',
    case when luck < 0.7 then md5(person || provider)::uuid end, case when luck < 0.7 then 'own' else 'shared' end,
    'chat', luck < 0.6,
    case when moved and attempt = 1 then 'overloaded' when luck > 0.99 then 'client_gone' else 'ok' end,
    case when moved and attempt = 1 then 503 else 200 end,
    (800 * luck)::int, (300 * luck)::int, 0, (200 * luck)::int, (50 * luck)::int, 'reported',
    convert_to('{"prompt_tokens":800,"completion_tokens":200,"total_tokens":1000}', 'UTF8'), (3000 * luck)::int,
    'computed', 'genai-prices 0.2.3', exp(7 + bell * 0.8)::int, exp(6 + bell * 0.6)::int, attempt > 1,
    'req_' || tail, 'stop'
from calls;

-- part: finish
create index usage_events_user on ownkey.usage_events (user_id, occurred_at);
create index usage_events_request on ownkey.usage_events (user_id, request_id collate "C");
create index usage_events_time on ownkey.usage_events
    using brin (occurred_at) with (pages_per_range = 32, autosummarize = on);
create index usage_events_failure on ownkey.usage_events (user_id, request_id collate "C")
    where outcome not in ('ok', 'client_gone');
insert into ownkey.usage_daily
    select
        user_id, (occurred_at at time zone 'UTC')::date, provider, model, coalesce(task, ''),
        coalesce(credential_id, '00000000-0000-0000-0000-000000000000'), payer, count(*),
        count(*) filter (where outcome not in ('ok', 'client_gone')), sum(input_uncached), sum(cache_read),
        sum(cache_write), sum(output_text), sum(output_reasoning), sum(cost_microdollars), 0, sum(duration_ms),
        sum(first_byte_ms), count(first_byte_ms), count(*) filter (where fallback), 0,
        sum(ownkey_private.latency_mark(duration_ms)), coalesce(sum(ownkey_private.latency_mark(first_byte_ms)), 0)
    from ownkey.usage_events
    group by 1, 2, 3, 4, 5, 6, 7;
insert into ownkey_private.usage_daily_total
    select
        (occurred_at at time zone 'UTC')::date, provider, model, coalesce(task, ''), payer, count(*),
        count(*) filter (where outcome not in ('ok', 'client_gone')), sum(input_uncached), sum(cache_read),
        sum(cache_write), sum(output_text), sum(output_reasoning), sum(cost_microdollars), 0, sum(duration_ms),
        sum(first_byte_ms), count(first_byte_ms), count(*) filter (where fallback), 0,
        sum(ownkey_private.latency_mark(duration_ms)), coalesce(sum(ownkey_private.latency_mark(first_byte_ms)), 0)
    from ownkey.usage_events
    group by 1, 2, 3, 4, 5;
insert into ownkey_private.usage_spans
    select
        k.days, ownkey_private.span_start(d.day, k.days), d.user_id, d.payer,
        sum(d.requests), sum(d.errors), sum(d.input_uncached), sum(d.cache_read), sum(d.cache_write),
        sum(d.output_text), sum(d.output_reasoning), sum(d.cost_microdollars), sum(d.unpriced_requests),
        sum(d.estimated_requests), sum(d.fallback_requests), sum(d.duration_ms), sum(d.first_byte_ms),
        sum(d.first_byte_requests)
    from ownkey.usage_daily d cross join (values (1), (8)) k (days)
    group by 1, 2, 3, 4
    order by 2, 1;  -- they come day by day
set session_replication_role = origin;
