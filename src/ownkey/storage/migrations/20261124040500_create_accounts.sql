-- Signing in: accounts with a password, counted attempts, sessions and one-time links. All of it is in
-- ownkey_private; no client of Supabase reads a row of it.
--
-- Before a person is known, the only rows in sight are those whose secret or login they show: the hash of a session
-- or of a link, or the login of an account. The functions below set both for one statement, as load_by_token does.

set role ownkey_owner;

-- Tokens that a host application signed before this moment are not let in any more.
alter table ownkey.users add column signed_out_at timestamptz;
grant update (signed_out_at) on ownkey.users to ownkey_gateway;

create function ownkey_private.presented_login() returns text
language plpgsql stable parallel safe set search_path = ''
as $$
begin
    return nullif(current_setting('ownkey.login', true), '');
end
$$;
revoke execute on function ownkey_private.presented_login() from public;
grant execute on function ownkey_private.presented_login() to ownkey_gateway;

create table ownkey_private.accounts (
    user_id text primary key default ownkey.current_user_id() references ownkey.users (id) on delete cascade,
    login text not null unique check (char_length(login) between 1 and 255),  -- NFKC, lower case
    display_name text check (char_length(display_name) between 1 and 200),
    password_hash text check (char_length(password_hash) <= 500),  -- argon2id, with its parameters
    password_changed_at timestamptz,
    must_change boolean not null default false,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);
create trigger set_updated_at before update on ownkey_private.accounts
    for each row execute function ownkey_private.set_updated_at();
alter table ownkey_private.accounts enable row level security;
alter table ownkey_private.accounts force row level security;
create policy roles on ownkey_private.accounts as restrictive for all to public
    using (current_user in ('ownkey_gateway', 'ownkey_admin'));
create policy floor on ownkey_private.accounts as restrictive for all to ownkey_gateway
    using (user_id = (select ownkey.current_user_id()) or login = (select ownkey_private.presented_login()))
    with check (user_id = (select ownkey.current_user_id()));
create policy own_select on ownkey_private.accounts for select to ownkey_gateway
    using (user_id = (select ownkey.current_user_id()) or login = (select ownkey_private.presented_login()));
create policy own_insert on ownkey_private.accounts for insert to ownkey_gateway
    with check (user_id = (select ownkey.current_user_id()));
create policy own_update on ownkey_private.accounts for update to ownkey_gateway
    using (user_id = (select ownkey.current_user_id())) with check (user_id = (select ownkey.current_user_id()));
create policy own_delete on ownkey_private.accounts for delete to ownkey_gateway
    using (user_id = (select ownkey.current_user_id()));
create policy admin_select on ownkey_private.accounts for select to ownkey_admin
    using (current_user = 'ownkey_admin');
grant select, delete,
    insert (user_id, login, display_name, password_hash, password_changed_at, must_change),
    update (login, display_name, password_hash, password_changed_at, must_change)
    on ownkey_private.accounts to ownkey_gateway;
-- An administrator sees who can sign in, and no hash.
grant select (user_id, login, display_name, password_changed_at, must_change, created_at)
    on ownkey_private.accounts to ownkey_admin;

-- Attempts to sign in, by the SHA-256 of the login as it was typed: for logins that nobody has as well, so that a
-- locked account and one that does not exist look the same, and hashed, because people type passwords there.
create table ownkey_private.sign_in_attempts (
    login_hash bytea primary key check (octet_length(login_hash) = 32),
    failed_count integer not null,
    locked_until timestamptz,
    last_at timestamptz not null
);
create index sign_in_attempts_age on ownkey_private.sign_in_attempts (last_at);
alter table ownkey_private.sign_in_attempts enable row level security;
alter table ownkey_private.sign_in_attempts force row level security;
create policy roles on ownkey_private.sign_in_attempts as restrictive for all to public
    using (current_user = 'ownkey_owner');
create policy owner_select on ownkey_private.sign_in_attempts for select to ownkey_owner
    using (current_user = 'ownkey_owner');
create policy owner_insert on ownkey_private.sign_in_attempts for insert to ownkey_owner
    with check (current_user = 'ownkey_owner');
create policy owner_update on ownkey_private.sign_in_attempts for update to ownkey_owner
    using (current_user = 'ownkey_owner') with check (current_user = 'ownkey_owner');
create policy owner_delete on ownkey_private.sign_in_attempts for delete to ownkey_owner
    using (current_user = 'ownkey_owner');

-- Take one attempt: {"failed_count", "wait_seconds"}. It counts as failed until clear_sign_in_attempts says
-- otherwise, so that attempts that run at the same time, in any process, are counted before they are tried. The
-- fifth in a row locks for 30 seconds and each further one for twice as long, up to a quarter of an hour. A day
-- without an attempt forgives. clock_timestamp(), because another attempt may have held the row for a while.
create function ownkey_private.take_sign_in_attempt(wanted bytea) returns json
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
    taken ownkey_private.sign_in_attempts;
