-- Providers that administrators added by a form: rows of the catalogue beside those of its files. They are written by
-- two functions only, which append to the audit chain in the same transaction. What a definition may hold is checked
-- where it is read, by the code that reads the files.

set role ownkey_owner;

create table ownkey_private.catalog_providers (
    id text primary key check (id ~ '^[a-z][a-z0-9_]{0,39}$'),
    definition jsonb not null check (jsonb_typeof(definition) = 'object'),
    generation bigint not null,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    updated_by text not null
);
alter table ownkey_private.catalog_providers enable row level security;
alter table ownkey_private.catalog_providers force row level security;
create policy roles on ownkey_private.catalog_providers as restrictive for all to public
    using (current_user in ('ownkey_gateway', 'ownkey_admin', 'ownkey_owner'));
create policy gateway_select on ownkey_private.catalog_providers for select to ownkey_gateway
    using (current_user = 'ownkey_gateway');
create policy admin_select on ownkey_private.catalog_providers for select to ownkey_admin
    using (current_user = 'ownkey_admin');
create policy owner_select on ownkey_private.catalog_providers for select to ownkey_owner
    using (current_user = 'ownkey_owner');
create policy owner_insert on ownkey_private.catalog_providers for insert to ownkey_owner
    with check (current_user = 'ownkey_owner');
create policy owner_update on ownkey_private.catalog_providers for update to ownkey_owner
    using (current_user = 'ownkey_owner') with check (current_user = 'ownkey_owner');
create policy owner_delete on ownkey_private.catalog_providers for delete to ownkey_owner
    using (current_user = 'ownkey_owner');
grant select on ownkey_private.catalog_providers to ownkey_gateway, ownkey_admin;

-- Add a provider (`is_new`) or change one. False, and no change, when one that is new exists, or one that is to be
-- changed does not.
create function ownkey_private.put_provider(
    wanted text, new_definition jsonb, is_new boolean, new_actor text, new_details json
) returns boolean
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
    administrator text := ownkey_private.require_administrator();
begin
    perform pg_advisory_xact_lock(hashtextextended('ownkey.catalog_providers', 0));
    if is_new = exists (select from ownkey_private.catalog_providers p where p.id = wanted) then
        return false;
    end if;
    insert into ownkey_private.catalog_providers as p (id, definition, generation, updated_by)
        values (wanted, new_definition, nextval('ownkey_private.generations'), administrator)
        on conflict (id) do update set definition = excluded.definition, generation = excluded.generation,
            updated_at = excluded.updated_at, updated_by = excluded.updated_by;
    perform ownkey_private.append_audit(
        new_actor, administrator, case when is_new then 'provider.added' else 'provider.updated' end, wanted,
        new_details);
    perform pg_notify('ownkey_deployment', 'providers');
    return true;
end
$$;
revoke execute on function ownkey_private.put_provider(text, jsonb, boolean, text, json) from public;
grant execute on function ownkey_private.put_provider(text, jsonb, boolean, text, json) to ownkey_admin;

-- Remove a provider. Credentials that users hold there stay. False when there is none.
create function ownkey_private.delete_provider(wanted text, new_actor text, new_details json) returns boolean
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
    administrator text := ownkey_private.require_administrator();
begin
    perform pg_advisory_xact_lock(hashtextextended('ownkey.catalog_providers', 0));
    delete from ownkey_private.catalog_providers p where p.id = wanted;
    if not found then
        return false;
    end if;
    perform ownkey_private.append_audit(new_actor, administrator, 'provider.removed', wanted, new_details);
    perform pg_notify('ownkey_deployment', 'providers');
    return true;
end
$$;
revoke execute on function ownkey_private.delete_provider(text, text, json) from public;
grant execute on function ownkey_private.delete_provider(text, text, json) to ownkey_admin;

reset role;
