-- name: begin_sign_in
-- Count an attempt to sign in and read the account of this login; sets its own identity.
select ownkey_private.begin_sign_in($1);

-- name: take_attempt
-- Count an attempt under this name, which need not be a login.
select ownkey_private.take_sign_in_attempt(sha256(convert_to($1, 'UTF8')));

-- name: clear_sign_in_attempts
-- The attempts with this login were the person's own.
select ownkey_private.clear_sign_in_attempts(sha256(convert_to($1, 'UTF8')));

-- name: find_account
-- The account of the transaction's user.
select user_id, login, display_name, password_hash, password_changed_at, must_change
from ownkey_private.accounts where user_id = (select ownkey.current_user_id());

-- name: insert_account
-- An account without a password; nothing happens where there is one.
insert into ownkey_private.accounts (user_id, login, display_name) values ($1, $2, $3)
on conflict (user_id) do nothing;

-- name: set_login
-- Another name to sign in with.
update ownkey_private.accounts set login = $1
where user_id = (select ownkey.current_user_id()) and login <> $1 returning user_id;

-- name: set_password_hash
-- A new password.
update ownkey_private.accounts set password_hash = $1, password_changed_at = now(), must_change = false
where user_id = (select ownkey.current_user_id()) returning user_id;

-- name: renew_password_hash
-- The same password, hashed with other parameters.
update ownkey_private.accounts set password_hash = $1
where user_id = (select ownkey.current_user_id()) and password_hash = $2 returning user_id;

-- name: set_signed_out
-- From now on no token is let in that a host application signed before.
update ownkey.users set signed_out_at = now() where id = (select ownkey.current_user_id());

-- name: find_signed_out
-- When the transaction's user last signed out everywhere.
select signed_out_at from ownkey.users where id = (select ownkey.current_user_id());

-- name: count_other_administrators
-- Active administrators besides this user; others who ask wait until the transaction ends.
select ownkey_private.count_other_administrators($1);
