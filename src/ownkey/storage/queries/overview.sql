-- name: list_overviews
-- A page of users whose id or name holds $3, with what they hold and what they used since $4, for administrators.
select u.id, u.role, u.status, u.spending_group as group, u.created_at, a.login, a.display_name,
       (select max(t.last_used_at) from ownkey.gateway_tokens t where t.user_id = u.id) as last_active_at,
       coalesce((
           select json_agg(json_build_object('provider', held.provider, 'status', held.status, 'count', held.count))
           from (
               select c.provider, c.status, count(*) as count from ownkey.credentials c
               where c.user_id = u.id group by c.provider, c.status order by c.provider, c.status
           ) held
       ), '[]'::json)::text as credentials,
       used.requests, used.errors, used.own_cost_microdollars, used.shared_cost_microdollars
from ownkey.users u
left join ownkey_private.accounts a on a.user_id = u.id
cross join lateral (
    select
        coalesce(sum(d.requests), 0)::bigint as requests,
        coalesce(sum(d.errors), 0)::bigint as errors,
        -- Nothing priced is "unpriced", which is not the same as free.
        sum(d.cost_microdollars) filter (where d.payer = 'own' and d.unpriced_requests < d.requests)::bigint
            as own_cost_microdollars,
        sum(d.cost_microdollars) filter (where d.payer = 'shared' and d.unpriced_requests < d.requests)::bigint
            as shared_cost_microdollars
    from ownkey.usage_daily d where d.user_id = u.id and d.day >= $4
) used
where u.id > $1 and (
    $3::text is null or strpos(lower(u.id), lower($3)) > 0 or strpos(a.login, lower($3)) > 0
    or strpos(lower(a.display_name), lower($3)) > 0
)
order by u.id
limit $2;
