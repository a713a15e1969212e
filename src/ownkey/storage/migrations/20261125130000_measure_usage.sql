-- Where a cost comes from, and sums that answer for any number of events: per day, how often another key or provider
-- took over, how many costs are estimates, and how long calls took; and the same for everybody together.
--
-- A histogram is one number with twelve decimal digits for each bucket, the lowest bucket in the last ones: a call adds
-- one to the digits of its bucket, and so histograms are added by adding them up. Bucket 0 is no time at all; bucket b
-- counts calls of 2^((b - 1) / 8) up to 2^(b / 8) milliseconds, so that its middle is within 4.5 per cent of each.

set role ownkey_owner;

alter table ownkey.usage_events
    add column cost_source text,  -- reported, computed, estimated or unpriced; none where there is nothing to price
    add column service_tier text,
    add column fallback boolean;  -- unknown for what an older version has written

-- One call of this length, as a histogram.
create function ownkey_private.latency_mark(milliseconds bigint) returns numeric
language sql immutable strict parallel safe set search_path = ''
as $$
    select ('1e' || 12 * case
        when milliseconds <= 0 then 0
        else least(255, 1 + floor(8 * ln(milliseconds::double precision) / ln(2::double precision)))::integer
    end)::numeric
$$;
revoke execute on function ownkey_private.latency_mark(bigint) from public;

alter table ownkey.usage_daily
    add column fallback_requests bigint not null default 0,
    add column estimated_requests bigint not null default 0,
    add column duration_histogram numeric not null default 0,
    add column first_byte_histogram numeric not null default 0;

-- Everybody's sums without their names: what administrators ask most often has to be quick. They stay when a user is
-- erased, because the money was spent.
create table ownkey_private.usage_daily_total (
    day date not null,  -- in UTC
    provider text not null,
    model text not null,
    task text not null,
    payer text not null,
    requests bigint not null,
    errors bigint not null,
    input_uncached bigint not null,
    cache_read bigint not null,
    cache_write bigint not null,
    output_text bigint not null,
    output_reasoning bigint not null,
    cost_microdollars bigint not null,
    unpriced_requests bigint not null,
    duration_ms bigint not null,
    first_byte_ms bigint not null,
    first_byte_requests bigint not null,
    fallback_requests bigint not null,
    estimated_requests bigint not null,
    duration_histogram numeric not null,
    first_byte_histogram numeric not null,
    primary key (day, provider, model, task, payer)
) with (fillfactor = 70);  -- room for new versions of a row beside the old ones
alter table ownkey_private.usage_daily_total enable row level security;
alter table ownkey_private.usage_daily_total force row level security;
create policy roles on ownkey_private.usage_daily_total as restrictive for all to public
    using ((select current_user in ('ownkey_owner', 'ownkey_admin')));
create policy owner_select on ownkey_private.usage_daily_total for select to ownkey_owner
    using (current_user = 'ownkey_owner');
create policy owner_insert on ownkey_private.usage_daily_total for insert to ownkey_owner
    with check (current_user = 'ownkey_owner');
create policy owner_update on ownkey_private.usage_daily_total for update to ownkey_owner
    using (current_user = 'ownkey_owner') with check (current_user = 'ownkey_owner');
create policy owner_delete on ownkey_private.usage_daily_total for delete to ownkey_owner
    using (current_user = 'ownkey_owner');
create policy admin_select on ownkey_private.usage_daily_total for select to ownkey_admin
    using ((select current_user = 'ownkey_admin'));
grant select on ownkey_private.usage_daily_total to ownkey_admin;

-- Where requests fell from one hop to another, and because of what. Few rows, and nothing of anybody's.
create table ownkey_private.usage_fallbacks_daily (
    day date not null,  -- in UTC
    from_provider text not null,
    from_payer text not null,
    to_provider text not null,
    to_payer text not null,
    error text not null,
    requests bigint not null,
    answered bigint not null,
    last_at timestamptz not null,
    primary key (day, from_provider, from_payer, to_provider, to_payer, error)
) with (fillfactor = 70);
alter table ownkey_private.usage_fallbacks_daily enable row level security;
alter table ownkey_private.usage_fallbacks_daily force row level security;
create policy roles on ownkey_private.usage_fallbacks_daily as restrictive for all to public
    using ((select current_user in ('ownkey_owner', 'ownkey_admin')));
