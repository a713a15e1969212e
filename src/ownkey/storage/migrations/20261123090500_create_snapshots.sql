-- Generations, and the snapshot of one user that one call of a function returns.

set role ownkey_owner;

-- Raise a user's generation, once per transaction, and tell all processes when it commits. The mark is
-- transaction-local and falls back with a savepoint, as the raise itself does.
create function ownkey_private.bump_generation(changed_user text) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
    bumped bigint;
begin
    if current_setting('ownkey.bumped_user', true) = changed_user then
        return;
    end if;
    update ownkey.users set generation = nextval('ownkey_private.generations') where id = changed_user
        returning generation into bumped;
    if found then
        perform set_config('ownkey.bumped_user', changed_user, true);
        perform pg_notify('ownkey_snapshot', bumped || ' ' || changed_user);
    end if;
end
$$;
revoke execute on function ownkey_private.bump_generation(text) from public;

create function ownkey_private.bump_own_generation() returns void
language sql security definer set search_path = pg_catalog, pg_temp
as $$
    select ownkey_private.bump_generation(ownkey.current_user_id())
$$;
revoke execute on function ownkey_private.bump_own_generation() from public;
grant execute on function ownkey_private.bump_own_generation() to ownkey_gateway;

create function ownkey_private.row_changed() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
begin
    perform ownkey_private.bump_generation(case when tg_op = 'DELETE' then old.user_id else new.user_id end);
    return null;
end
$$;
revoke execute on function ownkey_private.row_changed() from public;

-- UPDATE triggers name their columns: counters and times of last use must not make every process read again.
create trigger row_changed after insert or delete or update on ownkey.user_llm_settings
    for each row execute function ownkey_private.row_changed();
create trigger row_changed after insert or delete or update on ownkey.provider_preferences
    for each row execute function ownkey_private.row_changed();
create trigger row_changed after insert or delete or update on ownkey.task_overrides
    for each row execute function ownkey_private.row_changed();
create trigger row_changed after insert or delete
    or update of label, hint, base_url, position, enabled, expires_at on ownkey.credentials
    for each row execute function ownkey_private.row_changed();
create trigger status_changed after update of status, status_until on ownkey.credentials
    for each row when (old.status is distinct from new.status)
    execute function ownkey_private.row_changed();
create trigger row_changed after insert or delete or update on ownkey_private.credential_secrets
    for each row execute function ownkey_private.row_changed();
create trigger row_changed after insert or delete or update on ownkey_private.data_keys
    for each row execute function ownkey_private.row_changed();
create trigger row_changed after insert or delete or update of revoked_at, expires_at, scopes on ownkey.gateway_tokens
    for each row execute function ownkey_private.row_changed();

create function ownkey_private.user_changed() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
begin
    new.generation := nextval('ownkey_private.generations');
    perform set_config('ownkey.bumped_user', new.id, true);
    perform pg_notify('ownkey_snapshot', new.generation || ' ' || new.id);
    return new;
end
$$;
revoke execute on function ownkey_private.user_changed() from public;
create trigger user_changed before update of role, status on ownkey.users
    for each row execute function ownkey_private.user_changed();

-- What has no foreign key to the user goes with them as well.
create function ownkey_private.user_deleted() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
begin
    delete from ownkey.usage_events where user_id = old.id;
    delete from ownkey.usage_daily where user_id = old.id;
    perform pg_notify('ownkey_snapshot', nextval('ownkey_private.generations') || ' ' || old.id);
    return null;
end
$$;
revoke execute on function ownkey_private.user_deleted() from public;
create trigger user_deleted after delete on ownkey.users
    for each row execute function ownkey_private.user_deleted();

-- The generations of many users in one query. It says nothing about a user but that something changed.
create function ownkey_private.load_generations(wanted text[]) returns table (user_id text, generation bigint)
language sql stable security definer set search_path = pg_catalog, pg_temp
as $$
    select u.id, u.generation from ownkey.users u where u.id = any (wanted)
$$;
revoke execute on function ownkey_private.load_generations(text[]) from public;
grant execute on function ownkey_private.load_generations(text[]) to ownkey_gateway;

