-- Where a cost comes from, and sums that answer for any number of events: per day, how often another key or provider
-- took over, how many costs are estimates, and how long calls took; and the same for everybody together.
--
-- A histogram is an array of calls * 1024 + bucket, one element per bucket that is not empty, by bucket. Bucket 0 is no
-- time at all; bucket b counts calls of 2^((b - 1) / 16) up to 2^(b / 16) milliseconds, so that its middle is within
-- 2.2 per cent of every one of them.

set role ownkey_owner;

alter table ownkey.usage_events
    add column cost_source text,  -- reported, computed, estimated or unpriced; none where there is nothing to price
    add column service_tier text,
    add column fallback boolean;  -- unknown for what an older version has written

create function ownkey_private.latency_bucket(milliseconds bigint) returns bigint
language sql immutable strict parallel safe set search_path = ''
as $$
    select case
        when milliseconds <= 0 then 0
        else least(1023, 1 + floor(16 * ln(milliseconds::double precision) / ln(2::double precision)))::bigint
    end
$$;
revoke execute on function ownkey_private.latency_bucket(bigint) from public;

create function ownkey_private.count_buckets(buckets bigint[]) returns bigint[]
language sql immutable parallel safe set search_path = ''
as $$
    select coalesce(array_agg(counted.calls * 1024 + counted.bucket order by counted.bucket), '{}')
    from (select b as bucket, count(*) as calls from unnest(buckets) b where b is not null group by b) counted
$$;
revoke execute on function ownkey_private.count_buckets(bigint[]) from public;

create function ownkey_private.add_histograms(one bigint[], other bigint[]) returns bigint[]
language sql immutable parallel safe set search_path = ''
as $$
    select coalesce(array_agg(added.calls * 1024 + added.bucket order by added.bucket), '{}')
    from (select p % 1024 as bucket, sum(p / 1024)::bigint as calls from unnest(one || other) p group by 1) added
$$;
revoke execute on function ownkey_private.add_histograms(bigint[], bigint[]) from public;

alter table ownkey.usage_daily
    add column fallback_requests bigint not null default 0,
    add column estimated_requests bigint not null default 0,
    add column duration_histogram bigint[] not null default '{}',
    add column first_byte_histogram bigint[] not null default '{}';

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
    duration_histogram bigint[] not null,
    first_byte_histogram bigint[] not null,
    primary key (day, provider, model, task, payer)
) with (fillfactor = 70);  -- room for new versions of a row beside the old ones
alter table ownkey_private.usage_daily_total enable row level security;
alter table ownkey_private.usage_daily_total force row level security;
create policy roles on ownkey_private.usage_daily_total as restrictive for all to public
    using (current_user in ('ownkey_owner', 'ownkey_admin'));
create policy owner_select on ownkey_private.usage_daily_total for select to ownkey_owner
    using (current_user = 'ownkey_owner');
create policy owner_insert on ownkey_private.usage_daily_total for insert to ownkey_owner
    with check (current_user = 'ownkey_owner');
create policy owner_update on ownkey_private.usage_daily_total for update to ownkey_owner
    using (current_user = 'ownkey_owner') with check (current_user = 'ownkey_owner');
create policy owner_delete on ownkey_private.usage_daily_total for delete to ownkey_owner
    using (current_user = 'ownkey_owner');
create policy admin_select on ownkey_private.usage_daily_total for select to ownkey_admin
    using (current_user = 'ownkey_admin');
grant select on ownkey_private.usage_daily_total to ownkey_admin;

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
        ownkey_private.count_buckets(array_agg(ownkey_private.latency_bucket(e.duration_ms))) as durations,
        ownkey_private.count_buckets(array_agg(ownkey_private.latency_bucket(e.first_byte_ms))) as first_bytes
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

with parts as (
    select
        d.day, d.provider, d.model, d.task, d.payer, m.measure, p % 1024 as bucket, sum(p / 1024)::bigint as calls
    from ownkey.usage_daily d
    cross join lateral (values ('duration', d.duration_histogram), ('first_byte', d.first_byte_histogram))
        m (measure, histogram)
    cross join lateral unnest(m.histogram) p
    group by 1, 2, 3, 4, 5, 6, 7
),
histograms as (
    select
        day, provider, model, task, payer,
        array_agg(calls * 1024 + bucket order by bucket) filter (where measure = 'duration') as durations,
        array_agg(calls * 1024 + bucket order by bucket) filter (where measure = 'first_byte') as first_bytes
    from parts
    group by 1, 2, 3, 4, 5
)
insert into ownkey_private.usage_daily_total
select
    d.day, d.provider, d.model, d.task, d.payer, sum(d.requests), sum(d.errors), sum(d.input_uncached),
    sum(d.cache_read), sum(d.cache_write), sum(d.output_text), sum(d.output_reasoning), sum(d.cost_microdollars),
    sum(d.unpriced_requests), sum(d.duration_ms), sum(d.first_byte_ms), sum(d.first_byte_requests),
    sum(d.fallback_requests), sum(d.estimated_requests), coalesce(h.durations, '{}'), coalesce(h.first_bytes, '{}')
from ownkey.usage_daily d
left join histograms h using (day, provider, model, task, payer)
group by d.day, d.provider, d.model, d.task, d.payer, h.durations, h.first_bytes;

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
            array_agg(ownkey_private.latency_bucket(i.duration_ms)) as durations,
            array_agg(ownkey_private.latency_bucket(i.first_byte_ms)) filter (where i.first_byte_ms is not null)
                as first_bytes
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
            g.estimated_requests, ownkey_private.count_buckets(g.durations),
            ownkey_private.count_buckets(g.first_bytes)
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
            duration_histogram = ownkey_private.add_histograms(d.duration_histogram, excluded.duration_histogram),
            first_byte_histogram = ownkey_private.add_histograms(d.first_byte_histogram, excluded.first_byte_histogram)
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
    buckets as (
        select g.day, g.provider, g.model, g.task, g.payer,
            array_agg(b) filter (where m.measure = 'duration') as durations,
            array_agg(b) filter (where m.measure = 'first_byte') as first_bytes
        from grouped g
        cross join lateral (values ('duration', g.durations), ('first_byte', g.first_bytes)) m (measure, measured)
        cross join lateral unnest(m.measured) b
        group by 1, 2, 3, 4, 5
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
            ownkey_private.count_buckets(b.durations), ownkey_private.count_buckets(b.first_bytes)
        from grouped g
        join buckets b using (day, provider, model, task, payer)
        group by 1, 2, 3, 4, 5, b.durations, b.first_bytes
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
            duration_histogram = ownkey_private.add_histograms(t.duration_histogram, excluded.duration_histogram),
            first_byte_histogram = ownkey_private.add_histograms(t.first_byte_histogram, excluded.first_byte_histogram)
        returning 1
    )
    -- Naming all parts makes their order part of the plan.
    select (select count(*) from inserted) + 0 * (select count(*) from summed) + 0 * (select count(*) from counted)
        + 0 * (select count(*) from totalled)
    into recorded;
    return recorded;
end
$$;

reset role;
