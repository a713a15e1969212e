-- Everybody's usage by user, for any range of days, from few rows: of 30 days of 5,000 users the daily sums are a million.
--
-- A span is one day or eight, counted from 1970-01-01. Any range of days is made of spans that lie side by side: eights,
-- and at most 7 single days at either end. Spans are kept by triggers on the daily sums, so that whatever writes those
-- keeps these.

set role ownkey_owner;

create table ownkey_private.usage_spans (
    days smallint not null check (days in (1, 8)),
    first_day date not null,  -- in UTC
    owner text collate "C" not null,  -- the user; none may read this, so it is not called user_id
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
    estimated_requests bigint not null,
    fallback_requests bigint not null,
    duration_ms bigint not null,
    first_byte_ms bigint not null,
    first_byte_requests bigint not null,
    primary key (days, first_day, owner, payer)
) with (fillfactor = 70);  -- room for new versions of a row beside the old ones
alter table ownkey_private.usage_spans enable row level security;
alter table ownkey_private.usage_spans force row level security;
create policy roles on ownkey_private.usage_spans as restrictive for all to public
    using ((select current_user in ('ownkey_owner', 'ownkey_admin')));
create policy owner_select on ownkey_private.usage_spans for select to ownkey_owner
    using (current_user = 'ownkey_owner');
create policy owner_insert on ownkey_private.usage_spans for insert to ownkey_owner
    with check (current_user = 'ownkey_owner');
create policy owner_update on ownkey_private.usage_spans for update to ownkey_owner
    using (current_user = 'ownkey_owner') with check (current_user = 'ownkey_owner');
create policy owner_delete on ownkey_private.usage_spans for delete to ownkey_owner
    using (current_user = 'ownkey_owner');
create policy admin_select on ownkey_private.usage_spans for select to ownkey_admin
    using ((select current_user = 'ownkey_admin'));
grant select on ownkey_private.usage_spans to ownkey_admin;

-- The first day of the span of so many days in which a day lies.
create function ownkey_private.span_start(day date, days integer) returns date
language sql immutable strict parallel safe set search_path = ''
as $$
    select day - (((day - date '1970-01-01') % days + days) % days)
$$;
revoke execute on function ownkey_private.span_start(date, integer) from public;

-- Add changes of single days, in the form of spans of one day, to all spans in which those lie.
create function ownkey_private.add_to_spans(changes ownkey_private.usage_spans[]) returns void
language sql security definer set search_path = pg_catalog, pg_temp
as $$
    insert into ownkey_private.usage_spans as s (
        days, first_day, owner, payer,
        requests, errors, input_uncached, cache_read, cache_write, output_text, output_reasoning, cost_microdollars,
        unpriced_requests, estimated_requests, fallback_requests, duration_ms, first_byte_ms, first_byte_requests
    )
    select
        k.days, ownkey_private.span_start(c.first_day, k.days), c.owner, c.payer,
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
revoke execute on function ownkey_private.add_to_spans(ownkey_private.usage_spans[]) from public;

create function ownkey_private.span_new_days() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
begin
    perform ownkey_private.add_to_spans(array(
        select row(1, day, user_id, payer,
            sum(requests), sum(errors), sum(input_uncached), sum(cache_read), sum(cache_write), sum(output_text),
            sum(output_reasoning), sum(cost_microdollars), sum(unpriced_requests), sum(estimated_requests),
            sum(fallback_requests), sum(duration_ms), sum(first_byte_ms), sum(first_byte_requests)
        )::ownkey_private.usage_spans
        from fresh
        group by day, user_id, payer
    ));
    return null;
end
$$;
revoke execute on function ownkey_private.span_new_days() from public;

-- What is there now, less what was there before.
create function ownkey_private.span_changed_days() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
begin
    perform ownkey_private.add_to_spans(array(
        select row(1, day, user_id, payer,
            sum(requests), sum(errors), sum(input_uncached), sum(cache_read), sum(cache_write), sum(output_text),
            sum(output_reasoning), sum(cost_microdollars), sum(unpriced_requests), sum(estimated_requests),
            sum(fallback_requests), sum(duration_ms), sum(first_byte_ms), sum(first_byte_requests)
        )::ownkey_private.usage_spans
        from (
            select day, user_id, payer,
                requests, errors, input_uncached, cache_read, cache_write, output_text, output_reasoning,
                cost_microdollars, unpriced_requests, estimated_requests, fallback_requests, duration_ms,
                first_byte_ms, first_byte_requests
            from fresh
            union all
            select day, user_id, payer,
                -requests, -errors, -input_uncached, -cache_read, -cache_write, -output_text, -output_reasoning,
                -cost_microdollars, -unpriced_requests, -estimated_requests, -fallback_requests, -duration_ms,
                -first_byte_ms, -first_byte_requests
            from stale
        ) changed
        group by day, user_id, payer
    ));
    return null;
end
$$;
revoke execute on function ownkey_private.span_changed_days() from public;

-- Of an erased user nothing stays, not even a row of zeros.
create function ownkey_private.span_gone_days() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
begin
    perform ownkey_private.add_to_spans(array(
        select row(1, day, user_id, payer,
            -sum(requests), -sum(errors), -sum(input_uncached), -sum(cache_read), -sum(cache_write),
            -sum(output_text), -sum(output_reasoning), -sum(cost_microdollars), -sum(unpriced_requests),
            -sum(estimated_requests), -sum(fallback_requests), -sum(duration_ms), -sum(first_byte_ms),
            -sum(first_byte_requests)
        )::ownkey_private.usage_spans
        from stale
        group by day, user_id, payer
    ));
    delete from ownkey_private.usage_spans s
    using (select distinct day, user_id, payer from stale) d
    cross join (values (1), (8)) k (days)
    where s.days = k.days and s.first_day = ownkey_private.span_start(d.day, k.days)
        and s.owner = d.user_id and s.payer = d.payer and s.requests = 0;
    return null;
end
$$;
revoke execute on function ownkey_private.span_gone_days() from public;

-- From here on nothing is recorded until this migration is done: the spans miss nothing and count nothing twice.
lock table ownkey.usage_daily in share row exclusive mode;

insert into ownkey_private.usage_spans
select
    k.days, ownkey_private.span_start(d.day, k.days), d.user_id, d.payer,
    sum(d.requests), sum(d.errors), sum(d.input_uncached), sum(d.cache_read), sum(d.cache_write),
    sum(d.output_text), sum(d.output_reasoning), sum(d.cost_microdollars), sum(d.unpriced_requests),
    sum(d.estimated_requests), sum(d.fallback_requests), sum(d.duration_ms), sum(d.first_byte_ms),
    sum(d.first_byte_requests)
from ownkey.usage_daily d
cross join (values (1), (8)) k (days)
group by 1, 2, 3, 4;

create trigger span_new_days after insert on ownkey.usage_daily
    referencing new table as fresh for each statement execute function ownkey_private.span_new_days();
create trigger span_changed_days after update on ownkey.usage_daily
    referencing old table as stale new table as fresh
    for each statement execute function ownkey_private.span_changed_days();
create trigger span_gone_days after delete on ownkey.usage_daily
    referencing old table as stale for each statement execute function ownkey_private.span_gone_days();

reset role;