begin
    delete from ownkey_private.sign_in_attempts
        where login_hash in (
            select old.login_hash from ownkey_private.sign_in_attempts old
            where old.last_at < now() - interval '1 day' and old.login_hash <> wanted
            order by old.last_at limit 10
            for update skip locked
        );
    insert into ownkey_private.sign_in_attempts as a (login_hash, failed_count, last_at)
        values (wanted, 1, clock_timestamp())
        on conflict (login_hash) do update set
            failed_count = case when a.last_at < now() - interval '1 day' then 1 else a.failed_count + 1 end,
            locked_until = case
                when a.last_at < now() - interval '1 day' or a.failed_count + 1 < 5 then null
                else clock_timestamp()
                    + least(interval '15 minutes', interval '30 seconds' * power(2, least(a.failed_count - 4, 10)))
            end,
            last_at = clock_timestamp()
        where a.locked_until is null or a.locked_until <= clock_timestamp()
        returning * into taken;
    if found then
        return json_build_object('failed_count', taken.failed_count, 'wait_seconds', 0);
    end if;
    select * into taken from ownkey_private.sign_in_attempts a where a.login_hash = wanted;
    return json_build_object(
        'failed_count', coalesce(taken.failed_count, 0),
        'wait_seconds', greatest(1, extract(epoch from coalesce(taken.locked_until, now()) - clock_timestamp()))::float
    );
end
$$;
revoke execute on function ownkey_private.take_sign_in_attempt(bytea) from public;
grant execute on function ownkey_private.take_sign_in_attempt(bytea) to ownkey_gateway;

create function ownkey_private.clear_sign_in_attempts(wanted bytea) returns void
language sql security definer set search_path = pg_catalog, pg_temp
as $$
    delete from ownkey_private.sign_in_attempts where login_hash = wanted
$$;
revoke execute on function ownkey_private.clear_sign_in_attempts(bytea) from public;
grant execute on function ownkey_private.clear_sign_in_attempts(bytea) to ownkey_gateway;

-- Take an attempt for a login and, unless it is locked, read the account: {"attempt", "account"}. To be called
-- outside a transaction block: role and identity are gone with the statement.
create function ownkey_private.begin_sign_in(wanted text) returns json
language plpgsql set search_path = ''
as $$
declare
    attempt json;
    owner_id text;
begin
    perform set_config('role', 'ownkey_gateway', true), set_config('ownkey.login', wanted, true);
    attempt := ownkey_private.take_sign_in_attempt(sha256(convert_to(wanted, 'UTF8')));
    if (attempt ->> 'wait_seconds')::float > 0 then
        return json_build_object('attempt', attempt, 'account', null);
    end if;
    select a.user_id into owner_id from ownkey_private.accounts a where a.login = wanted;
    perform set_config('request.jwt.claims', json_build_object('sub', coalesce(owner_id, ''))::text, true);
    return json_build_object('attempt', attempt, 'account', (
        select json_build_object('user_id', a.user_id, 'password_hash', a.password_hash, 'status', u.status)
        from ownkey_private.accounts a join ownkey.users u on u.id = a.user_id
        where a.user_id = owner_id
    ));
end
$$;
revoke execute on function ownkey_private.begin_sign_in(text) from public;
grant execute on function ownkey_private.begin_sign_in(text) to ownkey_gateway;

-- Sessions of people ("session", shown as a cookie) and of panels in host pages ("panel", shown as a bearer token).
create table ownkey_private.sessions (
    user_id text not null default ownkey.current_user_id() references ownkey.users (id) on delete cascade,
    id uuid not null,
    hash bytea not null unique check (octet_length(hash) = 32),
    kind text not null check (kind in ('session', 'panel')),
    method text not null check (method in ('password', 'link', 'oidc', 'host')),
    scopes text[] not null,
    origin text check (char_length(origin) <= 300),
    user_agent text check (char_length(user_agent) <= 200),
    created_at timestamptz not null default now(),
    authenticated_at timestamptz not null,
    last_seen_at timestamptz not null default now(),
    expires_at timestamptz not null,
    primary key (user_id, id)
);
alter table ownkey_private.sessions enable row level security;
alter table ownkey_private.sessions force row level security;
create policy roles on ownkey_private.sessions as restrictive for all to public
    using (current_user = 'ownkey_gateway');
create policy floor on ownkey_private.sessions as restrictive for all to ownkey_gateway
    using (user_id = (select ownkey.current_user_id()) or hash = (select ownkey_private.presented_token_hash()))
    with check (user_id = (select ownkey.current_user_id()));
create policy own_select on ownkey_private.sessions for select to ownkey_gateway
    using (user_id = (select ownkey.current_user_id()) or hash = (select ownkey_private.presented_token_hash()));
create policy own_insert on ownkey_private.sessions for insert to ownkey_gateway
    with check (user_id = (select ownkey.current_user_id()));
create policy own_update on ownkey_private.sessions for update to ownkey_gateway
    using (user_id = (select ownkey.current_user_id())) with check (user_id = (select ownkey.current_user_id()));
