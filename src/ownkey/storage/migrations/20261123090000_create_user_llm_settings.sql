-- Roles, schemas, and what a user chose: settings and a preference per provider.
--
-- Schema ownkey holds what a user may see, ownkey_private what only the gateway may read. Row-level security is
-- enabled and FORCEd on every table. Each table has one permissive policy per role and command, and restrictive ones
-- that hold whatever permissive policy a later migration may add: "roles" names who may touch the table at all,
-- "floor" keeps those who serve users to the rows of the user whose request it is. "roles" asks for current_user, not
-- for membership: a login that merely inherits these roles sees nothing before it has switched to one.

do $$
declare
    wanted text;
begin
    foreach wanted in array
        array['ownkey_owner', 'ownkey_gateway', 'ownkey_admin', 'ownkey_auditor', 'ownkey_rotator']
    loop
        if not exists (select from pg_catalog.pg_roles where rolname = wanted) then
            begin
                execute format('create role %I nologin', wanted);
            exception when duplicate_object or unique_violation then
                null;  -- roles belong to the cluster: another of its databases was migrated at the same moment
            end;
        end if;
        -- Whoever migrates without being superuser has to be able to become the owner, and may serve as well.
        if not (select rolsuper from pg_catalog.pg_roles where rolname = current_user) then
            begin
                execute format('grant %I to %I', wanted, current_user);
            exception when insufficient_privilege then
                null;  -- an administrator made the roles; if membership is missing, the next statements say so
            end;
        end if;
    end loop;
    -- The embedded database's login.
    if exists (select from pg_catalog.pg_roles where rolname = 'ownkey_runtime') then
        grant ownkey_gateway, ownkey_admin, ownkey_auditor, ownkey_rotator to ownkey_runtime;
    end if;
end
$$;

create schema if not exists ownkey authorization ownkey_owner;
create schema if not exists ownkey_private authorization ownkey_owner;

set role ownkey_owner;

-- EXECUTE for everybody is PostgreSQL's default and would make every function an endpoint.
-- Functions name every object with its schema and have no search path. Those that run with the owner's rights name
-- pg_temp last: unnamed, it comes first, and whoever may create temporary types could stand in for ours.
alter default privileges revoke execute on functions from public;

grant usage on schema ownkey to ownkey_gateway, ownkey_admin, ownkey_auditor, ownkey_rotator;
grant usage on schema ownkey_private to ownkey_gateway, ownkey_admin, ownkey_auditor, ownkey_rotator;

-- The verified subject of the request. PostgREST and Supabase set the same variable. After a transaction-local set
-- it is '' and not NULL on the same connection. PL/pgSQL, because PostgreSQL before 18 plans a function in plain SQL
-- anew in every query: a snapshot, which meets a dozen policies, took 1.0 ms instead of 0.3.
create function ownkey.current_user_id() returns text
language plpgsql stable parallel safe set search_path = ''
as $$
begin
    return nullif(current_setting('request.jwt.claims', true), '')::json ->> 'sub';
end
$$;
revoke execute on function ownkey.current_user_id() from public;
grant execute on function ownkey.current_user_id() to ownkey_gateway, ownkey_admin, ownkey_auditor, ownkey_rotator;

create function ownkey_private.set_updated_at() returns trigger
language plpgsql set search_path = ''
as $$
begin
    new.updated_at := now();
    return new;
end
$$;
revoke execute on function ownkey_private.set_updated_at() from public;

-- One row per applied file of this directory.
create table ownkey_private.schema_migrations (
    version text primary key,
    name text not null,
    sha256 text not null,
    applied_at timestamptz not null default now()
);
alter table ownkey_private.schema_migrations enable row level security;
alter table ownkey_private.schema_migrations force row level security;
create policy roles on ownkey_private.schema_migrations as restrictive for all to public
    using (current_user in ('ownkey_owner', 'ownkey_gateway'));
create policy owner_select on ownkey_private.schema_migrations for select to ownkey_owner
    using (current_user = 'ownkey_owner');
create policy owner_insert on ownkey_private.schema_migrations for insert to ownkey_owner
    with check (current_user = 'ownkey_owner');
create policy gateway_select on ownkey_private.schema_migrations for select to ownkey_gateway
    using (current_user = 'ownkey_gateway');
grant select on ownkey_private.schema_migrations to ownkey_gateway;

-- Generations come from one sequence, so that a user who is deleted and made again does not start below what a
-- cache has seen.
create sequence ownkey_private.generations as bigint;
grant usage on sequence ownkey_private.generations to ownkey_gateway;

create table ownkey.users (
    id text primary key default ownkey.current_user_id() check (char_length(id) between 1 and 255),
    role text not null default 'user' check (role in ('user', 'admin')),
    status text not null default 'active' check (status in ('active', 'suspended')),
    generation bigint not null default nextval('ownkey_private.generations'),
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);
create trigger set_updated_at before update of role, status on ownkey.users
    for each row execute function ownkey_private.set_updated_at();
alter table ownkey.users enable row level security;
alter table ownkey.users force row level security;
create policy roles on ownkey.users as restrictive for all to public
    using (current_user in ('ownkey_gateway', 'ownkey_owner', 'ownkey_admin'));
