-- Budgets of the operator's money, caps on users' own, and calls per minute: what was spent, and what is promised to
-- calls under way. A call that a limit concerns gets its promise from reserve_spending before it is sent; what it cost
-- takes the promise's place in the transaction that stores its usage event. All processes count here, by this clock.

set role ownkey_owner;

-- The group of a user, for budgets that its members share.
alter table ownkey.users add column spending_group text check (spending_group ~ '^[a-z][a-z0-9_-]{0,39}$');
grant update (spending_group) on ownkey.users to ownkey_gateway;
drop trigger set_updated_at on ownkey.users;
create trigger set_updated_at before update of role, status, spending_group on ownkey.users
    for each row execute function ownkey_private.set_updated_at();
drop trigger user_changed on ownkey.users;
create trigger user_changed before update of role, status, spending_group on ownkey.users
    for each row execute function ownkey_private.user_changed();

-- Since when the operator's keys may serve this user, where the policy asks; and what they allow themselves.
alter table ownkey.user_llm_settings
    add column shared_consent_at timestamptz,
    add column cap_day_microdollars bigint check (cap_day_microdollars >= 0),
    add column cap_month_microdollars bigint check (cap_month_microdollars >= 0),
    add column cap_action text not null default 'stop' check (cap_action in ('warn', 'stop'));
grant insert (shared_consent_at, cap_day_microdollars, cap_month_microdollars, cap_action),
    update (shared_consent_at, cap_day_microdollars, cap_month_microdollars, cap_action)
    on ownkey.user_llm_settings to ownkey_gateway;

-- As before, with the group, the consent and the caps.
create or replace function ownkey_private.build_snapshot(wanted text, usable boolean) returns json
language plpgsql stable set search_path = ''
as $$
begin
    return (select json_build_object(
        'user_id', u.id,
        'generation', u.generation,
        'group', u.spending_group,
        'settings', coalesce((
            select json_build_object(
                'payer', s.payer, 'allow_fallback', s.allow_fallback, 'default_task', s.default_task,
                'shared_consent_at', s.shared_consent_at,
                'caps', json_build_object(
                    'day_microdollars', s.cap_day_microdollars, 'month_microdollars', s.cap_month_microdollars,
                    'action', s.cap_action))
            from ownkey.user_llm_settings s where usable and s.user_id = u.id
        ), '{}'::json),
        'preferences', coalesce((
            select json_object_agg(p.provider, json_build_object(
                'provider', p.provider, 'enabled', p.enabled, 'priority', p.priority,
                'default_model', p.default_model, 'may_fall_back', p.may_fall_back, 'backup_only', p.backup_only))
            from ownkey.provider_preferences p where usable and p.user_id = u.id
        ), '{}'::json),
        'overrides', coalesce((
            select json_object_agg(t.task, json_build_object(
                'task', t.task, 'provider', t.provider, 'model', t.model, 'credential_id', t.credential_id,
                'payer', t.payer, 'allow_fallback', t.allow_fallback))
            from ownkey.task_overrides t where usable and t.user_id = u.id
        ), '{}'::json),
        'credentials', coalesce((
            select json_agg(json_build_object(
                'id', c.id, 'provider', c.provider, 'label', c.label, 'hint', c.hint, 'base_url', x.base_url,
                'position', c.position, 'enabled', c.enabled, 'status', c.status, 'status_until', c.status_until,
                'expires_at', c.expires_at, 'generation', x.generation,
                'sealed', coalesce(translate(encode(x.sealed, 'base64'), E'\n', ''), ''))
                order by c.provider, c.position, c.id)
            from ownkey.credentials c
            join ownkey_private.credential_secrets x on x.user_id = c.user_id and x.credential_id = c.id
            where usable and c.user_id = u.id
        ), '[]'::json),
        'wrapped_data_key', translate(encode(k.wrapped, 'base64'), E'\n', ''),
        'wrapping_key_id', k.wrapping_key_id,
        'data_key_version', coalesce(k.version, 1)
    )
    from ownkey.users u
    left join ownkey_private.data_keys k on usable and k.user_id = u.id
    where u.id = wanted);
end
$$;