create policy own_delete on ownkey_private.sessions for delete to ownkey_gateway
    using (user_id = (select ownkey.current_user_id()));
grant select, delete,
    insert (user_id, id, hash, kind, method, scopes, origin, user_agent, authenticated_at, expires_at),
    update (hash, authenticated_at, last_seen_at)
    on ownkey_private.sessions to ownkey_gateway;

-- The session of this hash with its owner's role and status, or NULL if there is none that still holds. It ends
-- `idle_seconds` after its last use (NULL: only at its end); the last use is written once a minute. To be called
-- outside a transaction block.
create function ownkey_private.load_session(token_hash bytea, wanted_kind text, idle_seconds double precision)
returns json
language plpgsql set search_path = ''
as $$
declare
    found_session ownkey_private.sessions;
    idle interval := make_interval(secs => idle_seconds);
begin
    perform set_config('role', 'ownkey_gateway', true),
        set_config('ownkey.token_hash', encode(token_hash, 'hex'), true);
    select * into found_session from ownkey_private.sessions s
        where s.hash = token_hash and s.kind = wanted_kind
            and s.expires_at > now() and (idle is null or s.last_seen_at + idle > now());
    if not found then
        return null;
    end if;
    perform set_config('request.jwt.claims', json_build_object('sub', found_session.user_id)::text, true);
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
revoke execute on function ownkey_private.load_session(bytea, text, double precision) from public;
grant execute on function ownkey_private.load_session(bytea, text, double precision) to ownkey_gateway;

-- Links that set a password, once.
create table ownkey_private.one_time_links (
    user_id text not null default ownkey.current_user_id() references ownkey.users (id) on delete cascade,
    hash bytea not null unique check (octet_length(hash) = 32),
    purpose text not null check (purpose in ('first_admin', 'invite', 'reset')),
    created_at timestamptz not null default now(),
    expires_at timestamptz not null,
    used_at timestamptz,
    primary key (user_id, hash)
);
alter table ownkey_private.one_time_links enable row level security;
alter table ownkey_private.one_time_links force row level security;
create policy roles on ownkey_private.one_time_links as restrictive for all to public
    using (current_user = 'ownkey_gateway');
create policy floor on ownkey_private.one_time_links as restrictive for all to ownkey_gateway
    using (user_id = (select ownkey.current_user_id()) or hash = (select ownkey_private.presented_token_hash()))
    with check (user_id = (select ownkey.current_user_id()));
create policy own_select on ownkey_private.one_time_links for select to ownkey_gateway
    using (user_id = (select ownkey.current_user_id()) or hash = (select ownkey_private.presented_token_hash()));
create policy own_insert on ownkey_private.one_time_links for insert to ownkey_gateway
    with check (user_id = (select ownkey.current_user_id()));
create policy own_update on ownkey_private.one_time_links for update to ownkey_gateway
    using (user_id = (select ownkey.current_user_id())) with check (user_id = (select ownkey.current_user_id()));
create policy own_delete on ownkey_private.one_time_links for delete to ownkey_gateway
    using (user_id = (select ownkey.current_user_id()));
grant select, delete, insert (user_id, hash, purpose, expires_at), update (used_at)
    on ownkey_private.one_time_links to ownkey_gateway;

-- What a link is for, or NULL if it was used, has expired or never was. To be called outside a transaction block.
create function ownkey_private.load_link(token_hash bytea) returns json
language plpgsql set search_path = ''
as $$
declare
    found_link ownkey_private.one_time_links;
begin
    perform set_config('role', 'ownkey_gateway', true),
        set_config('ownkey.token_hash', encode(token_hash, 'hex'), true);
    select * into found_link from ownkey_private.one_time_links l
        where l.hash = token_hash and l.used_at is null and l.expires_at > now();
    if not found then
        return null;
    end if;
    perform set_config('request.jwt.claims', json_build_object('sub', found_link.user_id)::text, true);
    return (
        select json_build_object('user_id', u.id, 'purpose', found_link.purpose, 'status', u.status,
            'login', a.login, 'expires_at', found_link.expires_at)
        from ownkey.users u left join ownkey_private.accounts a on a.user_id = u.id
        where u.id = found_link.user_id
    );
end
$$;
revoke execute on function ownkey_private.load_link(bytea) from public;
grant execute on function ownkey_private.load_link(bytea) to ownkey_gateway;

-- How many administrators there are besides one user. Whoever asks waits for whoever asked before and has not
-- finished: two administrators who demote each other at the same moment must not both find the other.
create function ownkey_private.count_other_administrators(wanted text) returns bigint
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
begin
    perform pg_advisory_xact_lock(hashtextextended('ownkey administrators', 0));
    return (
        select count(*) from ownkey.users u where u.role = 'admin' and u.status = 'active' and u.id <> wanted
    );
end
$$;
revoke execute on function ownkey_private.count_other_administrators(text) from public;
grant execute on function ownkey_private.count_other_administrators(text) to ownkey_gateway;

reset role;
