-- name: get_policy
-- What administrators decided; no row means that nothing was.
select document::text as document, generation, updated_at, updated_by from ownkey_private.deployment_policy;

-- name: put_policy
-- Store the document over the generation $2, with its audit row; NULL when somebody was faster.
select ownkey_private.put_policy($1, $2, $3, $4);