create policy owner_select on ownkey_private.usage_fallbacks_daily for select to ownkey_owner
    using (current_user = 'ownkey_owner');
create policy owner_insert on ownkey_private.usage_fallbacks_daily for insert to ownkey_owner
    with check (current_user = 'ownkey_owner');
create policy owner_update on ownkey_private.usage_fallbacks_daily for update to ownkey_owner
    using (current_user = 'ownkey_owner') with check (current_user = 'ownkey_owner');
create policy owner_delete on ownkey_private.usage_fallbacks_daily for delete to ownkey_owner
    using (current_user = 'ownkey_owner');
create policy admin_select on ownkey_private.usage_fallbacks_daily for select to ownkey_admin
    using ((select current_user = 'ownkey_admin'));
grant select on ownkey_private.usage_fallbacks_daily to ownkey_admin;

-- The same rules in a form that is evaluated once, and of which the planner does not think that hardly a row passes: it
-- sorted millions of rows on disk where it can count in memory.
alter policy roles on ownkey.usage_daily
    using ((select current_user in ('ownkey_gateway', 'ownkey_owner', 'ownkey_admin')));
alter policy admin_select on ownkey.usage_daily using ((select current_user = 'ownkey_admin'));

-- From here on nothing is recorded until this migration is done: the sums below miss nothing and count nothing twice.
lock table ownkey.usage_events, ownkey.usage_daily in share row exclusive mode;

with measured as (
    select
        e.user_id, (e.occurred_at at time zone 'UTC')::date as day, e.provider, e.model, coalesce(e.task, '') as task,
        coalesce(e.credential_id, '00000000-0000-0000-0000-000000000000') as credential_id, e.payer,
        count(*) filter (where e.attempt > 1 and exists (
            select from ownkey.usage_events earlier
            where earlier.user_id = e.user_id and earlier.request_id collate "C" = e.request_id
                and earlier.attempt < e.attempt
                and (earlier.provider, earlier.credential_id) is distinct from (e.provider, e.credential_id)
        )) as fallback_requests,
        count(*) filter (where e.tokens_source = 'estimated') as estimated_requests,
        sum(ownkey_private.latency_mark(e.duration_ms)) as durations,
        coalesce(sum(ownkey_private.latency_mark(e.first_byte_ms)), 0) as first_bytes
    from ownkey.usage_events e
    group by 1, 2, 3, 4, 5, 6, 7
)
update ownkey.usage_daily d set
    fallback_requests = m.fallback_requests,
    estimated_requests = m.estimated_requests,
    duration_histogram = m.durations,
    first_byte_histogram = m.first_bytes
from measured m
where (d.user_id, d.day, d.provider, d.model, d.task, d.credential_id, d.payer)
    = (m.user_id, m.day, m.provider, m.model, m.task, m.credential_id, m.payer);

insert into ownkey_private.usage_daily_total
select
    day, provider, model, task, payer, sum(requests), sum(errors), sum(input_uncached), sum(cache_read),
    sum(cache_write), sum(output_text), sum(output_reasoning), sum(cost_microdollars), sum(unpriced_requests),
    sum(duration_ms), sum(first_byte_ms), sum(first_byte_requests), sum(fallback_requests), sum(estimated_requests),
    sum(duration_histogram), sum(first_byte_histogram)
from ownkey.usage_daily
group by day, provider, model, task, payer;

insert into ownkey_private.usage_fallbacks_daily
select
    (e.occurred_at at time zone 'UTC')::date, b.provider, b.payer, e.provider, e.payer, b.outcome, count(*),
    count(*) filter (where e.outcome = 'ok'), max(e.occurred_at)
from ownkey.usage_events e
join ownkey.usage_events b
    on b.user_id = e.user_id and b.request_id = e.request_id and b.attempt = e.attempt - 1
    and (b.provider, b.payer) <> (e.provider, e.payer)
where e.attempt > 1
group by 1, 2, 3, 4, 5, 6;

-- The fallbacks are counted as they are recorded; a user's failures are found without their successes.
drop index ownkey.usage_events_fallback;
create index usage_events_failure on ownkey.usage_events (user_id, request_id collate "C")
    where outcome not in ('ok', 'client_gone');

