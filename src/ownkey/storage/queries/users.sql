-- name: insert_user
-- A user who is new; nothing happens to one who is known.
insert into ownkey.users (id, role) values ($1, $2) on conflict (id) do nothing returning id;

-- name: lock_user
-- All changes of one user take this lock first, so that they wait for one another and never deadlock.
select id from ownkey.users where id = $1 for no key update;

-- name: find_user
-- One user, as far as the identity of the transaction reaches.
select id, role, status, spending_group, generation, created_at, updated_at from ownkey.users where id = $1;

-- name: list_users
-- Users in the order of their ids, after a given one; with a role that sees several.
select id, role, status, spending_group, generation, created_at, updated_at from ownkey.users
where id > $1
order by id
limit $2;

-- name: set_user_status
-- Let a user in or keep them out.
update ownkey.users set status = $2 where id = $1 and status <> $2 returning id;

-- name: set_user_role
-- Make a user an administrator or not.
update ownkey.users set role = $2 where id = $1 and role <> $2 returning id;

-- name: set_user_group
-- Put a user into a group for budgets; NULL takes them out of any.
update ownkey.users set spending_group = $2 where id = $1 and spending_group is distinct from $2 returning id;

-- name: count_holdings
-- How much there is of the transaction's user.
select
    (select count(*) from ownkey.credentials where user_id = me.id) as credentials,
    (select count(*) from ownkey.gateway_tokens where user_id = me.id) as gateway_tokens,
    (select count(*) from ownkey_private.sessions where user_id = me.id) as sessions,
    (select coalesce(sum(requests), 0)::bigint from ownkey.usage_daily where user_id = me.id) as calls,
    exists (select from ownkey_private.data_keys where user_id = me.id) as data_key
from (select ownkey.current_user_id() as id) me;

-- name: delete_user
-- The user with everything that is theirs. Without their data key, backups of their secrets cannot be opened.
delete from ownkey.users where id = (select ownkey.current_user_id()) returning id;

-- name: bump_own_generation
-- Make every process forget the user of this transaction.
select ownkey_private.bump_own_generation();
