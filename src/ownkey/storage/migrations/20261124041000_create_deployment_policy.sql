-- What administrators decided for the whole deployment: one document, which every process follows. It is written by
-- one function only, which appends to the audit chain in the same transaction. Users may leave the choice of the
-- payer to it.

set role ownkey_owner;

-- NULL follows the policy. Rows from before keep what they say.
alter table ownkey.user_llm_settings alter column payer drop default, alter column payer drop not null;

create table ownkey_private.deployment_policy (
    only_row boolean primary key default true check (only_row),
    document jsonb not null check (jsonb_typeof(document) = 'object'),
    generation bigint not null,
    updated_at timestamptz not null default now(),
    updated_by text not null
);
alter table ownkey_private.deployment_policy enable row level security;
alter table ownkey_private.deployment_policy force row level security;
create policy roles on ownkey_private.deployment_policy as restrictive for all to public
    using (current_user in ('ownkey_gateway', 'ownkey_admin', 'ownkey_owner'));
create policy gateway_select on ownkey_private.deployment_policy for select to ownkey_gateway
    using (current_user = 'ownkey_gateway');
create policy admin_select on ownkey_private.deployment_policy for select to ownkey_admin
    using (current_user = 'ownkey_admin');
create policy owner_select on ownkey_private.deployment_policy for select to ownkey_owner
    using (current_user = 'ownkey_owner');
create policy owner_insert on ownkey_private.deployment_policy for insert to ownkey_owner
    with check (current_user = 'ownkey_owner');
create policy owner_update on ownkey_private.deployment_policy for update to ownkey_owner
    using (current_user = 'ownkey_owner') with check (current_user = 'ownkey_owner');
grant select on ownkey_private.deployment_policy to ownkey_gateway, ownkey_admin;

-- Refuses whoever has not switched to the administrators' role with an identity: logins inherit EXECUTE.
create function ownkey_private.require_administrator() returns text
language plpgsql set search_path = ''
as $$
begin
    if current_setting('role') is distinct from 'ownkey_admin' or ownkey.current_user_id() is null then
        raise exception 'only an administrator changes the deployment' using errcode = 'insufficient_privilege';
    end if;
    return ownkey.current_user_id();
end
$$;
revoke execute on function ownkey_private.require_administrator() from public;

-- Store the document if nobody was faster: NULL, and no change, unless `expected` is the generation that is stored
-- (0: none). The audit row goes to the trail of the administrator.
create function ownkey_private.put_policy(new_document jsonb, expected bigint, new_actor text, new_details json)
returns bigint
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
    administrator text := ownkey_private.require_administrator();
    raised bigint;
begin
    perform pg_advisory_xact_lock(hashtextextended('ownkey.deployment_policy', 0));
    if expected is distinct from coalesce((select p.generation from ownkey_private.deployment_policy p), 0) then
        return null;
    end if;
    raised := nextval('ownkey_private.generations');
    insert into ownkey_private.deployment_policy as p (document, generation, updated_by)
        values (new_document, raised, administrator)
        on conflict (only_row) do update set document = excluded.document, generation = excluded.generation,
            updated_at = excluded.updated_at, updated_by = excluded.updated_by;
    perform ownkey_private.append_audit(new_actor, administrator, 'policy.updated', null, new_details);
    perform pg_notify('ownkey_deployment', 'policy ' || raised);
    return raised;
end
$$;
revoke execute on function ownkey_private.put_policy(jsonb, bigint, text, json) from public;
grant execute on function ownkey_private.put_policy(jsonb, bigint, text, json) to ownkey_admin;

reset role;
