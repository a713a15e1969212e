-- name: append_audit
-- One row at the end of the chain of the transaction's user.
select id, chain, "position", occurred_at, previous_hash from ownkey_private.append_audit($1, $2, $3, $4, $5);

-- name: list_unsealed_audit
-- What this transaction has appended and not sealed.
select id, chain, "position", occurred_at, actor, user_id, action, subject, details, previous_hash, hash
from ownkey_private.list_unsealed_audit();

-- name: seal_audit
-- Seals for entries of this transaction, by their ids.
select ownkey_private.seal_audit($1, $2);

-- name: lock_audit_heads
-- Where seals are to begin; nothing where they have begun.
select chain, "position", hash from ownkey_private.lock_audit_heads();

-- name: start_audit_seals
-- Seals for the heads from which on everything is sealed.
select ownkey_private.start_audit_seals($1, $2);

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

-- name: read_audit
-- Every entry with its seal, chain by chain. A time that no client can read must not keep the others from being read.
select l.id, l.chain, l.position,
    case when l.occurred_at between '0001-01-02' and '9999-12-30' then l.occurred_at end as occurred_at, l.actor, l.user_id, l.action, l.subject, l.details::text as details,
    l.previous_hash, l.hash, s.seal
from ownkey_private.audit_log l
left join ownkey_private.audit_seals s on s.chain = l.chain and s.position = l.position
order by l.chain, l.position;

-- name: list_audit_starts
-- From where on each chain is sealed.
select chain, position, hash, seal from ownkey_private.audit_starts order by chain;

-- name: list_audit_heads
-- The last position and hash of each chain, to be kept outside the database.
select chain, position, hash from ownkey_private.audit_heads order by chain;

-- name: count_recent_audit
-- How often the user's trail has an action since a while ago.
select count(*) from ownkey_private.audit_log
where user_id = (select ownkey.current_user_id()) and action = $1 and occurred_at > now() - $2::interval;
