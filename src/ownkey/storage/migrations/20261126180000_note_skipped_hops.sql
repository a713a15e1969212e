-- What a call was made in place of: the hops that would have come before it and were left out, and why.

set role ownkey_owner;

alter table ownkey.usage_events add column skipped jsonb;  -- [{"provider", "payer", "reason"}]; null: none

-- As before, with the new column.
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
