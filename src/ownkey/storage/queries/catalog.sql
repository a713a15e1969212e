-- name: list_stored_providers
-- The providers that administrators added, in the order in which they did.
select id, definition::text as definition, generation from ownkey_private.catalog_providers order by created_at, id;

-- name: put_provider
-- Add ($3 true) or change a provider with its audit row; false when it exists already, or does not.
select ownkey_private.put_provider($1, $2, $3, $4, $5);

-- name: delete_provider
-- Remove a provider with its audit row; false when there is none.
select ownkey_private.delete_provider($1, $2, $3);

-- name: count_held_credentials
-- How many credentials there are at a provider, and of how many users.
select count(*) as credentials, count(distinct user_id) as users from ownkey.credentials where provider = $1;
