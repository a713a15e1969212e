-- name: insert_data_key
-- The first key that arrives stays: two processes that make one at once end up with the same.
insert into ownkey_private.data_keys (user_id, wrapped, wrapping_key_id, version) values ($1, $2, $3, $4)
on conflict (user_id) do nothing;

-- name: get_data_key
-- A user's wrapped key.
select wrapped, wrapping_key_id, version from ownkey_private.data_keys where user_id = $1;

-- name: count_data_keys
-- How many data keys each wrapping key wraps; with the role ownkey_rotator.
select wrapping_key_id, count(*) as keys from ownkey_private.data_keys group by wrapping_key_id order by wrapping_key_id;

-- name: lock_data_keys
-- Some keys that a wrapping key still wraps; those that another process works on are left out.
select user_id, wrapped, wrapping_key_id, version from ownkey_private.data_keys
where wrapping_key_id = $1
order by user_id
limit $2
for update skip locked;

-- name: swap_data_key
-- The same key in a new wrapping, unless it was changed meanwhile.
update ownkey_private.data_keys set wrapped = $5, wrapping_key_id = $4
where user_id = $1 and wrapping_key_id = $2 and version = $3
returning user_id;

-- name: swap_data_keys
-- The same for many: the arrays hold users, versions and new forms; says how many were as expected.
with swapped as (
    update ownkey_private.data_keys d set wrapped = n.wrapped, wrapping_key_id = $5
    from unnest($1::text[], $3::integer[], $4::bytea[]) n (user_id, version, wrapped)
    where d.user_id = n.user_id and d.wrapping_key_id = $2 and d.version = n.version
    returning 1
)
select count(*) from swapped;
