-- Gateway tokens: what may be seen of them in ownkey, their hashes in ownkey_private.

set role ownkey_owner;

create table ownkey.gateway_tokens (
    user_id text not null default ownkey.current_user_id() references ownkey.users (id) on delete cascade,
    id uuid not null,
    name text not null check (char_length(name) between 1 and 200),
    hint text not null check (char_length(hint) <= 16),
    scopes text[] not null default '{}',
    created_at timestamptz not null default now(),
    expires_at timestamptz,
    last_used_at timestamptz,
    revoked_at timestamptz,
    primary key (user_id, id)
);
alter table ownkey.gateway_tokens enable row level security;
alter table ownkey.gateway_tokens force row level security;
create policy roles on ownkey.gateway_tokens as restrictive for all to public
    using (current_user in ('ownkey_gateway', 'ownkey_owner', 'ownkey_admin'));
create policy floor on ownkey.gateway_tokens as restrictive for all to ownkey_gateway
    using (user_id = (select ownkey.current_user_id()));
create policy own_select on ownkey.gateway_tokens for select to ownkey_gateway
    using (user_id = (select ownkey.current_user_id()));
create policy own_insert on ownkey.gateway_tokens for insert to ownkey_gateway
    with check (user_id = (select ownkey.current_user_id()));
create policy own_update on ownkey.gateway_tokens for update to ownkey_gateway
    using (user_id = (select ownkey.current_user_id())) with check (user_id = (select ownkey.current_user_id()));
create policy own_delete on ownkey.gateway_tokens for delete to ownkey_gateway
    using (user_id = (select ownkey.current_user_id()));
create policy admin_select on ownkey.gateway_tokens for select to ownkey_admin
    using (current_user = 'ownkey_admin');
-- For the function that notes the last use of several users' tokens at once.
create policy owner_select on ownkey.gateway_tokens for select to ownkey_owner
    using (current_user = 'ownkey_owner');
create policy owner_update on ownkey.gateway_tokens for update to ownkey_owner
    using (current_user = 'ownkey_owner') with check (current_user = 'ownkey_owner');
grant select, delete,
    insert (user_id, id, name, hint, scopes, expires_at),
    update (name, revoked_at)
    on ownkey.gateway_tokens to ownkey_gateway;
grant select on ownkey.gateway_tokens to ownkey_admin;

-- The hash that the client proved to know, set for one transaction by load_by_token.
create function ownkey_private.presented_token_hash() returns bytea
language plpgsql stable parallel safe set search_path = ''
as $$
begin
    return decode(nullif(current_setting('ownkey.token_hash', true), ''), 'hex');
end
$$;
revoke execute on function ownkey_private.presented_token_hash() from public;
grant execute on function ownkey_private.presented_token_hash() to ownkey_gateway;

create table ownkey_private.token_hashes (
    user_id text not null,
    token_id uuid not null,
    hash bytea not null unique check (octet_length(hash) = 32),
    created_at timestamptz not null default now(),
    primary key (user_id, token_id),
    foreign key (user_id, token_id) references ownkey.gateway_tokens (user_id, id) on delete cascade
);
alter table ownkey_private.token_hashes enable row level security;
alter table ownkey_private.token_hashes force row level security;
-- Before the owner of a token is known there is no identity: the only row in sight is the one whose hash was shown.
create policy roles on ownkey_private.token_hashes as restrictive for all to public
    using (current_user = 'ownkey_gateway');
create policy floor on ownkey_private.token_hashes as restrictive for all to ownkey_gateway
    using (user_id = (select ownkey.current_user_id()) or hash = (select ownkey_private.presented_token_hash()))
    with check (user_id = (select ownkey.current_user_id()));
create policy presented_select on ownkey_private.token_hashes for select to ownkey_gateway
    using (hash = (select ownkey_private.presented_token_hash()));
create policy own_insert on ownkey_private.token_hashes for insert to ownkey_gateway
    with check (user_id = (select ownkey.current_user_id()));
grant select (user_id, token_id, hash), insert (user_id, token_id, hash)
    on ownkey_private.token_hashes to ownkey_gateway;

-- Note when tokens were last used: `uses` is a JSON array of {"user_id", "id", "at"}, of several users at once.
create function ownkey_private.touch_tokens(uses json) returns integer
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
    touched integer;
begin
    with seen as (
        select u.user_id, u.id, max(u.at) as at
        from json_to_recordset(uses) as u (user_id text, id uuid, at timestamptz)
        group by u.user_id, u.id
    ),
    locked as (
        select t.user_id, t.id, seen.at
        from seen join ownkey.gateway_tokens t using (user_id, id)
        order by t.user_id, t.id
        for no key update of t
    )
    update ownkey.gateway_tokens t
    set last_used_at = greatest(t.last_used_at, locked.at)
    from locked where t.user_id = locked.user_id and t.id = locked.id;
    get diagnostics touched = row_count;
    return touched;
end
$$;
revoke execute on function ownkey_private.touch_tokens(json) from public;
grant execute on function ownkey_private.touch_tokens(json) to ownkey_gateway;

reset role;