-- One row per limit's subject and period. `owner` is a user's id, a group's name, or '' for the total. Days and months
-- count whether there is a limit or not, so that a new one knows what was spent before; minutes only under a limit.
-- What a user took from shared money stays until its month is over even when the user goes: whoever erases themselves
-- and comes back has no fresh budget.
create table ownkey_private.spend_counters (
    scope text collate "C" not null check (scope in ('user', 'group', 'total', 'own', 'requests', 'tokens')),
    owner text collate "C" not null,
    period text collate "C" not null check (period in ('minute', 'day', 'month')),
    starts timestamptz not null,  -- in UTC
    spent bigint not null,  -- micro-dollars, calls or tokens
    reserved bigint not null,
    primary key (scope, owner, period, starts)
) with (fillfactor = 70);  -- room for new versions of a row beside the old ones
create index spend_counters_age on ownkey_private.spend_counters (period, starts);
alter table ownkey_private.spend_counters enable row level security;
alter table ownkey_private.spend_counters force row level security;
create policy roles on ownkey_private.spend_counters as restrictive for all to public
    using (current_user in ('ownkey_owner', 'ownkey_admin'));
create policy owner_select on ownkey_private.spend_counters for select to ownkey_owner
    using (current_user = 'ownkey_owner');
create policy owner_insert on ownkey_private.spend_counters for insert to ownkey_owner
    with check (current_user = 'ownkey_owner');
create policy owner_update on ownkey_private.spend_counters for update to ownkey_owner
    using (current_user = 'ownkey_owner') with check (current_user = 'ownkey_owner');
create policy owner_delete on ownkey_private.spend_counters for delete to ownkey_owner
    using (current_user = 'ownkey_owner');
create policy admin_select on ownkey_private.spend_counters for select to ownkey_admin
    using (current_user = 'ownkey_admin');
grant select on ownkey_private.spend_counters to ownkey_admin;

-- A promise to one call, under the id that its usage event will have. `counters` names the rows above that it is part
-- of, as scope/period; `tokens` is what it takes of a minute's. A promise whose process died ends at `expires_at`.
create table ownkey_private.spend_reservations (
    id uuid primary key,
    owner text not null,
    spending_group text,
    reserved_at timestamptz not null,
    expires_at timestamptz not null,
    cost_microdollars bigint not null,
    tokens bigint not null,
    counters text[] not null
);
create index spend_reservations_age on ownkey_private.spend_reservations (expires_at);
alter table ownkey_private.spend_reservations enable row level security;
alter table ownkey_private.spend_reservations force row level security;
create policy roles on ownkey_private.spend_reservations as restrictive for all to public
    using (current_user = 'ownkey_owner');
create policy owner_select on ownkey_private.spend_reservations for select to ownkey_owner
    using (current_user = 'ownkey_owner');
create policy owner_insert on ownkey_private.spend_reservations for insert to ownkey_owner
    with check (current_user = 'ownkey_owner');
create policy owner_update on ownkey_private.spend_reservations for update to ownkey_owner
    using (current_user = 'ownkey_owner') with check (current_user = 'ownkey_owner');
create policy owner_delete on ownkey_private.spend_reservations for delete to ownkey_owner
    using (current_user = 'ownkey_owner');

-- Ask for money, and for a place in this minute, for one call. `ceilings` is a JSON array of {scope, period, limit,
-- stop}; `cost` and `new_tokens` are the most that the call may need. Granted when spent + reserved + needed fits every
-- limit that stops; then the promise is stored. Returns {"granted", "at", "counters": as they stood before}.
--
-- Rows are locked in the order of their keys, as everywhere, so that calls wait for one another but do not lock each
-- other out. A promise need not survive a crash of the server, so nobody waits for the disk while the rows are locked.
create function ownkey_private.reserve_spending(
    event_id uuid, spender text, spender_group text, cost bigint, new_tokens bigint, ceilings json,
    lifetime_seconds double precision, at timestamptz
) returns json
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
    moment timestamptz := coalesce(at, clock_timestamp());
    ceiling record;
    counter ownkey_private.spend_counters;
    needed bigint;
    short boolean := false;
    promised boolean := false;
    scopes text[] := '{}';
    owners text[] := '{}';
    periods text[] := '{}';
    needs bigint[] := '{}';
    found_counters json[] := '{}';