-- All that serves a user's requests, read under their identity by one statement: one moment of the database.
-- `usable` false leaves the choices, the credentials and the data key out. PL/pgSQL keeps the plan between calls.
-- encode() breaks base64 into lines of 76 characters, which translate() joins.
create function ownkey_private.build_snapshot(wanted text, usable boolean) returns json
language plpgsql stable set search_path = ''
as $$
begin
    return (select json_build_object(
        'user_id', u.id,
        'generation', u.generation,
        'settings', coalesce((
            select json_build_object(
                'payer', s.payer, 'allow_fallback', s.allow_fallback, 'default_task', s.default_task)
            from ownkey.user_llm_settings s where usable and s.user_id = u.id
        ), '{}'::json),
        'preferences', coalesce((
            select json_object_agg(p.provider, json_build_object(
                'provider', p.provider, 'enabled', p.enabled, 'priority', p.priority,
                'default_model', p.default_model, 'may_fall_back', p.may_fall_back, 'backup_only', p.backup_only))
            from ownkey.provider_preferences p where usable and p.user_id = u.id
        ), '{}'::json),
        'overrides', coalesce((
            select json_object_agg(t.task, json_build_object(
                'task', t.task, 'provider', t.provider, 'model', t.model, 'credential_id', t.credential_id,
                'payer', t.payer, 'allow_fallback', t.allow_fallback))
            from ownkey.task_overrides t where usable and t.user_id = u.id
        ), '{}'::json),
        'credentials', coalesce((
            select json_agg(json_build_object(
                'id', c.id, 'provider', c.provider, 'label', c.label, 'hint', c.hint, 'base_url', x.base_url,
                'position', c.position, 'enabled', c.enabled, 'status', c.status, 'status_until', c.status_until,
                'expires_at', c.expires_at, 'generation', x.generation,
                'sealed', coalesce(translate(encode(x.sealed, 'base64'), E'\n', ''), ''))
                order by c.provider, c.position, c.id)
            from ownkey.credentials c
            join ownkey_private.credential_secrets x on x.user_id = c.user_id and x.credential_id = c.id
            where usable and c.user_id = u.id
        ), '[]'::json),
        'wrapped_data_key', translate(encode(k.wrapped, 'base64'), E'\n', ''),
        'wrapping_key_id', k.wrapping_key_id,
        'data_key_version', coalesce(k.version, 1)
    )
    from ownkey.users u
    left join ownkey_private.data_keys k on usable and k.user_id = u.id
    where u.id = wanted);
end
$$;
revoke execute on function ownkey_private.build_snapshot(text, boolean) from public;
grant execute on function ownkey_private.build_snapshot(text, boolean) to ownkey_gateway;

-- The snapshot of one user: {"status", "snapshot"}, or NULL. To be called outside a transaction block: role and
-- identity are set for the one statement and are gone with it.
create function ownkey_private.load_snapshot(wanted text) returns json
language plpgsql set search_path = ''
as $$
begin
    perform set_config('role', 'ownkey_gateway', true),
        set_config('request.jwt.claims', json_build_object('sub', wanted)::text, true);
    return (
        select json_build_object('status', u.status, 'snapshot',
            ownkey_private.build_snapshot(u.id, u.status = 'active'))
        from ownkey.users u where u.id = wanted
    );
end
$$;
revoke execute on function ownkey_private.load_snapshot(text) from public;
grant execute on function ownkey_private.load_snapshot(text) to ownkey_gateway;

-- The same by the hash of a gateway token, with the token's state, or NULL if there is no such token. State and
-- snapshot are read by one statement: a revocation in between would otherwise leave a revoked token with the
-- generation that follows its revocation, which no cache would ever drop.
create function ownkey_private.load_by_token(token_hash bytea) returns json
language plpgsql set search_path = ''
as $$
declare
    owner_id text;
    owner_token uuid;
begin
    perform set_config('role', 'ownkey_gateway', true),
        set_config('ownkey.token_hash', encode(token_hash, 'hex'), true);
    select h.user_id, h.token_id into owner_id, owner_token
        from ownkey_private.token_hashes h where h.hash = token_hash;
    if owner_id is null then
        return null;
    end if;
    perform set_config('request.jwt.claims', json_build_object('sub', owner_id)::text, true);
    return (
        select json_build_object(
            'token_id', t.id, 'user_id', t.user_id, 'role', u.role, 'state', s.state, 'scopes', t.scopes,
            'expires_at', t.expires_at, 'snapshot', ownkey_private.build_snapshot(u.id, s.state = 'active'))
        from ownkey.gateway_tokens t
        join ownkey.users u on u.id = t.user_id
        cross join lateral (
            select case
                when t.revoked_at is not null then 'revoked'
                when t.expires_at <= now() then 'expired'
                when u.status <> 'active' then 'suspended'
                else 'active'
            end as state
        ) s
        where t.user_id = owner_id and t.id = owner_token
    );
end
$$;
revoke execute on function ownkey_private.load_by_token(bytea) from public;
grant execute on function ownkey_private.load_by_token(bytea) to ownkey_gateway;

reset role;
