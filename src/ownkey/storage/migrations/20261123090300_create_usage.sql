-- Usage: one event per dispatched upstream call, in monthly partitions, and daily sums derived from inserted events.
--
-- There is no foreign key to users or credentials: an event is a fact about money and outlives a removed credential;
-- an event that arrives late must never be refused and hold up all others. Removing a user removes their events.

set role ownkey_owner;

create table ownkey.usage_events (
    id uuid not null,
    occurred_at timestamptz not null,
    request_id text not null,
    user_id text not null,
    attempt integer not null,
    task text,
    provider text not null,
    model text not null,
    requested_model text not null,
    credential_id uuid,
    payer text not null,
    operation text not null,
    streamed boolean not null,
    outcome text not null,
    http_status integer,
    input_uncached bigint not null,
    cache_read bigint not null,
    cache_write bigint not null,
    output_text bigint not null,
    output_reasoning bigint not null,
    tokens_source text not null,
    raw_usage bytea,
    cost_microdollars bigint,
    price_version text,
    duration_ms bigint not null,
    first_byte_ms bigint,
    provider_request_id text,
    finish_reason text,
    recorded_at timestamptz not null default now(),
    primary key (id, occurred_at)
) partition by range (occurred_at);
create index usage_events_user on ownkey.usage_events (user_id, occurred_at);
alter table ownkey.usage_events enable row level security;
alter table ownkey.usage_events force row level security;
create policy roles on ownkey.usage_events as restrictive for all to public
    using (current_user in ('ownkey_gateway', 'ownkey_owner', 'ownkey_admin'));
create policy floor on ownkey.usage_events as restrictive for all to ownkey_gateway
    using (user_id = (select ownkey.current_user_id()));
create policy own_select on ownkey.usage_events for select to ownkey_gateway
    using (user_id = (select ownkey.current_user_id()));
create policy admin_select on ownkey.usage_events for select to ownkey_admin
    using (current_user = 'ownkey_admin');
-- For record_usage and for the removal of a user.
create policy owner_select on ownkey.usage_events for select to ownkey_owner
    using (current_user = 'ownkey_owner');
create policy owner_insert on ownkey.usage_events for insert to ownkey_owner
    with check (current_user = 'ownkey_owner');
create policy owner_delete on ownkey.usage_events for delete to ownkey_owner
    using (current_user = 'ownkey_owner');
grant select on ownkey.usage_events to ownkey_gateway, ownkey_admin;

-- The nil UUID and '' stand for "none", because a primary key holds no NULL.
create table ownkey.usage_daily (
    user_id text not null,
    day date not null,  -- in UTC
    provider text not null,
    model text not null,
    task text not null default '',
    credential_id uuid not null default '00000000-0000-0000-0000-000000000000',
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
    primary key (user_id, day, provider, model, task, credential_id, payer)
);
create index usage_daily_day on ownkey.usage_daily (day);
alter table ownkey.usage_daily enable row level security;
alter table ownkey.usage_daily force row level security;
create policy roles on ownkey.usage_daily as restrictive for all to public
    using (current_user in ('ownkey_gateway', 'ownkey_owner', 'ownkey_admin'));
create policy floor on ownkey.usage_daily as restrictive for all to ownkey_gateway
    using (user_id = (select ownkey.current_user_id()));
create policy own_select on ownkey.usage_daily for select to ownkey_gateway
    using (user_id = (select ownkey.current_user_id()));
create policy admin_select on ownkey.usage_daily for select to ownkey_admin
    using (current_user = 'ownkey_admin');
create policy owner_select on ownkey.usage_daily for select to ownkey_owner
    using (current_user = 'ownkey_owner');
create policy owner_insert on ownkey.usage_daily for insert to ownkey_owner
    with check (current_user = 'ownkey_owner');
create policy owner_update on ownkey.usage_daily for update to ownkey_owner
    using (current_user = 'ownkey_owner') with check (current_user = 'ownkey_owner');
create policy owner_delete on ownkey.usage_daily for delete to ownkey_owner
    using (current_user = 'ownkey_owner');
grant select on ownkey.usage_daily to ownkey_gateway, ownkey_admin;

-- Row-level security of a partition applies to who names it directly: nobody but the owner's functions may.
create function ownkey_private.protect_partition(partition_name text) returns void
language plpgsql set search_path = ''
as $$
begin
    execute format('alter table ownkey_private.%I enable row level security', partition_name);
    execute format('alter table ownkey_private.%I force row level security', partition_name);
    execute format(
        'create policy roles on ownkey_private.%I as restrictive for all to public '
        'using (current_user = ''ownkey_owner'')', partition_name);
    execute format(
        'create policy owner_select on ownkey_private.%I for select to ownkey_owner '
        'using (current_user = ''ownkey_owner'')', partition_name);
    execute format(
        'create policy owner_insert on ownkey_private.%I for insert to ownkey_owner '
        'with check (current_user = ''ownkey_owner'')', partition_name);
    execute format(
        'create policy owner_delete on ownkey_private.%I for delete to ownkey_owner '
        'using (current_user = ''ownkey_owner'')', partition_name);
end
$$;
revoke execute on function ownkey_private.protect_partition(text) from public;

