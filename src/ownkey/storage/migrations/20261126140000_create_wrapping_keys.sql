-- Wrapping keys and their phases, which processes hold which of them, and the refusal of data keys under a key that
-- retires. The keys themselves are never here, only their names.

set role ownkey_owner;

-- known -> primary -> retiring -> retired -> destroyed. One is primary: it wraps every new data key. A rotation that is
-- called off makes a retiring key primary again; from `retired` there is no way back.
create table ownkey_private.wrapping_keys (
    id text primary key check (char_length(id) between 1 and 200),
    phase text not null default 'known'
        check (phase in ('known', 'primary', 'retiring', 'retired', 'destroyed')),
    -- How many data keys it wrapped when it began to retire.
    keys_at_start bigint,
    changed_at timestamptz not null default now(),
    changed_by text
);
create unique index wrapping_keys_primary on ownkey_private.wrapping_keys (phase) where phase = 'primary';
alter table ownkey_private.wrapping_keys enable row level security;
alter table ownkey_private.wrapping_keys force row level security;
create policy roles on ownkey_private.wrapping_keys as restrictive for all to public
    using (current_user = 'ownkey_owner');
create policy owner_select on ownkey_private.wrapping_keys for select to ownkey_owner
    using (current_user = 'ownkey_owner');
create policy owner_insert on ownkey_private.wrapping_keys for insert to ownkey_owner
    with check (current_user = 'ownkey_owner');
create policy owner_update on ownkey_private.wrapping_keys for update to ownkey_owner
    using (current_user = 'ownkey_owner') with check (current_user = 'ownkey_owner');

-- Every process that can open data keys, as long as it says so every few seconds.
create table ownkey_private.live_processes (
    id uuid primary key,
    host text not null check (char_length(host) <= 200),
    pid integer not null,
    wrapping_keys text[] not null,
    started_at timestamptz not null default clock_timestamp(),
    expires_at timestamptz not null
);
alter table ownkey_private.live_processes enable row level security;
alter table ownkey_private.live_processes force row level security;
create policy roles on ownkey_private.live_processes as restrictive for all to public
    using (current_user = 'ownkey_owner');
create policy owner_select on ownkey_private.live_processes for select to ownkey_owner
    using (current_user = 'ownkey_owner');
create policy owner_insert on ownkey_private.live_processes for insert to ownkey_owner
    with check (current_user = 'ownkey_owner');
create policy owner_update on ownkey_private.live_processes for update to ownkey_owner
    using (current_user = 'ownkey_owner') with check (current_user = 'ownkey_owner');
create policy owner_delete on ownkey_private.live_processes for delete to ownkey_owner
    using (current_user = 'ownkey_owner');

-- For counting what is left under a key. The owner meets wrapped keys only, and no wrapping key is in the database.
alter policy roles on ownkey_private.data_keys
    using (current_user in ('ownkey_gateway', 'ownkey_rotator', 'ownkey_owner'));
create policy owner_select on ownkey_private.data_keys for select to ownkey_owner
    using (current_user = 'ownkey_owner');

-- A rewrap changes nothing that a warm user needs: the data key stays the same, and what a process has in memory of its
-- old form opens as long as that process has the old wrapping key. So it is not announced; 100,000 of them would make
-- every process read all its users again.
drop trigger row_changed on ownkey_private.data_keys;
create trigger row_changed after insert or delete or update of user_id, version on ownkey_private.data_keys
    for each row execute function ownkey_private.row_changed();

-- No data key comes under a key that retires. The share lock makes who wraps and who lets the key retire wait for each
-- other, so that a count of zero stays zero.
create function ownkey_private.refuse_retiring_key() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
    standing text;
begin
    select w.phase into standing from ownkey_private.wrapping_keys w where w.id = new.wrapping_key_id for share;
    if standing in ('retiring', 'retired', 'destroyed') then
        raise exception 'the wrapping key % is %, it wraps no more data keys', new.wrapping_key_id, standing
            using errcode = 'object_not_in_prerequisite_state';
    end if;
    return new;
end
$$;
revoke execute on function ownkey_private.refuse_retiring_key() from public;
create trigger refuse_retiring_key_insert before insert on ownkey_private.data_keys
    for each row execute function ownkey_private.refuse_retiring_key();
create trigger refuse_retiring_key_update before update on ownkey_private.data_keys
    for each row when (old.wrapping_key_id is distinct from new.wrapping_key_id)
    execute function ownkey_private.refuse_retiring_key();

