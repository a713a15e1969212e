-- name: report_process
-- This process lives and holds these keys; gives the phase of every key.
select id, phase from ownkey_private.report_process($1, $2, $3, $4, $5);

-- name: end_process
-- This process is about to end.
select ownkey_private.end_process($1);

-- name: lock_primary_key
-- The key that wraps new data keys, held as such until the transaction ends.
select ownkey_private.lock_primary_key();

-- name: wait_for_phases
-- Behind whoever waits to give the keys other phases: share locks on a row would be granted past them, one after another.
select pg_advisory_xact_lock_shared(hashtextextended('ownkey.wrapping_keys', 0));

-- name: list_wrapping_keys
-- Every wrapping key with its phase and the number of data keys under it; with the role ownkey_rotator.
select id, phase, keys, keys_at_start, changed_at, changed_by from ownkey_private.list_wrapping_keys();

-- name: list_live_processes
-- Every process that said lately that it lives; with the role ownkey_rotator.
select id::text, host, pid, wrapping_keys, started_at from ownkey_private.list_live_processes();

-- name: promote_wrapping_key
-- Make a key primary, with its audit row; says `done` or why not.
select ownkey_private.promote_wrapping_key($1, $2);

-- name: retire_wrapping_key
-- Close a key under which nothing is left, with its audit row; says `done` or why not.
select ownkey_private.retire_wrapping_key($1, $2);

-- name: destroy_wrapping_key
-- Note that a retired key is no more, with its audit row; says `done` or why not.
select ownkey_private.destroy_wrapping_key($1, $2);
