-- name: get_policy
-- What administrators decided; no row means that nothing was.
select document::text as document, generation, updated_at, updated_by from ownkey_private.deployment_policy;

-- name: find_unknown_users
-- Which of these ids nobody has, the first hundred of them.
select named from unnest($1::text[]) as named
where not exists (select from ownkey.users where users.id = named)
order by named
limit 100;

-- name: put_policy
-- Store the document over the generation $2, with its audit row; NULL when somebody was faster.
select ownkey_private.put_policy($1, $2, $3, $4);
