-- What changed lately, in a form that every process can ask for at a cost that follows from the number of changes and
-- not from the number of users that it has in memory. A notification is heard sooner, but it is lost on whoever does
-- not listen at that moment.

set role ownkey_owner;

-- One row per user and transaction. What concerns everybody, the policy and stored providers, is a row without a name;
-- so is a user who was deleted, of whom nothing may stay: then everybody in memory is looked at. `xid` is the transaction's, which is how a reader knows that it has missed nothing: numbers of a sequence would not
-- tell, because of two transactions the one that drew the lower number may commit later.
create table ownkey_private.recent_changes (
    xid xid8 not null default pg_current_xact_id(),
    kind text collate "C" not null check (kind in ('user', 'deletion', 'deployment')),
    subject text collate "C" not null default '' check ((kind = 'user') = (subject <> '')),
    generation bigint,
    changed_at timestamptz not null default clock_timestamp(),
    primary key (xid, kind, subject)
);
create index recent_changes_subject on ownkey_private.recent_changes (subject) where kind = 'user';
alter table ownkey_private.recent_changes enable row level security;
alter table ownkey_private.recent_changes force row level security;
create policy roles on ownkey_private.recent_changes as restrictive for all to public
    using (current_user = 'ownkey_owner');
create policy owner_select on ownkey_private.recent_changes for select to ownkey_owner
    using (current_user = 'ownkey_owner');
create policy owner_insert on ownkey_private.recent_changes for insert to ownkey_owner
    with check (current_user = 'ownkey_owner');
create policy owner_update on ownkey_private.recent_changes for update to ownkey_owner
    using (current_user = 'ownkey_owner') with check (current_user = 'ownkey_owner');
create policy owner_delete on ownkey_private.recent_changes for delete to ownkey_owner
    using (current_user = 'ownkey_owner');

create function ownkey_private.note_changed_user() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
begin
    insert into ownkey_private.recent_changes as c (kind, subject, generation)
        values ('user', new.id, new.generation)
        on conflict (xid, kind, subject) do update set generation = greatest(c.generation, excluded.generation);
    return null;
end
$$;
revoke execute on function ownkey_private.note_changed_user() from public;
create trigger note_changed_user after update on ownkey.users
    for each row when (old.generation is distinct from new.generation)
    execute function ownkey_private.note_changed_user();

create function ownkey_private.note_deleted_user() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
begin
    delete from ownkey_private.recent_changes c where c.kind = 'user' and c.subject = old.id;
    insert into ownkey_private.recent_changes (kind) values ('deletion') on conflict do nothing;
    return null;
end
$$;
revoke execute on function ownkey_private.note_deleted_user() from public;
create trigger note_deleted_user after delete on ownkey.users
    for each row execute function ownkey_private.note_deleted_user();

create function ownkey_private.note_changed_deployment() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
begin
    insert into ownkey_private.recent_changes (kind) values ('deployment') on conflict do nothing;
    return null;
end
$$;
revoke execute on function ownkey_private.note_changed_deployment() from public;
create trigger note_changed_deployment after insert or update or delete on ownkey_private.deployment_policy
    for each statement execute function ownkey_private.note_changed_deployment();
create trigger note_changed_deployment after insert or update or delete on ownkey_private.catalog_providers
    for each statement execute function ownkey_private.note_changed_deployment();

-- What was committed since an earlier call: `since` is the `position` that it gave, NULL for nothing but a position.
-- All transactions below a position had ended when it was taken, so that none of them can appear later; some of those
-- above it are told again, for as long as an older one is under way. One row at least; `kind` is NULL in it if nothing changed. `server_start` is another one
-- after a restart or fail-over, when the numbers of transactions may not continue.
create function ownkey_private.load_changes(since text)
returns table ("position" text, server_start timestamptz, xid text, kind text, subject text, generation bigint)
language sql stable security definer set search_path = pg_catalog, pg_temp
as $$
    select pg_snapshot_xmin(pg_current_snapshot())::text, pg_postmaster_start_time(), c.xid::text, c.kind, c.subject, c.generation
    from (values (1)) one
    left join ownkey_private.recent_changes c on c.xid >= since::xid8
$$;
revoke execute on function ownkey_private.load_changes(text) from public;
grant execute on function ownkey_private.load_changes(text) to ownkey_gateway;

-- Who has not asked for longer than this looks at everybody's generation instead.
create function ownkey_private.sweep_changes() returns bigint
language sql security definer set search_path = pg_catalog, pg_temp
as $$
    with gone as (
        delete from ownkey_private.recent_changes where changed_at < now() - interval '1 day' returning 1
    )
    select count(*) from gone
$$;
revoke execute on function ownkey_private.sweep_changes() from public;
grant execute on function ownkey_private.sweep_changes() to ownkey_gateway;

reset role;