-- The primary key, which stays so until the transaction ends. NULL where none was chosen yet. A key that another
-- transaction has just replaced is left out by this statement, and its successor is seen by the next one.
create function ownkey_private.lock_primary_key() returns text
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
    found_id text;
begin
    for attempt in 1..10 loop
        select w.id into found_id from ownkey_private.wrapping_keys w where w.phase = 'primary' for share;
        exit when found_id is not null or not exists (select from ownkey_private.wrapping_keys w where w.phase = 'primary');
    end loop;
    return found_id;
end
$$;
revoke execute on function ownkey_private.lock_primary_key() from public;
grant execute on function ownkey_private.lock_primary_key() to ownkey_gateway, ownkey_rotator;

-- A process says that it lives, and which keys it holds; it hears the phase of every key. Where no key is primary yet,
-- as after the first start, that becomes the first one of whoever comes first. The shared lock lets a key become
-- primary only before or after all of this: who starts without it learns so at once.
create function ownkey_private.report_process(
    process uuid, on_host text, process_pid integer, held text[], lifetime interval
) returns table (id text, phase text)
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
begin
    if exists (select from ownkey_private.wrapping_keys w where w.phase = 'primary') then
        perform pg_advisory_xact_lock_shared(hashtextextended('ownkey.wrapping_keys', 0));
    else
        perform pg_advisory_xact_lock(hashtextextended('ownkey.wrapping_keys', 0));
    end if;
    insert into ownkey_private.live_processes as p (id, host, pid, wrapping_keys, expires_at)
        values (process, on_host, process_pid, held, clock_timestamp() + lifetime)
        on conflict on constraint live_processes_pkey do update
            set wrapping_keys = excluded.wrapping_keys, expires_at = excluded.expires_at;
    if exists (
        select from unnest(held) one (name)
        where not exists (select from ownkey_private.wrapping_keys w where w.id = one.name)
    ) then
        insert into ownkey_private.wrapping_keys as w (id) select one.name from unnest(held) one (name)
            on conflict on constraint wrapping_keys_pkey do nothing;
    end if;
    if not exists (select from ownkey_private.wrapping_keys w where w.phase = 'primary') then
        update ownkey_private.wrapping_keys w set phase = 'primary', changed_at = now()
            where w.id = held[1] and w.phase = 'known';
    end if;
    return query select w.id, w.phase from ownkey_private.wrapping_keys w;
end
$$;
revoke execute on function ownkey_private.report_process(uuid, text, integer, text[], interval) from public;
grant execute on function ownkey_private.report_process(uuid, text, integer, text[], interval) to ownkey_gateway;

create function ownkey_private.end_process(process uuid) returns void
language sql security definer set search_path = pg_catalog, pg_temp
as $$
    delete from ownkey_private.live_processes p
        where p.id = process or p.expires_at < clock_timestamp() - interval '1 hour'
$$;
revoke execute on function ownkey_private.end_process(uuid) from public;
grant execute on function ownkey_private.end_process(uuid) to ownkey_gateway;

create function ownkey_private.list_live_processes()
returns table (id uuid, host text, pid integer, wrapping_keys text[], started_at timestamptz)
language sql stable security definer set search_path = pg_catalog, pg_temp
as $$
    select p.id, p.host, p.pid, p.wrapping_keys, p.started_at from ownkey_private.live_processes p
    where p.expires_at > clock_timestamp() order by p.host, p.pid
$$;
revoke execute on function ownkey_private.list_live_processes() from public;
grant execute on function ownkey_private.list_live_processes() to ownkey_rotator;

-- Every key that was ever heard of, or under which a data key is.
create function ownkey_private.list_wrapping_keys()
returns table (id text, phase text, keys bigint, keys_at_start bigint, changed_at timestamptz, changed_by text)
language sql stable security definer set search_path = pg_catalog, pg_temp
as $$
    select coalesce(w.id, c.id), coalesce(w.phase, 'known'), coalesce(c.keys, 0), w.keys_at_start, w.changed_at,
        w.changed_by
    from ownkey_private.wrapping_keys w
    full join (
        select d.wrapping_key_id as id, count(*) as keys from ownkey_private.data_keys d group by d.wrapping_key_id
    ) c on c.id = w.id
    order by 1
$$;
revoke execute on function ownkey_private.list_wrapping_keys() from public;
grant execute on function ownkey_private.list_wrapping_keys() to ownkey_rotator;

-- Make a key primary, and let every other key that wraps anything retire. `done`, or why not: `unknown`,
-- `already_primary`, `used_up` (it is retired or destroyed), `not_everywhere` (a live process does not hold it).
create function ownkey_private.promote_wrapping_key(key_id text, new_actor text) returns text
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
    administrator text := ownkey_private.require_administrator();
    standing text;
    former text;
