-- name: append_audit
-- One row at the end of the chain of the transaction's user.
select ownkey_private.append_audit($1, $2, $3, $4, $5);

-- name: list_audit_entries
-- The trail as far as the identity or the role reaches, the newest first.
select id, chain, position, occurred_at, actor, user_id, action, subject, details
from ownkey_private.audit_log
where ($1::bigint is null or id < $1)
order by id desc
limit $2;

-- name: search_audit
-- Everybody's trail, the newest first, by user, a part of the actor, action (or its first word) and time; NULL does not restrict.
select id, chain, position, occurred_at, actor, user_id, action, subject, details
from ownkey_private.audit_log
where ($1::bigint is null or id < $1)
    and ($3::text is null or user_id = $3)
    and ($4::text is null or strpos(lower(actor), lower($4)) > 0)
    and ($5::text is null or action = $5 or split_part(action, '.', 1) = $5)
    and ($6::timestamptz is null or occurred_at >= $6)
    and ($7::timestamptz is null or occurred_at < $7)
order by id desc
limit $2;

-- name: verify_audit
-- The first faulty row of each chain.
select chain, "position", reason from ownkey_private.verify_audit() order by chain, "position";

-- name: list_audit_heads
-- The last position and hash of each chain, to be kept outside the database.
select chain, position, hash from ownkey_private.audit_heads order by chain;

-- name: count_recent_audit
-- How often the user's trail has an action since a while ago.
select count(*) from ownkey_private.audit_log
where user_id = (select ownkey.current_user_id()) and action = $1 and occurred_at > now() - $2::interval;
