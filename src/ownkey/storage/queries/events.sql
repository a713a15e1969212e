-- name: emit_event
-- Tell the host of something, if the transaction commits.
select ownkey_private.emit_event($1, $2, $3::jsonb, $4);

-- name: serve_sink
-- Say that somebody serves a way out.
select ownkey_private.serve_sink($1);

-- name: claim_events
-- Due events that nobody else gets meanwhile.
select event_id::text, kind, owner, occurred_at, data, tries from ownkey_private.claim_events($1, $2, $3);

-- name: mark_delivered
-- An event has arrived.
select ownkey_private.mark_delivered($1, $2);

-- name: mark_failed
-- A try has failed.
select ownkey_private.mark_failed($1, $2, $3, $4, $5, $6);

-- name: forget_events
-- Remove what is weeks old.
select ownkey_private.forget_events();

-- name: describe_sink
-- How a way out fares.
select seen_at, waiting, oldest_waiting, given_up, last_delivered_at, last_error
from ownkey_private.describe_sink($1);

-- name: warn_of_expiry
-- Tell of credentials that end soon or have ended.
select ownkey_private.warn_of_expiry($1);