create policy floor on ownkey.users as restrictive for all to ownkey_gateway
    using (id = (select ownkey.current_user_id()));
create policy own_select on ownkey.users for select to ownkey_gateway
    using (id = (select ownkey.current_user_id()));
create policy own_insert on ownkey.users for insert to ownkey_gateway
    with check (id = (select ownkey.current_user_id()));
create policy own_update on ownkey.users for update to ownkey_gateway
    using (id = (select ownkey.current_user_id())) with check (id = (select ownkey.current_user_id()));
create policy own_delete on ownkey.users for delete to ownkey_gateway
    using (id = (select ownkey.current_user_id()));
create policy admin_select on ownkey.users for select to ownkey_admin
    using (current_user = 'ownkey_admin');
-- For the functions that raise generations and look for changed ones.
create policy owner_select on ownkey.users for select to ownkey_owner
    using (current_user = 'ownkey_owner');
create policy owner_update on ownkey.users for update to ownkey_owner
    using (current_user = 'ownkey_owner') with check (current_user = 'ownkey_owner');
grant select, delete, insert (id, role), update (role, status) on ownkey.users to ownkey_gateway;
grant select on ownkey.users to ownkey_admin;

create table ownkey.user_llm_settings (
    user_id text primary key default ownkey.current_user_id() references ownkey.users (id) on delete cascade,
    payer text not null default 'own_then_shared' check (payer in ('own_only', 'own_then_shared', 'shared_only')),
    allow_fallback boolean not null default true,
    default_task text check (char_length(default_task) between 1 and 40),
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);
create trigger set_updated_at before update on ownkey.user_llm_settings
    for each row execute function ownkey_private.set_updated_at();
alter table ownkey.user_llm_settings enable row level security;
alter table ownkey.user_llm_settings force row level security;
create policy roles on ownkey.user_llm_settings as restrictive for all to public
    using (current_user in ('ownkey_gateway', 'ownkey_admin'));
create policy floor on ownkey.user_llm_settings as restrictive for all to ownkey_gateway
    using (user_id = (select ownkey.current_user_id()));
create policy own_select on ownkey.user_llm_settings for select to ownkey_gateway
    using (user_id = (select ownkey.current_user_id()));
create policy own_insert on ownkey.user_llm_settings for insert to ownkey_gateway
    with check (user_id = (select ownkey.current_user_id()));
create policy own_update on ownkey.user_llm_settings for update to ownkey_gateway
    using (user_id = (select ownkey.current_user_id())) with check (user_id = (select ownkey.current_user_id()));
create policy own_delete on ownkey.user_llm_settings for delete to ownkey_gateway
    using (user_id = (select ownkey.current_user_id()));
create policy admin_select on ownkey.user_llm_settings for select to ownkey_admin
    using (current_user = 'ownkey_admin');
grant select, delete, insert (user_id, payer, allow_fallback, default_task),
    update (payer, allow_fallback, default_task) on ownkey.user_llm_settings to ownkey_gateway;
grant select on ownkey.user_llm_settings to ownkey_admin;

create table ownkey.provider_preferences (
    user_id text not null default ownkey.current_user_id() references ownkey.users (id) on delete cascade,
    provider text not null check (char_length(provider) between 1 and 100),
    enabled boolean not null default true,
    priority integer not null default 100,
    default_model text check (char_length(default_model) between 1 and 200),
    may_fall_back boolean not null default true,
    backup_only boolean not null default false,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    primary key (user_id, provider)
);
create trigger set_updated_at before update on ownkey.provider_preferences
    for each row execute function ownkey_private.set_updated_at();
alter table ownkey.provider_preferences enable row level security;
alter table ownkey.provider_preferences force row level security;
create policy roles on ownkey.provider_preferences as restrictive for all to public
    using (current_user in ('ownkey_gateway', 'ownkey_admin'));
create policy floor on ownkey.provider_preferences as restrictive for all to ownkey_gateway
    using (user_id = (select ownkey.current_user_id()));
create policy own_select on ownkey.provider_preferences for select to ownkey_gateway
    using (user_id = (select ownkey.current_user_id()));
create policy own_insert on ownkey.provider_preferences for insert to ownkey_gateway
    with check (user_id = (select ownkey.current_user_id()));
create policy own_update on ownkey.provider_preferences for update to ownkey_gateway
    using (user_id = (select ownkey.current_user_id())) with check (user_id = (select ownkey.current_user_id()));
create policy own_delete on ownkey.provider_preferences for delete to ownkey_gateway
    using (user_id = (select ownkey.current_user_id()));
create policy admin_select on ownkey.provider_preferences for select to ownkey_admin
    using (current_user = 'ownkey_admin');
grant select, delete,
    insert (user_id, provider, enabled, priority, default_model, may_fall_back, backup_only),
    update (enabled, priority, default_model, may_fall_back, backup_only)
    on ownkey.provider_preferences to ownkey_gateway;
grant select on ownkey.provider_preferences to ownkey_admin;

reset role;
