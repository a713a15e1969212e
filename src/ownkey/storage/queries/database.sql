-- name: set_identity
-- Role and claims of a transaction; `true` makes both end with it. A process that is cut off in the middle of one must
-- not keep its locks: while it did, nobody could revoke what it uses.
select set_config('role', $1, true), set_config('request.jwt.claims', $2, true),
    set_config('idle_in_transaction_session_timeout', '20s', true);

-- name: ping
-- Whether the database answers.
select 1;

-- name: server_version
-- The server's version as a number, 150018 for 15.18.
select current_setting('server_version_num');

-- name: describe_login
-- What the login of this connection may do beyond what it should.
select
    session_user::text as name,
    me.rolsuper as is_superuser,
    me.rolbypassrls as bypasses_rls,
    exists (
        select from pg_catalog.pg_roles owner
        where owner.rolname = 'ownkey_owner' and pg_has_role(session_user, owner.oid, 'usage')
    ) as owns_tables,
    array(
        select wanted from unnest(array['ownkey_gateway', 'ownkey_admin', 'ownkey_auditor', 'ownkey_rotator']) wanted
        where not exists (
            select from pg_catalog.pg_roles role
            where role.rolname = wanted and pg_has_role(session_user, role.oid, 'member')
        )
    ) as missing_roles,
    array(
        select role.rolname::text from pg_catalog.pg_roles role
        where role.rolname in ('ownkey_owner', 'ownkey_gateway', 'ownkey_admin', 'ownkey_auditor', 'ownkey_rotator')
            and (role.rolsuper or role.rolbypassrls)
        order by 1
    ) as unsafe_roles
from pg_catalog.pg_roles me
where me.rolname = session_user;

-- name: has_migrations_table
-- Whether any migration was ever applied here.
select exists (
    select from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    where n.nspname = 'ownkey_private' and c.relname = 'schema_migrations'
);

-- name: list_applied_migrations
-- The versions that were applied, with the hash of the file as it was then.
select version, sha256 from ownkey_private.schema_migrations order by version;

-- name: record_migration
-- Note a file as applied.
insert into ownkey_private.schema_migrations (version, name, sha256) values ($1, $2, $3);

-- name: list_unprotected_tables
-- Tables of both schemas without row-level security that also holds for their owner.
select c.oid::regclass::text as name
from pg_catalog.pg_class c
where c.relnamespace in (select oid from pg_catalog.pg_namespace where nspname in ('ownkey', 'ownkey_private'))
    and c.relkind in ('r', 'p') and not (c.relrowsecurity and c.relforcerowsecurity)
order by 1;

-- name: list_invalid_indexes
-- Indexes that a failed build left behind and that no query uses.
select i.indexrelid::regclass::text as name
from pg_catalog.pg_index i
join pg_catalog.pg_class c on c.oid = i.indrelid
where not i.indisvalid
    and c.relnamespace in (select oid from pg_catalog.pg_namespace where nspname in ('ownkey', 'ownkey_private'))
order by 1;

-- name: has_next_partition
-- Whether next month's usage events have a partition of their own.
select to_regclass('ownkey_private.usage_events_'
    || to_char((now() at time zone 'UTC') + interval '1 month', 'YYYY_MM')) is not null;

-- name: bound_lock_wait
-- How long this transaction waits for a table: whatever comes later queues behind who waits for it.
select set_config('lock_timeout', $1, true);

-- name: lock_migrations
-- Wait until no other process migrates; ends with the transaction.
select pg_advisory_xact_lock($1::bigint);

-- name: compose_login
-- The statements that create a login; composed by the server so that name and password are quoted by it.
select format(
    case
        when exists (select from pg_catalog.pg_roles where rolname = $1::text) then 'alter role %1$I '
        else 'create role %1$I '
    end
    || 'login nosuperuser nocreatedb nocreaterole noreplication nobypassrls inherit password %2$L; '
    || 'grant ownkey_gateway, ownkey_admin, ownkey_auditor, ownkey_rotator to %1$I',
    $1::text, $2::text
);

-- name: has_login
-- Whether the cluster has this role.
select exists (select from pg_catalog.pg_roles where rolname = $1);

-- name: create_runtime_login
-- The embedded server's login; the migrations make it a member of the roles that it switches to.
create role ownkey_runtime login nosuperuser nocreatedb nocreaterole noreplication nobypassrls;

-- name: has_database
-- Whether the cluster has this database.
select exists (select from pg_catalog.pg_database where datname = $1);

-- name: create_database
-- The embedded server's database.
create database ownkey template template0;
