-- The attempts of one request, and a user's latest requests. Ids of requests grow with time and are plain ASCII:
-- "C" orders them as they were given out, whatever the database's collation makes of hyphens.

set role ownkey_owner;

create index usage_events_request on ownkey.usage_events (user_id, request_id collate "C");

reset role;