-- The attempts of a user's latest requests of which one attempt is as asked. Nobody knows how many calls a user has, so
-- the planner takes all of them for a handful and sorts them; here it has to walk the index from the newest on, and
-- then to look up request by request.
create function ownkey_private.latest_requests(
    after text, before text, since timestamptz, until timestamptz, of_provider text, of_model text, of_task text,
    of_credential uuid, of_payer text, of_outcome text, number integer
) returns setof ownkey.usage_events
language sql stable set search_path = '' set enable_sort = off set enable_bitmapscan = off
as $$
    with latest as materialized (
        select e.request_id collate "C" as id
        from ownkey.usage_events e
        where (of_outcome is null or of_outcome in ('ok', 'client_gone'))
            and e.request_id collate "C" >= after
            and e.request_id collate "C" < before
            and e.occurred_at >= since
            and e.occurred_at < until
            and (of_provider is null or e.provider = of_provider)
            and (of_model is null or e.model = of_model)
            and (of_task is null or e.task = of_task)
            and (of_credential is null or e.credential_id = of_credential)
            and (of_payer is null or e.payer = of_payer)
            and (of_outcome is null or e.outcome = of_outcome)
        group by 1
        order by 1 desc
        limit number
    ),
    failed as materialized (
        select e.request_id collate "C" as id
        from ownkey.usage_events e
        where of_outcome not in ('ok', 'client_gone')
            and e.outcome not in ('ok', 'client_gone')
            and (of_outcome = 'error' or e.outcome = of_outcome)
            and e.request_id collate "C" >= after
            and e.request_id collate "C" < before
            and e.occurred_at >= since
            and e.occurred_at < until
            and (of_provider is null or e.provider = of_provider)
            and (of_model is null or e.model = of_model)
            and (of_task is null or e.task = of_task)
            and (of_credential is null or e.credential_id = of_credential)
            and (of_payer is null or e.payer = of_payer)
        group by 1
        order by 1 desc
        limit number
    )
    select e.*
    from (select id from latest union all select id from failed) found
    -- What is behind an offset is planned by itself, for one request.
    cross join lateral (select * from ownkey.usage_events e where e.request_id collate "C" = found.id offset 0) e
$$;
revoke execute on function ownkey_private.latest_requests(
    text, text, timestamptz, timestamptz, text, text, text, uuid, text, text, integer) from public;
grant execute on function ownkey_private.latest_requests(
    text, text, timestamptz, timestamptz, text, text, text, uuid, text, text, integer) to ownkey_gateway;

-- As before, with the new columns, and with the sums of everybody. Those are taken last and in the order of their key:
-- every process wants the same few rows, and holds them for the shortest time.
create or replace function ownkey_private.record_usage(events json) returns integer
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
    recorded integer;
