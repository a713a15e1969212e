-- Events for the host application: written in the transaction of what they tell of, delivered afterwards by whichever
-- process takes them up. A sink is a way out: the webhook, or callbacks inside a process. There is one row per event
-- and sink, so that each sink has its own tries; a sink that nobody has served for a week gets no rows any more.

set role ownkey_owner;

create table ownkey_private.event_sinks (
    name text primary key check (name in ('webhook', 'callback')),
    seen_at timestamptz not null
);
alter table ownkey_private.event_sinks enable row level security;
alter table ownkey_private.event_sinks force row level security;
create policy roles on ownkey_private.event_sinks as restrictive for all to public
    using (current_user = 'ownkey_owner');
create policy owner_select on ownkey_private.event_sinks for select to ownkey_owner
    using (current_user = 'ownkey_owner');
create policy owner_insert on ownkey_private.event_sinks for insert to ownkey_owner
    with check (current_user = 'ownkey_owner');
create policy owner_update on ownkey_private.event_sinks for update to ownkey_owner
    using (current_user = 'ownkey_owner') with check (current_user = 'ownkey_owner');

-- `due_at` is the next try of a waiting row. Whoever takes a row up moves it ahead by more than a delivery lasts: that
-- is the claim, and it ends by itself when the process dies. `tries` tells a late answer from that of a newer claim.
-- `owner` is the user whom an event is about, NULL where it is about nobody alone. `once` names what is told only once.
create table ownkey_private.outbox (
    event_id uuid not null,
    sink text collate "C" not null,
    kind text collate "C" not null check (char_length(kind) between 1 and 60),
    owner text,
    occurred_at timestamptz not null,
    data jsonb not null check (jsonb_typeof(data) = 'object'),
    once text check (char_length(once) <= 600),
    state text collate "C" not null default 'waiting' check (state in ('waiting', 'delivered', 'given_up')),
    tries integer not null default 0,
    due_at timestamptz not null,
    last_error text check (char_length(last_error) <= 300),
    settled_at timestamptz,
    primary key (event_id, sink)
);
create unique index outbox_once on ownkey_private.outbox (sink, once) where once is not null;
create index outbox_due on ownkey_private.outbox (sink, due_at) where state = 'waiting';
create index outbox_age on ownkey_private.outbox (occurred_at);
create index outbox_owner on ownkey_private.outbox (owner) where owner is not null;
alter table ownkey_private.outbox enable row level security;
alter table ownkey_private.outbox force row level security;
create policy roles on ownkey_private.outbox as restrictive for all to public
    using (current_user = 'ownkey_owner');
create policy owner_select on ownkey_private.outbox for select to ownkey_owner
    using (current_user = 'ownkey_owner');
create policy owner_insert on ownkey_private.outbox for insert to ownkey_owner
    with check (current_user = 'ownkey_owner');
create policy owner_update on ownkey_private.outbox for update to ownkey_owner
    using (current_user = 'ownkey_owner') with check (current_user = 'ownkey_owner');
create policy owner_delete on ownkey_private.outbox for delete to ownkey_owner
    using (current_user = 'ownkey_owner');

-- Tell the host of something: kept if the transaction commits. `once` (or NULL) is a name under which it is told only
-- once, whoever finds it first. Says whether anybody will hear of it.
create function ownkey_private.emit_event(new_kind text, about text, new_data jsonb, once_name text) returns boolean
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
    new_id uuid := gen_random_uuid();
    moment timestamptz := clock_timestamp();
begin
    insert into ownkey_private.outbox (event_id, sink, kind, owner, occurred_at, data, once, due_at)
        select new_id, s.name, new_kind, about, moment, new_data, once_name, moment
        from ownkey_private.event_sinks s
        where s.seen_at > moment - interval '7 days'
        order by s.name
        on conflict do nothing;
    if not found then
        return false;
    end if;
    perform pg_notify('ownkey_event', '');
    return true;
end
$$;
revoke execute on function ownkey_private.emit_event(text, text, jsonb, text) from public;
grant execute on function ownkey_private.emit_event(text, text, jsonb, text) to ownkey_gateway;

-- Say that somebody serves this sink.
create function ownkey_private.serve_sink(wanted text) returns void
language sql security definer set search_path = pg_catalog, pg_temp
as $$
    insert into ownkey_private.event_sinks as s (name, seen_at) values (wanted, clock_timestamp())
        on conflict (name) do update set seen_at = excluded.seen_at
        where s.seen_at < excluded.seen_at - interval '1 minute'
$$;
revoke execute on function ownkey_private.serve_sink(text) from public;
grant execute on function ownkey_private.serve_sink(text) to ownkey_gateway;

