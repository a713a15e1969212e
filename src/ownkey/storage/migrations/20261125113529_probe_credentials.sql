-- Credentials that were refused are tried again in the background, so that recovery is found without anybody's help.

set role ownkey_owner;

-- Since when the status is what it is; when the credential is tried next, if it is; and how many such tries there were
-- since it was last well for a day. Whoever takes a try up moves probe_at ahead by more than the try lasts: that is the
-- claim, and it ends by itself when the process dies. `probes` tells a late finding from that of a newer claim.
alter table ownkey.credentials
    add column status_since timestamptz not null default now(),
    add column probe_at timestamptz,
    add column probes integer not null default 0;
create index credentials_probe on ownkey.credentials (probe_at) where probe_at is not null;
grant update (status_since, probe_at, probes) on ownkey.credentials to ownkey_gateway;

update ownkey.credentials set probe_at = now() + random() * interval '1 hour'
    where status in ('limited', 'rate_limited', 'out_of_credit', 'invalid')
        and status_reason is distinct from 'base_url_changed';

-- Take up due tries, at most so many: nobody else gets them for `lease_seconds`. What is switched off or past its date
-- is not tried, nor is anything of a suspended user.
create function ownkey_private.claim_probes(most integer, lease_seconds double precision) returns table (
    user_id text, credential_id uuid, probes integer
)
language sql security definer set search_path = pg_catalog, pg_temp
as $$
    with due as (
        select c.user_id, c.id from ownkey.credentials c
        join ownkey.users u on u.id = c.user_id
        where c.probe_at <= now() and c.enabled and (c.expires_at is null or c.expires_at > now())
            and u.status = 'active'
        order by c.probe_at
        limit most
        for no key update of c skip locked
    )
    update ownkey.credentials c
    set probe_at = now() + make_interval(secs => lease_seconds), probes = c.probes + 1
    from due
    where c.user_id = due.user_id and c.id = due.id
    returning c.user_id, c.id, c.probes
$$;
revoke execute on function ownkey_private.claim_probes(integer, double precision) from public;
grant execute on function ownkey_private.claim_probes(integer, double precision) to ownkey_gateway;

-- Tell every process that a secret works again, so that none goes on leaving it alone for what is over.
create function ownkey_private.tell_recovery(health_key text) returns void
language sql security definer set search_path = pg_catalog, pg_temp
as $$
    select pg_notify('ownkey_recovery', health_key)
$$;
revoke execute on function ownkey_private.tell_recovery(text) from public;
grant execute on function ownkey_private.tell_recovery(text) to ownkey_gateway;

-- Tell the host of credentials that end within one of so many days, and of those that have ended: of each once for the
-- nearest of these days, whichever process asks. Says how many were new.
create function ownkey_private.warn_of_expiry(days integer[]) returns integer
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
    told integer;
begin
    with ending as materialized (
        select c.user_id, c.id, c.provider, c.label, c.status, c.expires_at, gen_random_uuid() as event_id,
            case when c.expires_at <= now() then 0
                else (select min(d) from unnest(days) d where c.expires_at <= now() + make_interval(days => d))
            end as nearest
        from ownkey.credentials c
        join ownkey.users u on u.id = c.user_id
        where c.expires_at > now() - interval '7 days'
            and c.expires_at <= now() + make_interval(days => (select max(d) from unnest(days) d))
            and c.enabled and u.status = 'active'
    ),
    written as (
        insert into ownkey_private.outbox (event_id, sink, kind, owner, occurred_at, data, once, due_at)
            select e.event_id, s.name,
                case e.nearest when 0 then 'credential.status_changed' else 'credential.expires_soon' end,
                e.user_id, now(),
                jsonb_build_object(
                    'credential_id', e.id, 'provider', e.provider, 'label', e.label, 'expires_at', e.expires_at)
                || case e.nearest
                    when 0 then jsonb_build_object('status', 'expired', 'previous_status', e.status, 'reason', null)
                    else jsonb_build_object(
                        'days_left', ceil(extract(epoch from e.expires_at - now()) / 86400)::integer)
                end,
                format('expiry/%s/%s/%s', e.id, extract(epoch from e.expires_at), e.nearest), now()
            from ending e cross join ownkey_private.event_sinks s
            where s.seen_at > now() - interval '7 days'
            order by s.name, e.id  -- as others who find the same at this moment
            on conflict do nothing
            returning 1
    )
    select count(*) into told from written;
    if told > 0 then
        perform pg_notify('ownkey_event', '');
    end if;
    return told;
end
$$;
revoke execute on function ownkey_private.warn_of_expiry(integer[]) from public;
grant execute on function ownkey_private.warn_of_expiry(integer[]) to ownkey_gateway;
create index credentials_ending on ownkey.credentials (expires_at) where expires_at is not null;

reset role;
