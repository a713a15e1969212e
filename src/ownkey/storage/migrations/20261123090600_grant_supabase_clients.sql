-- Where Supabase's role for signed-in users exists, it may read its own rows in schema ownkey directly (once the
-- project exposes it). Changes go through the management API, which checks what it is given and writes the audit row
-- in the same transaction; a direct write would do neither.

set role ownkey_owner;

do $$
declare
    own record;
    who record;
begin
    if not exists (select from pg_catalog.pg_roles where rolname = 'authenticated') then
        return;
    end if;
    for own in
        select schemaname, tablename, policyname from pg_catalog.pg_policies
        where schemaname = 'ownkey' and (policyname like 'own\_%' or policyname = 'floor')
    loop
        execute format('alter policy %I on %I.%I to ownkey_gateway, authenticated',
            own.policyname, own.schemaname, own.tablename);
    end loop;
    for who in
        select schemaname, tablename, qual from pg_catalog.pg_policies
        where schemaname = 'ownkey' and policyname = 'roles' and qual not like '%authenticated%'
    loop
        execute format('alter policy roles on %I.%I using (%s or current_user = ''authenticated'')',
            who.schemaname, who.tablename, who.qual);
    end loop;
    grant usage on schema ownkey to authenticated;
    grant execute on function ownkey.current_user_id() to authenticated;
    grant select on ownkey.users, ownkey.user_llm_settings, ownkey.provider_preferences, ownkey.task_overrides,
        ownkey.credentials, ownkey.gateway_tokens, ownkey.usage_events, ownkey.usage_daily to authenticated;
end
$$;

reset role;