-- Take up due events, at most so many: nobody else gets them for `lease_seconds`.
create function ownkey_private.claim_events(wanted text, most integer, lease_seconds double precision) returns table (
    event_id uuid, kind text, owner text, occurred_at timestamptz, data text, tries integer
)
language sql security definer set search_path = pg_catalog, pg_temp
as $$
    with due as (
        select o.event_id from ownkey_private.outbox o
        where o.sink = wanted and o.state = 'waiting' and o.due_at <= clock_timestamp()
        order by o.due_at
        limit most
        for no key update skip locked
    )
    update ownkey_private.outbox o
    set due_at = clock_timestamp() + make_interval(secs => lease_seconds), tries = o.tries + 1
    from due
    where o.event_id = due.event_id and o.sink = wanted
    returning o.event_id, o.kind, o.owner, o.occurred_at, o.data::text, o.tries
$$;
revoke execute on function ownkey_private.claim_events(text, integer, double precision) from public;
grant execute on function ownkey_private.claim_events(text, integer, double precision) to ownkey_gateway;

-- An event has arrived. That stays true whoever else has taken it up since.
create function ownkey_private.mark_delivered(wanted uuid, wanted_sink text) returns void
language sql security definer set search_path = pg_catalog, pg_temp
as $$
    update ownkey_private.outbox o set state = 'delivered', settled_at = clock_timestamp(), last_error = null
    where o.event_id = wanted and o.sink = wanted_sink and o.state <> 'delivered'
$$;
revoke execute on function ownkey_private.mark_delivered(uuid, text) from public;
grant execute on function ownkey_private.mark_delivered(uuid, text) to ownkey_gateway;

-- A try has failed: the next one is in `wait_seconds`, or never when the event is older than `most_seconds`. Only the
-- last claim may say so. Gives the new state, or NULL if it was not the last claim.
create function ownkey_private.mark_failed(
    wanted uuid, wanted_sink text, claimed_tries integer, why text, wait_seconds double precision,
    most_seconds double precision
) returns text
language sql security definer set search_path = pg_catalog, pg_temp
as $$
    update ownkey_private.outbox o set
        last_error = left(why, 300),
        due_at = clock_timestamp() + make_interval(secs => wait_seconds),
        state = case when over.yes then 'given_up' else 'waiting' end,
        settled_at = case when over.yes then clock_timestamp() end
    from (select make_interval(secs => most_seconds) as age) given
    cross join lateral (
        select x.occurred_at < clock_timestamp() - given.age as yes from ownkey_private.outbox x
        where x.event_id = wanted and x.sink = wanted_sink
    ) over
    where o.event_id = wanted and o.sink = wanted_sink and o.state = 'waiting' and o.tries = claimed_tries
    returning o.state
$$;
revoke execute on function ownkey_private.mark_failed(uuid, text, integer, text, double precision, double precision)
    from public;
grant execute on function ownkey_private.mark_failed(uuid, text, integer, text, double precision, double precision)
    to ownkey_gateway;

-- Forget events after ten weeks, which is longer than any name under `once` has to hold. Says how many.
create function ownkey_private.forget_events() returns integer
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
    forgotten integer;
begin
    if not pg_try_advisory_xact_lock(hashtextextended('ownkey.forget_events', 0)) then
        return 0;
    end if;
    delete from ownkey_private.outbox o where o.occurred_at < now() - interval '70 days';
    get diagnostics forgotten = row_count;
    return forgotten;
end
$$;
revoke execute on function ownkey_private.forget_events() from public;
grant execute on function ownkey_private.forget_events() to ownkey_gateway;

-- How a sink fares, for whoever looks after the deployment. One row, also for a sink that nobody serves.
create function ownkey_private.describe_sink(wanted text) returns table (
    seen_at timestamptz, waiting bigint, oldest_waiting timestamptz, given_up bigint, last_delivered_at timestamptz,
    last_error text
)
language sql stable security definer set search_path = pg_catalog, pg_temp
as $$
    select
        (select s.seen_at from ownkey_private.event_sinks s where s.name = wanted),
        count(*) filter (where o.state = 'waiting'),
        min(o.occurred_at) filter (where o.state = 'waiting'),
        count(*) filter (where o.state = 'given_up'),
        max(o.settled_at) filter (where o.state = 'delivered'),
        (array_agg(o.last_error order by o.due_at desc) filter (where o.last_error is not null))[1]
    from ownkey_private.outbox o where o.sink = wanted
$$;
revoke execute on function ownkey_private.describe_sink(text) from public;
grant execute on function ownkey_private.describe_sink(text) to ownkey_gateway, ownkey_admin;

-- Nothing more is told of a user who is gone.
create function ownkey_private.forget_own_events() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
begin
    delete from ownkey_private.outbox o where o.owner = old.id;
    return null;
end
$$;
revoke execute on function ownkey_private.forget_own_events() from public;
create trigger forget_own_events after delete on ownkey.users
    for each row execute function ownkey_private.forget_own_events();

reset role;
