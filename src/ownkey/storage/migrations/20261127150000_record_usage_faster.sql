-- Usage of many users at once: no table is read whole, and no function is called for each row. What was written before
-- grew with the product of the calls in a batch and the users that there are.

set role ownkey_owner;

-- What a batch of calls adds to the counters of one credential.
create type ownkey_private.key_use as (
    user_id text, id uuid, requests bigint, last_at timestamptz, input_tokens bigint, output_tokens bigint
);

create or replace function ownkey_private.record_usage(events json) returns integer
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
    recorded integer;
    uses ownkey_private.key_use[];
    one ownkey_private.key_use;
begin
    with inserted as (
        insert into ownkey.usage_events (
            id, occurred_at, request_id, user_id, attempt, task, provider, model, requested_model, credential_id,
            payer, operation, streamed, outcome, http_status, input_uncached, cache_read, cache_write, output_text,
            output_reasoning, tokens_source, raw_usage, service_tier, fallback, cost_microdollars, cost_source,
            price_version, duration_ms, first_byte_ms, provider_request_id, finish_reason, skipped
        )
        select
            e.id, e.occurred_at, e.request_id, e.user_id, e.attempt, e.task, e.provider, e.model, e.requested_model,
            e.credential_id, e.payer, e.operation, e.streamed, e.outcome, e.http_status, e.input_uncached,
            e.cache_read, e.cache_write, e.output_text, e.output_reasoning, e.tokens_source,
            decode(e.raw_usage, 'base64'), e.service_tier, e.fallback, e.cost_microdollars, e.cost_source,
            e.price_version, e.duration_ms, e.first_byte_ms, e.provider_request_id, e.finish_reason, e.skipped
        from json_to_recordset(events) as e (
            id uuid, occurred_at timestamptz, request_id text, user_id text, attempt integer, task text, provider text,
            model text, requested_model text, credential_id uuid, payer text, operation text, streamed boolean,
            outcome text, http_status integer, input_uncached bigint, cache_read bigint, cache_write bigint,
            output_text bigint, output_reasoning bigint, tokens_source text, raw_usage text, service_tier text,
            fallback boolean, cost_microdollars bigint, cost_source text, price_version text, duration_ms bigint,
            first_byte_ms bigint, provider_request_id text, finish_reason text, skipped jsonb
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
            sum(m.duration) as durations, coalesce(sum(m.first_byte), 0) as first_bytes
        from inserted i
        -- As `latency_mark` has it, which would be called for each of them.
        cross join lateral (
            select
                ('1e' || (12 * case
                    when i.duration_ms <= 0 then 0
                    else least(255, 1 + floor(8 * ln(i.duration_ms::float8) / ln(2::float8)))::integer
                end)::text)::numeric as duration,
                ('1e' || (12 * case
                    when i.first_byte_ms is null then null
                    when i.first_byte_ms <= 0 then 0
                    else least(255, 1 + floor(8 * ln(i.first_byte_ms::float8) / ln(2::float8)))::integer
                end)::text)::numeric as first_byte
        ) m
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
            sum(i.input_uncached + i.cache_read + i.cache_write)::bigint as input_tokens,
            sum(i.output_text + i.output_reasoning)::bigint as output_tokens
        from inserted i
        where i.credential_id is not null
        group by i.user_id, i.credential_id
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
    select
        (select count(*) from inserted) + 0 * (select count(*) from summed) + 0 * (select count(*) from totalled)
            + 0 * (select count(*) from moved),
        array(
            select row(u.user_id, u.id, u.requests, u.last_at, u.input_tokens, u.output_tokens)::ownkey_private.key_use
            from used u
            order by u.user_id, u.id
        )
    into recorded, uses;
    -- One after the other by its key, in an order in which nobody waits for each other. In one statement the planner
    -- would compare each with each: of a table behind row-level security it believes that one row is to be seen.
    foreach one in array uses loop
        update ownkey.credentials c set
            request_count = c.request_count + one.requests,
            input_tokens = c.input_tokens + one.input_tokens,
            output_tokens = c.output_tokens + one.output_tokens,
            last_used_at = greatest(c.last_used_at, one.last_at)
        where c.user_id = one.user_id and c.id = one.id;
    end loop;
    return recorded;
end
$$;

create or replace function ownkey_private.add_to_spans(changes ownkey_private.usage_spans[]) returns void
language sql security definer set search_path = pg_catalog, pg_temp
as $$
    insert into ownkey_private.usage_spans as s (
        days, first_day, owner, payer,
        requests, errors, input_uncached, cache_read, cache_write, output_text, output_reasoning, cost_microdollars,
        unpriced_requests, estimated_requests, fallback_requests, duration_ms, first_byte_ms, first_byte_requests
    )
    select
        -- As `span_start` has it, which would be called for each of them.
        k.days, c.first_day - (((c.first_day - date '1970-01-01') % k.days + k.days) % k.days), c.owner, c.payer,
        sum(c.requests), sum(c.errors), sum(c.input_uncached), sum(c.cache_read), sum(c.cache_write),
        sum(c.output_text), sum(c.output_reasoning), sum(c.cost_microdollars), sum(c.unpriced_requests),
        sum(c.estimated_requests), sum(c.fallback_requests), sum(c.duration_ms), sum(c.first_byte_ms),
        sum(c.first_byte_requests)
    from unnest(changes) c
    cross join (values (1), (8)) k (days)
    group by 1, 2, 3, 4
    order by 1, 2, 3, 4
    on conflict (days, first_day, owner, payer) do update set
        requests = s.requests + excluded.requests,
        errors = s.errors + excluded.errors,
        input_uncached = s.input_uncached + excluded.input_uncached,
        cache_read = s.cache_read + excluded.cache_read,
        cache_write = s.cache_write + excluded.cache_write,
        output_text = s.output_text + excluded.output_text,
        output_reasoning = s.output_reasoning + excluded.output_reasoning,
        cost_microdollars = s.cost_microdollars + excluded.cost_microdollars,
        unpriced_requests = s.unpriced_requests + excluded.unpriced_requests,
        estimated_requests = s.estimated_requests + excluded.estimated_requests,
        fallback_requests = s.fallback_requests + excluded.fallback_requests,
        duration_ms = s.duration_ms + excluded.duration_ms,
        first_byte_ms = s.first_byte_ms + excluded.first_byte_ms,
        first_byte_requests = s.first_byte_requests + excluded.first_byte_requests
$$;

create or replace function ownkey_private.settle_spending() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
begin
    with freed as (
        delete from ownkey_private.spend_reservations r using inserted i where r.id = i.id returning r.*
    ),
    calls as (
        select i.payer, i.user_id as owner, f.counters, f.cost_microdollars as promised_cost,
            f.tokens as promised_tokens,
            case when f.id is null then u.spending_group else f.spending_group end as spending_group,
            coalesce(f.reserved_at, least(i.occurred_at, now())) as moment,
            coalesce(i.cost_microdollars, case when uncertain then f.cost_microdollars end, 0) as cost,
            case
                when i.tokens_source = 'none' and uncertain then coalesce(f.tokens, 0)
                else i.input_uncached + i.cache_read + i.cache_write + i.output_text + i.output_reasoning
            end as tokens
        from inserted i
        cross join lateral (
            select i.outcome in (
                'ok', 'client_gone', 'access_withdrawn', 'stream_broken', 'answer_too_large', 'timeout', 'internal'
            ) as uncertain
        ) o
        left join freed f on f.id = i.id
        -- By its key for each: see record_usage. The offset keeps the planner from making a join of it.
        left join lateral (select g.spending_group from ownkey.users g where g.id = i.user_id offset 0) u on true
    ),
    changes as (
        select s.scope, s.owner, p.period,
            date_trunc(p.period, c.moment at time zone 'UTC') at time zone 'UTC' as starts,
            c.cost as cost, 0::bigint as promised
        from calls c
        cross join lateral (values
            ('user', c.owner, 'shared'), ('group', c.spending_group, 'shared'), ('total', '', 'shared'),
            ('own', c.owner, 'own')
        ) s (scope, owner, payer)
        cross join (values ('day'), ('month')) p (period)
        where s.payer = c.payer and s.owner is not null and c.cost <> 0
        union all
        select k.scope, case k.scope when 'total' then '' when 'group' then c.spending_group else c.owner end, k.period,
            date_trunc(k.period, c.moment at time zone 'UTC') at time zone 'UTC',
            case when k.scope = 'tokens' then c.tokens else 0 end,
            case when k.scope = 'tokens' then c.promised_tokens else c.promised_cost end
        from calls c
        cross join lateral (
            select split_part(one, '/', 1) as scope, split_part(one, '/', 2) as period from unnest(c.counters) one
        ) k
        -- Nobody asks any more for a minute that is over.
        where k.period <> 'minute' or c.moment > now() - interval '2 minutes'
    )
    insert into ownkey_private.spend_counters as c (scope, owner, period, starts, spent, reserved)
        select h.scope, h.owner, h.period, h.starts, sum(h.cost)::bigint, -sum(h.promised)::bigint
        from changes h
        group by 1, 2, 3, 4
        order by h.scope collate "C", h.owner collate "C", h.period collate "C", h.starts
        on conflict (scope, owner, period, starts) do update set
            spent = c.spent + excluded.spent, reserved = c.reserved + excluded.reserved;
    return null;
end
$$;

create or replace function ownkey_private.touch_tokens(uses json) returns integer
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
    touched integer := 0;
    one record;
begin
    -- One after the other, as in record_usage and for its reasons.
    for one in
        select u.user_id, u.id, max(u.at) as at
        from json_to_recordset(uses) as u (user_id text, id uuid, at timestamptz)
        group by u.user_id, u.id
        order by u.user_id, u.id
    loop
        update ownkey.gateway_tokens t
        set last_used_at = greatest(t.last_used_at, one.at)
        where t.user_id = one.user_id and t.id = one.id;
        if found then
            touched := touched + 1;
        end if;
    end loop;
    return touched;
end
$$;

reset role;