begin
    with inserted as (
        insert into ownkey.usage_events (
            id, occurred_at, request_id, user_id, attempt, task, provider, model, requested_model, credential_id,
            payer, operation, streamed, outcome, http_status, input_uncached, cache_read, cache_write, output_text,
            output_reasoning, tokens_source, raw_usage, service_tier, fallback, cost_microdollars, cost_source,
            price_version, duration_ms, first_byte_ms, provider_request_id, finish_reason
        )
        select
            e.id, e.occurred_at, e.request_id, e.user_id, e.attempt, e.task, e.provider, e.model, e.requested_model,
            e.credential_id, e.payer, e.operation, e.streamed, e.outcome, e.http_status, e.input_uncached,
            e.cache_read, e.cache_write, e.output_text, e.output_reasoning, e.tokens_source,
            decode(e.raw_usage, 'base64'), e.service_tier, e.fallback, e.cost_microdollars, e.cost_source,
            e.price_version, e.duration_ms, e.first_byte_ms, e.provider_request_id, e.finish_reason
        from json_to_recordset(events) as e (
            id uuid, occurred_at timestamptz, request_id text, user_id text, attempt integer, task text, provider text,
            model text, requested_model text, credential_id uuid, payer text, operation text, streamed boolean,
            outcome text, http_status integer, input_uncached bigint, cache_read bigint, cache_write bigint,
            output_text bigint, output_reasoning bigint, tokens_source text, raw_usage text, service_tier text,
            fallback boolean, cost_microdollars bigint, cost_source text, price_version text, duration_ms bigint,
            first_byte_ms bigint, provider_request_id text, finish_reason text
        )
        order by e.id, e.occurred_at
        on conflict (id, occurred_at) do nothing
        returning *
    ),
    grouped as materialized (
        select
            i.user_id, (i.occurred_at at time zone 'UTC')::date as day, i.provider, i.model,
            coalesce(i.task, '') as task,
            coalesce(i.credential_id, '00000000-0000-0000-0000-000000000000') as credential_id, i.payer,
            count(*) as requests, count(*) filter (where i.outcome not in ('ok', 'client_gone')) as errors,
            sum(i.input_uncached) as input_uncached, sum(i.cache_read) as cache_read, sum(i.cache_write) as cache_write,
            sum(i.output_text) as output_text, sum(i.output_reasoning) as output_reasoning,
            coalesce(sum(i.cost_microdollars), 0) as cost_microdollars,
            count(*) filter (where i.cost_microdollars is null and i.tokens_source <> 'none') as unpriced_requests,
            sum(i.duration_ms) as duration_ms, coalesce(sum(i.first_byte_ms), 0) as first_byte_ms,
            count(i.first_byte_ms) as first_byte_requests, count(*) filter (where i.fallback) as fallback_requests,
            count(*) filter (where i.tokens_source = 'estimated') as estimated_requests,
            sum(ownkey_private.latency_mark(i.duration_ms)) as durations,
            coalesce(sum(ownkey_private.latency_mark(i.first_byte_ms)), 0) as first_bytes
        from inserted i
        group by 1, 2, 3, 4, 5, 6, 7
    ),
    summed as (
        insert into ownkey.usage_daily as d (
            user_id, day, provider, model, task, credential_id, payer, requests, errors, input_uncached, cache_read,
            cache_write, output_text, output_reasoning, cost_microdollars, unpriced_requests, duration_ms,
            first_byte_ms, first_byte_requests, fallback_requests, estimated_requests, duration_histogram,
            first_byte_histogram
        )
        select
            g.user_id, g.day, g.provider, g.model, g.task, g.credential_id, g.payer, g.requests, g.errors,
            g.input_uncached, g.cache_read, g.cache_write, g.output_text, g.output_reasoning, g.cost_microdollars,
            g.unpriced_requests, g.duration_ms, g.first_byte_ms, g.first_byte_requests, g.fallback_requests,
            g.estimated_requests, g.durations, g.first_bytes
        from grouped g
        order by 1, 2, 3, 4, 5, 6, 7
        on conflict (user_id, day, provider, model, task, credential_id, payer) do update set
            requests = d.requests + excluded.requests,
            errors = d.errors + excluded.errors,
            input_uncached = d.input_uncached + excluded.input_uncached,
            cache_read = d.cache_read + excluded.cache_read,
            cache_write = d.cache_write + excluded.cache_write,
            output_text = d.output_text + excluded.output_text,
            output_reasoning = d.output_reasoning + excluded.output_reasoning,
            cost_microdollars = d.cost_microdollars + excluded.cost_microdollars,
            unpriced_requests = d.unpriced_requests + excluded.unpriced_requests,
            duration_ms = d.duration_ms + excluded.duration_ms,
            first_byte_ms = d.first_byte_ms + excluded.first_byte_ms,
            first_byte_requests = d.first_byte_requests + excluded.first_byte_requests,
            fallback_requests = d.fallback_requests + excluded.fallback_requests,
            estimated_requests = d.estimated_requests + excluded.estimated_requests,
            duration_histogram = d.duration_histogram + excluded.duration_histogram,
            first_byte_histogram = d.first_byte_histogram + excluded.first_byte_histogram
        returning 1
    ),
    used as (
        select
            i.user_id, i.credential_id as id, count(*) as requests, max(i.occurred_at) as last_at,
            sum(i.input_uncached + i.cache_read + i.cache_write) as input_tokens,
            sum(i.output_text + i.output_reasoning) as output_tokens
        from inserted i
        where i.credential_id is not null
        group by i.user_id, i.credential_id
    ),
    locked as (
        select c.user_id, c.id, used.requests, used.last_at, used.input_tokens, used.output_tokens
        from used join ownkey.credentials c using (user_id, id)
        order by c.user_id, c.id
        for no key update of c
    ),
    counted as (
        update ownkey.credentials c set
            request_count = c.request_count + locked.requests,
            input_tokens = c.input_tokens + locked.input_tokens,
            output_tokens = c.output_tokens + locked.output_tokens,
            last_used_at = greatest(c.last_used_at, locked.last_at)
        from locked where c.user_id = locked.user_id and c.id = locked.id
        returning 1
    ),
    totalled as (
        insert into ownkey_private.usage_daily_total as t (
            day, provider, model, task, payer, requests, errors, input_uncached, cache_read, cache_write, output_text,
            output_reasoning, cost_microdollars, unpriced_requests, duration_ms, first_byte_ms, first_byte_requests,
            fallback_requests, estimated_requests, duration_histogram, first_byte_histogram
        )
        select
            g.day, g.provider, g.model, g.task, g.payer, sum(g.requests), sum(g.errors), sum(g.input_uncached),
            sum(g.cache_read), sum(g.cache_write), sum(g.output_text), sum(g.output_reasoning),
            sum(g.cost_microdollars), sum(g.unpriced_requests), sum(g.duration_ms), sum(g.first_byte_ms),
            sum(g.first_byte_requests), sum(g.fallback_requests), sum(g.estimated_requests),
            sum(g.durations), sum(g.first_bytes)
        from grouped g
        group by 1, 2, 3, 4, 5
        order by 1, 2, 3, 4, 5
        on conflict (day, provider, model, task, payer) do update set
            requests = t.requests + excluded.requests,
            errors = t.errors + excluded.errors,
            input_uncached = t.input_uncached + excluded.input_uncached,
            cache_read = t.cache_read + excluded.cache_read,
            cache_write = t.cache_write + excluded.cache_write,
            output_text = t.output_text + excluded.output_text,
            output_reasoning = t.output_reasoning + excluded.output_reasoning,
            cost_microdollars = t.cost_microdollars + excluded.cost_microdollars,
            unpriced_requests = t.unpriced_requests + excluded.unpriced_requests,
            duration_ms = t.duration_ms + excluded.duration_ms,
            first_byte_ms = t.first_byte_ms + excluded.first_byte_ms,
            first_byte_requests = t.first_byte_requests + excluded.first_byte_requests,
            fallback_requests = t.fallback_requests + excluded.fallback_requests,
            estimated_requests = t.estimated_requests + excluded.estimated_requests,
            duration_histogram = t.duration_histogram + excluded.duration_histogram,
            first_byte_histogram = t.first_byte_histogram + excluded.first_byte_histogram
        returning 1
    ),
    moved as (
        insert into ownkey_private.usage_fallbacks_daily as f (
            day, from_provider, from_payer, to_provider, to_payer, error, requests, answered, last_at
        )
        select
            (i.occurred_at at time zone 'UTC')::date, b.provider, b.payer, i.provider, i.payer, b.outcome, count(*),
            count(*) filter (where i.outcome = 'ok'), max(i.occurred_at)
        from inserted i
        cross join lateral (
            -- The attempt before is in this batch or was recorded earlier: whoever made them tells them in order.
            select p.provider, p.payer, p.outcome from inserted p
            where p.user_id = i.user_id and p.request_id = i.request_id and p.attempt = i.attempt - 1
            union all
            select p.provider, p.payer, p.outcome from ownkey.usage_events p
            where p.user_id = i.user_id and p.request_id collate "C" = i.request_id and p.attempt = i.attempt - 1
            limit 1
        ) b
        where i.attempt > 1 and (b.provider, b.payer) <> (i.provider, i.payer)
        group by 1, 2, 3, 4, 5, 6
        order by 1, 2, 3, 4, 5, 6
        on conflict (day, from_provider, from_payer, to_provider, to_payer, error) do update set
            requests = f.requests + excluded.requests,
            answered = f.answered + excluded.answered,
            last_at = greatest(f.last_at, excluded.last_at)
        returning 1
    )
    -- Naming all parts makes their order part of the plan.
    select (select count(*) from inserted) + 0 * (select count(*) from summed) + 0 * (select count(*) from counted)
        + 0 * (select count(*) from totalled) + 0 * (select count(*) from moved)
    into recorded;
    return recorded;
end
$$;

reset role;
