-- A call that was cut because somebody's right was withdrawn has cost what its provider served until then, as one whose
-- client left has: where nobody knows how much that is, the budget keeps what was promised for it.

set role ownkey_owner;

create or replace function ownkey_private.settle_spending() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
begin
    with freed as (
        delete from ownkey_private.spend_reservations r using inserted i where r.id = i.id returning r.*
    ),
    calls as (
        select i.payer, i.user_id as owner, f.counters, f.cost_microdollars as promised_cost,
            f.tokens as promised_tokens,
            case when f.id is null then u.spending_group else f.spending_group end as spending_group,
            coalesce(f.reserved_at, least(i.occurred_at, now())) as moment,
            coalesce(i.cost_microdollars, case when uncertain then f.cost_microdollars end, 0) as cost,
            case
                when i.tokens_source = 'none' and uncertain then coalesce(f.tokens, 0)
                else i.input_uncached + i.cache_read + i.cache_write + i.output_text + i.output_reasoning
            end as tokens
        from inserted i
        cross join lateral (
            select i.outcome in (
                'ok', 'client_gone', 'access_withdrawn', 'stream_broken', 'answer_too_large', 'timeout', 'internal'
            ) as uncertain
        ) o
        left join freed f on f.id = i.id
        left join ownkey.users u on u.id = i.user_id
    ),
    changes as (
        select s.scope, s.owner, p.period,
            date_trunc(p.period, c.moment at time zone 'UTC') at time zone 'UTC' as starts,
            c.cost as cost, 0::bigint as promised
        from calls c
        cross join lateral (values
            ('user', c.owner, 'shared'), ('group', c.spending_group, 'shared'), ('total', '', 'shared'),
            ('own', c.owner, 'own')
        ) s (scope, owner, payer)
        cross join (values ('day'), ('month')) p (period)
        where s.payer = c.payer and s.owner is not null and c.cost <> 0
        union all
        select k.scope, case k.scope when 'total' then '' when 'group' then c.spending_group else c.owner end, k.period,
            date_trunc(k.period, c.moment at time zone 'UTC') at time zone 'UTC',
            case when k.scope = 'tokens' then c.tokens else 0 end,
            case when k.scope = 'tokens' then c.promised_tokens else c.promised_cost end
        from calls c
        cross join lateral (
            select split_part(one, '/', 1) as scope, split_part(one, '/', 2) as period from unnest(c.counters) one
        ) k
        -- Nobody asks any more for a minute that is over.
        where k.period <> 'minute' or c.moment > now() - interval '2 minutes'
    )
    insert into ownkey_private.spend_counters as c (scope, owner, period, starts, spent, reserved)
        select h.scope, h.owner, h.period, h.starts, sum(h.cost)::bigint, -sum(h.promised)::bigint
        from changes h
        group by 1, 2, 3, 4
        order by h.scope collate "C", h.owner collate "C", h.period collate "C", h.starts
        on conflict (scope, owner, period, starts) do update set
            spent = c.spent + excluded.spent, reserved = c.reserved + excluded.reserved;
    return null;
end
$$;

reset role;