begin
    -- The administrator's row first, as every transaction does that changes a user's rows.
    perform from ownkey.users u where u.id = administrator for no key update;
    perform pg_advisory_xact_lock(hashtextextended('ownkey.wrapping_keys', 0));
    select w.phase into standing from ownkey_private.wrapping_keys w where w.id = key_id for update;
    if standing is null then
        return 'unknown';
    elsif standing = 'primary' then
        return 'already_primary';
    elsif standing in ('retired', 'destroyed') then
        return 'used_up';
    elsif exists (
        select from ownkey_private.live_processes p
        where p.expires_at > clock_timestamp() and not p.wrapping_keys @> array[key_id]
    ) then
        return 'not_everywhere';
    end if;
    select w.id into former from ownkey_private.wrapping_keys w where w.phase = 'primary';
    insert into ownkey_private.wrapping_keys (id)
        select distinct d.wrapping_key_id from ownkey_private.data_keys d on conflict do nothing;
    update ownkey_private.wrapping_keys w
        set phase = 'retiring', changed_at = now(), changed_by = new_actor, keys_at_start = counted.keys
        from (
            select o.id, (select count(*) from ownkey_private.data_keys d where d.wrapping_key_id = o.id) as keys
            from ownkey_private.wrapping_keys o where o.id <> key_id
        ) counted
        where counted.id = w.id and (w.phase = 'primary' or (w.phase in ('known', 'retiring') and counted.keys > 0));
    update ownkey_private.wrapping_keys w
        set phase = 'primary', changed_at = now(), changed_by = new_actor, keys_at_start = null where w.id = key_id;
    perform ownkey_private.append_audit(new_actor, administrator,
        case standing when 'retiring' then 'wrapping_key.restored' else 'wrapping_key.promoted' end, key_id,
        json_build_object('former', former));
    return 'done';
end
$$;
revoke execute on function ownkey_private.promote_wrapping_key(text, text) from public;
grant execute on function ownkey_private.promote_wrapping_key(text, text) to ownkey_admin;

-- Close a retiring key under which nothing is left. `done`, `not_retiring` or `keys_left`.
create function ownkey_private.retire_wrapping_key(key_id text, new_actor text) returns text
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
    administrator text := ownkey_private.require_administrator();
    standing text;
begin
    perform from ownkey.users u where u.id = administrator for no key update;
    select w.phase into standing from ownkey_private.wrapping_keys w where w.id = key_id for update;
    if standing is distinct from 'retiring' then
        return 'not_retiring';
    elsif exists (select from ownkey_private.data_keys d where d.wrapping_key_id = key_id) then
        return 'keys_left';
    end if;
    update ownkey_private.wrapping_keys w set phase = 'retired', changed_at = now(), changed_by = new_actor
        where w.id = key_id;
    perform ownkey_private.append_audit(new_actor, administrator, 'wrapping_key.retired', key_id, '{}');
    return 'done';
end
$$;
revoke execute on function ownkey_private.retire_wrapping_key(text, text) from public;
grant execute on function ownkey_private.retire_wrapping_key(text, text) to ownkey_admin;

-- Note that a retired key is no more. `done`, `not_retired`, `held` (a live process still has it) or `keys_left`, which
-- only somebody could bring about who went round the trigger.
create function ownkey_private.destroy_wrapping_key(key_id text, new_actor text) returns text
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
    administrator text := ownkey_private.require_administrator();
    standing text;
begin
    perform from ownkey.users u where u.id = administrator for no key update;
    select w.phase into standing from ownkey_private.wrapping_keys w where w.id = key_id for update;
    if standing is distinct from 'retired' then
        return 'not_retired';
    elsif exists (select from ownkey_private.data_keys d where d.wrapping_key_id = key_id) then
        return 'keys_left';
    elsif exists (
        select from ownkey_private.live_processes p
        where p.expires_at > clock_timestamp() and p.wrapping_keys @> array[key_id]
    ) then
        return 'held';
    end if;
    update ownkey_private.wrapping_keys w set phase = 'destroyed', changed_at = now(), changed_by = new_actor
        where w.id = key_id;
    perform ownkey_private.append_audit(new_actor, administrator, 'wrapping_key.destroyed', key_id, '{}');
    return 'done';
end
$$;
revoke execute on function ownkey_private.destroy_wrapping_key(text, text) from public;
grant execute on function ownkey_private.destroy_wrapping_key(text, text) to ownkey_admin;

reset role;
