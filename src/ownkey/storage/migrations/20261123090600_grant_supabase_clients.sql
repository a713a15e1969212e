-- Where Supabase's role for signed-in users exists, it may use schema ownkey directly (once the project exposes it):
-- its own rows, and of those only the columns that are a user's to change. Secrets, statuses, counters, roles and
-- generations are not among them, and a credential's base URL is not either: the gateway asks for the secret again.

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
    grant usage on sequence ownkey_private.generations to authenticated;
    grant execute on function ownkey.current_user_id() to authenticated;
    grant select, insert (id) on ownkey.users to authenticated;
    grant select, delete, insert (user_id, payer, allow_fallback, default_task),
        update (payer, allow_fallback, default_task) on ownkey.user_llm_settings to authenticated;
    grant select, delete,
        insert (user_id, provider, enabled, priority, default_model, may_fall_back, backup_only),
        update (enabled, priority, default_model, may_fall_back, backup_only)
        on ownkey.provider_preferences to authenticated;
    grant select, delete,
        insert (user_id, task, provider, model, credential_id, payer, allow_fallback),
        update (provider, model, credential_id, payer, allow_fallback)
        on ownkey.task_overrides to authenticated;
    grant select, delete, update (label, position, enabled) on ownkey.credentials to authenticated;
    grant select on ownkey.gateway_tokens, ownkey.usage_events, ownkey.usage_daily to authenticated;
end
$$;

reset role;
