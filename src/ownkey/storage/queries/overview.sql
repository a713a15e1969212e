-- name: list_overviews
-- A page of users with what they hold, for administrators.
select u.id, u.role, u.status, u.created_at,
       (select max(t.last_used_at) from ownkey.gateway_tokens t where t.user_id = u.id) as last_active_at,
       coalesce((
           select json_agg(json_build_object('provider', held.provider, 'status', held.status, 'count', held.count))
           from (
               select c.provider, c.status, count(*) as count from ownkey.credentials c
               where c.user_id = u.id group by c.provider, c.status order by c.provider, c.status
           ) held
       ), '[]'::json)::text as credentials
from ownkey.users u where u.id > $1 order by u.id limit $2;
