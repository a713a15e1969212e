-- name: load_session
-- The session of a hash, with its owner's role; sets its own identity.
select ownkey_private.load_session($1, $2, $3);

-- name: insert_session
-- A session or a panel token.
insert into ownkey_private.sessions
    (user_id, id, hash, kind, method, scopes, origin, user_agent, authenticated_at, expires_at)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10);

-- name: list_sessions
-- The user's sessions that still hold, the latest used first.
select id::text, created_at, last_seen_at, expires_at, method, user_agent
from ownkey_private.sessions
where user_id = (select ownkey.current_user_id()) and kind = 'session'
    and expires_at > now() and last_seen_at + make_interval(secs => $1) > now()
order by last_seen_at desc, id;

-- name: rotate_session
-- The same session under another hash, by someone who has just proved who they are.
update ownkey_private.sessions set hash = $2, authenticated_at = $3, last_seen_at = now()
where user_id = (select ownkey.current_user_id()) and id = $1 and expires_at > now() returning expires_at;

-- name: end_session
-- One session is over.
delete from ownkey_private.sessions
where user_id = (select ownkey.current_user_id()) and id = $1 returning kind;

-- name: end_sessions
-- All sessions and panel tokens of the user are over, but for one.
with ended as (
    delete from ownkey_private.sessions
    where user_id = (select ownkey.current_user_id()) and ($1::uuid is null or id <> $1) returning id
)
select count(*) from ended;

-- name: sweep_sessions
-- What has ended of itself, and the oldest beyond a number.
delete from ownkey_private.sessions
where user_id = (select ownkey.current_user_id()) and (
    expires_at <= now() or id in (
        select s.id from ownkey_private.sessions s
        where s.user_id = (select ownkey.current_user_id())
        order by s.last_seen_at desc offset $1
    )
);
