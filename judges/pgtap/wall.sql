-- The wall around the rows, as the catalogue of PostgreSQL has it. Run by pg_prove.
begin;
select plan(12);

create temporary view ours as
select c.oid, n.nspname as schema, c.relname as name, c.relkind, c.relowner, c.relrowsecurity, c.relforcerowsecurity
from pg_class c
join pg_namespace n on n.oid = c.relnamespace
where n.nspname in ('ownkey', 'ownkey_private');

select cmp_ok((select count(*) from ours where relkind in ('r', 'p')), '>', 30::bigint, 'there are tables to look at');

select is_empty(
    $$ select schema, name from ours where relkind in ('r', 'p') and not (relrowsecurity and relforcerowsecurity) $$,
    'row-level security is on for every table, and for its owner too'
);
select is_empty(
    $$ select o.schema, o.name from ours o where o.relkind in ('r', 'p')
       and not exists (select from pg_policy p where p.polrelid = o.oid and not p.polpermissive) $$,
    'every table has a restrictive floor beneath whatever its other policies allow'
);
select is_empty(
    $$ select p.polrelid::regclass, p.polname from pg_policy p join ours o on o.oid = p.polrelid
       where p.polpermissive and p.polcmd in ('a', '*') and p.polwithcheck is null and p.polqual is null $$,
    'whatever lets a row in says which'
);
select is_empty(
    $$ select p.oid::regprocedure from pg_proc p where p.pronamespace::regnamespace::text in ('ownkey', 'ownkey_private')
       and has_function_privilege('anon', p.oid, 'execute') $$,
    'nobody may call a function without having signed in'
);
select is_empty(
    $$ select p.oid::regprocedure from pg_proc p, aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
       where p.pronamespace::regnamespace::text = 'ownkey_private' and a.grantee = 0 $$,
    'no function of the private schema is for everybody'
);
select is_empty(
    $$ select p.oid::regprocedure from pg_proc p
       where p.pronamespace::regnamespace::text in ('ownkey', 'ownkey_private') and p.prosecdef
       and not exists (select from unnest(p.proconfig) s where s ~ '^search_path=') $$,
    'a function with its owner''s rights looks for names in a path of its own'
);
select is_empty(
    $$ select name, rolname from ours join pg_roles r on r.rolname in ('anon', 'authenticated')
       where schema = 'ownkey_private' and relkind in ('r', 'p', 'v')
       and has_table_privilege(r.oid, ours.oid, 'select, insert, update, delete, truncate') $$,
    'the private schema''s tables are nobody''s from outside'
);
select is_empty(
    $$ select o.name, r.rolname from ours o, pg_roles r
       where o.relkind in ('r', 'p') and r.rolname ~ '^ownkey_' and r.rolname <> 'ownkey_owner'
       and has_table_privilege(r.oid, o.oid, 'truncate') $$,
    'nobody empties a table past its policies'
);
select is_empty(
    $$ select rolname from pg_roles where rolname ~ '^ownkey_' and (rolsuper or rolbypassrls or rolcreaterole or rolcreatedb) $$,
    'no role of ours is above the wall'
);
select is_empty(
    $$ select rolname from pg_roles where rolname ~ '^ownkey_' and rolcanlogin and rolname <> 'ownkey_app' $$,
    'roles that hold rights cannot log in; the login holds none but to become one of them'
);
select is_empty(
    $$ select c.oid::regclass from pg_class c join ours o on o.oid = c.oid
       where c.relkind = 'v' and not coalesce(c.reloptions @> '{security_invoker=true}' or c.reloptions @> '{security_invoker=on}', false) $$,
    'a view shows who looks what they may see, and not what its owner may'
);
select * from finish();
rollback;
