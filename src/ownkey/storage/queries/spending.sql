-- name: reserve_spending
-- Promise money, and a place in this minute, to the call $1; sets its own identity.
select ownkey_private.reserve_spending($1, $2, $3, $4, $5, $6, $7, $8);

-- name: release_spending
-- Take promises back of which nothing will come.
select ownkey_private.release_spending($1);

-- name: expire_spending
-- End the promises of processes that died.
select ownkey_private.expire_spending($1);

-- name: look_at_spending
-- How the limits of the transaction's user stand.
select scope, period, spent, reserved from ownkey_private.look_at_spending($1);

-- name: list_pot_spending
-- What all users together and each group took from the operator's keys in the day and the month of $1.
select c.scope, c.owner, c.period, c.spent, c.reserved
from ownkey_private.spend_counters c
where c.scope in ('total', 'group') and c.period in ('day', 'month')
    and c.starts = date_trunc(c.period, $1::timestamptz at time zone 'UTC') at time zone 'UTC'
order by c.scope desc, c.owner, c.period;

-- name: count_group_members
-- How many users are in each group.
select spending_group as name, count(*) as members
from ownkey.users where spending_group is not null group by 1 order by 1;

-- name: list_user_spending
-- What each user took from the operator's keys in the month of $1 and in its day, the most expensive first.
select
    u.id as user_id, u.spending_group as group, m.spent as month_spent, m.reserved as month_reserved,
    coalesce(d.spent, 0) as day_spent, coalesce(d.reserved, 0) as day_reserved
from ownkey_private.spend_counters m
join ownkey.users u on u.id = m.owner
left join ownkey_private.spend_counters d
    on d.scope = 'user' and d.owner = m.owner and d.period = 'day'
        and d.starts = date_trunc('day', $1::timestamptz at time zone 'UTC') at time zone 'UTC'
where m.scope = 'user' and m.period = 'month'
    and m.starts = date_trunc('month', $1::timestamptz at time zone 'UTC') at time zone 'UTC'
order by m.spent desc, u.id
limit $2;
