-- name: load_snapshot
-- All that serves one user's requests; sets its own identity.
select ownkey_private.load_snapshot($1);

-- name: load_by_token
-- The same by a token's hash, with the token's state.
select ownkey_private.load_by_token($1);

-- name: load_generations
-- The generations of many users; one who is missing does not exist.
select user_id, generation from ownkey_private.load_generations($1);

-- name: load_standing
-- A user's role, status and last sign-out, with all that serves their requests; sets its own identity.
select ownkey_private.load_standing($1);

-- name: load_changes
-- What has changed since a position, and the next position; one row at least.
select "position", server_start, xid, kind, subject, generation from ownkey_private.load_changes($1);

-- name: sweep_changes
-- Forget changes of which every process knows.
select ownkey_private.sweep_changes();
