-- name: load_link
-- Whose link this is and what it is for; sets its own identity.
select ownkey_private.load_link($1);

-- name: insert_link
-- A new link.
insert into ownkey_private.one_time_links (user_id, hash, purpose, expires_at) values ($1, $2, $3, $4);

-- name: take_link
-- Use a link up; nothing when somebody else has.
update ownkey_private.one_time_links set used_at = now()
where user_id = (select ownkey.current_user_id()) and hash = $1 and used_at is null and expires_at > now()
returning purpose;

-- name: drop_unused_links
-- No link of the user that nobody has used leads anywhere any more.
delete from ownkey_private.one_time_links
where user_id = (select ownkey.current_user_id()) and used_at is null;

-- name: has_unused_link
-- Whether the user has a link of this purpose that nobody has used.
select exists (
    select from ownkey_private.one_time_links
    where user_id = (select ownkey.current_user_id()) and purpose = $1 and used_at is null
);
