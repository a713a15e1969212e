-- name: insert_token
-- The visible half of a gateway token.
insert into ownkey.gateway_tokens (user_id, id, name, hint, scopes, expires_at) values ($1, $2, $3, $4, $5, $6);

-- name: insert_token_hash
-- The hash by which the token is found.
insert into ownkey_private.token_hashes (user_id, token_id, hash) values ($1, $2, $3);

-- name: list_tokens
-- The user's tokens, the newest first.
select id::text, name, hint, scopes, created_at, expires_at, last_used_at, revoked_at
from ownkey.gateway_tokens
order by created_at desc, id desc;

-- name: revoke_token
-- End a token; one that was revoked before keeps its time.
update ownkey.gateway_tokens set revoked_at = now() where id = $1 and revoked_at is null returning id;

-- name: touch_tokens
-- Note when tokens of several users were last used.
select ownkey_private.touch_tokens($1);