-- Catches events of months without a partition, so that a wrong clock loses nothing.
create table ownkey_private.usage_events_default partition of ownkey.usage_events default;
select ownkey_private.protect_partition('usage_events_default');

-- Make the partitions of the current month, the one before and `months` ahead; what the default partition holds of
-- them moves there. Returns how many were made.
create function ownkey_private.ensure_usage_partitions(months integer) returns integer
language plpgsql security definer set search_path = pg_catalog, pg_temp set timezone = 'UTC'
as $$
declare
    first_day timestamptz;
    partition_name text;
    made integer := 0;
begin
    perform pg_advisory_xact_lock(hashtextextended('ownkey.usage_partitions', 0));
    for step in -1 .. least(greatest(months, 0), 24) loop
        first_day := date_trunc('month', now()) + make_interval(months => step);
        partition_name := 'usage_events_' || to_char(first_day, 'YYYY_MM');
        continue when to_regclass('ownkey_private.' || partition_name) is not null;
        -- Attaching a table takes a weaker lock on the parent than creating it in place: writers go on.
        execute format('create table ownkey_private.%I (like ownkey.usage_events including defaults)', partition_name);
        perform ownkey_private.protect_partition(partition_name);
        lock table ownkey_private.usage_events_default in access exclusive mode;
        execute format(
            'with moved as (delete from ownkey_private.usage_events_default '
            'where occurred_at >= $1 and occurred_at < $2 returning *) '
            'insert into ownkey_private.%I select * from moved', partition_name)
            using first_day, first_day + interval '1 month';
        execute format(
            'alter table ownkey.usage_events attach partition ownkey_private.%I for values from (%L) to (%L)',
            partition_name, first_day, first_day + interval '1 month');
        made := made + 1;
    end loop;
    return made;
end
$$;
revoke execute on function ownkey_private.ensure_usage_partitions(integer) from public;
grant execute on function ownkey_private.ensure_usage_partitions(integer) to ownkey_gateway;
select ownkey_private.ensure_usage_partitions(3);

-- Store a JSON array of events of any users and return how many were new. An event that is stored already changes
-- nothing, so a batch whose fate is unknown is simply sent again. Sums and counters are derived from the rows that
-- were inserted, in the same transaction. Rows are always taken in the order of their keys: two processes that write
-- overlapping batches wait for one another, but do not lock each other out.
create function ownkey_private.record_usage(events json) returns integer
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
    recorded integer;
begin
    with inserted as (
        insert into ownkey.usage_events (
            id, occurred_at, request_id, user_id, attempt, task, provider, model, requested_model, credential_id,
            payer, operation, streamed, outcome, http_status, input_uncached, cache_read, cache_write, output_text,
            output_reasoning, tokens_source, raw_usage, cost_microdollars, price_version, duration_ms, first_byte_ms,
            provider_request_id, finish_reason
        )
        select
            e.id, e.occurred_at, e.request_id, e.user_id, e.attempt, e.task, e.provider, e.model, e.requested_model,
            e.credential_id, e.payer, e.operation, e.streamed, e.outcome, e.http_status, e.input_uncached,
            e.cache_read, e.cache_write, e.output_text, e.output_reasoning, e.tokens_source,
            decode(e.raw_usage, 'base64'), e.cost_microdollars, e.price_version, e.duration_ms, e.first_byte_ms,
            e.provider_request_id, e.finish_reason
        from json_to_recordset(events) as e (
            id uuid, occurred_at timestamptz, request_id text, user_id text, attempt integer, task text, provider text,
            model text, requested_model text, credential_id uuid, payer text, operation text, streamed boolean,
            outcome text, http_status integer, input_uncached bigint, cache_read bigint, cache_write bigint,
            output_text bigint, output_reasoning bigint, tokens_source text, raw_usage text,
            cost_microdollars bigint, price_version text, duration_ms bigint, first_byte_ms bigint,
            provider_request_id text, finish_reason text
        )
        order by e.id, e.occurred_at
        on conflict (id, occurred_at) do nothing
        returning *
    ),
    summed as (
        insert into ownkey.usage_daily as d
        select
            i.user_id, (i.occurred_at at time zone 'UTC')::date, i.provider, i.model, coalesce(i.task, ''),
            coalesce(i.credential_id, '00000000-0000-0000-0000-000000000000'), i.payer, count(*),
            count(*) filter (where i.outcome not in ('ok', 'client_gone')), sum(i.input_uncached), sum(i.cache_read),
            sum(i.cache_write), sum(i.output_text), sum(i.output_reasoning), coalesce(sum(i.cost_microdollars), 0),
            count(*) filter (where i.cost_microdollars is null and i.tokens_source <> 'none'), sum(i.duration_ms),
            coalesce(sum(i.first_byte_ms), 0), count(i.first_byte_ms)
        from inserted i
        group by 1, 2, 3, 4, 5, 6, 7
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
            first_byte_requests = d.first_byte_requests + excluded.first_byte_requests
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
    )
    -- Naming all parts makes their order part of the plan.
    select (select count(*) from inserted) + 0 * (select count(*) from summed) + 0 * (select count(*) from counted)
    into recorded;
    return recorded;
end
$$;
revoke execute on function ownkey_private.record_usage(json) from public;
grant execute on function ownkey_private.record_usage(json) to ownkey_gateway;

reset role;