begin
    perform set_config('synchronous_commit', 'off', true);
    for ceiling in
        select c.scope, c.period, c."limit", c.stop,
            case c.scope when 'total' then '' when 'group' then spender_group else spender end as owner,
            date_trunc(c.period, moment at time zone 'UTC') at time zone 'UTC' as starts
        from json_to_recordset(ceilings) as c (scope text, period text, "limit" bigint, stop boolean)
        order by c.scope collate "C", c.period collate "C"  -- of each scope there is one owner
    loop
        loop
            select * into counter from ownkey_private.spend_counters c
                where c.scope = ceiling.scope and c.owner = ceiling.owner and c.period = ceiling.period
                    and c.starts = ceiling.starts
                for no key update;
            exit when found;
            insert into ownkey_private.spend_counters (scope, owner, period, starts, spent, reserved)
                values (ceiling.scope, ceiling.owner, ceiling.period, ceiling.starts, 0, 0)
                on conflict do nothing;
        end loop;
        needed := case ceiling.scope
            when 'requests' then 1
            when 'tokens' then least(new_tokens, ceiling."limit")
            else cost
        end;
        short := short or (ceiling.stop and counter.spent + counter.reserved + needed > ceiling."limit");
        promised := promised or ceiling.scope <> 'requests';
        scopes := scopes || ceiling.scope;
        owners := owners || ceiling.owner;
        periods := periods || ceiling.period;
        needs := needs || needed;
        found_counters := found_counters || json_build_object(
            'scope', ceiling.scope, 'period', ceiling.period, 'limit', ceiling."limit", 'stop', ceiling.stop,
            'spent', counter.spent, 'reserved', counter.reserved, 'needed', needed);
    end loop;
    if not short then
        -- A call counts at once and for good; money and tokens are promised until they are known.
        update ownkey_private.spend_counters c set
            spent = c.spent + case when w.scope = 'requests' then w.needed else 0 end,
            reserved = c.reserved + case when w.scope = 'requests' then 0 else w.needed end
        from unnest(scopes, owners, periods, needs) as w (scope, owner, period, needed)
        where c.scope = w.scope and c.owner = w.owner and c.period = w.period
            and c.starts = date_trunc(w.period, moment at time zone 'UTC') at time zone 'UTC';
        if promised then
            insert into ownkey_private.spend_reservations
                (id, owner, spending_group, reserved_at, expires_at, cost_microdollars, tokens, counters)
                select event_id, spender, spender_group, moment, moment + make_interval(secs => lifetime_seconds),
                    cost, coalesce(max(w.needed) filter (where w.scope = 'tokens'), 0),
                    array_agg(w.scope || '/' || w.period) filter (where w.scope <> 'requests')
                from unnest(scopes, periods, needs) as w (scope, period, needed);
        end if;
    end if;
    return json_build_object('granted', not short, 'at', moment, 'counters', array_to_json(found_counters));
end
$$;
revoke execute on function ownkey_private.reserve_spending(
    uuid, text, text, bigint, bigint, json, double precision, timestamptz) from public;
grant execute on function ownkey_private.reserve_spending(
    uuid, text, text, bigint, bigint, json, double precision, timestamptz) to ownkey_gateway;

-- Take promises back of which nothing will come. Says how many there were.
create function ownkey_private.release_spending(ids uuid[]) returns integer
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
    released integer;
begin
    perform set_config('synchronous_commit', 'off', true);
    with freed as (
        delete from ownkey_private.spend_reservations r where r.id = any (ids) returning *
    ),
    changes as (
        select k.scope, k.period,
            case k.scope when 'total' then '' when 'group' then f.spending_group else f.owner end as owner,
            date_trunc(k.period, f.reserved_at at time zone 'UTC') at time zone 'UTC' as starts,
            sum(case when k.scope = 'tokens' then f.tokens else f.cost_microdollars end)::bigint as promised
        from freed f
        cross join lateral (
            select split_part(one, '/', 1) as scope, split_part(one, '/', 2) as period from unnest(f.counters) one
        ) k
        group by 1, 2, 3, 4
    ),
    locked as (
        select c.scope, c.owner, c.period, c.starts, h.promised
        from changes h join ownkey_private.spend_counters c using (scope, owner, period, starts)
        order by c.scope, c.owner, c.period, c.starts
        for no key update of c
    ),
    lowered as (
        update ownkey_private.spend_counters c set reserved = c.reserved - l.promised
        from locked l
        where (c.scope, c.owner, c.period, c.starts) = (l.scope, l.owner, l.period, l.starts)
        returning 1
    )
    -- Naming all parts makes their order part of the plan.
    select (select count(*) from freed) + 0 * (select count(*) from lowered) into released;
    return released;
