-- Before a person is known, not even the row that they show a secret of is in sight: three functions say whose it is,
-- and the row is read under that identity. So the tables' policies speak of nothing but the owner, which can be proved.

set role ownkey_owner;

do $$
declare
    name text;
begin
    foreach name in array array['accounts', 'sessions', 'one_time_links'] loop
        execute format('alter policy floor on ownkey_private.%I using (user_id = (select ownkey.current_user_id()))
            with check (user_id = (select ownkey.current_user_id()))', name);
        execute format('alter policy own_select on ownkey_private.%I
            using (user_id = (select ownkey.current_user_id()))', name);
        -- For the functions below.
        execute format('create policy owner_select on ownkey_private.%I for select to ownkey_owner
            using (current_user = ''ownkey_owner'')', name);
    end loop;
end
$$;
alter policy roles on ownkey_private.accounts
    using (current_user in ('ownkey_gateway', 'ownkey_admin', 'ownkey_owner'));
alter policy roles on ownkey_private.sessions using (current_user in ('ownkey_gateway', 'ownkey_owner'));
alter policy roles on ownkey_private.one_time_links using (current_user in ('ownkey_gateway', 'ownkey_owner'));

create function ownkey_private.find_account_owner(wanted text) returns text
language sql stable security definer set search_path = pg_catalog, pg_temp
as $$
    select a.user_id from ownkey_private.accounts a where a.login = wanted
$$;
create function ownkey_private.find_session_owner(token_hash bytea) returns text
language sql stable security definer set search_path = pg_catalog, pg_temp
as $$
    select s.user_id from ownkey_private.sessions s where s.hash = token_hash
$$;
create function ownkey_private.find_link_owner(token_hash bytea) returns text
language sql stable security definer set search_path = pg_catalog, pg_temp
as $$
    select l.user_id from ownkey_private.one_time_links l where l.hash = token_hash
$$;
revoke execute on function ownkey_private.find_account_owner(text) from public;
revoke execute on function ownkey_private.find_session_owner(bytea) from public;
revoke execute on function ownkey_private.find_link_owner(bytea) from public;
grant execute on function ownkey_private.find_account_owner(text) to ownkey_gateway;
grant execute on function ownkey_private.find_session_owner(bytea) to ownkey_gateway;
grant execute on function ownkey_private.find_link_owner(bytea) to ownkey_gateway;

create or replace function ownkey_private.begin_sign_in(wanted text) returns json
language plpgsql set search_path = ''
as $$
declare
    attempt json;
begin
    perform set_config('role', 'ownkey_gateway', true);
    attempt := ownkey_private.take_sign_in_attempt(sha256(convert_to(wanted, 'UTF8')));
    if (attempt ->> 'wait_seconds')::float > 0 then
        return json_build_object('attempt', attempt, 'account', null);
    end if;
    perform set_config('request.jwt.claims',
        json_build_object('sub', ownkey_private.find_account_owner(wanted))::text, true);
    return json_build_object('attempt', attempt, 'account', (
        select json_build_object('user_id', a.user_id, 'password_hash', a.password_hash, 'status', u.status)
        from ownkey_private.accounts a join ownkey.users u on u.id = a.user_id
        where a.user_id = (select ownkey.current_user_id())
    ));
end
$$;

create or replace function ownkey_private.load_session(
    token_hash bytea, wanted_kind text, idle_seconds double precision
) returns json
language plpgsql set search_path = ''
as $$
declare
    found_session ownkey_private.sessions;
    idle interval := make_interval(secs => idle_seconds);
begin
    perform set_config('role', 'ownkey_gateway', true);
    perform set_config('request.jwt.claims',
        json_build_object('sub', ownkey_private.find_session_owner(token_hash))::text, true);
    select * into found_session from ownkey_private.sessions s
        where s.hash = token_hash and s.kind = wanted_kind
            and s.expires_at > now() and (idle is null or s.last_seen_at + idle > now());
    if not found then
        return null;
    end if;
    if found_session.last_seen_at < now() - interval '1 minute' then
        update ownkey_private.sessions s set last_seen_at = now()
            where s.user_id = found_session.user_id and s.id = found_session.id;
        found_session.last_seen_at := now();
    end if;
    return (
        select json_build_object(
            'session_id', found_session.id, 'user_id', u.id, 'role', u.role, 'status', u.status,
            'scopes', found_session.scopes, 'origin', found_session.origin,
            'created_at', found_session.created_at, 'authenticated_at', found_session.authenticated_at,
            'expires_at', least(found_session.expires_at, found_session.last_seen_at + idle))
        from ownkey.users u where u.id = found_session.user_id
    );
end
$$;

create or replace function ownkey_private.load_link(token_hash bytea) returns json
language plpgsql set search_path = ''
as $$
begin
    perform set_config('role', 'ownkey_gateway', true);
    perform set_config('request.jwt.claims',
        json_build_object('sub', ownkey_private.find_link_owner(token_hash))::text, true);
    return (
        select json_build_object('user_id', u.id, 'purpose', l.purpose, 'status', u.status,
            'login', a.login, 'expires_at', l.expires_at)
        from ownkey_private.one_time_links l
        join ownkey.users u on u.id = l.user_id
        left join ownkey_private.accounts a on a.user_id = l.user_id
        where l.hash = token_hash and l.used_at is null and l.expires_at > now()
    );
end
$$;

drop function ownkey_private.presented_login();

reset role;