end
$$;
revoke execute on function ownkey_private.release_spending(uuid[]) from public;
grant execute on function ownkey_private.release_spending(uuid[]) to ownkey_gateway;

-- End the promises of processes that died, and forget periods that are over. Says how many promises ended. Of those
-- who call at once, one does the work.
create function ownkey_private.expire_spending(at timestamptz) returns integer
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
    moment timestamptz := coalesce(at, clock_timestamp());
    expired integer;
begin
    if not pg_try_advisory_xact_lock(hashtextextended('ownkey.expire_spending', 0)) then
        return 0;
    end if;
    expired := ownkey_private.release_spending(array(
        select r.id from ownkey_private.spend_reservations r
        where r.expires_at <= moment
        order by r.expires_at
        limit 1000
        for update skip locked
    ));
    delete from ownkey_private.spend_counters c
        where (c.period = 'minute' and c.starts < moment - interval '1 hour')
            or (c.period = 'day' and c.starts < moment - interval '7 days')
            or (c.period = 'month' and c.starts < moment - interval '62 days');
    return expired;
end
$$;
revoke execute on function ownkey_private.expire_spending(timestamptz) from public;
grant execute on function ownkey_private.expire_spending(timestamptz) to ownkey_gateway;

-- Count what calls have cost, in place of what they were promised, in the transaction that stores their events and
-- for the rows that were really inserted: once. A promised call counts for the period and the group that it was
-- promised in. One whose provider may have charged for it without saying how much counts as it was promised.
create function ownkey_private.settle_spending() returns trigger
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
                'ok', 'client_gone', 'stream_broken', 'answer_too_large', 'timeout', 'internal'
            ) as uncertain
        ) o
        left join freed f on f.id = i.id
        left join ownkey.users u on u.id = i.user_id
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
revoke execute on function ownkey_private.settle_spending() from public;
-- This waits for events that are being stored and holds off others, so that the sums below miss none.
create trigger settle_spending after insert on ownkey.usage_events referencing new table as inserted
    for each statement execute function ownkey_private.settle_spending();

-- What was spent in this month, so far.
insert into ownkey_private.spend_counters (scope, owner, period, starts, spent, reserved)
    select s.scope, s.owner, p.period, date_trunc(p.period, now() at time zone 'UTC') at time zone 'UTC',
        sum(d.cost_microdollars), 0
    from ownkey.usage_daily d
    cross join lateral (values ('user', d.user_id, 'shared'), ('total', '', 'shared'), ('own', d.user_id, 'own'))
        s (scope, owner, payer)
    cross join (values ('day'), ('month')) p (period)
    where s.payer = d.payer and d.cost_microdollars <> 0
        and d.day >= date_trunc(p.period, now() at time zone 'UTC')::date
    group by 1, 2, 3, 4;

-- How the limits of the transaction's user stand now; counters that nothing was counted in are missing.
create function ownkey_private.look_at_spending(at timestamptz) returns table (
    scope text, period text, spent bigint, reserved bigint
)
language sql stable security definer set search_path = pg_catalog, pg_temp
as $$
    select c.scope, c.period, c.spent, c.reserved
    from ownkey.users u
    cross join (values
        ('user'), ('group'), ('total'), ('own'), ('requests'), ('tokens')
    ) s (scope)
    cross join (values ('minute'), ('day'), ('month')) p (period)
    join ownkey_private.spend_counters c
        on c.scope = s.scope and c.period = p.period
            and c.owner = case s.scope when 'total' then '' when 'group' then u.spending_group else u.id end
            and c.starts = date_trunc(p.period, coalesce(at, now()) at time zone 'UTC') at time zone 'UTC'
    where u.id = (select ownkey.current_user_id())
$$;
revoke execute on function ownkey_private.look_at_spending(timestamptz) from public;
grant execute on function ownkey_private.look_at_spending(timestamptz) to ownkey_gateway;

-- What an erased user did with their own money is nobody's business any more.
create function ownkey_private.forget_own_spending() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
begin
    delete from ownkey_private.spend_counters c where c.scope in ('own', 'requests', 'tokens') and c.owner = old.id;
    return null;
end
$$;
revoke execute on function ownkey_private.forget_own_spending() from public;
create trigger forget_own_spending after delete on ownkey.users
    for each row execute function ownkey_private.forget_own_spending();

reset role;
